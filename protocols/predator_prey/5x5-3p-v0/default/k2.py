"""k = 2: the map of where the prey can still be, from all cells that anybody has stood in."""

import torch as th

AGENTS = 3
SIZE = 5
CELLS = SIZE * SIZE
PREY = CELLS + 2


def message_design_instruction():
    return (
        "The prey does not move, so a cell in which a predator stood without meeting it is ruled out for the rest of "
        "the episode. Every predator remembers the cells that it stood in. All hear one map of the grid: the "
        "probability that the prey is in each cell, which is the same for all cells that nobody has visited, or 1 for "
        "the cell where it was found."
    )


def communication(o):
    cell = o[..., 0:CELLS].clamp(0.0, 1.0)  # steps before the episode hold -1 and say nothing
    found = (cell * o[..., PREY : PREY + 1].clamp(0.0, 1.0)).amax(dim=1).amax(dim=1)
    visited = cell.amax(dim=1).amax(dim=1)
    is_found = found.amax(dim=-1, keepdim=True)
    free = 1.0 - visited
    chance = found * is_found + free / free.sum(dim=-1, keepdim=True).clamp(min=1.0) * (1.0 - is_found)
    now = o[:, -1]
    return th.cat([now, chance.unsqueeze(1).expand(-1, AGENTS, CELLS)], dim=-1)
