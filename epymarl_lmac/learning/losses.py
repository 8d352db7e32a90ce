"""LMAC's losses on what its decoder says.

Letters: V transitions, N agents, Z latent, I important state columns, J = 2 I.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from epymarl_lmac.learning import loss_kernels, threads
from epymarl_lmac.learning.forms import is_compiled
from epymarl_lmac.learning.mlp import Pass, Plan, blocks, mlp, stages_of, weights_of


class RecoveryLosses(NamedTuple):
    """What ``recovery_losses`` returns."""

    joined_VNJ: Tensor  # [state estimate, awareness probability], (V, N, 2 I), without gradient
    recon_loss: Tensor  # mean squared error, scalar
    awareness_loss: Tensor  # mean binary cross-entropy, scalar
    cycle_loss: Tensor  # mean squared difference of the cycle encoder's output and z, scalar


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


class _Recovery(NamedTuple):
    """What the compiled form needs besides tensors."""

    decoder: Plan
    cycle: Plan
    tolerance: np.float32
    is_target_fixed: bool
    n_agents: int

    def shares(self) -> list[slice]:
        """Returns the rows of every thread; a transition's agents stay together."""
        N = self.n_agents
        return [slice(N * share.start, N * share.stop) for share in threads.shares(self.decoder.n_rows // N)]

    def blocks(self, share: slice) -> Iterator[slice]:
        """Yields the rows of every block; a transition's agents stay together."""
        rows = min(self.decoder.block_rows, self.cycle.block_rows)
        return blocks(share, max(1, rows // self.n_agents) * self.n_agents)

    def transitions(self, rows: slice) -> slice:
        """Returns the transitions of a block."""
        return slice(rows.start // self.n_agents, rows.stop // self.n_agents)

    def split(self, weights: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Returns the decoder's and the cycle encoder's part."""
        return weights[: self.decoder.n_weights], weights[self.decoder.n_weights :]


class _RecoveryCpu(torch.autograd.Function):
    """``recovery_losses`` for float32 on the CPU; gives the same results to rounding.

    Rows are worked off in blocks that stay in the cache from z to the cycle encoder's output and back.
    Letters: P = V N rows.
    """

    @staticmethod
    def forward(
        ctx: Any, plan: _Recovery, z_PZ: Tensor, truth_VI: Tensor, *weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        of_decoder, of_cycle = plan.split(weights)
        decoder, cycle = Pass(plan.decoder, of_decoder, keeps=True), Pass(plan.cycle, of_cycle, keeps=True)
        (P, Z), I = z_PZ.shape, truth_VI.shape[1]

        def run(share: slice) -> np.ndarray:
            sums = np.zeros(3)
            for rows in plan.blocks(share):
                z = z_PZ[rows]
                joined = decoder.forward(rows, [z])
                joined[:, I:].sigmoid_()
                likelihood = z.new_empty(len(z), I)
                truth = truth_VI[plan.transitions(rows)]
                sums[0] += loss_kernels.judge(joined.numpy(), truth.numpy(), plan.tolerance, likelihood.numpy())
                sums[1] -= float(likelihood.log_().sum())
                sums[2] += float((cycle.forward(rows, [joined]) - z).square_().sum())
            return sums

        means = sum(threads.run(run, plan.shares())) / np.array([P * I, P * I, P * Z])
        ctx.save_for_backward(z_PZ, truth_VI, *weights, *decoder.tensors, *cycle.tensors)
        ctx.plan, ctx.n_weights, ctx.n_decoder = plan, len(weights), len(decoder.tensors)
        joined = decoder.outs[-1]
        ctx.mark_non_differentiable(joined)
        ctx.set_materialize_grads(False)  # else PyTorch makes zeros of joined's size
        recon, awareness, again = (z_PZ.new_tensor(mean) for mean in means)
        return joined, recon, awareness, again

    @staticmethod
    def backward(
        ctx: Any, _: None, grad_recon: Tensor | None, grad_awareness: Tensor | None, grad_cycle: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        plan: _Recovery = ctx.plan
        z_PZ, truth_VI, *rest = ctx.saved_tensors
        weights, kept = rest[: ctx.n_weights], rest[ctx.n_weights :]
        of_decoder, of_cycle = plan.split(weights)
        (P, Z), I = z_PZ.shape, truth_VI.shape[1]
        recon, awareness, again = (0.0 if d is None else float(d) for d in (grad_recon, grad_awareness, grad_cycle))
        scales = np.float32(2 * recon / (P * I)), np.float32(awareness / (P * I))
        cycle_scale = 2 * again / (P * Z)
        d_z = torch.empty_like(z_PZ)

        def run(share: slice) -> list[Tensor]:
            decoder = Pass(plan.decoder, of_decoder, True, kept[: ctx.n_decoder])
            cycle = Pass(plan.cycle, of_cycle, True, kept[ctx.n_decoder :])
            for rows in plan.blocks(share):
                z, joined = z_PZ[rows], decoder.outs[-1][rows]
                d_again = (cycle.outs[-1][rows] - z).mul_(cycle_scale)
                d_target = None if plan.is_target_fixed else d_again.clone()
                d_joined = torch.empty_like(joined)
                cycle.backward(rows, d_again, [joined], [d_joined])
                truth = truth_VI[plan.transitions(rows)]
                loss_kernels.gradient(joined.numpy(), truth.numpy(), plan.tolerance, *scales, d_joined.numpy())
                decoder.backward(rows, d_joined, [z], [d_z[rows]])
                if d_target is not None:
                    d_z[rows].sub_(d_target)
            return [*decoder.gradients(), *cycle.gradients()]

        return None, d_z, None, *threads.added(threads.run(run, plan.shares()))


def recovery_losses(
    decoder: nn.Sequential,
    cycle: nn.Sequential,
    z_VNZ: Tensor,
    truth_VI: Tensor,
    tolerance: float,
    is_target_fixed: bool = True,
) -> RecoveryLosses:
    """Returns LMAC's reconstruction, state-awareness and cycle losses of a latent.

    The awareness target is whether the estimate is within tolerance of the truth now; no gradient passes through it.
    The cross-entropy's gradient is that of the logits (probability minus target), which does not vanish where the
    probability saturates; its value is limited to about 87 a column by float32.

    Args:
        decoder: z -> state estimates, then awareness logits, 2 I columns.
        cycle: [state estimates, awareness probabilities] -> z.
        z_VNZ: latents of valid rows V, agents N.
        truth_VI: the important state columns.
        tolerance: squared error below which a column counts as known (``mse_thres``).
        is_target_fixed: whether the cycle loss passes no gradient to z as its target.

    Source: Bae et al., ICML 2026, section 4 (L_rec, L_sai and L_cyc).
    """
    V, N, Z = z_VNZ.shape
    of_decoder, of_cycle = stages_of(decoder), stages_of(cycle)
    weights = [*decoder.parameters(), *cycle.parameters()]
    if of_decoder is None or of_cycle is None or not is_compiled(z_VNZ, truth_VI, *weights) or z_VNZ.numel() == 0:
        joined, recon, awareness = _RecoveryHead.apply(mlp(decoder, z_VNZ), truth_VI, tolerance)
        target = z_VNZ.detach() if is_target_fixed else z_VNZ
        return RecoveryLosses(joined.detach(), recon, awareness, (target - mlp(cycle, joined)).square().mean())
    plan = _Recovery(Plan(of_decoder, V * N), Plan(of_cycle, V * N), np.float32(tolerance), is_target_fixed, N)
    rows, truth = z_VNZ.reshape(V * N, Z), truth_VI.contiguous()
    joined, *losses = _RecoveryCpu.apply(plan, rows, truth, *weights_of(of_decoder), *weights_of(of_cycle))
    return RecoveryLosses(joined.view(V, N, -1), *losses)


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
