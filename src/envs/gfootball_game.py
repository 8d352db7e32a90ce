"""One match of Google Research Football, as the package plays it: scenarios by name, opponents scripted.

``gfootball_env.py`` makes observations, rewards and ends of what it shows. The package's own environment copies every
observation several times in a step; its core, used here, does so once.

Where a team has more players that may be controlled than agents, the engine moves control from player to player. In the
academy scenarios it gives an agent even the keeper (version 2.10.2: from the first step on, for some seeds). So the
keeper is made not controllable here where agents do not need it; then each agent keeps one player.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from envs.engine_env import import_engine
from epymarl_lmac.errors import TaskError

INSTALL = "`make gfootball` builds it (docs/environments/engines.md)"
MAX_SEED = 2**31 - 1

Raw = Mapping[str, Any]  # what the engine shows of both teams and the ball, under the package's names


class Played(NamedTuple):
    """What the engine said in one step."""

    raw: Raw
    gained: int  # our goals less the opponents' in this step
    is_done: bool  # the engine has ended the episode


class Match:
    """The engine with one scenario.

    Args:
        map_name: of the scenario.
        n_agents: players of the left team whom agents control; None: all that can be controlled, without the keeper.

    Raises:
        TaskError: the package is missing or cannot be loaded, an unknown scenario, or a number of agents that it does
            not have.
    """

    def __init__(self, map_name: str, n_agents: int | None) -> None:
        config, core = _import("gfootball.env.config"), _import("gfootball.env.football_env_core")
        known = scenarios()
        if map_name not in known:
            raise TaskError(
                f"gfootball: env_args.map_name={map_name!r} is no scenario of the package; choose one of "
                f"{', '.join(known)}."
            )
        level = {"level": map_name}
        freed = _keeper_freed(config.Config, _import("gfootball.env.scenario_builder"))
        scenario, outfield = (
            config.Config(level).ScenarioConfig(),
            freed(level).ScenarioConfig().controllable_left_players,
        )
        self.n_agents = _team_size(map_name, scenario, int(outfield), n_agents)
        has_keeper = scenario.control_all_players or self.n_agents > outfield
        players = [f"agent:left_players={self.n_agents},right_players=0"]
        values = {**level, "players": players, "game_engine_random_seed": 0}
        self._config = config.Config(values) if has_keeper else freed(values)
        self._core = core.FootballEnvCore(self._config)
        self.n_opponents = len(self._core.observation()["right_team"])

    def reset(self, seed: int) -> Raw:
        """Starts an episode; ``seed``, 0 to ``MAX_SEED`` - 1, alone decides all that the engine draws in it."""
        self._config["game_engine_random_seed"] = seed
        self._config["reverse_team_processing"] = bool(seed % 2)  # which team moves first, as the package draws it
        self._core.reset()
        return self._core.observation()

    def step(self, actions: Sequence[int]) -> Played:
        """Plays a tenth of a second; one action of ``ACTIONS`` an agent."""
        raw, gained, is_done, _ = self._core.step(list(actions))
        return Played(raw, int(gained), bool(is_done))

    def close(self) -> None:
        """Gives the engine back to the package, which keeps it for the next match of the process."""
        self._core.close()


def scenarios() -> list[str]:
    """Returns the names of all scenarios of the installed package, sorted."""
    names = _import("gfootball.env.scenario_builder").all_scenarios()
    return sorted(name for name in names if name != "tests" and not name.startswith("test_"))


def _import(module: str) -> Any:
    """Returns a module of the package.

    Raises:
        TaskError: it, or a library that it needs, is missing.
    """
    if importlib.util.find_spec("gfootball") is None:
        raise TaskError(f"env gfootball needs the package 'gfootball', which is not installed: {INSTALL}.")
    try:
        return import_engine(module, "gfootball")
    except ImportError as err:
        raise TaskError(f"env gfootball: the package cannot be loaded: {err}; {INSTALL}.") from err


def _keeper_freed(config: type, builder: Any) -> type:
    """Returns the package's class of settings, changed so that nobody can control our keeper.

    Args:
        config: the package's class.
        builder: its module that builds scenarios.
    """

    class Scenario(builder.Scenario):
        def AddPlayer(self, x: float, y: float, role: Any, lazy: bool = False, controllable: bool = True) -> None:
            is_ours = self._active_team == builder.Team.e_Left
            is_free = controllable and not (is_ours and role == builder.Role.e_PlayerRole_GK)
            super().AddPlayer(x, y, role, lazy, is_free)

    class Config(config):
        def NewScenario(self, inc: int = 1) -> None:
            super().NewScenario(inc)
            self._scenario_cfg = Scenario(self).ScenarioConfig()

    return Config


def _team_size(map_name: str, scenario: Any, outfield: int, n_agents: int | None) -> int:
    """Returns how many agents play.

    Args:
        map_name: for messages.
        scenario: the package's scenario.
        outfield: players without the keeper that can be controlled.
        n_agents: what was asked for; None: everybody in the field, or the keeper where it is alone.

    Raises:
        TaskError: the scenario has not that many players, or must have all of them controlled.
    """
    most = int(scenario.controllable_left_players)
    usual = most if scenario.control_all_players else outfield or most
    if n_agents is None:
        return usual
    fewest = most if scenario.control_all_players else 1
    if isinstance(n_agents, bool) or not isinstance(n_agents, int) or not fewest <= n_agents <= most:
        raise TaskError(
            f"gfootball: env_args.n_agents={n_agents!r} does not fit {map_name}, where {fewest} to {most} players can "
            f"be controlled; null means {usual}."
        )
    return n_agents
