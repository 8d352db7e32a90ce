"""Dropout with cheap random numbers.

On the CPU, PyTorch's dropout draws a random double for every element, one after the other: about 6 ns each, which
was 2 ms of every LMAC update. Here each element takes 16 of the generator's bits, so that four share a draw. The
probability is therefore rounded to a multiple of 2**-16.
"""

from __future__ import annotations

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
        if not self.training or self.dropped_levels == 0:
            return x
        if x.device.type != "cpu" or self.dropped_levels == _LEVELS:
            return nn.functional.dropout(x, self.p)
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        levels = draws.view(torch.int16)[: x.numel()].view(x.shape)
        keep = levels >= self.dropped_levels - _LEVELS // 2
        return x * keep.to(x.dtype).mul_(_LEVELS / (_LEVELS - self.dropped_levels))

    def extra_repr(self) -> str:
        """Returns what ``repr`` shows."""
        return f"p={self.p}"
