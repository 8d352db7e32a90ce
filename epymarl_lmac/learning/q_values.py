"""Q-values of the actions taken, and of the next step's best action, read from those of all existing steps.

On the CPU in float32 both are one compiled loop each (``q_value_kernels.py``); other devices and dtypes take PyTorch
operations. Both give the same numbers.

Letters: P existing steps of all episodes, V transitions, N agents, A actions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from epymarl_lmac.learning import q_value_kernels
from epymarl_lmac.learning.forms import is_compiled

UNAVAILABLE = float(q_value_kernels.UNAVAILABLE)  # Q-value or logit of an action that cannot be taken


class _Taken(torch.autograd.Function):
    """``taken`` in the compiled form; not to be differentiated twice."""

    @staticmethod
    def forward(ctx: Any, q_PNA: Tensor, now_V: Tensor, actions_VN1: Tensor) -> Tensor:
        taken_VN = q_PNA.new_empty(actions_VN1.shape[:2])
        q_value_kernels.take(q_PNA.numpy(), now_V.numpy(), actions_VN1.numpy(), taken_VN.numpy())
        ctx.save_for_backward(now_V, actions_VN1)
        ctx.shape = q_PNA.shape
        return taken_VN

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_taken_VN: Tensor) -> tuple[Tensor, None, None]:
        now_V, actions_VN1 = ctx.saved_tensors
        d_q = d_taken_VN.new_zeros(ctx.shape)
        q_value_kernels.put(d_taken_VN.contiguous().numpy(), now_V.numpy(), actions_VN1.numpy(), d_q.numpy())
        return d_q, None, None


def taken(q_PNA: Tensor, now_V: Tensor, actions_VN1: Tensor) -> Tensor:
    """Returns the Q-values of the actions taken, (V, N).

    Args:
        q_PNA: Q-values of all existing steps.
        now_V: the packed row of every transition, each row at most once.
        actions_VN1: long.
    """
    if not is_compiled(q_PNA):
        return q_PNA[now_V].gather(2, actions_VN1).squeeze(2)
    return _Taken.apply(q_PNA.contiguous(), now_V, actions_VN1.contiguous())


@torch.no_grad()
def next_values(worth_PNA: Tensor, choosing_PNA: Tensor, next_V: Tensor, avail_next_VNA: Tensor) -> Tensor:
    """Returns what one network thinks of the available action that another prefers in the next step, (V, N).

    Where no action is available it is ``UNAVAILABLE``.

    Args:
        worth_PNA: Q-values of all existing steps by the network that judges.
        choosing_PNA: by the network that chooses; the same one without double Q-learning.
        next_V: the packed row of every transition's next step.
        avail_next_VNA: which actions are available there, 0 for no.
    """
    if is_compiled(worth_PNA, choosing_PNA):
        best_VN = worth_PNA.new_empty(avail_next_VNA.shape[:2])
        arrays = (t.detach().contiguous().numpy() for t in (choosing_PNA, worth_PNA, next_V, avail_next_VNA))
        q_value_kernels.best(*arrays, best_VN.numpy())
        return best_VN
    unavailable = avail_next_VNA == 0
    worth_VNA = worth_PNA[next_V].masked_fill(unavailable, UNAVAILABLE)
    best_VN1 = choosing_PNA[next_V].masked_fill(unavailable, UNAVAILABLE).argmax(2, keepdim=True)
    return worth_VNA.gather(2, best_VN1).squeeze(2)
