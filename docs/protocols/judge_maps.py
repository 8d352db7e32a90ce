"""Judges the maps that an inferring LBF bundle sends, as estimates of the state, against what can be known.

    python docs/protocols/judge_maps.py [--bundle default] [--seed 2] [--heldout 300] [--train-steps 60000]
        [--alone 8] [--buffer FILE] [with env_args.players=6 env_args.max_food=4 env_args.field_size=11]

Plays fresh episodes of a learning QMIX run, or takes the held-out ones of a trajectory file, takes the maps of the
bundle's last program as they are (no decoder), and prints R2 (1 - MSE / variance) and recall off the majority value
beside the posterior's: of the histories of all agents, and of each agent's own history on ``--alone`` of the episodes,
which takes seconds each. Where the field is too large to enumerate, both are sampled on these episodes, and the maps
are judged on them as well.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from epymarl_lmac.awareness.ceiling import ceiling_of  # noqa: E402
from epymarl_lmac.awareness.inputs import Episodes, extended_obs, messages  # noqa: E402
from epymarl_lmac.awareness.measure import TOLERANCE, Recovery, Rows, evaluate  # noqa: E402
from epymarl_lmac.errors import BundleError  # noqa: E402
from epymarl_lmac.learning.extended_obs import XLayout  # noqa: E402
from epymarl_lmac.paths import protocols_root  # noqa: E402
from epymarl_lmac.protocol import Bundle  # noqa: E402
from epymarl_lmac.settings import merge  # noqa: E402
from epymarl_lmac.settings.command_line import split_argv  # noqa: E402
from epymarl_lmac.tasks import TaskCard, task_card  # noqa: E402
from epymarl_lmac.tasks.posterior import posterior_of  # noqa: E402
from protocol_gen.build_bundle import schema_of  # noqa: E402
from protocol_gen.collect import collect  # noqa: E402
from protocol_gen.trajectories import read  # noqa: E402

GROUPS = ("agent", "food", "access")


def estimates(bundle: Bundle, card: TaskCard, episodes: Episodes) -> torch.Tensor:
    """Returns the important state columns as the last program's maps give them, (P, N, I).

    Raises:
        BundleError: the last program does not send places and two maps, so it is not an inferring one.
    """
    side, n_agents = int(str(card.settings["field_size"])), card.n_agents
    n_cells = side * side
    if bundle.programs[-1].message_dim != 4 * n_agents + 2 * n_cells:
        raise BundleError(
            f"{bundle.path} sends {bundle.programs[-1].message_dim} numbers in its last step; places and maps of "
            f"{n_agents} agents on {n_cells} cells are {4 * n_agents + 2 * n_cells}. Name an inferring one by --bundle."
        )
    packing, layout = episodes.packing(), XLayout(len(card.actions))
    with torch.no_grad():
        said = messages(bundle.programs[-1:], extended_obs(episodes, packing, layout), packing, layout)
    _, agent, food = said.split([4 * n_agents, n_cells, n_cells], dim=-1)
    level = min(3, n_agents)  # of a food with force_coop: the sum of the three lowest players' levels, each 1
    share = food / level if n_agents > 2 else food  # the inferring 11x11 sends levels
    access = (1 - agent - share).clamp(0, 1)
    maps = torch.stack([agent, share * level, access], dim=-2)
    layers = maps.unflatten(-1, (side, side))
    padded = torch.nn.functional.pad(layers, (1, 1, 1, 1))  # the state's layers have a border of one cell
    return padded.flatten(-3)[..., list(bundle.important_state)]


def played(card: TaskCard, updates: list[str], options: argparse.Namespace) -> tuple[Episodes, str]:
    """Returns the episodes to judge on, and where they come from."""
    if options.buffer is not None:
        return read(options.buffer)[1], f"the held-out episodes of {options.buffer.name}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "episodes.h5"
        collect(path, card, "lbf", updates, 64, options.heldout, options.train_steps, seed=options.seed)
        return read(path)[1], f"a QMIX run of {options.train_steps:,} steps, seed {options.seed}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="default", help="a folder, or a name below protocols/lbf/<task>")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--heldout", type=int, default=300)
    parser.add_argument("--train-steps", type=int, default=60_000)
    parser.add_argument("--alone", type=int, default=8)
    parser.add_argument("--buffer", type=Path, help="trajectory file, instead of playing")
    flags, updates = split_argv(sys.argv[1:])
    options = parser.parse_args(flags)
    torch.set_num_threads(1)
    card = task_card("lbf", merge("qmix", "lbf", updates)["env_args"])
    folder = protocols_root() / "lbf" / card.task / options.bundle  # a full path stays as it is
    bundle = Bundle.load(folder, schema_of(card, True, True))
    names = [card.state[i].name for i in bundle.important_state]
    groups = {group: [k for k, name in enumerate(names) if name.startswith(group)] for group in GROUPS}
    episodes, source = played(card, updates, options)
    posterior = posterior_of("lbf", card.settings)
    assert posterior is not None  # an inferring bundle was made for grids and known levels
    ceiling = ceiling_of(posterior, episodes, bundle.important_state, TOLERANCE, groups, options.alone)
    reference_PI = episodes.states(bundle.important_state)
    parts = episodes, episodes.spread(ceiling.n_together)
    judged = [judge(bundle, card, part, groups, reference_PI) for part in parts]
    print(f"{card.task}, {len(episodes)} episodes of {source}")
    print("| | episodes | R2 | agents, foods, access | recall off the majority value | agents, foods |")
    print("| --- | --- | --- | --- | --- | --- |")
    show("maps of k = 2", len(episodes), judged[0])
    if ceiling.n_together < len(episodes):
        show("maps of k = 2", ceiling.n_together, judged[1])
    show("knowable together", ceiling.n_together, ceiling.together)
    show("known alone", ceiling.n_alone, ceiling.alone)
    print(f"share of what can be known: {ceiling.share(judged[1]):.3f}; {posterior.note}")


def judge(
    bundle: Bundle, card: TaskCard, episodes: Episodes, groups: dict[str, list[int]], reference_PI: torch.Tensor
) -> Recovery:
    """Returns how well the maps of the last program recover the state."""
    truth_PI = episodes.states(bundle.important_state)
    rows = Rows(estimates(bundle, card, episodes), truth_PI, episodes.packing().counts)
    return evaluate([(lambda u, counts: u, True)], rows, TOLERANCE, groups, reference_PI)


def show(name: str, n_episodes: int, recovery: Recovery) -> None:
    """Prints one row."""
    r2 = ", ".join(f"{recovery.r2_by_group[group]:.3f}" for group in GROUPS)
    recall = ", ".join(f"{recovery.recall_by_group[group]:.3f}" for group in GROUPS[:2])
    print(f"| {name} | {n_episodes} | {recovery.r2:.3f} | {r2} | {recovery.recall:.3f} | {recall} |")


if __name__ == "__main__":
    main()
