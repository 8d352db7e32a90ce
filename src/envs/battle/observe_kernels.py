"""Compiled loops of SMAC's interface: available actions, observations, state.

Unit columns come as float32, as the game reports them; all arithmetic is float64 and every number is cast to float32
once, when it is stored. Then results equal those of SMAC's own code to the bit. ``observe.py`` holds the arrays.

Letters: B battles, N agents, M enemies, U = N + M units, A actions, O observation, S state, K unit types.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

NO_ACTION = -1  # "last action" before the first step
UNSEEN = -1  # enemy slot that no agent has seen yet
EPSILON = 1e-7  # SMACv2's guard against a division by zero in the angle of a look
SPLITTER = 134217729.0  # 2**27 + 1, halves a float64's digits


class Rules(NamedTuple):
    """What the loops need of ``Sc2Settings``, as plain numbers and arrays."""

    n: int
    m: int
    n_actions: int
    first_attack: int
    n_slots: int
    limit: int
    heals: bool
    conic: bool
    cone: float  # half its angle, radians
    masks_actions: bool
    move: float  # cells to the point of a move
    ally_shields: bool
    enemy_shields: bool
    shows_ally_health: bool
    shows_enemy_health: bool
    shows_own_health: bool
    enemy_padding: int
    shows_own_pos: bool
    shows_last_action: bool
    shows_pathing: bool
    shows_height: bool
    shows_time: bool
    shares_sightings: bool
    faithful: bool
    share_prob: float
    state_last_action: bool
    state_time: bool
    sight_K: np.ndarray  # float64, cells
    shoot_K: np.ndarray  # float64, cells
    ally_slot_K: np.ndarray  # int64, place in the type one-hot
    enemy_slot_K: np.ndarray
    max_cooldown_K: np.ndarray  # float64
    ally_shield_K: np.ndarray  # float64, divisor of the shield
    enemy_shield_K: np.ndarray
    is_medivac_K: np.ndarray  # bool
    walkable: np.ndarray  # bool (32, 32), [x, y]
    height: np.ndarray  # float64 (32, 32), share of the highest byte, as SMAC reads it at [x, y]
    look_L2: np.ndarray  # float64 (12, 2), unit vectors of the look actions


class Units(NamedTuple):
    """Columns of the unit table, (B, U) each."""

    unit_type: np.ndarray
    x: np.ndarray
    y: np.ndarray
    health: np.ndarray
    health_max: np.ndarray
    shield: np.ndarray
    energy: np.ndarray
    cooldown: np.ndarray
    alive: np.ndarray


@njit(cache=True, inline="always")
def square(a: float) -> tuple[float, float]:
    """Returns a * a and the rounding error of that product."""
    product = a * a
    big = SPLITTER * a
    high = big - (big - a)
    low = a - high
    return product, ((high * high - product) + 2.0 * high * low) + low * low


@njit(cache=True)
def distance(dx: float, dy: float) -> float:
    """Returns the length of (dx, dy) rounded as Python's ``math.hypot`` rounds it."""
    guess = math.sqrt(dx * dx + dy * dy)
    if guess == 0.0:
        return 0.0
    x2, x2_error = square(dx)
    y2, y2_error = square(dy)
    g2, g2_error = square(guess)
    if x2 < y2:
        x2, y2 = y2, x2
    rest = ((x2 - g2) + y2) + ((x2_error - g2_error) + y2_error)
    return guess + rest / (2.0 * guess)


@njit(cache=True)
def in_cone(dx: float, dy: float, reach: float, look_x: float, look_y: float, cone: float) -> bool:
    """Returns whether (dx, dy) lies within ``reach`` and the cone around a look direction, as SMACv2 decides it."""
    if distance(dx, dy) > reach:
        return False
    if dx > 0:
        dx, look_x = max(dx, EPSILON), max(look_x, EPSILON)
    else:
        dx, look_x = min(dx, -EPSILON), min(look_x, -EPSILON)
    return abs(math.atan(dy / dx) - math.atan(look_y / look_x)) < cone


