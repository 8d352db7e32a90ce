"""Steps per second of the parallel runner beside the engine's own, in Google Research Football.

    python benchmarks/football_stepping.py [--map-name NAME] [--num-envs 1,2,4] [--acting main]
        [--episodes 32] [--realtime]

"engine": as many processes as have a core, at most ``num_envs``, each with the package's own environment
(``create_environment``, raw observations) and nothing else, that ends episodes where our task does (a reset takes as
long as six steps); their rates are added. "alone": our environment in ``num_envs`` such processes, without a trainer.
"runner": whole rounds of ``--episodes`` training episodes as ``runner=parallel`` plays them with ``num_envs``
processes, from the first reset to the last episode's end. "random" draws its actions, as the engine's row does; "qmix"
has the network choose among them (and takes random ones all the same, epsilon 1, so that the episodes are alike). All
take turns, so that whatever else the machine does meets all alike. Beside the clock stands CPU time, of all processes
together and of the trainer: what stepping costs where other programs take the cores (Linux). On a machine that is not
idle, ``--realtime`` keeps other programs away.
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
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]


class Turn(NamedTuple):
    """What one turn did."""

    steps: int
    seconds: float
    cpu_seconds: float  # of all processes
    trainer_seconds: float = 0.0  # CPU time of the trainer

    @property
    def rate(self) -> float:
        """Steps a second."""
        return self.steps / self.seconds


def take_priority(level: int | None) -> None:
    """Puts this process, and those it starts from now on, above all usual ones (Linux, root); None: leaves it."""
    if level is not None:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(level))


Row = Callable[[], Turn]  # plays one turn


def cpu_seconds(pid: int) -> float:
    """Returns the CPU time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_in_own_half(view: dict[str, Any]) -> bool:
    """Returns whether the ball or a player of ours but the keeper is left of the centre line, where our task ends."""
    return view["ball"][0] < 0 or view["left_team"][1:, 0].min() < 0


class Package:
    """The package's own environment, with the ends of our task."""

    def __init__(self, env_args: dict[str, Any], n_agents: int, seed: int) -> None:
        from gfootball.env import create_environment

        self._env = create_environment(
            env_args["map_name"],
            representation="raw",
            rewards="scoring",
            number_of_left_players_agent_controls=n_agents,
        )
        self._time_limit, self._t = env_args["time_limit"], 0

    def reset(self) -> None:
        """Starts an episode."""
        self._env.reset()
        self._t = 0

    def step(self, actions_N: np.ndarray) -> bool:
        """Returns whether the episode is over."""
        views, _, is_over, _ = self._env.step(actions_N.tolist())
        self._t += 1
        return is_over or self._t >= self._time_limit or is_in_own_half(views[0])


class Ours:
    """Our environment, as a worker of the runner steps it."""

    def __init__(self, env_args: dict[str, Any], n_agents: int, seed: int) -> None:
        from envs import REGISTRY
        from runners.adapters import OneEnv

        self._env = OneEnv(REGISTRY["gfootball"](seed=seed, **env_args))
        self.reset = self._env.reset

    def step(self, actions_N: np.ndarray) -> bool:
        """Returns whether the episode is over."""
        result = self._env.step(actions_N[None])
        return bool(result.terminated_B[0] or result.truncated_B[0])


def step_process(
    pipe: Any, kind: type[Package] | type[Ours], env_args: dict[str, Any], n_agents: int, seed: int
) -> None:
    """Steps an environment for as many seconds as it is asked; answers with what it did."""
    env = kind(env_args, n_agents, seed)
    rng = np.random.default_rng(seed)
    env.reset()
    pipe.send(None)
    while (seconds := pipe.recv()) is not None:
        steps, start, used = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - start < seconds:
            steps += 1
            if env.step(rng.integers(0, 19, n_agents)):
                env.reset()
        pipe.send(Turn(steps, time.perf_counter() - start, time.process_time() - used))


@contextmanager
def processes(
    kind: type[Package] | type[Ours], env_args: dict[str, Any], n_agents: int, n: int, seconds: float
) -> Iterator[Row]:
    """Starts processes with an environment each; all run at the same time."""
    context = multiprocessing.get_context("spawn")
    pipes = []
    for seed in range(n):
        ours, theirs = context.Pipe()
        job = (theirs, kind, env_args, n_agents, seed)
        context.Process(target=step_process, args=job, daemon=True).start()
        pipes.append(ours)
    for pipe in pipes:
        pipe.recv()

    def play() -> Turn:
        for pipe in pipes:
            pipe.send(seconds)
        turns = [pipe.recv() for pipe in pipes]
        return Turn(sum(t.steps for t in turns), max(t.seconds for t in turns), sum(t.cpu_seconds for t in turns))

    yield play
    for pipe in pipes:
        pipe.send(None)


