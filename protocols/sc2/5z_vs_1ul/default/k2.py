"""k = 2: where each teammate is, from borders and its moves, and where it last saw the Ultralisk and how long ago."""

import torch as th

AGENTS = 5
SIGHT = 9.0
ENEMY = 4
HEALTH = 34
MOVES = 38  # columns of the last action: move north, south, east, west
IDS = 43
STRIDE = 1.125  # cells that a Zealot moves in a step
CONTACT = 1.6  # cells between the centres of a Zealot and the Ultralisk that touch
HISTORY = 16  # steps of o
LEVELS = 4  # 16 is the 4th power of 2
# The band that can be walked on, and the mean x at the start: agents are numbered from west to east.
WEST, EAST, SOUTH, NORTH = 0.0, 32.0, 7.0, 25.0
START = [10.5, 11.1, 16.0, 20.8, 21.5]
MIDDLE_Y = 16.0
BODY = 0.4  # cells that a Zealot's centre keeps from a border


def message_design_instruction():
    return (
        "Nobody observes where it is. But the field is a band from x 0 to 32 and y 7 to 25 without walls inside, so a closed "
        "way north, south or east tells a border within a cell and an open one excludes it. Over the last steps each agent keeps the "
        "interval of x and of y where it can be, moved by its own moves and its chase of the Ultralisk and stopped by the "
        "borders. Inside it the likeliest place starts at the mean of its number, as agents are numbered from west to "
        "east. Each teammate tells, the next number first: that place, half the widths of its intervals, where on the map "
        "it last saw the Ultralisk, how many steps ago, and its health then. All are 0 for the dead."
    )


def all_steps(moved, low, high):
    """A step moves a place and keeps it within bounds; two such steps are one step of the same kind, and so on."""
    for _ in range(LEVELS):
        move, bottom, top = moved[:, 1::2], low[:, 1::2], high[:, 1::2]
        low = th.minimum(th.maximum(low[:, 0::2] + move, bottom), top)
        high = th.minimum(th.maximum(high[:, 0::2] + move, bottom), top)
        moved = moved[:, 0::2] + move
    return moved[:, 0], low[:, 0], high[:, 0]


def communication(o):
    # Letters of shapes: B episodes, L steps, N agents.
    now = o[:, -1]
    exists = (o[..., HEALTH : HEALTH + 1] > -0.5).to(th.float32)  # steps before the episode hold -1
    alive = (now[..., HEALTH : HEALTH + 1] > 0.0).to(th.float32)
    free = o[..., 0:4].clamp(0.0, 1.0)
    enemy = o[..., ENEMY : ENEMY + 5].clamp(-1.0, 1.0)
    sees = (enemy[..., 4:5] > 0.0).to(th.float32)
    way = enemy[..., 2:4] * SIGHT * sees
    length = (enemy[..., 1:2] * SIGHT * sees).clamp(min=0.1)

    # What every action did: a move, or a step of the chase.
    act = o[:, 1:, :, MOVES : MOVES + 5].clamp(0.0, 1.0)
    walked = act[..., 0:4] * free[:, :-1] * STRIDE
    chased = (length[:, :-1] - CONTACT).clamp(0.0, STRIDE) * way[:, :-1] / length[:, :-1] * act[..., 4:5]
    moved = th.stack([walked[..., 2] - walked[..., 3], walked[..., 0] - walked[..., 1]], dim=-1) + chased

    # The interval of every step by its own ways. In the west a way is open even at the border, so it tells nothing.
    open_n, open_s, open_e = free[..., 0:1], free[..., 1:2], free[..., 2:3]
    low_x, high_x = (1.0 - open_e) * (EAST - 1.0), EAST - open_e
    low_y = open_n * (SOUTH + open_s) + (1.0 - open_n) * (NORTH - 1.0)
    high_y = open_s * (NORTH - open_n) + (1.0 - open_s) * (SOUTH + 1.0)
    bottom, top = th.tensor([WEST + BODY, SOUTH + BODY]), th.tensor([EAST - BODY, NORTH - BODY])
    low_t = th.where(exists > 0.5, th.maximum(th.cat([low_x, low_y], dim=-1), bottom), bottom)
    high_t = th.where(exists > 0.5, th.minimum(th.cat([high_x, high_y], dim=-1), top), top)
    low_t, high_t = th.minimum(low_t, high_t), th.maximum(low_t, high_t)

    # All steps, one after the other.
    number = (now[..., IDS : IDS + AGENTS] * th.tensor(START)).sum(dim=-1, keepdim=True)
    place = th.cat([number, th.full_like(number, MIDDLE_Y)], dim=-1)
    shift, low, high = all_steps(th.cat([th.zeros_like(moved[:, :1]), moved], dim=1), low_t, high_t)
    place = th.minimum(th.maximum(place + shift, low), high)

    # The Ultralisk, as last seen.
    total = moved.cumsum(dim=1)
    since = total[:, -1:] - th.cat([th.zeros_like(total[:, :1]), total], dim=1)  # (B, L, N, 2), until now
    newest = sees * (sees.flip(1).cumsum(dim=1).flip(1) < 1.5).to(th.float32)
    known = newest.amax(dim=1)
    away = ((way - since) * newest).sum(dim=1)
    line = th.arange(HISTORY, dtype=th.float32).flip(0).reshape(1, -1, 1, 1)
    age = (newest * line).sum(dim=1) / HISTORY + (1.0 - known)
    health = (enemy[..., 4:5] * newest).sum(dim=1)
    half = ((high - low) / 2.0).clamp(0.0, 16.0)
    there = (place + away - 16.0) / 32.0 * known

    said = th.cat([(place - 16.0) / 32.0, half / 16.0, there, known, age, health], dim=-1) * alive
    mates = [th.roll(said, shifts=-turn, dims=1) for turn in range(1, AGENTS)]
    return th.cat([now, said] + mates, dim=-1)
