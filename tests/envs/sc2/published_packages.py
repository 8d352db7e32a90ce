"""The published interfaces' own code, read from checkouts and run without the game.

``oxwhirl/smac`` (folder ``smac``), ``oxwhirl/smacv2`` (``smacv2``) and LMAC's fork with the SMAC-Comm maps
(``src/smac_plus`` of ``SaaangJun/LMAC``, over ``smac``). What they import of the game, pysc2 and its protocol, is
replaced by stand-ins: units are set from outside, and a step shows the units it is given.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
from sc2_oracle import STOCK

from envs.battle.units import UNIT_NAMES
from epymarl_lmac.tasks.sc2_settings import Sc2Settings

STAND_INS = (
    "absl", "absl.flags", "absl.logging",
    "pysc2", "pysc2.maps", "pysc2.maps.lib", "pysc2.run_configs", "pysc2.lib", "pysc2.lib.protocol", "pysc2.lib.units",
    "s2clientprotocol", "s2clientprotocol.common_pb2", "s2clientprotocol.debug_pb2", "s2clientprotocol.raw_pb2",
    "s2clientprotocol.sc2api_pb2",
)  # fmt: skip
MODULES = {
    "smac": "smac.env.starcraft2.starcraft2",
    "smac_comm": "smac_plus.starcraft2.starcraft2",
    "smacv2": "smacv2.env.starcraft2.starcraft2",
}
FIRST_OWN_ID = 1970  # unit type ids of the allies' own types start here
V2_TYPES = ["Baneling", "Colossus", "Hydralisk", "Marauder", "Marine", "Medivac", "Stalker", "Zealot", "Zergling"]
V2_RACES = {
    "Protoss": ("Colossus", "Stalker", "Zealot"),
    "Terran": ("Marauder", "Marine", "Medivac"),
    "Zerg": ("Baneling", "Hydralisk", "Zergling"),
}
OPTIONS = (
    "continuing_episode", "obs_all_health", "obs_own_health", "obs_last_action", "obs_pathing_grid",
    "obs_terrain_height", "obs_instead_of_state", "obs_timestep_number", "state_last_action", "state_timestep_number",
    "reward_sparse", "reward_only_positive", "reward_death_value", "reward_win", "reward_defeat",
    "reward_negative_scale", "reward_scale", "reward_scale_rate",
)  # fmt: skip
OWN_OPTIONS = {
    "smac": ("heuristic_ai", "heuristic_rest"),
    "smac_comm": ("obs_enemy_health", "sight_range", "shoot_range"),
    "smacv2": (
        "obs_own_pos", "conic_fov", "use_unit_ranges", "min_attack_range", "prob_obs_enemy", "action_mask",
        "heuristic_ai", "heuristic_rest",
    ),
}  # fmt: skip


class _StandIn(ModuleType):
    """A module that has everything."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []  # lets modules inside it be imported

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock(name=name)


@contextmanager
def package(flavour: str, folders: Sequence[Path]) -> Iterator[ModuleType]:
    """Imports a flavour's module from checkouts; afterwards no trace of it is left among the modules.

    Args:
        flavour: key of MODULES.
        folders: those that the flavour's packages lie in.
    """
    before, path = {name: sys.modules[name] for name in _replaced()}, list(sys.path)
    try:
        for name in before:
            del sys.modules[name]
        for name in STAND_INS:
            sys.modules[name] = _StandIn(name)
        for name in STAND_INS:
            parent, _, child = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], child, sys.modules[name])
        sys.modules["pysc2.maps.lib"].Map = type("Map", (), {})  # type: ignore[attr-defined]
        sys.modules["pysc2.lib.protocol"].ProtocolError = type("ProtocolError", (Exception,), {})  # type: ignore[attr-defined]
        sys.modules["pysc2.lib.protocol"].ConnectionError = type("ConnectionError", (Exception,), {})  # type: ignore[attr-defined]
        for race, names in V2_RACES.items():
            ids = SimpleNamespace(**{name: STOCK[name] for name in names})
            setattr(sys.modules["pysc2.lib.units"], race, ids)
        sys.path[:0] = [str(folder.resolve()) for folder in folders]
        yield importlib.import_module(MODULES[flavour])
    finally:
        sys.path[:] = path
        for name in _replaced():
            del sys.modules[name]
        sys.modules.update(before)


def _replaced() -> list[str]:
    """Returns the names of loaded modules that belong to a stand-in or to a published package."""
    packages = {name.partition(".")[0] for name in (*STAND_INS, *MODULES.values())}
    return [name for name in sys.modules if name.partition(".")[0] in packages]


