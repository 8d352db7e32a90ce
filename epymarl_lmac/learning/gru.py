"""A GRU over whole sequences of different length, with a hand-written backward pass.

PyTorch's CPU GRU records about fifteen small autograd nodes for every step. Here one autograd node covers the
sequence, together with the layer before it where there is one.

On the CPU in float32 (``_GruSequenceCpu``) a pass is one compiled call for a group of sequences, products included
(``gru_kernels.py``); the groups are shared out among threads (``threads.py``). Other devices and dtypes use PyTorch
operations over all steps. Both are the same function: their difference is that of a few roundings.

It can also carry the sum ``h = gru(x, h) + residual`` to the next step, which no fused library GRU offers and
which the published LMAC encoder does.

Sequences are packed as in ``packing.py``: the rows of step 0, then those of step 1, ..., each step's rows being a
prefix of the step before. Letters: P packed rows, R rows of step 0, I input, A what the gates read, H hidden, G = 3 H
gates, N parts of the input, S steps.
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

from epymarl_lmac.learning import gru_kernels, product_kernels, threads
from epymarl_lmac.learning.forms import is_compiled
from epymarl_lmac.learning.input_parts import input_gradients

_NOTHING, _NOTHING_3 = np.empty(0, np.float32), np.empty((0, 0, product_kernels.WIDTH), np.float32)
GROUP_ROWS = 128  # sequences that are worked on together at most; their states stay in the processor's cache


class _Group(NamedTuple):
    """Sequences that are worked on together: neighbouring rows of the first step, wherever they go on."""

    rows: slice  # of the first step
    steps_S3: np.ndarray  # of every step: its first row, its rows, the first row of the step before or -1


def _shares(counts: Sequence[int]) -> list[list[_Group]]:
    """Returns packed sequences as groups, for every thread about as many rows."""
    return _shares_of(tuple(counts), len(threads.shares(sum(counts))), GROUP_ROWS)


@lru_cache(maxsize=4)  # an update's networks have the same rows
def _shares_of(counts: tuple[int, ...], n: int, group_rows: int) -> list[list[_Group]]:
    steps_R = np.bincount(np.asarray(counts) - 1, minlength=counts[0])[::-1].cumsum()[::-1]  # of every sequence
    until_R, total = steps_R.cumsum(), sum(counts)
    bounds = [0, *(int(np.searchsorted(until_R, total * k // n)) + 1 for k in range(1, n + 1))]
    shares = []
    for start, stop in pairwise(bounds):
        n_groups = -(-(stop - start) // group_rows)
        cuts = [start + (stop - start) * k // n_groups for k in range(n_groups + 1)] if n_groups > 0 else []
        shares.append([_group(counts, slice(*cut)) for cut in pairwise(cuts)])
    return [share for share in shares if share]


def _group(counts: Sequence[int], rows: slice) -> _Group:
    """Returns the sequences that begin with some rows of the first step."""
    steps: list[tuple[int, int, int]] = []
    step_row, before = 0, -1
    for count in counts:
        if count <= rows.start:
            break
        steps.append((step_row + rows.start, min(count, rows.stop) - rows.start, before))
        step_row, before = step_row + count, step_row + rows.start
    return _Group(rows, np.array(steps, dtype=np.int64))


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
        parts, weights = tensors[:n_parts], _Weights(*(weight.detach() for weight in tensors[n_parts:]))
        h, a, factors = _forward(weights, parts, h0_RH, residual_PH, ctx.shares, keeps=True)
        ctx.save_for_backward(h0_RH, a, h, factors, *tensors)
        return h

    @staticmethod
    def backward(ctx: Any, grad_PH: Tensor) -> tuple[Tensor | None, ...]:
        h0_RH, a_PA, h_PH, factors_PC, *tensors = ctx.saved_tensors
        parts, weights = tensors[: ctx.n_parts], _Weights(*tensors[ctx.n_parts :])
        _, _, wants_h0, wants_residual, *wants = ctx.needs_input_grad
        back = _Backward(weights, parts, wants[: ctx.n_parts], h0_RH, wants_h0, a_PA, h_PH, factors_PC, grad_PH)
        gradients = back.run(ctx.shares)
        return (None, None, back.carry, back.d_h if wants_residual else None, *gradients)


def _table(parts: Sequence[Tensor]) -> np.ndarray:
    """Returns where parts stand, for ``gru_kernels.read_parts``; the numbers of a row stand side by side."""
    rows = [(part.data_ptr(), part.stride(0) * part.element_size(), part.shape[1]) for part in parts]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def _rows_of_numbers(x: Tensor) -> Tensor:
    """Returns an array as it is where the numbers of its rows stand side by side, else a copy of which that is true."""
    return x if x.stride(1) == 1 else x.contiguous()


def _forward(
    weights: _Weights,
    parts: Sequence[Tensor],
    h0_RH: Tensor,
    residual_PH: Tensor | None,
    shares: Sequence[Sequence[_Group]],
    keeps: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the states (P, H) and, with ``keeps``, what else the backward pass needs.

    That is what the gates read (P, A or more) and the factors of ``gru_kernels.py``.
    """
    P, (G, A), new = len(parts[0]), weights.weight_ih.shape, weights.weight_ih.new_empty
    H, has_first = G // 3, weights.first_weight is not None
    h, factors = new(P, H), new(P if keeps else 0, gru_kernels.FACTORS * H)
    a = new(P if keeps else 0, product_kernels.columns(A)) if has_first else parts[0].detach().contiguous()
    bias_ih, bias_hh = weights.bias_ih, weights.bias_hh
    bias = torch.cat([bias_ih[: 2 * H] + bias_hh[: 2 * H], bias_ih[2 * H :], bias_hh[2 * H :]]).numpy()
    given = [_rows_of_numbers(part.detach()) for part in parts] if has_first else []
    table, first, first_bias = _table(given), _NOTHING_3, _NOTHING
    if weights.first_weight is not None and weights.first_bias is not None:
        first, first_bias = product_kernels.panels(weights.first_weight.t().numpy()), weights.first_bias.numpy()
    to_gates, to_hidden = (product_kernels.panels(w.t().numpy()) for w in (weights.weight_ih, weights.weight_hh))
    h0 = h0_RH.detach().contiguous().numpy()
    residual = new(0, H) if residual_PH is None else residual_PH.detach().contiguous()
    fixed = table, first, first_bias, a.numpy(), to_gates, to_hidden, bias
    written = residual.numpy(), h.numpy(), factors.numpy()

    def run(share: Sequence[_Group]) -> None:
        for group in share:
            gru_kernels.forward(*fixed, h0[group.rows], *written, group.steps_S3)

    threads.run(run, shares)
    return h, a, factors


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
        self.weights = weights
        self.parts = [_rows_of_numbers(part) for part in parts]
        self.d_parts = [torch.empty_like(part) if wanted else None for part, wanted in zip(parts, wants, strict=True)]
        self.h0, self.a, self.h, self.factors = h0_RH.contiguous(), a_PA, h_PH, factors_PC
        self.from_gates = product_kernels.panels(weights.weight_ih.numpy())
        self.from_hidden = product_kernels.panels(weights.weight_hh.numpy())
        self.d_h = grad_PH.clone(memory_format=torch.contiguous_format)
        self.carry = torch.empty_like(self.h0) if wants_h0 else None
        A = weights.weight_ih.shape[1]
        self.d_a = a_PA.new_empty(len(h_PH) if any(wants) else 0, product_kernels.columns(A))

    def run(self, shares: Sequence[Sequence[_Group]]) -> list[Tensor | None]:
        """Returns the gradients of the parts and of all weights, in the order of ``_Weights``."""
        G, A = self.weights.weight_ih.shape
        d_ih, d_hh, d_biases, *d_first = threads.added(threads.run(self._run, shares))
        d_weights = [d_ih[:, :G].t().contiguous(), d_hh[:, :G].t().contiguous(), d_biases[0, :G], d_biases[1, :G]]
        if d_first:
            d_weights += [d_first[0][:, :A].t().contiguous(), d_first[1][:A]]
        if len(self.d_a) > 0:
            self._input_gradients()
        return [*self.d_parts, *d_weights]

    def _run(self, share: Sequence[_Group]) -> list[Tensor]:
        """Returns a share's gradients of the weights as ``gru_kernels.backward`` adds to them."""
        w, new, columns = self.weights, self.h.new_zeros, product_kernels.columns
        (G, A), H, has_first = w.weight_ih.shape, self.h.shape[1], w.first_weight is not None
        d_ih, d_hh, d_biases = new(A, columns(G)), new(H, columns(G)), new(2, G)
        I = w.first_weight.shape[1] if w.first_weight is not None else 0
        d_first, d_first_bias = new(I, columns(A)), new(A if has_first else 0)
        for group in share:
            carry = self.h.new_empty(group.rows.stop - group.rows.start, columns(H))
            gru_kernels.backward(
                _table(self.parts if has_first else []), d_first.numpy(), d_first_bias.numpy(), self.a.numpy(),
                self.d_a.numpy(), self.from_gates, d_ih.numpy(), self.from_hidden, d_hh.numpy(), d_biases.numpy(),
                self.d_h.numpy(), carry.numpy(), self.factors.numpy(), self.h0[group.rows].numpy(), self.h.numpy(),
                group.steps_S3, self.carry is not None,
            )  # fmt: skip
            if self.carry is not None:
                self.carry[group.rows] = carry[:, :H]
        return [d_ih, d_hh, d_biases, *([d_first, d_first_bias] if has_first else [])]

    def _input_gradients(self) -> None:
        """Writes the gradients of the parts that need one."""
        d_a, first_weight = self.d_a[:, : self.weights.weight_ih.shape[1]], self.weights.first_weight
        if first_weight is None:
            self.d_parts = [d_a]
            return

        def run(rows: slice) -> None:
            d_parts = [None if d_part is None else d_part[rows] for d_part in self.d_parts]
            input_gradients(d_a[rows], first_weight, d_parts, self.parts)

        threads.run(run, threads.shares(len(d_a)))


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
    return _forward(
        _Weights(*(weight.detach() for weight in weights)), parts, h0_RH, residual_PH, _shares(counts), keeps=False
    )[0]
