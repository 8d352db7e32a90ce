"""What the engines of others have in common: agents whose spaces differ, seen as N agents of one size.

Observations are flattened and padded with zeros to the longest, action sets are padded and masked. ``gymma_env.py`` and
``pettingzoo_env.py`` say how their engines are made and stepped.

Letters: N agents, O observation, S state, A actions.
"""

from __future__ import annotations

import abc
import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from envs.multiagentenv import MultiAgentEnv
from epymarl_lmac.errors import TaskError

INSTALL = {  # package -> what installs it, where that is not its own name
    "smaclite": "'smaclite @ git+https://github.com/uoe-agents/smaclite.git'",
    "matrixgames": "'matrix-games @ git+https://github.com/uoe-agents/matrix-games.git'",
}


def import_engine(module: str, env: str) -> Any:
    """Returns a module of an engine.

    Raises:
        TaskError: its package is not installed; the message has the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as err:
        package = (err.name or module).partition(".")[0]
        raise TaskError(
            f"env {env} needs the package {package!r}, which is not installed: pip install "
            f"{INSTALL.get(package, package)}"
        ) from err


def version_of(package: str) -> str:
    """Returns e.g. ``"mpe2 1.1.1"``, or the bare name of a module that no installed package has."""
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return package


class EngineStep(NamedTuple):
    """What an engine said in one step."""

    obs: Sequence[Any]  # one an agent, in the form of its space; None for an agent that is gone
    rewards: np.ndarray  # float32 (N,), or (1,) where the engine rewards the team
    terminated: bool
    truncated: bool
    masks: Sequence[ArrayLike | None]  # 0/1 for every action of the agent; None: all are available
    info: Mapping[str, Any] = MappingProxyType({})  # figures of the step, under the same keys at every end


class EngineEnv(MultiAgentEnv):
    """An engine's environment under EPyMARL's interface.

    Args:
        name: for messages and the record, e.g. ``"gymma rware:rware-tiny-2ag-v2"``.
        names: of the agents.
        obs_spaces: Gymnasium spaces, one an agent.
        action_spaces: the same; all must be ``Discrete``.
        time_limit: steps after which an episode is cut.
        seed: of the engine; episodes after the first go on in its stream.
        reward_scalarisation: "sum" or "mean" of the agents' rewards.

    Raises:
        TaskError: an action space that is not discrete, or a time limit that is none.
    """

    seeds_episodes = True
    has_own_state = False  # whether the engine declares a state, see ``_own_state``
    env: Any  # the engine's own object

    def __init__(
        self,
        name: str,
        names: Sequence[str],
        obs_spaces: Sequence[Any],
        action_spaces: Sequence[Any],
        time_limit: int,
        seed: int,
        reward_scalarisation: str,
    ) -> None:
        from gymnasium import spaces

        self.name, self.agent_names = name, tuple(names)
        if isinstance(time_limit, bool) or not isinstance(time_limit, int) or time_limit < 1:
            raise TaskError(f"env {name}: time_limit={time_limit!r} must be a whole number of steps of at least 1.")
        for agent, space in zip(names, action_spaces, strict=True):
            if not isinstance(space, spaces.Discrete):
                raise TaskError(
                    f"env {name}: {agent} has the actions {space}; the methods here choose among discrete actions "
                    "(gymnasium.spaces.Discrete). Use a form of the environment with discrete actions."
                )
        self._flatten: Callable[[Any, Any], Any] = spaces.flatten
        self.obs_spaces = list(obs_spaces)
        self.action_sizes = [int(space.n) for space in action_spaces]
        self._first_actions = [int(space.start) for space in action_spaces]
        self.obs_sizes = [int(spaces.flatdim(space)) for space in obs_spaces]
        self._is_flat = [
            isinstance(space, spaces.Box) and len(space.shape) == 1 and space.dtype == np.float32
            for space in obs_spaces
        ]
        self.n_agents, self.episode_limit = len(self.agent_names), time_limit
        self._scale = 1.0 if reward_scalarisation == "sum" else 1.0 / self.n_agents
        self._seed: int | None = seed
        self._t = 0
        self._obs_NO = np.zeros((self.n_agents, max(self.obs_sizes)), np.float32)
        self._avail_NA = np.zeros((self.n_agents, max(self.action_sizes)), np.uint8)
        self._alive_N = np.ones(self.n_agents, np.bool_)
        self._reward_N = np.zeros(self.n_agents, np.float32)
        # what each agent has of the arrays, without padding; cut here once, as every step writes them
        self._own_obs = [row[:size] for row, size in zip(self._obs_NO, self.obs_sizes, strict=True)]
        self._own_avail = [row[:size] for row, size in zip(self._avail_NA, self.action_sizes, strict=True)]

    # -- what an engine defines ----------------------------------------------------------------------------------

    @abc.abstractmethod
    def _reset_engine(self, seed: int | None) -> tuple[Sequence[Any], Sequence[ArrayLike | None]]:
        """Starts an episode; returns observations and masks as in ``EngineStep``."""

    @abc.abstractmethod
    def _step_engine(self, actions: Sequence[int]) -> EngineStep:
        """Moves the engine by one step; actions are those of the agents' own spaces."""

    def _own_state(self) -> np.ndarray:
        """Returns the state that the engine declares; asked for only where ``state_form`` says it declares one."""
        raise TaskError(f"{self.name} declares no state of its own.")

    # -- the record ----------------------------------------------------------------------------------------------

    @property
    def state_form(self) -> str:
        """Where the state comes from: ``"engine"`` or ``"concat_obs"``, all observations one after the other."""
        return "engine" if self.has_own_state else "concat_obs"

    @property
    def rules(self) -> str:
        """Name, version, and what was changed to fit all agents into one size."""
        notes = [f"state: {self.state_form}", f"time limit {self.episode_limit}"]
        if len(set(self.obs_sizes)) > 1:
            notes.append(f"observations of {_list(self.obs_sizes)} padded with zeros")
        if len(set(self.action_sizes)) > 1:
            notes.append(f"action sets of {_list(self.action_sizes)} padded and masked")
        return f"{self.name}, {', '.join(notes)}"

    # -- EPyMARL's interface -------------------------------------------------------------------------------------

    def reset(self, seed: int | None = None, options: dict | None = None) -> tuple[list, dict]:
        """Starts an episode. The first one seeds the engine, ``seed`` here seeds it anew.

        Raises:
            TaskError: an agent is not there at the start; later it may leave and come back.
        """
        obs, masks = self._reset_engine(self._seed if seed is None else seed)
        self._seed, self._t = None, 0
        self._see(obs, masks)
        if not self._alive_N.all():
            absent = self.agent_names[int(np.argmin(self._alive_N))]
            raise TaskError(f"env {self.name}: {absent} is not there at the start; all agents must begin an episode.")
        return self.get_obs(), {}

    def step(self, actions: Iterable[int]) -> tuple[list, float, bool, bool, dict]:
        """Returns (observations, team's reward, terminated, truncated, info).

        An episode that the task ends in its last step is terminated and not truncated.
        """
        choices = [int(action) for action in actions]
        for n, action in enumerate(choices):
            if not (0 <= action < self._avail_NA.shape[1] and self._avail_NA[n, action]):
                raise ValueError(
                    f"{self.name}: action {action} of {self.agent_names[n]} is not available at step {self._t}; "
                    f"available are {_list(np.flatnonzero(self._avail_NA[n]))}."
                )
        taken = self._step_engine([first + action for first, action in zip(self._first_actions, choices, strict=True)])
        self._t += 1
        self._see(taken.obs, taken.masks)
        self._reward_N[:] = taken.rewards
        reward = float(taken.rewards.sum()) * (self._scale if len(taken.rewards) > 1 else 1.0)
        is_cut = (taken.truncated or self._t >= self.episode_limit) and not taken.terminated
        return self.get_obs(), reward, bool(taken.terminated), is_cut, dict(taken.info)

    def _see(self, obs: Sequence[Any], masks: Sequence[ArrayLike | None]) -> None:
        """Writes observations and masks. An agent that is gone sees zeros and has one action, which is not played."""
        for n, (own, mask) in enumerate(zip(obs, masks, strict=True)):
            self._alive_N[n] = own is not None
            if own is None:
                self._obs_NO[n] = self._avail_NA[n] = 0
                self._avail_NA[n, 0] = 1
                continue
            self._own_obs[n][:] = own if self._is_flat[n] else self._flatten(self.obs_spaces[n], own)
            self._own_avail[n][:] = 1 if mask is None else mask

    def views(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns observations (N, O), state (S,) and available actions (N, A); the next step writes into them."""
        return self._obs_NO, self._state(), self._avail_NA

    def _state(self) -> np.ndarray:
        """Returns the engine's state where it declares one, else all observations one after the other."""
        return np.asarray(self._own_state(), np.float32).reshape(-1) if self.has_own_state else self._obs_NO.reshape(-1)

    def get_alive(self) -> np.ndarray:
        """Returns which agents are there now, bool (N,)."""
        return self._alive_N.copy()

    def get_agent_rewards(self) -> np.ndarray:
        """Returns every agent's reward of the last step, float32 (N,)."""
        return self._reward_N * np.float32(self._scale)

    def get_obs(self) -> list:
        return list(self._obs_NO.copy())

    def get_obs_size(self) -> int:
        return self._obs_NO.shape[1]

    def get_state(self) -> np.ndarray:
        return self._state().copy()

    def get_state_size(self) -> int:
        return self._obs_NO.size

    def get_avail_actions(self) -> list:
        return self._avail_NA.tolist()

    def get_total_actions(self) -> int:
        return self._avail_NA.shape[1]


def check_key(name: str, key: Any, example: str) -> str:
    """Returns the id of an engine's environment.

    Raises:
        TaskError: none is given.
    """
    if not isinstance(key, str) or not key:
        raise TaskError(f"env {name!r} needs env_args.key, e.g. {example}; got {key!r}.")
    return key


def _list(numbers: Iterable[int]) -> str:
    return ", ".join(str(int(number)) for number in numbers)
