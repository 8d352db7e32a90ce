"""k = 2: dead reckoning. Positions from borders and moves of the last steps, and a remembered map of the foods."""

import torch as th

AGENTS = 6
SIZE = 11  # rows, and columns
WINDOW = 3
CELLS = WINDOW * WINDOW
ACTIONS = 6
LENGTH = 10
EVERY = 2  # two windows that are two steps apart still touch, so that every other step misses no cell


def message_design_instruction():
    return (
        "Borders seen in the last steps still tell where an agent is, if its moves since then are counted. For rows and "
        "for columns, every agent keeps the interval of lines on which it can stand: each step of its history gives an "
        "interval (the first or last line beside a border, the interior otherwise), shifted by the moves made since "
        "then, and the intersection is what remains. A move is certain if the cell was free and no other player was "
        "near; otherwise it may or may not have happened, and the interval widens. An agent that sees exactly one player, "
        "which only one teammate can be, shares that teammate's intervals. Everybody hears: every agent's middle and "
        "half-width of both intervals in order of ids, a map of where players may stand, and a map of the foods seen in "
        "the last steps; a cell that is later seen empty is forgotten."
    )


def ends(text):
    """Sorts entries of four directions (north, west, east, south) into (B, L, N, axis): towards line 0, away from it."""
    return text[..., 0:2], text[..., 2:4].flip(-1)


def laid_out(centre, half, since_low, since_high):
    """Shares over lines, (B, K, N, axis, SIZE), where an agent stood when it had since moved by since_low..since_high."""
    low = (centre - half).unsqueeze(1) - since_high
    high = (centre + half).unsqueeze(1) - since_low
    line = th.arange(SIZE, dtype=th.float32)
    inside = (line > low.unsqueeze(-1) - 0.5) & (line < high.unsqueeze(-1) + 0.5)
    return inside.to(th.float32) / (high - low + 1.0).clamp(min=1.0).unsqueeze(-1)


