"""Roads and routes of the three traffic junctions: where cars enter, turn and leave.

Cars drive on the right. ``easy`` has two one-way roads that cross; ``medium`` two two-way roads and one junction of 2x2
cells; ``hard`` four two-way roads and four junctions, of which a car crosses at most two with a choice of turn.

Source: A. Singh, T. Jain, S. Sukhbaatar, "Learning when to Communicate at Scale in Multiagent Cooperative and
Competitive Tasks" (IC3Net), ICLR 2019, and the environment it released; the tests compare every route with it.
"""

from __future__ import annotations

from collections.abc import Iterator

Cell = tuple[int, int]  # row, column
Heading = tuple[int, int]  # change of row and column with one step

DOWN, UP, LEFT, RIGHT = (1, 0), (-1, 0), (0, -1), (0, 1)
TURNS = ("straight", "right", "left")


def grid_side(difficulty: str, size: int) -> int:
    """Returns the side of the grid, cells: one more than ``size`` for easy, so that its roads have a middle."""
    return size + 1 if difficulty == "easy" else size


def road_blocks(difficulty: str, size: int) -> list[list[Cell]]:
    """Returns the cells of every road, road by road, each row by row. Roads share the cells where they cross."""
    side = grid_side(difficulty, size)
    lanes: dict[str, tuple[list[tuple[int, ...]], list[tuple[int, ...]]]] = {
        "easy": ([(side // 2,)], [(side // 2,)]),
        "medium": ([(side // 2 - 1, side // 2)], [(side // 2 - 1, side // 2)]),
        "hard": (_lane_pairs(side), _lane_pairs(side)),
    }
    rows, cols = lanes[difficulty]
    across = [[(r, c) for r in pair for c in range(side)] for pair in rows]
    return across + [[(r, c) for r in range(side) for c in pair] for pair in cols]


def routes(difficulty: str, size: int) -> list[list[list[Cell]]]:
    """Returns the routes of every arrival point: a list of arrival points, each a list of routes, each its cells."""
    side = grid_side(difficulty, size)
    if difficulty == "easy":
        middle = side // 2
        return [[[(i, middle) for i in range(side)]], [[(middle, i) for i in range(side)]]]
    if difficulty == "medium":
        low, high = side // 2 - 1, side // 2
        arrivals = [((0, low), DOWN), ((side - 1, high), UP), ((high, 0), RIGHT), ((low, side - 1), LEFT)]
        junctions = {(r, c) for r in (low, high) for c in (low, high)}
    else:
        (a, b), (c, d) = _lane_pairs(side)
        arrivals = [
            ((0, a), DOWN),
            ((0, c), DOWN),
            ((b, 0), RIGHT),
            ((d, 0), RIGHT),
            ((side - 1, b), UP),
            ((side - 1, d), UP),
            ((a, side - 1), LEFT),
            ((c, side - 1), LEFT),
        ]
        junctions = {(r, q) for r in (a, b, c, d) for q in (a, b, c, d)}
    return [list(_routes_from(start, heading, side, junctions)) for start, heading in arrivals]


def _lane_pairs(side: int) -> list[tuple[int, ...]]:
    """Returns the rows (and columns) of the two roads of ``hard``."""
    third = side // 3
    return [(third - 2, third - 1), (2 * third, 2 * third + 1)]


def _routes_from(start: Cell, heading: Heading, side: int, junctions: set[Cell]) -> Iterator[list[Cell]]:
    """Yields a route for every choice of turn at the first two junctions that a car crosses."""
    for first in TURNS:
        for second in TURNS:
            cells, n_crossed = _drive(start, heading, (first, second), side, junctions)
            yield cells
            if n_crossed == 1:
                break  # the road ends after the first junction; there is no second choice


def _drive(
    start: Cell, heading: Heading, turns: tuple[str, str], side: int, junctions: set[Cell]
) -> tuple[list[Cell], int]:
    """Returns the cells of a route and the number of junctions it crosses."""
    cells, n_crossed = [start], 0
    while True:
        ahead = _add(cells[-1], heading)
        if not (0 <= ahead[0] < side and 0 <= ahead[1] < side):
            return cells, n_crossed
        if ahead not in junctions:
            cells.append(ahead)
            continue
        turn = turns[n_crossed] if n_crossed < len(turns) else "straight"
        n_crossed += 1
        before, after = {"straight": (2, 1), "right": (1, 1), "left": (2, 2)}[turn]
        for _ in range(before):
            cells.append(_add(cells[-1], heading))
        heading = _turned(heading, turn)
        for _ in range(after):
            cells.append(_add(cells[-1], heading))


def _turned(heading: Heading, turn: str) -> Heading:
    """Returns the heading after a turn, as seen by the driver; rows grow downwards."""
    row, col = heading
    return {"straight": (row, col), "right": (col, -row), "left": (-col, row)}[turn]


def _add(cell: Cell, heading: Heading) -> Cell:
    return cell[0] + heading[0], cell[1] + heading[1]
