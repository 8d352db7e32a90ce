"""A GRU over whole sequences of different length, with a hand-written backward pass.

PyTorch's CPU GRU records about fifteen small autograd nodes for every step. Here one autograd node covers the
sequence: the input half of the gates is one matrix product over all steps, a step costs one more product and a few
in-place operations, and the weight gradients are again single products over all steps.

On the CPU in float32 the step's remaining work is one compiled loop (``gru_kernels.py``); other devices and dtypes use
PyTorch operations throughout. Both are the same function: their difference is that of two roundings.

It can also carry the sum ``h = gru(x, h) + residual`` to the next step, which no fused library GRU offers and
which the published LMAC encoder does.

Sequences are packed as in ``packing.py``: the rows of step 0, then those of step 1, ..., each step's rows being a
prefix of the step before. Letters: P packed rows, I input, H hidden, G = 3 H gates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from epymarl_lmac.learning import gru_kernels


class _GruSequenceCpu(torch.autograd.Function):
    """``_GruSequence`` for float32 on the CPU; gives the same results to rounding."""

    @staticmethod
    def forward(
        ctx: Any,
        gates_PG: Tensor,
        h0_RH: Tensor,
        weight_GH: Tensor,
        bias_G: Tensor,
        residual_PH: Tensor | None,
        counts: Sequence[int],
    ) -> Tensor:
        h, previous, factors = _run_cpu(gates_PG, h0_RH, weight_GH, bias_G, residual_PH, counts, with_factors=True)
        ctx.save_for_backward(previous, factors, weight_GH)
        ctx.counts, ctx.has_residual = list(counts), residual_PH is not None
        return h

    @staticmethod
    def backward(ctx: Any, grad_PH: Tensor) -> tuple[Tensor | None, ...]:
        previous, factors, weight_GH = ctx.saved_tensors
        P, H = grad_PH.shape
        d_h = grad_PH.clone(memory_format=torch.contiguous_format)
        d_hidden = d_h.new_empty(P, 3 * H)
        kept = d_h.new_empty(ctx.counts[0], H)
        carry = torch.empty_like(kept)
        arrays = [t.numpy() for t in (d_h, carry, factors, d_hidden, kept)]
        d_h_array, carry_array, factors_array, d_hidden_array, kept_array = arrays
        d_steps = d_hidden.split(ctx.counts)
        stop, carried = P, 0
        for rows, d_step in zip(reversed(ctx.counts), reversed(d_steps), strict=True):
            start = stop - rows
            gru_kernels.step_back(
                d_h_array, carry_array, carried, factors_array, d_hidden_array, kept_array, start, rows
            )
            if rows != carried:
                kept_rows, carry_rows = kept[:rows], carry[:rows]
            torch.addmm(kept_rows, d_step, weight_GH, out=carry_rows)
            stop, carried = start, rows
        d_weight = d_hidden.t() @ previous
        d_bias = d_hidden.sum(0)
        gru_kernels.to_input_gates(d_h_array, factors_array, d_hidden_array)
        return d_hidden, carry, d_weight, d_bias, d_h if ctx.has_residual else None, None


def _run_cpu(
    gates_PG: Tensor,
    h0_RH: Tensor,
    weight_GH: Tensor,
    bias_G: Tensor,
    residual_PH: Tensor | None,
    counts: Sequence[int],
    with_factors: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Returns the states (P, H) and, for the backward pass, the states before and its factors (else None)."""
    P, G = gates_PG.shape
    H = G // 3
    weight_HG = weight_GH.detach().t().contiguous()
    before = h0_RH.detach().contiguous()
    h = gates_PG.new_empty(P, H)
    hidden = gates_PG.new_empty(counts[0], G)
    residual = gates_PG.new_empty(0, H) if residual_PH is None else residual_PH.detach().contiguous()
    previous = gates_PG.new_empty(P, H) if with_factors else None
    factors = gates_PG.new_empty(P, gru_kernels.FACTORS, H) if with_factors else None
    fixed = [t.detach().contiguous().numpy() for t in (gates_PG, hidden, bias_G)]
    result = [t.numpy() for t in (residual, h)]
    before_array, h_array = before.numpy(), result[1]
    kept = () if previous is None or factors is None else (previous.numpy(), factors.numpy())
    start, last_rows = 0, -1
    for rows, h_step in zip(counts, h.split(list(counts)), strict=True):
        if rows != last_rows:
            before, hidden_rows, last_rows = before[:rows], hidden[:rows], rows
        torch.mm(before, weight_HG, out=hidden_rows)
        if kept:
            gru_kernels.step_with_factors(*fixed, before_array, *result, *kept, start, rows)
        else:
            gru_kernels.step(*fixed, before_array, *result, start, rows)
        before, before_array = h_step, h_array[start : start + rows]
        start += rows
    return h, previous, factors


