"""k = 2: where each teammate is, followed through the whole episode, and how far it still has to go to the Hydralisk."""

import torch as th

AGENTS = 3
SIGHT = 2.0  # cells; distances in x are shares of it
HYDRALISK, MEDIVAC = 4, 10  # first columns: attackable, distance, dx, dy, type (2)
HEALTH = 28
MOVES = 33  # columns of the last action: move north, south, east, west
IDS = 39
HISTORY = 32  # steps of o, more than an episode has
LEVELS = 5  # 32 is the 5th power of 2
STRIDE = 1.25  # cells that a Baneling moves in a step
BODY = 0.4  # cells that its centre keeps from a wall
HEAD_X, HEAD_Y = 16.0, 31.0  # where both enemies wait
STEM = 27.0  # the stem ends at this y
# Where agents 0, 1 and 2 can start: lowest x and y, highest x and y.
LOW = [[0.0, 30.0], [15.0, 0.5], [18.0, 30.0]]
HIGH = [[14.0, 32.0], [17.0, 30.5], [32.0, 32.0]]


def message_design_instruction():
    return (
        "A Baneling knows in which arm of the T it starts, what it has done since, and at each step which ways are closed. "
        "So it keeps the interval of x and of y where it can be: closed ways say where it touches a wall, and in the stem "
        "that it is still there; walls stop its moves. Once it has seen an enemy, which wait at "
        "(16, 31), it knows its place and follows it from there. Each teammate, the next number first, tells the middle and "
        "half width of its intervals, the length of its way to the head of the T, the steps since it last saw the "
        "Hydralisk, its health, whether it can attack it, and how much longer its way is than the receiver's own, which "
        "decides whether they burst before the Medivac has healed the damage. All are 0 for the dead. An agent also hears "
        "the first six of itself."
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
    exists = o[..., HEALTH : HEALTH + 1] > -0.5  # steps before the episode hold -1
    alive = (now[..., HEALTH : HEALTH + 1] > 0.0).to(th.float32)
    free = o[..., 0:4].clamp(0.0, 1.0)
    act = o[:, 1:, :, MOVES : MOVES + 4].clamp(0.0, 1.0) * free[:, :-1] * STRIDE  # -1 before the episode: none
    moved = th.stack([act[..., 2] - act[..., 3], act[..., 0] - act[..., 1]], dim=-1)
    seen_h = (o[..., HYDRALISK + 4 : HYDRALISK + 6].sum(dim=-1, keepdim=True) > 0.5).to(th.float32)
    seen_m = (o[..., MEDIVAC + 4 : MEDIVAC + 6].sum(dim=-1, keepdim=True) > 0.5).to(th.float32)
    to_h, to_m = o[..., HYDRALISK + 2 : HYDRALISK + 4], o[..., MEDIVAC + 2 : MEDIVAC + 4]
    seen = th.maximum(seen_h, seen_m) > 0.5
    at = th.tensor([HEAD_X, HEAD_Y]) - th.where(seen_h > 0.5, to_h, to_m) * SIGHT

    # What a step's ways say: low and high bounds of x and y.
    # y: the north is closed at the northern wall, the south of an arm in row 29. The agent that starts in the stem has
    # one closed side as long as it is there. x: closed at the eastern end; in the west and south a way is open even there.
    ids = o[:, -1:, :, IDS : IDS + AGENTS]
    stem = ids[..., 1:2]
    here = ((seen.to(th.float32).cumsum(dim=1)) < 0.5).to(th.float32)  # has seen no enemy, so has not left its way
    open_n, open_s, open_e, open_w = free[..., 0:1], free[..., 1:2], free[..., 2:3], free[..., 3:4]
    side = ((open_e + open_w - 1.0).abs() < 0.5).to(th.float32)
    arm, inside, out = (1.0 - stem) * here, stem * side, stem * (1.0 - side)
    low_y = (1.0 - open_n) * 31.0 + open_n * (arm * (29.0 + open_s) + out * STEM)
    high_y = 32.0 - open_n - open_n * (arm * (1.0 - open_s) + inside * (31.0 - STEM))
    low_x = arm * ids[..., 2:3] * (1.0 - open_e) * 31.0 + inside * 15.0
    high_x = 32.0 - open_e - inside * (15.0 - open_e)
    low_t = th.where(seen, at, th.cat([low_x, low_y], dim=-1) + BODY)
    high_t = th.where(seen, at, th.cat([high_x, high_y], dim=-1) - BODY)

    # The intervals, from the start on; walls stop them.
    low0 = (ids.unsqueeze(-1) * th.tensor(LOW)).sum(dim=-2)
    high0 = (ids.unsqueeze(-1) * th.tensor(HIGH)).sum(dim=-2)
    low_t, high_t = th.where(exists, low_t, low0), th.where(exists, high_t, high0)
    first = exists.to(th.float32).cumsum(dim=1) < 1.5
    low_t, high_t = th.where(first, th.maximum(low_t, low0), low_t), th.where(first, th.minimum(high_t, high0), high_t)
    shift, bottom, top = all_steps(th.cat([th.zeros_like(moved[:, :1]), moved], dim=1), low_t, high_t)
    low = th.minimum(th.maximum(low0[:, 0] + shift, bottom), top)
    high = th.minimum(th.maximum(high0[:, 0] + shift, bottom), top)
    place, half = ((low + high) / 2.0).clamp(0.0, 32.0), ((high - low) / 2.0).clamp(0.0, 16.0)

    count = exists.to(th.float32).cumsum(dim=1)  # steps of the episode
    last = (seen_h * count).amax(dim=1)
    age = th.where(last > 0.5, (count[:, -1] - last) / 30.0, th.ones_like(last))
    way = (place - th.tensor([HEAD_X, HEAD_Y])).abs().sum(dim=-1, keepdim=True) / 32.0
    reach = now[..., HYDRALISK : HYDRALISK + 1].clamp(0.0, 1.0)
    said = th.cat([(place - 16.0) / 32.0, half / 16.0, way, age, now[..., HEALTH : HEALTH + 1], reach], dim=-1) * alive
    heard = [said[..., 0:6]]
    for turn in range(1, AGENTS):
        mate, there = th.roll(said, shifts=-turn, dims=1), th.roll(alive, shifts=-turn, dims=1)
        heard = heard + [mate, (mate[..., 4:5] - way) * there * alive]
    return th.cat([now] + heard, dim=-1)
