"""Unit types and weapons: the numbers of StarCraft II's Liberty data, which all maps here use.

Times are game seconds, 16 game loops each; distances are map cells. Ladder data of later versions differ and are
not meant here. Weapon fields that the data leave open take the game's defaults (range slop 1, damage point 0.167).
Maps change single numbers with ``with_override``; ``kernels_data.py`` packs the types for the kernels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from epymarl_lmac.errors import TaskError

DEFAULT_SCAN = 5.0  # an idle or attack-moving unit sees targets this far, or as far as its weapon reaches


@dataclass(frozen=True)
class Weapon:
    """One weapon. The weapons of a unit share their cooldown; it lasts for the period of the one that fired.

    Attributes:
        range: reach between the edges of the two bodies.
        damage: hit points of one hit, before armour.
        period: game seconds from shot to shot.
        hits: hits of one attack; armour counts for each.
        hit_gap: game seconds between two hits.
        bonus: extra damage of a hit on a target with the attribute ``bonus_to``.
        bonus_to: attribute name, or "" for no bonus.
        damage_point: game seconds of wind-up before the effect.
        backswing: game seconds after the effect in which the unit does not walk after its target by itself; an
            order to move cuts it short.
        missile_speed: cells a second; 0 hits at once.
        slop: how much farther a target may be when the wind-up ends.
        min_range: targets nearer than this (edges) need another weapon; -inf: none. Bodies can stand closer than
            their edges, as they keep apart by the separation radius only.
        hits_ground, hits_air: which planes it reaches.
        splash: "" none, "burst" (own position, then dies), "cleave" (half circle in front) or "line" (across the shot).
        splash_radius: radius of the burst or cleave, half the length of the line.
    """

    range: float
    damage: float
    period: float
    hits: int = 1
    hit_gap: float = 0.0
    bonus: float = 0.0
    bonus_to: str = ""
    damage_point: float = 0.167
    backswing: float = 0.5
    missile_speed: float = 0.0
    slop: float = 1.0
    min_range: float = -math.inf
    hits_ground: bool = True
    hits_air: bool = False
    splash: str = ""
    splash_radius: float = 0.0


@dataclass(frozen=True)
class UnitType:
    """One unit type.

    Attributes:
        name: name in ``UNIT_TYPES``.
        stock_id: the game's unit type id.
        race: "terran", "protoss" or "zerg".
        health, shield: hit points when created.
        armor: taken off every hit on health (not on shields).
        attributes: of light, armored, biological, mechanical, massive.
        is_air: flies; else it walks.
        speed: cells a second.
        radius: body, for ranges.
        separation: radius that other units keep out of.
        inner: distance that the centre keeps from walls.
        sight: data sight; the observations use the interface's own ranges.
        weapons: primary first; empty for units that cannot attack.
        scan: distance (edges) at which the unit acquires targets by itself; None: 5, or its longest range.
        health_regen: health a second, always on.
        acceleration: cells a second squared; 0: full speed at once.
        turn_rate: degrees a second.
        turns_first: stands until it faces where it goes.
        energy, energy_max, energy_regen: when created, largest, gained a second.
        heal_rate: health a second that it can heal; 0: no healer.
        heal_range: reach (edges) of the heal.
        heal_scan: distance (edges) at which it heals by itself.
        heal_cost: energy for one health.
        steps_over: walks over other ground units.
    """

    name: str
    stock_id: int
    race: str
    health: float
    speed: float
    radius: float
    separation: float
    inner: float
    attributes: tuple[str, ...]
    sight: float
    shield: float = 0.0
    armor: float = 0.0
    is_air: bool = False
    weapons: tuple[Weapon, ...] = ()
    scan: float | None = None
    health_regen: float = 0.0
    acceleration: float = 0.0
    turn_rate: float = 1000.0
    turns_first: bool = False
    energy: float = 0.0
    energy_max: float = 0.0
    energy_regen: float = 0.0
    heal_rate: float = 0.0
    heal_range: float = 0.0
    heal_scan: float = 0.0
    heal_cost: float = 0.0
    steps_over: bool = False

    @property
    def acquire_range(self) -> float:
        """Distance (edges) at which the unit acquires targets by itself."""
        if self.scan is not None:
            return self.scan
        return max([DEFAULT_SCAN, *(weapon.range for weapon in self.weapons)])


STALKER_MISSILE = 18.75  # the game's default missile, assumed where the data name none
ZERG_REGEN = 0.2734

_TYPES = (
    UnitType(
        "Marine", 48, "terran", health=45, speed=2.25, radius=0.375, separation=0.375, inner=0.375,
        attributes=("light", "biological"), sight=9,
        weapons=(Weapon(5, 6, 0.8608, damage_point=0.05, backswing=0.75, hits_air=True),),
    ),
    UnitType(
        "Marauder", 51, "terran", health=125, armor=1, speed=2.25, radius=0.5625, separation=0.5, inner=0.375,
        attributes=("armored", "biological"), sight=10,
        weapons=(
            Weapon(6, 10, 1.5, bonus=10, bonus_to="armored", damage_point=0, backswing=0, missile_speed=20),
        ),
    ),
    UnitType(
        "Medivac", 54, "terran", health=150, armor=1, is_air=True, speed=2.75, acceleration=2.3125,
        radius=0.75, separation=0.75, inner=0, attributes=("armored", "mechanical"), sight=11,
        energy=50, energy_max=200, energy_regen=0.5625,
        heal_rate=9, heal_range=4, heal_scan=6, heal_cost=0.33,
    ),
    UnitType(
        "Reaper", 49, "terran", health=50, speed=2.9531, radius=0.375, separation=0.375, inner=0.375,
        attributes=("light", "biological"), sight=9, scan=5.5,
        weapons=(
            Weapon(4.5, 4, 1.1, hits=2, hit_gap=0.122, bonus=5, bonus_to="light", damage_point=0, backswing=0.75),
        ),
    ),
    UnitType(
        "Stalker", 74, "protoss", health=80, shield=80, armor=1, speed=2.9531, radius=0.625, separation=0.625,
        inner=0.5, attributes=("armored", "mechanical"), sight=10,
        weapons=(
            Weapon(6, 10, 1.44, bonus=4, bonus_to="armored", missile_speed=STALKER_MISSILE, hits_air=True),
        ),
    ),
    UnitType(
        "Zealot", 73, "protoss", health=100, shield=50, armor=1, speed=2.25, radius=0.5, separation=0.375,
        inner=0.375, attributes=("light", "biological"), sight=9,
        weapons=(Weapon(0.1, 8, 1.2, hits=2, hit_gap=0.28, damage_point=0),),
    ),
    UnitType(
        "Colossus", 4, "protoss", health=200, shield=150, armor=1, speed=2.25, radius=1, separation=0.75,
        inner=0.5625, attributes=("armored", "mechanical", "massive"), sight=10, steps_over=True,
        weapons=(
            Weapon(6, 20, 2.2, hits=2, damage_point=0.083, slop=0, splash="line", splash_radius=1.4),
        ),
    ),
    UnitType(
        "Zergling", 105, "zerg", health=35, speed=2.9531, radius=0.375, separation=0.375, inner=0.5,
        attributes=("light", "biological"), sight=8, health_regen=ZERG_REGEN,
        weapons=(Weapon(0.1, 5, 0.696),),
    ),
    UnitType(
        "Baneling", 9, "zerg", health=30, speed=2.5, radius=0.375, separation=0.375, inner=0.375,
        attributes=("biological",), sight=8, health_regen=ZERG_REGEN,
        weapons=(
            Weapon(
                0.25, 20, 0.833, bonus=15, bonus_to="light", damage_point=0, splash="burst", splash_radius=2.2,
            ),
        ),
    ),
    UnitType(
        "Hydralisk", 107, "zerg", health=80, speed=2.25, radius=0.625, separation=0.5, inner=0.375,
        attributes=("light", "biological"), sight=9, health_regen=ZERG_REGEN,
        weapons=(
            Weapon(5, 12, 0.83, damage_point=0.208, missile_speed=40, hits_air=True),
            Weapon(0.5, 12, 0.83, damage_point=0.3),
        ),
    ),
    UnitType(
        "Roach", 110, "zerg", health=145, armor=1, speed=2.25, radius=0.5, separation=0.5, inner=0.625,
        attributes=("armored", "biological"), sight=9, health_regen=ZERG_REGEN,
        weapons=(
            Weapon(3, 16, 2, missile_speed=18.75, min_range=0.6),
            Weapon(0.5, 16, 2),
        ),
    ),
    UnitType(
        "Ultralisk", 109, "zerg", health=600, armor=1, speed=2.25, radius=1, separation=1, inner=0.75,
        attributes=("armored", "biological", "massive"), sight=9, health_regen=ZERG_REGEN,
        turn_rate=360, turns_first=True,
        weapons=(Weapon(1, 18, 0.861, damage_point=0.3332, splash="cleave", splash_radius=2),),
    ),
    UnitType(
        "Overlord", 106, "zerg", health=200, is_air=True, speed=0.4687, acceleration=1.0625, radius=1,
        separation=0.75, inner=0, attributes=("armored", "biological"), sight=11, health_regen=ZERG_REGEN,
    ),
    UnitType(
        "Overseer", 129, "zerg", health=200, armor=1, is_air=True, speed=1.875, acceleration=2.125, radius=1,
        separation=0.75, inner=0, attributes=("armored", "biological"), sight=11, health_regen=ZERG_REGEN,
    ),
)  # fmt: skip

UNIT_TYPES: dict[str, UnitType] = {unit_type.name: unit_type for unit_type in _TYPES}
UNIT_NAMES: tuple[str, ...] = tuple(UNIT_TYPES)  # a unit's number in the table is its place here
UNIT_INDEX: dict[str, int] = {name: k for k, name in enumerate(UNIT_NAMES)}


def with_override(unit_type: UnitType, name: str, value: float) -> UnitType:
    """Returns a unit type with one number changed, as maps change them.

    Args:
        unit_type: what is changed.
        name: ``sight``, ``scan``, ``heal_rate``, ``regen``; of the primary weapon ``range``, ``damage``; of all
            weapons ``period_s``; of the second weapon ``melee_damage``, ``melee_period_s``.
        value: the new number.

    Raises:
        TaskError: an unknown name, or one of a weapon that the type lacks.
    """
    direct = {"sight": "sight", "scan": "scan", "heal_rate": "heal_rate", "regen": "health_regen"}
    if name in direct:
        change: dict[str, Any] = {direct[name]: value}
        return replace(unit_type, **change)
    place = {
        "range": (0, "range"),
        "damage": (0, "damage"),
        "melee_damage": (1, "damage"),
        "melee_period_s": (1, "period"),
    }
    weapons = list(unit_type.weapons)
    if name == "period_s" and weapons:
        weapons = [replace(weapon, period=value) for weapon in weapons]
    elif name in place and len(weapons) > place[name][0]:
        k, number = place[name]
        changed: dict[str, Any] = {number: value}
        weapons[k] = replace(weapons[k], **changed)
    else:
        raise TaskError(
            f"Unit type {unit_type.name} has no number {name!r} to change; a map can change sight, scan, heal_rate and "
            f"regen, and with {len(weapons)} weapons here: range, damage, period_s (one), melee_damage, "
            "melee_period_s (two)."
        )
    return replace(unit_type, weapons=tuple(weapons))
