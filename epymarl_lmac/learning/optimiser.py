"""Adam and RMSprop over one flat vector.

A small recurrent agent has some forty parameter tensors, and an optimiser that walks them spends more time
starting operations than computing. Here all parameters and all gradients are views into two flat vectors, so the
norm, the clipping and the update are a handful of operations.

The arithmetic is PyTorch's: its functions ``adam`` and ``rmsprop``. Its classes do the same, but import its compiler
(``torch._dynamo``), which was a third of the time that a run took to start.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.rmsprop import rmsprop

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


class FlatOptimiser(ABC):
    """Clips by the global norm and steps, on parameters that live in one vector.

    Args:
        params: all trained parameters, of one device and dtype. Their storage moves into the flat vector.
        choice: the optimiser's numbers.
    """

    MOMENTS: ClassVar[Sequence[str]]  # PyTorch's names of the running averages

    def __init__(self, params: Sequence[nn.Parameter], choice: OptimiserChoice) -> None:
        first = params[0]
        self.choice = choice
        self.flat = torch.cat([p.detach().reshape(-1) for p in params])
        self.grad = torch.zeros_like(self.flat)
        start = 0
        for p in params:
            if p.device != first.device or p.dtype != first.dtype:
                raise ValueError("All parameters of one optimiser must share a device and a dtype.")
            stop = start + p.numel()
            p.data = self.flat[start:stop].view_as(p)
            p.grad = self.grad[start:stop].view_as(p)
            start = stop
        self.n_steps = torch.zeros((), device=self.flat.device)
        self.moments = [torch.zeros_like(self.flat) for _ in self.MOMENTS]

    def zero_grad(self) -> None:
        """Clears all gradients, keeping their storage."""
        self.grad.zero_()

    def clip_and_step(self, max_norm: float) -> Tensor:
        """Scales the gradient to at most ``max_norm`` (2-norm over all parameters) and updates.

        Returns:
            The norm before clipping, a scalar tensor.
        """
        norm = torch.linalg.vector_norm(self.grad)
        self.grad.mul_((max_norm / (norm + 1e-6)).clamp(max=1.0))  # the same formula as torch's clip_grad_norm_
        self._step()
        return norm

    @abstractmethod
    def _step(self) -> None:
        """Updates the parameters and ``moments`` and counts the step."""

    def state_dict(self) -> dict[str, Any]:
        """Returns the moments and the number of steps; the parameters themselves are the networks' to save.

        They lie where PyTorch's optimisers have them, so that checkpoints of either can be read.
        """
        moments = dict(zip(self.MOMENTS, self.moments, strict=True))
        return {"state": {0: {name: t.clone() for name, t in {"step": self.n_steps, **moments}.items()}}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what ``state_dict`` returned.

        Raises:
            ValueError: it is of another optimiser.
        """
        of_flat = state["state"].get(0, {})  # PyTorch's have nothing before the first step
        if of_flat and set(of_flat) != {"step", *self.MOMENTS}:
            expected = ", ".join(("step", *self.MOMENTS))
            raise ValueError(f"The state of {type(self).__name__} has {expected}; this one has {', '.join(of_flat)}.")
        for name, tensor in zip(("step", *self.MOMENTS), (self.n_steps, *self.moments), strict=True):
            tensor.copy_(of_flat[name]) if of_flat else tensor.zero_()


class Adam(FlatOptimiser):
    """Kingma and Ba, ICLR 2015, with PyTorch's fused loop."""

    MOMENTS = ("exp_avg", "exp_avg_sq")

    def _step(self) -> None:
        mean, square = self.moments
        adam(
            [self.flat], [self.grad], [mean], [square], [], [self.n_steps], fused=True, amsgrad=False, beta1=0.9,
            beta2=0.999, lr=self.choice.lr, weight_decay=0.0, eps=self.choice.adam_eps, maximize=False,
        )  # fmt: skip


class RMSprop(FlatOptimiser):
    """Hinton's lecture 6e, 2012, as in PyTorch: the epsilon is added to the root."""

    MOMENTS = ("square_avg",)

    def _step(self) -> None:
        rmsprop(
            [self.flat], [self.grad], self.moments, [], [], [self.n_steps], lr=self.choice.lr, alpha=self.choice.alpha,
            eps=self.choice.eps, weight_decay=0.0, momentum=0.0, centered=False,
        )  # fmt: skip


OPTIMISERS = {"adam": Adam, "rmsprop": RMSprop}


def make_optimiser(params: Sequence[nn.Parameter], choice: OptimiserChoice) -> FlatOptimiser:
    """Builds an optimiser.

    Args:
        params: the parameters it trains.
        choice: which one, and its numbers.

    Raises:
        SettingsError: ``choice.kind`` is not known.
    """
    if choice.kind not in OPTIMISERS:
        raise SettingsError(f"optimiser={choice.kind!r} is not known; choose 'adam' or 'rmsprop'.", "optimiser")
    return OPTIMISERS[choice.kind](params, choice)
