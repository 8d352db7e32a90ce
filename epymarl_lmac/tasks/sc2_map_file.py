"""Reads battle maps from YAML files and says what is wrong with one that makes no game.

``docs/environments/sc2.md`` describes the format; ``epymarl-lmac sc2 check-map FILE`` runs this and prints the map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from epymarl_lmac.errors import TaskError
from epymarl_lmac.paths import config_root
from epymarl_lmac.tasks.sc2_constants import CUSTOM, GENERATED, MAP_SIZE, MAP_TYPES, SMAC, SMAC_COMM, SMACV2, UNITS
from epymarl_lmac.tasks.sc2_map import (
    OVERRIDE_FIELDS,
    BattleMap,
    Opponent,
    Override,
    RandomStart,
    RandomTeam,
    Rect,
)

KEYS = {
    "map_type", "limit", "allies", "enemies", "places", "draws", "terrain", "opponent", "overrides", "custom_types",
    "ally_race", "enemy_race", "team", "start", "flavour", "interface", "notes",
}  # fmt: skip
REQUIRED = ("map_type", "limit", "allies", "enemies", "terrain", "opponent")
MAP_OPTIONS = ("sight_range", "shoot_range", "obs_all_health", "obs_enemy_health", "state_last_action")
OPPONENTS = ("idle", "attack_move", "attack_closest")
MAX_UNITS = 64  # of one team; far above every published map
LOW_HEIGHT, GROUND_HEIGHT, HIGH_HEIGHT = 127, 191, 255  # the game's bytes for z = 0, 8, 16: one cliff level each


def map_folder() -> Path:
    """Folder of the maps that come with the project."""
    return config_root() / "sc2_maps"


def map_names() -> list[str]:
    """Returns the names of the maps that come with the project, sorted."""
    return sorted(path.stem for path in map_folder().glob("*.yaml"))


def load_map(name: str) -> BattleMap:
    """Returns a map by its name, or by the path of a user's file (anything that ends in .yaml).

    Raises:
        TaskError: no such map, or a file that makes no game.
    """
    path = Path(name) if str(name).endswith((".yaml", ".yml")) else map_folder() / f"{name}.yaml"
    if not path.is_file():
        raise TaskError(
            f"sc2: map_name={name!r} is not known; choose one of {', '.join(map_names())}, or give the path of a map "
            "file that ends in .yaml (epymarl-lmac sc2 check-map FILE checks one)."
        )
    return read_map(path)


def read_map(path: str | Path) -> BattleMap:
    """Reads one map file.

    Raises:
        TaskError: the file cannot be read, or describes no possible battle; the message names the key.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as err:
        raise TaskError(f"map file {path}: cannot be read: {err}") from err
    return _Reader(path.stem, content).map()


