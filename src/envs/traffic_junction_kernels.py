"""Compiled inner loops of the traffic junction: one pass over the copies a call, one core, no hidden state.

Letters: B copies, N cars, R routes, K longest route, P and Q padded rows and columns, O observation. A car's row in
``cars_BN5`` holds ALIVE, ROUTE, PLACE (cells driven along the route), WAIT (steps since it arrived) and LAST (its last
action). Cars that are not in the system are parked at cell (0, 0), which is never part of a road.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from envs.random_streams import draw, draw_unit

ALIVE, ROUTE, PLACE, WAIT, LAST = range(5)
GAS, BRAKE = 0, 1
STEP_COST, CRASH_COST = 0.01, 10.0
CAR_COLUMNS = 6  # columns of the state for every car


@njit(cache=True, nogil=True)
def locate(cars_N5, cell_RK2, where_N2):
    """Writes the cell of every car."""
    for i in range(cars_N5.shape[0]):
        where_N2[i, 0] = where_N2[i, 1] = 0
        if cars_N5[i, ALIVE]:
            where_N2[i, 0] = cell_RK2[cars_N5[i, ROUTE], cars_N5[i, PLACE], 0]
            where_N2[i, 1] = cell_RK2[cars_N5[i, ROUTE], cars_N5[i, PLACE], 1]


@njit(cache=True, nogil=True)
def _wipe(cars_N5, where_N2, class_PQ, obs_NO, vision, head, n_classes, car_class):
    """Sets back to 0 what ``_observe`` wrote for the cars at these cells."""
    side = 2 * vision + 1
    for i in range(cars_N5.shape[0]):
        if not cars_N5[i, ALIVE]:
            continue
        obs_NO[i, :head] = 0.0
        for dr in range(side):
            for dc in range(side):
                start = head + (dr * side + dc) * n_classes
                kind = class_PQ[where_N2[i, 0] + dr, where_N2[i, 1] + dc]
                if kind >= 0:
                    obs_NO[i, start + kind] = 0.0
                obs_NO[i, start + car_class] = 0.0


@njit(cache=True, nogil=True)
def _observe(cars_N5, where_N2, class_PQ, n_cars_PQ, obs_NO, vision, head, n_classes, car_class, n_routes):
    """Writes the observation of every car in the system; those of the others are 0 already."""
    side = 2 * vision + 1
    last_row, last_col = class_PQ.shape[0] - 2 * vision - 1, class_PQ.shape[1] - 2 * vision - 1
    for i in range(cars_N5.shape[0]):
        if not cars_N5[i, ALIVE]:
            continue
        obs_NO[i, 0] = cars_N5[i, LAST]
        obs_NO[i, 1] = cars_N5[i, ROUTE] / (n_routes - 1)
        if head == 4:
            obs_NO[i, 2] = where_N2[i, 0] / last_row
            obs_NO[i, 3] = where_N2[i, 1] / last_col
        for dr in range(side):
            for dc in range(side):
                start = head + (dr * side + dc) * n_classes
                row, col = where_N2[i, 0] + dr, where_N2[i, 1] + dc
                kind = class_PQ[row, col]
                if kind >= 0:
                    obs_NO[i, start + kind] = 1.0
                obs_NO[i, start + car_class] += n_cars_PQ[row, col]


@njit(cache=True, nogil=True)
def _write_state(cars_N5, where_N2, state_S, avail_NA, alive_N, last_row, last_col, n_routes, limit):
    """Writes the state, the available actions and who is in the system."""
    for i in range(cars_N5.shape[0]):
        k = CAR_COLUMNS * i
        is_alive = cars_N5[i, ALIVE]
        alive_N[i] = is_alive
        avail_NA[i, BRAKE] = is_alive
        state_S[k] = is_alive
        state_S[k + 1] = where_N2[i, 0] / last_row
        state_S[k + 2] = where_N2[i, 1] / last_col
        state_S[k + 3] = cars_N5[i, ROUTE] / (n_routes - 1) if is_alive else 0.0
        state_S[k + 4] = cars_N5[i, LAST]
        state_S[k + 5] = cars_N5[i, WAIT] / limit


@njit(cache=True, nogil=True)
def _count(where_N2, n_cars_PQ, vision, by):
    """Adds ``by`` to the number of cars in every car's cell."""
    for i in range(where_N2.shape[0]):
        n_cars_PQ[where_N2[i, 0] + vision, where_N2[i, 1] + vision] += by


