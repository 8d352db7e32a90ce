"""Compiled loops of ``lbf_posterior.py``: every start of the players and every set of foods that fit what was seen.

Cells of the field are numbered row by row from 0 and sets of cells are the bits of one 64-bit number, so a field has at
most 64 cells. Letters: H hypotheses, N players, S food sets, T stored steps, C cells, W cells along a window.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from epymarl_lmac.tasks.lbf_settings import LOAD

ONE = np.uint64(1)
NONE = np.uint64(0)


@njit(cache=True)
def popcount(mask):
    """Returns how many bits are set."""
    n = 0
    while mask:
        mask &= mask - ONE
        n += 1
    return n


@njit(cache=True)
def set_probability(cells, n_cells, n_placed, allowed, near_C):
    """Returns the probability that the game's placing puts foods on exactly these cells.

    Foods are placed one by one, each uniform on the allowed cells that are not near an earlier one. Placing ends early
    only where no cell is left.

    Args:
        cells: of the set, the first ``n_cells`` entries.
        n_cells: size of the set.
        n_placed: foods that the game wants to place.
        allowed: cells where a food may lie before the first is placed.
        near_C: the cells that a food excludes, itself included.
    """
    if n_cells == 0:
        return 1.0 if n_placed == 0 or allowed == NONE else 0.0
    used = np.zeros(n_cells, np.int64)
    stack = np.full(n_cells + 1, -1, np.int64)
    masks = np.zeros(n_cells + 1, np.uint64)
    shares = np.ones(n_cells + 1)
    masks[0] = allowed
    total, depth = 0.0, 0
    while depth >= 0:  # depth-first over the orders in which the foods may have been placed
        if depth == n_cells:
            if n_cells == n_placed or masks[depth] == NONE:
                total += shares[depth]
            depth -= 1
            used[stack[depth]] = 0
            continue
        k = stack[depth] + 1
        while k < n_cells and (used[k] or not (masks[depth] >> np.uint64(cells[k])) & ONE):
            k += 1
        if k == n_cells:
            stack[depth] = -1
            depth -= 1
            if depth >= 0:
                used[stack[depth]] = 0
            continue
        stack[depth], used[k] = k, 1
        shares[depth + 1] = shares[depth] / popcount(masks[depth])
        masks[depth + 1] = masks[depth] & ~near_C[cells[k]]
        depth += 1
        if depth < n_cells:
            stack[depth] = -1
    return total


@njit(cache=True)
def wishes(window_3WW, action, sight):
    """Returns the move (rows, columns) that an agent wants, (0, 0) where its own view shows that it cannot go."""
    dr = int(action == 2) - int(action == 1)
    dc = int(action == 4) - int(action == 3)
    r, c = sight + dr, sight + dc
    inside = window_3WW[0, r, c] + window_3WW[1, r, c] + window_3WW[2, r, c] > 0
    if not inside or window_3WW[1, r, c] > 0:
        return 0, 0
    return dr, dc


@njit(cache=True)
def _see(obs_N3WW, pos_N2, rows, cols, sight, known_3):
    """Compares what all agents saw at a step with a hypothesis, and notes what it says about foods.

    Args:
        obs_N3WW: windows of the step.
        pos_N2: where the hypothesis has the players.
        rows: of the field.
        cols: of the field.
        sight: of the players.
        known_3: in and out: cells that held no food at the start, foods of the start that were found, foods left.

    Returns:
        Whether the hypothesis can be true.
    """
    n = len(pos_N2)
    side = 2 * sight + 1
    for i in range(n):
        for u in range(side):
            for v in range(side):
                r, c = pos_N2[i, 0] + u - sight, pos_N2[i, 1] + v - sight
                agent, food = obs_N3WW[i, 0, u, v] > 0, obs_N3WW[i, 1, u, v] > 0
                inside = 0 <= r < rows and 0 <= c < cols
                if inside != (agent or food or obs_N3WW[i, 2, u, v] > 0):
                    return False
                if not inside:
                    continue
                taken = False
                for j in range(n):
                    taken |= pos_N2[j, 0] == r and pos_N2[j, 1] == c
                if taken != agent:
                    return False
                bit = ONE << np.uint64(r * cols + c)
                if food:
                    if known_3[0] & bit or (known_3[1] & bit and not known_3[2] & bit):
                        return False
                    known_3[1] |= bit
                    known_3[2] |= bit
                elif known_3[2] & bit:
                    return False
                elif not known_3[1] & bit:
                    known_3[0] |= bit
    return True


@njit(cache=True)
def move(pos_N2, wish_N2, wanted_N2):
    """Moves players to the cells that they want and that nobody else wants."""
    n = len(pos_N2)
    for i in range(n):
        wanted_N2[i, 0], wanted_N2[i, 1] = pos_N2[i, 0] + wish_N2[i, 0], pos_N2[i, 1] + wish_N2[i, 1]
    for i in range(n):
        free = True
        for j in range(n):
            free &= j == i or wanted_N2[j, 0] != wanted_N2[i, 0] or wanted_N2[j, 1] != wanted_N2[i, 1]
        if free:
            pos_N2[i, 0], pos_N2[i, 1] = wanted_N2[i, 0], wanted_N2[i, 1]


@njit(cache=True)
def beside(foods, r, c, rows, cols):
    """Returns the bit of the food orthogonally next to a cell, 0 without one."""
    if r > 0 and foods >> np.uint64((r - 1) * cols + c) & ONE:
        return ONE << np.uint64((r - 1) * cols + c)
    if r < rows - 1 and foods >> np.uint64((r + 1) * cols + c) & ONE:
        return ONE << np.uint64((r + 1) * cols + c)
    if c > 0 and foods >> np.uint64(r * cols + c - 1) & ONE:
        return ONE << np.uint64(r * cols + c - 1)
    if c < cols - 1 and foods >> np.uint64(r * cols + c + 1) & ONE:
        return ONE << np.uint64(r * cols + c + 1)
    return NONE


@njit(cache=True)
def load(foods, pos_N2, action_N, level, food_level, rows, cols):
    """Returns the foods left after those players that chose to load have loaded."""
    left = foods
    for i in range(len(pos_N2)):
        if action_N[i] != LOAD:
            continue
        food = beside(foods, pos_N2[i, 0], pos_N2[i, 1], rows, cols)
        strength = 0
        for j in range(len(pos_N2)):
            if action_N[j] == LOAD and food and beside(foods, pos_N2[j, 0], pos_N2[j, 1], rows, cols) == food:
                strength += level
        if food and strength >= food_level:
            left &= ~food
    return left


@njit(cache=True)
def _weigh(known_3, allowed, sets_S, cells_SF, size_S, n_placed, near_C, eaten, food_C):
    """Adds the food sets that fit to ``food_C``; returns their total probability."""
    total = 0.0
    for s in range(len(sets_S)):
        if sets_S[s] & known_3[0] or known_3[1] & ~sets_S[s]:
            continue
        share = set_probability(cells_SF[s], size_S[s], n_placed, allowed, near_C)
        total += share
        for k in range(size_S[s]):
            if not eaten >> np.uint64(cells_SF[s, k]) & ONE:
                food_C[cells_SF[s, k]] += share
    return total


@njit(cache=True)
def together(
    obs_TN3WW, actions_TN, starts_HN2, sets_S, cells_SF, size_S, near_C, interior, n_placed,
    rows, cols, sight, level, food_level,
):  # fmt: skip
    """Follows every hypothesis through an episode.

    Returns:
        Probabilities that an agent (T, C) and a food (T, C) is on each cell; rows are NaN from where no start fits.
    """
    T, N = actions_TN.shape
    H, C = len(starts_HN2), rows * cols
    agents_TC, foods_TC = np.zeros((T, C)), np.zeros((T, C))
    pos_HN2 = starts_HN2.copy()
    known_H3 = np.zeros((H, 3), np.uint64)
    allowed_H = np.empty(H, np.uint64)
    for start in range(H):
        allowed_H[start] = interior
        for i in range(N):
            allowed_H[start] &= ~(ONE << np.uint64(starts_HN2[start, i, 0] * cols + starts_HN2[start, i, 1]))
    live: np.ndarray = np.arange(H)
    wish_N2, wanted_N2 = np.zeros((N, 2), np.int64), np.zeros((N, 2), np.int64)
    share_C = np.zeros(C)
    for t in range(T):
        n_live, total = 0, 0.0
        for h in live:
            if t > 0:
                for i in range(N):
                    wish_N2[i] = wishes(obs_TN3WW[t - 1, i], actions_TN[t - 1, i], sight)
                move(pos_HN2[h], wish_N2, wanted_N2)
                known_H3[h, 2] = load(known_H3[h, 2], pos_HN2[h], actions_TN[t - 1], level, food_level, rows, cols)
            if not _see(obs_TN3WW[t], pos_HN2[h], rows, cols, sight, known_H3[h]):
                continue
            share_C[:] = 0.0
            eaten = known_H3[h, 1] & ~known_H3[h, 2]
            weight = _weigh(known_H3[h], allowed_H[h], sets_S, cells_SF, size_S, n_placed, near_C, eaten, share_C)
            if weight == 0.0:
                continue
            live[n_live] = h
            n_live += 1
            total += weight
            foods_TC[t] += share_C
            for i in range(N):
                first = True  # two players can share a cell
                for j in range(i):
                    first &= pos_HN2[h, j, 0] != pos_HN2[h, i, 0] or pos_HN2[h, j, 1] != pos_HN2[h, i, 1]
                if first:
                    agents_TC[t, pos_HN2[h, i, 0] * cols + pos_HN2[h, i, 1]] += weight
        live = live[:n_live]
        agents_TC[t] /= total
        foods_TC[t] /= total
    return agents_TC, foods_TC


@njit(cache=True)
def _fits(window_3WW, sets_S, rows, cols, sight, fits_SC):
    """Marks where an agent with this window can be with each food set: walls and foods agree."""
    side = 2 * sight + 1
    for s in range(len(sets_S)):
        for cell in range(rows * cols):
            ok = True
            for u in range(side):
                for v in range(side):
                    r, c = cell // cols + u - sight, cell % cols + v - sight
                    food = window_3WW[1, u, v] > 0
                    inside = 0 <= r < rows and 0 <= c < cols
                    ok &= inside == (food or window_3WW[0, u, v] > 0 or window_3WW[2, u, v] > 0)
                    if inside:
                        ok &= food == bool(sets_S[s] >> np.uint64(r * cols + c) & ONE)
            fits_SC[s, cell] = ok


@njit(cache=True)
def _sighting(window_3WW, sight):
    """Returns whether an agent sees its team-mate, and at which offset in rows and columns."""
    for u in range(2 * sight + 1):
        for v in range(2 * sight + 1):
            if (u != sight or v != sight) and window_3WW[0, u, v] > 0:
                return True, u - sight, v - sight
    return False, 0, 0


@njit(cache=True)
def _meets(sees, at_r, at_c, dr, dc, sight):
    """Whether a sighting agrees with a team-mate at an offset; one on the own cell is not noticed."""
    if sees:
        return dr == at_r and dc == at_c
    return abs(dr) > sight or abs(dc) > sight or (dr == 0 and dc == 0)


@njit(cache=True)
def _add_up(p_SCC, sets_S, cells_SF, size_S, agent_C, food_C):
    """Writes the marginals of a joint distribution over food set, own cell and the team-mate's cell; scales it."""
    S, C, _ = p_SCC.shape
    total = 0.0
    for s in range(S):
        of_set = 0.0
        for a in range(C):
            for b in range(C):
                p = p_SCC[s, a, b]
                if p > 0.0:
                    of_set += p
                    agent_C[a] += p
                    if a != b:
                        agent_C[b] += p
        total += of_set
        for k in range(size_S[s]):
            food_C[cells_SF[s, k]] += of_set
    agent_C /= total
    food_C /= total
    p_SCC /= total


