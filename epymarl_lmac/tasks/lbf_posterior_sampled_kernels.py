"""Compiled loops of ``lbf_posterior_sampled.py``: courses of the game, drawn, copied and moved so that they fit.

Courses fit all windows of earlier steps. Those of the step that is reached come in softly: a course with n entries
that differ weighs ``exp(-beta * n)``, and ``beta`` grows, with copying and moves of a Markov chain on the way, until
enough courses fit. Letters: P particles (courses); the others are those of ``lbf_courses_kernels.py``.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from epymarl_lmac.tasks.lbf_courses_kernels import (
    AGENT,
    ANY,
    FOOD,
    Room,
    allow,
    begin,
    draw_start,
    misfit,
    placing,
    shift,
    step,
    tied_to,
)
from epymarl_lmac.tasks.lbf_settings import ACTIONS

N_ACTIONS = len(ACTIONS)
N_LEVELS = 40  # of beta, after which the entries that nobody fits are passed over
HARD = 1e9  # beta of courses that have to fit
ROUNDS = 2  # moves of everything after copying


@njit(cache=True)
def _weight(n, beta):
    """Returns what a course weighs that gets n entries wrong, 0 for one that does not fit earlier steps."""
    return np.exp(-beta * n) if n >= 0 and beta * n < 700 else 0.0


@njit(cache=True)
def _draw(weight_X):
    """Draws an index with these weights; their sum must be above 0."""
    left = np.random.random() * weight_X.sum()
    last = 0
    for x in range(len(weight_X)):
        if weight_X[x] > 0.0:
            last = x
            left -= weight_X[x]
            if left < 0.0:
                break
    return last


@njit(cache=True)
def _shift_tied(agent, start_N, food_F, action_TN, t, beta, seen, game, room):
    """Draws anew where a player starts, with all that is tied to it (a Gibbs step).

    From every one of these places the same ones are found, as only those count where the same players and foods are
    tied together.
    """
    until = t + int(beta == HARD)  # sightings of this step tie as well, where all have to fit them
    tied = tied_to(agent, start_N, food_F, action_TN, until, seen, game, room)
    to_N, to_F = np.empty_like(start_N), np.empty_like(food_F)
    weight_C = np.zeros(len(game.cell_C))
    for c in range(len(game.cell_C)):
        by = game.cell_C[c] - start_N[agent]
        if not shift(tied, by, start_N, food_F, game.empty_G, to_N, to_F):
            continue
        weight = _weight(misfit(to_N, to_F, action_TN, t, seen, game, room), beta)
        if weight == 0.0 or (by and tied != tied_to(agent, to_N, to_F, action_TN, until, seen, game, room)):
            continue
        weight_C[c] = weight * placing(to_N, to_F, game, room)
    if weight_C.sum() > 0.0:
        shift(tied, game.cell_C[_draw(weight_C)] - start_N[agent], start_N, food_F, game.empty_G, to_N, to_F)
        start_N[:] = to_N
        food_F[:] = to_F


@njit(cache=True)
def _swap_foods(start_N, food_F, game, room):
    """Swaps two foods in the order of placing, or not, as likely as the two orders are."""
    a, b = np.random.randint(len(food_F)), np.random.randint(len(food_F))
    before = placing(start_N, food_F, game, room)
    food_F[a], food_F[b] = food_F[b], food_F[a]
    if np.random.random() * before >= placing(start_N, food_F, game, room):
        food_F[a], food_F[b] = food_F[b], food_F[a]


@njit(cache=True)
def _place_last(start_N, food_F, action_TN, t, beta, seen, game, room):
    """Draws the last food anew from all cells where it could have been placed (a Gibbs step)."""
    last = len(food_F) - 1
    if allow(start_N, food_F, last, game, room) == 0:
        return
    cell_X, kept = np.flatnonzero(room.allowed_G), food_F[last]
    weight_X = np.zeros(len(cell_X))
    for x in range(len(cell_X)):
        food_F[last] = cell_X[x]
        weight_X[x] = _weight(misfit(start_N, food_F, action_TN, t, seen, game, room), beta)
    food_F[last] = cell_X[_draw(weight_X)] if weight_X.sum() > 0.0 else kept


@njit(cache=True)
def _redraw_player(i, start_N, food_F, action_TN, t, beta, seen, game, room):
    """Draws anew what a player that is not watched does: from a step on, in one or two steps, or from its start on."""
    old_T, old_start = action_TN[:, i].copy(), start_N[i]
    before = placing(start_N, food_F, game, room)
    n_before = misfit(start_N, food_F, action_TN, t, seen, game, room)
    how = np.random.randint(3)
    first, end = 0, t
    if how == 0:
        start_N[i] = game.cell_C[np.random.randint(len(game.cell_C))]
    elif t > 0:
        first = np.random.randint(t)
        end = t if how == 1 else min(t, first + 1 + np.random.randint(2))
    for s in range(first, end):
        action_TN[s, i] = np.random.randint(N_ACTIONS)
    after = 0.0
    if len(np.unique(start_N)) == len(start_N):
        n = misfit(start_N, food_F, action_TN, t, seen, game, room)
        if n >= 0:
            after = placing(start_N, food_F, game, room) * np.exp(min(0.0, -beta * (n - n_before)))
    if np.random.random() * before >= after:
        start_N[i] = old_start
        action_TN[:, i] = old_T


@njit(cache=True)
def _move_all(start_PN, food_PF, action_PTN, is_watched_N, t, beta, seen, game, room):
    """Moves every particle by a Markov chain that leaves the distribution of courses as it is."""
    P, N = start_PN.shape
    for p in range(P):
        start_N, food_F, action_TN = start_PN[p], food_PF[p], action_PTN[p]
        for _ in range(ROUNDS):
            agent = seen.watched_K[np.random.randint(len(seen.watched_K))]
            _shift_tied(agent, start_N, food_F, action_TN, t, beta, seen, game, room)
            _swap_foods(start_N, food_F, game, room)
            _place_last(start_N, food_F, action_TN, t, beta, seen, game, room)
            for i in range(N):
                if not is_watched_N[i]:
                    _redraw_player(i, start_N, food_F, action_TN, t, beta, seen, game, room)


@njit(cache=True)
def _resample(weight_P, start_PN, food_PF, action_PTN):
    """Replaces the particles by copies, as many of each as its weight asks for (systematic resampling)."""
    P = len(weight_P)
    share_P = np.cumsum(weight_P) / weight_P.sum()
    at, source_P = np.random.random(), np.zeros(P, np.int64)
    p = 0
    for n in range(P):
        while p < P - 1 and share_P[p] * P <= at + n:
            p += 1
        source_P[n] = p
    start_PN[:], food_PF[:], action_PTN[:] = start_PN[source_P], food_PF[source_P], action_PTN[source_P]
    weight_P[:] = 1.0


@njit(cache=True)
def _growth(n_P):
    """Returns by how much beta can grow so that the weights are worth half of the particles (effective sample size)."""
    low, high = 0.05, 8.0
    for _ in range(20):
        middle = (low + high) / 2
        weight_P = np.exp(-middle * (n_P - n_P.min()))
        if weight_P.sum() ** 2 / (weight_P**2).sum() >= len(n_P) / 2:
            low = middle
        else:
            high = middle
    return low


@njit(cache=True)
def _pass_over(start_N, food_F, action_TN, t, seen, game, room):
    """Makes the entries ANY that a course gets wrong at step t."""
    misfit(start_N, food_F, action_TN, t, seen, game, room)  # leaves the field of step t in ``room``
    m = t * len(seen.watched_K) * len(game.window_W)
    for i in seen.watched_K:
        for offset in game.window_W:
            if seen.entry_L[m] != room.grid_G[room.pos_N[i] + offset]:
                seen.entry_L[m] = ANY
            m += 1


@njit(cache=True)
def _fit_step(start_PN, food_PF, action_PTN, weight_P, is_watched_N, t, seen, game, room):
    """Brings the particles to fit the windows of step t; ``weight_P`` is 1 for those that do, 0 for others."""
    P, beta = len(weight_P), 0.0
    n_P = np.zeros(P, np.int64)
    for level in range(N_LEVELS + 1):
        for p in range(P):
            n_P[p] = misfit(start_PN[p], food_PF[p], action_PTN[p], t, seen, game, room)
        fitting_P = weight_P * (n_P == 0)
        if level == N_LEVELS and fitting_P.sum() == 0.0:
            best = np.argmin(n_P)
            _pass_over(start_PN[best], food_PF[best], action_PTN[best], t, seen, game, room)
            fitting_P[best] = 1.0
        is_last = fitting_P.sum() > P / 4 or level == N_LEVELS
        if is_last:
            weight_P[:], beta = fitting_P, HARD
            if fitting_P.sum() > P / 2:
                return
        elif weight_P.min() == 0.0:  # those that did not fit the last step are left behind
            _resample(weight_P, start_PN, food_PF, action_PTN)
            continue
        else:
            growth = _growth(n_P)
            weight_P[:] = np.exp(-growth * (n_P - n_P.min()))
            beta += growth
        _resample(weight_P, start_PN, food_PF, action_PTN)
        _move_all(start_PN, food_PF, action_PTN, is_watched_N, t, beta, seen, game, room)
        if is_last:
            return


@njit(cache=True)
def _count(start_PN, food_PF, action_PTN, weight_P, t, game, room, agents_G, foods_G):
    """Adds up on which cells an agent and a food is at a step, in the particles that fit."""
    for p in range(len(weight_P)):
        if weight_P[p] == 0.0:
            continue
        begin(start_PN[p], food_PF[p], game, room)
        for s in range(t):
            step(action_PTN[p, s], game, room)
        for g in range(len(agents_G)):
            agents_G[g] += room.grid_G[g] == AGENT
            foods_G[g] += room.grid_G[g] == FOOD
    agents_G /= weight_P.sum()
    foods_G /= weight_P.sum()


@njit(cache=True)
def follow(action_TN, seen, game, P, F, seed):
    """Follows particles through an episode.

    Args:
        action_TN: what the players do; of those that are not watched it is not looked at.
        seen: windows of those who are watched; entries that no particle could fit become ANY.
        game: rules and sizes.
        P: particles.
        F: foods that the game wants to place.
        seed: of all draws.

    Returns:
        Probabilities that an agent (T, G) and a food (T, G) is on each cell.
    """
    np.random.seed(seed)
    T, N = action_TN.shape
    G = len(game.empty_G)
    room = Room(
        np.zeros(N, np.int64), np.zeros(N, np.int64), np.zeros(F, np.int64), np.zeros(G, np.int8), np.zeros(G, np.bool_)
    )
    is_watched_N = np.zeros(N, np.bool_)
    is_watched_N[seen.watched_K] = True
    start_PN, food_PF = np.zeros((P, N), np.int64), np.zeros((P, F), np.int64)
    action_PTN, weight_P = np.empty((P, T, N), np.int8), np.ones(P)
    action_PTN[:] = action_TN
    for p in range(P):
        draw_start(start_PN[p], food_PF[p], game, room)
    agents_TG, foods_TG = np.zeros((T, G)), np.zeros((T, G))
    for t in range(T):
        for p in range(P):
            for i in range(N):
                if t > 0 and not is_watched_N[i]:
                    action_PTN[p, t - 1, i] = np.random.randint(N_ACTIONS)
        _fit_step(start_PN, food_PF, action_PTN, weight_P, is_watched_N, t, seen, game, room)
        _count(start_PN, food_PF, action_PTN, weight_P, t, game, room, agents_TG[t], foods_TG[t])
    return agents_TG, foods_TG
