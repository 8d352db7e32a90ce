"""k = 0: which enemies the team sees, how strong they still are, and how many teammates can attack each."""

import torch as th

AGENTS = 5
ENEMIES = 5
FIRST = 4  # first column of the enemies
WIDTH = 8  # numbers of each: attackable, distance, x, y, health, shield, type (2)


def message_design_instruction():
    return (
        "Battles are won by attacking the same enemy, and a unit sees nine cells far only. Every unit broadcasts what "
        "it sees of each enemy. A receiver hears for each enemy: whether anybody sees it, its health and shield as "
        "last seen by those who do, the share of the team that can attack it now, and whether it is the enemy that "
        "most units can attack, of several the weakest."
    )


def communication(o):
    enemy = o[..., FIRST : FIRST + ENEMIES * WIDTH].reshape(-1, AGENTS, ENEMIES, WIDTH)
    seen = (enemy[..., 4] > 0.0).to(th.float32).amax(dim=1)  # only the living are seen
    health, shield = enemy[..., 4].amax(dim=1), enemy[..., 5].amax(dim=1)
    attackers = enemy[..., 0].sum(dim=1)
    worth = attackers * 4.0 - health - shield  # one attacker more counts for more than the largest health and shield
    in_reach = (attackers.amax(dim=-1, keepdim=True) > 0.5).to(th.float32)
    target = th.nn.functional.one_hot(worth.argmax(dim=-1), ENEMIES).to(th.float32) * in_reach
    said = th.cat([seen, health, shield, attackers / AGENTS, target], dim=-1)
    return th.cat([o, said.unsqueeze(1).expand(-1, AGENTS, 5 * ENEMIES)], dim=-1)
