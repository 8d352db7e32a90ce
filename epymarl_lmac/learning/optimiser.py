"""Adam and RMSprop over one flat vector.

A small recurrent agent has some forty parameter tensors, and an optimiser that walks them spends more time
starting operations than computing. Here all parameters and all gradients are views into two flat vectors, so the
norm, the clipping and the update are a handful of operations. The arithmetic is PyTorch's own optimiser's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from epymarl_lmac.errors import SettingsError

if TYPE_CHECKING:
    from epymarl_lmac.seam import OptimiserArgs


@dataclass(frozen=True)
class OptimiserChoice:
    """An optimiser and its numbers."""

    kind: str  # "adam" or "rmsprop"
    lr: float  # learning rate
    clip: float  # largest gradient norm over its parameters
    alpha: float = 0.99  # RMSprop's decay
    eps: float = 1e-5  # RMSprop's epsilon
    adam_eps: float = 1e-8  # Adam's epsilon, PyTorch's own

    @classmethod
    def of(cls, args: OptimiserArgs) -> OptimiserChoice:
        """Returns the run's optimiser (settings optimiser, lr, grad_norm_clip, optim_alpha, optim_eps)."""
        return cls(args.optimiser, args.lr, args.grad_norm_clip, args.optim_alpha, args.optim_eps)


class FlatOptimiser:
    """Clips by the global norm and steps, on parameters that live in one vector.

    Args:
        params: all trained parameters, of one device and dtype. Their storage moves into the flat vector.
        make: builds the optimiser from a list with the one flat parameter.
    """

    def __init__(
        self, params: Sequence[nn.Parameter], make: Callable[[list[nn.Parameter]], torch.optim.Optimizer]
    ) -> None:
        first = params[0]
        self.flat = nn.Parameter(torch.cat([p.detach().reshape(-1) for p in params]))
        self.flat.grad = torch.zeros_like(self.flat)
        start = 0
        for p in params:
            if p.device != first.device or p.dtype != first.dtype:
                raise ValueError("All parameters of one optimiser must share a device and a dtype.")
            stop = start + p.numel()
            p.data = self.flat.data[start:stop].view_as(p)
            p.grad = self.flat.grad[start:stop].view_as(p)
            start = stop
        self.optimiser = make([self.flat])

    def zero_grad(self) -> None:
        """Clears all gradients, keeping their storage."""
        assert self.flat.grad is not None
        self.flat.grad.zero_()

    def clip_and_step(self, max_norm: float) -> Tensor:
        """Scales the gradient to at most ``max_norm`` (2-norm over all parameters) and updates.

        Returns:
            The norm before clipping, a scalar tensor.
        """
        grad = self.flat.grad
        assert grad is not None
        norm = torch.linalg.vector_norm(grad)
        grad.mul_((max_norm / (norm + 1e-6)).clamp(max=1.0))  # the same formula as torch's clip_grad_norm_
        self.optimiser.step()
        return norm

    def state_dict(self) -> dict[str, Any]:
        """Returns the moments and counters; the parameters themselves are the networks' to save."""
        return self.optimiser.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what ``state_dict`` returned."""
        self.optimiser.load_state_dict(copy.deepcopy(state))  # torch keeps references to the given tensors


def make_optimiser(params: Sequence[nn.Parameter], choice: OptimiserChoice) -> FlatOptimiser:
    """Builds an optimiser.

    Args:
        params: the parameters it trains.
        choice: which one, and its numbers.

    Raises:
        SettingsError: ``choice.kind`` is not known.
    """
    if choice.kind == "adam":
        return FlatOptimiser(params, lambda flat: torch.optim.Adam(flat, lr=choice.lr, eps=choice.adam_eps, fused=True))
    if choice.kind == "rmsprop":
        return FlatOptimiser(
            params,
            lambda flat: torch.optim.RMSprop(flat, lr=choice.lr, alpha=choice.alpha, eps=choice.eps),
        )
    raise SettingsError(f"optimiser={choice.kind!r} is not known; choose 'adam' or 'rmsprop'.", "optimiser")