@njit(cache=True, inline="always")
def lives(u: Units, b: int, k: int) -> bool:
    return u.alive[b, k] and u.health[b, k] > 0


@njit(cache=True, inline="always")
def _is_walkable(rules: Rules, x: float, y: float) -> bool:
    """Returns whether the cell of a point can be walked on; coordinates are cut towards zero, as SMAC cuts them."""
    i, j = int(x), int(y)
    if i < 0 or j < 0 or i >= rules.walkable.shape[0] or j >= rules.walkable.shape[1]:
        return False
    return rules.walkable[i, j]


@njit(cache=True)
def reaches(rules: Rules, u: Units, b: int, i: int, k: int, look_BN2: np.ndarray) -> bool:
    """Returns whether unit k is near enough (and in view, with a cone) for an order of agent i."""
    dx = np.float64(u.x[b, k]) - np.float64(u.x[b, i])
    dy = np.float64(u.y[b, k]) - np.float64(u.y[b, i])
    reach = rules.shoot_K[u.unit_type[b, i]]
    if rules.conic:
        return in_cone(dx, dy, reach, look_BN2[b, i, 0], look_BN2[b, i, 1], rules.cone)
    return distance(dx, dy) <= reach


@njit(cache=True)
def _write_available(
    rules: Rules, u: Units, b: int, i: int, look_BN2: np.ndarray, masks: bool, row_A: np.ndarray
) -> None:
    """Writes the available actions of one agent."""
    row_A[:] = 0
    if not lives(u, b, i):
        row_A[0] = 1
        return
    x, y = np.float64(u.x[b, i]), np.float64(u.y[b, i])
    row_A[1] = 1
    half = rules.move / 2.0
    row_A[2] = _is_walkable(rules, x, y + half)
    row_A[3] = _is_walkable(rules, x, y - half)
    row_A[4] = _is_walkable(rules, x + half, y)
    row_A[5] = _is_walkable(rules, x - half, y)
    row_A[6 : rules.first_attack] = 1
    if rules.heals and rules.is_medivac_K[u.unit_type[b, i]]:
        for k in range(rules.n):
            if not lives(u, b, k) or rules.is_medivac_K[u.unit_type[b, k]]:
                continue
            row_A[rules.first_attack + k] = not masks or reaches(rules, u, b, i, k, look_BN2)
    else:
        for j in range(rules.m):
            if lives(u, b, rules.n + j):
                row_A[rules.first_attack + j] = not masks or reaches(rules, u, b, i, rules.n + j, look_BN2)


@njit(cache=True)
def write_available(
    rules: Rules, u: Units, look_BN2: np.ndarray, which_B: np.ndarray, masks: bool, avail_BNA: np.ndarray
) -> None:
    """Writes the available actions of every agent, uint8 (B, N, A), in the battles of ``which_B``.

    ``masks`` False offers every living target, in range or not.
    """
    for b in range(which_B.shape[0]):
        if which_B[b]:
            for i in range(rules.n):
                _write_available(rules, u, b, i, look_BN2, masks, avail_BNA[b, i])


@njit(cache=True)
def _write_surroundings(rules: Rules, x: float, y: float, row_O: np.ndarray, k: int) -> int:
    """Writes pathing and height of the points around; a point outside the map counts as 1."""
    cx, cy, near = int(x), int(y), int(rules.move)
    far = 2 * near
    offsets = (
        (0, far), (0, -far), (far, 0), (-far, 0), (near, near), (-near, -near), (near, -near), (-near, near), (0, 0)
    )  # fmt: skip
    size_x, size_y = rules.walkable.shape
    if rules.shows_pathing:
        for dx, dy in offsets[:8]:
            px, py = cx + dx, cy + dy
            inside = 0 <= px < size_x and 0 <= py < size_y
            row_O[k] = rules.walkable[px, py] if inside else 1.0
            k += 1
    if rules.shows_height:
        for dx, dy in offsets:
            px, py = cx + dx, cy + dy
            inside = 0 <= px < size_x and 0 <= py < size_y
            row_O[k] = rules.height[px, py] if inside else 1.0
            k += 1
    return k


