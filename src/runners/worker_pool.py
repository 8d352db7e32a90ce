"""Environments in processes of their own, seen together as one ``BatchedEnv``.

For engines that cannot be stepped as arrays. Every answer has a deadline. What goes wrong in a worker stops
the run with one message: which worker, environment, seed and step. No worker outlives the pool.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import multiprocessing.util  # registers its exit hook, which waits for children: ours must run before it
import pickle
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from envs.batched import BatchedEnv, StepResult
from envs.multiagentenv import MultiAgentEnv
from envs.scene import Scene
from epymarl_lmac.errors import TaskError, UserError
from runners.env_worker import run_worker

if TYPE_CHECKING:
    from runners.episode_player import ControllerSource, EpisodeRequest, PlayedEpisode

START_TIMEOUT_S = 300.0  # a game engine may take a minute to start, and many start at once
ANSWER_TIMEOUT_S = 120.0
CLOSE_TIMEOUT_S = 10.0
EPISODE_STEP_S = 1.0  # longest a step may take on average, where a worker plays whole episodes
SLICE_S = 5.0  # waiting is counted in slices: a run that is suspended for hours spends one of them
LOG_LINES = 8


class EnvWorkerError(UserError):
    """An environment process that failed, was killed or gave no answer.

    Args:
        message: the whole sentence shown to the user.
        worker: index of the worker.
        env: name of the environment.
        seed: its seed.
        step: steps that this worker has taken since it started; where it plays whole episodes, those of finished ones.
    """

    def __init__(self, message: str, worker: int, env: str, seed: int, step: int) -> None:
        super().__init__(message)
        self.worker = worker
        self.env = env
        self.seed = seed
        self.step = step


class WorkerStep(NamedTuple):
    """What one step did in one worker's environment; the names are those of ``StepResult``."""

    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, float]
    alive_N: np.ndarray | None
    reward_N: np.ndarray | None


