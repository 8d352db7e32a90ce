"""Compiled start of a battle: teams, places, the agents' order, first orders.

"Created at a point" means in the game: on the free walkable spot nearest to it. Units are placed one after the other in
creation order, so those with one point form a tight cluster. Recordings of the game show which (docs/results/sc2,
"Where units start"): a grid along the axes, and of spots equally far from the point the eastern one first, then the
southern one. Both teams have the same cluster; the enemies' is not mirrored.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from envs.battle.kernels_battle import forget, write_table
from envs.battle.kernels_cache import kernel
from envs.battle.kernels_data import ATTACK_MOVE, N_TYPES
from envs.battle.kernels_path import keep_off_walls
from envs.battle.kernels_random import below, uniform
from envs.battle.kernels_target import is_threat
from envs.battle.terrain import SIZE
from envs.battle.units import UNIT_INDEX, UNIT_NAMES
from epymarl_lmac.tasks.sc2_map import BattleMap

SPOT = 0.125  # cells between two spots that are tried, in x and in y
FARTHEST = 25.0  # cells from the point to the last spot that is tried, in x and in y; teams may start in wide walls


class SpawnPlan(NamedTuple):
    """How battles of a map start, as arrays; see ``BattleMap``.

    Letters: K draws, R rectangles of one draw, T unit types, G types of generated teams.

    Attributes:
        rects: float64 (K, R, 4), n_rects: int64 (K,).
        unit_draw: int64 (U,), unit_type: int64 (U,), in creation order; not used by generated teams.
        rank: int64 (T,), place of a type in the agents' order.
        is_generated: whether teams are drawn, by the fields below.
        team_types: int64 (G,), team_weights: float64 (G,) cumulated, team_is_exception: bool (G,).
        p_surround, reflect_x, corner_offset: see ``RandomStart``.
        attack_moves: whether enemies start with an attack-move to (point_x, point_y).
        spot_S2: float64 (S, 2), offsets of the spots around a point in the order in which they are tried.
    """

    rects: np.ndarray
    n_rects: np.ndarray
    unit_draw: np.ndarray
    unit_type: np.ndarray
    rank: np.ndarray
    is_generated: bool
    team_types: np.ndarray
    team_weights: np.ndarray
    team_is_exception: np.ndarray
    p_surround: float
    reflect_x: float
    corner_offset: float
    attack_moves: bool
    point_x: float
    point_y: float
    spot_S2: np.ndarray


@cache
def _spots() -> np.ndarray:
    """Returns the offsets of all spots around a point: the nearest first, then the eastern, then the southern one."""
    n = int(FARTHEST / SPOT)
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(-n, n + 1), np.arange(-n, n + 1)))
    order = np.lexsort((y, -x, x**2 + y**2))
    return np.stack([x, y], 1)[order] * SPOT


def make_plan(battle_map: BattleMap) -> SpawnPlan:
    """Packs a map's teams and places for ``reset_battles``."""
    most = max([1, *(len(draw) for draw in battle_map.draws)])
    rects = np.zeros((max(1, len(battle_map.draws)), most, 4))
    for k, draw in enumerate(battle_map.draws):
        rects[k, : len(draw)] = draw
    rank = np.full(len(UNIT_NAMES), len(UNIT_NAMES))
    for name, place in battle_map.ally_rank.items():
        rank[UNIT_INDEX[name]] = place
    names = [*battle_map.ally_types, *battle_map.enemy_types]
    team, start, point = battle_map.team, battle_map.start, battle_map.opponent.point
    return SpawnPlan(
        rects=rects,
        n_rects=np.array([len(draw) for draw in battle_map.draws] or [0], np.int64),
        unit_draw=np.array([*battle_map.ally_draws, *battle_map.enemy_draws], np.int64),
        unit_type=np.array([UNIT_INDEX[name] for name in names], np.int64),
        rank=rank.astype(np.int64),
        is_generated=team is not None,
        team_types=np.array([UNIT_INDEX[name] for name in team.unit_types] if team else [0], np.int64),
        team_weights=np.cumsum(team.weights if team else (1.0,)).astype(np.float64),
        team_is_exception=np.array([name in team.exceptions for name in team.unit_types] if team else [False]),
        p_surround=float(start.p_surround) if start else 0.0,
        reflect_x=float(start.reflect_x) if start else 0.0,
        corner_offset=float(start.corner_offset) if start else 0.0,
        attack_moves=battle_map.opponent.kind == "attack_move",
        point_x=float(point[0]) if point else 0.0,
        point_y=float(point[1]) if point else 0.0,
        spot_S2=_spots(),
    )


