"""k = 1: who the scout is."""

import torch as th

TARGETS = 4
AGENTS = 3


def message_design_instruction():
    return (
        "The state also says which agent is the scout, and only the scout knows. Every agent broadcasts its own flag in "
        "the place of its id; a receiver gets one number for each agent, 1 for the scout."
    )


def communication(o):
    flags = o[..., TARGETS].unsqueeze(1)
    return th.cat([o, flags.expand(-1, AGENTS, AGENTS)], dim=-1)
