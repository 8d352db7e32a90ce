"""k = 2: where each teammate is and its way to each Roach, from all sightings of the last steps put together."""

import torch as th

AGENTS = 22
ENEMIES = 2
SIGHT = 9.0  # cells; distances in x are shares of it
ENEMY, ENEMY_WIDTH = 4, 8  # attackable, distance, dx, dy, health, type (2), nothing
MATE, MATE_WIDTH = 20, 7  # visible, distance, dx, dy, health, type (2)
HEALTH = 167
MOVES = 172  # columns of the last action: move north, south, east, west
IDS = 178
STRIDE = 1.25  # cells that a Baneling moves in a step
SLOW = 0.234  # that an Overlord moves
CORNERS = [[3.5, 2.0], [3.5, 28.86], [28.5, 28.0], [28.5, 2.0]]  # where the first Roach can wait
# Mean x of the Banelings at the start: they are numbered from west to east. Then the Overlords.
START = [1.6, 2.6, 3.6, 4.8, 6.3, 8.0, 9.9, 11.8, 13.6, 15.2, 16.8, 18.4, 20.2, 22.1, 24.0, 25.7, 27.2, 28.4, 29.4, 30.4, 10.7, 21.3]
SPREAD = 8.0  # cells, how much an agent's x differs from that
MIDDLE, NORTHERN = 16.0, 25.5  # mean y of agents, and of those that only the north is closed to
OUTSIDE = 4.0  # a place outside the map is that much less likely a cell


def message_design_instruction():
    return (
        "Nobody observes where it is. But agents that saw each other in the last steps know how they lie to each other, "
        "by what each has walked since; so do agents that saw the same Roach, as Roaches wait, and agents with a common "
        "acquaintance. In such a group all know the way to a Roach that one of them has seen. The first Roach waits in "
        "one of four corners: a corner that would put an agent outside the map is excluded, and of the others those are "
        "likely that fit the numbers of all agents that know a way to it, as agents are numbered from west to east. With "
        "the corner they know their places. A group without it takes the mean of what its members' numbers and closed "
        "ways say. Each teammate tells, the next number first: its place and how sure it is, its way to each Roach"
        ", and how many steps ago it "
        "saw it itself. All are 0 for the dead."
    )


def closure(linked, apart):
    """Adds offsets through common acquaintances, twice."""
    for _ in range(2):
        ways = linked @ linked
        over = linked.unsqueeze(-1) * apart
        over = th.einsum("bika,bkj->bija", over, linked) + th.einsum("bik,bkja->bija", linked, over)
        apart = th.where(linked.unsqueeze(-1) > 0.5, apart, over / ways.clamp(min=1.0).unsqueeze(-1))
        linked = (ways > 0.5).to(th.float32)
    return linked, apart


