"""Compiled automatic targeting: whom a unit attacks by itself, and how it answers damage and calls for help.

Only the enemies' side acts by itself; the agents' units are passive. The rules are the game's "automatic targeting":
what can fight back comes first, then the closest; a target in reach is kept. The two radii and the period of calls
are the game's own data (core mod: CallForHelpRadius 4, CallForHelpPeriod 2 s, AcquireLeashRadius 21 with reset 5).
"""

from __future__ import annotations

import numpy as np

from envs.battle.kernels_cache import kernel
from envs.battle.kernels_data import ATTACK_MOVE, ENEMY_SIDE, IDLE

HELP_RADIUS = 4.0  # edges; measured by others on game version 4.10: inclusive, helper to victim
HELP_PERIOD = 32.0  # loops between two calls of one victim
LEASH = 21.0  # how far from its post an idle unit chases
LEASH_RESET = 5.0  # how near the post it must come before it acquires again
SLACK = 1e-4  # cells; positions are rounded to single precision between steps


@kernel
def gap(body, i, j):
    """Distance between the edges of two units."""
    u, v = body[i], body[j]
    reach = u.radius + v.radius
    return np.hypot(v.x - u.x, v.y - u.y) - reach


@kernel
def weapon_for(body, weapons, i, j, edge):
    """Returns the place of the weapon unit i uses on unit j at a distance (edges), or -1.

    The second weapon is the short one: it is used as far as it reaches, the first one beyond, if j is not nearer than
    its minimum.
    """
    u, v = body[i], body[j]
    if u.n_weapons == 2:
        short = weapons[u.first_weapon + 1]
        if edge <= short.range + SLACK and (short.air if v.is_air else short.ground):
            return u.first_weapon + 1
    if u.n_weapons > 0:
        long = weapons[u.first_weapon]
        if edge >= long.min_range and (long.air if v.is_air else long.ground):
            return u.first_weapon
    return -1


@kernel
def can_hit(body, i, j):
    """Whether unit i has a weapon for unit j, wherever they stand."""
    u, v = body[i], body[j]
    return u.hits_air if v.is_air else u.hits_ground


@kernel
def is_threat(body, j):
    """Whether a unit counts as a threat: it can attack, or it heals those who can."""
    return body[j].n_weapons > 0 or body[j].heal > 0


@kernel
def acts_alone(unit):
    """Whether a unit chooses targets by itself now."""
    return unit.side == ENEMY_SIDE and not unit.is_passive and (unit.order == IDLE or unit.order == ATTACK_MOVE)


@kernel
def _closest_in_scan(body, i):
    """Returns the best target unit i finds by itself, threats before others, then the closest; -1: none."""
    u = body[i]
    scan = u.scan + SLACK
    best, best_edge, best_threat = -1, np.inf, False
    for j in range(body.size):
        v = body[j]
        if not v.alive or v.side == u.side:
            continue
        edge = gap(body, i, j)
        if edge > scan or not can_hit(body, i, j):
            continue
        threat = is_threat(body, j)
        if (threat and not best_threat) or (threat == best_threat and edge < best_edge):
            best, best_edge, best_threat = j, edge, threat
    return best


@kernel
def _is_leashed(u):
    """Whether an idle unit has chased too far and must go home first."""
    if u.order != IDLE or not u.is_away:
        u.is_leashed = False
    else:
        distance = np.hypot(u.x - u.home_x, u.y - u.home_y)
        u.is_leashed = distance > (LEASH_RESET if u.is_leashed else LEASH)
    return u.is_leashed


@kernel
def acquire(body, weapons, i):
    """Returns the target of a unit that acts by itself, -1 for none, and remembers it."""
    u = body[i]
    if _is_leashed(u):
        u.target = -1
        return -1
    kept = u.target
    if kept >= 0 and not body[kept].alive:
        kept = -1
    best = _closest_in_scan(body, i)
    if kept >= 0 and best >= 0 and best != kept:
        is_outranked = is_threat(body, best) and not is_threat(body, kept)
        edge = gap(body, i, kept)
        weapon = weapon_for(body, weapons, i, kept, edge)
        in_reach = weapon >= 0 and edge <= weapons[weapon].range + SLACK
        is_winding = u.wind >= 0 and u.wind_target == kept
        if is_outranked or not (in_reach or is_winding):
            kept = best
    elif kept < 0:
        kept = best
    u.target = kept
    return kept


@kernel
def _take_on(body, i, j):
    """Makes unit i go for the attacker j, unless it has a target that fights."""
    u = body[i]
    if not u.alive or not acts_alone(u) or u.is_leashed or not can_hit(body, i, j):
        return
    kept = u.target
    if kept < 0 or not body[kept].alive or (is_threat(body, j) and not is_threat(body, kept)):
        u.target = j


@kernel
def answer_damage(body, victim, attacker):
    """Lets the victim of damage, and idle units of its side near it, go for the attacker."""
    v = body[victim]
    if v.side != ENEMY_SIDE or not body[attacker].alive or body[attacker].side == v.side:
        return
    _take_on(body, victim, attacker)
    if v.help > 0:
        return
    v.help = HELP_PERIOD
    for h in range(body.size):
        is_friend = h != victim and body[h].side == v.side and body[h].alive
        if is_friend and gap(body, h, victim) <= HELP_RADIUS + SLACK:
            _take_on(body, h, attacker)
