"""``pettingzoo``: any parallel PettingZoo environment with discrete actions, by its module.

Agents that leave see zeros, are not alive and have one action, which is not played; agents may come back. The episode
is over when none is left. Action masks are read from ``infos[agent]["action_mask"]``, or from an observation that is a
dict of ``observation`` and ``action_mask``.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from envs.engine_env import EngineEnv, EngineStep, check_key, import_engine, version_of
from envs.multiagentenv import MultiAgentEnv
from epymarl_lmac.errors import TaskError

EXAMPLE = "mpe2.simple_spread_v3"
MOVED = {"mpe": "mpe2", "pettingzoo.mpe": "mpe2"}  # families that left the pettingzoo package
STATES = ("auto", "engine", "concat_obs")


def make(
    *,
    seed: int,
    common_reward: bool,
    reward_scalarisation: str,
    key: str | None,
    time_limit: int,
    state: str,
    kwargs: Mapping[str, Any],
) -> MultiAgentEnv:
    """Makes one copy; the arguments are those of ``config/envs/pettingzoo.yaml``.

    Raises:
        TaskError: no or an unknown environment, a package that is missing, actions that are not discrete.
    """
    name = check_key("pettingzoo", key, EXAMPLE)
    return PettingZooEnv(name, time_limit, state, seed, reward_scalarisation, kwargs)


def find_module(key: str) -> Any:
    """Returns the module of an environment, e.g. of ``mpe2.simple_spread_v3`` or ``sisl.pursuit_v4``.

    Raises:
        TaskError: its package is missing or has no such environment.
    """
    import_engine("pettingzoo", "pettingzoo")
    family, _, name = key.rpartition(".")
    family = MOVED.get(family, family)
    if not family:
        raise TaskError(f"pettingzoo: env_args.key={key!r} names no family; write e.g. {EXAMPLE}.")
    is_inside = importlib.util.find_spec(f"pettingzoo.{family}") is not None if "." not in family else False
    module = f"pettingzoo.{family}.{name}" if is_inside else f"{family}.{name}"
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as err:
        if err.name == module:
            raise TaskError(
                f"pettingzoo: {module.rpartition('.')[0]} has no environment {name!r}; its documentation lists all."
            ) from err
        package = (err.name or module).partition(".")[0]
        raise TaskError(
            f"pettingzoo: {key} needs the package {package!r}, which is not installed: pip install {package}"
        ) from err
    except ImportError as err:
        raise TaskError(f"pettingzoo: {key} cannot be imported: {err}") from err


class PettingZooEnv(EngineEnv):
    """A parallel PettingZoo environment; see the module's text.

    Args:
        key: its module.
        time_limit: steps after which an episode is cut, where the engine has not ended it.
        state: "engine" (``env.state()``), "concat_obs" (all observations one after the other), or "auto": the engine's
            where it declares one.
        seed: of the environment.
        reward_scalarisation: "sum" or "mean".
        kwargs: for ``parallel_env``.

    Raises:
        TaskError: see ``make``.
    """

    has_alive = reward_per_agent = True

    def __init__(
        self,
        key: str,
        time_limit: int,
        state: str,
        seed: int,
        reward_scalarisation: str,
        kwargs: Mapping[str, Any],
    ) -> None:
        module = find_module(key)
        if not hasattr(module, "parallel_env"):
            raise TaskError(f"pettingzoo: {key} has no parallel_env; only environments with a parallel form run here.")
        if state not in STATES:
            raise TaskError(f"pettingzoo: state={state!r} is not known; choose one of {', '.join(STATES)}.")
        try:
            self.env = module.parallel_env(**kwargs)
        except TypeError as err:
            raise TaskError(f"pettingzoo: {key} does not take env_args.kwargs={dict(kwargs)}: {err}") from err
        agents = getattr(self.env, "possible_agents", None)
        if not agents:
            raise TaskError(
                f"pettingzoo: {key} does not list its possible_agents; agents that nobody knows beforehand cannot be "
                "trained here."
            )
        declares = getattr(self.env, "state_space", None) is not None
        if state == "engine" and not declares:
            raise TaskError(f"pettingzoo: {key} declares no state; use env_args.state=concat_obs or auto.")
        self.has_own_state = declares and state != "concat_obs"
        obs_spaces = [_observed(self.env.observation_space(agent)) for agent in agents]
        action_spaces = [self.env.action_space(agent) for agent in agents]
        package = module.__name__.partition(".")[0]
        name = f"pettingzoo {module.__name__} ({version_of(package)})"
        super().__init__(name, agents, obs_spaces, action_spaces, time_limit, seed, reward_scalarisation)
        self._was_cut = False

    def _reset_engine(self, seed: int | None) -> tuple[Sequence[Any], Sequence[ArrayLike | None]]:
        obs, infos = self.env.reset(seed=seed)
        self._was_cut = False
        return self._by_agent(obs, infos)

    def _step_engine(self, actions: Sequence[int]) -> EngineStep:
        chosen = {
            name: action for name, action in zip(self.agent_names, actions, strict=True) if name in self.env.agents
        }
        obs, rewards, _, truncations, infos = self.env.step(chosen)
        self._was_cut |= any(truncations.values())
        is_over = not self.env.agents
        seen, masks = self._by_agent({} if is_over else obs, infos)
        if is_over:  # the last observations are of agents that have just left
            seen = [_value(obs[name]) if name in obs else None for name in self.agent_names]
            masks = [None] * self.n_agents
        rewards_N = np.array([rewards.get(name, 0.0) for name in self.agent_names], np.float32)
        return EngineStep(seen, rewards_N, is_over and not self._was_cut, is_over and self._was_cut, masks)

    def _by_agent(self, obs: Mapping[str, Any], infos: Mapping[str, Any]) -> tuple[list[Any], list[ArrayLike | None]]:
        """Returns observations and masks in the order of the agents, None for those that are gone.

        Raises:
            ValueError: an agent that ``possible_agents`` does not list.
        """
        present = set(self.env.agents)
        if not present.issubset(self.agent_names):
            stranger = min(present.difference(self.agent_names))
            raise ValueError(f"{self.name}: {stranger} came, which possible_agents does not list.")
        seen: list[Any] = [None] * self.n_agents
        masks: list[ArrayLike | None] = [None] * self.n_agents
        for n, name in enumerate(self.agent_names):
            if name not in present:
                continue
            seen[n] = _value(obs[name])
            masks[n] = infos.get(name, {}).get("action_mask")
            if masks[n] is None and isinstance(obs[name], Mapping):
                masks[n] = obs[name].get("action_mask")
        return seen, masks

    def _own_state(self) -> np.ndarray:
        return self.env.state()

    def get_state_size(self) -> int:
        return int(np.prod(self.env.state_space.shape)) if self.has_own_state else super().get_state_size()

    def render(self, mode: str = "text") -> Any:
        """Returns what the environment draws; it needs a ``render_mode`` in ``env_args.kwargs``."""
        return self.env.render()

    def close(self) -> None:
        self.env.close()


def _observed(space: Any) -> Any:
    """Returns the space of what is observed, without an action mask beside it."""
    inner = getattr(space, "spaces", None)
    return inner["observation"] if isinstance(inner, Mapping) and "action_mask" in inner else space


def _value(observation: Any) -> Any:
    """Returns an observation without an action mask beside it."""
    if isinstance(observation, Mapping) and "action_mask" in observation:
        return observation["observation"]
    return observation
