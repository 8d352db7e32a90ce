"""k = 0: what each teammate sees of every enemy, the receiver's own way to it, and one target for all."""

import torch as th

AGENTS, ENEMIES = 3, 3
SIGHT = 9.0  # cells; distances in x are shares of it
ENEMY, ENEMY_WIDTH = 4, 5  # first column; attackable, distance, dx, dy, health
MATE, MATE_WIDTH = 19, 5  # first column; visible, distance, dx, dy, health
HEALTH = 29


def message_design_instruction():
    return (
        "Three Marines win if they fire at the same enemy and none stands apart. For every teammate, the next number "
        "first, in a circle, and every enemy the receiver hears: whether the teammate sees it, whether the receiver sees "
        "the teammate and so can tell the way, its own way to the enemy as that follows from both, in cells divided by "
        "18, the enemy's health and whether the teammate can attack it now. Then the health of each teammate, 0 for the "
        "dead, and which enemy most of the three can attack, of several the weakest; nothing if nobody can attack."
    )


def communication(o):
    # Letters of shapes: B episodes, N agents, R teammates, E enemies.
    enemy = o[..., ENEMY : ENEMY + ENEMIES * ENEMY_WIDTH].reshape(-1, AGENTS, ENEMIES, ENEMY_WIDTH)
    sees = (enemy[..., 4:5] > 0.0).to(th.float32)
    tells = th.cat([sees, enemy[..., 2:4] * SIGHT, enemy[..., 4:5], enemy[..., 0:1]], dim=-1)
    heard = th.stack([th.roll(tells, shifts=-turn, dims=1) for turn in range(1, AGENTS)], dim=2)
    own = o[..., HEALTH : HEALTH + 1]
    healths = th.cat([th.roll(own, shifts=-turn, dims=1) for turn in range(1, AGENTS)], dim=-1)

    # Rows of x count the teammates from 0, without the receiver; here the next number comes first.
    mate = o[..., MATE : MATE + (AGENTS - 1) * MATE_WIDTH].reshape(-1, AGENTS, AGENTS - 1, MATE_WIDTH)
    slot = (th.arange(AGENTS).unsqueeze(1) + th.arange(AGENTS - 1)) % (AGENTS - 1)
    index = slot.unsqueeze(0).unsqueeze(-1).expand(mate.shape[0], -1, -1, MATE_WIDTH)
    mate = mate.gather(2, index).unsqueeze(3)
    known = heard[..., 0:1] * mate[..., 0:1]
    way = (heard[..., 1:3] + mate[..., 2:4] * SIGHT) * known / 18.0
    by_mate = th.cat([heard[..., 0:1], known, way, heard[..., 3:5]], dim=-1).flatten(2)

    attackers = enemy[..., 0].sum(dim=1)
    health = enemy[..., 4].amax(dim=1)
    target = th.nn.functional.one_hot((attackers * 2.0 - health).argmax(dim=-1), ENEMIES).to(th.float32)
    target = target * (attackers.amax(dim=-1, keepdim=True) > 0.5).to(th.float32)
    return th.cat([o, by_mate, healths, target.unsqueeze(1).expand(-1, AGENTS, ENEMIES)], dim=-1)