class RandomActions:
    """A controller that draws actions, all equally likely, and remembers nothing."""

    action_selector = SimpleNamespace(fixed_epsilon=None)

    def __init__(self, scheme: Any, groups: Any, args: Any) -> None:
        self.memory: dict[str, torch.Tensor] = {}
        self._n_agents, self._n_actions = args.n_agents, args.n_actions

    def init_hidden(self, batch_size: int) -> None:
        """There is nothing to forget."""

    def needs_one_step(self, test_mode: bool) -> bool:
        """Episodes may be at any steps."""
        return False

    def select_actions(self, ep_batch: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Returns actions, long (B, N)."""
        return torch.randint(self._n_actions, (ep_batch.batch_size, self._n_agents))

    def acting_state(self) -> None:
        """There is nothing that acting depends on."""

    def load_acting_state(self, state: None) -> None:
        """There is nothing to take over."""

    def seed_acting(self, seed: int) -> None:
        """Begins the draws anew."""
        torch.default_generator.manual_seed(seed)  # as the controllers here; torch.manual_seed takes 0.1 ms

    def take_tally(self) -> None:
        """There is nothing to count."""

    def add_tally(self, tally: None) -> None:
        """There is nothing to count."""


@contextmanager
def runner(map_name: str, num_envs: int, episodes: int, acting: str) -> Iterator[dict[str, Row]]:
    """Starts ``runner=parallel``; one row with random actions and one with the network's."""
    from epymarl_lmac.settings import load_settings
    from run import Experiment
    from utils.logging import Logger, get_logger

    words = [f"env_args.map_name={map_name}", f"batch_size_run={episodes}", f"num_envs={num_envs}", "use_cuda=False"]
    words.append(f"acting={acting}")
    experiment = Experiment(load_settings("qmix", "gfootball", words), Logger(get_logger()))
    runner, args = experiment.runner, experiment.args
    controllers = {"random": RandomActions(None, None, args), "qmix": experiment.mac}

    def play(name: str) -> Turn:
        runner.mac = controllers[name]
        if runner.acting == "workers":
            runner._bring_controllers(runner._env)
        pids, before = [os.getpid(), *runner._env.pids], runner.t_env
        start, used = time.perf_counter(), [cpu_seconds(pid) for pid in pids]
        runner.run(epsilon=1.0)
        seconds = time.perf_counter() - start
        spent = [cpu_seconds(pid) - earlier for pid, earlier in zip(pids, used, strict=True)]
        return Turn(runner.t_env - before, seconds, sum(spent), spent[0])

    yield {name: partial(play, name) for name in controllers}
    runner.close_env()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--map-name", default="academy_3_vs_1_with_keeper")
    parser.add_argument("--num-envs", default="1,2,4,8", help="numbers of the runner's processes, e.g. 1,8")
    parser.add_argument("--episodes", type=int, default=32, help="episodes of a round")
    parser.add_argument("--acting", choices=("workers", "main"), default="workers", help="who chooses actions")
    parser.add_argument("--repeats", type=int, default=5, help="turns of every row")
    parser.add_argument(
        "--realtime",
        action="store_true",
        help="play above everything else on the machine, the trainer above the engines (Linux, root)",
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a turn of the engine's row")
    args = parser.parse_args()

    from epymarl_lmac.cores import n_cores
    from epymarl_lmac.settings.load import merge
    from epymarl_lmac.tasks import task_card

    env_args = merge("qmix", "gfootball", [f"env_args.map_name={args.map_name}"])["env_args"]
    n_agents = task_card("gfootball", env_args).n_agents
    cores = n_cores()
    print(f"{args.map_name}, random actions, {cores} cores, {platform.machine()}, Python {platform.python_version()}")
    print(f"{args.repeats} turns, rounds of {args.episodes} episodes; clock: median of the turns, CPU: all of them\n")
    heads = f"{'num_envs':>8} {'row':<8} {'steps/s':>8} {'ratio':>6} {'steps/CPU s':>12} {'ratio':>6}"
    print(f"{heads} {'trainer, CPU ms a step':>22}")
    priorities = (10, 11) if args.realtime else (None, None)  # of the engines, of the trainer
    for num_envs in map(int, args.num_envs.split(",")):
        take_priority(priorities[0])
        with (
            processes(Package, env_args, n_agents, min(num_envs, cores), args.seconds) as own,
            processes(Ours, env_args, n_agents, num_envs, args.seconds) as alone,
            runner(args.map_name, num_envs, args.episodes, args.acting) as ours,
        ):
            take_priority(priorities[1])
            rows = {"engine": own, "alone": alone, **ours}
            found: dict[str, list[Turn]] = {name: [] for name in rows}
            for _ in range(args.repeats):
                for name, play in rows.items():
                    found[name].append(play())
        clock = {name: statistics.median(t.rate for t in turns) for name, turns in found.items()}
        cpu = {name: sum(t.steps for t in turns) / sum(t.cpu_seconds for t in turns) for name, turns in found.items()}
        for name in rows:
            ratios = clock[name] / clock["engine"], cpu[name] / cpu["engine"]
            shown = f"{clock[name]:>8.0f} {ratios[0]:>6.2f} {cpu[name]:>12.0f} {ratios[1]:>6.2f}"
            turns = found[name]
            trainer = 1000 * sum(t.trainer_seconds for t in turns) / sum(t.steps for t in turns)
            print(f"{num_envs:>8} {name:<8} {shown} {trainer:>22.2f}", flush=True)


if __name__ == "__main__":
    main()
