"""Returns from rewards and the values of the steps after them.

Letters: P existing steps of all episodes, V transitions (``epymarl_lmac.learning.packing``).
"""

from __future__ import annotations

import torch
from torch import Tensor

from epymarl_lmac.learning.packing import Packing


def lambda_returns(
    packing: Packing, reward_V1: Tensor, terminated_V1: Tensor, value_P1: Tensor, gamma: float, lam: float
) -> Tensor:
    """Returns the lambda-return of every transition, (V, 1).

        G(t) = r(t) + gamma * (1 - terminated(t)) * ((1 - lam) * v(t + 1) + lam * G(t + 1))

    After an episode's last transition G is v of its last step, so an episode that a time limit cut is bootstrapped and
    one that terminated is not. ``lam = 0`` is the one-step target, 1 the discounted return.

    Args:
        packing: where steps and transitions lie.
        reward_V1: rewards.
        terminated_V1: 1 where the task ended.
        value_P1: values of all existing steps.
        gamma: discount a step.
        lam: weight of longer returns, 0 to 1.

    Source: Sutton and Barto, "Reinforcement Learning", 2nd edition, section 12.1.
    """
    parts: list[Tensor] = []
    stop_V, stop_P = len(reward_V1), len(value_P1)
    following_n1 = value_P1[:0]
    for n_here, n_next in zip(reversed(packing.counts), reversed([*packing.counts[1:], 0]), strict=True):
        value_here = value_P1[stop_P - n_here : stop_P]
        # Of the episodes at this step, those with a transition come first.
        start_V = stop_V - n_next
        future = (1 - lam) * value_P1[stop_P : stop_P + n_next] + lam * following_n1
        now = reward_V1[start_V:stop_V] + gamma * (1 - terminated_V1[start_V:stop_V]) * future
        parts.append(now)
        following_n1 = torch.cat([now, value_here[n_next:]])
        stop_V, stop_P = start_V, stop_P - n_here
    return torch.cat(parts[::-1])
