"""Steps per second of whole rounds beside the engine's own loop, for engines written in Python, in turns in one run.

    python benchmarks/engine_stepping.py [--seconds 2] [--repeats 3]

"engine": the package's own environment, random actions, nothing else, one process. "random" and "qmix": rounds of 8
episodes as ``runner=parallel`` plays them with one process, with random actions and with the network choosing among
them (epsilon 1). What a runner adds to a step (observations, state and masks as arrays, storing, choosing) takes up to
half a millisecond, which shows where an engine's step takes no longer. ``football_stepping.py`` has an engine
whose step takes 2.5 ms.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from football_stepping import RandomActions

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]


def gymnasium_step(key: str, time_limit: int) -> Callable[[], None]:
    """Returns a function that takes one step of a Gymnasium environment of several agents."""
    import gymnasium

    module, _, name = key.partition(":")
    importlib.import_module(module)
    env = gymnasium.make(name).unwrapped
    sizes, rng, t = [space.n for space in env.action_space], np.random.default_rng(0), 0  # type: ignore[attr-defined]
    env.reset(seed=0)

    def step() -> None:
        nonlocal t
        _, _, terminated, truncated, _ = env.step(rng.integers(0, sizes).tolist())
        t += 1
        if np.all(terminated) or np.all(truncated) or t >= time_limit:
            env.reset()
            t = 0

    return step


def pettingzoo_step(module: str, time_limit: int) -> Callable[[], None]:
    """Returns a function that takes one step of a parallel PettingZoo environment."""
    env, rng = importlib.import_module(module).parallel_env(max_cycles=time_limit), np.random.default_rng(0)
    env.reset(seed=0)

    def step() -> None:
        env.step({agent: int(rng.integers(env.action_space(agent).n)) for agent in env.agents})
        if not env.agents:
            env.reset()

    return step


ENGINES = (  # --env-config, key, time limit, the engine's own step
    ("gymma", "rware:rware-tiny-2ag-v2", 500, gymnasium_step),
    ("gymma", "lbforaging:Foraging-2s-8x8-2p-2f-coop-v3", 50, gymnasium_step),
    ("pettingzoo", "mpe2.simple_spread_v3", 25, pettingzoo_step),
)


def rate(step: Callable[[], None], seconds: float, steps: Callable[[], int]) -> float:
    """Returns steps a second over at least so many seconds; ``steps`` counts them."""
    first, start = steps(), time.perf_counter()
    while time.perf_counter() - start < seconds:
        step()
    return (steps() - first) / (time.perf_counter() - start)


def measure(env: str, key: str, time_limit: int, own: Callable[[], None], options: argparse.Namespace) -> list[float]:
    """Returns the medians of the engine's rate, and of the runner's with random actions and with ``qmix``."""
    from epymarl_lmac.settings import load_settings
    from run import Experiment
    from utils.logging import Logger, get_logger

    words = [f"env_args.key={key}", f"env_args.time_limit={time_limit}", "num_envs=1", "batch_size_run=8"]
    experiment = Experiment(load_settings("qmix", env, [*words, "use_cuda=False"]), Logger(get_logger()))
    runner, taken = experiment.runner, 0

    def counted() -> None:
        nonlocal taken
        own()
        taken += 1

    found: list[list[float]] = [[], [], []]
    for _ in range(options.repeats):
        found[0].append(rate(counted, options.seconds, lambda: taken))
        for row, mac in enumerate((RandomActions(None, None, experiment.args), experiment.mac), 1):
            runner.mac = mac
            runner._bring_controllers(runner._env)
            found[row].append(rate(lambda: runner.run(epsilon=1.0), options.seconds, lambda: runner.t_env))
    runner.close_env()
    return [statistics.median(rates) for rates in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a turn")
    parser.add_argument("--repeats", type=int, default=3, help="turns of every row")
    options = parser.parse_args()
    print("| engine | own, steps/s | random actions | ratio | `qmix` | ratio |\n| --- | --- | --- | --- | --- | --- |")
    for env, key, time_limit, step_of in ENGINES:
        own, drawn, qmix = measure(env, key, time_limit, step_of(key, time_limit), options)
        print(f"| {key} | {own:,.0f} | {drawn:,.0f} | {drawn / own:.2f} | {qmix:,.0f} | {qmix / own:.2f} |", flush=True)


if __name__ == "__main__":
    main()
