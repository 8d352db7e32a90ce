"""Battle maps: teams, spawning, terrain, opponent orders. One map is one YAML file of ``config/sc2_maps``.

``sc2_map_file.py`` reads and checks the files; here is what they become. Coordinates: x to the east, y to the north,
the map is 32 x 32 cells and cell (i, j) covers [i, i + 1) x [j, j + 1).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from epymarl_lmac.tasks.sc2_constants import CUSTOM, GENERATED, MAP_TYPES, UNITS, MapType

Rect = tuple[float, float, float, float]  # x0, y0, x1, y1; a point has x0 = x1 and y0 = y1

# What a map may change of a unit type's data; the simulator's unit table has the same names.
OVERRIDE_FIELDS = (
    "sight",  # of the game's own vision, cells
    "scan",  # distance at which the unit acquires targets, all its weapons, cells, edge to edge
    "range",  # of the main weapon, cells, edge to edge
    "damage",  # of the main weapon, a hit
    "period_s",  # of all weapons, game seconds
    "melee_damage",  # of the second, short weapon, a hit
    "melee_period_s",  # of the second, short weapon, game seconds
    "heal_rate",  # of a Medivac, hit points a game second
    "regen",  # of hit points, a game second
)


@dataclass(frozen=True)
class Override:
    """One number of a unit type that this map changes."""

    unit_type: str
    field: str  # one of OVERRIDE_FIELDS
    value: float
    owner: int | None  # 0 allies only, 1 enemies only, None both


@dataclass(frozen=True)
class Opponent:
    """What the enemies are told; between orders they act by the engine's automatic behaviour."""

    kind: str  # "idle": no order; "attack_move": once, at the start; "attack_closest": whenever one has no order
    point: tuple[float, float] | None  # where an attack-move leads, cells


@dataclass(frozen=True)
class RandomTeam:
    """SMACv2's team generation: the allies' types are drawn each episode, the enemies are a copy.

    Types are drawn independently with the weights, again while all of them are exceptions, then shuffled; enemies
    beyond the number of allies are drawn the same way.
    """

    unit_types: tuple[str, ...]
    weights: tuple[float, ...]
    exceptions: tuple[str, ...]


@dataclass(frozen=True)
class RandomStart:
    """SMACv2's start positions: surrounded with probability ``p_surround``, else reflected (smac_maps, section 7)."""

    p_surround: float
    reflect_x: float  # allies start at x ~ U[0, reflect_x), enemies at 32 - x
    corner_offset: float  # how far the inner end of an enemy group's line lies from the centre, on each axis


