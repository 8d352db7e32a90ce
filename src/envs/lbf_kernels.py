"""Compiled inner loops of level-based foraging: one pass over the copies a call, one core, no hidden state.

Letters: B copies, R rows, C columns, P and Q padded rows and columns, N agents, F foods, O observation.
All arrays belong to ``lbf.LbfEnv`` and are changed in place. Coordinates are field coordinates (row, column).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from envs.random_streams import draw as _draw
from envs.random_streams import shuffled as _shuffled
from epymarl_lmac.tasks.lbf_settings import LOAD

AGENT, FOOD, ACCESS = 0, 1, 2  # layers of the state
PLACING_DRAWS = 1000  # draws for all foods of an episode; then fewer foods are accepted (the game's rule)


@njit(cache=True, nogil=True)
def _place_players(rng_4, pos_N2, level_N, rows, cols, low_N, high_N, order_N):
    """Puts players one by one on uniformly drawn empty cells and draws their levels."""
    n = level_N.size
    _shuffled(rng_4, order_N)
    for i in range(n):
        taken = True
        while taken:
            row, col = _draw(rng_4, rows), _draw(rng_4, cols)
            taken = False
            for j in range(i):
                taken |= pos_N2[j, 0] == row and pos_N2[j, 1] == col
        pos_N2[i, 0], pos_N2[i, 1] = row, col
        low, high = low_N[order_N[i]], high_N[order_N[i]]
        level_N[i] = low + _draw(rng_4, high - low + 1)


@njit(cache=True, nogil=True)
def _has_room(field_RC, pos_N2, row, col):
    """Whether a food may be placed: no other food is near, and nobody stands there."""
    rows, cols = field_RC.shape
    for dr in range(-2, 3):
        for dc in range(-2, 3):
            near = abs(dr) + abs(dc) <= 2
            r, c = row + dr, col + dc
            if near and 0 <= r < rows and 0 <= c < cols and field_RC[r, c] > 0:
                return False
    is_free = True
    for i in range(pos_N2.shape[0]):
        is_free &= pos_N2[i, 0] != row or pos_N2[i, 1] != col
    return is_free


@njit(cache=True, nogil=True)
def _place_foods(rng_4, field_RC, pos_N2, cap, low_F, high_F, order_F, force_coop, cap_exclusive):
    """Places foods with their levels. Returns (number placed, sum of their levels).

    Args:
        cap: sum of the three lowest player levels, the highest food level where ``high_F`` is 0.
        cap_exclusive: the published rules' non-cooperative draw, which leaves ``cap`` itself out.
    """
    rows, cols = field_RC.shape
    field_RC[:] = 0
    _shuffled(rng_4, order_F)
    placed, total, draws = 0, 0, 0
    while placed < low_F.size and draws < PLACING_DRAWS:
        draws += 1
        row, col = 1 + _draw(rng_4, rows - 2), 1 + _draw(rng_4, cols - 2)
        if not _has_room(field_RC, pos_N2, row, col):
            continue
        k = order_F[placed]
        high = high_F[k] if high_F[k] > 0 else cap
        low = low_F[k]
        if force_coop:
            low = high
        elif cap_exclusive:
            high = max(high - 1, 1)
        level = low + _draw(rng_4, high - low + 1)
        field_RC[row, col] = level
        placed += 1
        total += level
    return placed, total


@njit(cache=True, nogil=True)
def draw_layers(field_RC, pos_N2, level_N, layers_3PQ, sight, see_levels):
    """Draws the padded layers of one copy from nothing (after a reset or a load)."""
    rows, cols = field_RC.shape
    layers_3PQ[:] = 0
    for r in range(rows):
        for c in range(cols):
            layers_3PQ[FOOD, r + sight, c + sight] = field_RC[r, c]
            layers_3PQ[ACCESS, r + sight, c + sight] = 1.0 if field_RC[r, c] == 0 else 0.0
    for i in range(level_N.size):
        r, c = pos_N2[i, 0] + sight, pos_N2[i, 1] + sight
        layers_3PQ[AGENT, r, c] = level_N[i] if see_levels else 1.0
        layers_3PQ[ACCESS, r, c] = 0.0


@njit(cache=True, nogil=True)
def observe_grid(pos_N2, layers_3PQ, obs_NO, sight):
    """Copies every player's window of every layer, layer by layer and row by row."""
    side = 2 * sight + 1
    for i in range(pos_N2.shape[0]):
        top, left = pos_N2[i, 0], pos_N2[i, 1]  # the padding shifts the window's corner onto the position
        k = 0
        for layer in range(3):
            for r in range(top, top + side):
                for c in range(left, left + side):
                    obs_NO[i, k] = layers_3PQ[layer, r, c]
                    k += 1


