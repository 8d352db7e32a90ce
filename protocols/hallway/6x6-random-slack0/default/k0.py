"""k = 0: who is farthest from the goal, and how long everybody else has to wait for it."""

import torch as th


def message_design_instruction():
    return (
        "All agents must enter cell 0 in the same step, and each sees its own cell only. No team can arrive before its "
        "farthest agent, so every agent broadcasts its cell, and everybody hears the largest one, which is the number "
        "of steps until the earliest common arrival, and how many steps it is ahead itself: the largest cell minus its "
        "own. An agent with 0 steps to spare has to walk, every other one can wait."
    )


def communication(o):
    cell = o[..., 0:1]
    farthest = cell.amax(dim=1, keepdim=True).expand_as(cell)
    spare = farthest - cell
    return th.cat([o, farthest, spare], dim=-1)
