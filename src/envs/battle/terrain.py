"""The ground of a map: which cells can be walked, which belong together, and the tables that paths are found with.

``kernels_path.py`` walks on it. Cells are numbered ``x * SIZE + y``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SIZE = 32  # cells of a side of every map
CELLS = SIZE * SIZE
UNKNOWN = -1


class Terrain(NamedTuple):
    """Walls and path tables of one map. The tables marked * are filled when a path is first asked for.

    Attributes:
        walkable: bool (SIZE, SIZE), [x, y].
        is_open: the walkable cells form one rectangle, so every straight line inside it can be walked.
        component: int16 (CELLS,), number of the connected area of a cell, UNKNOWN for walls.
        nearest: int16 (areas, CELLS), the cell of an area that is nearest to a cell.
        hop*: int16 (CELLS, CELLS), [goal, cell], the next cell on the shortest path to the goal.
        has_hops*: bool (CELLS,), goals whose row of ``hop`` is filled.
        waypoint*: int16 (CELLS, CELLS), [cell, goal], the farthest cell of the path that can be walked to straight.
    """

    walkable: np.ndarray
    is_open: bool
    component: np.ndarray
    nearest: np.ndarray
    hop: np.ndarray
    has_hops: np.ndarray
    waypoint: np.ndarray


def make_terrain(walkable: np.ndarray) -> Terrain:
    """Builds the tables of a map.

    Args:
        walkable: bool (SIZE, SIZE), [x, y], with at least one walkable cell.
    """
    walkable = np.array(walkable, np.bool_)
    is_open = _is_rectangle(walkable)
    component = _components(walkable)
    cells = 1 if is_open else CELLS  # an open map needs no paths
    return Terrain(
        walkable=walkable,
        is_open=is_open,
        component=component,
        nearest=_nearest(component),
        hop=np.full((cells, cells), UNKNOWN, np.int16),
        has_hops=np.zeros(cells, np.bool_),
        waypoint=np.full((cells, cells), UNKNOWN, np.int16),
    )


def _is_rectangle(walkable: np.ndarray) -> bool:
    columns, rows = np.flatnonzero(walkable.any(1)), np.flatnonzero(walkable.any(0))
    return bool(walkable[columns[0] : columns[-1] + 1, rows[0] : rows[-1] + 1].all())


def _components(walkable: np.ndarray) -> np.ndarray:
    """Numbers the areas that are connected over the sides of cells, largest first."""
    label = np.full((SIZE, SIZE), UNKNOWN, np.int64)
    sizes: list[int] = []
    for start in np.argwhere(walkable):
        if label[tuple(start)] != UNKNOWN:
            continue
        stack, size = [tuple(start)], 0
        label[tuple(start)] = len(sizes)
        while stack:
            x, y = stack.pop()
            size += 1
            for i, j in ((x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)):
                if 0 <= i < SIZE and 0 <= j < SIZE and walkable[i, j] and label[i, j] == UNKNOWN:
                    label[i, j] = len(sizes)
                    stack.append((i, j))
        sizes.append(size)
    rank = np.argsort(np.argsort(-np.array(sizes), kind="stable"))
    return np.where(label == UNKNOWN, UNKNOWN, rank[label]).astype(np.int16).ravel()


def _nearest(component: np.ndarray) -> np.ndarray:
    """Finds, for every area, its cell nearest to every cell (distance of centres, then the lower number)."""
    cells = np.stack(np.divmod(np.arange(CELLS), SIZE), 1)
    rows = []
    for area in range(component.max() + 1):
        own = np.flatnonzero(component == area)
        distance = ((cells[:, None] - cells[None, own]) ** 2).sum(-1)
        rows.append(own[distance.argmin(1)])
    return np.stack(rows).astype(np.int16)
