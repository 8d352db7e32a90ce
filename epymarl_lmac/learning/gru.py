"""A GRU over whole sequences of different length, with a hand-written backward pass.

PyTorch's CPU GRU records about fifteen small autograd nodes for every step. Here one autograd node covers the
sequence: the input half of the gates is one matrix product over all steps, a step costs one more product and a few
in-place operations, and the weight gradients are again single products over all steps.

It can also carry the sum ``h = gru(x, h) + residual`` to the next step, which no fused library GRU offers and
which the published LMAC encoder does.

Sequences are packed as in ``packing.py``: the rows of step 0, then those of step 1, ..., each step's rows being a
prefix of the step before. Letters: P packed rows, I input, H hidden, G = 3 H gates.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class _GruSequence(torch.autograd.Function):
    """h_t = GRU(x_t, h_{t-1}) + residual_t, gates in PyTorch's order (reset, update, new)."""

    @staticmethod
    def forward(ctx, gates_PG: Tensor, h0_RH: Tensor, weight_GH: Tensor, bias_G: Tensor, residual_PH, counts):
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
    def backward(ctx, grad_PH: Tensor):
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
    return _GruSequence.apply(gates_PG, h0_RH, cell.weight_hh, cell.bias_hh, residual_PH, counts)
