"""k = 1: which ways of each teammate are closed, and where it just went."""

import torch as th

AGENTS = 3
HEALTH = 28
MOVES = 33  # columns of the last action: move north, south, east, west


def message_design_instruction():
    return (
        "Where a teammate is follows from its arm of the T, its walls and its moves. Each agent tells, the next number "
        "first, in a circle: which of its ways north, south, east and west are closed, and which of these ways it went in "
        "the step before. All are 0 for the dead."
    )


def communication(o):
    alive = (o[..., HEALTH : HEALTH + 1] > 0.0).to(th.float32)
    said = th.cat([1.0 - o[..., 0:4], o[..., MOVES : MOVES + 4]], dim=-1) * alive
    return th.cat([o] + [th.roll(said, shifts=-turn, dims=1) for turn in range(1, AGENTS)], dim=-1)
