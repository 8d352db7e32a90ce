"""Constants of the StarCraft II interface that SMAC defines: unit ids, normalisers, slots of the type one-hot.

They belong to the interface and not to the game: SMAC divides cooldowns and shields by these numbers whatever the
true periods are. ``sc2_map.py`` has the maps, ``sc2_settings.py`` what a flavour makes of both.
"""

from __future__ import annotations

from dataclasses import dataclass

MAP_SIZE = 32  # cells on each side of every map here
CENTRE = MAP_SIZE / 2
LOOPS_PER_SECOND = 16
STEP_LOOPS = 8  # game loops of a step, as published
MOVE_AMOUNT = 2.0  # cells to the point that a move sends a unit to, as published
N_MOVES = 6  # no-op, stop and four moves come before the attacks
LOOK_DIRECTIONS = 12  # look actions of the conic field of view
SIGHT_RANGE = 9.0
SHOOT_RANGE = 6.0
DEFAULT_MAX_COOLDOWN = 15.0
MEDIVAC_MAX_ENERGY = 200.0


@dataclass(frozen=True)
class UnitFacts:
    """What the interface knows of a unit type."""

    stock_id: int  # id in the game's data
    race: str  # "terran", "protoss" or "zerg"
    longest_cooldown: float  # largest reading of the weapon cooldown, game loops: the period and its jitter of 2
    max_cooldown: float | None = None  # divisor of the weapon cooldown, game loops; None: the default
    max_shield: float | None = None  # divisor of the shield; None: the unit has none
    sight: float = SIGHT_RANGE  # SMACv2 with unit ranges
    shoot: float = SHOOT_RANGE  # SMACv2 with unit ranges, before the minimum is applied


UNITS: dict[str, UnitFacts] = {
    "Colossus": UnitFacts(4, "protoss", 37.2, 24.0, 150.0, 10.0, 7.0),
    "Baneling": UnitFacts(9, "zerg", 15.4, 1.0, None, 8.0, 0.25),
    "Marine": UnitFacts(48, "terran", 15.8, 15.0, None, 9.0, 5.0),
    "Reaper": UnitFacts(49, "terran", 19.6),
    "Marauder": UnitFacts(51, "terran", 26.0, 25.0, None, 10.0, 6.0),
    "Medivac": UnitFacts(54, "terran", 0.0, MEDIVAC_MAX_ENERGY, None, 11.0, 4.0),
    "Zealot": UnitFacts(73, "protoss", 21.2, 22.0, 50.0, 9.0, 0.1),
    "Stalker": UnitFacts(74, "protoss", 25.1, 35.0, 80.0, 10.0, 6.0),
    "Zergling": UnitFacts(105, "zerg", 13.2, 11.0, None, 8.0, 0.1),
    "Overlord": UnitFacts(106, "zerg", 0.0),
    "Hydralisk": UnitFacts(107, "zerg", 15.3, 10.0, None, 9.0, 5.0),
    "Ultralisk": UnitFacts(109, "zerg", 15.8),
    "Roach": UnitFacts(110, "zerg", 34.0),
}


@dataclass(frozen=True)
class MapType:
    """How SMAC sees the units of a family of maps."""

    ally_slots: tuple[str, ...]  # unit type of each slot of the allies' one-hot; empty: no one-hot
    enemy_slots: tuple[str, ...]  # the same for enemies
    assigned: tuple[str, ...]  # types that SMAC assigns to the ally ids k, k + 1, ... (k the smallest id present)
    n_slots: int  # width of both one-hots
    heals: bool = False  # an ally Medivac heals allies instead of attacking enemies


MAP_TYPES: dict[str, MapType] = {
    "marines": MapType((), (), ("Marine",), 0),
    "stalkers": MapType((), (), ("Stalker",), 0),
    "stalkers_and_zealots": MapType(("Stalker", "Zealot"), ("Zealot", "Stalker"), ("Stalker", "Zealot"), 2),
    "MMM": MapType(
        ("Marauder", "Marine", "Medivac"), ("Marauder", "Marine", "Medivac"), ("Marauder", "Marine", "Medivac"), 3, True
    ),
    "bZ_hM": MapType(("Baneling",), ("Hydralisk", "Medivac"), ("Baneling",), 2),
    "overload_bane": MapType(("Overlord", "Baneling"), ("Roach",), (), 2),
    "overload_roach": MapType(("Roach", "Overlord"), ("Reaper",), (), 2),
    "terran_gen": MapType(("Marine", "Marauder", "Medivac"), ("Marine", "Marauder", "Medivac"), (), 3, True),
    "protoss_gen": MapType(("Stalker", "Zealot", "Colossus"), ("Stalker", "Zealot", "Colossus"), (), 3),
    "zerg_gen": MapType(("Zergling", "Hydralisk", "Baneling"), ("Zergling", "Hydralisk", "Baneling"), (), 3),
}
GENERATED = ("terran_gen", "protoss_gen", "zerg_gen")  # SMACv2: teams drawn anew each episode, ids fixed
CUSTOM = "custom"  # a user's map: one slot for each unit type of a team, no id is mistaken for another's

SMAC, SMAC_COMM, SMACV2 = "smac", "smac_comm", "smacv2"
FLAVOURS = (SMAC, SMAC_COMM, SMACV2)  # SMAC; its fork of the SMAC-Comm maps that LMAC uses; SMACv2
