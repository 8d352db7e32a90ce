"""``smaclite``: the battles of the package SMAClite, for comparison with its numbers; EPyMARL's keys.

The engine keeps the last actions of an episode in its state until the first step of the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from envs.engine_cards import card_of, short_id
from envs.engine_env import EngineEnv, EngineStep, import_engine, version_of
from envs.multiagentenv import MultiAgentEnv
from epymarl_lmac.errors import TaskError
from epymarl_lmac.tasks.card import TaskCard


def make(
    *,
    seed: int,
    common_reward: bool,
    reward_scalarisation: str,
    map_name: str | None,
    time_limit: int,
    use_cpp_rvo2: bool,
) -> MultiAgentEnv:
    """Makes one copy; the arguments are those of ``config/envs/smaclite.yaml``.

    Raises:
        TaskError: no or an unknown map, or a package that is missing.
    """
    if not isinstance(map_name, str) or not map_name:
        raise TaskError(f"env 'smaclite' needs env_args.map_name, e.g. 2s3z; got {map_name!r}.")
    return SmacliteEnv(map_name, time_limit, use_cpp_rvo2, seed)


class SmacliteEnv(EngineEnv):
    """One battle of SMAClite. Its state, observations, available actions and rewards are the engine's own.

    Args:
        map_name: e.g. ``2s3z``.
        time_limit: steps after which a battle is cut.
        use_cpp_rvo2: whether its collision avoidance runs in C++, a package of its own.
        seed: of the engine.

    Raises:
        TaskError: see ``make``.
    """

    has_alive = has_own_state = True
    seeds_episodes = False  # the first state of an episode still has the last actions of the one before

    def __init__(self, map_name: str, time_limit: int, use_cpp_rvo2: bool, seed: int) -> None:
        import_engine("smaclite", "smaclite")
        import gymnasium

        try:
            made = gymnasium.make(
                f"smaclite/{map_name}-v0", disable_env_checker=True, seed=seed, use_cpp_rvo2=use_cpp_rvo2
            )
        except gymnasium.error.Error as err:
            raise TaskError(f"smaclite: env_args.map_name={map_name!r} is no map of SMAClite: {err}") from err
        except ImportError as err:
            raise TaskError(f"smaclite: use_cpp_rvo2={use_cpp_rvo2} needs a package that is missing: {err}") from err
        game: Any = made.unwrapped
        self.env = game
        n_agents = game.n_agents
        actions = [gymnasium.spaces.Discrete(int(game.n_actions))] * n_agents
        names = [f"unit_{n}" for n in range(n_agents)]
        name = f"smaclite {map_name} ({version_of('smaclite')})"
        super().__init__(name, names, list(game.observation_space), actions, time_limit, seed, "sum")

    def _reset_engine(self, seed: int | None) -> tuple[Sequence[Any], Sequence[ArrayLike | None]]:
        obs, _ = self.env.reset(seed=seed)
        return self._of_the_living(obs), self.env.get_avail_actions()

    def _step_engine(self, actions: Sequence[int]) -> EngineStep:
        obs, reward, terminated, truncated, info = self.env.step(list(actions))
        team = np.array([reward], np.float32)
        living, masks = self._of_the_living(obs), self.env.get_avail_actions()
        return EngineStep(living, team, terminated, truncated, masks, info)

    def _of_the_living(self, obs: Sequence[Any]) -> list[Any]:
        return [own if n in self.env.agents else None for n, own in enumerate(obs)]

    def _own_state(self) -> np.ndarray:
        return self.env.get_state()

    def get_state_size(self) -> int:
        return int(self.env.state_size)

    def close(self) -> None:
        self.env.close()


def task_id(env_args: Mapping[str, Any]) -> str:
    """Returns e.g. ``2s3z-120t``."""
    rest = {key: value for key, value in env_args.items() if key not in ("map_name", "use_cpp_rvo2")}
    return short_id({"key": env_args.get("map_name"), **rest})


def card(env_args: Mapping[str, Any]) -> TaskCard:
    """Returns the card of a map, generated from its spaces; errors as when it is made."""
    env: Any = make(seed=0, common_reward=True, reward_scalarisation="sum", **env_args)
    with closing(env):
        return card_of("smaclite", env_args, env, None, task_id(env_args))
