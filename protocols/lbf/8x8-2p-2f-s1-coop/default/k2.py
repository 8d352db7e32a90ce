"""k = 2: dead reckoning. Positions from borders and moves of the last steps, and a map of the foods."""

import torch as th

AGENTS = 2
ROWS = 8
COLS = 8
WINDOW = 3
CELLS = WINDOW * WINDOW
ACTIONS = 6
LENGTH = 10


def message_design_instruction():
    return (
        "Borders seen in the last steps still tell where an agent is, if its moves since then are counted. Each agent "
        "keeps, for rows and for columns, the interval of lines on which it can stand: every step of its history gives "
        "an interval (line 0 or the last line beside a border, the interior otherwise), shifted by the moves made since "
        "then, and the intersection is what remains. Two agents that see each other share their intervals. The team "
        "hears every agent's probabilities over rows and columns, and a map of the field with the foods that are seen "
        "now, at the places their seers may stand."
    )


def lines_between(low, high, n):
    """Uniform shares over the lines low..high, (B, N, n)."""
    index = th.arange(n, dtype=th.float32)
    inside = ((index >= low - 0.5) & (index <= high + 0.5)).to(th.float32)
    return inside / inside.sum(dim=-1, keepdim=True).clamp(min=1.0)


def communication(o):
    # All arrays below are (B, L, N, ...).
    agents = o[..., 0:CELLS]
    foods = o[..., CELLS : 2 * CELLS]
    access = o[..., 2 * CELLS : 3 * CELLS]
    valid = (access.amin(dim=-1) > -0.5).to(th.float32)
    out = 1.0 - (agents + foods + access).clamp(0.0, 1.0)

    # A move was made if the cell it led to was free the step before.
    move = o[:, 1:, :, 3 * CELLS : 3 * CELLS + ACTIONS]
    free = access[:, :-1]
    was = valid[:, :-1]
    north = move[..., 1] * free[..., 1] * was
    south = move[..., 2] * free[..., 7] * was
    west = move[..., 3] * free[..., 3] * was
    east = move[..., 4] * free[..., 5] * was
    zero = th.zeros_like(valid[:, :1])
    row_at = th.cat([zero, (south - north).cumsum(dim=1)], dim=1)
    col_at = th.cat([zero, (east - west).cumsum(dim=1)], dim=1)

    def interval(before, after, at, n):
        low = (1.0 - before) * (1.0 - after) + (n - 1.0) * after
        high = (1.0 - before) * (1.0 - after) * (n - 2.0) + (n - 1.0) * after
        low = th.where(valid > 0.5, low, th.zeros_like(low) - n)
        high = th.where(valid > 0.5, high, th.zeros_like(high) + 2.0 * n)
        since = at[:, -1:] - at
        return (low + since).amax(dim=1), (high + since).amin(dim=1)

    row_low, row_high = interval(out[..., 1], out[..., 7], row_at, ROWS)
    col_low, col_high = interval(out[..., 3], out[..., 5], col_at, COLS)

    # An agent that sees its teammate stands on a line of the teammate's interval, moved by the offset between them.
    mate = agents[:, -1] * th.tensor([1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    sees = mate.sum(dim=-1).clamp(0.0, 1.0)
    row_off = (mate * th.tensor([-1.0, -1.0, -1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0])).sum(dim=-1)
    col_off = (mate * th.tensor([-1.0, 0.0, 1.0, -1.0, 0.0, 1.0, -1.0, 0.0, 1.0])).sum(dim=-1)

    def meet(low, high, offset):
        low_mate = low.flip(1) - offset
        high_mate = high.flip(1) - offset
        both_low = th.where(sees > 0.5, th.maximum(low, low_mate), low)
        both_high = th.where(sees > 0.5, th.minimum(high, high_mate), high)
        agree = both_low <= both_high
        return th.where(agree, both_low, low), th.where(agree, both_high, high)

    row_low, row_high = meet(row_low, row_high, row_off)
    col_low, col_high = meet(col_low, col_high, col_off)
    rows = lines_between(row_low.unsqueeze(-1), row_high.unsqueeze(-1), ROWS)
    cols = lines_between(col_low.unsqueeze(-1), col_high.unsqueeze(-1), COLS)

    # Foods of the present windows laid onto the field: rows moved by each offset, times foods, times columns moved.
    window = foods[:, -1].reshape(-1, AGENTS, WINDOW, WINDOW)
    rows_wide = th.nn.functional.pad(rows, (1, 1))
    cols_wide = th.nn.functional.pad(cols, (1, 1))
    rows_at = th.stack([rows_wide[..., 2 - d : 2 - d + ROWS] for d in range(WINDOW)], dim=-1)
    cols_at = th.stack([cols_wide[..., 2 - d : 2 - d + COLS] for d in range(WINDOW)], dim=-1)
    across = th.einsum("bnrd,bnde->bnre", rows_at, window)
    food_map = th.einsum("bnre,bnce->brc", across, cols_at).reshape(-1, 1, ROWS * COLS)

    said = th.cat([rows, cols], dim=-1)
    block = ROWS + COLS
    heard = said.reshape(-1, 1, AGENTS * block)
    heard = th.cat([heard, food_map], dim=-1)
    heard = heard.expand(-1, AGENTS, heard.shape[-1])
    return th.cat([o[:, -1], heard], dim=-1)
