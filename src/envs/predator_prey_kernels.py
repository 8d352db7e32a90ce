"""Compiled inner loops of predator-prey with rules ``ic3net``: predators search one prey that does not move.

Letters: B copies, N predators, K = N + 1 (predators, then the prey), O observation. The rules ``penalty`` are in
``prey_capture_kernels.py``.

An observation is nearly all zeros and far longer than what changes in a step, so only what changes is written. The
arrays always show what lies in ``pos_BK2``: whoever changes a position takes its marks back first. All functions take
whole arrays and the index b of a copy, because a slice costs more than the few numbers that are used of it.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from envs.random_streams import draw_cells

UP, RIGHT, DOWN, LEFT = range(4)
STEP_REWARD, CATCH_REWARD = -0.05, 0.05
# Columns of a seen cell after the size * size that say which cell it is.
OUTSIDE, PREY, PREDATORS, N_MORE = 1, 2, 3, 4


def seen_columns(size: int, vision: int) -> np.ndarray:
    """Returns which columns of an observation say which cells a predator sees.

    Returns:
        int32 (size * size, W): for every cell that it may stand in, row by row, one column for each of W seen cells.
    """
    width = size * size + N_MORE
    near = np.arange(-vision, vision + 1)
    row = np.arange(size)[:, None, None, None] + near[:, None]  # (row, 1, up or down, 1)
    col = np.arange(size)[None, :, None, None] + near  # (1, col, 1, left or right)
    is_inside = (row >= 0) & (row < size) & (col >= 0) & (col < size)
    column = np.where(is_inside, row * size + col, size * size + OUTSIDE).reshape(size * size, -1)
    return np.ascontiguousarray(column + width * np.arange(column.shape[1]), np.int32)


@njit(cache=True, nogil=True)
def _mark_cells(obs_BNO, b, i, place, seen_PW, is_shown):
    """Writes which cells predator i sees from a place (row * size + column), or takes it back."""
    for w in range(seen_PW.shape[1]):
        obs_BNO[b, i, seen_PW[place, w]] = is_shown


@njit(cache=True, nogil=True)
def _count_others(pos_BK2, obs_BNO, b, size, vision, change):
    """Adds ``change`` wherever a predator sees the prey or another predator."""
    n = obs_BNO.shape[1]
    side = 2 * vision + 1
    width = size * size + N_MORE
    middle = (side * side // 2) * width + size * size
    for i in range(n):
        row, col = np.int64(pos_BK2[b, i, 0]), np.int64(pos_BK2[b, i, 1])
        for k in range(i + 1, n + 1):
            dr, dc = pos_BK2[b, k, 0] - row, pos_BK2[b, k, 1] - col
            if max(dr * dr, dc * dc) <= vision * vision:  # one branch: two are guessed wrong far more often
                away = (dr * side + dc) * width
                if k == n:
                    obs_BNO[b, i, middle + away + PREY] += change
                else:
                    obs_BNO[b, i, middle + away + PREDATORS] += change
                    obs_BNO[b, k, middle - away + PREDATORS] += change


@njit(cache=True, nogil=True)
def _show(pos_BK2, obs_BNO, b, seen_PW, size, vision, is_shown):
    """Marks everything that the predators see, or takes all of it back."""
    cells = size * size
    own = (2 * vision + 1) * (2 * vision + 1) // 2 * (cells + N_MORE) + cells + PREDATORS
    if not is_shown:
        _count_others(pos_BK2, obs_BNO, b, size, vision, -1.0)
    for i in range(obs_BNO.shape[1]):
        _mark_cells(obs_BNO, b, i, pos_BK2[b, i, 0] * size + pos_BK2[b, i, 1], seen_PW, is_shown)
        obs_BNO[b, i, own] = is_shown
    if is_shown:
        _count_others(pos_BK2, obs_BNO, b, size, vision, 1.0)


@njit(cache=True, nogil=True)
def _write_state(pos_BK2, reached_BN, state_BS, b, share_P):
    """Writes row, column and whether it has reached the prey for every predator, then the prey's row and column."""
    n = reached_BN.shape[1]
    for i in range(n):
        state_BS[b, 3 * i] = share_P[pos_BK2[b, i, 0]]
        state_BS[b, 3 * i + 1] = share_P[pos_BK2[b, i, 1]]
        state_BS[b, 3 * i + 2] = reached_BN[b, i]
    state_BS[b, 3 * n] = share_P[pos_BK2[b, n, 0]]
    state_BS[b, 3 * n + 1] = share_P[pos_BK2[b, n, 1]]