def communication(o):
    # Letters of shapes: B episodes, L steps, N agents, M Roaches, C corners. A group has N + M members, Roaches last.
    now = o[:, -1]
    alive = (now[..., HEALTH : HEALTH + 1] > 0.0).to(th.float32)
    slow = now[..., HEALTH + 1 : HEALTH + 2].clamp(0.0, 1.0).unsqueeze(1)  # an Overlord
    free = o[..., 0:4].clamp(0.0, 1.0)
    act = o[:, 1:, :, MOVES : MOVES + 4].clamp(0.0, 1.0) * free[:, :-1] * (STRIDE + slow * (SLOW - STRIDE))
    moved = th.stack([act[..., 2] - act[..., 3], act[..., 0] - act[..., 1]], dim=-1)
    total = moved.cumsum(dim=1)
    since = total[:, -1:] - th.cat([th.zeros_like(total[:, :1]), total], dim=1)  # (B, L, N, 2), until now

    # Whom each agent saw last and when: team mates in order of their numbers, itself left out in x, then the Roaches.
    mate = o[..., MATE : MATE + (AGENTS - 1) * MATE_WIDTH].unflatten(-1, (AGENTS - 1, MATE_WIDTH))
    enemy = o[..., ENEMY : ENEMY + ENEMIES * ENEMY_WIDTH].unflatten(-1, (ENEMIES, ENEMY_WIDTH))
    seen = th.cat([mate[..., 0] > 0.5, enemy[..., 4] > 0.0], dim=-1).to(th.float32)
    ramp = th.arange(1, o.shape[1] + 1, dtype=th.float32).reshape(-1, 1, 1)
    when = (seen * ramp).amax(dim=1)  # (B, N, N - 1 + M), 1 to L; 0: never
    index = (when - 1.0).clamp(min=0.0).to(th.int64).unsqueeze(1).unsqueeze(-1).expand(-1, -1, -1, -1, 2)
    offset = th.cat([mate[..., 2:4], enemy[..., 2:4]], dim=3).gather(1, index)[:, 0] * SIGHT
    own = since.transpose(1, 2).gather(2, index[:, 0])  # what the agent has walked since then

    # The same with a column for itself; what the others have walked since then; groups: (B, N + M, N + M).
    line = th.arange(AGENTS)
    before = (line < line.unsqueeze(1)).to(th.float32).unsqueeze(-1)
    after = (line > line.unsqueeze(1)).to(th.float32).unsqueeze(-1)
    slots = th.cat([when.unsqueeze(-1), offset - own], dim=-1)  # (B, N, N - 1 + M, 3)
    nobody, mates, roaches = th.zeros_like(slots[:, :, :1]), slots[:, :, : AGENTS - 1], slots[:, :, AGENTS - 1 :]
    mates = th.cat([mates, nobody], dim=2) * before + th.cat([nobody, mates], dim=2) * after
    index = (mates[..., 0:1] - 1.0).clamp(min=0.0).to(th.int64).transpose(1, 2).expand(-1, -1, -1, 2)
    walked = since.transpose(1, 2).gather(2, index).transpose(1, 2)
    saw = th.cat([mates[..., 0] * alive.transpose(1, 2), roaches[..., 0]], dim=-1) * alive
    linked = (saw > 0.5).to(th.float32)
    apart = th.cat([mates[..., 1:3] + walked, roaches[..., 1:3]], dim=2) * linked.unsqueeze(-1)
    below = th.cat([linked[:, :, AGENTS:].transpose(1, 2), th.zeros_like(linked[:, :ENEMIES, :ENEMIES])], dim=2)
    under = th.cat([-apart[:, :, AGENTS:].transpose(1, 2), th.zeros_like(apart[:, :ENEMIES, :ENEMIES])], dim=2)
    linked = th.maximum(th.cat([linked, below], dim=1), th.eye(AGENTS + ENEMIES))
    linked, apart = closure(linked, th.cat([apart, under], dim=1))
    linked, apart = linked[:, :AGENTS], apart[:, :AGENTS]
    known, way = linked[..., AGENTS:].unsqueeze(-1), apart[:, :, AGENTS:]
    age = ((o.shape[1] - roaches[..., 0:1]) / 10.0).clamp(max=1.0)

    # The corner of the first Roach, by where it would put all agents that know a way to it.
    number = now[..., IDS : IDS + AGENTS]
    mean_x = (number * th.tensor(START)).sum(dim=-1, keepdim=True)
    corners = th.tensor(CORNERS)
    first = known[..., 0, :] * alive
    place = corners - way[..., 0, :].unsqueeze(2)  # (B, N, C, 2)
    beyond = th.relu(-place) + th.relu(place - 32.0)
    misfit = ((place[..., 0] - mean_x) / SPREAD) ** 2 / 2.0 + OUTSIDE * beyond.sum(dim=-1)
    share = (-(misfit * first).sum(dim=1, keepdim=True)).softmax(dim=-1).unsqueeze(-1)  # (B, 1, C, 1)
    by_roach = (share * place).sum(dim=2)

    # Without it: numbers give x, and a way that is closed in the north only is the border more often than a cliff.
    shut_n = alive * (1.0 - free[:, -1, :, 0:1]) * free[:, -1, :, 1:4].prod(dim=-1, keepdim=True)
    by_number = th.cat([mean_x + since[:, 0, :, 0:1], MIDDLE + (NORTHERN - MIDDLE) * shut_n], dim=-1)
    sure = th.cat([alive, alive * (1.0 + 3.0 * shut_n)], dim=-1).unsqueeze(1) * linked[..., :AGENTS].unsqueeze(-1)
    by_number = (sure * (by_number.unsqueeze(1) - apart[:, :, :AGENTS])).sum(dim=2) / sure.sum(dim=2).clamp(min=1.0)
    mine = (first * by_roach + (1.0 - first) * by_number).clamp(0.0, 32.0)

    told = [(mine - 16.0) / 32.0, first * share.amax(dim=2), (way * known / 18.0).flatten(2), age.flatten(2)]
    said = th.cat(told, dim=-1) * alive
    mates = [th.roll(said, shifts=-turn, dims=1) for turn in range(1, AGENTS)]
    return th.cat([now, said] + mates, dim=-1)