@dataclass(frozen=True)
class BattleMap:
    """One battle's rules, as the simulator and the interface read them.

    Fixed teams (``team`` is None): ``draws[k]`` is a tuple of rectangles. At the start of an episode one of them is
    chosen with equal probability and then a point uniformly in it, for k = 0, 1, ... in order; a point that is not
    walkable moves to the nearest walkable place. Unit u of ``ally_types`` (creation order) starts at the point of
    ``ally_draws[u]``, enemies likewise; units of one side with the same draw form a tight cluster around it.

    Agents are numbered by (``ally_rank`` of their type, x, y), once, at the start of the episode; the allies'
    slots of a unit table are in that order. Enemies keep their creation order.
    """

    name: str
    map_type: str  # key of MAP_TYPES, or "custom"
    limit: int  # environment steps of an episode
    allies: tuple[tuple[str, int], ...]  # (unit type, count) in creation order; generated teams: ("random", n)
    enemies: tuple[tuple[str, int], ...]
    walkable: np.ndarray  # bool (32, 32), indexed [x, y]
    height: np.ndarray  # uint8 (32, 32), indexed [x, y], as the game reports it
    draws: tuple[tuple[Rect, ...], ...]
    ally_draws: tuple[int, ...]  # index into draws, one an ally
    enemy_draws: tuple[int, ...]  # index into draws, one an enemy
    team: RandomTeam | None
    start: RandomStart | None
    opponent: Opponent
    overrides: tuple[Override, ...]
    custom_types: tuple[str, ...]  # types with an id of the allies' own, in the order of these ids
    ally_race: str  # "terran", "protoss", "zerg": decides whether the interface has shields
    enemy_race: str
    flavour: str  # interface that the map was published with: "smac", "smac_comm" or "smacv2"
    interface: tuple[tuple[str, object], ...]  # options (env_args) of that flavour that were published with the map
    notes: str  # where the facts are from and what is uncertain

    @property
    def n_allies(self) -> int:
        """Number N of agents."""
        return sum(count for _, count in self.allies)

    @property
    def n_enemies(self) -> int:
        """Number M of enemies."""
        return sum(count for _, count in self.enemies)

    @property
    def ally_types(self) -> tuple[str, ...]:
        """Unit type of every ally in creation order; empty for a generated team."""
        return () if self.team else tuple(t for t, count in self.allies for _ in range(count))

    @property
    def enemy_types(self) -> tuple[str, ...]:
        """Unit type of every enemy in creation order; empty for a generated team."""
        return () if self.team else tuple(t for t, count in self.enemies for _ in range(count))

    @property
    def ally_rank(self) -> dict[str, int]:
        """Place of every custom type in the allies' id order; agents are sorted by it first."""
        return {unit_type: k for k, unit_type in enumerate(self.custom_types)}

    @property
    def possible_types(self) -> tuple[str, ...]:
        """Unit types that can appear, sorted by name."""
        if self.team:
            return tuple(sorted(self.team.unit_types))
        return tuple(sorted({*self.ally_types, *self.enemy_types}))

    @property
    def is_generated(self) -> bool:
        """Whether teams are drawn anew each episode, as in SMACv2."""
        return self.map_type in GENERATED

    @property
    def family(self) -> MapType:
        """How the interface shows the units of this map."""
        if self.map_type != CUSTOM:
            return MAP_TYPES[self.map_type]
        allies, enemies = tuple(sorted(set(self.ally_types))), tuple(sorted(set(self.enemy_types)))
        n_slots = max(len(allies), len(enemies))
        return MapType(allies, enemies, (), 0 if n_slots == 1 else n_slots, "Medivac" in allies)

    def max_cooldown(self, unit_type: str) -> float:
        """Returns what the interface divides an ally's cooldown (a Medivac's energy, where it heals) by."""
        return self._constant(unit_type, "max_cooldown") or 15.0

    def max_shield(self, unit_type: str, is_ally: bool) -> float:
        """Returns what the interface divides a unit's shield by; 0 for a type without shields."""
        if is_ally:
            return self._constant(unit_type, "max_shield") or 0.0
        return UNITS[unit_type].max_shield or 0.0

    def _constant(self, unit_type: str, name: str) -> float | None:
        """Returns a constant of the type that SMAC takes an ally for."""
        if self.is_generated or self.map_type == CUSTOM:
            return getattr(UNITS[unit_type], name)
        lowest = min(self.ally_rank[t] for t in set(self.ally_types))
        place = self.ally_rank[unit_type] - lowest
        assigned = self.family.assigned
        return getattr(UNITS[assigned[place]], name) if place < len(assigned) else None

    def hash(self) -> str:
        """Returns a SHA-256 over everything that play depends on; name, interface and notes do not count."""
        digest = hashlib.sha256()
        for field in fields(self):
            if field.name not in ("name", "flavour", "interface", "notes"):
                digest.update(f"{field.name}={_plain(getattr(self, field.name))};".encode())
        return digest.hexdigest()


def _plain(value: Any) -> str:
    """Writes a field's value the same way on every machine."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"
    if is_dataclass(value):
        return "(" + ",".join(_plain(getattr(value, field.name)) for field in fields(value)) + ")"
    if isinstance(value, tuple):
        return "[" + ",".join(_plain(item) for item in value) + "]"
    return repr(value)
