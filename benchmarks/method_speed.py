"""Training speed of every algorithm beside ``qmix``, one update an episode, batch 32, in one run, one core or more.

    python benchmarks/method_speed.py [--tasks 8x8-2p-2f-s1-coop] [--algs tarmac ndq] [--episodes 160]
    python benchmarks/method_speed.py --env sc2 --tasks 3m bane_vs_hM 2o_20b_vs_2r --algs qmix lmac_qmix --episodes 64

Every algorithm plays and learns in turns of ``--episodes`` episodes, ``qmix`` before and after each, so that both see
the same machine; the ratio is against the mean of the two. Agents act at random (epsilon 1), so that what they learn
changes no episode's length. The floor of an update is its floating-point operations in matrix products at the rate
one core reaches on a warm product of 1600 x 64 x 384, times ``--threads``: memory traffic, what stands between two
products and the calls themselves are not in it. The rate is the mean of one before and one after the update, as
machines change their speed. The share is floor over update, first with the rate of the library that updates use
(``--products``), then with PyTorch's. The last column is what the environment's buffer takes when full.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from training_speed import floor_and_update, make, matmul_rate, sample, steps_per_second

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from components.buffer_memory import GIB  # noqa: E402
from epymarl_lmac.errors import UserError  # noqa: E402
from epymarl_lmac.learning import products  # noqa: E402
from epymarl_lmac.settings import algorithms, load_settings  # noqa: E402
from run import Experiment  # noqa: E402

OPPONENT = "qmix"
TASKS = {"lbf": ["8x8-2p-2f-s1-coop", "11x11-6p-4f-s1-coop"], "sc2": ["3m", "bane_vs_hM", "2o_20b_vs_2r"]}
STORED = 128  # episodes in the buffer here; how many there are changes no update's time


def task_words(env: str, task: str) -> list[str]:
    """Returns the settings that choose a task."""
    return [f"env_args.map_name={task}", "env_args.engine=embedded"] if env == "sc2" else [f"task={task}"]


def full_buffer(alg: str, env: str, experiment: Experiment) -> str:
    """Returns what the buffer would take with as many episodes as the settings ask for."""
    n_episodes = load_settings(alg, env, []).buffer_size
    return f"{experiment.buffer_bytes / STORED * n_episodes / GIB:.2f} GiB, {n_episodes:,} episodes"


def rates(library: str) -> tuple[float, float]:
    """Returns floating-point operations per second of one core with a library, and with PyTorch's."""
    products.use(products.TORCH, 1)
    of_torch = matmul_rate()
    return of_torch if products.use(library, 1) == products.TORCH else matmul_rate(), of_torch


def own_threads(experiment: Experiment) -> Experiment:
    """Returns an experiment, with this process's products and threads as it has them alone."""
    args = experiment.args
    products.use(args.matrix_products, args.n_threads, experiment.learner.shares_rows)
    return experiment


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", choices=sorted(TASKS), default="lbf")
    parser.add_argument("--tasks", nargs="+", help="tasks of lbf, or maps of sc2")
    parser.add_argument("--algs", nargs="+", default=[alg for alg in algorithms() if alg != OPPONENT])
    parser.add_argument("--episodes", type=int, default=160, help="episodes of a turn")
    parser.add_argument("--threads", type=int, default=1, help="n_threads")
    parser.add_argument("--products", choices=products.CHOICES, default=products.AUTO, help="matrix_products")
    options = parser.parse_args()
    products.use(options.products, options.threads)
    print(f"matrix products by {products.description()}; threads: {options.threads}")
    columns = (
        "task",
        "algorithm",
        "steps/s",
        "`qmix` beside it",
        "ratio",
        "update, ms",
        "GFLOP/s of a core",
        "floor, ms",
    )
    print(f"| {' | '.join(columns)} | share | of PyTorch's | buffer |")
    print("| --- " * 11 + "|")
    for task in options.tasks or TASKS[options.env]:
        words = [*task_words(options.env, task), f"buffer_size={STORED}", f"n_threads={options.threads}"]
        words.append(f"matrix_products={options.products}")
        opponent = make(OPPONENT, options.env, words)
        for alg in options.algs:
            try:
                experiment = make(alg, options.env, words)
            except UserError as err:
                print(f"| {task} | {alg} | not run: {err} | | | | | | | |")
                continue
            before = steps_per_second(own_threads(opponent), options.episodes)
            speed = steps_per_second(own_threads(experiment), options.episodes)
            beside = (before + steps_per_second(own_threads(opponent), options.episodes)) / 2
            first = rates(options.products)
            operations, update = floor_and_update(own_threads(experiment), sample(experiment), 1.0)
            rate, of_torch = (sum(both) / 2 for both in zip(first, rates(options.products), strict=True))
            floor = operations / (options.threads * rate)
            share = floor / update
            print(
                f"| {task} | {alg} | {speed:,.0f} | {beside:,.0f} | {speed / beside:.2f} | {1000 * update:.1f} | "
                f"{rate / 1e9:.0f} | {1000 * floor:.1f} | {share:.2f} | {share * rate / of_torch:.2f} | "
                f"{full_buffer(alg, options.env, experiment)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