@njit(cache=True, nogil=True)
def draw_copies(
    which_B, cars_BN5, obs_BNO, state_BS, avail_BNA, alive_BN,
    cell_RK2, class_PQ, vision, head, n_classes, car_class, limit,
):  # fmt: skip
    """Writes everything that is seen of the copies that ``which_B`` names, from nothing."""
    n_routes = cell_RK2.shape[0]
    last_row, last_col = class_PQ.shape[0] - 2 * vision - 1, class_PQ.shape[1] - 2 * vision - 1
    where_N2 = np.zeros((cars_BN5.shape[1], 2), np.int64)
    n_cars_PQ = np.zeros(class_PQ.shape, np.int64)
    for b in range(which_B.size):
        if not which_B[b]:
            continue
        locate(cars_BN5[b], cell_RK2, where_N2)
        obs_BNO[b] = 0.0
        _count(where_N2, n_cars_PQ, vision, 1)
        _observe(cars_BN5[b], where_N2, class_PQ, n_cars_PQ, obs_BNO[b], vision, head, n_classes, car_class, n_routes)
        _count(where_N2, n_cars_PQ, vision, -1)
        _write_state(cars_BN5[b], where_N2, state_BS[b], avail_BNA[b], alive_BN[b], last_row, last_col, n_routes, limit)


@njit(cache=True, nogil=True)
def _drive(action_N, cars_N5, length_R):
    """Moves the cars of one copy; a car at the end of its route leaves the system."""
    for i in range(action_N.size):
        if not cars_N5[i, ALIVE]:
            continue
        cars_N5[i, WAIT] += 1
        if action_N[i] == BRAKE:
            cars_N5[i, LAST] = BRAKE
            continue
        cars_N5[i, PLACE] += 1
        if cars_N5[i, PLACE] < length_R[cars_N5[i, ROUTE]]:
            cars_N5[i, LAST] = GAS
        else:  # LAST stays what it was: the reference shows it again when the car comes back
            cars_N5[i, ALIVE] = cars_N5[i, PLACE] = cars_N5[i, WAIT] = 0
            cars_N5[i, ROUTE] = -1


@njit(cache=True, nogil=True)
def _arrive(rng_4, cars_N5, rate, n_per_arrival, n_routes):
    """Lets at most one car enter at every arrival point, on a random route, as long as a car is left."""
    n = cars_N5.shape[0]
    n_free = 0
    for i in range(n):
        n_free += 1 - cars_N5[i, ALIVE]
    for first in range(0, n_routes, n_per_arrival):
        if n_free == 0:
            return
        if draw_unit(rng_4) >= rate:
            continue
        k = draw(rng_4, n_free)
        i = 0
        while cars_N5[i, ALIVE] or k > 0:
            k -= 1 - cars_N5[i, ALIVE]
            i += 1
        cars_N5[i, ALIVE] = 1
        cars_N5[i, ROUTE] = first + draw(rng_4, n_per_arrival)
        n_free -= 1


@njit(cache=True, nogil=True)
def _reward(cars_N5, where_N2, n_cars_PQ, vision, reward_N):
    """Writes every car's reward. Returns whether any cars share a cell."""
    has_crash = False
    for i in range(cars_N5.shape[0]):
        reward_N[i] = 0.0
        if cars_N5[i, ALIVE]:
            reward_N[i] = -STEP_COST * cars_N5[i, WAIT]
            if n_cars_PQ[where_N2[i, 0] + vision, where_N2[i, 1] + vision] > 1:
                reward_N[i] -= CRASH_COST
                has_crash = True
    return has_crash


@njit(cache=True, nogil=True)
def step_copies(
    action_BN, rng_B4, live_B, rate_B, cars_BN5, crashed_B, obs_BNO, state_BS, avail_BNA, alive_BN, reward_BN,
    cell_RK2, length_R, class_PQ, n_per_arrival, vision, head, n_classes, car_class, limit,
):  # fmt: skip
    """Moves every live copy by one step: cars drive, new ones arrive, then rewards and observations are written.

    Args:
        rate_B: probability that a car arrives at an arrival point, one a copy.
        crashed_B: set where cars share a cell.
        reward_BN: out, each car's reward; 0 for cars outside the system and for copies that have ended.
    """
    n_routes = cell_RK2.shape[0]
    last_row, last_col = class_PQ.shape[0] - 2 * vision - 1, class_PQ.shape[1] - 2 * vision - 1
    where_N2 = np.zeros((action_BN.shape[1], 2), np.int64)
    n_cars_PQ = np.zeros(class_PQ.shape, np.int64)
    for b in range(action_BN.shape[0]):
        reward_BN[b] = 0.0
        if not live_B[b]:
            continue
        cars_N5 = cars_BN5[b]
        locate(cars_N5, cell_RK2, where_N2)
        _wipe(cars_N5, where_N2, class_PQ, obs_BNO[b], vision, head, n_classes, car_class)
        _drive(action_BN[b], cars_N5, length_R)
        _arrive(rng_B4[b], cars_N5, rate_B[b], n_per_arrival, n_routes)
        locate(cars_N5, cell_RK2, where_N2)
        _count(where_N2, n_cars_PQ, vision, 1)
        crashed_B[b] |= _reward(cars_N5, where_N2, n_cars_PQ, vision, reward_BN[b])
        _observe(cars_N5, where_N2, class_PQ, n_cars_PQ, obs_BNO[b], vision, head, n_classes, car_class, n_routes)
        _count(where_N2, n_cars_PQ, vision, -1)
        _write_state(cars_N5, where_N2, state_BS[b], avail_BNA[b], alive_BN[b], last_row, last_col, n_routes, limit)
