"""k = 1: health and shield of each teammate, and which of its ways are closed."""

import torch as th

AGENTS = 5
HEALTH, SHIELD = 34, 35


def message_design_instruction():
    return (
        "k = 0 says how many swings a teammate would survive, which mixes health and shield, and says nothing of where it "
        "is unless somebody sees it. Each agent tells, the next number first, in a circle: its health, its shield and which "
        "of its ways north, south and east are closed; a closed way is a border. All are 0 for the dead."
    )


def communication(o):
    alive = (o[..., HEALTH : HEALTH + 1] > 0.0).to(th.float32)
    said = th.cat([o[..., HEALTH : SHIELD + 1], (1.0 - o[..., 0:3]) * alive], dim=-1)
    return th.cat([o] + [th.roll(said, shifts=-turn, dims=1) for turn in range(1, AGENTS)], dim=-1)
