"""Steps per second of our parallel runner's environment beside the engine's own, in Google Research Football.

    python benchmarks/football_stepping.py [--map-name NAME] [--processes 1,2] [--repeats 5] [--seconds 5]

"engine": that many processes, each with the package's own environment (``create_environment``, raw observations) and
nothing else; their rates are added. "runner": that many copies as ``runner=parallel`` steps them, with observations and
state, in step with each other; a copy whose episode has ended waits for the others, as in training. Both play uniformly
random actions and start new episodes, and take turns, so that whatever else the machine does meets both alike. Beside
the clock stands CPU time, of all processes together: what stepping costs where other programs take the cores (Linux).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]


class Turn(NamedTuple):
    """What one turn did."""

    steps: int
    seconds: float
    cpu_seconds: float


Row = Callable[[float], Turn]  # plays for so many seconds


def cpu_seconds(pid: int) -> float:
    """Returns the CPU time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def engine_process(pipe: Any, map_name: str, n_agents: int, time_limit: int, seed: int) -> None:
    """Steps the package's environment for as many seconds as it is asked; answers with what it did."""
    from gfootball.env import create_environment

    env = create_environment(
        map_name, representation="raw", rewards="scoring", number_of_left_players_agent_controls=n_agents
    )
    rng = np.random.default_rng(seed)
    env.reset()
    pipe.send(None)
    t = 0
    while (seconds := pipe.recv()) is not None:
        steps, start, used = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - start < seconds:
            is_over = env.step(rng.integers(0, 19, n_agents).tolist())[2]
            steps, t = steps + 1, t + 1
            if is_over or t >= time_limit:
                env.reset()
                t = 0
        pipe.send(Turn(steps, time.perf_counter() - start, time.process_time() - used))


@contextmanager
def engine(map_name: str, n_agents: int, time_limit: int, processes: int) -> Iterator[Row]:
    """Starts processes with the package's environment; all run at the same time."""
    context = multiprocessing.get_context("spawn")
    pipes = []
    for seed in range(processes):
        ours, theirs = context.Pipe()
        job = (theirs, map_name, n_agents, time_limit, seed)
        context.Process(target=engine_process, args=job, daemon=True).start()
        pipes.append(ours)
    for pipe in pipes:
        pipe.recv()

    def play(seconds: float) -> Turn:
        for pipe in pipes:
            pipe.send(seconds)
        turns = [pipe.recv() for pipe in pipes]
        return Turn(sum(t.steps for t in turns), max(t.seconds for t in turns), sum(t.cpu_seconds for t in turns))

    yield play
    for pipe in pipes:
        pipe.send(None)


@contextmanager
def runner(env_args: dict[str, Any], processes: int) -> Iterator[Row]:
    """Starts the environment of ``runner=parallel``."""
    from envs.making import make_one
    from epymarl_lmac.tasks import ENTRIES
    from runners.worker_pool import WorkerPool

    makers = [partial(make_one, "gfootball", ENTRIES["gfootball"], seed=seed, **env_args) for seed in range(processes)]
    pool = WorkerPool("gfootball", makers, list(range(processes)))
    rng = np.random.default_rng(0)
    running_B = np.zeros(processes, np.bool_)

    def play(seconds: float) -> Turn:
        pids = [os.getpid(), *pool.pids]
        steps, start, used = 0, time.perf_counter(), sum(map(cpu_seconds, pids))
        while time.perf_counter() - start < seconds:
            if not running_B.any():
                pool.reset()
                running_B[:] = True
            result = pool.step(rng.integers(0, pool.n_actions, (processes, pool.n_agents)))
            steps += int(running_B.sum())
            running_B[:] &= ~(result.terminated_B | result.truncated_B)
        return Turn(steps, time.perf_counter() - start, sum(map(cpu_seconds, pids)) - used)

    yield play
    pool.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--map-name", default="academy_3_vs_1_with_keeper")
    parser.add_argument("--processes", default="1,2", help="numbers of processes, e.g. 1,2,8")
    parser.add_argument("--repeats", type=int, default=5, help="turns of every row")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one turn")
    args = parser.parse_args()

    from epymarl_lmac.settings.load import merge
    from epymarl_lmac.tasks import task_card

    env_args = merge("qmix", "gfootball", [f"env_args.map_name={args.map_name}"])["env_args"]
    n_agents, time_limit = task_card("gfootball", env_args).n_agents, env_args["time_limit"]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{args.map_name}, random actions, {cores} cores, {platform.machine()}, Python {platform.python_version()}")
    print(f"{args.repeats} turns of {args.seconds:g} s each; clock: median of the turns, CPU: all turns together\n")
    print(f"{'':>9} {'steps a second':^25} {'steps a CPU second':^25}")
    print(f"{'processes':>9}" + 2 * f" {'engine':>8} {'runner':>8} {'ratio':>7}")
    for processes in map(int, args.processes.split(",")):
        found: list[list[Turn]] = [[], []]
        with engine(args.map_name, n_agents, time_limit, processes) as own, runner(env_args, processes) as ours:
            for _ in range(args.repeats):
                for turns, play in zip(found, (own, ours), strict=True):
                    turns.append(play(args.seconds))
        clock = [statistics.median(t.steps / t.seconds for t in turns) for turns in found]
        cpu = [sum(t.steps for t in turns) / sum(t.cpu_seconds for t in turns) for turns in found]
        columns = "".join(f" {rates[0]:>8.0f} {rates[1]:>8.0f} {rates[1] / rates[0]:>7.2f}" for rates in (clock, cpu))
        print(f"{processes:>9}{columns}", flush=True)


if __name__ == "__main__":
    main()
