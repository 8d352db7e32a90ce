"""Settings of ``sc2`` and ``sc2v2``: what a flavour and a map make of the ``env_args``, and the sizes that follow.

Read by the environments (``src/envs/sc2.py``, ``src/envs/starcraft2.py``) and by the task cards (``sc2.py`` beside
this file), so that all speak of the same interface. Holds no defaults but the published ones that a null asks for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epymarl_lmac.errors import TaskError
from epymarl_lmac.tasks.sc2_constants import (
    FLAVOURS,
    LOOK_DIRECTIONS,
    MOVE_AMOUNT,
    N_MOVES,
    SHOOT_RANGE,
    SIGHT_RANGE,
    SMAC,
    SMAC_COMM,
    SMACV2,
    STEP_LOOPS,
)
from epymarl_lmac.tasks.sc2_map import BattleMap
from epymarl_lmac.tasks.sc2_map_file import load_map

ENGINES = ("auto", "embedded", "starcraft2")
SIGHT_MEMORIES = ("faithful", "clean")
SCRIPT = "script"  # the opponent of published results
OPPONENTS = (SCRIPT, "attack_nearest", "focus_fire", "kite", "mixed")
N_PATHING, N_HEIGHT = 8, 9  # points of the surroundings, heights with the own cell

# What a null in the yaml stands for, by flavour; a map's ``interface`` comes before it.
PUBLISHED: dict[str, dict[str, Any]] = {
    SMAC: {
        "sight_range": SIGHT_RANGE,
        "shoot_range": SHOOT_RANGE,
        "obs_all_health": True,
        "obs_enemy_health": False,
        "state_last_action": True,
    },
    SMAC_COMM: {
        "sight_range": SIGHT_RANGE,
        "shoot_range": SHOOT_RANGE,
        "obs_all_health": True,
        "obs_enemy_health": True,
        "state_last_action": False,
    },
    SMACV2: {"sight_range": SIGHT_RANGE, "shoot_range": SHOOT_RANGE, "obs_enemy_health": False},
}
CAME_LATER = {  # records without them were made with these values
    "step_mul": STEP_LOOPS, "move_amount": MOVE_AMOUNT, "heuristic_ai": False, "heuristic_rest": False,
}  # fmt: skip
_V2_KEYS = ("obs_own_pos", "use_unit_ranges", "min_attack_range", "conic_fov", "prob_obs_enemy", "sight_memory",
            "action_mask")  # fmt: skip
_V1_KEYS = ("flavour", "sight_range", "shoot_range", "obs_enemy_health")
_V1_VALUES: dict[str, Any] = {
    "obs_own_pos": False,
    "use_unit_ranges": False,
    "min_attack_range": 0.0,
    "conic_fov": False,
    "prob_obs_enemy": 1.0,
    "sight_memory": "clean",
    "action_mask": True,
}


@dataclass(frozen=True)
class Sc2Settings:
    """One validated task. ``config/envs/sc2.yaml`` and ``sc2v2.yaml`` explain the keys."""

    battle_map: BattleMap
    engine: str
    flavour: str
    strict_actions: bool
    continuing_episode: bool
    step_mul: int  # game loops of a step
    move_amount: float  # cells from a unit to the point that a move sends it to
    heuristic_ai: bool  # SMAC's script leads the agents in place of their actions
    heuristic_rest: bool  # the script may do only what the agents may
    sight_range: float  # cells; with use_unit_ranges each type has its own
    shoot_range: float
    obs_all_health: bool
    obs_own_health: bool
    obs_enemy_health: bool
    obs_last_action: bool
    obs_pathing_grid: bool
    obs_terrain_height: bool
    obs_timestep_number: bool
    obs_instead_of_state: bool
    state_last_action: bool
    state_timestep_number: bool
    reward_sparse: bool
    reward_only_positive: bool
    reward_death_value: float
    reward_win: float
    reward_defeat: float
    reward_negative_scale: float
    reward_scale: bool
    reward_scale_rate: float
    opponent: str
    difficulty: str
    game_version: str | None
    obs_own_pos: bool
    use_unit_ranges: bool
    min_attack_range: float
    conic_fov: bool
    prob_obs_enemy: float
    sight_memory: str
    action_mask: bool

    @classmethod
    def from_env_args(cls, env: str, env_args: Mapping[str, Any]) -> Sc2Settings:
        """Reads and validates the ``env_args`` of ``sc2`` or ``sc2v2``.

        Args:
            env: "sc2" or "sc2v2".
            env_args: every key of the yaml's ``env_args``; none may be missing, none may be added.

        Raises:
            TaskError: a key is missing or unknown, or the values make no task; the message names key and value.
        """
        keys = ENV_ARGS[env]
        missing = [key for key in keys if key not in env_args]
        unknown = [key for key in env_args if key not in keys]
        if missing or unknown:
            raise TaskError(
                f"{env}: env_args has missing keys {missing} and unknown keys {unknown}; the keys are {list(keys)} "
                f"(config/envs/{env}.yaml)."
            )
        return cls(**_Reader(env, env_args).values())

    # -- sizes: letters N agents, M enemies, A actions, O observation, S state -----------------------------------

    @property
    def n_agents(self) -> int:
        return self.battle_map.n_allies

    @property
    def plays_a_run(self) -> bool:
        """Whether a recorded run leads the enemies; ``opponent`` is its place then."""
        return self.opponent not in OPPONENTS

    @property
    def n_enemies(self) -> int:
        return self.battle_map.n_enemies

    @property
    def first_attack(self) -> int:
        """Index of the first attack action."""
        return N_MOVES + (LOOK_DIRECTIONS if self.conic_fov else 0)

    @property
    def n_actions(self) -> int:
        """Number A of actions; a healer needs one for every ally."""
        n_targets = max(self.n_agents, self.n_enemies) if self.battle_map.family.heals else self.n_enemies
        return self.first_attack + n_targets

    @property
    def n_slots(self) -> int:
        """Width of the type one-hot."""
        return self.battle_map.family.n_slots

    @property
    def ally_shields(self) -> bool:
        return self.battle_map.ally_race == "protoss"

    @property
    def enemy_shields(self) -> bool:
        return self.battle_map.enemy_race == "protoss"

    @property
    def shows_enemy_health(self) -> bool:
        return self.obs_all_health or self.obs_enemy_health

    @property
    def n_enemy_padding(self) -> int:
        """Columns at the end of an enemy row that are always 0: the fork counts its two health options twice."""
        return 1 + self.enemy_shields if self.obs_all_health and self.obs_enemy_health else 0

    @property
    def move_width(self) -> int:
        return 4 + N_PATHING * self.obs_pathing_grid + N_HEIGHT * self.obs_terrain_height

    @property
    def enemy_width(self) -> int:
        health = (1 + self.enemy_shields) * self.shows_enemy_health
        return 4 + health + self.n_slots + self.n_enemy_padding

    @property
    def ally_width(self) -> int:
        health = (1 + self.ally_shields) * self.obs_all_health
        return 4 + health + self.n_slots + self.n_actions * self.obs_last_action

    @property
    def own_width(self) -> int:
        """Own block; SMAC's own time option leaves an empty slot at its end."""
        health = (1 + self.ally_shields) * self.obs_own_health
        empty = self.obs_timestep_number and self.flavour == SMAC
        return health + 2 * self.obs_own_pos + 2 * self.conic_fov + self.n_slots + empty

    @property
    def obs_dim(self) -> int:
        """Length O of one agent's observation, the appended time included."""
        enemies, allies = self.n_enemies * self.enemy_width, (self.n_agents - 1) * self.ally_width
        return self.move_width + enemies + allies + self.own_width + self.obs_timestep_number

    @property
    def ally_state_width(self) -> int:
        return 4 + self.ally_shields + 2 * self.conic_fov + self.n_slots

    @property
    def enemy_state_width(self) -> int:
        return 3 + self.enemy_shields + self.n_slots

    @property
    def state_dim(self) -> int:
        """Length S of the state."""
        if self.obs_instead_of_state:
            return self.n_agents * self.obs_dim
        units = self.n_agents * self.ally_state_width + self.n_enemies * self.enemy_state_width
        return units + self.n_agents * self.n_actions * self.state_last_action + self.state_timestep_number