@njit(cache=True, nogil=True)
def observe_vector(field_RC, pos_N2, level_N, obs_NO, max_food, sight, see_levels):
    """Lists what every player sees: foods in reading order, then itself, then the other players in order.

    Coordinates count from the window's corner, which stops at the north and west border. As in the game,
    players are seen up to 2 * sight cells from that corner, so near those borders further than foods are.
    """
    rows, cols = field_RC.shape
    n = level_N.size
    width = 3 if see_levels else 2
    for i in range(n):
        own_r, own_c = pos_N2[i, 0], pos_N2[i, 1]
        top, left = max(own_r - sight, 0), max(own_c - sight, 0)
        k = 0
        for r in range(top, min(own_r + sight + 1, rows)):
            for c in range(left, min(own_c + sight + 1, cols)):
                if field_RC[r, c] > 0 and k < 3 * max_food:
                    obs_NO[i, k], obs_NO[i, k + 1], obs_NO[i, k + 2] = r - top, c - left, field_RC[r, c]
                    k += 3
        while k < 3 * max_food:
            obs_NO[i, k], obs_NO[i, k + 1], obs_NO[i, k + 2] = -1, -1, 0
            k += 3
        for turn in range(n):
            j = i if turn == 0 else (turn - 1 if turn <= i else turn)
            r, c = pos_N2[j, 0] - top, pos_N2[j, 1] - left
            if min(r, c) >= 0 and max(r, c) <= 2 * sight:
                obs_NO[i, k], obs_NO[i, k + 1] = r, c
                if see_levels:
                    obs_NO[i, k + 2] = level_N[j]
                k += width
        while k < obs_NO.shape[1]:
            obs_NO[i, k], obs_NO[i, k + 1] = -1, -1
            if see_levels:
                obs_NO[i, k + 2] = 0
            k += width


@njit(cache=True, nogil=True)
def reset_copies(
    which_B, rng_B4, field_BRC, pos_BN2, level_BN, clock_B, foods_B2, total_B, live_B, layers_B3PQ, obs_BNO,
    low_N, high_N, low_F, high_F, sight, force_coop, cap_exclusive, see_levels, grid,
):  # fmt: skip
    """Starts a new episode in the copies that ``which_B`` names.

    Args:
        foods_B2: out, foods placed and foods left.
        total_B: out, sum of the food levels placed.
        live_B: out, True for every copy that starts.
    """
    n, n_food = level_BN.shape[1], low_F.size
    rows, cols = field_BRC.shape[1], field_BRC.shape[2]
    order_N, order_F, sorted_N = np.empty(n, np.int64), np.empty(n_food, np.int64), np.empty(n, np.int64)
    for b in range(which_B.size):
        if not which_B[b]:
            continue
        _place_players(rng_B4[b], pos_BN2[b], level_BN[b], rows, cols, low_N, high_N, order_N)
        sorted_N[:] = level_BN[b]
        sorted_N.sort()
        placed, total_B[b] = _place_foods(
            rng_B4[b],
            field_BRC[b],
            pos_BN2[b],
            sorted_N[:3].sum(),
            low_F,
            high_F,
            order_F,
            force_coop,
            cap_exclusive,
        )
        foods_B2[b, 0] = foods_B2[b, 1] = placed
        clock_B[b] = 0
        live_B[b] = True
        draw_layers(field_BRC[b], pos_BN2[b], level_BN[b], layers_B3PQ[b], sight, see_levels)
        if grid:
            observe_grid(pos_BN2[b], layers_B3PQ[b], obs_BNO[b], sight)
        else:
            observe_vector(field_BRC[b], pos_BN2[b], level_BN[b], obs_BNO[b], n_food, sight, see_levels)


@njit(cache=True, nogil=True)
def _find_food(field_RC, row, col):
    """Returns (row, column) of the food beside a cell, or (-1, -1). There is never a second."""
    rows, cols = field_RC.shape
    if row > 0 and field_RC[row - 1, col] > 0:
        return row - 1, col
    if row < rows - 1 and field_RC[row + 1, col] > 0:
        return row + 1, col
    if col > 0 and field_RC[row, col - 1] > 0:
        return row, col - 1
    if col < cols - 1 and field_RC[row, col + 1] > 0:
        return row, col + 1
    return -1, -1


