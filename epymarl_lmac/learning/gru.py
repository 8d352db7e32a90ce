"""A GRU over whole sequences of different length, with a hand-written backward pass.

PyTorch's CPU GRU records about fifteen small autograd nodes for every step. Here one autograd node covers the
sequence, together with the layer before it where there is one.

On the CPU in float32 (``_GruSequenceCpu``) rows are worked off in blocks of whole steps that stay in the processor's
cache, from the inputs to the states and back. The input half of the gates is one matrix product a block, all steps are
one compiled call, their products included (``gru_kernels.py``), and a block's share of the weights' gradients is added
while its gates' gradients are at hand. Where products are numpy's, every thread has some of the sequences
(``threads.py``). Other devices and dtypes use PyTorch operations over all steps. Both are the same function: their
difference is that of a few roundings.

It can also carry the sum ``h = gru(x, h) + residual`` to the next step, which no fused library GRU offers and
which the published LMAC encoder does.

Sequences are packed as in ``packing.py``: the rows of step 0, then those of step 1, ..., each step's rows being a
prefix of the step before. Letters: P packed rows, I input, A what the gates read, H hidden, G = 3 H gates, K rows of a
block.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epymarl_lmac.learning import gru_kernels, mlp_kernels, product_kernels, threads
from epymarl_lmac.learning.forms import is_compiled
from epymarl_lmac.learning.input_parts import add_weight_gradient, input_gradients, linear
from epymarl_lmac.learning.products import add_product, product

BLOCK_ROWS = 1024  # a block ends with the step that reaches so many rows


class _Block(NamedTuple):
    """Neighbouring steps that are worked off together."""

    rows: slice | Tensor  # packed rows; indices where a thread has only some rows of every step
    start: int  # their places where the rows of every thread stand together
    stop: int
    steps_S3: np.ndarray  # of every step: its first row, its rows, the first row of the step before or -1

    def take(self, x_PI: Tensor) -> Tensor:
        """Returns these rows of an array."""
        return x_PI[self.rows] if isinstance(self.rows, slice) else x_PI.index_select(0, self.rows)

    def room(self, x_PI: Tensor) -> Tensor:
        """Returns room for these rows of an array, which ``put`` takes there."""
        return x_PI[self.rows] if isinstance(self.rows, slice) else x_PI.new_empty(len(self.rows), x_PI.shape[1])

    def put(self, written_KI: Tensor, x_PI: Tensor) -> None:
        """Writes what stands in the room to its rows of the array."""
        if not isinstance(self.rows, slice):
            x_PI.index_copy_(0, self.rows, written_KI)


class _Share(NamedTuple):
    """The sequences that a thread works on: neighbouring rows of the first step, wherever they go on."""

    rows: slice  # of the first step
    blocks: list[_Block]

    @property
    def block_rows(self) -> int:
        """Rows of the largest block."""
        return max(block.stop - block.start for block in self.blocks)


def _shares(counts: Sequence[int]) -> list[_Share]:
    """Returns packed sequences in shares of about as many rows each, one for every thread."""
    return _shares_of(tuple(counts), len(threads.shares(sum(counts))), BLOCK_ROWS)


@lru_cache(maxsize=4)  # an update's networks have the same rows
@torch.inference_mode(False)  # whoever asks first, a learner may read the rows too
def _shares_of(counts: tuple[int, ...], n: int, block_rows: int) -> list[_Share]:
    steps_R = np.bincount(np.asarray(counts) - 1, minlength=counts[0])[::-1].cumsum()[::-1]  # of every sequence
    until_R, total = steps_R.cumsum(), sum(counts)
    bounds = [0, *(int(np.searchsorted(until_R, total * k // n)) + 1 for k in range(1, n + 1))]
    shares: list[_Share] = []
    for rows in (slice(start, stop) for start, stop in pairwise(bounds) if start < stop):
        shares.append(_Share(rows, _blocks(counts, rows, shares[-1].blocks[-1].stop if shares else 0, block_rows)))
    return shares


def _blocks(counts: Sequence[int], rows: slice, start: int, block_rows: int) -> list[_Block]:
    """Returns the blocks of the sequences that begin with some rows of the first step, in order.

    Args:
        counts: rows of each step.
        rows: of the first step.
        start: of the first block.
        block_rows: a block ends with the step that reaches so many rows.
    """
    blocks: list[_Block] = []
    steps: list[tuple[int, int, int]] = []
    step_row, before, stop = 0, -1, start
    counts = [count for count in counts if count > rows.start]
    for t, count in enumerate(counts):
        row, n = step_row + rows.start, min(count, rows.stop) - rows.start
        steps.append((row, n, before))
        step_row, before, stop = step_row + count, row, stop + n
        if stop - start >= block_rows or t == len(counts) - 1:
            blocks.append(_Block(_packed_rows(steps), start, stop, np.array(steps, dtype=np.int64)))
            steps, start = [], stop
    return blocks


def _packed_rows(steps: Sequence[tuple[int, int, int]]) -> slice | Tensor:
    """Returns the packed rows of some steps."""
    if all(row + n == following for (row, n, _), (following, _, _) in pairwise(steps)):
        return slice(steps[0][0], steps[-1][0] + steps[-1][1])
    return torch.cat([torch.arange(row, row + n) for row, n, _ in steps])


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
        ctx.shares, ctx.n_parts = _shares(counts), n_parts
        parts, weights = tensors[:n_parts], _Weights(*tensors[n_parts:])
        run = _Forward(weights, parts, h0_RH, residual_PH, ctx.shares, keeps=True)
        ctx.save_for_backward(h0_RH, run.a, run.h, run.factors, *tensors)
        return run.h

    @staticmethod
    def backward(ctx: Any, grad_PH: Tensor) -> tuple[Tensor | None, ...]:
        h0_RH, a_PA, h_PH, factors_PC, *tensors = ctx.saved_tensors
        parts, weights = tensors[: ctx.n_parts], _Weights(*tensors[ctx.n_parts :])
        _, _, wants_h0, wants_residual, *wants = ctx.needs_input_grad
        back = _Backward(weights, parts, wants[: ctx.n_parts], h0_RH, wants_h0, a_PA, h_PH, factors_PC, grad_PH)
        gradients = back.run(ctx.shares)
        return (None, None, back.carry, back.d_h if wants_residual else None, *gradients)


class _Forward:
    """The forward pass. ``h`` are the states (P, H).

    With ``keeps``, ``factors`` (P, C) and, where there is a first layer, what the gates read, ``a`` (P, A), are what
    else the backward pass needs; the rows of ``a`` stand in the order of the threads' shares.
    """

    def __init__(
        self,
        weights: _Weights,
        parts: Sequence[Tensor],
        h0_RH: Tensor,
        residual_PH: Tensor | None,
        shares: Sequence[_Share],
        keeps: bool,
    ) -> None:
        w = self.weights = weights
        P, (G, A) = len(parts[0]), w.weight_ih.shape
        H, new = G // 3, w.weight_ih.new_empty
        self.keeps, self.has_first = keeps, w.first_weight is not None
        self.parts = [part.detach().contiguous() for part in parts]
        self.h = new(P, H)
        self.factors = new(P if keeps else 0, gru_kernels.FACTORS * H)
        self.a = new(P if keeps and self.has_first else 0, A)
        bias_ih, bias_hh = w.bias_ih, w.bias_hh
        self.bias_F = torch.cat([bias_ih[: 2 * H] + bias_hh[: 2 * H], bias_ih[2 * H :], bias_hh[2 * H :]]).numpy()
        self.to_gates = w.weight_ih.detach().t().contiguous()
        self.to_hidden = product_kernels.panels(w.weight_hh.detach().t().numpy())
        self.h0 = h0_RH.detach().contiguous()
        self.residual = new(0, H) if residual_PH is None else residual_PH.detach().contiguous()
        threads.run(self._run, shares)

    def _run(self, share: _Share) -> None:
        """Writes the rows of a share."""
        new, (A, G) = self.h.new_empty, self.to_gates.shape
        gates, hidden = new(share.block_rows, G), new(share.rows.stop - share.rows.start, product_kernels.columns(G))
        a = None if not self.has_first or self.keeps else new(share.block_rows, A)
        fixed = hidden.numpy(), self.to_hidden, self.bias_F, self.h0[share.rows].numpy(), self.residual.numpy()
        written = self.h.numpy(), self.factors.numpy()
        for block in share.blocks:
            a_K = self._first(block, a)
            product(a_K, self.to_gates, out=gates[: len(a_K)])
            gru_kernels.steps(gates.numpy(), *fixed, *written, block.steps_S3)

    def _first(self, block: _Block, a: Tensor | None) -> Tensor:
        """Returns what the gates of a block read.

        Args:
            block: the block.
            a: room for it, where nothing is kept.
        """
        w, parts = self.weights, [block.take(part) for part in self.parts]
        if w.first_weight is None or w.first_bias is None:
            return parts[0]
        a_K = self.a[block.start : block.stop] if a is None else a[: block.stop - block.start]
        linear(parts, w.first_weight.detach(), a_K)
        mlp_kernels.add_bias(a_K.numpy(), w.first_bias.detach().numpy(), True)
        return a_K


class _Backward:
    """The backward pass; ``carry`` is the gradient of the first states, ``d_h`` that of the states and the residual.

    Args:
        weights, parts, h0_RH: as in the forward pass.
        wants: which parts need a gradient.
        wants_h0: whether the first states do.
        a_PA, h_PH, factors_PC: what the forward pass kept.
        grad_PH: gradient of the states.
    """

    def __init__(
        self,
        weights: _Weights,
        parts: Sequence[Tensor],
        wants: Sequence[bool],
        h0_RH: Tensor,
        wants_h0: bool,
        a_PA: Tensor,
        h_PH: Tensor,
        factors_PC: Tensor,
        grad_PH: Tensor,
    ) -> None:
        self.weights, self.parts = weights, [part.contiguous() for part in parts]
        self.d_parts = [torch.empty_like(part) if wanted else None for part, wanted in zip(parts, wants, strict=True)]
        self.h0, self.a, self.h, self.factors = h0_RH.contiguous(), a_PA, h_PH, factors_PC
        self.from_hidden = product_kernels.panels(weights.weight_hh.numpy())
        self.d_h = grad_PH.clone(memory_format=torch.contiguous_format)
        self.carry = torch.empty_like(self.h0) if wants_h0 else None

    def run(self, shares: Sequence[_Share]) -> list[Tensor | None]:
        """Returns the gradients of the parts and of all weights, in the order of ``_Weights``."""
        return [*self.d_parts, *threads.added(threads.run(self._run, shares))]

    def _run(self, share: _Share) -> list[Tensor]:
        """Goes through the blocks of a share from the last to the first; returns its gradients of the weights."""
        G, H = self.weights.weight_hh.shape
        K, R, new = share.block_rows, share.rows.stop - share.rows.start, self.h.new_empty
        d_weights = [torch.zeros_like(weight) for weight in self.weights if weight is not None]
        d_input, d_hidden, before_K, carry = new(K, G), new(K, G), new(K, H), new(R, product_kernels.columns(H))
        carried, wants_h0 = 0, self.carry is not None
        for block in reversed(share.blocks):
            gru_kernels.steps_back(
                self.d_h.numpy(), carry.numpy(), carried, self.factors.numpy(), d_input.numpy(), d_hidden.numpy(),
                self.from_hidden, self.h0[share.rows].numpy(), self.h.numpy(), before_K.numpy(), block.steps_S3,
                wants_h0,
            )  # fmt: skip
            carried = int(block.steps_S3[0, 1])
            n = block.stop - block.start
            self._add(d_input[:n], d_hidden[:n], before_K[:n], block, d_weights)
        if self.carry is not None:
            self.carry[share.rows] = carry[:, :H]
        return d_weights

    def _add(
        self, d_input: Tensor, d_hidden: Tensor, before_K: Tensor, block: _Block, d_weights: Sequence[Tensor]
    ) -> None:
        """Adds a block's share of the weights' gradients and writes those of the parts."""
        w, parts = self.weights, [block.take(part) for part in self.parts]
        d_weight_ih, d_weight_hh, d_bias_ih, d_bias_hh, *d_first = d_weights
        a_K = parts[0] if w.first_weight is None else self.a[block.start : block.stop]
        add_product(d_weight_hh, d_hidden.t(), before_K)
        add_product(d_weight_ih, d_input.t(), a_K)
        d_bias_ih += d_input.sum(0)
        d_bias_hh += d_hidden.sum(0)
        d_parts = [None if d_part is None else block.room(d_part) for d_part in self.d_parts]
        if w.first_weight is not None:
            d_a = product(d_input, w.weight_ih)
            mlp_kernels.through_relu(d_a.numpy(), a_K.numpy(), np.float32(1.0))
            add_weight_gradient(d_first[0], d_a, parts)
            d_first[1] += d_a.sum(0)
            input_gradients(d_a, w.first_weight, d_parts, parts)
        elif d_parts[0] is not None:
            product(d_input, w.weight_ih, out=d_parts[0])
        for whole, own in zip(self.d_parts, d_parts, strict=True):
            if whole is not None and own is not None:
                block.put(own, whole)


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
    return _Forward(_Weights(*weights), parts, h0_RH, residual_PH, _shares(counts), keeps=False).h