ENV_ARGS: dict[str, tuple[str, ...]] = {}
_ALL_KEYS = tuple("map_name" if f.name == "battle_map" else f.name for f in dataclasses.fields(Sc2Settings))
ENV_ARGS["sc2"] = tuple(key for key in _ALL_KEYS if key not in _V2_KEYS)
ENV_ARGS["sc2v2"] = tuple(key for key in _ALL_KEYS if key not in _V1_KEYS)


def _is_place(text: str) -> bool:
    return bool(text) and Path(text).expanduser().exists()


class _Reader:
    """Checks ``env_args`` one by one."""

    def __init__(self, env: str, env_args: Mapping[str, Any]) -> None:
        self.env, self.args = env, env_args
        if not isinstance(env_args["map_name"], str):
            self.refuse("map_name", "the name of a map, e.g. bane_vs_hM")
        self.battle_map = load_map(env_args["map_name"])
        self._check_env()
        self.flavour = SMACV2 if env == "sc2v2" else env_args["flavour"] or self.battle_map.flavour
        if self.flavour not in FLAVOURS or (env == "sc2" and self.flavour == SMACV2):
            self.refuse("flavour", f"{SMAC}, {SMAC_COMM}, or null for the one the map was published with")

    def refuse(self, key: str, expected: str) -> None:
        raise TaskError(f"{self.env}: {key}={self.args[key]!r} is not possible; expected {expected}.")

    def _check_env(self) -> None:
        """Refuses a map of the other environment."""
        other = "sc2v2" if self.battle_map.is_generated else "sc2"
        if other != self.env:
            raise TaskError(
                f"{self.env}: map_name={self.args['map_name']!r} is a map of {other}; use --env-config={other}."
            )

    def values(self) -> dict[str, Any]:
        """Returns the fields of the settings."""
        values: dict[str, Any] = {**_V1_VALUES, **PUBLISHED[self.flavour]}
        for key in ENV_ARGS[self.env]:
            if key != "map_name":
                values[key] = self._value(key)
        values |= {"battle_map": self.battle_map, "flavour": self.flavour}
        values["obs_own_health"] = values["obs_own_health"] or values["obs_all_health"]
        self._check_flavour(values)
        self._check_engine(values)
        return values

    def _value(self, key: str) -> Any:
        value = self.args[key]
        if key in PUBLISHED[self.flavour] and value is None and self.env == "sc2":
            published = {**PUBLISHED[self.flavour]}
            if self.flavour == self.battle_map.flavour:
                published |= dict(self.battle_map.interface)
            value = published[key]
        kind = _TYPES[key]
        if kind == "bool":
            if not isinstance(value, bool):
                self.refuse(key, "true or false" + (" (or null)" if key in PUBLISHED[self.flavour] else ""))
            return value
        if kind in ("int", "float"):
            return self._number(key, value, kind)
        if key == "opponent" and value not in OPPONENTS and not (isinstance(value, str) and _is_place(value)):
            self.refuse(key, f"one of {', '.join(OPPONENTS)}, or the folder of a run that exists")
        choices = {"engine": ENGINES, "sight_memory": SIGHT_MEMORIES}.get(key)
        if choices and value not in choices:
            self.refuse(key, f"one of {', '.join(choices)}")
        if key == "difficulty" and str(value) not in DIFFICULTIES:
            self.refuse(key, f"one of {', '.join(DIFFICULTIES)}")
        if key == "game_version" and value is not None and not isinstance(value, str):
            self.refuse(key, 'a version in quotes, e.g. "4.10", or null for the installed one')
        return str(value) if key == "difficulty" else value

    def _number(self, key: str, value: Any, kind: str) -> float:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if kind == "int":
            if not is_whole or value < _LOW[key]:
                self.refuse(key, f"a whole number of at least {_LOW[key]:g}")
            return value
        if not (is_whole or isinstance(value, float)) or not value >= _LOW[key]:
            self.refuse(key, f"a number of at least {_LOW[key]:g}")
        if key == "prob_obs_enemy" and value > 1:
            self.refuse(key, "a probability")
        if key == "move_amount" and value == 0:
            self.refuse(key, "a number above 0")
        return float(value)

    def _check_flavour(self, values: Mapping[str, Any]) -> None:
        """Refuses options that the flavour's own code ignores."""
        ignored = []
        if self.flavour == SMAC_COMM:
            ignored = ["obs_timestep_number", "state_timestep_number"]
        if self.flavour == SMAC:
            ignored = ["obs_enemy_health"]
        for key in ignored:
            if values[key]:
                raise TaskError(f"{self.env}: {key}=True has no effect in flavour {self.flavour}; leave it false.")
        if values["heuristic_rest"] and not values["heuristic_ai"]:
            raise TaskError(f"{self.env}: heuristic_rest=True has no effect without heuristic_ai=True; leave it false.")
        shows_points = values["obs_pathing_grid"] or values["obs_terrain_height"]
        if shows_points and values["move_amount"] != int(values["move_amount"]):
            self.refuse("move_amount", "a whole number with obs_pathing_grid or obs_terrain_height, which look so far")
        if values["reward_scale"] and not values["reward_scale_rate"] > 0:
            self.refuse("reward_scale_rate", "a number above 0")

    def _check_engine(self, values: Mapping[str, Any]) -> None:
        """Refuses options of the game where the game does not run, and of the simulator where it does."""
        if values["engine"] == "starcraft2" and values["opponent"] != SCRIPT:
            raise TaskError(
                f"{self.env}: opponent={values['opponent']!r} needs engine=embedded; in StarCraft II itself the map's "
                f"script leads the enemies (opponent={SCRIPT})."
            )
        if values["engine"] == "embedded":
            for key, default in (("game_version", None), ("difficulty", "7")):
                if values[key] != default:
                    raise TaskError(
                        f"{self.env}: {key}={values[key]!r} needs engine=starcraft2; with engine=embedded it must be "
                        f"{default!r}."
                    )


DIFFICULTIES = ("1", "2", "3", "4", "5", "6", "7", "8", "9", "A")
_LOW = {
    "step_mul": 1,
    "move_amount": 0.0,
    "sight_range": 0.0,
    "shoot_range": 0.0,
    "reward_death_value": 0.0,
    "reward_win": 0.0,
    "reward_defeat": float("-inf"),
    "reward_negative_scale": 0.0,
    "reward_scale_rate": 0.0,
    "min_attack_range": 0.0,
    "prob_obs_enemy": 0.0,
}
_TYPES = {f.name: str(f.type) for f in dataclasses.fields(Sc2Settings)}
