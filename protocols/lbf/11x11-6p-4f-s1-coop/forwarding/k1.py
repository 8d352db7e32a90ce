"""k = 1: where the teammates stand, as far as their walls tell now."""

import torch as th

AGENTS = 6
ROWS = 11
COLS = 11
WINDOW = 3
CELLS = WINDOW * WINDOW


def message_design_instruction():
    return (
        "No agent observes its absolute position, yet the border of the field gives it away: an agent beside the north "
        "border stands in row 0, and so on. Each agent broadcasts for every row and every column whether it can be "
        "standing there now: one entry for each row and column, the share of probability left after looking at the "
        "borders. An agent that sees no border is somewhere in the interior. Teammates only, the next id first."
    )


def standing(before, after, n):
    """Shares over n lines from two 0/1 flags: a border right before (line 0) or right after (line n - 1)."""
    inner = (1.0 - before) * (1.0 - after) / (n - 2)
    lines = th.cat([before, inner.expand(inner.shape[0], inner.shape[1], n - 2), after], dim=-1)
    return lines


def communication(o):
    agents = o[..., 0:CELLS]
    foods = o[..., CELLS : 2 * CELLS]
    access = o[..., 2 * CELLS : 3 * CELLS]
    out = 1.0 - (agents + foods + access).clamp(0.0, 1.0)
    rows = standing(out[..., 1:2], out[..., 7:8], ROWS)
    cols = standing(out[..., 3:4], out[..., 5:6], COLS)
    said = th.cat([rows, cols], dim=-1)
    heard = [th.roll(said, shifts=-step, dims=1) for step in range(1, AGENTS)]
    return th.cat([o] + heard, dim=-1)
