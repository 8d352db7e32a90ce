"""What the constants of compiled passes are worth: the time of an update with other values, over that with ours.

    python benchmarks/constants.py [--env sc2] [--tasks 3m 2o_20b_vs_2r] [--algs qmix lmac_qmix] [--threads 2]

Rows of a block (``gru.GROUP_ROWS``, ``mixing.BLOCK_ROWS``, and by their numbers ``mlp.BLOCK_NUMBERS``) should fit the
processor's cache and not cost too many calls; ``products.SMALL`` is from where on a layer calls numpy, and
``threads.SMALLEST_SHARE`` from where on rows are shared out. Values take turns on one batch, lower quartiles; above 1
ours is better.
"""

from __future__ import annotations

import argparse
import time
from types import ModuleType

import numpy as np
from method_speed import TASKS, task_words
from training_speed import make, sample

from components.episode_buffer import EpisodeBatch  # after training_speed, which sets the path
from epymarl_lmac.learning import gru, mixing, mlp, products, threads
from run import Experiment

VALUES: list[tuple[ModuleType, str, list[int]]] = [
    (gru, "GROUP_ROWS", [32, 64, 128, 256, 704]),
    (mixing, "BLOCK_ROWS", [256, 512, 1024, 2048]),
    (mlp, "BLOCK_NUMBERS", [2**15, 2**17, 2**19, 2**21]),
    (products, "SMALL", [0, 2**19, 2**21, 2**23]),
    (threads, "SMALLEST_SHARE", [64, 256, 1024]),
]


def seconds(experiment: Experiment, batch: EpisodeBatch, n_updates: int) -> list[float]:
    """Returns how long some updates take."""
    taken = []
    for _ in range(n_updates):
        start = time.perf_counter()
        experiment.learner.train(batch, 0, 0)
        taken.append(time.perf_counter() - start)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", choices=sorted(TASKS), default="sc2")
    parser.add_argument("--tasks", nargs="+", default=["3m", "2o_20b_vs_2r"], help="tasks of lbf, or maps of sc2")
    parser.add_argument("--algs", nargs="+", default=["qmix", "lmac_qmix"])
    parser.add_argument("--threads", type=int, default=1, help="n_threads")
    parser.add_argument("--products", choices=products.CHOICES, default=products.AUTO, help="matrix_products")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--updates", type=int, default=4, help="updates of a turn")
    options = parser.parse_args()
    for task in options.tasks:
        for alg in options.algs:
            experiment = make(alg, options.env, [*task_words(options.env, task), "buffer_size=64"])
            products.use(options.products, options.threads, experiment.learner.shares_rows)
            batch = sample(experiment)
            seconds(experiment, batch, options.updates)
            print(f"{alg} on {task}, {products.description()}, {options.threads} threads", flush=True)
            for module, name, values in VALUES:
                ours = getattr(module, name)
                found: dict[int, list[float]] = {}
                for _ in range(options.turns):
                    for value in dict.fromkeys([ours, *values]):
                        setattr(module, name, value)
                        found.setdefault(value, []).extend(seconds(experiment, batch, options.updates))
                setattr(module, name, ours)
                times = {value: float(np.quantile(taken, 0.25)) for value, taken in found.items()}
                ratios = ", ".join(f"{value:,}: {times[value] / times[ours]:.2f}" for value in sorted(times))
                print(f"  {module.__name__.rpartition('.')[2]}.{name} = {ours:,}  {ratios}", flush=True)


if __name__ == "__main__":
    main()
