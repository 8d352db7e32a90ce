"""Steps per second of our battles on one core, beside SMAClite and SMAX, in interleaved turns.

    python benchmarks/battle_stepping.py [--maps bane_vs_hM,MMM] [--battles 1,8,64,512]
        [--smaclite FOLDER] [--smax-python INTERPRETER]

Every row plays uniformly random available actions, makes observations, state and available actions, and starts ended
battles anew; choosing the actions is part of it. A step counts once a battle, however many units it has. "engine" is
our simulator alone: random orders, nothing observed, as a lower bound of what observing costs.

``--smaclite`` is a checkout of uoe-agents/smaclite whose packages are installed; it plays one battle at a time.
``--smax-python`` is an interpreter that has jaxmarl; SMAX has no terrain, shields, wind-up or missiles. Rows of other
programs are left out where these are not given, and the output says so.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from envs.battle.maps import load_map  # noqa: E402
from envs.battle.simulator import ATTACK, MOVE, Orders, Simulator  # noqa: E402
from envs.sc2 import Sc2Env  # noqa: E402
from epymarl_lmac.settings import merge  # noqa: E402

WORKER = Path(__file__).with_name("smax_stepping.py")
MAPS = ("bane_vs_hM", "3m", "3s_vs_5z", "MMM", "2o_20b_vs_2r", "1o_10b_vs_1r")
SMACLITE_NAMES = {"3s_vs_5z": "3s_vs_5z", "MMM": "mmm", "2s3z": "2s3z", "3s5z": "3s5z"}
SMAX_MAPS = ("3m", "2s3z", "3s5z", "3s_vs_5z")
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}

Rate = Callable[[float], float]  # seconds to play -> environment steps per second


def repeated(step: Callable[[], object], num_envs: int) -> Rate:
    """Returns the rate of a function that steps all battles once."""

    def play(seconds: float) -> float:
        n, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            step()
            n += num_envs
        return n / (time.perf_counter() - start)

    play(0.2)  # compiled, caches warm
    return play


def ours(map_name: str, battles: int) -> Rate:
    """Returns the rate of the environment as a run steps it."""
    settings = [f"env_args.map_name={map_name}", "env_args.engine=embedded"]
    env = Sc2Env(battles, 0, **merge("qmix", "sc2", settings)["env_args"])
    rng = np.random.default_rng(0)
    env.reset()

    def step() -> None:
        weight_BNA = rng.random(env.avail_BNA.shape, np.float32) * env.avail_BNA
        result = env.step(weight_BNA.argmax(2))
        over_B = result.terminated_B | result.truncated_B
        if over_B.any():
            env.reset(over_B)

    return repeated(step, battles)


def random_orders(sim: Simulator, rng: np.random.Generator) -> Orders:
    """Moves by 2 in one of four directions (two of three) or attacks on a random enemy, for every ally."""
    n, m = sim.table.n_allies, sim.table.n_enemies
    shape = (sim.num_envs, n)
    direction = np.array([(0, 2), (0, -2), (2, 0), (-2, 0)], np.float32)[rng.integers(4, size=shape)]
    position = np.stack([sim.table.x[:, :n], sim.table.y[:, :n]], -1)
    kind = np.where(rng.random(shape) < 2 / 3, MOVE, ATTACK).astype(np.int8)
    return Orders(kind, (n + rng.integers(m, size=shape)).astype(np.int16), position + direction)


def engine(map_name: str, battles: int) -> Rate:
    """Returns the rate of the simulator alone."""
    sim = Simulator(load_map(map_name), battles, seed=0)
    rng = np.random.default_rng(0)
    n, limit = sim.table.n_allies, sim.battle_map.limit
    age_B = rng.integers(limit, size=battles)  # so that resets spread over the steps

    def step() -> None:
        sim.step(random_orders(sim, rng))
        alive = sim.table.alive
        age_B[:] += 1
        is_over = (age_B >= limit) | ~alive[:, :n].any(1) | ~alive[:, n:].any(1)
        if is_over.any():
            sim.reset(is_over)
            age_B[is_over] = 0

    return repeated(step, battles)


def smaclite(folder: Path, map_name: str) -> Rate:
    """Returns the rate of SMAClite, one battle."""
    sys.path.insert(0, str(folder))
    import gym
    import smaclite  # noqa: F401

    env = gym.make(f"smaclite/{SMACLITE_NAMES[map_name]}-v0")
    env.reset()
    rng = np.random.default_rng(0)

    def step() -> None:
        actions = [int(rng.choice(np.flatnonzero(row))) for row in env.unwrapped.get_avail_actions()]
        is_over = env.step(actions)[2]
        env.unwrapped.get_state()
        if is_over:
            env.reset()

    return repeated(step, 1)


def smax(python: str, map_name: str, battles: int) -> Rate:
    """Returns the rate of SMAX in another interpreter, which waits while others are timed."""
    process = subprocess.Popen(
        [python, str(WORKER), map_name, str(battles)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **ONE_THREAD},
    )
    assert process.stdin is not None and process.stdout is not None
    requests, answers = process.stdin, process.stdout

    def answer() -> str:
        line = answers.readline()
        if not line:
            raise RuntimeError(f"The SMAX worker ended with exit status {process.wait()}; its message is above.")
        return line.strip()

    print(f"SMAX {map_name}, {battles} battles, {answer()}", file=sys.stderr)

    def play(seconds: float) -> float:
        print(seconds, file=requests, flush=True)
        return float(answer())

    return play


def rows_of(map_name: str, counts: list[int], options: argparse.Namespace) -> dict[tuple[str, int], Rate]:
    """Returns what is measured on a map, by program and number of battles."""
    rows: dict[tuple[str, int], Rate] = {}
    for count in counts:
        rows["ours", count] = ours(map_name, count)
        rows["engine", count] = engine(map_name, count)
        if options.smax_python and map_name in SMAX_MAPS:
            rows["SMAX", count] = smax(options.smax_python, map_name, count)
    if options.smaclite and map_name in SMACLITE_NAMES:
        rows["SMAClite", 1] = smaclite(options.smaclite, map_name)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", default=",".join(MAPS))
    parser.add_argument("--battles", default="1,8,64,512")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of one turn")
    parser.add_argument("--repeats", type=int, default=5, help="turns of every row")
    parser.add_argument("--smaclite", type=Path, help="a checkout of uoe-agents/smaclite")
    parser.add_argument("--smax-python", help="an interpreter that has jaxmarl")
    options = parser.parse_args()
    if options.smaclite and not (options.smaclite / "smaclite").is_dir():
        parser.error(f"--smaclite {options.smaclite} has no folder smaclite; give a checkout of uoe-agents/smaclite.")
    if options.smax_python and not Path(options.smax_python).is_file():
        parser.error(f"--smax-python {options.smax_python} is no file; give an interpreter that has jaxmarl.")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    counts = [int(count) for count in options.battles.split(",")]
    print(f"steps a second, one core, {platform.machine()}, Python {platform.python_version()}; median of")
    print(f"{options.repeats} interleaved turns of {options.seconds:g} s")
    for flag, program in (("--smaclite", "SMAClite"), ("--smax-python", "SMAX")):
        if not getattr(options, flag[2:].replace("-", "_")):
            print(f"{program}: not run, no {flag} given")
    print("\n| map | program | " + " | ".join(f"{count}" for count in counts) + " | ours at the most battles, times |")
    print("| --- | --- | " + "--- | " * len(counts) + "--- |")
    for map_name in options.maps.split(","):
        rows = rows_of(map_name, counts, options)
        found: dict[tuple[str, int], list[float]] = {row: [] for row in rows}
        for _ in range(options.repeats):
            for row, play in rows.items():
                found[row].append(play(options.seconds))
        rates = {row: statistics.median(values) for row, values in found.items()}
        for program in dict.fromkeys(program for program, _ in rates):
            cells = [f"{rates[program, n]:,.0f}" if (program, n) in rates else "" for n in counts]
            best = max(n for name, n in rates if name == program)
            ratio = rates["ours", 64 if best == 1 and 64 in counts else best] / rates[program, best]
            print(f"| {map_name} | {program} | " + " | ".join(cells) + f" | {ratio:,.2f} |", flush=True)


if __name__ == "__main__":
    main()
