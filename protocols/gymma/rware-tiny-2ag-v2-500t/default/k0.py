"""k = 0: where the teammate is and what it carries, and where it sees a requested shelf."""

import torch as th

SELF = 8  # x, y, carrying, direction one-hot (4), on a highway
CELL = 7  # numbers of each of the 9 cells around an agent; the last one: holds a requested shelf
REQUESTED = SELF + CELL - 1


def message_design_instruction():
    return (
        "A robot knows its own place but sees only the 9 cells around it. Each broadcasts its place, whether it "
        "carries a shelf, its direction, whether it is on a highway, and which of the cells around it hold a requested "
        "shelf. A receiver hears where its teammate is, as columns and rows from itself; what else the teammate says "
        "of itself; how many requested shelves the teammate sees; and where these are on average, again from the "
        "receiver, zeros if there is none."
    )


def communication(o):
    place = o[..., 0:2]
    away = th.roll(place, shifts=1, dims=1) - place
    asked = th.roll(o[..., REQUESTED::CELL][..., 0:9], shifts=1, dims=1)
    number = asked.sum(dim=-1, keepdim=True)
    right = th.tensor([-1.0, 0.0, 1.0, -1.0, 0.0, 1.0, -1.0, 0.0, 1.0])
    down = th.tensor([-1.0, -1.0, -1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    middle = th.stack([(asked * right).sum(dim=-1), (asked * down).sum(dim=-1)], dim=-1) / number.clamp(min=1.0)
    shelf = (middle + away) * number.clamp(max=1.0)
    return th.cat([o, away, th.roll(o[..., 2:SELF], shifts=1, dims=1), number, shelf], dim=-1)
