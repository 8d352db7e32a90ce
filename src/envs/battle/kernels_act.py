"""Compiled behaviour of one unit in one loop: taking orders, attacking, healing, standing, deciding where to walk.

``decide`` sets where the unit wants to walk (``goal_x``, ``goal_y`` and ``mode``); ``kernels_move.py`` moves it.
"""

from __future__ import annotations

import numpy as np

from envs.battle.kernels_cache import kernel
from envs.battle.kernels_combat import fire
from envs.battle.kernels_data import ANCHORED, ATTACK, ATTACK_MOVE, BIOLOGICAL, BURST, HEAL, IDLE, MOVE, MOVING, STILL
from envs.battle.kernels_target import SLACK, acquire, acts_alone, can_hit, gap, weapon_for

KEEP_ORDER, STOP_ORDER, MOVE_ORDER, ATTACK_ORDER, HEAL_ORDER = range(5)
ARRIVED = 0.05  # cells
CROWDED = 1.5  # cells; a unit that cannot get nearer than this to its point takes it as reached ...
STUCK_LOOPS = 8  # ... after so many loops
MIN_AUTO_ENERGY = 5.0  # a heal starts by itself only with this much energy


@kernel
def _forget_action(u):
    """Ends wind-up and backswing, as an order from outside does."""
    u.wind = -1.0
    u.hold = 0.0
    u.target = -1
    u.stuck = 0


@kernel
def become_idle(u):
    """Makes the unit stand where it is."""
    u.order = IDLE
    u.order_target = -1
    u.target = -1
    u.home_x, u.home_y = u.x, u.y
    u.is_away = u.is_leashed = False
    u.stuck = 0


@kernel
def can_heal(body, i, j):
    """Whether unit j is one that unit i can heal and that needs it."""
    u, v = body[i], body[j]
    is_patient = v.attributes & BIOLOGICAL
    hurt = v.health < v.health_max
    return u.heal > 0 and i != j and v.alive and v.side == u.side and is_patient and hurt


@kernel
def order_stop(u):
    """Makes the unit stop."""
    _forget_action(u)
    become_idle(u)


@kernel
def order_move(u, x, y):
    """Sends the unit to a point; wind-up and backswing end."""
    _forget_action(u)
    u.order = MOVE
    u.order_target = -1
    u.point_x, u.point_y = x, y


@kernel
def order_attack(body, i, target):
    """Lets unit i attack another; the same order again changes nothing, nor does one that the game refuses."""
    u = body[i]
    if not body[target].alive or body[target].side == u.side or not can_hit(body, i, target):
        return
    if u.order == ATTACK and u.order_target == target:
        return
    if u.wind_target != target:
        _forget_action(u)
    u.order = ATTACK
    u.order_target = target


@kernel
def order_heal(body, i, target):
    """Lets unit i heal another, unless the game refuses: no healer, wrong kind of unit, nothing to heal."""
    if can_heal(body, i, target):
        body[i].order = HEAL
        body[i].order_target = target


@kernel
def take_order(body, i, kind, target, x, y):
    """Gives unit i an order from outside; an impossible one changes nothing."""
    u = body[i]
    if not u.alive:
        return
    is_target = 0 <= target < body.size
    if kind == STOP_ORDER:
        order_stop(u)
    elif kind == MOVE_ORDER:
        order_move(u, x, y)
    elif kind == ATTACK_ORDER and is_target:
        order_attack(body, i, target)
    elif kind == HEAL_ORDER and is_target:
        order_heal(body, i, target)


@kernel
def turn_to(u, x, y):
    """Turns a unit towards a direction by at most its turn rate a loop. Returns whether it faces there now."""
    length = np.hypot(x, y)
    if length < 1e-9:
        return True
    x, y = x / length, y / length
    ahead = u.facing_x * x + u.facing_y * y
    if ahead >= u.turn_cos:
        u.facing_x, u.facing_y = x, y
        return True
    sine = u.turn_sin if u.facing_x * y - u.facing_y * x >= 0 else -u.turn_sin
    fx = u.facing_x * u.turn_cos - u.facing_y * sine
    fy = u.facing_x * sine + u.facing_y * u.turn_cos
    u.facing_x, u.facing_y = fx, fy
    return False


@kernel
def _walk(u, x, y):
    u.mode = MOVING
    u.goal_x, u.goal_y = x, y


