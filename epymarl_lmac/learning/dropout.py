"""Dropout with cheap random numbers.

On the CPU, PyTorch's dropout draws a random double for every element, one after the other: about 6 ns each, which
was 2 ms of every LMAC update. Here each element takes 16 of the generator's bits, so that four share a draw. The
probability is therefore rounded to a multiple of 2**-16.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

_LEVELS = 2**16


class Dropout(nn.Module):
    """As ``torch.nn.Dropout``, with p rounded to a multiple of 2**-16 on the CPU.

    Args:
        p: probability that an element becomes 0; the others are divided by 1 - p.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"A dropout probability of {p} is not in [0, 1).")
        self.p = p
        self.dropped_levels = round(p * _LEVELS)

    def forward(self, x: Tensor) -> Tensor:
        """Returns x with elements dropped in train mode, x itself in eval mode."""
        if not self.is_on:
            return x
        if x.device.type != "cpu" or self.dropped_levels == _LEVELS:
            return nn.functional.dropout(x, self.p)
        return x * (self.draw(x.shape) >= self.first_kept).to(x.dtype).mul_(self.scale)

    @property
    def is_on(self) -> bool:
        """Whether elements are dropped: in train mode, unless p rounds to 0."""
        return self.training and self.dropped_levels > 0

    @property
    def first_kept(self) -> int:
        """The lowest of the drawn levels that keeps its element."""
        return self.dropped_levels - _LEVELS // 2

    @property
    def scale(self) -> float:
        """What elements that are kept are multiplied with."""
        return _LEVELS / max(1, _LEVELS - self.dropped_levels)

    def draw(self, shape: Sequence[int]) -> Tensor:
        """Returns a level for every element of an array on the CPU, int16, all equally likely."""
        n = math.prod(shape)
        draws = torch.empty(-(-n // 4), dtype=torch.int64).random_(-(2**63), None)
        return draws.view(torch.int16)[:n].view(tuple(shape))

    def extra_repr(self) -> str:
        """Returns what ``repr`` shows."""
        return f"p={self.p}"