@njit(cache=True)
def _prior(window_3WW, sets_S, cells_SF, size_S, near_C, interior, n_placed, cols, sight, fits_SC, p_SCC):
    """Writes the joint distribution over food set, own cell and the team-mate's cell, given the first window."""
    C = p_SCC.shape[1]
    sees, at_r, at_c = _sighting(window_3WW, sight)
    for a in range(C):
        for b in range(C):
            dr, dc = b // cols - a // cols, b % cols - a % cols
            if a == b or not _meets(sees, at_r, at_c, dr, dc, sight):
                continue
            allowed = interior & ~(ONE << np.uint64(a)) & ~(ONE << np.uint64(b))
            for s in range(len(sets_S)):
                if fits_SC[s, a] and not sets_S[s] & ~allowed:
                    p_SCC[s, a, b] = set_probability(cells_SF[s], size_S[s], n_placed, allowed, near_C)


@njit(cache=True)
def _after(s, a, b, own, other, level, food_level, sets_S, cells_SF, size_S, without_SF, rows, cols):
    """Returns the food set that is left after two players on cells a and b acted, one of them loading."""
    pos, act = np.empty((2, 2), np.int64), np.empty(2, np.int64)
    pos[0, 0], pos[0, 1], pos[1, 0], pos[1, 1] = a // cols, a % cols, b // cols, b % cols
    act[0], act[1] = own, other
    left = load(sets_S[s], pos, act, level, food_level, rows, cols)
    found = s
    for k in range(size_S[s]):
        if not left >> np.uint64(cells_SF[s, k]) & ONE:
            for position in range(size_S[found]):
                if cells_SF[found, position] == cells_SF[s, k]:
                    found = without_SF[found, position]
                    break
    return found