@njit(cache=True)
def next_random(random_B: np.ndarray, b: int) -> np.uint64:
    """Advances battle b's generator (splitmix64) and returns 64 random bits."""
    random_B[b] += np.uint64(0x9E3779B97F4A7C15)
    z = random_B[b]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(cache=True)
def draw_order(random_B: np.ndarray, b: int, order_N: np.ndarray) -> None:
    """Shuffles the agents of battle b."""
    for i in range(order_N.shape[0]):
        order_N[i] = i
    for i in range(order_N.shape[0] - 1, 0, -1):
        j = int(next_random(random_B, b) % np.uint64(i + 1))
        order_N[i], order_N[j] = order_N[j], order_N[i]


@njit(cache=True)
def _note_sighting(
    rules: Rules, b: int, i: int, j: int, first_BM: np.ndarray, may_BMN: np.ndarray, random_B: np.ndarray
) -> None:
    """Agent i is the first to see enemy slot j: it may see it from now on, and each other agent with a probability."""
    first_BM[b, j] = i
    may_BMN[b, j, i] = True
    for other in range(rules.n):
        if other != i:
            chance = 0.0
            if rules.share_prob < 1.0:
                chance = float(next_random(random_B, b) >> np.uint64(11)) / 9007199254740992.0
            if chance < rules.share_prob:
                may_BMN[b, j, other] = True


@njit(cache=True)
def _write_enemies(
    rules: Rules,
    u: Units,
    b: int,
    i: int,
    look_BN2: np.ndarray,
    avail_A: np.ndarray,
    first_BM: np.ndarray,
    may_BMN: np.ndarray,
    random_B: np.ndarray,
    row_O: np.ndarray,
    k: int,
) -> int:
    """Writes the enemy block of one agent."""
    x, y, sight = np.float64(u.x[b, i]), np.float64(u.y[b, i]), rules.sight_K[u.unit_type[b, i]]
    start = k
    width = 4 + (1 + rules.enemy_shields) * rules.shows_enemy_health + rules.n_slots + rules.enemy_padding
    for j in range(rules.m):
        e = rules.n + j
        dx, dy = np.float64(u.x[b, e]) - x, np.float64(u.y[b, e]) - y
        dist = distance(dx, dy)
        if rules.conic:
            sees = in_cone(dx, dy, sight, look_BN2[b, i, 0], look_BN2[b, i, 1], rules.cone)
        else:
            sees = dist < sight
        may_see = True
        if rules.shares_sightings:
            if sees and first_BM[b, j] == UNSEEN:  # a dead enemy's last position counts as well
                _note_sighting(rules, b, i, j, first_BM, may_BMN, random_B)
            may_see = may_BMN[b, j, i]
        if sees and may_see and lives(u, b, e):
            unit_type = u.unit_type[b, e]
            row_O[k] = avail_A[rules.first_attack + j]
            row_O[k + 1] = dist / sight
            row_O[k + 2] = dx / sight
            row_O[k + 3] = dy / sight
            at = k + 4
            if rules.shows_enemy_health:
                row_O[at] = np.float64(u.health[b, e]) / np.float64(u.health_max[b, e])
                at += 1
                if rules.enemy_shields:
                    row_O[at] = np.float64(u.shield[b, e]) / rules.enemy_shield_K[unit_type]
                    at += 1
            if rules.n_slots > 0:
                row_O[at + rules.enemy_slot_K[unit_type]] = 1.0
        k += width
        if not may_see and rules.faithful:
            row_O[start:k] = 0.0
    return k