class WorkerPool(BatchedEnv):
    """One process an environment.

    As a ``BatchedEnv`` all environments step together. Each can also be asked on its own: ``begin_reset`` or
    ``begin_step``, and ``finish_reset`` or ``finish_step`` for the answer; in between the process works while this one
    does something else. With a controller of its own (``make_controllers``) a worker plays whole episodes:
    ``begin_episode`` and ``finish_episode``.

    Attributes:
        name: name of the environment, for messages.

    Args:
        name: name of the environment, for messages.
        factories: one a worker; makes its environment there. Must be picklable: a function of a module, or a
            ``functools.partial`` of one.
        seeds: the environments' seeds, for messages.
        start_timeout_s: longest wait for the first answer, seconds.
        answer_timeout_s: longest wait for any other answer, seconds.

    Raises:
        TaskError: the environment refuses its settings.
        EnvWorkerError: a worker did not start.
    """

    def __init__(
        self,
        name: str,
        factories: Sequence[Callable[[], MultiAgentEnv]],
        seeds: Sequence[int],
        start_timeout_s: float = START_TIMEOUT_S,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> None:
        self.name = name
        self._timeout_s, self._start_timeout_s = answer_timeout_s, start_timeout_s
        self._is_closed = False
        self.controllers_of: object = None
        self._logs = Path(tempfile.mkdtemp(prefix="epymarl-lmac-workers-"))
        self.num_envs = 0
        self._seeds: list[int] = []
        self._n_steps: list[int] = []
        self._unanswered: list[str | None] = []  # the command that a worker works on
        self._patience_s: list[float] = []  # how much longer a worker's answer is waited for
        self._pipes: list[Any] = []
        self._processes: list[Any] = []
        atexit.register(self.close)
        info, self._rules = self._start(factories, seeds)[0]
        self.n_agents, self.n_actions, self.episode_limit = info.n_agents, info.n_actions, info.episode_limit
        self.obs_dim, self.state_dim = info.obs_dim, info.state_dim
        self.has_alive, self.reward_per_agent = info.has_alive, info.reward_per_agent
        self.seeds_episodes = info.seeds_episodes
        self._make_room()

    def add(self, factories: Sequence[Callable[[], MultiAgentEnv]], seeds: Sequence[int]) -> None:
        """Starts more workers; before the first episode. Arguments and errors as of the class."""
        if factories:
            self._start(factories, seeds)
            self._make_room()

    def _start(self, factories: Sequence[Callable[[], MultiAgentEnv]], seeds: Sequence[int]) -> list[Any]:
        """Starts workers side by side; returns what they say of their environments."""
        # "spawn": a forked child would hold copies of its siblings' pipes and hide that one of them ended.
        context = multiprocessing.get_context("spawn")
        started = range(self.num_envs, self.num_envs + len(factories))
        for i, factory, seed in zip(started, factories, seeds, strict=True):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=run_worker,
                args=(theirs, factory, str(self._log_path(i))),
                name=f"env-worker-{i}",
                daemon=True,
            )
            try:
                process.start()
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                self.close()
                raise TaskError(
                    f"env {self.name!r} cannot be started in another process: {error}. Register a function or "
                    "class of a module, or use runner=episode."
                ) from error
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
            self._seeds.append(seed)
            self._n_steps.append(0)
            self._unanswered.append(None)
            self._patience_s.append(0.0)
        self.num_envs = len(self._processes)
        return self._ask_each(started, "describe", [None] * len(started), self._start_timeout_s)

    def _make_room(self) -> None:
        self.obs_BNO = np.zeros((self.num_envs, self.n_agents, self.obs_dim), np.float32)
        self.state_BS = np.zeros((self.num_envs, self.state_dim), np.float32)
        self.avail_BNA = np.zeros((self.num_envs, self.n_agents, self.n_actions), np.uint8)
        self.alive_BN = np.ones((self.num_envs, self.n_agents), np.bool_) if self.has_alive else None
        self._is_running_B = np.zeros(self.num_envs, np.bool_)

    @property
    def rules(self) -> str:
        return self._rules

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [process.pid for process in self._processes]

    # -- the environment -----------------------------------------------------------------------------------

    def reset(self) -> None:
        for i in range(self.num_envs):
            self.begin_reset(i)
        for i in range(self.num_envs):
            self.finish_reset(i)
        self._is_running_B[:] = True

    def step(self, actions_BN: np.ndarray) -> StepResult:
        """Moves every copy that has not ended; those that have are not asked."""
        reward_B = np.zeros(self.num_envs, np.float32)
        terminated_B, truncated_B = np.zeros((2, self.num_envs), np.bool_)
        alive_BN = np.zeros((self.num_envs, self.n_agents), np.bool_) if self.has_alive else None
        reward_BN = np.zeros((self.num_envs, self.n_agents), np.float32) if self.reward_per_agent else None
        info: dict[str, np.ndarray] = {}
        running = np.flatnonzero(self._is_running_B).tolist()
        for i in running:
            self.begin_step(i, actions_BN[i])
        for i in running:
            step = self.finish_step(i)
            reward_B[i], terminated_B[i], truncated_B[i] = step.reward, step.terminated, step.truncated
            if alive_BN is not None:
                alive_BN[i] = step.alive_N
            if reward_BN is not None:
                reward_BN[i] = step.reward_N
            for key, value in step.info.items():
                info.setdefault(key, np.zeros(self.num_envs, np.float32))[i] = value
        self._is_running_B &= ~(terminated_B | truncated_B)
        return StepResult(reward_B, terminated_B, truncated_B, info, alive_BN, reward_BN)

    def begin_reset(self, i: int) -> None:
        """Asks worker i for a new episode."""
        self._send(i, "reset", None)

    def finish_reset(self, i: int) -> None:
        """Waits for worker i's new episode; what is observed then stands in row i of the pool's arrays."""
        views, alive_N = self._receive(i)
        self._see(i, views)
        self._note_alive(i, alive_N)

    def begin_step(self, i: int, actions_N: np.ndarray) -> None:
        """Asks worker i for a step; actions int64 (N,)."""
        self._send(i, "step", actions_N)

    def finish_step(self, i: int) -> WorkerStep:
        """Waits for worker i's step; what is observed then stands in row i of the pool's arrays."""
        views, *rest = self._receive(i)
        self._n_steps[i] += 1
        self._see(i, views)
        step = WorkerStep(*rest)
        self._note_alive(i, step.alive_N)
        return step

    def _see(self, i: int, views: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
        self.obs_BNO[i], self.state_BS[i], self.avail_BNA[i] = views

    def _note_alive(self, i: int, alive_N: np.ndarray | None) -> None:
        if self.alive_BN is not None and alive_N is not None:  # whoever stores the step refuses a missing one
            self.alive_BN[i] = alive_N

    def state_dict(self) -> dict[str, np.ndarray]:
        """Returns the states of all workers' environments, named ``"<worker>.<array>"``."""
        states = self._ask_all("state_dict", [None] * self.num_envs)
        return {f"{i}.{key}": value for i, state in enumerate(states) for key, value in state.items()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        states: list[dict[str, np.ndarray]] = [{} for _ in range(self.num_envs)]
        for name, value in state.items():
            worker, _, key = name.partition(".")
            if int(worker) >= self.num_envs:
                raise ValueError(
                    f"the saved state has an environment {worker}, but only {self.num_envs} run side by side; "
                    "load it with the settings it was saved with."
                )
            states[int(worker)][key] = value
        for i, views in enumerate(self._ask_all("load_state_dict", states)):
            self._see(i, views)

    def for_tests(self) -> None:
        self._ask_all("for_tests", [None] * self.num_envs)

    def render(self, copy: int = 0, mode: str = "text") -> Any:
        return self._ask(copy, "render", mode)

    def scene(self, copy: int = 0) -> Scene | None:
        return self._ask(copy, "scene", None)

    # -- whole episodes ------------------------------------------------------------------------------------

    def make_controllers(self, source: ControllerSource, original: object) -> None:
        """Gives every worker a controller of its own.

        Args:
            source: what they are made of.
            original: the controller that they are copies of, kept as ``controllers_of``.
        """
        self._ask_all("make_controller", [source] * self.num_envs, self._start_timeout_s)
        self.controllers_of = original

    def load_acting_state(self, state: Any) -> None:
        """Brings the workers' controllers up to date with ``PortableController.acting_state``."""
        self._ask_all("load_acting_state", [state] * self.num_envs)

    def begin_episode(self, i: int, request: EpisodeRequest) -> None:
        """Asks worker i to play an episode."""
        self._send(i, "play", request, self._timeout_s + EPISODE_STEP_S * self.episode_limit)

    def finish_episode(self, i: int) -> PlayedEpisode:
        """Waits for worker i's episode."""
        episode: PlayedEpisode = self._receive(i)
        self._n_steps[i] += episode.length
        return episode

    # -- talking to workers --------------------------------------------------------------------------------

    def _ask(self, i: int, command: str, data: Any) -> Any:
        self._send(i, command, data)
        return self._receive(i)

    def _ask_all(self, command: str, data: Sequence[Any], timeout_s: float | None = None) -> list[Any]:
        return self._ask_each(range(self.num_envs), command, data, self._timeout_s if timeout_s is None else timeout_s)

    def _ask_each(self, workers: Sequence[int], command: str, data: Sequence[Any], timeout_s: float) -> list[Any]:
        for i, item in zip(workers, data, strict=True):
            self._send(i, command, item, timeout_s)
        return [self._receive(i) for i in workers]

    def _send(self, i: int, command: str, data: Any, timeout_s: float | None = None) -> None:
        if self._is_closed:
            raise RuntimeError(f"the environment processes of {self.name} are closed.")
        if self._unanswered[i] is not None:  # whoever asked was interrupted before it took the answer
            self._receive(i)
        self._unanswered[i] = command
        self._patience_s[i] = self._timeout_s if timeout_s is None else timeout_s
        try:
            self._pipes[i].send((command, data))
        except (BrokenPipeError, ConnectionResetError):
            self._fail_ended(i, command)

    def wait_for_any(self, workers: Collection[int]) -> list[int]:
        """Waits until some of these workers have answered, or are late; returns them, lowest number first."""
        pipes = {self._pipes[i]: i for i in workers}
        while True:
            slice_s = min(SLICE_S, *(self._patience_s[i] for i in workers))
            if ready := wait(list(pipes), max(0.0, slice_s)):
                return sorted(pipes[pipe] for pipe in ready)
            for i in workers:
                self._patience_s[i] -= slice_s
            if late := sorted(i for i in workers if self._patience_s[i] <= 0):
                return late

    def _receive(self, i: int) -> Any:
        """Returns worker i's answer to what it was last asked."""
        pipe, command = self._pipes[i], self._unanswered[i]
        assert command is not None
        try:
            self.wait_for_any([i])
            if self._patience_s[i] <= 0 and not pipe.poll():
                self._processes[i].kill()
                self._fail(i, f"gave no answer to {command}() in time and was ended", self._log_tail(i))
            self._unanswered[i] = None  # not before: whoever is interrupted while it waits has not taken the answer
            status, answer = pipe.recv()
        except (EOFError, ConnectionResetError):
            self._fail_ended(i, command)
        if status == "error":
            if answer["is_user_error"]:
                self.close()
                raise TaskError(answer["message"])
            log = self._log_tail(i)
            lines = answer["last_lines"] + (f"\nIt had printed:\n{log}" if log else "")
            self._fail(i, f"failed in {command}(): {answer['summary']}", lines)
        return answer

    def _fail_ended(self, i: int, command: str) -> NoReturn:
        """Reports a worker whose end of the pipe is gone."""
        self._processes[i].join(CLOSE_TIMEOUT_S)
        code = self._processes[i].exitcode
        if code is not None and code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
            if -code == signal.SIGKILL:
                how += " (often for lack of memory: use a smaller batch_size_run)"
        else:
            how = f"ended with exit status {code}"
        self._fail(i, f"{how} during {command}()", self._log_tail(i))

    def _fail(self, i: int, what: str, last_lines: str) -> NoReturn:
        self.close()
        step, seed = self._n_steps[i], self._seeds[i]
        message = f"Env worker {i} ({self.name}, seed {seed}) at step {step} {what}."
        if last_lines:
            message += f" Last lines:\n{last_lines}"
        raise EnvWorkerError(message, i, self.name, seed, step)

    def _log_path(self, i: int) -> Path:
        return self._logs / f"{i}.log"

    def _log_tail(self, i: int) -> str:
        try:
            lines = self._log_path(i).read_text(errors="replace").strip().splitlines()
        except FileNotFoundError:  # the worker ended before it opened its log
            return ""
        return "\n".join(lines[-LOG_LINES:])

    def close(self) -> None:
        """Ends all workers, by force where they do not leave within seconds. May be called again."""
        if self._is_closed:
            return
        self._is_closed = True
        atexit.unregister(self.close)
        for pipe in self._pipes:
            with contextlib.suppress(OSError):  # already gone, which is what we want
                pipe.send(("close", None))
            pipe.close()
        deadline = time.monotonic() + CLOSE_TIMEOUT_S
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        shutil.rmtree(self._logs, ignore_errors=True)