@kernel
def _attack(body, weapons, shots, rng_1, i, j):
    """Attacks unit j: winds up where it is in reach, walks up to it where it is not."""
    u, v = body[i], body[j]
    edge = gap(body, i, j)
    winding = weapons[u.wind_weapon]
    if u.wind >= 0 and u.wind_target == j and edge <= winding.range + winding.slop + SLACK:
        u.mode = ANCHORED
        turn_to(u, v.x - u.x, v.y - u.y)
        u.wind = max(u.wind - 1, 0.0)
        if u.wind == 0 and u.cooldown <= 0:
            fire(body, weapons, shots, rng_1, i, j, u.wind_weapon)
        return
    u.wind = -1.0
    w = weapon_for(body, weapons, i, j, edge)
    if w >= 0 and edge <= weapons[w].range + SLACK:
        u.mode = ANCHORED
        u.stuck = 0
        is_facing = turn_to(u, v.x - u.x, v.y - u.y) or weapons[w].splash == BURST
        if not is_facing:
            return
        if weapons[w].wind == 0:
            if u.cooldown <= 0:
                fire(body, weapons, shots, rng_1, i, j, w)
        elif u.cooldown <= weapons[w].wind + 1:  # the wind-up begins inside the cooldown
            u.wind = weapons[w].wind
            u.wind_target = j
            u.wind_weapon = w
    elif u.hold > 0:
        u.mode = ANCHORED
    else:
        if u.order == IDLE:
            u.is_away = True
        _walk(u, v.x, v.y)


@kernel
def _heal(body, i, j):
    """Follows unit j and heals it in reach. Only one healer works on a unit at a time, as in the game."""
    u, v = body[i], body[j]
    if gap(body, i, j) > u.heal_range + SLACK:
        _walk(u, v.x, v.y)
        return
    turn_to(u, v.x - u.x, v.y - u.y)
    if v.is_healed or u.heal_cost <= 0:
        return
    amount = min(u.heal, v.health_max - v.health, u.energy / u.heal_cost)
    if amount > 0:
        v.is_healed = True
        v.health = min(v.health + amount, v.health_max)
        u.energy = max(u.energy - amount * u.heal_cost, 0.0)


@kernel
def _find_patient(body, i):
    """Returns whom an idle healer heals by itself: the last one, else the lowest life fraction in scan; -1: none."""
    u = body[i]
    is_treating = u.target >= 0 and can_heal(body, i, u.target) and u.energy > 0
    if is_treating and gap(body, i, u.target) <= u.heal_scan + SLACK:
        return u.target
    best, lowest = -1, np.inf
    if u.energy >= MIN_AUTO_ENERGY:
        for j in range(body.size):
            if can_heal(body, i, j) and not body[j].is_healed:
                share = body[j].health / body[j].health_max
                if share < lowest and gap(body, i, j) <= u.heal_scan + SLACK:
                    best, lowest = j, share
    return best


@kernel
def _go(u):
    """Walks to the ordered point and becomes idle there, or as near as a crowd lets it come."""
    left = np.hypot(u.point_x - u.x, u.point_y - u.y)
    if left <= ARRIVED or (u.stuck >= STUCK_LOOPS and left <= CROWDED):
        become_idle(u)
    elif u.hold > 0:
        u.mode = ANCHORED
    else:
        _walk(u, u.point_x, u.point_y)


@kernel
def _rest(u):
    """Stands idle; a unit that chased something goes back to where it stood."""
    if not u.is_away:
        return
    left = np.hypot(u.home_x - u.x, u.home_y - u.y)
    if left <= ARRIVED or (u.stuck >= STUCK_LOOPS and left <= CROWDED):
        become_idle(u)
    elif u.hold > 0:
        u.mode = ANCHORED
    else:
        _walk(u, u.home_x, u.home_y)


@kernel
def decide(body, weapons, shots, rng_1, i):
    """Lets unit i act in this loop."""
    u = body[i]
    u.mode = STILL
    is_served = u.order == ATTACK and not body[u.order_target].alive
    is_served |= u.order == HEAL and not can_heal(body, i, u.order_target)
    if is_served:
        become_idle(u)
    if u.order == ATTACK:
        _attack(body, weapons, shots, rng_1, i, u.order_target)
        return
    if u.order == HEAL:
        _heal(body, i, u.order_target)
        return
    if acts_alone(u):
        target = -1
        if u.n_weapons > 0:
            target = acquire(body, weapons, i)
            if target >= 0:
                _attack(body, weapons, shots, rng_1, i, target)
                return
        elif u.heal > 0:
            target = _find_patient(body, i)
            u.target = target
            if target >= 0:
                if u.order == IDLE:
                    u.is_away = True
                _heal(body, i, target)
                return
    u.wind = -1.0
    if u.order == MOVE or u.order == ATTACK_MOVE:
        _go(u)
    else:
        _rest(u)
