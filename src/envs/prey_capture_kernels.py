"""Compiled inner loops of predator-prey with rules ``penalty``: two predators must catch a moving prey together.

Letters: B copies, N predators, M prey, K = N + M (predators first), O observation. ``on_BK`` says who is on the grid: a
caught prey and the predators that caught it leave it.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from envs.random_streams import draw, draw_cells, shuffled

RIGHT, DOWN, LEFT, UP, STAY, CATCH = range(6)
EMPTY, PREDATOR, PREY = range(3)
CATCH_REWARD = 10.0
N_CATCHERS = 2


@njit(cache=True, nogil=True)
def start_copies(which_B, rng_B4, pos_BK2, on_BK, size):
    """Puts predators and prey on different cells."""
    for b in range(which_B.size):
        if which_B[b]:
            draw_cells(rng_B4[b], pos_BK2[b], size, size)
            on_BK[b] = True


@njit(cache=True, nogil=True)
def _ahead(pos_2, direction, size):
    """Returns the cell one step further and whether it is on the grid."""
    row = pos_2[0] + (direction == DOWN) - (direction == UP)
    col = pos_2[1] + (direction == RIGHT) - (direction == LEFT)
    return row, col, 0 <= row < size and 0 <= col < size


@njit(cache=True, nogil=True)
def _draw_copy(pos_K2, on_K, grid_RC, obs_NO, state_S, avail_NA, alive_N, vision):
    """Writes observations, state and available actions of one copy; ``grid_RC`` holds who is where."""
    n, size = obs_NO.shape[0], grid_RC.shape[0]
    side = 2 * vision + 1
    for k in range(on_K.size):
        state_S[3 * k] = pos_K2[k, 0] / (size - 1) if on_K[k] else 0.0
        state_S[3 * k + 1] = pos_K2[k, 1] / (size - 1) if on_K[k] else 0.0
        state_S[3 * k + 2] = on_K[k]
    for i in range(n):
        obs_NO[i] = 0.0
        avail_NA[i] = 0
        avail_NA[i, STAY] = 1
        alive_N[i] = on_K[i]
        if not on_K[i]:
            continue
        for dr in range(side):
            for dc in range(side):
                row, col = pos_K2[i, 0] + dr - vision, pos_K2[i, 1] + dc - vision
                if 0 <= row < size and 0 <= col < size and grid_RC[row, col] != EMPTY:
                    obs_NO[i, 2 * (dr * side + dc) + (grid_RC[row, col] == PREY)] = 1.0
        for direction in range(4):
            row, col, is_inside = _ahead(pos_K2[i], direction, size)
            avail_NA[i, direction] = is_inside
            if is_inside and grid_RC[row, col] == PREY:
                avail_NA[i, CATCH] = 1


@njit(cache=True, nogil=True)
def _fill(pos_K2, on_K, grid_RC, n):
    """Writes who is where."""
    grid_RC[:] = EMPTY
    for k in range(on_K.size):
        if on_K[k]:
            grid_RC[pos_K2[k, 0], pos_K2[k, 1]] = PREDATOR if k < n else PREY


@njit(cache=True, nogil=True)
def draw_copies(which_B, pos_BK2, on_BK, obs_BNO, state_BS, avail_BNA, alive_BN, size, vision):
    """Writes everything that is seen of the copies that ``which_B`` names."""
    grid_RC = np.zeros((size, size), np.int8)
    for b in range(which_B.size):
        if which_B[b]:
            _fill(pos_BK2[b], on_BK[b], grid_RC, obs_BNO.shape[1])
            _draw_copy(pos_BK2[b], on_BK[b], grid_RC, obs_BNO[b], state_BS[b], avail_BNA[b], alive_BN[b], vision)


@njit(cache=True, nogil=True)
def _step_to(pos_2, direction, grid_RC, kind):
    """Moves one predator or prey if the cell ahead is on the grid and empty."""
    row, col, is_inside = _ahead(pos_2, direction, grid_RC.shape[0])
    if is_inside and grid_RC[row, col] == EMPTY:
        grid_RC[pos_2[0], pos_2[1]] = EMPTY
        grid_RC[row, col] = kind
        pos_2[0], pos_2[1] = row, col


@njit(cache=True, nogil=True)
def _n_catching(action_N, pos_K2, on_K, prey):
    """Counts predators beside a prey that choose to catch."""
    found = 0
    for i in range(action_N.size):
        distance = abs(pos_K2[i, 0] - pos_K2[prey, 0]) + abs(pos_K2[i, 1] - pos_K2[prey, 1])
        found += on_K[i] and action_N[i] == CATCH and distance == 1
    return found


@njit(cache=True, nogil=True)
def _remove_caught(action_N, pos_K2, on_K, prey, grid_RC):
    """Takes a prey and the predators that caught it off the grid."""
    on_K[prey] = False
    grid_RC[pos_K2[prey, 0], pos_K2[prey, 1]] = EMPTY
    for i in range(action_N.size):
        distance = abs(pos_K2[i, 0] - pos_K2[prey, 0]) + abs(pos_K2[i, 1] - pos_K2[prey, 1])
        if on_K[i] and action_N[i] == CATCH and distance == 1:
            on_K[i] = False
            grid_RC[pos_K2[i, 0], pos_K2[i, 1]] = EMPTY


@njit(cache=True, nogil=True)
def _flee(rng_4, pos_2, grid_RC):
    """Moves a prey to a random empty cell beside it, if there is one."""
    n_ways = 0
    for direction in range(4):
        row, col, is_inside = _ahead(pos_2, direction, grid_RC.shape[0])
        n_ways += is_inside and grid_RC[row, col] == EMPTY
    if n_ways == 0:
        return
    k = draw(rng_4, n_ways)
    for direction in range(4):
        row, col, is_inside = _ahead(pos_2, direction, grid_RC.shape[0])
        if is_inside and grid_RC[row, col] == EMPTY:
            if k == 0:
                _step_to(pos_2, direction, grid_RC, PREY)
                return
            k -= 1


@njit(cache=True, nogil=True)
def step_copies(
    action_BN, rng_B4, live_B, pos_BK2, on_BK, obs_BNO, state_BS, avail_BNA, alive_BN, reward_B, over_B,
    size, vision, penalty,
):  # fmt: skip
    """Moves every live copy by one step: predators in random order, then prey in random order, caught or moved.

    Args:
        reward_B: out, the team's reward.
        over_B: out, whether all prey are caught or all predators gone.
    """
    n, m = action_BN.shape[1], pos_BK2.shape[1] - action_BN.shape[1]
    grid_RC = np.zeros((size, size), np.int8)
    order_N, order_M = np.empty(n, np.int64), np.empty(m, np.int64)
    for b in range(action_BN.shape[0]):
        reward_B[b] = 0.0
        over_B[b] = False
        if not live_B[b]:
            continue
        pos_K2, on_K, action_N = pos_BK2[b], on_BK[b], action_BN[b]
        _fill(pos_K2, on_K, grid_RC, n)
        shuffled(rng_B4[b], order_N)
        for i in order_N:
            if on_K[i] and action_N[i] < STAY:
                _step_to(pos_K2[i], action_N[i], grid_RC, PREDATOR)
        shuffled(rng_B4[b], order_M)
        for j in order_M:
            prey = n + j
            if not on_K[prey]:
                continue
            n_catching = _n_catching(action_N, pos_K2, on_K, prey)
            if n_catching >= N_CATCHERS:
                reward_B[b] += CATCH_REWARD
                _remove_caught(action_N, pos_K2, on_K, prey, grid_RC)
                continue
            if n_catching > 0:
                reward_B[b] -= penalty
            _flee(rng_B4[b], pos_K2[prey], grid_RC)
        over_B[b] = not on_K[:n].any() or not on_K[n:].any()
        _draw_copy(pos_K2, on_K, grid_RC, obs_BNO[b], state_BS[b], avail_BNA[b], alive_BN[b], vision)
