"""What an LBF bundle costs in training: one environment step with all that belongs to it, against another bundle.

    python docs/protocols/lbf/step_cost.py --bundles forwarding default [--episodes 48] [--rounds 5]
        [with env_args.players=6 env_args.max_food=4 env_args.field_size=11]

``lmac_qmix`` trains with each bundle in turns, an update an episode: environment, acting, the messages of an episode
that enters the buffer, and the update. Also acting alone and that pass over a whole episode alone. All is processor
time of the one thread that computes, so that other work on the machine counts little; ratios are to the first bundle.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "src"), str(ROOT / "benchmarks")]

from training_speed import make  # noqa: E402

from epymarl_lmac.learning.extended_obs import XLayout  # noqa: E402
from epymarl_lmac.learning.packing import Packing  # noqa: E402
from epymarl_lmac.paths import protocols_root  # noqa: E402
from epymarl_lmac.protocol.engine.program import Program  # noqa: E402
from epymarl_lmac.settings import load_settings  # noqa: E402
from epymarl_lmac.settings.command_line import split_argv  # noqa: E402
from epymarl_lmac.tasks import task_card  # noqa: E402
from run import Experiment  # noqa: E402


def milliseconds(call: Callable[[], object]) -> float:
    """Returns the processor time of one call."""
    start = time.thread_time()
    call()
    return 1000 * (time.thread_time() - start)


def training_step(experiment: Experiment, episodes: int) -> float:
    """Returns milliseconds an environment step over at least so many episodes."""
    first, target = experiment.runner.t_env, experiment.episodes + episodes

    def advance() -> None:
        while experiment.episodes < target:
            experiment.advance()

    return milliseconds(advance) / (experiment.runner.t_env - first)


def messages_of(programs: list[Program], x_TND: torch.Tensor, whole: bool) -> None:
    """Computes the messages of an episode: all its steps in one call, or the newest step as acting does."""
    packing = Packing.of(torch.ones(1, len(x_TND), dtype=torch.bool))
    layout = XLayout(6)
    for program in programs:
        if program.spec.history is None:
            program.message(x_TND if whole else x_TND[-1:])
            continue
        window = next(iter(layout.windows(x_TND, packing, program.spec.history)))
        program.message(window if whole else window[-1:])


@torch.no_grad()
def passes(programs: list[Program], repeats: int) -> tuple[float, float]:
    """Returns the median milliseconds of the messages of a step and of an episode of 26 stored steps."""
    spec = programs[-1].spec
    x_TND = (torch.rand(26, spec.n_agents, spec.x_dim, generator=torch.Generator().manual_seed(0)) > 0.7).float()
    found = []
    for whole in (False, True):
        call = functools.partial(messages_of, programs, x_TND, whole)
        found.append(statistics.median([milliseconds(call) for _ in range(repeats + 1)][1:]))
    return found[0], found[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundles", nargs="+", required=True, help="folders, or names below protocols/lbf/<task>")
    parser.add_argument("--episodes", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    flags, updates = split_argv(sys.argv[1:])
    options = parser.parse_args(flags)
    torch.set_num_threads(1)
    card = task_card("lbf", load_settings("lmac_qmix", "lbf", updates).env_args)
    folder = protocols_root() / "lbf" / card.task
    paths = {name: f"protocol_path={folder / name}" for name in options.bundles}
    experiments = {name: make("lmac_qmix", updates=[*updates, path]) for name, path in paths.items()}
    steps: dict[str, list[float]] = {name: [] for name in options.bundles}
    for _ in range(options.rounds):
        for name, experiment in experiments.items():
            steps[name].append(training_step(experiment, options.episodes))
    print(f"{card.task}, milliseconds of one thread (ratio to {options.bundles[0]}), median of {options.rounds} turns")
    print("| bundle | training step | messages of a step | messages of an episode |")
    print("| --- | --- | --- | --- |")
    first: list[float] = []
    for name, experiment in experiments.items():
        step, episode = passes(experiment.mac.comm.shared.programs, 15)
        values = [statistics.median(steps[name]), step, episode]
        first = first or values
        cells = [f"{value:.2f} ({value / least:.2f})" for value, least in zip(values, first, strict=True)]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
