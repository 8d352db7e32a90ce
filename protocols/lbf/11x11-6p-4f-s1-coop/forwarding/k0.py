"""k = 0: every agent hears what its teammates see and did, the next agent (by id, in a circle) first."""

import torch as th

AGENTS = 6
WINDOW = 3  # cells along one side of what an agent sees (2 * sight + 1)
CELLS = WINDOW * WINDOW
ACTIONS = 6


def message_design_instruction():
    return (
        "Alone, an agent knows nothing beyond its own window. Each agent therefore broadcasts what it perceives now: "
        "the food layer of its window, where other players stand in its window, which cells of its window lie outside "
        "the field (a cell without player, food or access is outside), and its last action. A receiver gets the blocks "
        "of its teammates only, the agent with the next id first, in a circle; its own block would tell it nothing."
    )


def outside(x):
    agents = x[..., 0:CELLS]
    foods = x[..., CELLS : 2 * CELLS]
    access = x[..., 2 * CELLS : 3 * CELLS]
    return 1.0 - (agents + foods + access).clamp(0.0, 1.0)


def communication(o):
    seen = th.cat(
        [
            o[..., CELLS : 2 * CELLS],
            o[..., 0:CELLS],
            outside(o),
            o[..., 3 * CELLS : 3 * CELLS + ACTIONS],
        ],
        dim=-1,
    )
    heard = [th.roll(seen, shifts=-step, dims=1) for step in range(1, AGENTS)]
    return th.cat([o] + heard, dim=-1)
