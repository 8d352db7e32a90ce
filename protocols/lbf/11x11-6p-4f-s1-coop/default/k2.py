"""k = 2: a common map, inferred from the whole episode: where all agents can stand, where foods are or can still be."""

import torch as th

AGENTS = 6
SIZE = 11  # rows, and columns
FOODS = 4  # placed at the start
LEVEL = 3.0  # of every food: three players of level 1 are needed
CELLS = 9  # of a window, row by row; 4 is the agent's own, 1, 3, 5, 7 lie to the north, west, east and south
SPAN = 2 * SIZE - 1  # offsets between two cells along one axis, from -(SIZE - 1)
WIDE = SPAN + 2  # the same, with a margin for what is seen beside a place
FAR = 4.0 * SIZE  # farther than any line
# Row and column offset of every cell of a window.
OFFSET = [[-1.0, -1.0], [-1.0, 0.0], [-1.0, 1.0], [0.0, -1.0], [0.0, 0.0], [0.0, 1.0], [1.0, -1.0], [1.0, 0.0], [1.0, 1.0]]
# Cells of a window in its northern row, western column, southern row, eastern column.
SIDES = [[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0],
         [0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 1.0, 1.0]]


def message_design_instruction():
    return (
        "Nobody observes where it is, but it follows from what was seen and done. Each agent keeps the interval of rows "
        "and of columns where it can be: 0 or the last line beside a wall, the lines between otherwise, not the first of "
        "these if a food lies on its outer side, as foods never touch the border; all steps of the episode count, shifted "
        "by the moves made since. A move failed if its cell was a wall or a food, if an agent in sight wanted the same "
        "cell, or if walls and foods in sight did not move along. Who is seen is known where only one agent can be meant. "
        "Agents that once saw each other, or have a common acquaintance, share one frame: their offsets follow from their "
        "moves since then, and their intervals narrow each other's. A food stays where it was seen until its cell is seen "
        "empty, then it was eaten. Foods not yet found lie on interior cells that nobody has seen, away from known foods. "
        "Everybody hears: the middle and half-width of all agents' intervals, the number of agents expected on each cell, "
        "and the level of food to be expected on each cell."
    )


