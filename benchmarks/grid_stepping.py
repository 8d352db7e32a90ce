"""Steps per second of traffic junction and predator-prey beside IC3Net's own environments, on one core, interleaved.

Every row plays uniformly random actions, starts a new episode at the published time limit, and makes the agents' flat
observations; ours makes the true state, available actions and alive flags as well. An environment step counts once,
however many agents it has. The bar is at least 100 times the reference with 64 copies.

    python benchmarks/grid_stepping.py --ic3net <checkout of https://github.com/IC3Net/IC3Net>
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

BAR = 100
MEDIUM = {"difficulty": "medium", "players": 10, "size": 14, "max_episode_steps": 40, "add_rate": 0.2}
HARD = {"difficulty": "hard", "players": 20, "size": 18, "max_episode_steps": 80, "add_rate": 0.05}
TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "traffic easy, vision 0": ("traffic_junction", {}),
    "traffic medium, vision 1": ("traffic_junction", {**MEDIUM, "vision": 1}),
    "traffic hard, vision 1": ("traffic_junction", {**HARD, "vision": 1}),
    "predator_prey 5x5, vision 0": ("predator_prey", {}),
    "predator_prey 10x10, vision 1": (
        "predator_prey",
        {"players": 5, "size": 10, "vision": 1, "max_episode_steps": 40},
    ),
}

Rate = Callable[[float], float]  # seconds to run -> environment steps per second


def settings(env: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Returns the env_args of an environment's yaml with changes."""
    loaded = yaml.safe_load((ROOT / "config" / "envs" / f"{env}.yaml").read_text())["env_args"]
    return {**loaded, **changes}


def ours(env_name: str, env_args: dict[str, Any], num_envs: int) -> Rate:
    """Prepares our environment; everything is compiled when this returns."""
    from envs import ENTRIES
    from epymarl_lmac.tasks.entry import resolve

    env = resolve(ENTRIES[env_name].batched)(num_envs, 0, **env_args)
    rng = np.random.default_rng(0)
    actions_KBN = rng.integers(0, env.n_actions, (256, num_envs, env.n_agents))

    def play(n_steps: int) -> None:
        for k in range(n_steps):
            result = env.step(actions_KBN[k % 256])
            ended_B = result.terminated_B | result.truncated_B
            if ended_B.any():
                env.reset(ended_B)

    play(64)
    return lambda seconds: timed(play, num_envs, seconds)


def reference(checkout: Path, env_name: str, env_args: dict[str, Any]) -> Rate:
    """Prepares one of IC3Net's environments."""
    from benchmarks.ic3net_games import flat, make_predator_prey, make_traffic_junction

    make = {"traffic_junction": make_traffic_junction, "predator_prey": make_predator_prey}[env_name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        env = make(checkout, env_args)
    actions_KN = np.random.default_rng(0).integers(0, env.naction, (256, env_args["players"]))
    limit = env_args["max_episode_steps"]
    env.reset()

    def play(n_steps: int) -> None:
        for k in range(n_steps):
            flat(env.step(actions_KN[k % 256])[0])
            if k % limit == limit - 1:
                flat(env.reset())

    return lambda seconds: timed(play, 1, seconds)


def timed(play: Callable[[int], None], num_envs: int, seconds: float) -> float:
    """Doubles the number of steps until they take ``seconds``; returns environment steps per second of CPU time."""
    n_steps = 64
    while True:
        start = time.process_time()
        play(n_steps)
        elapsed = time.process_time() - start
        if elapsed >= seconds:
            return n_steps * num_envs / elapsed
        n_steps = max(2 * n_steps, int(1.1 * n_steps * seconds / max(elapsed, 1e-3)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ic3net", type=Path, help="checkout of IC3Net's repository; absent: its rows are skipped")
    parser.add_argument("--copies", type=int, default=64, help="environments side by side")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved measurements of every row")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of one measurement, CPU time")
    args = parser.parse_args()
    from benchmarks.ic3net_games import is_checkout

    if args.ic3net and not is_checkout(args.ic3net):
        parser.error(f"--ic3net {args.ic3net} is no checkout of IC3Net: it has no ic3net-envs/ic3net_envs.")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    machine = f"{platform.machine()}, Python {platform.python_version()}"
    print(f"random actions, one core, {machine}; environment steps per second of CPU time")
    print(f"median of {args.repeats} interleaved runs of {args.seconds:g} s, ours with {args.copies} copies\n")
    print(f"{'task':<32}{'ours':>14}{'IC3Net':>12}{'ratio':>10}")
    for name, (env_name, changes) in TASKS.items():
        env_args = settings(env_name, changes)
        rates = {"ours": ours(env_name, env_args, args.copies)}
        if args.ic3net:
            rates["IC3Net"] = reference(args.ic3net, env_name, env_args)
        found: dict[str, list[float]] = {row: [] for row in rates}
        for _ in range(args.repeats):
            for row, rate in rates.items():
                found[row].append(rate(args.seconds))
        medians = {row: statistics.median(values) for row, values in found.items()}
        line = f"{name:<32}{medians['ours']:>14,.0f}"
        if args.ic3net:
            ratio = medians["ours"] / medians["IC3Net"]
            line += f"{medians['IC3Net']:>12,.0f}{ratio:>10,.0f}{'' if ratio >= BAR else f'  below the bar of {BAR}'}"
        print(line)
    if not args.ic3net:
        print("skipped  IC3Net: no --ic3net given")


if __name__ == "__main__":
    main()