@njit(cache=True)
def _write_allies(
    rules: Rules, u: Units, b: int, i: int, look_BN2: np.ndarray, last_BN: np.ndarray, row_O: np.ndarray, k: int
) -> int:
    """Writes the ally block of one agent."""
    x, y, sight = np.float64(u.x[b, i]), np.float64(u.y[b, i]), rules.sight_K[u.unit_type[b, i]]
    health = (1 + rules.ally_shields) * rules.shows_ally_health
    width = 4 + health + rules.n_slots + rules.n_actions * rules.shows_last_action
    for a in range(rules.n):
        if a == i:
            continue
        dx, dy = np.float64(u.x[b, a]) - x, np.float64(u.y[b, a]) - y
        dist = distance(dx, dy)
        if rules.conic:
            sees = in_cone(dx, dy, sight, look_BN2[b, i, 0], look_BN2[b, i, 1], rules.cone)
        else:
            sees = dist < sight
        if sees and lives(u, b, a):
            unit_type = u.unit_type[b, a]
            row_O[k] = 1.0
            row_O[k + 1] = dist / sight
            row_O[k + 2] = dx / sight
            row_O[k + 3] = dy / sight
            at = k + 4
            if rules.shows_ally_health:
                row_O[at] = np.float64(u.health[b, a]) / np.float64(u.health_max[b, a])
                at += 1
                if rules.ally_shields:
                    row_O[at] = np.float64(u.shield[b, a]) / rules.ally_shield_K[unit_type]
                    at += 1
            if rules.n_slots > 0:
                row_O[at + rules.ally_slot_K[unit_type]] = 1.0
                at += rules.n_slots
            if rules.shows_last_action and last_BN[b, a] != NO_ACTION:
                row_O[at + last_BN[b, a]] = 1.0
        k += width
    return k


@njit(cache=True)
def _write_own(rules: Rules, u: Units, b: int, i: int, look_BN2: np.ndarray, row_O: np.ndarray, k: int) -> None:
    """Writes the own block of one agent."""
    unit_type = u.unit_type[b, i]
    if rules.shows_own_health:
        row_O[k] = np.float64(u.health[b, i]) / np.float64(u.health_max[b, i])
        k += 1
        if rules.ally_shields:
            row_O[k] = np.float64(u.shield[b, i]) / rules.ally_shield_K[unit_type]
            k += 1
    if rules.shows_own_pos:
        row_O[k] = np.float64(u.x[b, i]) / rules.walkable.shape[0]
        row_O[k + 1] = np.float64(u.y[b, i]) / rules.walkable.shape[1]
        k += 2
    if rules.conic:
        row_O[k : k + 2] = look_BN2[b, i]
        k += 2
    if rules.n_slots > 0:
        row_O[k + rules.ally_slot_K[unit_type]] = 1.0


@njit(cache=True)
def write_obs(
    rules: Rules,
    u: Units,
    look_BN2: np.ndarray,
    last_BN: np.ndarray,
    clock_B: np.ndarray,
    reach_BNA: np.ndarray,
    first_BM: np.ndarray,
    may_BMN: np.ndarray,
    random_B: np.ndarray,
    which_B: np.ndarray,
    order_N: np.ndarray,
    draws_order: bool,
    obs_BNO: np.ndarray,
) -> None:
    """Writes every agent's observation, float32 (B, N, O), in the battles of ``which_B``.

    Args:
        reach_BNA: actions that are available by range; its attacks are the "attackable" bits.
        first_BM, may_BMN: SMACv2's memory of sightings; updated on the way, in the order in which agents are visited.
        order_N: that order; drawn anew for every battle if ``draws_order``.
    """
    for b in range(which_B.shape[0]):
        if not which_B[b]:
            continue
        if draws_order:
            draw_order(random_B, b, order_N)
        for place in range(rules.n):
            i = order_N[place]
            row_O = obs_BNO[b, i]
            row_O[:] = 0.0
            if lives(u, b, i):
                for k in range(4):
                    row_O[k] = reach_BNA[b, i, 2 + k]
                x, y = np.float64(u.x[b, i]), np.float64(u.y[b, i])
                k = _write_surroundings(rules, x, y, row_O, 4)
                avail_A = reach_BNA[b, i]
                k = _write_enemies(rules, u, b, i, look_BN2, avail_A, first_BM, may_BMN, random_B, row_O, k)
                k = _write_allies(rules, u, b, i, look_BN2, last_BN, row_O, k)
                _write_own(rules, u, b, i, look_BN2, row_O, k)
            if rules.shows_time:
                row_O[-1] = clock_B[b] / rules.limit


