"""k = 0: when each group can arrive at the earliest, and how long an agent has to wait for its own group."""

import torch as th

# Row: an agent; column: its group.
MEMBER = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]


def message_design_instruction():
    return (
        "All agents of a group must enter cell 0 in the same step, the two groups in different steps, and each agent "
        "sees its own cell only. A group cannot arrive before its farthest agent. Every agent broadcasts its cell and "
        "whether its group can still move. A receiver hears the earliest arrival of its own group and of the other, in "
        "steps; how many steps it is ahead of the farthest agent of its group; whether both groups would arrive in the "
        "same step; and whether the other group can still move. With 0 steps to spare an agent has to walk, otherwise "
        "it can wait."
    )


def communication(o):
    member = th.tensor(MEMBER)
    cell, active = o[..., 0:1], o[..., 1:2]
    # (B, N, groups): the farthest cell of each group, and whether any of it is active; the same for all receivers.
    farthest = (cell * member).amax(dim=1, keepdim=True)
    moving = (active * member).amax(dim=1, keepdim=True)
    own = (farthest * member).sum(dim=-1, keepdim=True)
    other = (farthest * (1.0 - member)).sum(dim=-1, keepdim=True)
    other_moves = (moving * (1.0 - member)).sum(dim=-1, keepdim=True)
    clash = ((own - other).abs() < 0.5).to(o.dtype) * other_moves
    return th.cat([o, own, other, own - cell, clash, other_moves], dim=-1)
