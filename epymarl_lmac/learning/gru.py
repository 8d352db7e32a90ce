"""A GRU over whole sequences of different length, with a hand-written backward pass.

PyTorch's CPU GRU records about fifteen small autograd nodes for every step. Here one autograd node covers the
sequence, together with the layer before it where there is one.

On the CPU in float32 (``_GruSequenceCpu``) rows are worked off in blocks of whole steps that stay in the processor's
cache, from the inputs to the states and back. The input half of the gates is one matrix product a block, a step costs
one more product and one compiled loop (``gru_kernels.py``) that adds the biases as well, and a block's share of the
weights' gradients is added while its gates' gradients are at hand. Where products are numpy's, all steps of a block are
one compiled call, products included. Other devices and dtypes use PyTorch operations over all steps. All are the same
function: their difference is that of a few roundings.

It can also carry the sum ``h = gru(x, h) + residual`` to the next step, which no fused library GRU offers and
which the published LMAC encoder does.

Sequences are packed as in ``packing.py``: the rows of step 0, then those of step 1, ..., each step's rows being a
prefix of the step before. Letters: P packed rows, I input, A what the gates read, H hidden, G = 3 H gates, K rows of a
block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epymarl_lmac.learning import gru_kernels, mlp_kernels, products
from epymarl_lmac.learning.forms import is_compiled
from epymarl_lmac.learning.input_parts import add_weight_gradient, input_gradients, linear
from epymarl_lmac.learning.products import add_product, product

BLOCK_ROWS = 1024  # a block ends with the step that reaches so many rows


class _Block(NamedTuple):
    """Neighbouring steps that are worked off together."""

    start: int  # first packed row
    stop: int
    steps: list[tuple[int, int, int]]  # of every step: its first row, its rows, the first row of the step before or -1

    def steps_array(self) -> np.ndarray:
        """Returns the steps as compiled loops read them, (S, 3)."""
        return np.array(self.steps, dtype=np.int64)


def _blocks(counts: Sequence[int]) -> list[_Block]:
    """Returns the blocks of packed sequences, in order."""
    blocks: list[_Block] = []
    steps: list[tuple[int, int, int]] = []
    row, before = 0, -1
    for t, rows in enumerate(counts):
        steps.append((row, rows, before))
        before, row = row, row + rows
        if row - steps[0][0] >= BLOCK_ROWS or t == len(counts) - 1:
            blocks.append(_Block(steps[0][0], row, steps))
            steps = []
    return blocks


class _Weights(NamedTuple):
    """What is trained, without gradient."""

    weight_ih: Tensor  # (G, A)
    weight_hh: Tensor  # (G, H)
    bias_ih: Tensor  # (G,)
    bias_hh: Tensor  # (G,)
    first_weight: Tensor | None = None  # of the layer before, (A, I)
    first_bias: Tensor | None = None  # (A,)


class _GruSequenceCpu(torch.autograd.Function):
    """The first layer and ``_GruSequence`` for float32 on the CPU; gives the same results to rounding."""

    @staticmethod
    def forward(
        ctx: Any, counts: Sequence[int], n_parts: int, h0_RH: Tensor, residual_PH: Tensor | None, *tensors: Tensor
    ) -> Tensor:
        parts, weights = tensors[:n_parts], _Weights(*tensors[n_parts:])
        a_PA, h_PH, factors_PC = _run_cpu(counts, parts, h0_RH, residual_PH, weights, keeps=True)
        ctx.save_for_backward(h0_RH, a_PA, h_PH, factors_PC, *tensors)
        ctx.counts, ctx.n_parts = list(counts), n_parts
        return h_PH

    @staticmethod
    def backward(ctx: Any, grad_PH: Tensor) -> tuple[Tensor | None, ...]:
        h0_RH, a_PA, h_PH, factors_PC, *tensors = ctx.saved_tensors
        n_parts = ctx.n_parts
        parts, weights = tensors[:n_parts], _Weights(*tensors[n_parts:])
        _, _, wants_h0, wants_residual, *wants = ctx.needs_input_grad
        back = _Backward(weights, parts, wants[:n_parts])
        back.run(ctx.counts, grad_PH, h0_RH, a_PA, h_PH, factors_PC, wants_h0)
        return (None, None, back.carry if wants_h0 else None, back.d_h if wants_residual else None, *back.gradients())


def _run_cpu(
    counts: Sequence[int],
    parts: Sequence[Tensor],
    h0_RH: Tensor,
    residual_PH: Tensor | None,
    weights: _Weights,
    keeps: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns what the gates read (P, A), the states (P, H) and what else the backward pass needs (P, C).

    Without ``keeps`` the first and the last are not complete.
    """
    w = weights
    P, (G, A) = len(parts[0]), w.weight_ih.shape
    H = G // 3
    blocks = _blocks(counts)
    K = max(block.stop - block.start for block in blocks)
    new = w.weight_ih.new_empty
    h, factors, hidden, gates = new(P, H), new(P if keeps else 0, gru_kernels.FACTORS * H), new(counts[0], G), new(K, G)
    a = parts[0].detach().contiguous() if w.first_weight is None else new(P if keeps else K, A)
    bias_F = torch.cat([w.bias_ih[: 2 * H] + w.bias_hh[: 2 * H], w.bias_ih[2 * H :], w.bias_hh[2 * H :]]).numpy()
    first_bias = None if w.first_bias is None else w.first_bias.detach().numpy()
    h0 = h0_RH.detach().contiguous()
    residual = new(0, H) if residual_PH is None else residual_PH.detach().contiguous()
    to_gates, to_hidden = w.weight_ih.detach().t().contiguous(), w.weight_hh.detach().t().contiguous()
    h_array, hidden_array, gates_array = h.numpy(), hidden.numpy(), gates.numpy()
    residual_array, factors_array, h0_array = residual.numpy(), factors.numpy(), h0.numpy()
    last_rows, in_one_call = -1, products.chosen() == products.NUMPY
    for block in blocks:
        rows_K = slice(block.start, block.stop)
        n = block.stop - block.start
        if w.first_weight is None:
            a_K = a[rows_K]
        else:
            a_K = a[rows_K] if keeps else a[:n]
            linear([part[rows_K] for part in parts], w.first_weight, a_K)
            mlp_kernels.add_bias(a_K.numpy(), first_bias, True)
        if in_one_call:
            gru_kernels.steps(
                a_K.numpy(), to_gates.numpy(), to_hidden.numpy(), gates_array, hidden_array, bias_F, h0_array,
                residual_array, h_array, factors_array, block.steps_array(),
            )  # fmt: skip
            continue
        product(a_K, to_gates, out=gates[:n])
        for row, rows, before in block.steps:
            if rows != last_rows:
                hidden_rows, last_rows = hidden[:rows], rows
            prior = h0[:rows] if before < 0 else h[before : before + rows]
            product(prior, to_hidden, out=hidden_rows)
            fixed = gates_array, row - block.start, hidden_array, bias_F, prior.numpy(), residual_array, h_array
            if keeps:
                gru_kernels.step_with_factors(*fixed, factors_array, row, rows)
            else:
                gru_kernels.step(*fixed, row, rows)
    return a, h, factors


