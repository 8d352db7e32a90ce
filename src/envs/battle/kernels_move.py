"""Compiled movement of a battle in one loop: steering around others, pushing idle units aside, walls.

Bodies are circles of the separation radius within one layer (ground, air, units that step over others). A unit that
walks tries its direction first and then directions ever farther to one side, then to the other, and keeps to the side
it once chose, so that it goes around a crowd. What overlaps afterwards is pushed apart: idle friends give way, enemies
and units that attack do not. The game's own steering is not public; this is the model of smac_dynamics.
"""

from __future__ import annotations

import numpy as np

from envs.battle.kernels_act import turn_to
from envs.battle.kernels_cache import kernel
from envs.battle.kernels_data import ANCHORED, MOVING, STILL
from envs.battle.kernels_path import keep_off_walls, walk_to
from envs.battle.terrain import SIZE

SIDE_ANGLES = np.deg2rad(np.array([30.0, 60.0, 90.0, 120.0, 150.0]))
SIDE_COS, SIDE_SIN = np.cos(SIDE_ANGLES), np.sin(SIDE_ANGLES)
TOUCH = 0.98  # share of the separation at which bodies block: contact itself does not
FRIEND_TOUCH = 0.8  # the same for units of one side that both walk; the push takes care of the rest
TURN_MEMORY = 16  # loops of a free way after which a unit forgets the side it chose
HARDLY = 0.3  # share of a step; less counts as stuck
MAX_PUSH = 0.1  # cells a pair is pushed apart in one loop


@kernel
def _is_blocked(body, near, n_near, i, x, y):
    """Whether unit i would run into another if it stood at (x, y)."""
    u = body[i]
    own = u.separation
    for k in range(n_near):
        v = body[near[k]]
        share = TOUCH
        if v.side == u.side and v.mode != ANCHORED:
            if v.mode == STILL:
                continue  # gives way
            share = FRIEND_TOUCH
        reach = (own + v.separation) * share
        now = (v.x - u.x) ** 2 + (v.y - u.y) ** 2
        then = (v.x - x) ** 2 + (v.y - y) ** 2
        if then < reach * reach and then < now:
            return True
    return False


@kernel
def _find_near(body, i, step, near):
    """Lists the units that unit i could touch in this loop. Returns how many there are."""
    u = body[i]
    n = 0
    for j in range(body.size):
        v = body[j]
        if j == i or not v.alive or v.plane != u.plane:
            continue
        reach = u.separation + v.separation + step
        if abs(v.x - u.x) < reach and abs(v.y - u.y) < reach:
            near[n] = j
            n += 1
    return n


@kernel
def _open_side(body, near, n_near, i, dx, dy):
    """Which side of its way has fewer bodies for unit i: 1 left, -1 right."""
    u = body[i]
    left = 0.0
    for k in range(n_near):
        v = body[near[k]]
        left += dx * (v.y - u.y) - dy * (v.x - u.x)
    return -1 if left > 0 else 1


@kernel
def _steer(body, near, n_near, i, dx, dy):
    """Moves unit i by (dx, dy), or the same distance to the side of what is in the way. Returns whether it moved."""
    u = body[i]
    if n_near == 0 or not _is_blocked(body, near, n_near, i, u.x + dx, u.y + dy):
        u.x += dx
        u.y += dy
        u.turn -= np.sign(u.turn)
        return True
    first = np.sign(u.turn) if u.turn != 0 else _open_side(body, near, n_near, i, dx, dy)
    for turn in range(2):
        side = first if turn == 0 else -first
        for k in range(SIDE_COS.size):
            sine = SIDE_SIN[k] * side
            x = u.x + dx * SIDE_COS[k] - dy * sine
            y = u.y + dx * sine + dy * SIDE_COS[k]
            if not _is_blocked(body, near, n_near, i, x, y):
                u.turn = side * TURN_MEMORY
                u.x, u.y = x, y
                return True
    u.turn = -first * TURN_MEMORY  # shut in: look on the other side next
    return False


@kernel
def _stay_inside(unit, terrain):
    """Moves a unit off walls, or, in the air, back onto the map."""
    if unit.is_air:
        unit.x = min(max(unit.x, 0.0), SIZE - 1e-6)
        unit.y = min(max(unit.y, 0.0), SIZE - 1e-6)
    else:
        unit.x, unit.y = keep_off_walls(terrain, unit.x, unit.y, unit.inner)


