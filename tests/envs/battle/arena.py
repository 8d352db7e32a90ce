"""Small hand-made maps and shorthand for the engine's tests."""

from __future__ import annotations

import numpy as np

from envs.battle.simulator import ATTACK, HEAL, MOVE, STOP, Orders, Simulator, no_orders
from envs.battle.units import UNIT_TYPES
from epymarl_lmac.tasks.sc2_map import BattleMap, Opponent, Override

IDLE = Opponent("idle", None)


def arena(allies, enemies, *, at=(8, 16), enemies_at=(24, 16), walkable=None, opponent=IDLE, overrides=()):
    """A flat map with both teams in clusters; ``overrides`` are (type, field, value) for both sides."""
    return BattleMap(
        name="arena",
        flavour="smac",
        interface=(),
        map_type="custom",
        limit=100,
        allies=tuple(allies),
        enemies=tuple(enemies),
        walkable=np.ones((32, 32), bool) if walkable is None else walkable,
        height=np.zeros((32, 32), np.uint8),
        draws=((tuple(map(float, (*at, *at))),), (tuple(map(float, (*enemies_at, *enemies_at))),)),
        ally_draws=(0,) * sum(count for _, count in allies),
        enemy_draws=(1,) * sum(count for _, count in enemies),
        team=None,
        start=None,
        opponent=opponent,
        overrides=tuple(Override(*change, None) for change in overrides),
        custom_types=tuple(dict.fromkeys([*(name for name, _ in allies), *UNIT_TYPES])),  # slots as given
        ally_race="zerg",
        enemy_race="zerg",
        notes="",
    )


def battle(allies, enemies, *, seed=0, num_envs=1, lead="script", **options):
    """A simulator on an arena; ``lead`` is the opponent."""
    return Simulator(arena(allies, enemies, **options), num_envs, seed, opponent=lead)


def place(sim, positions, number=0, **columns):
    """Puts the units of one battle at positions [(x, y), ...]; other columns are given whole or as one value."""
    rows = {name: np.broadcast_to(value, sim.table.n_slots) for name, value in columns.items()}
    x, y = np.array(positions, float).T
    sim.table.set_battle(number, {"x": x, "y": y, **rows})


def everyone(sim, kind, target=-1, point=(0, 0), side="allies"):
    """Orders that give all units of a side the same order."""
    orders = no_orders(sim.num_envs, sim.table.n_allies if side == "allies" else sim.table.n_enemies)
    orders.kind_BN[:] = kind
    orders.target_BN[:] = target
    orders.point_BN2[:] = point
    return orders


def each(sim, orders):
    """Orders of the only battle's allies, [(kind, target or point), ...]; None leaves a unit with its last order."""
    given = no_orders(1, sim.table.n_allies)
    for k, order in enumerate(orders):
        if order is None:
            continue
        kind, value = order
        given.kind_BN[0, k] = kind
        if kind == MOVE:
            given.point_BN2[0, k] = value
        elif kind in (ATTACK, HEAL):
            given.target_BN[0, k] = value
    return given


__all__ = [
    "ATTACK",
    "HEAL",
    "IDLE",
    "MOVE",
    "STOP",
    "Orders",
    "Simulator",
    "arena",
    "battle",
    "each",
    "everyone",
    "no_orders",
    "place",
]