@njit(cache=True)
def alone(
    obs_T3WW, action_T, sets_S, cells_SF, size_S, without_SF, near_C, interior, n_placed,
    rows, cols, sight, level, food_level,
):  # fmt: skip
    """Follows what one of two players knows from its own history; the other acts at random.

    Args:
        without_SF: index of the set that is left when a set's k-th food is eaten.

    Returns:
        Probabilities that an agent (T, C) and a food (T, C) is on each cell.
    """
    T, C, S = len(action_T), rows * cols, len(sets_S)
    agents_TC, foods_TC = np.zeros((T, C)), np.zeros((T, C))
    fits_SC = np.zeros((S, C), np.bool_)
    p, q = np.zeros((S, C, C)), np.zeros((S, C, C))
    _fits(obs_T3WW[0], sets_S, rows, cols, sight, fits_SC)
    _prior(obs_T3WW[0], sets_S, cells_SF, size_S, near_C, interior, n_placed, cols, sight, fits_SC, p)
    _add_up(p, sets_S, cells_SF, size_S, agents_TC[0], foods_TC[0])
    for t in range(1, T):
        _fits(obs_T3WW[t], sets_S, rows, cols, sight, fits_SC)
        sees, at_r, at_c = _sighting(obs_T3WW[t], sight)
        own, (own_r, own_c) = action_T[t - 1], wishes(obs_T3WW[t - 1], action_T[t - 1], sight)
        q[:] = 0.0
        for s in range(S):
            foods = sets_S[s]
            for a in range(C):
                a_r, a_c = a // cols, a % cols
                want_r, want_c = a_r + own_r, a_c + own_c
                for b in range(C):
                    mass = p[s, a, b] / 6
                    if mass < 1e-11:
                        continue
                    b_r, b_c = b // cols, b % cols
                    for other in range(6):
                        r, c = b_r - (other == 1) + (other == 2), b_c - (other == 3) + (other == 4)
                        if r < 0 or r >= rows or c < 0 or c >= cols or foods >> np.uint64(r * cols + c) & ONE:
                            r, c = b_r, b_c
                        to_r, to_c = want_r, want_c
                        if r == want_r and c == want_c:  # both want one cell: nobody moves
                            r, c, to_r, to_c = b_r, b_c, a_r, a_c
                        if not _meets(sees, at_r, at_c, r - to_r, c - to_c, sight):
                            continue
                        left = s
                        if own == LOAD or other == LOAD:
                            left = _after(
                                s, to_r * cols + to_c, r * cols + c, own, other, level, food_level,
                                sets_S, cells_SF, size_S, without_SF, rows, cols,
                            )  # fmt: skip
                        if fits_SC[left, to_r * cols + to_c]:
                            q[left, to_r * cols + to_c, r * cols + c] += mass
        p, q = q, p
        _add_up(p, sets_S, cells_SF, size_S, agents_TC[t], foods_TC[t])
    return agents_TC, foods_TC
