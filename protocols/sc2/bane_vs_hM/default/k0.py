"""k = 0: where each teammate is as far as this step tells, whether it can strike the Hydralisk, and who is with it."""

import torch as th

AGENTS = 3
SIGHT = 2.0  # cells; distances in x are shares of it
HYDRALISK, MEDIVAC = 4, 10  # first columns: attackable, distance, dx, dy, type (2)
MATE = 16  # first column of the first other agent: visible, distance, dx, dy, type (2)
HEALTH = 28
IDS = 39
HEAD_X, HEAD_Y = 16.0, 31.0  # where both enemies wait
# Agents are numbered from west to east, so agent 0 starts in the western arm, 1 in the stem, 2 in the eastern arm.
START = [[7.0, 31.0], [16.0, 15.5], [25.0, 31.0]]


def message_design_instruction():
    return (
        "Nobody observes where it is. But the enemies wait at (16, 31), so whoever sees one knows its own place exactly, "
        "and before that a number tells the arm of the T: agent 0 west, 1 south, 2 east, where a way that is closed tells "
        "an end of the arm. Each agent says where it is by that, how sure it is, its health, whether it can attack the "
        "Hydralisk now, and how many teammates it sees. All are 0 for the dead."
    )


def communication(o):
    seen_h = o[..., HYDRALISK + 4 : HYDRALISK + 6].sum(dim=-1, keepdim=True)
    seen_m = o[..., MEDIVAC + 4 : MEDIVAC + 6].sum(dim=-1, keepdim=True)
    away = th.where(seen_h > 0.5, o[..., HYDRALISK + 2 : HYDRALISK + 4], o[..., MEDIVAC + 2 : MEDIVAC + 4]) * SIGHT
    known = ((seen_h + seen_m) > 0.5).to(th.float32)
    head = th.tensor([HEAD_X, HEAD_Y])
    start = (o[..., IDS : IDS + AGENTS].unsqueeze(-1) * th.tensor(START)).sum(dim=-2)
    alive = (o[..., HEALTH : HEALTH + 1] > 0.0).to(th.float32)
    shut = 1.0 - o[..., 0:4]  # north, south, east, west
    arm = 1.0 - o[..., IDS + 1 : IDS + 2]  # agents 0 and 2
    x = start[..., 0:1] + arm * shut[..., 2:3] * (31.5 - start[..., 0:1])  # in the west a way is open even at the end
    y = start[..., 1:2] + shut[..., 0:1] * (31.5 - start[..., 1:2])
    y = y + (1.0 - shut[..., 0:1]) * shut[..., 1:2] * arm * (29.5 - y)
    place = known * (head - away) + (1.0 - known) * th.cat([x, y], dim=-1)
    mates = o[..., MATE : MATE + 1] + o[..., MATE + 6 : MATE + 7]
    said = [(place - 16.0) / 32.0, known, o[..., HEALTH : HEALTH + 1], o[..., HYDRALISK : HYDRALISK + 1], mates / 2.0]
    said = th.cat(said, dim=-1) * alive
    return th.cat([o] + [th.roll(said, shifts=-step, dims=1) for step in range(1, AGENTS)], dim=-1)
