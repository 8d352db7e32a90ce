"""Stepping speed of the battle simulator: the engine with random orders, and SMAClite beside it.

    python benchmarks/battle_stepping.py [--maps bane_vs_hM,MMM] [--battles 1,8,64,512] [--smaclite FOLDER]

Prints one table: environment steps a second on one core (the quartile of fast runs) over the number of battles.
Measured is the simulator alone, without observations. Battles that end are started anew, which counts. ``--smaclite``
is a checkout of uoe-agents/smaclite whose packages are installed.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src"), str(ROOT / "benchmarks")]

from timing import quartile  # noqa: E402

from envs.battle.maps import load_map  # noqa: E402
from envs.battle.simulator import ATTACK, MOVE, Orders, Simulator  # noqa: E402

MAPS = ("bane_vs_hM", "3m", "3s_vs_5z", "MMM", "2o_20b_vs_2r", "1o_10b_vs_1r")
SMACLITE_NAMES = {"3s_vs_5z": "3s_vs_5z", "MMM": "mmm", "2s3z": "2s3z", "3s5z": "3s5z"}


def random_orders(sim: Simulator, rng: np.random.Generator) -> Orders:
    """Moves by 2 in one of four directions (two of three) or attacks on a random enemy, for every ally."""
    n, m = sim.table.n_allies, sim.table.n_enemies
    shape = (sim.num_envs, n)
    direction = np.array([(0, 2), (0, -2), (2, 0), (-2, 0)], np.float32)[rng.integers(4, size=shape)]
    position = np.stack([sim.table.x[:, :n], sim.table.y[:, :n]], -1)
    kind = np.where(rng.random(shape) < 2 / 3, MOVE, ATTACK).astype(np.int8)
    return Orders(kind, (n + rng.integers(m, size=shape)).astype(np.int16), position + direction)


def engine_rate(map_name: str, battles: int, seconds: float) -> float:
    """Environment steps a second of the engine alone, resets included."""
    sim = Simulator(load_map(map_name), battles, seed=0)
    rng = np.random.default_rng(0)
    n, limit = sim.table.n_allies, sim.battle_map.limit
    age_B = rng.integers(limit, size=battles)  # so that resets spread over the steps
    spent, steps = 0.0, 0
    while spent < seconds:
        orders = random_orders(sim, rng)  # not the engine's work, so not timed
        start = time.perf_counter()
        sim.step(orders)
        alive = sim.table.alive
        age_B += 1
        is_over = (age_B >= limit) | ~alive[:, :n].any(1) | ~alive[:, n:].any(1)
        if is_over.any():
            sim.reset(is_over)
            age_B[is_over] = 0
        spent += time.perf_counter() - start
        steps += battles
    return steps / spent


def smaclite_rate(folder: Path, map_name: str, steps: int) -> float | None:
    """Environment steps a second of SMAClite, one process, random available actions."""
    if map_name not in SMACLITE_NAMES:
        return None
    sys.path.insert(0, str(folder))
    import gym
    import smaclite  # noqa: F401

    env = gym.make(f"smaclite/{SMACLITE_NAMES[map_name]}-v0")
    env.reset()
    rng = np.random.default_rng(0)

    def run() -> None:
        for _ in range(steps):
            actions = [int(rng.choice(np.flatnonzero(row))) for row in env.unwrapped.get_avail_actions()]
            if env.step(actions)[2]:
                env.reset()

    return steps / quartile(run, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", default=",".join(MAPS))
    parser.add_argument("--battles", default="1,8,64,512")
    parser.add_argument("--seconds", type=float, default=2.0, help="time of one measurement")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--smaclite", type=Path, help="a checkout of uoe-agents/smaclite")
    args = parser.parse_args()
    counts = [int(count) for count in args.battles.split(",")]
    print(f"environment steps a second, one core, quartile of {args.repeats} fast runs\n")
    print("| map | " + " | ".join(f"{count} battles" for count in counts) + " | SMAClite |")
    print("| --- | " + "--- | " * (len(counts) + 1))
    for name in args.maps.split(","):
        engine_rate(name, 1, 0.1)  # compiled, caches warm
        rates = [
            sorted(engine_rate(name, count, args.seconds) for _ in range(args.repeats))[-1 - args.repeats // 4]
            for count in counts
        ]
        other = smaclite_rate(args.smaclite, name, 100) if args.smaclite else None
        shown = f"{other:,.0f} (64 battles: {rates[counts.index(64)] / other:,.0f} times)" if other else "not run"
        print(f"| {name} | " + " | ".join(f"{rate:,.0f}" for rate in rates) + f" | {shown} |", flush=True)


if __name__ == "__main__":
    main()
