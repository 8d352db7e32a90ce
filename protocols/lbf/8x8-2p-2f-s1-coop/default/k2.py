"""k = 2: a common map, inferred from the whole episode: where both agents can stand, where foods are or can still be."""

import torch as th

SIZE = 8  # rows, and columns
FOODS = 2  # placed at the start
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
        "by the moves made since. A move failed if its cell was a wall or a food, or if the other agent, in sight, wanted "
        "the same cell. Once the two saw each other they share one frame: their offset follows from their moves since "
        "then, and each one's interval narrows the other's. Before that, an offset is excluded if they would have met, or "
        "if one saw no food where the other saw one, or if it needs more foods than there are. A food stays where it was "
        "seen until its cell is seen empty, then it was eaten. Foods not yet found lie on interior cells that nobody has "
        "seen, away from known foods. Everybody hears: the middle and half-width of both agents' intervals, the "
        "probability of an agent on each cell, and the probability of a food on each cell."
    )


def by_lines(share):
    """Shares over lines (..., SIZE) as a matrix (..., SIZE, SPAN): a cell of the field, an offset from me."""
    return th.nn.functional.pad(share, (SIZE - 1, SIZE - 1)).unfold(-1, SPAN, 1)


def communication(o):
    # Letters of shapes: B episodes, L steps, N agents, then the axis (0 rows, 1 columns).
    agents = o[..., 0:CELLS].clamp(0.0, 1.0)
    foods = o[..., CELLS : 2 * CELLS].clamp(0.0, 1.0)
    inside = (agents + foods + o[..., 2 * CELLS : 3 * CELLS]).clamp(0.0, 1.0)
    exists = o[..., 3 * CELLS - 1 : 3 * CELLS] > -0.5  # steps before the episode hold -1
    last = SIZE - 1.0

    # Where each agent wanted to go: nowhere if a wall or a food is there.
    free = inside - foods
    act = o[:, 1:, :, 3 * CELLS + 1 : 3 * CELLS + 5]  # north, south, west, east
    ways = th.stack([free[:, :-1, :, 1], free[:, :-1, :, 7], free[:, :-1, :, 3], free[:, :-1, :, 5]], dim=-1) * act
    wish = ways[..., 1::2] - ways[..., 0::2]  # (B, L-1, N, 2)

    # Whom an agent sees can only be the other: its offset from agent 0. Both stay if they wanted the same cell.
    around = agents[:, :, 0] * th.tensor([1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    offset = around @ th.tensor(OFFSET)  # (B, L, 2)
    seen = around.amax(dim=-1)
    gap = (offset[:, :-1] + wish[:, :, 1] - wish[:, :, 0]).abs().sum(dim=-1)
    went = 1.0 - seen[:, :-1] * (gap < 0.5).to(th.float32)
    went = went * (o[:, :-1, 0, 3 * CELLS - 1] > -0.5).to(th.float32)
    step = (wish * went.unsqueeze(-1).unsqueeze(-1)).flatten(2)  # (B, L-1, N * 2)
    total = step.cumsum(dim=1)
    since = total[:, -1:] - th.cat([th.zeros_like(total[:, :1]), total], dim=1)  # moved from each step until now
    since = since.unflatten(2, (2, 2))

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

    # Since they last saw each other: the offset from agent 0 to agent 1 now.
    seen = seen * exists[:, :, 0, 0].to(th.float32)
    newest = seen * (seen.flip(1).cumsum(dim=1).flip(1) < 1.5).to(th.float32)
    drift = since[:, :, 1] - since[:, :, 0]
    apart = ((offset + drift) * newest.unsqueeze(-1)).sum(dim=1)  # (B, 2)
    linked = newest.amax(dim=1, keepdim=True)  # (B, 1)
    both = th.stack([apart, -apart], dim=1)
    low_all = th.maximum(low_own, low_own.flip(1) - both)
    high_all = th.minimum(high_own, high_own.flip(1) - both)
    agree = (low_all <= high_all) & (linked.unsqueeze(-1) > 0.5)
    low_now = th.where(agree, low_all, low_own).clamp(0.0, last)
    high_now = th.where(agree, high_all, high_own).clamp(0.0, last)
    line = th.arange(SIZE, dtype=th.float32)
    on = (line > low_now.unsqueeze(-1) - 0.5) & (line < high_now.unsqueeze(-1) + 0.5)
    share = on.to(th.float32) / (high_now - low_now + 1.0).unsqueeze(-1)  # (B, N, 2, SIZE)
    box = share[:, :, 0].unsqueeze(-1) * share[:, :, 1].unsqueeze(-2)  # (B, N, SIZE, SIZE)

    # Windows of all steps laid around where each agent is now; around agent 0 for both once they are linked.
    # The farther back a cell lies, the larger its index, so that windows of shares over lines meet it in order.
    shared = (apart * linked).unsqueeze(1) * th.tensor([[0.0, 0.0], [1.0, 1.0]])
    at = shared.unsqueeze(1) - since  # (B, L, N, 2)
    fits = exists & (at.abs().amax(dim=-1, keepdim=True) < SIZE - 0.5)
    frame = th.tensor([0.0, 1.0]) * (1.0 - linked)  # (B, N)
    index = ((frame.unsqueeze(1) * WIDE + SIZE - at[..., 0]) * WIDE + SIZE - at[..., 1]).unsqueeze(-1)
    middle = 2.0 * WIDE * WIDE + WIDE + 1.0
    index = th.where(fits, index, middle) - th.tensor(OFFSET) @ th.tensor([1.0 * WIDE, 1.0])
    index = index.to(th.int64).flatten(1).clamp(0, 2 * WIDE * WIDE + 2 * WIDE + 2)
    blank = th.zeros_like(o[:, 0, 0, :1]).expand(-1, 2 * WIDE * WIDE + 2 * WIDE + 3)
    count = blank.scatter_add(1, index, (free + 1024.0 * foods).flatten(1))[:, : 2 * WIDE * WIDE]
    count = count.unflatten(1, (2, WIDE, WIDE))[:, :, 1:-1, 1:-1].flatten(2)
    had = (count > 1000.0).to(th.float32)
    empty = (count - 1024.0 * (count / 1024.0).floor() > 0.5).to(th.float32)
    gone = had * empty
    food = had - gone  # (B, N, SPAN * SPAN)
    eaten = gone.sum(dim=2).amax(dim=1, keepdim=True)
    there, spot = food.topk(FOODS, dim=2)  # (B, N, FOODS)
    spot_row, spot_col = spot // SPAN, spot % SPAN

    # Offsets that contradict what was seen: they would have met, or one saw no food where the other did.
    met = drift + last
    fits = ((met > -0.5) & (met < SPAN - 0.5)).all(dim=-1, keepdim=True) & exists[:, :, 0]
    index = ((met[..., 0:1] + 1.0) * WIDE + met[..., 1:2] + 1.0)
    index = th.where(fits, index, WIDE * WIDE + WIDE + 1.0) + th.tensor(OFFSET) @ th.tensor([1.0 * WIDE, 1.0])
    index = index.to(th.int64).flatten(1).clamp(0, WIDE * WIDE + 2 * WIDE + 2)
    bad = blank[:, : WIDE * WIDE + 2 * WIDE + 3].scatter_add(1, index, th.ones_like(foods[:, :, 0]).flatten(1))
    bad = bad[:, : WIDE * WIDE].unflatten(1, (WIDE, WIDE))[:, 1:-1, 1:-1].flatten(1)
    maps = th.nn.functional.pad((empty + 1024.0 * food).unflatten(2, (SPAN, SPAN)), (SIZE - 1,) * 4).flatten(2)
    side = SPAN + 2 * SIZE - 2
    ramp = th.arange(SPAN)
    shift = (ramp.unsqueeze(1) * side + ramp.unsqueeze(0)).flatten()
    start = (spot_row * side + spot_col).unsqueeze(-1)  # (B, N, FOODS, 1)
    places = th.stack([start[:, 0] + shift, start[:, 1] + shift.flip(0)], dim=1)  # (B, N, FOODS, SPAN * SPAN)
    other = maps.flip(1).gather(2, places.flatten(2)).unflatten(2, (FOODS, SPAN * SPAN)) * there.unsqueeze(-1)
    same = (other > 1000.0).to(th.float32)
    same = same[:, 1]  # agent 1's food is one of agent 0's
    bad = bad + (other - 1024.0 * (other > 1000.0).to(th.float32)).sum(dim=(1, 2))
    n_known = there.sum(dim=(1, 2)).unsqueeze(1) - same.sum(dim=1)
    can = ((bad < 0.5) & (n_known < FOODS - eaten + 0.5)).to(th.float32).unflatten(1, (SPAN, SPAN))

    # Both places at once: each line of one agent meets every line of the other at one offset.
    lines = by_lines(share)  # (B, N, 2, SIZE, SPAN)
    cans = th.stack([can, can.flip(1, 2)], dim=1)
    meets = lines.flip(1)
    joint = box * (meets[:, :, 0] @ cans @ meets[:, :, 1].transpose(-1, -2))
    mass = joint.sum(dim=(-1, -2), keepdim=True)
    use = (mass > 1e-6) & (linked < 0.5).unsqueeze(-1).unsqueeze(-1)
    place = th.where(use, joint / mass.clamp(min=1e-6), box)
    agent_map = place.sum(dim=1).flatten(1)

    # How likely every offset is, and so that a food of agent 1 is one that agent 0 knows too.
    second = th.nn.functional.pad(share[:, 1], (SIZE - 1, SIZE - 1)).unfold(-1, SIZE, 1)  # (B, 2, SPAN, SIZE)
    by = (second @ share[:, 0].unsqueeze(-1)).squeeze(-1)
    offsets = (by[:, 0].unsqueeze(-1) * by[:, 1].unsqueeze(-2) * can).flatten(1)
    offsets = offsets / offsets.sum(dim=1, keepdim=True).clamp(min=1e-6)
    new = there[:, 1] * (1.0 - (same * offsets.unsqueeze(1)).sum(dim=2))
    there = th.stack([there[:, 0], new], dim=1)

    # On the field, wherever the two can be.
    across = by_lines(th.stack([place.sum(dim=3), place.sum(dim=2)], dim=2))
    looked = across[:, :, 0] @ th.maximum(food, empty).unflatten(2, (SPAN, SPAN)) @ across[:, :, 1].transpose(-1, -2)
    unseen = (1.0 - looked.clamp(0.0, 1.0)).prod(dim=1).flatten(1)
    grid = th.nn.functional.pad(place, (SIZE - 1,) * 4).flatten(2)
    side = 3 * SIZE - 2
    ramp = th.arange(SIZE)
    field = (ramp.unsqueeze(1) * side + ramp.unsqueeze(0)).flatten()
    source = (spot_row * side + spot_col).unsqueeze(-1) + field
    laid = grid.gather(2, source.flatten(2)).unflatten(2, (FOODS, SIZE * SIZE)) * there.unsqueeze(-1)
    here = laid.sum(dim=(1, 2)).clamp(0.0, 1.0)
    inner = ((ramp > 0) & (ramp < SIZE - 1)).to(th.float32)
    inner = (inner.unsqueeze(1) * inner.unsqueeze(0)).flatten()
    distance = (ramp.unsqueeze(1) - ramp.unsqueeze(0)).abs()
    distance = distance.repeat_interleave(SIZE, 0).repeat_interleave(SIZE, 1) + distance.repeat(SIZE, SIZE)
    close = here @ (distance < 2.5).to(th.float32)
    open_to_food = unseen * (1.0 - close.clamp(0.0, 1.0)) * inner
    left = (FOODS - eaten - here.sum(dim=1, keepdim=True)).clamp(min=0.0)
    food_map = here + open_to_food * left / open_to_food.sum(dim=1, keepdim=True).clamp(min=1.0)

    where = (th.cat([low_now + high_now, high_now - low_now], dim=-1) / (2.0 * last)).flatten(1)
    said = th.cat([where, agent_map, food_map.clamp(0.0, 1.0)], dim=-1).unsqueeze(1)
    return th.cat([o[:, -1], said.expand(-1, 2, said.shape[-1])], dim=-1)
