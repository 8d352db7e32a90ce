"""``gymma``: any Gymnasium environment of several agents by its id, with EPyMARL's keys.

The environment has one space an agent (a ``Tuple``) in ``action_space`` and ``observation_space``, and rewards as a
list or one number, as ``lbforaging`` and ``rware`` do. Ids of the form ``pz-mpe-simple-spread-v3``, EPyMARL's names for
PettingZoo environments, lead to ``pettingzoo_env.py``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from envs import pettingzoo_env
from envs.engine_env import EngineEnv, EngineStep, check_key, import_engine, version_of
from envs.multiagentenv import MultiAgentEnv
from epymarl_lmac.errors import TaskError

EXAMPLE = "lbforaging:Foraging-8x8-2p-2f-coop-v3"


def make(
    *,
    seed: int,
    common_reward: bool,
    reward_scalarisation: str,
    key: str | None,
    time_limit: int,
    pretrained_wrapper: str | None,
    **kwargs: Any,
) -> MultiAgentEnv:
    """Makes one copy; the arguments are those of ``config/envs/gymma.yaml``, ``kwargs`` go to ``gymnasium.make``.

    Raises:
        TaskError: no or an unknown id, a package that is missing, an environment that is not for several agents or has
            actions that are not discrete.
    """
    name = check_key("gymma", key, EXAMPLE)
    wrapper = _wrapper(pretrained_wrapper)
    zoo = re.fullmatch(r"pz-(\w+?)-(.+)", name)
    if zoo is not None:
        if wrapper is not None:
            raise TaskError(f"gymma: pretrained_wrapper={pretrained_wrapper!r} does not fit {name}; use null.")
        module = f"{zoo[1]}.{zoo[2].replace('-', '_')}"
        return pettingzoo_env.PettingZooEnv(module, time_limit, "concat_obs", seed, reward_scalarisation, kwargs)
    return GymmaEnv(name, time_limit, wrapper, seed, reward_scalarisation, kwargs)


def _wrapper(reference: str | None) -> Any:
    """Returns a wrapper class.

    Raises:
        TaskError: it cannot be imported.
    """
    if not reference:
        return None
    module, _, attribute = reference.partition(":")
    if not attribute:
        raise TaskError(
            f"gymma: pretrained_wrapper={reference!r}: EPyMARL's trained prey and adversary do not come along; give a "
            "gymnasium.Wrapper of yours as module:Class, or null."
        )
    try:
        return getattr(import_engine(module, "gymma"), attribute)
    except AttributeError as err:
        raise TaskError(f"gymma: pretrained_wrapper={reference!r}: {module} has no {attribute}.") from err


class GymmaEnv(EngineEnv):
    """A Gymnasium environment of several agents; see the module's text.

    Args:
        key: its id, with the module that registers it before a colon where needed.
        time_limit: steps after which an episode is cut.
        wrapper: a ``gymnasium.Wrapper`` class put around it, or None.
        seed: of the environment.
        reward_scalarisation: "sum" or "mean".
        kwargs: for ``gymnasium.make``.

    Raises:
        TaskError: see ``make``.
    """

    def __init__(
        self, key: str, time_limit: int, wrapper: Any, seed: int, reward_scalarisation: str, kwargs: dict[str, Any]
    ) -> None:
        gymnasium = import_engine("gymnasium", "gymma")
        module = key.partition(":")[0] if ":" in key else ""
        if module:
            import_engine(module, f"gymma with key={key}")
        try:
            # the checker looks for a single agent's spaces; time_limit is ours, see EngineEnv
            env = gymnasium.make(key, disable_env_checker=True, **kwargs)
        except gymnasium.error.Error as err:
            raise TaskError(f"gymma: env_args.key={key!r} cannot be made: {err}") from err
        except TypeError as err:
            raise TaskError(f"gymma: {key} does not take the arguments {sorted(kwargs)}: {err}") from err
        self.env = env if wrapper is None else wrapper(env)
        spaces = [_of_agents(key, getattr(self.env, f"{what}_space", None), what) for what in ("observation", "action")]
        package = module.partition(".")[0] or key.partition("-")[0]
        name = f"gymma {key} ({version_of(package)})"
        names = [f"agent_{n}" for n in range(len(spaces[0]))]
        observation_spaces, action_spaces = spaces
        super().__init__(name, names, observation_spaces, action_spaces, time_limit, seed, reward_scalarisation)

    def _reset_engine(self, seed: int | None) -> tuple[Sequence[Any], Sequence[ArrayLike | None]]:
        obs, _ = self.env.reset(seed=seed)
        return obs, [None] * self.n_agents

    def _step_engine(self, actions: Sequence[int]) -> EngineStep:
        obs, rewards, terminated, truncated, info = self.env.step(actions)
        values, masks = np.array(rewards, np.float32, ndmin=1), [None] * self.n_agents
        return EngineStep(obs, values, _all(terminated), _all(truncated), masks, info)

    def render(self, mode: str = "text") -> Any:
        """Returns what the environment draws; it needs a ``render_mode`` among its arguments."""
        return self.env.render()

    def close(self) -> None:
        self.env.close()


def _all(ends: bool | ArrayLike) -> bool:
    """Returns whether the episode is over, told once for all or for every agent."""
    return ends if isinstance(ends, bool) else bool(np.all(ends))


def _of_agents(key: str, space: Any, what: str) -> list[Any]:
    """Returns one space an agent.

    Raises:
        TaskError: the environment is for one agent.
    """
    inner = getattr(space, "spaces", space)
    if isinstance(inner, tuple | list) and len(inner) > 0:
        return list(inner)
    raise TaskError(
        f"gymma: {key} has the {what} space {space}; an environment of several agents has a Tuple, one space an agent."
    )
