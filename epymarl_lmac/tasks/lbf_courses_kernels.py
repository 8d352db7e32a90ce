"""Whole courses of level-based foraging, compiled: what would have been seen, and how likely a start is.

A course is where players start, where foods lie (in the order of their placing), and what everybody does. The game is
deterministic, so a course says everything that is seen.

Cells are numbered on the field padded by ``sight`` cells on each side, row by row; 0 stands for a food that is not
there. Letters: N players, K players that are watched, F foods, T stored steps, W cells of a window, G padded cells,
C cells of the field, D cells near a food, L = T K W entries of all windows in order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from epymarl_lmac.tasks.lbf_settings import LOAD

OUTSIDE, EMPTY, AGENT, FOOD, ANY = 0, 1, 2, 3, 4  # what an entry of a window can be; ANY agrees with all


class Game(NamedTuple):
    """Rules and sizes."""

    empty_G: np.ndarray  # the field without players and foods: OUTSIDE or EMPTY
    cell_C: np.ndarray  # numbers of the cells inside
    near_D: np.ndarray  # distances in numbers to the cells that a food excludes, itself included
    window_W: np.ndarray  # distances in numbers to the cells of a window, in order
    width: int  # of the padded field
    sight: int  # cells seen in every direction
    need: int  # players that it takes to load a food


class Seen(NamedTuple):
    """What is known of an episode, besides the actions of those who are watched."""

    entry_L: np.ndarray  # windows of the watched players, step by step
    watched_K: np.ndarray  # their numbers


class Room(NamedTuple):
    """Arrays to work in."""

    pos_N: np.ndarray  # where the players are
    wanted_N: np.ndarray
    left_F: np.ndarray  # foods that are left
    grid_G: np.ndarray  # what is on every cell
    allowed_G: np.ndarray  # where the next food may be placed


@njit(cache=True)
def begin(start_N, food_F, game, room):
    """Puts players and foods on the field."""
    room.grid_G[:] = game.empty_G
    for f in range(len(food_F)):
        room.left_F[f] = food_F[f]
        if food_F[f]:
            room.grid_G[food_F[f]] = FOOD
    for i in range(len(start_N)):
        room.pos_N[i] = start_N[i]
        room.grid_G[start_N[i]] = AGENT


@njit(cache=True)
def step(action_N, game, room):
    """Takes one step of the game: valid moves to cells that nobody else wants, then loading."""
    pos_N, wanted_N, grid_G = room.pos_N, room.wanted_N, room.grid_G
    n = len(pos_N)
    for i in range(n):
        down = int(action_N[i] == 2) - int(action_N[i] == 1)
        to = pos_N[i] + down * game.width + int(action_N[i] == 4) - int(action_N[i] == 3)
        wanted_N[i] = to if grid_G[to] == EMPTY or grid_G[to] == AGENT else pos_N[i]
    for i in range(n):
        grid_G[pos_N[i]] = EMPTY
    for i in range(n):
        free = True
        for j in range(n):
            free &= j == i or wanted_N[j] != wanted_N[i]
        if free:
            pos_N[i] = wanted_N[i]
    for i in range(n):
        grid_G[pos_N[i]] = AGENT
    for f in range(len(room.left_F)):
        if room.left_F[f] and _loaders(room.left_F[f], action_N, game.width, pos_N) >= game.need:
            grid_G[room.left_F[f]] = EMPTY
            room.left_F[f] = 0


@njit(cache=True)
def _loaders(food, action_N, width, pos_N):
    """Returns how many players load a food."""
    n = 0
    for i in range(len(pos_N)):
        away = abs(pos_N[i] - food)
        n += action_N[i] == LOAD and (away == 1 or away == width)
    return n


@njit(cache=True)
def misfit(start_N, food_F, action_TN, t, seen, game, room):
    """Returns how many entries of step t's windows a course gets wrong.

    The field of step t is left in ``room``, unless the answer is -1: the course does not fit an earlier step.
    """
    begin(start_N, food_F, game, room)
    m, n = 0, 0
    for s in range(t + 1):
        for i in seen.watched_K:
            for offset in game.window_W:
                if seen.entry_L[m] != room.grid_G[room.pos_N[i] + offset] and seen.entry_L[m] != ANY:
                    if s < t:
                        return -1
                    n += 1
                m += 1
        if s < t:
            step(action_TN[s], game, room)
    return n


@njit(cache=True)
def tied_to(agent, start_N, food_F, action_TN, until, seen, game, room):
    """Returns the players and foods that sightings before a step tie to a player, as bits: N players, then foods."""
    N = len(start_N)
    seen_N = np.zeros(N, np.int64)
    begin(start_N, food_F, game, room)
    for s in range(until):
        for i in seen.watched_K:
            for j in range(N):
                if _is_near(room.pos_N[i], room.pos_N[j], game):
                    seen_N[i] |= 1 << j
                    seen_N[j] |= 1 << i
            for f in range(len(food_F)):
                if room.left_F[f] and _is_near(room.pos_N[i], room.left_F[f], game):
                    seen_N[i] |= 1 << (N + f)
        step(action_TN[s], game, room)
    tied, before = 1 << agent, 0
    while tied != before:
        before = tied
        for i in range(N):
            if tied >> i & 1 or tied & (seen_N[i] >> N << N):
                tied |= seen_N[i] | 1 << i
    return tied


@njit(cache=True)
def _is_near(a, b, game):
    width, sight = game.width, game.sight
    return abs(a // width - b // width) <= sight and abs(a % width - b % width) <= sight


@njit(cache=True)
def placing(start_N, food_F, game, room):
    """Returns the probability that the game's placing puts these foods on the field in this order.

    Foods are placed one by one, each uniform on the allowed cells that are not near an earlier one; a food for which no
    cell is left is not placed.
    """
    n = allow(start_N, food_F, 0, game, room)
    p = 1.0
    for food in food_F:
        if food == 0 and n == 0:
            continue
        if food == 0 or not room.allowed_G[food]:
            return 0.0
        p /= n
        n -= _exclude(food, game, room)
    return p


@njit(cache=True)
def allow(start_N, food_F, n_placed, game, room):
    """Marks where the next food may be placed after the first ``n_placed``; returns how many cells that are."""
    empty_G, allowed_G, width = game.empty_G, room.allowed_G, game.width
    allowed_G[:] = False
    n = 0
    for g in game.cell_C:
        beside = empty_G[g - 1] == EMPTY and empty_G[g + 1] == EMPTY
        allowed_G[g] = beside and empty_G[g - width] == EMPTY and empty_G[g + width] == EMPTY
        n += allowed_G[g]
    for cell in start_N:
        n -= allowed_G[cell]
        allowed_G[cell] = False
    for f in range(n_placed):
        if food_F[f]:
            n -= _exclude(food_F[f], game, room)
    return n


@njit(cache=True)
def _exclude(food, game, room):
    """Takes the cells near a food from the allowed ones; returns how many."""
    n = 0
    for d in game.near_D:
        n += room.allowed_G[food + d]
        room.allowed_G[food + d] = False
    return n


@njit(cache=True)
def draw_start(start_N, food_F, game, room):
    """Draws how a game begins: players on distinct cells, then foods."""
    for i in range(len(start_N)):
        taken = True
        while taken:
            start_N[i] = game.cell_C[np.random.randint(len(game.cell_C))]
            taken = False
            for j in range(i):
                taken |= start_N[j] == start_N[i]
    for f in range(len(food_F)):
        n = allow(start_N, food_F, f, game, room)
        food_F[f] = np.flatnonzero(room.allowed_G)[np.random.randint(n)] if n else 0


@njit(cache=True)
def shift(tied, by, start_N, food_F, empty_G, to_N, to_F):
    """Writes starts and foods with the tied ones shifted; returns whether all are inside and players apart."""
    N = len(start_N)
    for i in range(N):
        to_N[i] = start_N[i]
        if tied >> i & 1:
            to_N[i] += by
            if not _is_inside(to_N[i], empty_G):
                return False
        for j in range(i):
            if to_N[j] == to_N[i]:
                return False
    for f in range(len(food_F)):
        to_F[f] = food_F[f]
        if tied >> (N + f) & 1:
            to_F[f] += by
            if not _is_inside(to_F[f], empty_G):
                return False
    return True


@njit(cache=True)
def _is_inside(cell, empty_G):
    return 0 <= cell < len(empty_G) and empty_G[cell] == EMPTY