@njit(cache=True, nogil=True)
def _move(action_N, field_RC, pos_N2, wish_N2, food_N2):
    """Moves the players of one copy; ``food_N2`` becomes the food each one loads, or -1."""
    rows, cols = field_RC.shape
    n = pos_N2.shape[0]
    for i in range(n):
        row, col = pos_N2[i, 0], pos_N2[i, 1]
        action = action_N[i]
        food_N2[i, 0] = food_N2[i, 1] = -1
        r = row - (action == 1) + (action == 2)
        c = col - (action == 3) + (action == 4)
        if r < 0 or r >= rows or c < 0 or c >= cols or field_RC[r, c] > 0:
            r, c = row, col
        if action == LOAD:
            food_N2[i, 0], food_N2[i, 1] = _find_food(field_RC, row, col)
        wish_N2[i, 0], wish_N2[i, 1] = r, c
    for i in range(n):
        alone = True
        for j in range(n):
            alone &= j == i or wish_N2[j, 0] != wish_N2[i, 0] or wish_N2[j, 1] != wish_N2[i, 1]
        if alone:
            pos_N2[i, 0], pos_N2[i, 1] = wish_N2[i, 0], wish_N2[i, 1]


@njit(cache=True, nogil=True)
def _load(field_RC, level_N, layers_3PQ, food_N2, reward_N, total, sight, normalize, penalty):
    """Lets the loaders of one copy load, rewards them, and removes what they ate. Returns foods eaten."""
    n = level_N.size
    eaten = 0
    for i in range(n):
        row, col = food_N2[i, 0], food_N2[i, 1]
        if row < 0:
            continue
        strength = 0
        for j in range(i, n):
            if food_N2[j, 0] == row and food_N2[j, 1] == col:
                strength += level_N[j]
        food = field_RC[row, col]
        for j in range(i, n):
            if food_N2[j, 0] != row or food_N2[j, 1] != col:
                continue
            food_N2[j, 0] = -1  # served, with everybody else at this food
            if strength < food:
                reward_N[j] = -penalty
            elif normalize:
                reward_N[j] = level_N[j] * food / (strength * total)
            else:
                reward_N[j] = level_N[j] * food
        if strength >= food:
            eaten += 1
            field_RC[row, col] = 0
            layers_3PQ[FOOD, row + sight, col + sight] = 0.0
            layers_3PQ[ACCESS, row + sight, col + sight] = 1.0
    return eaten


@njit(cache=True, nogil=True)
def step_copies(
    actions_BN, field_BRC, pos_BN2, level_BN, clock_B, foods_B2, total_B, live_B, layers_B3PQ, obs_BNO,
    reward_BN, reward_B, end_2B, max_steps, max_food, sight, normalize, penalty, limit_terminates,
    see_levels, grid,
):  # fmt: skip
    """Moves every live copy by one step; a copy that has ended stays as it is and gets reward 0.

    Args:
        reward_BN: out, each player's reward.
        reward_B: out, the sum over players.
        end_2B: out, whether the copy ended in this step by termination, and by truncation.

    Returns:
        False, with nothing changed, if an action is outside 0..5; else True.
    """
    num_envs, n = actions_BN.shape
    for b in range(num_envs):
        for i in range(n):
            if actions_BN[b, i] < 0 or actions_BN[b, i] > LOAD:
                return False
    wish_N2, food_N2 = np.empty((n, 2), np.int64), np.empty((n, 2), np.int64)
    for b in range(num_envs):
        end_2B[0, b] = end_2B[1, b] = False
        reward_B[b] = 0.0
        reward_BN[b] = 0.0
        if not live_B[b]:
            continue
        layers_3PQ, pos_N2, level_N = layers_B3PQ[b], pos_BN2[b], level_BN[b]
        for i in range(n):
            r, c = pos_N2[i, 0] + sight, pos_N2[i, 1] + sight
            layers_3PQ[AGENT, r, c] = 0.0
            layers_3PQ[ACCESS, r, c] = 1.0
        _move(actions_BN[b], field_BRC[b], pos_N2, wish_N2, food_N2)
        foods_B2[b, 1] -= _load(
            field_BRC[b], level_N, layers_3PQ, food_N2, reward_BN[b], total_B[b], sight, normalize, penalty
        )
        for i in range(n):  # after all cells were freed: two players can share one
            r, c = pos_N2[i, 0] + sight, pos_N2[i, 1] + sight
            layers_3PQ[AGENT, r, c] = level_N[i] if see_levels else 1.0
            layers_3PQ[ACCESS, r, c] = 0.0
        reward_B[b] = reward_BN[b].sum()
        clock_B[b] += 1
        is_empty = foods_B2[b, 1] == 0
        is_late = clock_B[b] >= max_steps
        end_2B[0, b] = is_empty or (is_late and limit_terminates)
        end_2B[1, b] = is_late and not end_2B[0, b]
        live_B[b] = not (is_empty or is_late)
        if grid:
            observe_grid(pos_N2, layers_3PQ, obs_BNO[b], sight)
        else:
            observe_vector(field_BRC[b], pos_N2, level_N, obs_BNO[b], max_food, sight, see_levels)
    return True
