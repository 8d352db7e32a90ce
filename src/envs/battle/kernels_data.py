"""What the kernels work on: units, weapons and shots as packed records, and the names of their codes.

A battle is stepped on one array of ``BODY`` records (U,): position and health are taken from the unit table at the
start of a step and written back at its end; the other fields are the engine's own memory (orders, wind-up, facing).
Times are game loops, speeds cells a loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from envs.battle.terrain import Terrain
from envs.battle.units import UNIT_TYPES, UnitType, Weapon, with_override
from epymarl_lmac.tasks.sc2_constants import LOOPS_PER_SECOND
from epymarl_lmac.tasks.sc2_map import BattleMap

ALLY_SIDE, ENEMY_SIDE = 0, 1
IDLE, MOVE, ATTACK, HEAL, ATTACK_MOVE = range(5)  # what a unit is doing
STILL, MOVING, ANCHORED = range(3)  # how it takes part in movement; an anchored unit cannot be pushed
NO_SPLASH, BURST, CLEAVE, LINE = range(4)
GROUND, AIR, ABOVE = range(3)  # layers of bodies that collide; units that step over others are ABOVE
SHOTS = 4  # hits of one unit that can be under way at once

ATTRIBUTES = ("light", "armored", "biological", "mechanical", "massive")
SPLASHES = {"": NO_SPLASH, "burst": BURST, "cleave": CLEAVE, "line": LINE}
BIOLOGICAL = 1 << ATTRIBUTES.index("biological")

BODY = np.dtype(
    [
        # state
        ("x", "f8"), ("y", "f8"),
        ("health", "f8"), ("health_max", "f8"), ("shield", "f8"), ("shield_max", "f8"),
        ("energy", "f8"), ("cooldown", "f8"),
        ("facing_x", "f8"), ("facing_y", "f8"),  # unit vector
        ("speed_x", "f8"), ("speed_y", "f8"),  # only of units that fly
        ("wind", "f8"),  # wind-up left, below 0: none
        ("hold", "f8"),  # backswing left
        ("quiet", "f8"),  # loops since the last damage
        ("help", "f8"),  # loops until the unit may call for help again
        ("point_x", "f8"), ("point_y", "f8"),  # where its order leads
        ("home_x", "f8"), ("home_y", "f8"),  # where it last became idle
        ("goal_x", "f8"), ("goal_y", "f8"),  # where it walks in this loop
        ("side", "i8"), ("unit_type", "i8"), ("order", "i8"), ("order_target", "i8"),
        ("target", "i8"),  # chosen by itself
        ("wind_target", "i8"), ("wind_weapon", "i8"),
        ("mode", "i8"),
        ("turn", "i8"),  # loops for which it keeps to the side (sign) it chose to go around others
        ("stuck", "i8"),  # loops in which it wanted to walk and hardly did
        ("alive", "?"), ("bursts", "?"), ("is_away", "?"), ("is_leashed", "?"), ("is_healed", "?"),
        # constants of its type
        ("is_air", "?"), ("turns_first", "?"), ("hits_ground", "?"), ("hits_air", "?"), ("is_burster", "?"),
        ("is_passive", "?"),  # an enemy that does what it is told and nothing else, as the agents' units do
        ("plane", "i8"), ("attributes", "i8"), ("n_weapons", "i8"), ("first_weapon", "i8"),  # place in ``weapons``
        ("radius", "f8"), ("separation", "f8"), ("inner", "f8"), ("speed", "f8"), ("acceleration", "f8"),
        ("turn_cos", "f8"), ("turn_sin", "f8"), ("armor", "f8"), ("regen", "f8"), ("scan", "f8"), ("reach", "f8"),
        ("energy_max", "f8"), ("energy_regen", "f8"),
        ("heal", "f8"), ("heal_range", "f8"), ("heal_scan", "f8"), ("heal_cost", "f8"),
    ],
    align=True,
)  # fmt: skip

SHOT = np.dtype(
    [
        ("left", "f8"), ("x", "f8"), ("y", "f8"), ("across_x", "f8"), ("across_y", "f8"),
        ("target", "i8"), ("weapon", "i8"), ("hits", "i8"), ("active", "?"),
    ],
    align=True,
)  # fmt: skip

WEAPON = np.dtype(
    [
        ("range", "f8"), ("min_range", "f8"), ("slop", "f8"), ("damage", "f8"), ("bonus", "f8"),
        ("period", "f8"), ("hit_gap", "f8"), ("wind", "f8"), ("backswing", "f8"), ("missile", "f8"),
        ("splash_radius", "f8"), ("bonus_to", "i8"), ("hits", "i8"), ("splash", "i8"),
        ("ground", "?"), ("air", "?"),
    ],
    align=True,
)  # fmt: skip

N_TYPES = len(UNIT_TYPES)
WEAPONS = 2  # of one unit type, at most


class Rules(NamedTuple):
    """What stays the same over all battles of a simulator.

    Attributes:
        templates: ``BODY`` (2 * N_TYPES,), a new unit of every type, allies' types first.
        weapons: ``WEAPON`` (2 * N_TYPES * WEAPONS,), at the places that ``first_weapon`` gives.
        terrain: walls and paths.
    """

    templates: np.ndarray
    weapons: np.ndarray
    terrain: Terrain


def pack_types(battle_map: BattleMap, passive_enemies: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns (templates, weapons) of both sides on this map, see ``Rules``.

    Args:
        battle_map: the map.
        passive_enemies: whether enemies act on orders only, as agents do.

    Raises:
        TaskError: the map changes a number that a unit type does not have.
    """
    templates = np.zeros(2 * N_TYPES, BODY)
    weapons = np.zeros(2 * N_TYPES * WEAPONS, WEAPON)
    for side in (ALLY_SIDE, ENEMY_SIDE):
        for k, unit_type in enumerate(_types_of(battle_map, side)):
            row = side * N_TYPES + k
            for name, value in _pack_type(unit_type).items():
                templates[name][row] = value
            templates["side"][row], templates["unit_type"][row] = side, k
            templates["first_weapon"][row] = row * WEAPONS
            templates["is_passive"][row] = passive_enemies and side == ENEMY_SIDE
            for w, weapon in enumerate(unit_type.weapons):
                weapons[row * WEAPONS + w] = _pack_weapon(weapon)
    return templates, weapons