@njit(cache=True)
def forget_sightings(rules: Rules, u: Units, which_B: np.ndarray, first_BM: np.ndarray, may_BMN: np.ndarray) -> None:
    """Forgets the slots of dead enemies and those whose first observer has died."""
    for b in range(which_B.shape[0]):
        if not which_B[b]:
            continue
        for j in range(rules.m):
            first = first_BM[b, j]
            if first != UNSEEN and not lives(u, b, first):
                first_BM[b, j] = UNSEEN
                may_BMN[b, j, :] = False
                may_BMN[b, :, first] = False
        for j in range(rules.m):
            if not lives(u, b, rules.n + j):
                first_BM[b, j] = UNSEEN
                may_BMN[b, j, :] = False


@njit(cache=True)
def write_state(
    rules: Rules,
    u: Units,
    look_BN2: np.ndarray,
    last_BN: np.ndarray,
    clock_B: np.ndarray,
    which_B: np.ndarray,
    state_BS: np.ndarray,
) -> None:
    """Writes the state, float32 (B, S), in the battles of ``which_B``."""
    size_x, size_y = rules.walkable.shape
    ally_width = 4 + rules.ally_shields + 2 * rules.conic + rules.n_slots
    enemy_width = 3 + rules.enemy_shields + rules.n_slots
    for b in range(which_B.shape[0]):
        if not which_B[b]:
            continue
        row_S = state_BS[b]
        row_S[:] = 0.0
        for i in range(rules.n):
            if not lives(u, b, i):
                continue
            k, unit_type = i * ally_width, u.unit_type[b, i]
            is_healer = rules.heals and rules.is_medivac_K[unit_type]
            clock = np.float64(u.energy[b, i]) if is_healer else np.float64(u.cooldown[b, i])
            row_S[k] = np.float64(u.health[b, i]) / np.float64(u.health_max[b, i])
            row_S[k + 1] = clock / rules.max_cooldown_K[unit_type]
            row_S[k + 2] = (np.float64(u.x[b, i]) - size_x / 2) / size_x
            row_S[k + 3] = (np.float64(u.y[b, i]) - size_y / 2) / size_y
            k += 4
            if rules.ally_shields:
                row_S[k] = np.float64(u.shield[b, i]) / rules.ally_shield_K[unit_type]
                k += 1
            if rules.conic:
                row_S[k : k + 2] = look_BN2[b, i]
                k += 2
            if rules.n_slots > 0:
                row_S[k + rules.ally_slot_K[unit_type]] = 1.0
        for j in range(rules.m):
            e = rules.n + j
            if not lives(u, b, e):
                continue
            k, unit_type = rules.n * ally_width + j * enemy_width, u.unit_type[b, e]
            row_S[k] = np.float64(u.health[b, e]) / np.float64(u.health_max[b, e])
            row_S[k + 1] = (np.float64(u.x[b, e]) - size_x / 2) / size_x
            row_S[k + 2] = (np.float64(u.y[b, e]) - size_y / 2) / size_y
            k += 3
            if rules.enemy_shields:
                row_S[k] = np.float64(u.shield[b, e]) / rules.enemy_shield_K[unit_type]
                k += 1
            if rules.n_slots > 0:
                row_S[k + rules.enemy_slot_K[unit_type]] = 1.0
        k = rules.n * ally_width + rules.m * enemy_width
        if rules.state_last_action:
            for i in range(rules.n):
                if last_BN[b, i] != NO_ACTION:
                    row_S[k + i * rules.n_actions + last_BN[b, i]] = 1.0
        if rules.state_time:
            row_S[-1] = clock_B[b] / rules.limit
