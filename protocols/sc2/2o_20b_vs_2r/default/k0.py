"""k = 0: the receiver's own way to each Roach, as every teammate in sight makes it known, and who can attack."""

import torch as th

AGENTS = 22
ENEMIES = 2
SIGHT = 9.0  # cells; distances in x are shares of it
ENEMY, ENEMY_WIDTH = 4, 8  # attackable, distance, dx, dy, health, type (2), nothing
MATE, MATE_WIDTH = 20, 7  # visible, distance, dx, dy, health, type (2)
HEALTH = 167


def message_design_instruction():
    return (
        "A Baneling far from a Roach does not know where it is, but a teammate that it sees may. The way to the Roach is "
        "then the way to the teammate plus the teammate's way to the Roach. For every teammate, the next number first, in "
        "a circle, and every Roach the receiver hears: whether its own way follows from what the teammate sees, this way "
        "in cells east and north divided by 18, and whether the teammate can attack the Roach now. All are 0 for the dead."
    )


def communication(o):
    # Letters of shapes: B episodes, N agents, R teammates, M Roaches.
    enemy = o[..., ENEMY : ENEMY + ENEMIES * ENEMY_WIDTH].reshape(-1, AGENTS, ENEMIES, ENEMY_WIDTH)
    sees = (enemy[..., 4:5] > 0.0).to(th.float32)
    tells = th.cat([sees, enemy[..., 2:4] * SIGHT, enemy[..., 0:1]], dim=-1)  # (B, N, M, 4)
    heard = th.stack([th.roll(tells, shifts=-turn, dims=1) for turn in range(1, AGENTS)], dim=2)

    # Rows of x count the teammates from 0, without the receiver; here the next number comes first.
    mate = o[..., MATE : MATE + (AGENTS - 1) * MATE_WIDTH].reshape(-1, AGENTS, AGENTS - 1, MATE_WIDTH)
    slot = (th.arange(AGENTS).unsqueeze(1) + th.arange(AGENTS - 1)) % (AGENTS - 1)
    index = slot.unsqueeze(0).unsqueeze(-1).expand(mate.shape[0], -1, -1, MATE_WIDTH)
    mate = mate.gather(2, index).unsqueeze(3)  # (B, N, R, 1, 7)
    known = heard[..., 0:1] * mate[..., 0:1]
    way = (heard[..., 1:3] + mate[..., 2:4] * SIGHT) * known / 18.0
    said = th.cat([known, way, heard[..., 3:4]], dim=-1).flatten(2)
    return th.cat([o, said], dim=-1)
