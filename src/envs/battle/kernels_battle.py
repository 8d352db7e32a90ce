"""Compiled step of many battles: orders, then the game loops, one battle after the other, on one core.

Order of a loop: clocks, then every unit acts (instant hits count at once), then all move, then shots land, then health
and shields come back. Units that die in a loop do nothing more in it.

Which unit comes first is random, as in the game (PySC2, docs/environment.md, "Determinism and Randomness"). That it is
drawn anew in every loop, for both sides together, is our reading of that text.
"""

from __future__ import annotations

import numpy as np

from envs.battle.kernels_act import decide, take_order
from envs.battle.kernels_cache import kernel
from envs.battle.kernels_combat import land_shots, settle_bursts
from envs.battle.kernels_data import IDLE, N_TYPES
from envs.battle.kernels_move import move_units
from envs.battle.kernels_random import shuffle
from envs.battle.orders import lead_enemies

SHIELD_DELAY = 160.0  # loops without damage before the shield comes back
SHIELD_REGEN = 0.125  # a loop


@kernel
def _tick(body):
    """Moves the clocks of all units on by one loop."""
    for i in range(body.size):
        u = body[i]
        u.is_healed = False
        if u.cooldown > 0:
            u.cooldown = max(u.cooldown - 1, 0.0)
        if u.hold > 0:
            u.hold -= 1
        if u.help > 0:
            u.help -= 1
        u.quiet += 1


@kernel
def _recover(body):
    """Gives living units health, shields and energy of one loop."""
    for i in range(body.size):
        u = body[i]
        if not u.alive:
            continue
        if u.regen > 0 and u.health < u.health_max:
            u.health = min(u.health + u.regen, u.health_max)
        if u.shield < u.shield_max and u.quiet >= SHIELD_DELAY:
            u.shield = min(u.shield + SHIELD_REGEN, u.shield_max)
        if u.energy < u.energy_max:
            u.energy = min(u.energy + u.energy_regen, u.energy_max)


@kernel
def run_loop(body, weapons, terrain, shots, rng_1, near, queue_U):
    """Runs one game loop of one battle; ``queue_U`` holds all slots and is shuffled into this loop's order."""
    _tick(body)
    shuffle(rng_1, queue_U)
    for i in queue_U:
        if body[i].alive:
            decide(body, weapons, shots, rng_1, i)
    move_units(body, terrain, near, queue_U)
    land_shots(body, weapons, shots, queue_U)
    settle_bursts(body, weapons)
    _recover(body)


@kernel
def read_table(body, columns, b):
    """Takes over what the unit table says of battle b."""
    for i in range(body.size):
        u = body[i]
        u.x, u.y = columns.x[b, i], columns.y[b, i]
        u.health, u.health_max = columns.health[b, i], columns.health_max[b, i]
        u.shield, u.shield_max = columns.shield[b, i], columns.shield_max[b, i]
        u.energy, u.cooldown = columns.energy[b, i], columns.cooldown[b, i]
        u.alive = columns.alive[b, i]


@kernel
def write_table(body, columns, b):
    """Writes the units of battle b back."""
    for i in range(body.size):
        u = body[i]
        columns.x[b, i], columns.y[b, i] = u.x, u.y
        columns.health[b, i] = u.health
        columns.shield[b, i] = u.shield
        columns.energy[b, i] = u.energy
        columns.cooldown[b, i] = u.cooldown
        columns.alive[b, i] = u.alive


@kernel
def forget(body, shots):
    """Makes units idle where they stand, with nothing under way, facing their nearest opponent."""
    for i in range(body.size):
        u = body[i]
        u.order = IDLE
        u.order_target = u.target = u.wind_target = -1
        u.wind = -1.0
        u.hold = u.help = u.quiet = 0.0
        u.speed_x = u.speed_y = 0.0
        u.home_x, u.home_y = u.x, u.y
        u.stuck = u.turn = 0
        u.bursts = u.is_away = u.is_leashed = u.is_healed = False
        nearest = np.inf
        u.facing_x, u.facing_y = 1.0, 0.0
        for j in range(body.size):
            v = body[j]
            distance = np.hypot(v.x - u.x, v.y - u.y)
            if v.alive and v.side != u.side and 1e-6 < distance < nearest:
                nearest = distance
                u.facing_x, u.facing_y = (v.x - u.x) / distance, (v.y - u.y) / distance
    for i in range(shots.shape[0]):
        for place in range(shots.shape[1]):
            shots[i, place].active = False


@kernel
def _give(body, orders, b, first):
    """Gives the orders of one side in battle b; its units start at slot ``first``."""
    for k in range(orders.kind_BN.shape[1]):
        kind, target = int(orders.kind_BN[b, k]), int(orders.target_BN[b, k])
        if kind != 0:
            x, y = float(orders.point_BN2[b, k, 0]), float(orders.point_BN2[b, k, 1])
            take_order(body, first + k, kind, target, x, y)


@kernel
def step_battles(
    templates,
    weapons,
    terrain,
    columns,
    written_B,
    body_BU,
    shots_BUS,
    rng_B1,
    leader_B,
    orders,
    enemy_orders,
    active_B,
    n_loops,
):
    """Gives the orders of both sides and runs the loops of one step in all active battles.

    Args:
        columns: ``Columns``, the unit table.
        written_B: battles whose table rows were written from outside; reset here.
        orders: of the allies (B, N).
        leader_B: who leads the enemies, see ``orders.py``.
        enemy_orders: of the enemies (B, M); kind 0 leaves a unit to itself.
        active_B: battles to step.
        n_loops: game loops of the step.
    """
    near = np.empty(body_BU.shape[1], np.int64)
    queue_U = np.empty(body_BU.shape[1], np.int64)
    n_allies = orders.kind_BN.shape[1]
    for b in range(active_B.size):
        if not active_B[b]:
            continue
        body, shots, rng_1 = body_BU[b], shots_BUS[b], rng_B1[b]
        if written_B[b]:
            for i in range(body.size):
                body[i] = templates[(columns.owner[b, i] - 1) * N_TYPES + columns.unit_type[b, i]]
        read_table(body, columns, b)
        if written_B[b]:
            forget(body, shots)
            written_B[b] = False
        _give(body, orders, b, 0)
        lead_enemies(body, int(leader_B[b]))
        _give(body, enemy_orders, b, n_allies)
        for i in range(body.size):
            queue_U[i] = i  # anew in every battle and step, so that a battle does not depend on those beside it
        for _ in range(n_loops):
            run_loop(body, weapons, terrain, shots, rng_1, near, queue_U)
        write_table(body, columns, b)