@kernel
def _walk_on_ground(body, terrain, near, i):
    """Moves a walking unit by one loop."""
    u = body[i]
    to_x, to_y = walk_to(terrain, u.x, u.y, u.goal_x, u.goal_y)
    dx, dy = to_x - u.x, to_y - u.y
    distance = np.hypot(dx, dy)
    if distance < 1e-9:
        u.stuck += 1
        return
    is_facing = turn_to(u, dx, dy)
    if u.turns_first and not is_facing:
        return
    step = min(u.speed, distance)
    old_x, old_y = u.x, u.y
    n_near = _find_near(body, i, step, near)
    _steer(body, near, n_near, i, dx / distance * step, dy / distance * step)
    _stay_inside(u, terrain)
    if np.hypot(u.x - old_x, u.y - old_y) < HARDLY * step or step < HARDLY * u.speed:
        u.stuck += 1
    else:
        u.stuck = 0


@kernel
def _fly(body, terrain, i):
    """Moves a unit in the air by one loop; it speeds up and brakes with its acceleration."""
    u = body[i]
    want_x = want_y = 0.0
    if u.mode == MOVING:
        dx, dy = u.goal_x - u.x, u.goal_y - u.y
        distance = np.hypot(dx, dy)
        if distance > 1e-9:
            turn_to(u, dx, dy)
            speed = min(u.speed, distance)
            if u.acceleration > 0:
                speed = min(speed, np.sqrt(2 * u.acceleration * distance))
            want_x, want_y = dx / distance * speed, dy / distance * speed
    change_x, change_y = want_x - u.speed_x, want_y - u.speed_y
    change = np.hypot(change_x, change_y)
    if u.acceleration > 0 and change > u.acceleration:
        change_x *= u.acceleration / change
        change_y *= u.acceleration / change
    u.speed_x += change_x
    u.speed_y += change_y
    u.x += u.speed_x
    u.y += u.speed_y
    _stay_inside(u, terrain)


@kernel
def _share_of_push(u, v):
    """How much of the overlap of two units u yields; v yields the rest."""
    is_friend = u.side == v.side
    yields_u = 0.0 if u.mode == ANCHORED or (u.mode == STILL and not is_friend) else 1.0
    yields_v = 0.0 if v.mode == ANCHORED or (v.mode == STILL and not is_friend) else 1.0
    if is_friend and u.mode == MOVING and v.mode == STILL:
        yields_u = 0.25
    if is_friend and v.mode == MOVING and u.mode == STILL:
        yields_v = 0.25
    if yields_u + yields_v == 0:
        return 0.5
    return yields_u / (yields_u + yields_v)


@kernel
def _push_apart(body, terrain, i, j, reach):
    """Takes the overlap of two bodies away, a little at a time."""
    u, v = body[i], body[j]
    dx, dy = v.x - u.x, v.y - u.y
    distance = np.hypot(dx, dy)
    if distance < 1e-6:  # the same place: any direction, but always the same one
        angle = 2.4 * (i + j)
        dx, dy, distance = np.cos(angle) * 1e-6, np.sin(angle) * 1e-6, 1e-6
    push = min(reach - distance, MAX_PUSH)
    share = _share_of_push(u, v)
    u.x -= dx / distance * push * share
    u.y -= dy / distance * push * share
    v.x += dx / distance * push * (1 - share)
    v.y += dy / distance * push * (1 - share)
    _stay_inside(u, terrain)
    _stay_inside(v, terrain)


@kernel
def separate(body, terrain):
    """Pushes overlapping bodies apart, every pair once."""
    for i in range(body.size):
        u = body[i]
        if not u.alive:
            continue
        for j in range(i + 1, body.size):
            v = body[j]
            if not v.alive or v.plane != u.plane:
                continue
            reach = u.separation + v.separation
            dx, dy = v.x - u.x, v.y - u.y
            if dx * dx + dy * dy < reach * reach - 1e-9:
                _push_apart(body, terrain, i, j, reach)


@kernel
def move_units(body, terrain, near, queue_U):
    """Moves all units of a battle by one loop, in the order ``queue_U``."""
    for i in queue_U:
        u = body[i]
        if not u.alive:
            continue
        if u.is_air:
            _fly(body, terrain, i)
        elif u.mode == MOVING:
            _walk_on_ground(body, terrain, near, i)
        else:
            u.turn = 0
    separate(body, terrain)
