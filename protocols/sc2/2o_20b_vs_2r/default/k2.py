"""k = 2: where each teammate is and its way to both Roaches, from the last sighting and the moves since then."""

import torch as th

AGENTS = 22
ENEMIES = 2
SIGHT = 9.0
ENEMY, ENEMY_WIDTH = 4, 8
HEALTH = 167
MOVES = 172  # columns of the last action: move north, south, east, west
IDS = 178
STRIDE = 1.25  # cells that a Baneling moves in a step
SLOW = 0.234  # that an Overlord moves
CORNERS = [[3.5, 2.0], [3.5, 28.86], [28.5, 28.0], [28.5, 2.0]]  # where the first Roach can wait
# Mean x of the Banelings at the start: they are numbered from west to east. Then the Overlords.
START = [1.6, 2.6, 3.6, 4.8, 6.3, 8.0, 9.9, 11.8, 13.6, 15.2, 16.8, 18.4, 20.2, 22.1, 24.0, 25.7, 27.2, 28.4, 29.4, 30.4, 10.7, 21.3]
SPREAD = 6.0  # cells, how much an agent's x differs from that
MIDDLE, NORTHERN = 16.0, 25.5  # mean y of agents, and of those that only the north is closed to
OUTSIDE = 4.0  # a place outside the map is that much less likely a cell


def message_design_instruction():
    return (
        "Nobody observes where it is. Every agent remembers, over the last steps, when it last saw a Roach and how it has "
        "moved since, so it still knows its way to it. The first Roach waits in one of four corners: a corner that would "
        "put the agent outside the map is excluded, and of the others those are likely that fit the agent's number, as "
        "agents are numbered from west to east. With the corner the agent knows its own place too. Before it saw the Roach "
        "its number gives x, and y is guessed. Each teammate tells, the next number first: "
        "its place and how sure it is, its way to each Roach and how many steps ago it saw it. All are 0 for the dead."
    )


def communication(o):
    # Letters of shapes: B episodes, L steps, N agents, M Roaches, C corners.
    now = o[:, -1]
    exists = (o[..., HEALTH : HEALTH + 1] > -0.5).to(th.float32)  # steps before the episode hold -1
    alive = (now[..., HEALTH : HEALTH + 1] > 0.0).to(th.float32)
    slow = now[..., HEALTH + 1 : HEALTH + 2].clamp(0.0, 1.0).unsqueeze(1)  # an Overlord
    free = o[..., 0:4].clamp(0.0, 1.0)
    act = o[:, 1:, :, MOVES : MOVES + 4].clamp(0.0, 1.0) * free[:, :-1] * (STRIDE + slow * (SLOW - STRIDE))
    moved = th.stack([act[..., 2] - act[..., 3], act[..., 0] - act[..., 1]], dim=-1)
    total = moved.cumsum(dim=1)
    since = total[:, -1:] - th.cat([th.zeros_like(total[:, :1]), total], dim=1)  # (B, L, N, 2), until now

    # The way to every Roach: as last seen, less what was walked since.
    enemy = o[..., ENEMY : ENEMY + ENEMIES * ENEMY_WIDTH].reshape(-1, o.shape[1], AGENTS, ENEMIES, ENEMY_WIDTH)
    sees = (enemy[..., 4:5] > 0.0).to(th.float32)
    newest = sees * (sees.flip(1).cumsum(dim=1).flip(1) < 1.5).to(th.float32)
    known = newest.amax(dim=1)  # (B, N, M, 1)
    way = ((enemy[..., 2:4] * SIGHT - since.unsqueeze(3)) * newest).sum(dim=1)
    line = th.arange(o.shape[1], dtype=th.float32).flip(0).reshape(1, -1, 1, 1, 1)
    age = (newest * line).sum(dim=1) / 10.0 + (1.0 - known)

    # The corner of the first Roach, by where it would put this agent.
    number = now[..., IDS : IDS + AGENTS]
    mean_x = (number * th.tensor(START)).sum(dim=-1, keepdim=True)
    corners = th.tensor(CORNERS)
    place = corners - way[..., 0, :].unsqueeze(2)  # (B, N, C, 2)
    beyond = th.relu(-place) + th.relu(place - 32.0)
    misfit = ((place[..., 0] - mean_x) / SPREAD) ** 2 / 2.0 + OUTSIDE * beyond.sum(dim=-1)
    share = (-misfit).softmax(dim=-1).unsqueeze(-1)
    first = known[..., 0, :]
    by_roach = (share * place).sum(dim=2)

    # Without it: the number gives x, and a way that is closed in the north only is the border more often than a cliff.
    shut_n = exists[:, -1] * (1.0 - free[:, -1, :, 0:1]) * free[:, -1, :, 1:4].prod(dim=-1, keepdim=True)
    by_number = th.cat([mean_x + since[:, 0, :, 0:1], MIDDLE + (NORTHERN - MIDDLE) * shut_n], dim=-1)
    mine = (first * by_roach + (1.0 - first) * by_number).clamp(0.0, 32.0)

    told = [(mine - 16.0) / 32.0, first * share.amax(dim=2), (way * known / 18.0).flatten(2), age.flatten(2)]
    said = th.cat(told, dim=-1) * alive
    mates = [th.roll(said, shifts=-turn, dims=1) for turn in range(1, AGENTS)]
    return th.cat([now, said] + mates, dim=-1)
