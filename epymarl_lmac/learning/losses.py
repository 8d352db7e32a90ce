"""LMAC's losses on what its decoder says."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from epymarl_lmac.learning import loss_kernels


class _RecoveryHead(torch.autograd.Function):
    """Both losses on a decoder's output and the cycle encoder's input, in few passes over the large arrays."""

    @staticmethod
    def forward(ctx: Any, decoded_VNJ: Tensor, truth_VI: Tensor, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
        columns = truth_VI.shape[-1]
        joined = decoded_VNJ.clone()
        error = joined[..., :columns] - truth_VI.unsqueeze(1)
        awareness = joined[..., columns:].sigmoid_()
        squared_error = error.square()
        aware = (squared_error < tolerance).to(joined.dtype)
        # |1 - aware - p| is the probability given to what is the case.
        likelihood = (1 - aware).sub_(awareness).abs_().clamp_(min=torch.finfo(joined.dtype).tiny)
        ctx.save_for_backward(joined, error, aware)
        return joined, squared_error.mean(), -likelihood.log_().mean()

    @staticmethod
    def backward(
        ctx: Any, grad_joined: Tensor, grad_recon: Tensor, grad_awareness: Tensor
    ) -> tuple[Tensor | None, ...]:
        joined, error, aware = ctx.saved_tensors
        columns = error.shape[-1]
        awareness = joined[..., columns:]
        grad = grad_joined.clone()
        grad[..., :columns].addcmul_(error, grad_recon * (2 / error.numel()))
        slope = torch.addcmul(awareness, awareness, awareness, value=-1)
        grad[..., columns:].mul_(slope).addcmul_(awareness - aware, grad_awareness / error.numel())
        return grad, None, None


class _RecoveryHeadCpu(torch.autograd.Function):
    """``_RecoveryHead`` for float32 on the CPU; gives the same results to rounding.

    It is kept beside the form for all devices because forward and backward take half the time
    (``benchmarks/recovery_losses.py``: 1.9 to 2.4 times as fast on one core), 4 to 30 ms less an update on LBF.
    """

    @staticmethod
    def forward(ctx: Any, decoded_VNJ: Tensor, truth_VI: Tensor, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
        columns = truth_VI.shape[-1]
        joined = decoded_VNJ.clone(memory_format=torch.contiguous_format)
        joined[..., columns:].sigmoid_()
        truth = truth_VI.contiguous()
        likelihood = joined.new_empty(*joined.shape[:-1], columns)
        ctx.tolerance = np.float32(tolerance)
        total = loss_kernels.judge(joined.numpy(), truth.numpy(), ctx.tolerance, likelihood.numpy())
        ctx.save_for_backward(joined, truth)
        return joined, joined.new_tensor(total / max(1, likelihood.numel())), -likelihood.log_().mean()

    @staticmethod
    def backward(
        ctx: Any, grad_joined: Tensor, grad_recon: Tensor, grad_awareness: Tensor
    ) -> tuple[Tensor | None, ...]:
        joined, truth = ctx.saved_tensors
        count = joined.numel() // 2
        scales = np.float32(2 * float(grad_recon) / count), np.float32(float(grad_awareness) / count)
        grad = torch.empty_like(joined)
        passed = grad_joined.contiguous().numpy()
        loss_kernels.gradient(joined.numpy(), truth.numpy(), ctx.tolerance, passed, *scales, grad.numpy())
        return grad, None, None


class RecoveryLosses(NamedTuple):
    """What ``recovery_losses`` returns."""

    joined_VNJ: Tensor  # [state estimate, awareness probability], (V, N, 2 I)
    recon_loss: Tensor  # mean squared error, scalar
    awareness_loss: Tensor  # mean binary cross-entropy, scalar


def recovery_losses(decoded_VNJ: Tensor, truth_VI: Tensor, tolerance: float) -> RecoveryLosses:
    """Returns LMAC's reconstruction and state-awareness losses of a decoder's output.

    The awareness target is whether the estimate is within tolerance of the truth now; no gradient passes through it.
    The cross-entropy's gradient is that of the logits (probability minus target), which does not vanish where the
    probability saturates; its value is limited to about 87 a column by float32.

    Args:
        decoded_VNJ: valid rows V, agents N, J = 2 I: state estimates, then awareness logits.
        truth_VI: the important state columns.
        tolerance: squared error below which a column counts as known (``mse_thres``).

    Source: Bae et al., ICML 2026, section 4 (L_rec and L_sai).
    """
    compiled = decoded_VNJ.device.type == "cpu" and decoded_VNJ.dtype == truth_VI.dtype == torch.float32
    head = _RecoveryHeadCpu if compiled else _RecoveryHead
    return RecoveryLosses(*head.apply(decoded_VNJ, truth_VI, tolerance))


def reconstruction_r2(estimate_RI: Tensor, truth_RI: Tensor) -> Tensor:
    """Returns 1 - MSE / Var over the rows: 1 is perfect, 0 is predicting each column's mean, below 0 is worse.

    Columns are pooled: sum of squared errors against the sum of squared deviations from the column means, so
    constant columns (zero variance) add nothing but their error.

    Args:
        estimate_RI, truth_RI: (R, I).
    """
    error = (estimate_RI - truth_RI).square().sum()
    spread = (truth_RI - truth_RI.mean(0)).square().sum()
    return 1 - error / spread.clamp(min=torch.finfo(spread.dtype).tiny)
