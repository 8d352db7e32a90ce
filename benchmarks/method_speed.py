"""Training speed of every algorithm beside ``qmix``, one core, one update an episode, batch 32, in one run.

    python benchmarks/method_speed.py [--tasks 8x8-2p-2f-s1-coop] [--algs tarmac ndq] [--episodes 160]

Every algorithm plays and learns in turns of ``--episodes`` episodes, ``qmix`` before and after each, so that both see
the same machine; the ratio is against the mean of the two. Agents act at random (epsilon 1), so all episodes are of one
length. The floor of an update is its floating-point operations in matrix products at the rate this core reaches.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from training_speed import floor_and_update, matmul_rate, sample, steps_per_second

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from epymarl_lmac.errors import UserError  # noqa: E402
from epymarl_lmac.settings import algorithms, load_settings  # noqa: E402
from run import Experiment  # noqa: E402
from utils.logging import Logger, get_logger  # noqa: E402

OPPONENT = "qmix"


def make(alg: str, task: str) -> Experiment:
    """Returns an experiment on a task of LBF whose buffer is full enough to learn from."""
    updates = [f"task={task}", "t_max=100000000", "save_model=False", "use_cuda=False", "epsilon_finish=1.0"]
    experiment = Experiment(load_settings(alg, "lbf", updates), Logger(get_logger()))
    while not experiment.buffer.can_sample(experiment.args.batch_size):
        experiment.advance()
    return experiment


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=["8x8-2p-2f-s1-coop", "11x11-6p-4f-s1-coop"])
    parser.add_argument("--algs", nargs="+", default=[alg for alg in algorithms() if alg != OPPONENT])
    parser.add_argument("--episodes", type=int, default=160, help="episodes of a turn")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rate = matmul_rate()
    print("| task | algorithm | steps/s | `qmix` beside it | ratio | update, ms | floor, ms |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for task in options.tasks:
        opponent = make(OPPONENT, task)
        for alg in options.algs:
            try:
                experiment = make(alg, task)
            except UserError as err:
                print(f"| {task} | {alg} | not run: {err} | | | | |")
                continue
            before = steps_per_second(opponent, options.episodes)
            speed = steps_per_second(experiment, options.episodes)
            beside = (before + steps_per_second(opponent, options.episodes)) / 2
            floor, update = floor_and_update(experiment, sample(experiment), rate)
            print(
                f"| {task} | {alg} | {speed:,.0f} | {beside:,.0f} | {speed / beside:.2f} | {1000 * update:.1f} | "
                f"{1000 * floor:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
