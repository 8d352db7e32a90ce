"""Matrix products of float32 tensors on the CPU: PyTorch's, or numpy's where those are faster.

On AMD processors PyTorch's library (MKL) uses no AVX-512: one core of a Zen 5 does 100 GFLOP/s with it, over 200 with
the AVX-512 kernels of numpy's library, OpenBLAS. Both give the same numbers to rounding. What a process uses is chosen
once, by ``use``; before that it is PyTorch. Products of a few rows in steps of recurrent networks are neither's
(``product_kernels.py``).

The hand-written passes (``mlp.py``, ``gru.py``, ``losses.py``, ``mixing.py``) and ``Linear``, the layer of all networks
here, come to this place. Letters: P rows, I inputs, H columns of a layer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import threadpoolctl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epymarl_lmac.learning import threads
from epymarl_lmac.learning.forms import is_compiled
from epymarl_lmac.processor import is_amd_with_avx512

AUTO, TORCH, NUMPY = "auto", "torch", "numpy"
CHOICES = (AUTO, TORCH, NUMPY)
SMALL = 2**21  # with fewer multiplications, as when acting, a layer of ours costs more than it saves
_AVX512 = ("SkylakeX", "Cooperlake", "SapphireRapids")  # OpenBLAS's names of kernels

_is_numpy = False


def use(name: str, n_threads: int, shares_rows: bool = False) -> str:
    """Chooses the library of this process's matrix products, and how many threads an update has.

    The threads share out rows (``threads.py``), or each operation of PyTorch shares out its own work. Both at once is
    slower than either: a library's own threads wait actively for more work and take the cores of the others. For the
    same reason the threads share out rows wherever products are numpy's.

    Args:
        name: one of ``CHOICES``; "auto" is numpy on an AMD processor for which numpy has AVX-512 kernels, else torch.
        n_threads: of an update.
        shares_rows: whether the threads share out rows with PyTorch's products, too. That is faster where nearly all
            of an update lies in the hand-written passes, above all with many agents.

    Returns:
        What was chosen, "torch" or "numpy".
    """
    global _is_numpy
    threadpoolctl.threadpool_limits(limits=1, user_api="blas")
    is_faster = is_amd_with_avx512() and _numpys_kernels() in _AVX512
    _is_numpy = name == NUMPY or (name == AUTO and is_faster)
    of_rows = n_threads if _is_numpy or shares_rows else 1
    torch.set_num_threads(1 if of_rows > 1 else n_threads)
    threads.use(of_rows)
    return NUMPY if _is_numpy else TORCH


def _numpys_kernels() -> str:
    """Returns which kernels numpy's library computes with; "" where that is not known."""
    found = [blas.get("architecture") for blas in threadpoolctl.threadpool_info() if "numpy" in blas["filepath"]]
    return found[0] or "" if found else ""


def description() -> str:
    """Returns in words what this process uses, for the run's record."""
    return f"numpy, {_numpys_kernels() or 'unknown'} kernels" if _is_numpy else TORCH


def product(left: Tensor, right: Tensor, out: Tensor | None = None) -> Tensor:
    """Returns ``left @ right``, in ``out`` if that is given."""
    if not _is_numpy:
        return torch.mm(left, right, out=out)
    if out is None:
        out = left.new_empty(len(left), right.shape[1])
    np.matmul(left.numpy(), right.numpy(), out=out.numpy())
    return out


def add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Adds ``left @ right`` to ``total``; PyTorch's counter of operations does not see ``addmm_``."""
    if not _is_numpy:
        torch.addmm(total, left, right, out=total)
        return
    sums = total.numpy()
    sums += np.matmul(left.numpy(), right.numpy())


class _Linear(torch.autograd.Function):
    """x W^T + b, or without b; not to be differentiated twice."""

    @staticmethod
    def forward(ctx: Any, x_PI: Tensor, weight_HI: Tensor, bias_H: Tensor | None) -> Tensor:
        ctx.save_for_backward(x_PI, weight_HI)
        x, to_out, out = x_PI.detach(), weight_HI.detach().t(), x_PI.new_empty(len(x_PI), len(weight_HI))

        def run(rows: slice) -> None:
            product(x[rows], to_out, out=out[rows])
            if bias_H is not None:
                out[rows] += bias_H

        threads.run(run, threads.shares(len(x)))
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_PH: Tensor) -> tuple[Tensor | None, ...]:
        x_PI, weight_HI = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        d_x = torch.empty_like(x_PI) if wants_x else None

        def run(rows: slice) -> tuple[Tensor | None, Tensor | None]:
            grad = grad_PH[rows]
            if d_x is not None:
                product(grad, weight_HI, out=d_x[rows])
            return product(grad.t(), x_PI[rows]) if wants_weight else None, grad.sum(0) if wants_bias else None

        found = threads.run(run, threads.shares(len(x_PI)))
        return d_x, *(None if of_all[0] is None else sum(of_all) for of_all in zip(*found, strict=True))


def linear(x: Tensor, weight_HI: Tensor, bias_H: Tensor | None = None) -> Tensor:
    """Returns what ``torch.nn.functional.linear`` does.

    Args:
        x: inputs (..., I).
        weight_HI, bias_H: of the layer.
    """
    lead = x.shape[:-1]
    is_ours = (_is_numpy or threads.count() > 1) and is_compiled(x, weight_HI, bias_H)
    if not is_ours or x.numel() * len(weight_HI) < SMALL:
        return F.linear(x, weight_HI, bias_H)
    return _Linear.apply(x.reshape(-1, x.shape[-1]), weight_HI, bias_H).view(*lead, -1)


class Linear(nn.Linear):
    """``torch.nn.Linear`` with the products that the process uses."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns (..., H) for inputs (..., I)."""
        return linear(x, self.weight, self.bias)
