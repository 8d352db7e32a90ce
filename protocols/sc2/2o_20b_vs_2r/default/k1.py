"""k = 1: who lives, and how healthy each teammate is."""

import torch as th

AGENTS = 22
HEALTH = 167


def message_design_instruction():
    return (
        "An agent sees the health of those within 9 cells only, so it cannot tell a dead teammate from a distant one. Each "
        "agent tells its health, the next number first, in a circle; 0 says that it is dead."
    )


def communication(o):
    health = o[..., HEALTH : HEALTH + 1]
    return th.cat([o] + [th.roll(health, shifts=-turn, dims=1) for turn in range(1, AGENTS)], dim=-1)
