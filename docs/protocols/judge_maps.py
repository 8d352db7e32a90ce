"""Judges the maps that the inferring LBF bundle sends, as estimates of the state, against what can be known.

    python docs/protocols/judge_maps.py [--seed 2] [--heldout 300] [--train-steps 60000] [--alone 8]

Plays fresh episodes of a learning QMIX run, takes the maps of the bundle's last program as they are (no decoder), and
prints R2 (1 - MSE / variance) and recall off the majority value beside the exact posterior's: of the histories of all
agents, and of each agent's own history on ``--alone`` of the episodes, which takes seconds each.
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
from epymarl_lmac.learning.extended_obs import XLayout  # noqa: E402
from epymarl_lmac.protocol import Bundle  # noqa: E402
from epymarl_lmac.settings import merge  # noqa: E402
from epymarl_lmac.tasks import TaskCard, task_card  # noqa: E402
from epymarl_lmac.tasks.posterior import posterior_of  # noqa: E402
from protocol_gen.build_bundle import schema_of  # noqa: E402
from protocol_gen.collect import collect  # noqa: E402
from protocol_gen.trajectories import read  # noqa: E402

BUNDLE = ROOT / "protocols" / "lbf" / "8x8-2p-2f-s1-coop" / "inferring"
GROUPS = ("agent", "food", "access")


def estimates(bundle: Bundle, card: TaskCard, episodes: Episodes) -> torch.Tensor:
    """Returns the important state columns as the last program's maps give them, (P, N, I)."""
    packing, layout = episodes.packing(), XLayout(len(card.actions))
    with torch.no_grad():
        said = messages(bundle.programs[-1:], extended_obs(episodes, packing, layout), packing, layout)
    side = card.settings["field_size"]
    n_cells, n_agents = side * side, card.n_agents
    _, agent, food = said.split([4 * n_agents, n_cells, n_cells], dim=-1)
    access = (1 - agent - food).clamp(0, 1)
    maps = torch.stack([agent, food * n_agents, access], dim=-2)  # with force_coop a food's level is the sum of theirs
    layers = maps.unflatten(-1, (side, side))
    padded = torch.nn.functional.pad(layers, (1, 1, 1, 1))  # the state's layers have a border of one cell
    return padded.flatten(-3)[..., list(bundle.important_state)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--heldout", type=int, default=300)
    parser.add_argument("--train-steps", type=int, default=60_000)
    parser.add_argument("--alone", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    card = task_card("lbf", merge("qmix", "lbf")["env_args"])
    bundle = Bundle.load(BUNDLE, schema_of(card, True, True))
    names = [card.state[i].name for i in bundle.important_state]
    groups = {group: [k for k, name in enumerate(names) if name.startswith(group)] for group in GROUPS}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "episodes.h5"
        collect(path, card, "lbf", [], 64, options.heldout, options.train_steps, seed=options.seed)
        _, episodes, _ = read(path)
    packing = episodes.packing()
    truth = packing.pack(episodes.state_BTS)[:, list(bundle.important_state)]
    rows = Rows(estimates(bundle, card, episodes), truth, packing.counts)
    maps = evaluate([(lambda u, counts: u, True)], rows, TOLERANCE, groups)
    posterior = posterior_of("lbf", card.settings)
    assert posterior is not None
    ceiling = ceiling_of(posterior, episodes, bundle.important_state, TOLERANCE, groups, options.alone)
    print(f"{len(episodes)} episodes of a QMIX run of {options.train_steps:,} steps, seed {options.seed}")
    print("| | R2 | agents, foods, access | recall off the majority value | agents, foods |")
    print("| --- | --- | --- | --- | --- |")
    show("maps of k = 2", maps)
    show("knowable together", ceiling.together)
    show(f"known alone ({ceiling.n_alone} episodes)", ceiling.alone)
    print(f"share of what can be known: {ceiling.share(maps):.3f}")


def show(name: str, recovery: Recovery) -> None:
    """Prints one row."""
    r2 = ", ".join(f"{recovery.r2_by_group[group]:.3f}" for group in GROUPS)
    recall = ", ".join(f"{recovery.recall_by_group[group]:.3f}" for group in GROUPS[:2])
    print(f"| {name} | {recovery.r2:.3f} | {r2} | {recovery.recall:.3f} | {recall} |")


if __name__ == "__main__":
    main()
