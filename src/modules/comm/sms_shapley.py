"""Shapley message values: what a message adds to those that a receiver has, over random orderings of the senders.

Letters: V transitions, N receivers, S senders (S = N), C sets of messages, A actions.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Worth = Callable[[Tensor], Tensor]


def utility_worth(kind: str, full_VNA: Tensor, available_VNA: Tensor) -> Worth:
    """Returns the function from utilities given a set of messages, (V, N, C, A), to the sets' worth, (V, N, C).

    Args:
        kind: see the setting ``sms_worth``.
        full_VNA: utilities given all messages.
        available_VNA: bool, actions that can be taken.
    """

    def best(q_VNCA: Tensor) -> Tensor:
        return q_VNCA.masked_fill(~available_VNA.unsqueeze(2), -math.inf).argmax(-1, keepdim=True)

    def worth(q_VNCA: Tensor) -> Tensor:
        full = full_VNA.unsqueeze(2)
        if kind == "judged":
            return full.expand_as(q_VNCA).gather(3, best(q_VNCA)).squeeze(3)
        action = best(q_VNCA) if kind == "best" else best(full).expand(-1, -1, q_VNCA.shape[2], -1)
        return q_VNCA.gather(3, action).squeeze(3)

    return worth


def shapley_values(own_VNA: Tensor, part_VNSA: Tensor, worth: Worth, n_orderings: int) -> Tensor:
    """Estimates every message's Shapley value for its receiver from random orderings of the senders.

    In each ordering the values of a receiver's messages add up to the worth of all minus the worth of none.

    Args:
        own_VNA: a receiver's utilities without messages.
        part_VNSA: what every message adds to them, 0 for the receiver's own.
        worth: from utilities (V, N, C, A) to the worth of C sets of messages, (V, N, C).
        n_orderings: orderings drawn for every row and receiver.

    Returns:
        (V, N, S), 0 for an agent with itself.
    """
    V, N, S, _ = part_VNSA.shape
    total = part_VNSA.new_zeros(V, N, S)
    itself = torch.eye(N, dtype=torch.bool, device=total.device)
    for _ in range(n_orderings):
        # The receiver comes first and stands for "no message".
        order = torch.rand(V, N, S, device=total.device).masked_fill(itself, -1).argsort(-1)
        sets = part_VNSA.gather(2, order.unsqueeze(-1).expand_as(part_VNSA)).cumsum(2)
        gain = worth(own_VNA.unsqueeze(2) + sets).diff(dim=2)
        total.scatter_add_(2, order[..., 1:], gain)
    return total / n_orderings
