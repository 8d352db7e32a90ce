"""Compiled inner loops of predator-prey with rules ``ic3net``: predators search one prey that does not move.

Letters: B copies, N predators, P and Q padded rows and columns, O observation. The rules ``penalty`` are in
``prey_capture_kernels.py``.
"""

from __future__ import annotations

from numba import njit

from envs.random_streams import draw_cells

UP, RIGHT, DOWN, LEFT = range(4)
STEP_REWARD, CATCH_REWARD = -0.05, 0.05


@njit(cache=True, nogil=True)
def start_copies(which_B, rng_B4, pos_BK2, reached_BN, size):
    """Puts predators and prey (the last row of ``pos_BK2``) on different cells."""
    for b in range(which_B.size):
        if which_B[b]:
            draw_cells(rng_B4[b], pos_BK2[b], size, size)
            reached_BN[b] = False


@njit(cache=True, nogil=True)
def _observe(pos_K2, obs_NO, size, vision, is_shown):
    """Writes what the predators see (``is_shown``), or sets the same numbers back to 0.

    Every cell of a window is described by size * size + 4 numbers: which cell it is, one-hot, with one more class for
    cells outside the grid; whether the prey is there; how many predators are there.
    """
    n = obs_NO.shape[0]
    side = 2 * vision + 1
    outside = size * size + 1
    width = outside + 3
    one = 1.0 if is_shown else 0.0
    for i in range(n):
        top, left = pos_K2[i, 0] - vision, pos_K2[i, 1] - vision
        start = 0
        for row in range(top, top + side):
            for col in range(left, left + side):
                is_inside = 0 <= row < size and 0 <= col < size
                obs_NO[i, start + (row * size + col if is_inside else outside)] = one
                start += width
        for k in range(pos_K2.shape[0]):
            dr, dc = pos_K2[k, 0] - top, pos_K2[k, 1] - left
            if 0 <= dr < side and 0 <= dc < side:
                column = (dr * side + dc) * width + outside + (2 if k < n else 1)
                obs_NO[i, column] = obs_NO[i, column] + 1.0 if is_shown else 0.0


@njit(cache=True, nogil=True)
def _write_state(pos_K2, reached_N, state_S, size):
    """Writes row, column and whether it has reached the prey for every predator, then the prey's row and column."""
    n = reached_N.size
    last = max(size - 1, 1)
    for i in range(n):
        state_S[3 * i] = pos_K2[i, 0] / last
        state_S[3 * i + 1] = pos_K2[i, 1] / last
        state_S[3 * i + 2] = reached_N[i]
    state_S[3 * n] = pos_K2[n, 0] / last
    state_S[3 * n + 1] = pos_K2[n, 1] / last


@njit(cache=True, nogil=True)
def draw_copies(which_B, pos_BK2, reached_BN, obs_BNO, state_BS, size, vision):
    """Writes observations and states of the copies that ``which_B`` names, from nothing."""
    for b in range(which_B.size):
        if which_B[b]:
            obs_BNO[b] = 0.0
            _observe(pos_BK2[b], obs_BNO[b], size, vision, True)
            _write_state(pos_BK2[b], reached_BN[b], state_BS[b], size)


@njit(cache=True, nogil=True)
def _move(action_N, pos_K2, reached_N, size):
    """Moves every predator that has not reached the prey; predators do not block each other."""
    for i in range(action_N.size):
        if reached_N[i]:
            continue
        action = action_N[i]
        row = pos_K2[i, 0] - (action == UP) + (action == DOWN)
        col = pos_K2[i, 1] - (action == LEFT) + (action == RIGHT)
        pos_K2[i, 0], pos_K2[i, 1] = min(max(row, 0), size - 1), min(max(col, 0), size - 1)


@njit(cache=True, nogil=True)
def step_copies(
    action_BN, live_B, pos_BK2, reached_BN, obs_BNO, state_BS, reward_BN, reward_B, info_2B, size, vision
):  # fmt: skip
    """Moves every live copy by one step.

    Args:
        reward_BN: out, each predator's reward: 0.05 for every predator on the prey if it is there itself, else -0.05.
        reward_B: out, their sum.
        info_2B: out, whether all predators are on the prey, and how many.
    """
    n = action_BN.shape[1]
    for b in range(action_BN.shape[0]):
        reward_BN[b] = 0.0
        reward_B[b] = 0.0
        pos_K2, reached_N = pos_BK2[b], reached_BN[b]
        if not live_B[b]:
            info_2B[1, b] = reached_N.sum()
            info_2B[0, b] = info_2B[1, b] == n
            continue
        _observe(pos_K2, obs_BNO[b], size, vision, False)
        _move(action_BN[b], pos_K2, reached_N, size)
        n_there = 0
        for i in range(n):
            reached_N[i] = pos_K2[i, 0] == pos_K2[n, 0] and pos_K2[i, 1] == pos_K2[n, 1]
            n_there += reached_N[i]
        for i in range(n):
            reward_BN[b, i] = CATCH_REWARD * n_there if reached_N[i] else STEP_REWARD
            reward_B[b] += reward_BN[b, i]
        info_2B[0, b], info_2B[1, b] = n_there == n, n_there
        _observe(pos_K2, obs_BNO[b], size, vision, True)
        _write_state(pos_K2, reached_N, state_BS[b], size)