@njit(cache=True, nogil=True)
def start_copies(which_B, rng_B4, pos_BK2, reached_BN, obs_BNO, state_BS, share_P, seen_PW, vision):
    """Puts predators and prey of the copies that ``which_B`` names on different cells and shows them.

    Args:
        share_P: float32 (size,), row or column p as it stands in the state.
        seen_PW: of ``seen_columns``.
    """
    size = share_P.size
    for b in range(which_B.size):
        if which_B[b]:
            _show(pos_BK2, obs_BNO, b, seen_PW, size, vision, False)
            draw_cells(rng_B4[b], pos_BK2[b], size, size)
            reached_BN[b] = False
            _show(pos_BK2, obs_BNO, b, seen_PW, size, vision, True)
            _write_state(pos_BK2, reached_BN, state_BS, b, share_P)


@njit(cache=True, nogil=True)
def draw_copies(pos_BK2, reached_BN, obs_BNO, state_BS, share_P, seen_PW, vision):
    """Writes observations and states of all copies from nothing."""
    obs_BNO[:] = 0.0
    for b in range(pos_BK2.shape[0]):
        _show(pos_BK2, obs_BNO, b, seen_PW, share_P.size, vision, True)
        _write_state(pos_BK2, reached_BN, state_BS, b, share_P)


@njit(cache=True, nogil=True)
def _move(action_BN, pos_BK2, reached_BN, obs_BNO, b, seen_PW, size):
    """Moves every predator that has not reached the prey; predators do not block each other."""
    for i in range(action_BN.shape[1]):
        if reached_BN[b, i]:
            continue
        action = action_BN[b, i]
        row, col = pos_BK2[b, i, 0], pos_BK2[b, i, 1]
        new_row = min(max(row - (action == UP) + (action == DOWN), 0), size - 1)
        new_col = min(max(col - (action == LEFT) + (action == RIGHT), 0), size - 1)
        if new_row != row or new_col != col:
            _mark_cells(obs_BNO, b, i, row * size + col, seen_PW, False)
            _mark_cells(obs_BNO, b, i, new_row * size + new_col, seen_PW, True)
            pos_BK2[b, i, 0], pos_BK2[b, i, 1] = new_row, new_col


@njit(cache=True, nogil=True)
def step_copies(
    action_BN, live_B, pos_BK2, reached_BN, obs_BNO, state_BS, reward_BN, reward_B, info_2B, share_P, seen_PW, vision
):  # fmt: skip
    """Moves every live copy by one step.

    Args:
        reward_BN: out, each predator's reward: 0.05 for every predator on the prey if it is there itself, else -0.05.
        reward_B: out, their sum.
        info_2B: out, whether all predators are on the prey, and how many.
    """
    n, size = action_BN.shape[1], share_P.size
    for b in range(action_BN.shape[0]):
        if live_B[b]:
            _count_others(pos_BK2, obs_BNO, b, size, vision, -1.0)
            _move(action_BN, pos_BK2, reached_BN, obs_BNO, b, seen_PW, size)
            _count_others(pos_BK2, obs_BNO, b, size, vision, 1.0)
        n_there = 0
        for i in range(n):
            reached_BN[b, i] = pos_BK2[b, i, 0] == pos_BK2[b, n, 0] and pos_BK2[b, i, 1] == pos_BK2[b, n, 1]
            n_there += reached_BN[b, i]
        reward_B[b] = 0.0
        for i in range(n):
            reward_BN[b, i] = (CATCH_REWARD * n_there if reached_BN[b, i] else STEP_REWARD) if live_B[b] else 0.0
            reward_B[b] += reward_BN[b, i]
        info_2B[0, b], info_2B[1, b] = n_there == n, n_there
        if live_B[b]:
            _write_state(pos_BK2, reached_BN, state_BS, b, share_P)