def sightings(agents):
    """Who certainly sees whom, (B, L, N, N), and at which offset, (B, L, N, N, 2)."""
    around = agents * th.tensor([1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    across = around.flip(-1)  # who sees someone in a cell is itself in the opposite cell of that one's window
    # Others that may be meant: who sees someone in the opposite cell. Two agents meet if each is the only choice.
    seeing = around * (across.sum(dim=2, keepdim=True) - across < 1.5).to(th.float32)
    seen = across * (around.sum(dim=2, keepdim=True) - around < 1.5).to(th.float32)
    shown = th.cat([th.ones(1, CELLS), th.tensor(OFFSET).transpose(0, 1)]).unsqueeze(1)  # itself, row, column offset
    met = (seeing.unsqueeze(2) * shown).flatten(2, 3) @ seen.transpose(-1, -2)
    met = met.unflatten(2, (3, AGENTS)) * (1.0 - th.eye(AGENTS))
    return met[:, :, 0].clamp(0.0, 1.0), met[:, :, 1:].permute(0, 1, 3, 4, 2)


def contradicted(fixed, wish):
    """Whether walls and foods in a window show that a move did not happen, (B, L-1, N)."""
    old = fixed[:, :-1].unflatten(-1, (3, 3))
    new = fixed[:, 1:].unflatten(-1, (3, 3))
    down = (new[..., :2, :] - old[..., 1:, :]).abs().sum(dim=(-1, -2))
    up = (new[..., 1:, :] - old[..., :2, :]).abs().sum(dim=(-1, -2))
    right = (new[..., :2] - old[..., 1:]).abs().sum(dim=(-1, -2))
    left = (new[..., 1:] - old[..., :2]).abs().sum(dim=(-1, -2))
    there, back = wish.clamp(min=0.0), (-wish).clamp(min=0.0)
    return there[..., 0] * down + back[..., 0] * up + there[..., 1] * right + back[..., 1] * left > 0.5


def closure(linked, apart):
    """Adds every agent itself, and offsets through common acquaintances."""
    linked = linked + th.eye(AGENTS)
    for _ in range(2):
        ways = linked @ linked
        over = linked.unsqueeze(-1) * apart
        over = th.einsum("bika,bkj->bija", over, linked) + th.einsum("bik,bkja->bija", linked, over)
        apart = th.where(linked.unsqueeze(-1) > 0.5, apart, over / ways.clamp(min=1.0).unsqueeze(-1))
        linked = (ways > 0.5).to(th.float32)
    return linked, apart


def unseen_by_others(place, linked):
    """Sum over agents of where each can stand, less what agents without a link to it would see."""
    wide = th.nn.functional.pad(place, (1, 1, 1, 1))
    rows = wide[..., :-2, :] + wide[..., 1:-1, :] + wide[..., 2:, :]
    watched = (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]).clamp(0.0, 1.0)
    clear = 1.0 - watched.unsqueeze(1) * (1.0 - linked).unsqueeze(-1).unsqueeze(-1)
    left = place * clear.prod(dim=2)
    total = left.sum(dim=(-1, -2), keepdim=True)
    left = th.where(total > 1e-6, left / total.clamp(min=1e-6), place)
    return left.sum(dim=1).flatten(1)


def communication(o):
    # Letters of shapes: B episodes, L steps, N agents, then the axis (0 rows, 1 columns).
    agents = o[..., 0:CELLS].clamp(0.0, 1.0)
    foods = o[..., CELLS : 2 * CELLS].clamp(0.0, 1.0)
    inside = (agents + foods + o[..., 2 * CELLS : 3 * CELLS]).clamp(0.0, 1.0)
    exists = o[..., 3 * CELLS - 1 : 3 * CELLS] > -0.5  # steps before the episode hold -1
    last = SIZE - 1.0

    # Where each agent wanted to go: nowhere if a wall or a food is there. Who goes for the same cell stays.
    free = inside - foods
    act = o[:, 1:, :, 3 * CELLS + 1 : 3 * CELLS + 5]  # north, south, west, east
    ways = th.stack([free[:, :-1, :, 1], free[:, :-1, :, 7], free[:, :-1, :, 3], free[:, :-1, :, 5]], dim=-1) * act
    wish = ways[..., 1::2] - ways[..., 0::2]  # (B, L-1, N, 2)
    known, offset = sightings(agents)
    gap = (offset[:, :-1] + wish.unsqueeze(2) - wish.unsqueeze(3)).abs().sum(dim=-1)
    clash = (known[:, :-1] * (gap < 0.5).to(th.float32)).amax(dim=3) > 0.5
    failed = clash | contradicted(foods + 2.0 * inside, wish)
    went = exists[:, :-1].to(th.float32) * (1.0 - failed.to(th.float32)).unsqueeze(-1)
    total = (wish * went).flatten(2).cumsum(dim=1)
    since = total[:, -1:] - th.cat([th.zeros_like(total[:, :1]), total], dim=1)  # moved from each step until now
    since = since.unflatten(2, (AGENTS, 2))

    # Lines where an agent can stand, from each step, and from all.
    edge = inside[..., 1:8:2]  # north, west, east, south
    near, beyond = edge[..., 0:2], edge[..., 2:4].flip(-1)
    food_side = (foods @ th.tensor(SIDES)).clamp(0.0, 1.0)
    between = near * beyond
    wall = last * (1.0 - beyond)
    low = between * (1.0 + food_side[..., 0:2]) + wall
    high = between * (last - 1.0 - food_side[..., 2:4]) + wall
    low_own = th.where(exists, low + since, -FAR).amax(dim=1)
    high_own = th.where(exists, high + since, FAR).amin(dim=1)
    agree = low_own <= high_own  # else a move was counted wrongly: only this step is trusted
    low_own = th.where(agree, low_own, low[:, -1])
    high_own = th.where(agree, high_own, high[:, -1])

    # Since two last saw each other: the offset from one to the other now, (B, N, N, 2).
    seen = known * exists.to(th.float32)
    newest = seen * (seen.flip(1).cumsum(dim=1).flip(1) < 1.5).to(th.float32)
    apart = offset + since.unsqueeze(2) - since.unsqueeze(3)
    linked, apart = closure(newest.amax(dim=1), (apart * newest.unsqueeze(-1)).sum(dim=1))
    theirs = linked.unsqueeze(-1) > 0.5
    low_all = th.where(theirs, low_own.unsqueeze(1) - apart, -FAR).amax(dim=2)
    high_all = th.where(theirs, high_own.unsqueeze(1) - apart, FAR).amin(dim=2)
    agree = low_all <= high_all
    low_now = th.where(agree, low_all, low_own).clamp(0.0, last)
    high_now = th.where(agree, high_all, high_own).clamp(0.0, last)
    line = th.arange(SIZE, dtype=th.float32)
    on = (line > low_now.unsqueeze(-1) - 0.5) & (line < high_now.unsqueeze(-1) + 0.5)
    share = on.to(th.float32) / (high_now - low_now + 1.0).unsqueeze(-1)  # (B, N, 2, SIZE)
    agent_map = unseen_by_others(share[:, :, 0].unsqueeze(-1) * share[:, :, 1].unsqueeze(-2), linked)

    # Windows of all steps laid around where the first agent of each group of linked agents is now.
    # The farther back a cell lies, the larger its index, so that windows of shares over lines meet it in order.
    first = linked * (linked.cumsum(dim=2) < 1.5).to(th.float32)  # (B, N, N) one-hot of the group's first agent
    to_first = (apart * first.unsqueeze(-1)).sum(dim=2)  # from me to the first
    at = -since - to_first.unsqueeze(1)  # my place at each step as seen from where the first is now
    fits = exists & (at.abs().amax(dim=-1, keepdim=True) < SIZE - 0.5)
    frame = (first * th.arange(AGENTS, dtype=th.float32)).sum(dim=2)
    index = ((frame.unsqueeze(1) * WIDE + SIZE - at[..., 0]) * WIDE + SIZE - at[..., 1]).unsqueeze(-1)
    middle = 1.0 * AGENTS * WIDE * WIDE + WIDE + 1.0  # nothing is laid around it
    index = th.where(fits, index, middle) - th.tensor(OFFSET) @ th.tensor([1.0 * WIDE, 1.0])
    size = AGENTS * WIDE * WIDE
    index = index.to(th.int64).flatten(1).clamp(0, size + 2 * WIDE + 2)
    blank = th.zeros_like(o[:, 0, 0, :1]).expand(-1, size + 2 * WIDE + 3)
    count = blank.scatter_add(1, index, (free + 1024.0 * foods).flatten(1))[:, :size]
    count = count.unflatten(1, (AGENTS, WIDE, WIDE))[:, :, 1:-1, 1:-1]
    had = (count > 1000.0).to(th.float32)
    empty = (count - 1024.0 * (count / 1024.0).floor() > 0.5).to(th.float32)
    gone = had * empty
    eaten = gone.sum(dim=(2, 3)).amax(dim=1, keepdim=True)

    # The same on the field, wherever the first agent can be.
    maps = th.stack([had - gone, th.maximum(had, empty)], dim=1)  # (B, 2, N, SPAN, SPAN)
    lines = th.nn.functional.pad(share, (SIZE - 1, SIZE - 1)).unfold(-1, SPAN, 1).unsqueeze(1)
    field = lines[:, :, :, 0] @ maps @ lines[:, :, :, 1].transpose(-1, -2)  # (B, 2, N, SIZE, SIZE)
    free = (1.0 - field.clamp(0.0, 1.0)).prod(dim=2).flatten(2)
    here, unseen = 1.0 - free[:, 0], free[:, 1]
    ramp = th.arange(SIZE)
    inner = ((ramp > 0) & (ramp < SIZE - 1)).to(th.float32)
    inner = (inner.unsqueeze(1) * inner.unsqueeze(0)).flatten()
    distance = (ramp.unsqueeze(1) - ramp.unsqueeze(0)).abs()
    distance = distance.repeat_interleave(SIZE, 0).repeat_interleave(SIZE, 1) + distance.repeat(SIZE, SIZE)
    close = here @ (distance < 2.5).to(th.float32)
    open_to_food = unseen * (1.0 - close.clamp(0.0, 1.0)) * inner
    left = (FOODS - eaten - here.sum(dim=1, keepdim=True)).clamp(min=0.0)
    food_map = here + open_to_food * left / open_to_food.sum(dim=1, keepdim=True).clamp(min=1.0)

    where = (th.cat([low_now + high_now, high_now - low_now], dim=-1) / (2.0 * last)).flatten(1)
    said = th.cat([where, agent_map, LEVEL * food_map.clamp(0.0, 1.0)], dim=-1).unsqueeze(1)
    return th.cat([o[:, -1], said.expand(-1, AGENTS, said.shape[-1])], dim=-1)
