"""k = 0: the cars of both roads in order, who is about to meet whom in the junction, and who then waits."""

import torch as th

CELLS = 7  # of each road, in driving direction
JUNCTION = 3  # index of the cell that both roads share
CLASS = 2  # first column of the class of an agent's own cell
CLASSES = 14
# Index along the road of every class of cell, for route 0 and for route 1 (classes 12 and 13 are its last cells).
ROUTE_0 = [-1, -1, -1, -1, -1, -1, -1, 0, 1, 2, 3, 4, 5, 6]
ROUTE_1 = [0, 1, 2, -1, 4, 5, 6, -1, -1, -1, 3, -1, -1, -1]


def message_design_instruction():
    return (
        "Two one-way roads cross in one cell, and cars see only the cell that they are in. Every car in the system "
        "broadcasts its road and its cell. A receiver works out what concerns it. On its own road: the cars in the "
        "cell behind it, in its own cell, and one and two cells ahead. On the other road: the cars one step farther "
        "from the junction than itself, as far, and one step nearer, while it has not passed the junction. Then how "
        "many cars queue without a gap before the junction on its own road and on the other. If cars stand right "
        "before the junction on both roads, only one road may go on: by agreement the one with the longer queue, and "
        "road 1 if they are equal. The last number is 1 for cars that have to wait for this reason, the whole queue of "
        "the road that has to let the other go first."
    )


def steps_away(index_BN, cars_BK, offset):
    """Number of cars in the cell at index + offset along a road with CELLS cells: (B, N)."""
    line = th.arange(CELLS, dtype=th.float32)
    there = ((index_BN.unsqueeze(-1) + offset - line).abs() < 0.5).to(th.float32)
    return (there * cars_BK).sum(dim=-1)


def communication(o):
    kind = o[..., CLASS : CLASS + CLASSES]
    in_system = kind.sum(dim=-1)
    on_1 = o[..., 1] * in_system
    on_0 = in_system - on_1
    line = th.arange(CELLS, dtype=th.float32)
    at_0 = ((th.tensor(ROUTE_0).unsqueeze(-1) - line).abs() < 0.5).to(th.float32)  # (classes, cells)
    at_1 = ((th.tensor(ROUTE_1).unsqueeze(-1) - line).abs() < 0.5).to(th.float32)
    cell_0 = th.einsum("bnk,kc->bnc", kind, at_0) * on_0.unsqueeze(-1)
    cell_1 = th.einsum("bnk,kc->bnc", kind, at_1) * on_1.unsqueeze(-1)
    cars_0, cars_1 = cell_0.sum(dim=1, keepdim=True), cell_1.sum(dim=1, keepdim=True)  # (B, 1, cells)
    index = ((cell_0 + cell_1) * line).sum(dim=-1)  # (B, N)

    is_1 = on_1.unsqueeze(-1)
    own_road = cars_1 * is_1 + cars_0 * (1.0 - is_1) - cell_0 - cell_1  # (B, N, cells), without the receiver itself
    other_road = cars_0 * is_1 + cars_1 * (1.0 - is_1)
    before = (index < JUNCTION - 0.5).to(th.float32) * in_system
    near = [steps_away(index, own_road, d) * in_system for d in (-1.0, 0.0, 1.0, 2.0)]
    meeting = [steps_away(index, other_road, d) * before for d in (-1.0, 0.0, 1.0)]

    # Cars without a gap before the junction, (B, 1): in the last cell, the last two, all three.
    full_0, full_1 = cars_0[..., :JUNCTION].clamp(0.0, 1.0), cars_1[..., :JUNCTION].clamp(0.0, 1.0)
    line_0 = full_0.flip(-1).cumprod(dim=-1).sum(dim=-1)
    line_1 = full_1.flip(-1).cumprod(dim=-1).sum(dim=-1)
    own_line = line_1 * on_1 + line_0 * on_0
    other_line = line_0 * on_1 + line_1 * on_0
    both = (own_line > 0.5) & (other_line > 0.5)
    second = (own_line < other_line - 0.5) | (((own_line - other_line).abs() < 0.5) & (on_0 > 0.5))
    queued = index > JUNCTION - 0.5 - own_line
    waits = (both & second & queued).to(th.float32) * before
    said = th.stack(near + meeting + [own_line, other_line, waits], dim=-1)
    return th.cat([o, said], dim=-1)