class PublishedEnv:
    """A published environment whose units are set from outside.

    Args:
        module: of the flavour, see ``package``.
        flavour: "smac", "smac_comm" or "smacv2".
        map_name: of our map.
        settings: our environment's.
    """

    def __init__(self, module: ModuleType, flavour: str, map_name: str, settings: Sc2Settings) -> None:
        self.module, self.flavour, self.settings = module, flavour, settings
        self.n = settings.n_agents
        options: dict[str, Any] = {key: getattr(settings, key) for key in (*OPTIONS, *OWN_OPTIONS[flavour])}
        options["move_amount"] = int(settings.move_amount)  # it is added to indices
        if flavour == "smacv2":
            race, n, _, m = map_name.split("_")
            map_name = f"10gen_{race}"
            options["capability_config"] = {"team_gen": {"n_units": int(n), "n_enemies": int(m), "observe": True}}
        self.env = env = module.StarCraft2Env(map_name=map_name, **options)
        env.max_distance_x = env.max_distance_y = env.map_x = env.map_y = 32
        env.pathing_grid = settings.battle_map.walkable
        env.terrain_height = np.flip(settings.battle_map.height, 1) / 255  # as the packages turn what the game reports
        env.agent_attack_probabilities = env.agent_health_levels = env.enemy_mask = None
        env._controller = self

    # -- the game, as the package sees it: actions are told, nothing happens, and the next units are shown --------

    def actions(self, request: Any) -> None:
        pass

    def step(self, loops: int) -> None:
        pass

    def debug(self, commands: Any) -> None:
        pass

    def data(self) -> Any:
        return SimpleNamespace(units=range(FIRST_OWN_ID + len(V2_TYPES)))

    def observe(self) -> Any:
        return SimpleNamespace(observation=SimpleNamespace(raw_data=SimpleNamespace(units=self._shown)))

    # -- what a test does ------------------------------------------------------------------------------------------

    def write(self, rows: Mapping[str, np.ndarray], last: np.ndarray, steps: int, order: list[int]) -> None:
        """Puts the battle into a state, as the first of an episode: nobody has seen an enemy before."""
        env, units = self.env, self._units(rows)
        env.agents, env.enemies = dict(enumerate(units[: self.n])), dict(enumerate(units[self.n :]))
        env._init_ally_unit_types(min(unit.unit_type for unit in env.agents.values()))
        env.death_tracker_ally = np.array([float(unit.health == 0) for unit in env.agents.values()])
        env.death_tracker_enemy = np.array([float(unit.health == 0) for unit in env.enemies.values()])
        env.win_counted = env.defeat_counted = False
        env.last_action, env._episode_steps = np.eye(env.n_actions)[last], steps
        env.heuristic_targets = [None] * self.n
        if self.flavour == "smacv2":
            env.obs_enemies = np.zeros((env.n_enemies, self.n))
            env.enemy_tags = [None] * env.n_enemies
            env.fov_directions = np.tile([1.0, 0.0], (self.n, 1))
            env.render_fovs = lambda: None
            self.module.random = SimpleNamespace(shuffle=lambda agents: agents.__setitem__(slice(None), order))

    def play(self, actions: np.ndarray, rows: Mapping[str, np.ndarray]) -> tuple[float, bool, dict[str, Any]]:
        """Plays a step that leads to the given units; returns reward, whether the episode ended, and the info.

        SMAC's script, where it plays, writes what it does into ``actions``.
        """
        self._shown = [unit for unit in self._units(rows) if unit.health > 0]
        return self.env.step(actions)

    def views(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns observations, state and available actions as float32."""
        env = self.env
        avail = [env.get_avail_agent_actions(i) for i in range(self.n)]
        return tuple(np.asarray(view, np.float32) for view in (np.stack(env.get_obs()), env.get_state(), avail))

    def _units(self, rows: Mapping[str, np.ndarray]) -> list[Any]:
        own = V2_TYPES if self.flavour == "smacv2" else list(self.settings.battle_map.custom_types)
        units = []
        for k, kind in enumerate(rows["unit_type"]):
            name, number = UNIT_NAMES[kind], {key: float(rows[key][k]) for key in rows if key != "unit_type"}
            units.append(
                SimpleNamespace(
                    tag=100 + k,
                    owner=1 if k < self.n else 2,
                    unit_type=FIRST_OWN_ID + own.index(name) if k < self.n else STOCK[name],
                    pos=SimpleNamespace(x=number["x"], y=number["y"]),
                    health=number["health"] if rows["alive"][k] else 0,
                    health_max=number["health_max"],
                    shield=number["shield"],
                    shield_max=number["shield_max"],
                    energy=number["energy"],
                    weapon_cooldown=number["cooldown"],
                )
            )
        return units
