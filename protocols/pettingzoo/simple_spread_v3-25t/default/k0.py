"""k = 0: who covers which landmark, so that the three ways together are shortest."""

import torch as th

AGENTS = 3
# Row: one of the 6 ways to share three landmarks; the landmarks of agents 0, 1 and 2.
SHARED = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]


def message_design_instruction():
    return (
        "Every landmark needs one agent, and each agent sees all landmarks and all agents, but not what the others are "
        "heading for. Every agent broadcasts its distance to each landmark. All work out the same assignment: of the "
        "six ways to give each agent a landmark of its own, the one with the smallest sum of distances. A receiver "
        "hears the way to its own landmark along x and y, which landmark it is, and its teammates' velocities, the "
        "next id first, in a circle."
    )


def communication(o):
    x, y = o[..., 4:10:2], o[..., 5:10:2]  # (B, N, 3), landmarks seen from each agent
    far = (x * x + y * y + 1e-12).sqrt()
    gives = (th.tensor(SHARED).unsqueeze(-1) - th.arange(AGENTS)).abs() < 1  # (6, N, landmarks)
    gives = gives.to(th.float32)
    total = th.einsum("bnm,pnm->bp", far, gives)
    rank = th.arange(6, dtype=th.float32) * 1e-5  # of two equal sums the first is taken
    chosen = th.nn.functional.one_hot((total + rank).argmin(dim=-1), 6).to(th.float32)
    mine = th.einsum("bp,pnm->bnm", chosen, gives)
    way = th.stack([(mine * x).sum(dim=-1), (mine * y).sum(dim=-1)], dim=-1)
    velocity = [th.roll(o[..., 0:2], shifts=-step, dims=1) for step in range(1, AGENTS)]
    return th.cat([o, way, mine] + velocity, dim=-1)