class _GruSequence(torch.autograd.Function):
    """h_t = GRU(x_t, h_{t-1}) + residual_t, gates in PyTorch's order (reset, update, new)."""

    @staticmethod
    def forward(
        ctx: Any,
        gates_PG: Tensor,
        h0_RH: Tensor,
        weight_GH: Tensor,
        bias_G: Tensor,
        residual_PH: Tensor | None,
        counts: Sequence[int],
    ) -> Tensor:
        P, G = gates_PG.shape
        H = G // 3
        weight_HG = weight_GH.t().contiguous()
        h_all, n_all, hn_all = (gates_PG.new_empty(P, H) for _ in range(3))
        previous = gates_PG.new_empty(P, H)  # the state each row starts from
        rz_all = gates_PG.new_empty(P, 2 * H)
        hidden_gates = gates_PG.new_empty(counts[0], G)
        sizes = list(counts)
        steps = zip(
            gates_PG.split(sizes),
            h_all.split(sizes),
            n_all.split(sizes),
            hn_all.split(sizes),
            previous.split(sizes),
            rz_all.split(sizes),
            [None] * len(sizes) if residual_PH is None else residual_PH.split(sizes),
            strict=True,
        )
        state = h0_RH
        for gates, h, n, hn, before, rz, residual in steps:
            rows = len(gates)
            before.copy_(state[:rows])
            hidden = hidden_gates[:rows]
            torch.addmm(bias_G, before, weight_HG, out=hidden)
            torch.add(gates[:, : 2 * H], hidden[:, : 2 * H], out=rz).sigmoid_()
            hn.copy_(hidden[:, 2 * H :])
            torch.addcmul(gates[:, 2 * H :], rz[:, :H], hn, out=n).tanh_()
            torch.lerp(n, before, rz[:, H:], out=h)
            if residual is not None:
                h.add_(residual)
            state = h
        ctx.save_for_backward(previous, rz_all, n_all, hn_all, weight_GH)
        ctx.counts, ctx.has_residual = sizes, residual_PH is not None
        return h_all

    @staticmethod
    def backward(ctx: Any, grad_PH: Tensor) -> tuple[Tensor | None, ...]:
        previous, rz_all, n_all, hn_all, weight_GH = ctx.saved_tensors
        sizes = ctx.counts
        P, H = n_all.shape
        r, z = rz_all[:, :H], rz_all[:, H:]
        # d(gate before its nonlinearity) = coefficient * d(h), for all rows at once.
        coefficient = previous.new_empty(P, 3, H)
        new_gate = torch.addcmul(torch.ones_like(n_all), n_all, n_all, value=-1).mul_(1 - z)
        torch.mul(new_gate * hn_all, r * (1 - r), out=coefficient[:, 0])
        torch.mul(previous - n_all, z * (1 - z), out=coefficient[:, 1])
        torch.mul(new_gate, r, out=coefficient[:, 2])
        d_hidden = previous.new_empty(P, 3, H)
        d_h = grad_PH.clone()
        steps = zip(d_h.split(sizes), coefficient.split(sizes), d_hidden.split(sizes), z.split(sizes), strict=True)
        carry = None
        for d_step, factor, d_gates, keep in reversed(list(steps)):
            if carry is not None:
                d_step[: len(carry)].add_(carry)
            torch.mul(factor, d_step.unsqueeze(1), out=d_gates)
            carry = torch.addmm(d_step * keep, d_gates.view(len(d_step), 3 * H), weight_GH)
        flat = d_hidden.view(P, 3 * H)
        d_weight = flat.t() @ previous
        d_bias = flat.sum(0)
        torch.mul(new_gate, d_h, out=d_hidden[:, 2])  # the input's new-gate part has no reset factor
        return flat, carry, d_weight, d_bias, d_h if ctx.has_residual else None, None


def gru_sequence(
    cell: nn.GRUCell, x_PI: Tensor, h0_RH: Tensor, counts: Sequence[int], residual_PH: Tensor | None = None
) -> Tensor:
    """Runs a GRU cell over packed sequences.

    Args:
        cell: the cell whose weights are used; its parameter names stay those of ``torch.nn.GRUCell``.
        x_PI: inputs, packed (P, I).
        h0_RH: state before the first step (R, H), R = counts[0].
        counts: rows of each step, not increasing, summing to P.
        residual_PH: added to the state after every step and carried on with it, (P, H); None adds nothing.

    Returns:
        The states after every step, packed (P, H).
    """
    gates_PG = torch.nn.functional.linear(x_PI, cell.weight_ih, cell.bias_ih)
    arrays = (gates_PG, h0_RH, cell.weight_hh, cell.bias_hh)
    if any(t.device.type != "cpu" or t.dtype != torch.float32 for t in arrays):
        return _GruSequence.apply(*arrays, residual_PH, counts)
    if torch.is_grad_enabled():
        return _GruSequenceCpu.apply(*arrays, residual_PH, counts)
    return _run_cpu(*arrays, residual_PH, counts, with_factors=False)[0]
