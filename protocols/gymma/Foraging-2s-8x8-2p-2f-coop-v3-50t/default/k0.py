"""k = 0: the teammate's foods, laid into the receiver's own view where both see each other."""

import torch as th

FOODS = 2
SELF = 3 * FOODS  # first column of (row, column, level) of the agent itself; the teammate's follow


def message_design_instruction():
    return (
        "An agent sees foods and teammates up to two cells away, in a frame of its own window, and never its place on "
        "the field. Each broadcasts the foods that it sees as rows and columns from itself, its level, and its own "
        "place in its window, which is 0 or 1 only near the first row or column. Who sees its teammate knows how far "
        "away it is and adds that: the foods are then where the receiver has to go. Otherwise they stay as seen from "
        "the teammate, and a flag says so. A receiver hears: whether it sees its teammate, the teammate's level, place "
        "in its window, and both foods (level, rows down, columns right; zeros for a food that is not seen)."
    )


def communication(o):
    row, col = o[..., SELF : SELF + 1], o[..., SELF + 1 : SELF + 2]
    level = o[..., SELF + 2 : SELF + 3]
    meets = (o[..., SELF + 5 : SELF + 6] > 0.5).to(th.float32)
    away_row = (o[..., SELF + 3 : SELF + 4] - row) * meets
    away_col = (o[..., SELF + 4 : SELF + 5] - col) * meets
    food = th.roll(o[..., 2:SELF:3], shifts=1, dims=1)
    seen = (food > 0.5).to(th.float32)
    food_row = (th.roll(o[..., 0:SELF:3] - row, shifts=1, dims=1) + away_row) * seen
    food_col = (th.roll(o[..., 1:SELF:3] - col, shifts=1, dims=1) + away_col) * seen
    mate = th.roll(th.cat([level, row, col], dim=-1), shifts=1, dims=1)
    return th.cat([o, meets, mate, food, food_row, food_col], dim=-1)
