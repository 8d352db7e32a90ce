"""k = 0: the way to one's own goal, whose colour only the other agent sees."""

import torch as th

AGENTS = 2
LOW, SPAN = 0.25, 0.5  # a goal's colour is 0.75 in its own share and 0.25 in the others


def message_design_instruction():
    return (
        "Each agent sees the colour of the other's goal and where the red, green and blue landmarks lie from itself. "
        "Every agent broadcasts which landmark is the other's goal, and its view of the landmarks. A receiver works "
        "out the way to its own goal, along x and y; the way that its teammate has to go; and hears which landmark its "
        "own goal is."
    )


def communication(o):
    x, y = o[..., 2:8:2], o[..., 3:8:2]  # (B, N, 3), landmarks seen from each agent
    own_goal = th.roll((o[..., 8:11] - LOW) / SPAN, shifts=1, dims=1)  # one-hot: with two agents, the other one's word
    way = th.stack([(own_goal * x).sum(dim=-1), (own_goal * y).sum(dim=-1)], dim=-1)
    return th.cat([o, way, th.roll(way, shifts=1, dims=1), own_goal], dim=-1)
