"""Pictures of one level-based foraging field: plain text, and an RGB frame drawn with numpy alone.

A player is a coloured disc, a food a red diamond, both with their level in it; where two players share a
cell, the text shows ``*`` and the frame both halves.

The frame is not made by ``drawing.py``: that module belongs to our own host and needs Pillow, while other hosts render
this environment too and find nothing of ours but what lies in the packages that they have themselves, such as ``envs``.
"""

from __future__ import annotations

import numpy as np

CELL = 48  # side of a cell, pixels
LINE = 2  # width of the grid lines, pixels
PAPER, INK, GRID = (250, 249, 245), (255, 255, 255), (205, 201, 190)
FOOD_COLOUR = (193, 63, 57)
PLAYER_COLOURS = (
    (38, 98, 160),
    (36, 128, 92),
    (122, 78, 160),
    (176, 104, 28),
    (20, 128, 138),
    (150, 62, 110),
    (88, 96, 112),
    (120, 112, 30),
)

# Digits 0-9, 3 wide and 5 high, one row of bits each from top to bottom.
_DIGITS = (
    (7, 5, 5, 5, 7), (2, 6, 2, 2, 7), (7, 1, 7, 4, 7), (7, 1, 7, 1, 7), (5, 5, 7, 1, 1),
    (7, 4, 7, 1, 7), (7, 4, 7, 5, 7), (7, 1, 2, 2, 2), (7, 5, 7, 5, 7), (7, 5, 7, 1, 7),
)  # fmt: skip


def as_text(field_RC: np.ndarray, pos_N2: np.ndarray, level_N: np.ndarray, caption: str) -> str:
    """Returns the field in letters: players a, b, ... with their level, foods as their level, cells as dots.

    Args:
        field_RC: int (R, C), food levels, 0 where there is none.
        pos_N2: int (N, 2), row and column of every player.
        level_N: int (N,), player levels.
        caption: first line.
    """
    cols = field_RC.shape[1]
    cells = [[f" {level}" if level else " ." for level in row] for row in field_RC.tolist()]
    occupied: dict[tuple[int, int], list[int]] = {}
    for i, (row, col) in enumerate(pos_N2.tolist()):
        occupied.setdefault((row, col), []).append(i)
    for (row, col), who in occupied.items():
        cells[row][col] = f"{_letter(who[0])}{level_N[who[0]]}" if len(who) == 1 else f"*{len(who)}"
    width = max(len(cell) for row in cells for cell in row)
    edge = "+" + "-" * ((width + 1) * cols + 1) + "+"
    body = ["| " + " ".join(cell.rjust(width) for cell in row) + " |" for row in cells]
    shared = ["".join(_letter(i) for i in who) for who in occupied.values() if len(who) > 1]
    notes = [f"* shared by {', '.join(shared)}"] if shared else []
    return "\n".join([caption, edge, *body, edge, *notes])


def as_rgb(field_RC: np.ndarray, pos_N2: np.ndarray, level_N: np.ndarray, caption: str) -> np.ndarray:
    """Returns the field as a uint8 (R * CELL + LINE, C * CELL + LINE, 3) frame.

    Args:
        field_RC: int (R, C), food levels, 0 where there is none.
        pos_N2: int (N, 2), row and column of every player.
        level_N: int (N,), player levels.
        caption: not drawn; a frame carries no text but the levels.
    """
    rows, cols = field_RC.shape
    frame = np.empty((rows * CELL + LINE, cols * CELL + LINE, 3), np.uint8)
    frame[:] = PAPER
    for k in range(rows + 1):
        frame[k * CELL : k * CELL + LINE] = GRID
    for k in range(cols + 1):
        frame[:, k * CELL : k * CELL + LINE] = GRID
    y, x = np.mgrid[0:CELL, 0:CELL] - (CELL - 1 + LINE) / 2
    disc, diamond = np.hypot(y, x) < 0.38 * CELL, np.abs(y) + np.abs(x) < 0.44 * CELL
    for row, col in np.argwhere(field_RC > 0):
        tile = _tile(frame, row, col)
        tile[diamond] = FOOD_COLOUR
        _write_number(tile, int(field_RC[row, col]))
    seen: dict[tuple[int, int], int] = {}
    for i, (row, col) in enumerate(pos_N2.tolist()):
        tile = _tile(frame, row, col)
        shape = disc & (x > 0) if (row, col) in seen else disc
        seen[row, col] = i
        tile[shape] = PLAYER_COLOURS[i % len(PLAYER_COLOURS)]
        _write_number(tile, int(level_N[i]))
    return frame


def _letter(player: int) -> str:
    """Returns a, b, ... for a player, and # beyond the alphabet."""
    return chr(ord("a") + player) if player < 26 else "#"


def _tile(frame: np.ndarray, row: int, col: int) -> np.ndarray:
    """Returns the view of one cell, (CELL, CELL, 3)."""
    return frame[row * CELL : (row + 1) * CELL, col * CELL : (col + 1) * CELL]


def _write_number(tile: np.ndarray, number: int, scale: int = 3) -> None:
    """Writes a number in the middle of a cell; more than three digits do not fit and are cut."""
    digits = [int(digit) for digit in str(number)[:3]]
    bits = np.zeros((5, 4 * len(digits) - 1), bool)
    for k, digit in enumerate(digits):
        for line, pattern in enumerate(_DIGITS[digit]):
            bits[line, 4 * k : 4 * k + 3] = [pattern >> shift & 1 for shift in (2, 1, 0)]
    ink = bits.repeat(scale, 0).repeat(scale, 1)
    top = (CELL + LINE - ink.shape[0]) // 2
    left = (CELL + LINE - ink.shape[1]) // 2
    tile[top : top + ink.shape[0], left : left + ink.shape[1]][ink] = INK
