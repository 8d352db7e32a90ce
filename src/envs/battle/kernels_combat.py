"""Compiled damage: hits, shields and armour, splash, bursts, missiles and second hits under way."""

from __future__ import annotations

import numpy as np

from envs.battle.kernels_cache import kernel
from envs.battle.kernels_data import BURST, CLEAVE, LINE
from envs.battle.kernels_random import uniform
from envs.battle.kernels_target import answer_damage

MIN_DAMAGE = 0.5  # armour never takes more
LINE_DELAY = 4.8  # loops; half of the 0.6 s in which both beams of a line cross the target
LINE_RADIUS = 0.15
JITTER_LOW, JITTER_WIDTH = -1.0, 3.0  # a shot's cooldown is its period plus U(-1, 2) loops


@kernel
def _die(body, j):
    v = body[j]
    v.health = v.shield = 0.0
    v.alive = False
    v.bursts = v.is_burster


@kernel
def _hit(body, i, j, weapon):
    """One hit of a weapon of unit i on unit j: the shield takes it first, armour counts for the rest."""
    v = body[j]
    if not v.alive:
        return
    damage = weapon.damage
    if v.attributes & weapon.bonus_to:
        damage += weapon.bonus
    taken = min(v.shield, damage)
    v.shield -= taken
    if damage > taken:
        v.health -= max(damage - taken - v.armor, MIN_DAMAGE)
    v.quiet = 0.0
    if v.health <= 0:
        _die(body, j)
    answer_damage(body, j, i)


@kernel
def _is_ground_enemy(body, i, k):
    v = body[k]
    return v.alive and v.side != body[i].side and not v.is_air


@kernel
def _burst(body, weapons, i):
    """Damages the ground enemies around unit i, which has just died. Edges count, as in SMAClite (assumed)."""
    u = body[i]
    weapon = weapons[u.first_weapon]
    for k in range(body.size):
        if not _is_ground_enemy(body, i, k):
            continue
        v = body[k]
        reach = weapon.splash_radius + v.radius
        if np.hypot(v.x - u.x, v.y - u.y) <= reach:
            _hit(body, i, k, weapon)


@kernel
def settle_bursts(body, weapons):
    """Lets everything that died and bursts do so, until nothing more dies of it."""
    is_settled = False
    while not is_settled:
        is_settled = True
        for i in range(body.size):
            if body[i].bursts:
                body[i].bursts = False
                is_settled = False
                _burst(body, weapons, i)


@kernel
def _cleave(body, i, j, weapon):
    """Hits the target and every ground enemy in the half circle in front of unit i."""
    u = body[i]
    front_x, front_y = body[j].x - u.x, body[j].y - u.y
    _hit(body, i, j, weapon)
    for k in range(body.size):
        if k == j or not _is_ground_enemy(body, i, k):
            continue
        v = body[k]
        dx, dy = v.x - u.x, v.y - u.y
        reach = weapon.splash_radius + v.radius
        if dx * front_x + dy * front_y >= 0 and np.hypot(dx, dy) <= reach:
            _hit(body, i, k, weapon)


@kernel
def _hit_line(body, i, shot, weapon):
    """Hits, once a beam, every ground enemy on a line across the shot, centred on the target."""
    if body[shot.target].alive:
        shot.x, shot.y = body[shot.target].x, body[shot.target].y
    half = weapon.splash_radius - LINE_RADIUS
    for k in range(body.size):
        if not _is_ground_enemy(body, i, k):
            continue
        v = body[k]
        dx, dy = v.x - shot.x, v.y - shot.y
        along = min(max(dx * shot.across_x + dy * shot.across_y, -half), half)
        off = np.hypot(dx - along * shot.across_x, dy - along * shot.across_y)
        if off <= LINE_RADIUS + v.radius:
            for _ in range(shot.hits):
                _hit(body, i, k, weapon)


@kernel
def _land(body, weapons, i, shot):
    """Lets a shot of unit i take effect."""
    shot.active = False
    weapon = weapons[shot.weapon]
    if weapon.splash == LINE:
        _hit_line(body, i, shot, weapon)
    elif weapon.missile > 0 or body[i].alive:  # missiles land without their shooter, second hits do not
        hits = shot.hits if weapon.missile > 0 else 1
        for _ in range(hits):
            _hit(body, i, shot.target, weapon)
        if weapon.missile == 0 and shot.hits > 1:
            shot.active = True
            shot.hits -= 1
            shot.left += weapon.hit_gap


@kernel
def _send(body, weapons, shots, i, j, w, hits, left):
    """Puts a hit under way; where a unit has no free place for one more, it lands at once."""
    u, v = body[i], body[j]
    place = 0
    while place < shots.shape[1] - 1 and shots[i, place].active:
        place += 1
    shot = shots[i, place]
    if shot.active:
        _land(body, weapons, i, shot)
    dx, dy = v.x - u.x, v.y - u.y
    length = max(np.hypot(dx, dy), 1e-9)
    shot.active = True
    shot.left = left
    shot.target = j
    shot.weapon = w
    shot.hits = hits
    shot.x, shot.y = v.x, v.y
    shot.across_x, shot.across_y = -dy / length, dx / length


@kernel
def land_shots(body, weapons, shots, queue_U):
    """Moves missiles and second hits on by one loop and lets those that arrive take effect, in the shooters' order."""
    for i in queue_U:
        for place in range(shots.shape[1]):
            shot = shots[i, place]
            if shot.active:
                shot.left -= 1
                if shot.left <= 0:
                    _land(body, weapons, i, shot)


@kernel
def fire(body, weapons, shots, rng_1, i, j, w):
    """Weapon ``weapons[w]`` of unit i takes effect on unit j; the cooldown begins.

    The game counts the cooldown from here and lets the next wind-up run inside it, so that shots are one period
    apart (traces of version 4.10, recorded by others: a Marine's hits 13 to 16 loops apart).
    """
    u = body[i]
    weapon = weapons[w]
    u.wind = -1.0
    u.hold = weapon.backswing
    u.cooldown = weapon.period + JITTER_LOW + JITTER_WIDTH * uniform(rng_1)
    if weapon.splash == BURST:
        _die(body, i)
    elif weapon.splash == CLEAVE:
        _cleave(body, i, j, weapon)
    elif weapon.splash == LINE:
        _send(body, weapons, shots, i, j, w, weapon.hits, LINE_DELAY + 1)
    elif weapon.missile > 0:
        flight = np.hypot(body[j].x - u.x, body[j].y - u.y) / weapon.missile
        _send(body, weapons, shots, i, j, w, weapon.hits, flight + 1)
    else:
        _hit(body, i, j, weapon)
        if weapon.hits > 1:
            _send(body, weapons, shots, i, j, w, weapon.hits - 1, weapon.hit_gap + 1)
    settle_bursts(body, weapons)