def communication(o):
    # Letters of shapes: B episodes, L steps, N agents, then the axis (0 rows, 1 columns).
    agents = o[..., 0:CELLS]
    foods = o[..., CELLS : 2 * CELLS]
    access = o[..., 2 * CELLS : 3 * CELLS]
    valid = (access[..., 0:1] > -0.5).to(th.float32)  # steps before the episode hold -1
    # Cells 1, 3, 5, 7 of a window lie to the north, west, east and south.
    open_cell = access[..., 1:8:2]
    food_cell = (foods[..., 1:8:2] > 0.5).to(th.float32)
    inside = ((agents[..., 1:8:2] + foods[..., 1:8:2] + open_cell) > 0.5).to(th.float32)
    others = agents.sum(dim=-1, keepdim=True) - 1.0

    # Moves between steps: certain where the cell was free and nobody else in sight, possible where no food or border.
    action = o[:, 1:, :, 3 * CELLS : 3 * CELLS + ACTIONS]
    back = th.cat([action[..., 1:2], action[..., 3:4]], dim=-1)  # north, west
    ahead = th.cat([action[..., 2:3], action[..., 4:5]], dim=-1)  # south, east
    was = valid[:, :-1]
    alone = (others[:, :-1] < 0.5).to(th.float32)
    may_back, may_ahead = ends(inside[:, :-1] * (1.0 - food_cell[:, :-1]))
    may_back, may_ahead = back * may_back * was, ahead * may_ahead * was
    low_step = may_ahead * alone - may_back
    high_step = may_ahead - may_back * alone
    zero = th.zeros_like(o[:, :1, :, 0:2])
    low_at = th.cat([zero, low_step.cumsum(dim=1)], dim=1)
    high_at = th.cat([zero, high_step.cumsum(dim=1)], dim=1)
    since_low = low_at[:, -1:] - low_at
    since_high = high_at[:, -1:] - high_at

    # What every step says of the line then, and of the line now.
    in_back, in_ahead = ends(inside)
    inner = in_back * in_ahead
    last = SIZE - 1.0
    low = inner + last * (1.0 - in_ahead)
    high = inner * (last - 1.0) + last * (1.0 - in_ahead)
    low_now = th.where(valid > 0.5, low + since_low, th.zeros_like(low) - SIZE)
    high_now = th.where(valid > 0.5, high + since_high, th.zeros_like(high) + 2.0 * SIZE)
    low_best, high_best = low_now.amax(dim=1), high_now.amin(dim=1)
    agree = low_best <= high_best  # else some move was counted wrongly: only this step is trusted
    low_best = th.where(agree, low_best, low[:, -1])
    high_best = th.where(agree, high_best, high[:, -1])

    # Who sees whom: i sees one player at an offset at which exactly one teammate sees one at the opposite offset.
    around = agents[:, -1] * th.tensor([1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    facing = around.flip(-1)
    match = (around.unsqueeze(2) * facing.unsqueeze(1)).sum(dim=-1).clamp(0.0, 1.0)
    match = match * (1.0 - th.eye(AGENTS))
    certain = ((match.sum(dim=-1) - 1.0).abs() < 0.5) & ((around.sum(dim=-1) - 1.0).abs() < 0.5)
    offset = th.stack(
        [
            (around * th.tensor([-1.0, -1.0, -1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0])).sum(dim=-1),
            (around * th.tensor([-1.0, 0.0, 1.0, -1.0, 0.0, 1.0, -1.0, 0.0, 1.0])).sum(dim=-1),
        ],
        dim=-1,
    )
    theirs_low = (match.unsqueeze(-1) * low_best.unsqueeze(1)).sum(dim=2) - offset
    theirs_high = (match.unsqueeze(-1) * high_best.unsqueeze(1)).sum(dim=2) - offset
    both_low, both_high = th.maximum(low_best, theirs_low), th.minimum(high_best, theirs_high)
    use = certain.unsqueeze(-1) & (both_low <= both_high)
    low_best = th.where(use, both_low, low_best)
    high_best = th.where(use, both_high, high_best)
    centre, half = 0.5 * (low_best + high_best), 0.5 * (high_best - low_best)

    # Shares of lines at every other step, the newest included, and of the lines of each window cell: (B, K, N, 3, SIZE).
    shares = laid_out(centre, half, since_low[:, 1:LENGTH:EVERY], since_high[:, 1:LENGTH:EVERY])
    wide = th.nn.functional.pad(shares, (1, 1))
    rows = [wide[..., 0, 2 - d : 2 - d + SIZE] for d in range(WINDOW)]
    cols = [wide[..., 1, 2 - d : 2 - d + SIZE] for d in range(WINDOW)]
    seen_at = valid[:, 1:LENGTH:EVERY]
    food_at = (foods[:, 1:LENGTH:EVERY] > 0.5).to(th.float32) * seen_at
    empty_at = seen_at - food_at

    def on_field(cells):
        """Probability that a window cell marked in (B, K, N, CELLS) lies on each cell: (B, K, SIZE, SIZE)."""
        placed = 0.0
        for d in range(WINDOW):
            across = 0.0
            for e in range(WINDOW):
                across = across + cells[..., WINDOW * d + e].unsqueeze(-1) * cols[e]
            placed = placed + rows[d].unsqueeze(-1) * across.unsqueeze(-2)
        return placed.amax(dim=2)

    # Oldest to newest: what was seen empty is forgotten, what was seen as food is known.
    food_seen, empty_seen = on_field(food_at), on_field(empty_at)
    food_map = food_seen[:, 0]
    for k in range(1, 5):
        food_map = th.maximum(food_map * (1.0 - empty_seen[:, k]), food_seen[:, k])
    food_map = food_map.reshape(-1, 1, SIZE * SIZE)

    now = shares[:, -1]
    agent_map = (now[:, :, 0].unsqueeze(-1) * now[:, :, 1].unsqueeze(-2)).sum(dim=1).reshape(-1, 1, SIZE * SIZE)
    where = (th.cat([centre, half], dim=-1) / last).reshape(-1, 1, AGENTS * 4)
    said = th.cat([where, agent_map, food_map], dim=-1)
    return th.cat([o[:, -1], said.expand(-1, AGENTS, said.shape[-1])], dim=-1)