@kernel
def _draw_points(plan, rng_1, point_U2):
    """Draws where the units of a fixed team start."""
    draw_K2 = np.empty((plan.n_rects.size, 2))
    for k in range(plan.n_rects.size):
        choice = below(rng_1, plan.n_rects[k]) if plan.n_rects[k] > 1 else 0
        rect = plan.rects[k, choice]
        is_point = rect[0] == rect[2] and rect[1] == rect[3]
        draw_K2[k, 0] = rect[0] if is_point else rect[0] + (rect[2] - rect[0]) * uniform(rng_1)
        draw_K2[k, 1] = rect[1] if is_point else rect[1] + (rect[3] - rect[1]) * uniform(rng_1)
    for i in range(point_U2.shape[0]):
        for axis in range(2):
            point_U2[i, axis] = draw_K2[plan.unit_draw[i], axis]


@kernel
def _draw_types(plan, rng_1, type_U, start, stop):
    """Draws the unit types of places start..stop with the weights, again while all of them are exceptions."""
    is_valid = start >= stop
    while not is_valid:
        for i in range(start, stop):
            share, place = uniform(rng_1), 0
            while place < plan.team_types.size - 1 and share >= plan.team_weights[place]:
                place += 1
            type_U[i] = plan.team_types[place]
            is_valid |= not plan.team_is_exception[place]


@kernel
def _draw_teams(plan, rng_1, type_U, n_allies):
    """Draws the allies' types; the enemies are a copy, and those beyond it are drawn the same way."""
    _draw_types(plan, rng_1, type_U, 0, n_allies)
    for i in range(n_allies, min(2 * n_allies, type_U.size)):
        type_U[i] = type_U[i - n_allies]
    _draw_types(plan, rng_1, type_U, 2 * n_allies, type_U.size)


@kernel
def _reflect(plan, rng_1, point_U2, n_allies):
    """Allies anywhere in the west, enemies mirrored; enemies without a partner anywhere in the east."""
    for i in range(point_U2.shape[0]):
        if n_allies <= i < 2 * n_allies:
            point_U2[i, 0] = SIZE - point_U2[i - n_allies, 0]
            point_U2[i, 1] = point_U2[i - n_allies, 1]
        else:
            x = plan.reflect_x * uniform(rng_1)
            point_U2[i, 0] = x if i < n_allies else SIZE - x
            point_U2[i, 1] = SIZE * uniform(rng_1)


@kernel
def _surround(plan, rng_1, point_U2, n_allies):
    """Allies at the centre, enemies in one to four groups on the lines to different corners."""
    centre = SIZE / 2
    for i in range(n_allies):
        point_U2[i, 0] = point_U2[i, 1] = centre
    n_groups = 1 + below(rng_1, 4)
    corners = np.arange(4)
    place_42 = np.empty((4, 2))
    for g in range(n_groups):
        other = g + below(rng_1, 4 - g)
        corners[g], corners[other] = corners[other], corners[g]
        t = uniform(rng_1)
        for axis in range(2):
            is_high = (corners[g] >> axis) & 1
            inner = centre + (plan.corner_offset if is_high else -plan.corner_offset)
            place_42[g, axis] = t * inner + (1 - t) * (SIZE if is_high else 0)
    count_4 = np.zeros(4, np.int64)  # the sizes are drawn; the groups take the enemies in order
    for _ in range(n_allies, point_U2.shape[0]):
        count_4[below(rng_1, n_groups)] += 1
    g = 0
    for i in range(n_allies, point_U2.shape[0]):
        while count_4[g] == 0:
            g += 1
        count_4[g] -= 1
        point_U2[i, 0], point_U2[i, 1] = place_42[g, 0], place_42[g, 1]


@kernel
def _is_taken(templates, type_U, point_U2, i, n_allies, x, y):
    """Whether unit i at (x, y) would touch a unit that was created before it."""
    kind = templates[type_U[i] if i < n_allies else N_TYPES + type_U[i]]
    for j in range(i):
        other = templates[type_U[j] if j < n_allies else N_TYPES + type_U[j]]
        reach = kind.separation + other.separation - 1e-6
        if other.plane == kind.plane and np.hypot(point_U2[j, 0] - x, point_U2[j, 1] - y) < reach:
            return True
    return False


