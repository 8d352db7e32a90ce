"""Who leads the enemies: the map's own script, or one of a few simple opponents that order every enemy each step.

* ``script``: the map's order (attack-move once, nothing, or attack the closest whenever idle) and the game's
  automatic behaviour; what SMAC's published results were played against.
* ``attack_nearest``: every unit attacks the nearest unit it can hit, again every step.
* ``focus_fire``: all units that can attack the one ally with the least health and shield left among those that one of
  them could see (9 cells); where nobody is near, as attack_nearest.
* ``kite``: units that outrange the nearest attacker shoot and step back while the weapon cools down.
* ``mixed``: one of these three, drawn anew for every battle.
* ``outside``: enemy orders are passed to ``Simulator.step``; a unit without any acts as an idle one.
* ``commanded``: the same, and a unit does nothing that it is not told, as the agents' units: for networks that learnt
  to lead such units.

Healers heal the most hurt unit of their side and else stay near their nearest fighter, with all but the script.
"""

from __future__ import annotations

import numpy as np

from envs.battle.kernels_act import can_heal, order_attack, order_heal, order_move
from envs.battle.kernels_cache import kernel
from envs.battle.kernels_data import ENEMY_SIDE, IDLE
from envs.battle.kernels_target import can_hit, gap
from epymarl_lmac.errors import TaskError
from epymarl_lmac.tasks.sc2_map import BattleMap
from epymarl_lmac.tasks.sc2_settings import OPPONENTS, SCRIPT

QUIET, CLOSEST, ATTACK_NEAREST, FOCUS_FIRE, KITE = range(5)
PLAYED = {"attack_nearest": ATTACK_NEAREST, "focus_fire": FOCUS_FIRE, "kite": KITE}
COMMANDED = "commanded"
LEADERS = (*OPPONENTS, "outside", COMMANDED)
FIRST_MIXED = ATTACK_NEAREST  # "mixed" draws among this code and the next two
SIGHT = 9.0
BACK = 2.0  # cells that a kiting unit is ordered away
FOLLOW = 2.0  # cells (edges) that a healer without a patient keeps to its nearest fighter
SAFETY = 1.0  # cells that a kiting unit wants between itself and the attacker's reach


def leader_code(opponent: str, battle_map: BattleMap) -> int:
    """Returns the code of who leads the enemies; -1 where it is drawn for each battle.

    Raises:
        TaskError: no such opponent.
    """
    if opponent not in LEADERS:
        raise TaskError(f"sc2: opponent={opponent!r} is not known; choose one of {', '.join(LEADERS)}.")
    if opponent == "mixed":
        return -1
    if opponent == SCRIPT:
        return CLOSEST if battle_map.opponent.kind == "attack_closest" else QUIET
    return PLAYED.get(opponent, QUIET)


@kernel
def _nearest(body, i):
    """Returns the nearest living opponent of unit i (centres), -1 for none."""
    u = body[i]
    best, shortest = -1, np.inf
    for j in range(body.size):
        v = body[j]
        distance = np.hypot(v.x - u.x, v.y - u.y)
        if v.alive and v.side != u.side and distance < shortest:
            best, shortest = j, distance
    return best


@kernel
def _nearest_target(body, i):
    """Returns the nearest living opponent that unit i has a weapon for, -1 for none."""
    u = body[i]
    best, shortest = -1, np.inf
    for j in range(body.size):
        v = body[j]
        distance = np.hypot(v.x - u.x, v.y - u.y)
        if v.alive and v.side != u.side and distance < shortest and can_hit(body, i, j):
            best, shortest = j, distance
    return best


@kernel
def _attack_nearest(body, i):
    target = _nearest_target(body, i)
    if target >= 0:
        order_attack(body, i, target)


@kernel
def _attack_closest_when_idle(body, i):
    """SMACv2's trigger: a unit without orders is told to attack the closest opponent, even one it cannot hit."""
    u = body[i]
    if u.order == IDLE and u.target < 0:
        target = _nearest(body, i)
        if target >= 0:
            order_attack(body, i, target)


@kernel
def _weakest_seen(body):
    """Returns the ally with the least health and shield among those near an enemy, -1 for none."""
    best, least = -1, np.inf
    for j in range(body.size):
        v = body[j]
        if not v.alive or v.side == ENEMY_SIDE or v.health + v.shield >= least:
            continue
        for i in range(body.size):
            u = body[i]
            if u.alive and u.side == ENEMY_SIDE and np.hypot(v.x - u.x, v.y - u.y) < SIGHT:
                best, least = j, v.health + v.shield
                break
    return best


@kernel
def _kite(body, i):
    """Steps away from the nearest attacker while the weapon cools down, if unit i outranges it; else attacks."""
    u = body[i]
    threat = _nearest(body, i)
    if threat >= 0 and u.cooldown > 0:
        v = body[threat]
        own, other = u.reach, v.reach
        if own > other > 0 and gap(body, i, threat) < min(own, other + SAFETY + BACK):
            dx, dy = u.x - v.x, u.y - v.y
            length = max(np.hypot(dx, dy), 1e-6)
            order_move(u, u.x + dx / length * BACK, u.y + dy / length * BACK)
            return
    _attack_nearest(body, i)


@kernel
def _nurse(body, i):
    """Heals the most hurt unit of the side, or stays near its nearest fighter."""
    patient, lowest, fighter, shortest = -1, np.inf, -1, np.inf
    for j in range(body.size):
        v = body[j]
        if can_heal(body, i, j) and v.health / v.health_max < lowest:
            patient, lowest = j, v.health / v.health_max
        if v.alive and v.side == body[i].side and v.n_weapons > 0:
            edge = gap(body, i, j)
            if edge < shortest:
                fighter, shortest = j, edge
    if patient >= 0:
        order_heal(body, i, patient)
    elif fighter >= 0 and shortest > FOLLOW:
        order_move(body[i], body[fighter].x, body[fighter].y)


@kernel
def lead_enemies(body, leader):
    """Gives the enemies of one battle their orders for this step."""
    if leader == QUIET:
        return
    target = _weakest_seen(body) if leader == FOCUS_FIRE else -1
    for i in range(body.size):
        u = body[i]
        if not u.alive or u.side != ENEMY_SIDE:
            continue
        if leader == CLOSEST:
            _attack_closest_when_idle(body, i)
        elif u.heal > 0:
            _nurse(body, i)
        elif leader == KITE:
            _kite(body, i)
        elif target >= 0 and can_hit(body, i, target):
            order_attack(body, i, target)
        else:
            _attack_nearest(body, i)