class _Backward:
    """The backward pass of ``_run_cpu``; its attributes are the gradients.

    Args:
        weights, parts: as in the forward pass.
        wants: which parts need a gradient.
    """

    def __init__(self, weights: _Weights, parts: Sequence[Tensor], wants: Sequence[bool]) -> None:
        H = weights.weight_hh.shape[1]
        self.weights, self.parts, self.H = weights, parts, H
        self.d_parts = [torch.empty_like(part) if wanted else None for part, wanted in zip(parts, wants, strict=True)]
        self.d_weight_ih = torch.zeros_like(weights.weight_ih)
        self.d_weight_hh = torch.zeros_like(weights.weight_hh)
        self.d_bias_ih = torch.zeros_like(weights.bias_ih)
        self.d_bias_hh = torch.zeros_like(weights.bias_hh)
        self.d_first = None if weights.first_weight is None else torch.zeros_like(weights.first_weight)
        self.d_first_bias = None if weights.first_bias is None else torch.zeros_like(weights.first_bias)
        self.d_h = self.carry = self.d_bias_ih  # of the states, which is that of the residual; of the first state

    def run(
        self,
        counts: Sequence[int],
        grad_PH: Tensor,
        h0_RH: Tensor,
        a_PA: Tensor,
        h_PH: Tensor,
        factors_PC: Tensor,
        wants_h0: bool,
    ) -> None:
        """Goes through the blocks from the last to the first."""
        G, H, blocks, new = 3 * self.H, self.H, _blocks(counts), grad_PH.new_empty
        K = max(block.stop - block.start for block in blocks)
        d_input, d_hidden, before_K, passed = new(K, G), new(K, G), new(K, H), new(counts[0], H)
        d_a = new(K, a_PA.shape[1])
        weight = self.weights.weight_hh.detach().contiguous()
        self.carry = new(counts[0], H)
        self.d_h = grad_PH.clone(memory_format=torch.contiguous_format)
        d_input_array, d_hidden_array, passed_array = d_input.numpy(), d_hidden.numpy(), passed.numpy()
        d_h_array, carry_array, factors_array = self.d_h.numpy(), self.carry.numpy(), factors_PC.numpy()
        h0_array, h_array, before_array = h0_RH.detach().contiguous().numpy(), h_PH.numpy(), before_K.numpy()
        carried, in_one_call = 0, products.chosen() == products.NUMPY
        for block in reversed(blocks):
            if in_one_call:
                gru_kernels.steps_back(
                    d_h_array, carry_array, carried, factors_array, d_input_array, d_hidden_array, passed_array,
                    weight.numpy(), h0_array, h_array, before_array, block.steps_array(), wants_h0,
                )  # fmt: skip
                carried = block.steps[0][1]
            else:
                for row, rows, before in reversed(block.steps):
                    at = row - block.start
                    gru_kernels.step_back(
                        d_h_array, carry_array, carried, factors_array, d_input_array, d_hidden_array, at, passed_array,
                        row, rows,
                    )  # fmt: skip
                    before_K[at : at + rows] = h0_RH if before < 0 else h_PH[before : before + rows]
                    if before >= 0 or wants_h0:
                        if rows != carried:
                            passed_rows, carry_rows = passed[:rows], self.carry[:rows]
                        torch.addmm(passed_rows, d_hidden[at : at + rows], weight, out=carry_rows)
                    carried = rows
            n = block.stop - block.start
            self._add(d_input[:n], d_hidden[:n], before_K[:n], a_PA[block.start : block.stop], d_a[:n], block)

    def _add(
        self, d_input: Tensor, d_hidden: Tensor, before_K: Tensor, a_K: Tensor, d_a: Tensor, block: _Block
    ) -> None:
        """Adds a block's share of the gradients."""
        weights, rows = self.weights, slice(block.start, block.stop)
        add_product(self.d_weight_hh, d_hidden.t(), before_K)
        add_product(self.d_weight_ih, d_input.t(), a_K)
        self.d_bias_ih += d_input.sum(0)
        self.d_bias_hh += d_hidden.sum(0)
        if weights.first_weight is None:
            if self.d_parts[0] is not None:
                product(d_input, weights.weight_ih, out=self.d_parts[0][rows])
            return
        assert self.d_first is not None and self.d_first_bias is not None
        product(d_input, weights.weight_ih, out=d_a)
        mlp_kernels.through_relu(d_a.numpy(), a_K.numpy(), np.float32(1.0))
        self.d_first_bias += d_a.sum(0)
        parts = [part[rows] for part in self.parts]
        add_weight_gradient(self.d_first, d_a, parts)
        d_parts = [None if d_part is None else d_part[rows] for d_part in self.d_parts]
        input_gradients(d_a, weights.first_weight, d_parts, parts)

    def gradients(self) -> list[Tensor | None]:
        """Returns the gradients of the parts and of all weights, in the order of ``_Weights``."""
        found = [*self.d_parts, self.d_weight_ih, self.d_weight_hh, self.d_bias_ih, self.d_bias_hh]
        return found if self.d_first is None else [*found, self.d_first, self.d_first_bias]


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


