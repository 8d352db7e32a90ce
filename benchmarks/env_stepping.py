"""Steps per second of our level-based foraging beside two others, on one core, in one interleaved run.

Opponents: the ``lbforaging`` package (one environment, Python) and Jumanji's JAX version (jitted, vmapped,
with its automatic reset). Every row plays uniformly random actions, starts a new episode where one ends, and
makes the agents' grid observations; ours makes the true state as well. An environment step counts once,
however many agents it has.

    python benchmarks/env_stepping.py --jumanji-python <interpreter that has jumanji and jax>
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

WORKER = Path(__file__).with_name("jumanji_stepping.py")
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}
DIFFERENCES = (
    "Jumanji's rules differ a little: it draws player levels from 1 to 2 (it admits no lower maximum), "
    "places foods so that they may be diagonal neighbours, resolves movement conflicts its own way, makes an "
    "action mask, and makes no state. 'jit' calls one jitted step with actions from outside, as a trainer "
    "does and as ours is called; 'scan' draws the actions inside and compiles 100 steps into one call, the "
    "fastest form it has."
)

Rate = Callable[[float], float]  # seconds to run -> environment steps per second


def ours(env_args: dict[str, Any], n_envs: int) -> Rate:
    """Prepares our environment with ``n_envs`` copies; everything is compiled when this returns."""
    from envs.lbf import LbfEnv

    env = LbfEnv(n_envs, 0, **env_args)
    rng = np.random.default_rng(0)
    actions_KBN = rng.integers(0, env.n_actions, (256, n_envs, env.n_agents))

    def play(n_steps: int) -> None:
        for k in range(n_steps):
            result = env.step(actions_KBN[k % 256])
            ended_B = result.terminated_B | result.truncated_B
            if ended_B.any():
                env.reset(ended_B)

    play(64)
    return lambda seconds: timed(play, n_envs, seconds)


def package(env_args: dict[str, Any], has_check: bool) -> Rate:
    """Prepares one environment of the package, its constructor repaired for grid observations.

    Args:
        has_check: keep the package's check of every observation against its space, or leave it out.
    """
    from gymnasium import spaces
    from lbforaging.foraging.environment import ForagingEnv

    class UncheckedBox(spaces.Box):
        def contains(self, x: Any) -> bool:
            return True

    window = (3, 2 * env_args["sight"] + 1, 2 * env_args["sight"] + 1)

    class RepairedEnv(ForagingEnv):
        def _get_observation_space(self) -> spaces.Box:
            return (spaces.Box if has_check else UncheckedBox)(0.0, 9.0, window)

    level = env_args["max_player_level"] - 1
    side = env_args["field_size"]
    env = RepairedEnv(
        players=env_args["players"],
        min_player_level=1,
        max_player_level=level,
        min_food_level=1,
        max_food_level=None,
        field_size=(side, side),
        max_num_food=env_args["max_food"],
        sight=env_args["sight"],
        max_episode_steps=env_args["max_episode_steps"],
        force_coop=env_args["force_coop"],
        grid_observation=True,
    )
    env.reset(seed=0)
    actions_KN = np.random.default_rng(0).integers(0, 6, (4096, env_args["players"])).tolist()

    def play(n_steps: int) -> None:
        for k in range(n_steps):
            _, _, is_over, _, _ = env.step(actions_KN[k % 4096])
            if is_over:
                env.reset()

    return lambda seconds: timed(play, 1, seconds)


def timed(play: Callable[[int], None], n_envs: int, seconds: float) -> float:
    """Doubles the number of steps until they take ``seconds``; returns environment steps per second."""
    n_steps = 64
    while True:
        start = time.perf_counter()
        play(n_steps)
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return n_steps * n_envs / elapsed
        n_steps = max(2 * n_steps, int(1.1 * n_steps * seconds / elapsed))


class Jumanji:
    """The opponent in a second interpreter; it waits while others are timed."""

    def __init__(self, python: str, env_args: dict[str, Any], sizes: list[int]) -> None:
        request = json.dumps({"env_args": env_args, "sizes": sizes})
        self._process = subprocess.Popen(
            [python, str(WORKER), request],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **ONE_THREAD},
        )
        self.versions = self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise RuntimeError(f"The Jumanji worker stopped with exit code {code}; its message is above.")
        return json.loads(line)

    def rate(self, form: str, n_envs: int) -> Rate:
        def measure(seconds: float) -> float:
            assert self._process.stdin is not None
            print(json.dumps([form, n_envs, seconds]), file=self._process.stdin, flush=True)
            return self._answer()

        return measure

    def close(self) -> None:
        self._process.communicate()


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--copies", type=int, nargs="+", default=[64, 1024], help="environments side by side")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved measurements of every row")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of one measurement")
    parser.add_argument("--jumanji-python", help="interpreter that has jumanji and jax; absent: rows skipped")
    args = parser.parse_args()
    if args.jumanji_python and not Path(args.jumanji_python).is_file():
        parser.error(f"--jumanji-python {args.jumanji_python} is no file; give an interpreter with jumanji.")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    env_args = yaml.safe_load((ROOT / "config" / "envs" / "lbf.yaml").read_text())["env_args"]
    rows: dict[str, Rate] = {f"ours, {n} copies": ours(env_args, n) for n in args.copies}
    skipped = []
    if importlib.util.find_spec("lbforaging"):
        rows["lbforaging, as it is"] = package(env_args, has_check=True)
        rows["lbforaging, unchecked"] = package(env_args, has_check=False)
    else:
        skipped.append("lbforaging: the package is not installed")
    jumanji = None
    if args.jumanji_python:
        jumanji = Jumanji(args.jumanji_python, env_args, args.copies)
        for form in ("jit", "scan"):
            rows.update({f"Jumanji {form}, {n} copies": jumanji.rate(form, n) for n in args.copies})
    else:
        skipped.append("Jumanji: no --jumanji-python given")

    found: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(args.repeats):
        for name, rate in rows.items():
            found[name].append(rate(args.seconds))
    if jumanji:
        jumanji.close()

    machine = f"{platform.machine()}, Python {platform.python_version()}"
    print(f"LBF 8x8-2p-2f-s1-coop, random actions, one core, {machine}")
    if jumanji:
        print(", ".join(f"{name} {version}" for name, version in jumanji.versions.items()))
    print(f"steps per second, median and best of {args.repeats} interleaved runs of {args.seconds:g} s\n")
    medians = {name: statistics.median(rates) for name, rates in found.items()}
    own = {n: medians[f"ours, {n} copies"] for n in args.copies}
    heading = "".join(f"  {f'ours at {n} / it':>18}" for n in args.copies)
    print(f"{'row':<26}{'median':>12}{'best':>14}{heading}")
    for name, rates in found.items():
        ratios = "".join(f"  {own[n] / medians[name]:>18.2f}" for n in args.copies)
        print(f"{name:<26}{medians[name]:>12,.0f}{max(rates):>14,.0f}{ratios}")
    for reason in skipped:
        print(f"skipped  {reason}")
    if jumanji:
        print(f"\n{DIFFERENCES}")


if __name__ == "__main__":
    main()