@kernel
def _place(templates, terrain, spot_S2, type_U, point_U2, i, n_allies):
    """Moves unit i from its point to the nearest free spot."""
    kind = templates[type_U[i] if i < n_allies else N_TYPES + type_U[i]]
    for spot in range(spot_S2.shape[0]):
        x = point_U2[i, 0] + spot_S2[spot, 0]
        y = point_U2[i, 1] + spot_S2[spot, 1]
        if kind.is_air:
            free_x, free_y = min(max(x, 0.0), SIZE - 1e-6), min(max(y, 0.0), SIZE - 1e-6)
        else:
            free_x, free_y = keep_off_walls(terrain, x, y, kind.inner)
        is_elsewhere = np.hypot(free_x - x, free_y - y) > SPOT and spot > 0
        if not is_elsewhere and not _is_taken(templates, type_U, point_U2, i, n_allies, free_x, free_y):
            point_U2[i, 0], point_U2[i, 1] = free_x, free_y
            return


@kernel
def _attack_move(body, n_allies, x, y):
    """Sends all enemies that can attack or heal to a point, each beside it as it stands beside the others now."""
    count, mean_x, mean_y = 0, 0.0, 0.0
    for slot in range(n_allies, body.size):
        u = body[slot]
        if is_threat(body, slot):
            count += 1
            mean_x += u.x
            mean_y += u.y
    for slot in range(n_allies, body.size):
        u = body[slot]
        if is_threat(body, slot):
            u.order = ATTACK_MOVE
            u.point_x, u.point_y = x + u.x - mean_x / count, y + u.y - mean_y / count


@kernel
def _comes_before(plan, type_U, point_U2, i, j):
    """Whether ally i comes before ally j in the agents' order: by rank of type, x, y (single precision)."""
    rank_i, rank_j = plan.rank[type_U[i]], plan.rank[type_U[j]]
    if rank_i != rank_j:
        return rank_i < rank_j
    for axis in range(2):
        a, b = np.float32(point_U2[i, axis]), np.float32(point_U2[j, axis])
        if a != b:
            return a < b
    return False


@kernel
def _agent_order(plan, type_U, point_U2, n_allies):
    """Returns the slot order: allies by (rank of type, x, y), enemies as created."""
    order = np.arange(type_U.size)
    for i in range(1, n_allies):
        k = order[i]
        place = i
        while place > 0:
            other = order[place - 1]
            if not _comes_before(plan, type_U, point_U2, k, other):
                break
            order[place] = other
            place -= 1
        order[place] = k
    return order


@kernel
def reset_battles(templates, terrain, plan, columns, body_BU, shots_BUS, rng_B1, mask_B, n_allies):
    """Starts a new battle where ``mask_B`` is True, and writes its units to the table."""
    n_units = body_BU.shape[1]
    type_U = np.empty(n_units, np.int64)
    point_U2 = np.empty((n_units, 2))
    for b in range(mask_B.size):
        if not mask_B[b]:
            continue
        body, rng_1 = body_BU[b], rng_B1[b]
        if plan.is_generated:
            _draw_teams(plan, rng_1, type_U, n_allies)
            if uniform(rng_1) < plan.p_surround:
                _surround(plan, rng_1, point_U2, n_allies)
            else:
                _reflect(plan, rng_1, point_U2, n_allies)
        else:
            for i in range(n_units):
                type_U[i] = plan.unit_type[i]
            _draw_points(plan, rng_1, point_U2)
        for i in range(n_units):
            _place(templates, terrain, plan.spot_S2, type_U, point_U2, i, n_allies)
        order = _agent_order(plan, type_U, point_U2, n_allies)
        for slot in range(n_units):
            i = order[slot]
            body[slot] = templates[(0 if slot < n_allies else N_TYPES) + type_U[i]]
            body[slot].x, body[slot].y = point_U2[i, 0], point_U2[i, 1]
        forget(body, shots_BUS[b])
        for slot in range(n_units):
            u = body[slot]
            columns.unit_type[b, slot] = u.unit_type
            columns.health_max[b, slot], columns.shield_max[b, slot] = u.health_max, u.shield_max
        if plan.attack_moves:
            _attack_move(body, n_allies, plan.point_x, plan.point_y)
        write_table(body, columns, b)


@kernel
def draw_leaders(rng_B1, leader_B, mask_B, first, count):
    """Draws one of ``count`` leaders of the enemies, from code ``first``, where ``mask_B`` is True."""
    for b in range(mask_B.size):
        if mask_B[b]:
            leader_B[b] = first + below(rng_B1[b], count)