def _first_layer(first: nn.Linear | None, parts: Sequence[Tensor]) -> Tensor:
    """Returns what the gates read, (P, A)."""
    x = parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)
    return x if first is None else torch.relu(first(x))


def gru_sequence(
    cell: nn.GRUCell,
    x_PI: Tensor | Sequence[Tensor],
    h0_RH: Tensor,
    counts: Sequence[int],
    residual_PH: Tensor | None = None,
    first: nn.Linear | None = None,
) -> Tensor:
    """Runs a GRU cell over packed sequences.

    Args:
        cell: the cell whose weights are used; its parameter names stay those of ``torch.nn.GRUCell``.
        x_PI: inputs, packed (P, I); with ``first`` also several, to be read side by side.
        h0_RH: state before the first step (R, H), R = counts[0].
        counts: rows of each step, not increasing, summing to P.
        residual_PH: added to the state after every step and carried on with it, (P, H); None adds nothing.
        first: layer before the cell, which then reads relu(first(x)); None: it reads x.

    Returns:
        The states after every step, packed (P, H).
    """
    parts = (x_PI,) if isinstance(x_PI, Tensor) else tuple(x_PI)
    weights = [cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh]
    weights += [] if first is None else [first.weight, first.bias]
    if not is_compiled(*parts, h0_RH, residual_PH, *weights):
        gates_PG = F.linear(_first_layer(first, parts), cell.weight_ih, cell.bias_ih)
        return _GruSequence.apply(gates_PG, h0_RH, cell.weight_hh, cell.bias_hh, residual_PH, counts)
    if torch.is_grad_enabled():
        return _GruSequenceCpu.apply(counts, len(parts), h0_RH, residual_PH, *parts, *weights)
    return _run_cpu(counts, parts, h0_RH, residual_PH, _Weights(*weights), keeps=False)[1]
