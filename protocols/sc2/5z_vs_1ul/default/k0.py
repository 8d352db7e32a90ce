"""k = 0: the receiver's way to the Ultralisk through every teammate, and how long that teammate would last beside it."""

import torch as th

AGENTS = 5
SIGHT = 9.0  # cells; distances in x are shares of it
ENEMY = 4  # first column of the Ultralisk: attackable, distance, dx, dy, health, nothing
MATE, MATE_WIDTH = 10, 6  # visible, distance, dx, dy, health, shield
HEALTH, SHIELD = 34, 35
HEALTH_MAX, SHIELD_SCALE = 100.0, 80.0  # SMAC divides the shield, 50 at most, by 80
DAMAGE = 18.0  # of a swing
CLOSE = 4.0  # cells around the Ultralisk: who stands there fights or soon will


def message_design_instruction():
    return (
        "Five Zealots that surround the Ultralisk together win; those that come one by one lose. For every teammate, the "
        "next number first, in a circle, the receiver hears: whether it sees the Ultralisk, the receiver's own way to it as "
        "that follows from what both see, in cells divided by 18, with a flag for whether it does, the Ultralisk's health, "
        "whether the teammate can attack it now, how many Zealots the teammate sees near it, itself included, and how many "
        "swings the teammate would survive, divided by 10. All are 0 for the dead."
    )


def communication(o):
    # Letters of shapes: B episodes, N agents, R teammates.
    enemy = o[..., ENEMY : ENEMY + 5]
    sees = (enemy[..., 4:5] > 0.0).to(th.float32)
    way = enemy[..., 2:4] * SIGHT
    mate = o[..., MATE : MATE + (AGENTS - 1) * MATE_WIDTH].reshape(-1, AGENTS, AGENTS - 1, MATE_WIDTH)
    apart = (mate[..., 2:4] * SIGHT - way.unsqueeze(2)).abs().amax(dim=-1)
    near = ((apart < CLOSE).to(th.float32) * mate[..., 0]).sum(dim=-1, keepdim=True)
    near = (near + (way.abs().amax(dim=-1, keepdim=True) < CLOSE).to(th.float32)) * sees / AGENTS
    swings = (o[..., HEALTH : HEALTH + 1] * HEALTH_MAX + o[..., SHIELD : SHIELD + 1] * SHIELD_SCALE) / DAMAGE / 10.0
    tells = th.cat([sees, way, enemy[..., 4:5], enemy[..., 0:1], near, swings], dim=-1)
    heard = th.stack([th.roll(tells, shifts=-turn, dims=1) for turn in range(1, AGENTS)], dim=2)

    # Rows of x count the teammates from 0, without the receiver; here the next number comes first.
    slot = (th.arange(AGENTS).unsqueeze(1) + th.arange(AGENTS - 1)) % (AGENTS - 1)
    index = slot.unsqueeze(0).unsqueeze(-1).expand(mate.shape[0], -1, -1, MATE_WIDTH)
    mate = mate.gather(2, index)
    known = heard[..., 0:1] * mate[..., 0:1]
    mine = (heard[..., 1:3] + mate[..., 2:4] * SIGHT) * known / 18.0
    return th.cat([o, th.cat([heard[..., 0:1], known, mine, heard[..., 3:]], dim=-1).flatten(2)], dim=-1)
