"""Compiled walking: keeping bodies out of walls, straight lines, and shortest paths around walls.

Paths are cells of the grid. The shortest path to a goal cell is found once (eight neighbours, no cutting of
corners) and kept in the terrain's tables, as is the farthest cell of it that can be walked to in a straight line.
Nothing but the map decides what the tables hold, so it does not matter which battle asked first.
"""

from __future__ import annotations

import numpy as np

from envs.battle.kernels_cache import kernel
from envs.battle.terrain import CELLS, SIZE, UNKNOWN

BODY_WIDTH = 0.4  # half the width that a straight line needs free; about the inner radius of most units


@kernel
def is_free(walkable, x, y):
    """Whether a cell exists and can be walked."""
    return 0 <= x < SIZE and 0 <= y < SIZE and walkable[x, y]


@kernel
def cell_of(x, y):
    """Number of the cell at a point; points outside count to the border."""
    i = min(max(int(np.floor(x)), 0), SIZE - 1)
    j = min(max(int(np.floor(y)), 0), SIZE - 1)
    return i * SIZE + j


@kernel
def clamped_to_cell(x, y, cell, margin):
    """The point of a cell, ``margin`` off its sides, nearest to a point."""
    i, j = cell // SIZE, cell % SIZE
    return min(max(x, i + margin), i + 1 - margin), min(max(y, j + margin), j + 1 - margin)


@kernel
def _side_gap(fraction, low_wall, high_wall, margin):
    """Keeps a fraction of a cell ``margin`` off the walls on both sides; between two walls, in the middle."""
    if low_wall and high_wall:
        margin = min(margin, 0.5)
    if low_wall and fraction < margin:
        fraction = margin
    if high_wall and fraction > 1 - margin:
        fraction = 1 - margin
    return fraction


@kernel
def keep_off_walls(terrain, x, y, margin):
    """Returns the point nearest to (x, y), roughly, whose distance from every wall is ``margin`` (below 1).

    The border of the map is a wall. A point inside a wall goes to the nearest walkable cell first.
    """
    walkable = terrain.walkable
    x = min(max(x, 0.0), SIZE - 1e-6)
    y = min(max(y, 0.0), SIZE - 1e-6)
    i, j = int(x), int(y)
    if not walkable[i, j]:
        cell, best = UNKNOWN, 1e9
        for area in range(terrain.nearest.shape[0]):
            candidate = terrain.nearest[area, i * SIZE + j]
            cx, cy = clamped_to_cell(x, y, candidate, 0.0)
            distance = (cx - x) ** 2 + (cy - y) ** 2
            if distance < best:
                cell, best = candidate, distance
        x, y = clamped_to_cell(x, y, cell, 1e-3)
        i, j = cell // SIZE, cell % SIZE
    fx, fy = x - i, y - j
    if margin <= fx <= 1 - margin and margin <= fy <= 1 - margin:
        return x, y
    west, east = not is_free(walkable, i - 1, j), not is_free(walkable, i + 1, j)
    south, north = not is_free(walkable, i, j - 1), not is_free(walkable, i, j + 1)
    fx = _side_gap(fx, west, east, margin)
    fy = _side_gap(fy, south, north, margin)
    for dx in (-1, 1):
        for dy in (-1, 1):
            if is_free(walkable, i + dx, j + dy) or (west if dx < 0 else east) or (south if dy < 0 else north):
                continue
            from_x = fx if dx < 0 else fx - 1
            from_y = fy if dy < 0 else fy - 1
            distance = np.hypot(from_x, from_y)
            if distance < margin:
                if distance < 1e-9:
                    from_x, from_y, distance = -dx * np.sqrt(0.5), -dy * np.sqrt(0.5), 1.0
                fx += from_x / distance * margin - from_x
                fy += from_y / distance * margin - from_y
    return i + min(max(fx, 0.0), 1 - 1e-6), j + min(max(fy, 0.0), 1 - 1e-6)


@kernel
def _sees(walkable, start, end):
    """Whether a body can walk straight from the centre of one cell to that of another."""
    x, y = start // SIZE + 0.5, start % SIZE + 0.5
    dx, dy = end // SIZE + 0.5 - x, end % SIZE + 0.5 - y
    length = np.hypot(dx, dy)
    if length == 0:
        return True
    side_x, side_y = -dy / length * BODY_WIDTH, dx / length * BODY_WIDTH
    n = int(length / 0.2) + 1
    for k in range(n + 1):
        px, py = x + dx * k / n, y + dy * k / n
        left = is_free(walkable, int(np.floor(px + side_x)), int(np.floor(py + side_y)))
        right = is_free(walkable, int(np.floor(px - side_x)), int(np.floor(py - side_y)))
        if not (left and right):
            return False
    return True


@kernel
def _fill_hops(terrain, goal):
    """Finds the shortest paths from everywhere to one cell."""
    walkable, hop = terrain.walkable, terrain.hop
    distance = np.empty(CELLS)
    waits = np.zeros(CELLS, np.bool_)
    queue = np.empty(CELLS, np.int64)  # a ring; a cell is in it at most once
    for cell in range(CELLS):
        distance[cell] = 1e9
    head, count = 0, 1
    queue[0] = goal
    distance[goal] = 0.0
    hop[goal, goal] = goal
    while count > 0:
        cell = queue[head]
        head, count = (head + 1) % CELLS, count - 1
        waits[cell] = False
        i, j = cell // SIZE, cell % SIZE
        for dx in range(-1, 2):
            for dy in range(-1, 2):
                if (dx == 0 and dy == 0) or not is_free(walkable, i + dx, j + dy):
                    continue
                if not (is_free(walkable, i + dx, j) and is_free(walkable, i, j + dy)):
                    continue
                other = (i + dx) * SIZE + j + dy
                length = distance[cell] + (1.0 if dx == 0 or dy == 0 else np.sqrt(2.0))
                if length < distance[other] - 1e-9:
                    distance[other] = length
                    hop[goal, other] = cell
                    if not waits[other]:
                        waits[other] = True
                        queue[(head + count) % CELLS] = other
                        count += 1
    terrain.has_hops[goal] = True


@kernel
def _find_waypoint(terrain, start, goal):
    """Finds the farthest cell of the path that can be walked to in a straight line; the goal if there is no path."""
    if not terrain.has_hops[goal]:
        _fill_hops(terrain, goal)
    if terrain.hop[goal, start] == UNKNOWN:
        return goal
    cell = terrain.hop[goal, start]
    while cell != goal and _sees(terrain.walkable, start, terrain.hop[goal, cell]):
        cell = terrain.hop[goal, cell]
    return cell


@kernel
def walk_to(terrain, x, y, goal_x, goal_y):
    """Returns where a body on the ground at (x, y) should walk now to get to a goal, around walls.

    A goal that cannot be reached stands for the nearest place that can.
    """
    if terrain.is_open:
        return goal_x, goal_y
    start, goal = cell_of(x, y), cell_of(goal_x, goal_y)
    area = terrain.component[start]
    if area != UNKNOWN and terrain.component[goal] != area:
        goal = terrain.nearest[area, goal]
        goal_x, goal_y = clamped_to_cell(goal_x, goal_y, goal, 0.1)
    if start == goal or area == UNKNOWN:
        return goal_x, goal_y
    waypoint = terrain.waypoint[start, goal]
    if waypoint == UNKNOWN:
        waypoint = _find_waypoint(terrain, start, goal)
        terrain.waypoint[start, goal] = waypoint
    if waypoint == goal:
        return goal_x, goal_y
    return waypoint // SIZE + 0.5, waypoint % SIZE + 0.5
