"""k = 0: the scout tells everyone which target it sees."""

import torch as th

TARGETS = 4


def message_design_instruction():
    return (
        "Only the scout's observation says which target is right. Every agent broadcasts what it sees of the targets; "
        "all but the scout see nothing, so the sum over agents is what the scout sees. Every receiver gets that sum, "
        "one number for each target."
    )


def communication(o):
    seen = o[..., 0:TARGETS].sum(dim=1, keepdim=True)
    return th.cat([o, seen.expand(-1, o.shape[1], TARGETS)], dim=-1)
