"""Which form of a calculation runs: compiled loops for float32 on the CPU, PyTorch operations for all else."""

from __future__ import annotations

import torch
from torch import Tensor

plain_only = False  # set by tests, to compare the two forms on the same numbers, and to count operations


def is_compiled(*tensors: Tensor | None) -> bool:
    """Returns whether the compiled form takes these tensors; None stands for one that is not given."""
    return not plain_only and all(t is None or (t.device.type == "cpu" and t.dtype == torch.float32) for t in tensors)
