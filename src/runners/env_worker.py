"""The process around one environment: answers the commands of ``runners/worker_pool.py``.

A worker ends when it is told to, when the other end of its pipe is gone, or when its parent is. It ignores
signals to stop: the parent can still save the environments' states when the whole group is signalled.
Nothing here imports torch unless the worker gets a controller: it starts in the time its environment takes.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.multiagentenv import MultiAgentEnv
from epymarl_lmac.errors import UserError
from epymarl_lmac.stopping import stop_signals
from epymarl_lmac.tasks.env_info import EnvInfo
from runners.adapters import OneEnv

if TYPE_CHECKING:
    from runners.episode_player import EpisodePlayer

LOG_LIMIT_BYTES = 1_000_000  # what an environment prints is kept for error messages only
TRACEBACK_LINES = 8


def run_worker(pipe: Connection, make_env: Callable[[], MultiAgentEnv], log_path: str) -> None:
    """Serves one environment until it is told to close.

    Args:
        pipe: receives ``(command, data)``, sends ``("ok", answer)`` or ``("error", description)``.
        make_env: makes the environment, in this process.
        log_path: file for everything the environment prints.
    """
    for signum in stop_signals():
        signal.signal(signum, signal.SIG_IGN)
    log_fd = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log_fd, 1)
    os.dup2(log_fd, 2)
    faulthandler.enable()
    threading.Thread(target=_follow_parent, daemon=True).start()
    served: _Served | None = None
    while True:
        try:
            command, data = pipe.recv()
        except (EOFError, OSError):
            break
        if command == "close":
            break
        try:
            if served is None:
                served = _Served(OneEnv(make_env()))
            answer = _COMMANDS[command](served, data)
        except Exception as error:  # whatever the environment raises is told to the parent, which stops the run
            sys.stdout.flush()  # the parent reads what was printed as soon as it has the answer
            pipe.send(("error", _describe(error)))
            continue
        sys.stdout.flush()
        if os.fstat(log_fd).st_size > LOG_LIMIT_BYTES:
            os.ftruncate(log_fd, 0)
        pipe.send(("ok", answer))
    if served is not None:
        served.env.close()


class _Served:
    """What a worker has: an environment, and where the worker chooses its actions itself, who plays it."""

    def __init__(self, env: OneEnv) -> None:
        self.env = env
        self._player: EpisodePlayer | None = None

    @property
    def player(self) -> EpisodePlayer:
        """Who plays."""
        assert self._player is not None
        return self._player

    def make_controller(self, source: Any) -> None:
        """Makes the controller."""
        from runners.episode_player import EpisodePlayer

        self._player = EpisodePlayer(self.env, source)


def _follow_parent() -> None:
    """Ends this process as soon as the parent is gone, however busy the environment is."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _describe(error: Exception) -> dict[str, Any]:
    lines = "".join(traceback.format_exception(error)).strip().splitlines()
    return {
        "message": str(error),
        "summary": f"{type(error).__name__}: {error}",
        "is_user_error": isinstance(error, UserError),
        "last_lines": "\n".join(lines[-TRACEBACK_LINES:]),
    }


def _describe_env(served: _Served, _: None) -> tuple[EnvInfo, str]:
    return served.env.describe(), served.env.rules


def _views(env: OneEnv) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return env.obs_BNO[0], env.state_BS[0], env.avail_BNA[0]


def _reset(served: _Served, _: None) -> Any:
    env = served.env
    env.reset()
    return _views(env), None if env.alive_BN is None else env.alive_BN[0]


def _step(served: _Served, actions_N: np.ndarray) -> Any:
    result = served.env.step(actions_N[None])
    info = {key: float(value[0]) for key, value in result.info.items()}
    ends = bool(result.terminated_B[0]), bool(result.truncated_B[0])
    optional = [None if array is None else array[0] for array in (result.alive_BN, result.reward_BN)]
    return _views(served.env), float(result.reward_B[0]), *ends, info, *optional


def _load(served: _Served, state: dict[str, np.ndarray]) -> Any:
    served.env.load_state_dict(state)
    return _views(served.env)


_COMMANDS: dict[str, Callable[[_Served, Any], Any]] = {
    "describe": _describe_env,
    "reset": _reset,
    "step": _step,
    "state_dict": lambda served, _: served.env.state_dict(),
    "load_state_dict": _load,
    "for_tests": lambda served, _: served.env.for_tests(),
    "render": lambda served, mode: served.env.render(0, mode),
    "scene": lambda served, _: served.env.scene(),
    "make_controller": lambda served, source: served.make_controller(source),
    "load_acting_state": lambda served, state: served.player.load(state),
    "play": lambda served, request: served.player.play(request),
}