class _Reader:
    """Turns one file's content into a map; every refusal names the file and the key."""

    def __init__(self, name: str, content: Any) -> None:
        self.name = name
        if not isinstance(content, Mapping):
            self.refuse("the file", content, "a mapping of keys, see docs/environments/sc2.md")
        self.content: Mapping[str, Any] = content

    def refuse(self, key: str, value: Any, expected: str) -> None:
        raise TaskError(f"map {self.name}: {key} is {value!r}; expected {expected}.")

    def map(self) -> BattleMap:
        content = self.content
        unknown, missing = sorted(set(content) - KEYS), [key for key in REQUIRED if key not in content]
        if unknown or missing:
            raise TaskError(
                f"map {self.name}: unknown keys {unknown}, missing keys {missing}; keys are {sorted(KEYS)}."
            )
        map_type = content["map_type"]
        if map_type not in MAP_TYPES and map_type != CUSTOM:
            self.refuse("map_type", map_type, f"one of {', '.join([*MAP_TYPES, CUSTOM])}")
        limit = self._integer("limit", content["limit"], 1)
        walkable, height = self._terrain(content["terrain"])
        if map_type in GENERATED:
            return self._generated(map_type, limit, walkable, height)
        return self._fixed(map_type, limit, walkable, height)

    # -- the two kinds of map --------------------------------------------------------------------------------

    def _fixed(self, map_type: str, limit: int, walkable: np.ndarray, height: np.ndarray) -> BattleMap:
        content = self.content
        for key in ("team", "start"):
            if key in content:
                self.refuse(key, content[key], f"nothing: only map types {', '.join(GENERATED)} draw teams")
        places = self._places()
        drawn = {name: k for k, name in enumerate(content.get("draws") or {})}
        draws: list[tuple[Rect, ...]] = [
            self._place(f"draws.{name}", value, places) for name, value in (content.get("draws") or {}).items()
        ]
        allies, ally_draws = self._team("allies", places, drawn, draws)
        enemies, enemy_draws = self._team("enemies", places, drawn, draws)
        ally_types = {unit_type for unit_type, _ in allies}
        custom = tuple(content.get("custom_types") or sorted(ally_types))
        if not ally_types <= set(custom) or not set(custom) <= set(UNITS):
            self.refuse("custom_types", list(custom), f"known unit types, with all of {sorted(ally_types)}")
        self._check_slots(map_type, ally_types, {unit_type for unit_type, _ in enemies})
        return BattleMap(
            name=self.name,
            map_type=map_type,
            limit=limit,
            allies=allies,
            enemies=enemies,
            walkable=walkable,
            height=height,
            draws=tuple(draws),
            ally_draws=tuple(ally_draws),
            enemy_draws=tuple(enemy_draws),
            team=None,
            start=None,
            opponent=self._opponent(content["opponent"], walkable),
            overrides=self._overrides(content.get("overrides") or []),
            custom_types=custom,
            ally_race=self._race("ally_race", allies),
            enemy_race=self._race("enemy_race", enemies),
            flavour=self._flavour(),
            interface=self._interface(),
            notes=str(content.get("notes") or ""),
        )

    def _generated(self, map_type: str, limit: int, walkable: np.ndarray, height: np.ndarray) -> BattleMap:
        content = self.content
        for key in ("places", "draws", "custom_types", "ally_race", "enemy_race", "flavour"):
            if key in content:
                self.refuse(key, content[key], f"nothing: map type {map_type} draws teams and positions itself")
        n, m = (self._integer(key, content[key], 1, MAX_UNITS) for key in ("allies", "enemies"))
        if m < n:
            self.refuse("enemies", m, f"at least as many as the {n} allies, as the enemy team begins as their copy")
        race = map_type.removesuffix("_gen")
        return BattleMap(
            name=self.name,
            map_type=map_type,
            limit=limit,
            allies=(("random", n),),
            enemies=(("random", m),),
            walkable=walkable,
            height=height,
            draws=(),
            ally_draws=(),
            enemy_draws=(),
            team=self._random_team(map_type, content.get("team")),
            start=self._random_start(content.get("start")),
            opponent=self._opponent(content["opponent"], walkable),
            overrides=self._overrides(content.get("overrides") or []),
            custom_types=GENERATED_CUSTOM_TYPES,
            ally_race=race,
            enemy_race=race,
            flavour=SMACV2,
            interface=self._interface(),
            notes=str(content.get("notes") or ""),
        )

    # -- parts ----------------------------------------------------------------------------------------------

    def _integer(self, key: str, value: Any, low: int, high: int | None = None) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < low or (high and value > high):
            self.refuse(key, value, f"an integer of at least {low}" + (f" and at most {high}" if high else ""))
        return value

    def _number(self, key: str, value: Any, low: float, high: float = float("inf")) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            self.refuse(key, value, f"a number from {low:g} to {high:g}")
        return float(value)

    def _keys(self, key: str, value: Any, required: set[str], optional: set[str] = frozenset()) -> Mapping[str, Any]:  # type: ignore[assignment]
        """Returns a mapping with these keys, or refuses it."""
        if not isinstance(value, Mapping) or not required <= set(value) <= required | optional:
            more = f" and perhaps {sorted(optional)}" if optional else ""
            self.refuse(key, value, f"a mapping with {sorted(required)}{more}")
        return value

    def _unit_type(self, key: str, value: Any) -> str:
        if value not in UNITS:
            self.refuse(key, value, f"one of {', '.join(sorted(UNITS))}")
        return value

    def _rect(self, key: str, value: Any) -> Rect:
        """Reads [x, y] or [x0, y0, x1, y1], inside the map."""
        is_list = isinstance(value, Sequence) and not isinstance(value, str) and len(value) in (2, 4)
        numbers = [float(v) for v in value] if is_list and all(isinstance(v, (int, float)) for v in value) else []
        rect = numbers * 2 if len(numbers) == 2 else numbers
        ok = len(rect) == 4 and all(0 <= v <= MAP_SIZE for v in rect) and rect[0] <= rect[2] and rect[1] <= rect[3]
        if not ok:
            self.refuse(key, value, f"a point [x, y] or a rectangle [x0, y0, x1, y1] within 0..{MAP_SIZE}")
        return rect[0], rect[1], rect[2], rect[3]

    def _places(self) -> dict[str, tuple[Rect, ...]]:
        places: dict[str, tuple[Rect, ...]] = {}
        for name, value in (self.content.get("places") or {}).items():
            places[name] = self._place(f"places.{name}", value, places)
        return places

    def _place(self, key: str, value: Any, places: Mapping[str, tuple[Rect, ...]]) -> tuple[Rect, ...]:
        """Reads a place: a name, a point, a rectangle, or a list of these, one of which is chosen."""
        if isinstance(value, str):
            if value not in places:
                self.refuse(key, value, f"a place that was named before: {', '.join(places) or 'there is none'}")
            return places[value]
        if isinstance(value, Sequence) and value and not isinstance(value[0], (int, float)):
            parts = [self._place(key, part, places) for part in value]
            if len({len(part) for part in parts}) > 1:
                self.refuse(key, value, "places with equally many choices, so that all are equally likely")
            return tuple(rect for part in parts for rect in part)
        return (self._rect(key, value),)

    def _team(
        self,
        key: str,
        places: Mapping[str, tuple[Rect, ...]],
        drawn: dict[str, int],
        draws: list[tuple[Rect, ...]],
    ) -> tuple[tuple[tuple[str, int], ...], list[int]]:
        """Reads one side's groups; adds the draws they need and names the last one where a group asks for it."""
        groups = self.content[key]
        if not isinstance(groups, Sequence) or isinstance(groups, str) or not groups:
            self.refuse(key, groups, "a list with at least one group of units")
        team: list[tuple[str, int]] = []
        units: list[int] = []
        for k, group in enumerate(groups):
            where = f"{key}[{k}]"
            group = self._keys(where, group, {"type", "count"}, {"at", "each", "last_as"})
            unit_type = self._unit_type(f"{where}.type", group["type"])
            count = self._integer(f"{where}.count", group["count"], 1, MAX_UNITS)
            if ("at" in group) == ("each" in group):
                self.refuse(where, dict(group), "either 'at' (one place for all) or 'each' (one draw for every unit)")
            if "each" in group:
                place = self._place(f"{where}.each", group["each"], places)
                units += range(len(draws), len(draws) + count)
                draws += [place] * count
                if "last_as" in group:
                    drawn[group["last_as"]] = len(draws) - 1
            elif "last_as" in group:
                self.refuse(f"{where}.last_as", group["last_as"], "nothing: it names the last draw of 'each'")
            else:
                units += [self._draw(f"{where}.at", group["at"], places, drawn, draws)] * count
            team.append((unit_type, count))
        if sum(count for _, count in team) > MAX_UNITS:
            self.refuse(key, team, f"at most {MAX_UNITS} units")
        return tuple(team), units

    def _draw(
        self,
        key: str,
        value: Any,
        places: Mapping[str, tuple[Rect, ...]],
        drawn: dict[str, int],
        draws: list[tuple[Rect, ...]],
    ) -> int:
        """Returns the draw that a group stands at: one with a name, or a new one."""
        if isinstance(value, str) and value in drawn:
            return drawn[value]
        place = self._place(key, value, places)
        if len(place) == 1 and place[0][:2] == place[0][2:] and place in draws:
            return draws.index(place)  # the same point: one cluster
        draws.append(place)
        return len(draws) - 1

    def _terrain(self, value: Any) -> tuple[np.ndarray, np.ndarray]:
        """Reads "flat", a picture of 32 rows from north to south, or rectangles of walkable and blocked cells."""
        walkable = np.zeros((MAP_SIZE, MAP_SIZE), bool)
        height = np.full((MAP_SIZE, MAP_SIZE), GROUND_HEIGHT, np.uint8)
        if value == "flat":
            walkable[:] = True
        elif isinstance(value, str):
            rows = value.split()
            if len(rows) != MAP_SIZE or any(len(row) != MAP_SIZE or set(row) - set(".#o~") for row in rows):
                self.refuse("terrain", value, f"{MAP_SIZE} rows of {MAP_SIZE} characters . (walkable) # o ~")
            cells = np.array([list(row) for row in rows])[::-1].T  # picture rows go south, cells are [x, y]
            walkable[:] = cells != "#"
            height[cells == "o"] = HIGH_HEIGHT
        else:
            self._keys("terrain", value, {"walkable"}, {"blocked"})
            for key in ("walkable", "blocked"):
                for x0, y0, x1, y1 in (self._rect(f"terrain.{key}", rect) for rect in value.get(key) or []):
                    walkable[int(x0) : int(x1), int(y0) : int(y1)] = key == "walkable"
            height[~walkable] = LOW_HEIGHT
        if not walkable.any():
            self.refuse("terrain", value, "at least one walkable cell")
        walkable.flags.writeable = height.flags.writeable = False
        return walkable, height

    def _opponent(self, value: Any, walkable: np.ndarray) -> Opponent:
        if isinstance(value, str) and value in OPPONENTS and value != "attack_move":
            return Opponent(value, None)
        if not isinstance(value, Mapping) or set(value) != {"attack_move"}:
            self.refuse("opponent", value, "idle, attack_closest, or {attack_move: [x, y]}")
        x0, y0, x1, y1 = self._rect("opponent.attack_move", value["attack_move"])
        inside = (x0, y0) == (x1, y1) and x0 < MAP_SIZE and y0 < MAP_SIZE
        if not inside or not walkable[int(x0), int(y0)]:
            self.refuse("opponent.attack_move", value["attack_move"], "a walkable point [x, y]")
        return Opponent("attack_move", (x0, y0))

    def _overrides(self, value: Any) -> tuple[Override, ...]:
        if not isinstance(value, Sequence) or isinstance(value, str):
            self.refuse("overrides", value, "a list of mappings")
        overrides = []
        for k, item in enumerate(value):
            where = f"overrides[{k}]"
            item = self._keys(where, item, {"type"}, {"owner", *OVERRIDE_FIELDS})
            unit_type = self._unit_type(f"{where}.type", item["type"])
            owners = {"allies": 0, "enemies": 1, "both": None}
            if item.get("owner", "both") not in owners:
                self.refuse(f"{where}.owner", item["owner"], f"one of {', '.join(owners)}")
            for field in OVERRIDE_FIELDS:
                if field in item:
                    number = self._number(f"{where}.{field}", item[field], 0)
                    overrides.append(Override(unit_type, field, number, owners[item.get("owner", "both")]))
        return tuple(overrides)

    def _race(self, key: str, team: tuple[tuple[str, int], ...]) -> str:
        race = self.content.get(key) or UNITS[team[0][0]].race
        if race not in ("terran", "protoss", "zerg"):
            self.refuse(key, race, "terran, protoss or zerg")
        shielded = [unit_type for unit_type, _ in team if UNITS[unit_type].max_shield]
        if bool(shielded) != (race == "protoss") or any(
            (UNITS[t].max_shield is None) == (race == "protoss") for t, _ in team
        ):
            self.refuse(
                key, race, "a team in which all or none have shields: the interface has one shield column a team"
            )
        return race

    def _flavour(self) -> str:
        flavour = self.content.get("flavour", SMAC)
        if flavour not in (SMAC, SMAC_COMM):
            self.refuse("flavour", flavour, f"{SMAC} or {SMAC_COMM}; {SMACV2} is for teams that are drawn")
        return flavour

    def _interface(self) -> tuple[tuple[str, object], ...]:
        value = self.content.get("interface") or {}
        if not isinstance(value, Mapping) or not set(value) <= set(MAP_OPTIONS):
            self.refuse("interface", value, f"a mapping with some of {', '.join(MAP_OPTIONS)}")
        return tuple(sorted(value.items()))

    def _check_slots(self, map_type: str, allies: set[str], enemies: set[str]) -> None:
        """Refuses units that the map type's one-hot has no slot for."""
        if map_type == CUSTOM:
            return
        family = MAP_TYPES[map_type]
        if not family.n_slots:
            return
        for key, team, slots in (
            ("allies", allies, family.ally_slots),
            ("enemies", enemies, family.enemy_slots),
        ):
            if not team <= set(slots):
                self.refuse(key, sorted(team), f"units of map type {map_type}: {', '.join(slots)} (or map_type custom)")

    def _random_team(self, map_type: str, value: Any) -> RandomTeam:
        value = self._keys("team", value, {"types", "weights", "exceptions"})
        types, weights, exceptions = (tuple(value[key]) for key in ("types", "weights", "exceptions"))
        slots = MAP_TYPES[map_type].ally_slots
        if not types or not set(types) <= set(slots) or len(set(types)) != len(types):
            self.refuse("team.types", list(types), f"some of {', '.join(slots)}, each once")
        is_share = len(weights) == len(types) and all(isinstance(w, (int, float)) and w >= 0 for w in weights)
        if not is_share or abs(sum(weights) - 1) > 1e-6:
            self.refuse("team.weights", list(weights), f"{len(types)} shares that sum to 1")
        if not any(w > 0 and t not in exceptions for t, w in zip(types, weights, strict=True)):
            self.refuse("team.exceptions", list(exceptions), "at least one drawn type that is no exception")
        return RandomTeam(types, tuple(float(w) for w in weights), exceptions)

    def _random_start(self, value: Any) -> RandomStart:
        value = self._keys("start", value, {"p_surround", "reflect_x", "corner_offset"})
        return RandomStart(
            self._number("start.p_surround", value["p_surround"], 0, 1),
            self._number("start.reflect_x", value["reflect_x"], 0, MAP_SIZE / 2),
            self._number("start.corner_offset", value["corner_offset"], 0, MAP_SIZE / 2),
        )


# Types with an allies' id on SMACv2's maps, in the order of the ids.
GENERATED_CUSTOM_TYPES = (
    "Baneling", "Colossus", "Hydralisk", "Marauder", "Marine", "Medivac", "Stalker", "Zealot", "Zergling",
)  # fmt: skip