def _types_of(battle_map: BattleMap, side: int) -> Sequence[UnitType]:
    """Unit types of one side, with the map's changes."""
    types = dict(UNIT_TYPES)
    for change in battle_map.overrides:
        if change.owner is None or change.owner == side:
            types[change.unit_type] = with_override(types[change.unit_type], change.field, change.value)
    return list(types.values())


def _pack_type(unit_type: UnitType) -> dict[str, float]:
    """State and constants of a new unit; times in loops."""
    turn = min(np.deg2rad(unit_type.turn_rate) / LOOPS_PER_SECOND, np.pi)
    weapons = unit_type.weapons
    return {
        "health": unit_type.health,
        "health_max": unit_type.health,
        "shield": unit_type.shield,
        "shield_max": unit_type.shield,
        "energy": unit_type.energy,
        "wind": -1.0,
        "order_target": -1,
        "target": -1,
        "wind_target": -1,
        "alive": True,
        "is_air": unit_type.is_air,
        "turns_first": unit_type.turns_first,
        "hits_ground": any(weapon.hits_ground for weapon in weapons),
        "hits_air": any(weapon.hits_air for weapon in weapons),
        "is_burster": any(weapon.splash == "burst" for weapon in weapons),
        "plane": AIR if unit_type.is_air else ABOVE if unit_type.steps_over else GROUND,
        "attributes": sum(1 << ATTRIBUTES.index(name) for name in unit_type.attributes),
        "n_weapons": len(weapons),
        "radius": unit_type.radius,
        "separation": unit_type.separation,
        "inner": unit_type.inner,
        "speed": unit_type.speed / LOOPS_PER_SECOND,
        "acceleration": unit_type.acceleration / LOOPS_PER_SECOND**2,
        "turn_cos": np.cos(turn),
        "turn_sin": np.sin(turn),
        "armor": unit_type.armor,
        "regen": unit_type.health_regen / LOOPS_PER_SECOND,
        "scan": unit_type.acquire_range,
        "reach": max((weapon.range for weapon in weapons), default=0.0),
        "energy_max": unit_type.energy_max,
        "energy_regen": unit_type.energy_regen / LOOPS_PER_SECOND,
        "heal": unit_type.heal_rate / LOOPS_PER_SECOND,
        "heal_range": unit_type.heal_range,
        "heal_scan": unit_type.heal_scan,
        "heal_cost": unit_type.heal_cost,
    }


def _pack_weapon(weapon: Weapon) -> tuple:
    return (
        weapon.range, weapon.min_range, weapon.slop, weapon.damage, weapon.bonus,
        weapon.period * LOOPS_PER_SECOND, weapon.hit_gap * LOOPS_PER_SECOND, weapon.damage_point * LOOPS_PER_SECOND,
        weapon.backswing * LOOPS_PER_SECOND, weapon.missile_speed / LOOPS_PER_SECOND, weapon.splash_radius,
        1 << ATTRIBUTES.index(weapon.bonus_to) if weapon.bonus_to else 0,
        weapon.hits, SPLASHES[weapon.splash], weapon.hits_ground, weapon.hits_air,
    )  # fmt: skip
