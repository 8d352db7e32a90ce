"""QMIX's mixing over many rows, with a hand-written backward pass.

PyTorch records some forty small operations for it. On the CPU in float32 rows are worked off in blocks that stay in the
processor's cache: the layers that read the state are one matrix product, each hypernetwork's second layer is one more,
and the rest is one compiled loop (``mixing_kernels.py``); one autograd node covers it all.

Letters: V rows, S state, N agents, E mixing width, W hidden width of a hypernetwork, X columns of all layers that read
the state.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from epymarl_lmac.learning import mixing_kernels, mlp_kernels
from epymarl_lmac.learning.mlp import blocks
from epymarl_lmac.learning.products import add_product, product

BLOCK_ROWS = 1024


class MixerWeights(NamedTuple):
    """What QMIX trains, layers as weight and bias.

    With one layer a hypernetwork the first two fields are these layers themselves and the second two are empty.
    """

    to_first: Sequence[Tensor]  # state -> the first hypernetwork's hidden layer, or N E mixing weights
    to_final: Sequence[Tensor]  # state -> the second's hidden layer, or E mixing weights
    to_bias: Sequence[Tensor]  # state -> E biases
    to_value: Sequence[Tensor]  # state -> the value's hidden layer, E
    first: Sequence[Tensor]  # hidden layer -> N E mixing weights
    final: Sequence[Tensor]  # hidden layer -> E mixing weights
    value: Sequence[Tensor]  # the value's hidden layer -> 1

    def flat(self) -> list[Tensor]:
        """Returns all tensors in order."""
        return [tensor for layer in self for tensor in layer]

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> MixerWeights:
        """Returns what ``flat`` was made of."""
        sizes, rest = [2] * 7 if len(tensors) == 14 else [2, 2, 2, 2, 0, 0, 2], iter(tensors)
        return cls(*([next(rest) for _ in range(size)] for size in sizes))


class _Pass:
    """A pass of the mixer over V rows, forwards and then backwards.

    Args:
        weights: without gradient.
        q_VN: the agents' Q-values.
        state_VS: the states.
        kept: what ``kept`` was after the forward pass, to go backwards with; None: a new pass.
    """

    def __init__(
        self, weights: MixerWeights, q_VN: Tensor, state_VS: Tensor, kept: Sequence[Tensor] | None = None
    ) -> None:
        self.weights, self.q, self.state = weights, q_VN, state_VS
        layers = weights[:4]
        self.weight_XS, self.bias_X = (torch.cat([layer[k] for layer in layers]) for k in (0, 1))
        widths = [len(layer[1]) for layer in layers]
        self.to_final_at, self.bias_at = widths[0], widths[0] + widths[1]
        self.value_at = self.bias_at + widths[2]
        self.is_deep = bool(weights.first)
        (V, N), E = q_VN.shape, widths[2]
        if kept is None:
            new = q_VN.new_empty
            kept = [new(V, sum(widths)), new(V, E)] + ([new(V, N * E), new(V, E)] if self.is_deep else [])
        self.kept = list(kept)
        self.read, self.hidden = self.kept[:2]
        self.first, self.final = self.kept[2:] if self.is_deep else (self.read, self.read)
        self.columns = (0, 0) if self.is_deep else (0, self.to_final_at)  # of the mixing weights

    def _hypernetworks(self) -> list[tuple[Sequence[Tensor], Tensor, slice]]:
        """Returns of both hypernetworks the second layer, its output, and the columns that it reads."""
        if not self.is_deep:
            return []
        w = self.weights
        return [
            (w.first, self.first, slice(0, self.to_final_at)),
            (w.final, self.final, slice(self.to_final_at, self.bias_at)),
        ]

    def forward(self) -> Tensor:
        """Returns Q_tot, (V, 1)."""
        total_V1, w = self.q.new_empty(len(self.q), 1), self.weights
        bounds = [0, self.bias_at, self.value_at, len(self.bias_X)]
        biases = [self.bias_X[start:stop].numpy() for start, stop in pairwise(bounds)]
        have_relu = self.is_deep, False, True
        value, value_bias = w.value[0].numpy().reshape(-1), w.value[1].numpy()[0]
        for rows in blocks(len(self.q), BLOCK_ROWS):
            read = self.read[rows]
            product(self.state[rows], self.weight_XS.t(), out=read)
            for at, bias_H, has_relu in zip(bounds, biases, have_relu, strict=False):
                mlp_kernels.add_bias_at(read.numpy(), at, bias_H, has_relu)
            for (weight, bias), out, columns in self._hypernetworks():
                product(read[:, columns], weight.t(), out=out[rows])
                mlp_kernels.add_bias(out[rows].numpy(), bias.numpy(), False)
            mixing_kernels.mix(
                self.q[rows].numpy(), *self._mixed(rows), self.hidden[rows].numpy(), value, value_bias,
                total_V1[rows].numpy().reshape(-1),
            )  # fmt: skip
        return total_V1

    def _mixed(self, rows: slice) -> tuple[Any, ...]:
        """Returns the arguments by which the compiled loops find weights and biases."""
        first_at, final_at = self.columns
        first, final, read = (t[rows].numpy() for t in (self.first, self.final, self.read))
        return first, first_at, final, final_at, read, self.bias_at

    def backward(self, d_total_V1: Tensor, wants_state: bool) -> tuple[Tensor, Tensor | None, list[Tensor]]:
        """Returns the gradients of the Q-values, of the states if wanted, and of the weights in order."""
        w, new = self.weights, self.q.new_empty
        d_q = torch.empty_like(self.q)
        d_state = torch.empty_like(self.state) if wants_state else None
        d_weight, d_bias = torch.zeros_like(self.weight_XS), torch.zeros_like(self.bias_X)
        d_second = [[torch.zeros_like(tensor) for tensor in layer] for layer, _, _ in self._hypernetworks()]
        d_value = [torch.zeros_like(w.value[0]), d_total_V1.sum(0)]
        d_total = d_total_V1.contiguous().view(-1)
        value, d_value_E = w.value[0].numpy().reshape(-1), d_value[0].numpy().reshape(-1)
        K = min(len(self.q), BLOCK_ROWS)
        d_read_K = new(K, len(self.bias_X))
        d_second_K = [new(K, out.shape[1]) for _, out, _ in self._hypernetworks()]
        for rows in blocks(len(self.q), BLOCK_ROWS):
            n = rows.stop - rows.start
            d_read = d_read_K[:n]
            d_outs = [d[:n] for d in d_second_K]
            d_first, d_final = d_outs if self.is_deep else (d_read, d_read)
            mixing_kernels.mix_back(
                d_total[rows].numpy(), self.q[rows].numpy(), *self._mixed(rows), self.hidden[rows].numpy(), value,
                d_q[rows].numpy(), d_first.numpy(), d_final.numpy(), d_read.numpy(), d_value_E,
            )  # fmt: skip
            for (layer, _, columns), d_layer, d_out in zip(self._hypernetworks(), d_second, d_outs, strict=True):
                add_product(d_layer[0], d_out.t(), self.read[rows, columns])
                d_layer[1] += d_out.sum(0)
                d_in = product(d_out, layer[0])
                mixing_kernels.through_relu(d_in.numpy(), self.read[rows].numpy(), columns.start, d_read.numpy())
            add_product(d_weight, d_read.t(), self.state[rows])
            d_bias += d_read.sum(0)
            if d_state is not None:
                product(d_read, self.weight_XS, out=d_state[rows])
        sizes = [len(layer[1]) for layer in w[:4]]
        by_layer = [g for pair in zip(d_weight.split(sizes), d_bias.split(sizes), strict=True) for g in pair]
        return d_q, d_state, [*by_layer, *(d for layer in d_second for d in layer), *d_value]


class _MixCpu(torch.autograd.Function):
    """The mixer in the compiled form; not to be differentiated twice."""

    @staticmethod
    def forward(ctx: Any, q_VN: Tensor, state_VS: Tensor, *tensors: Tensor) -> Tensor:
        mixer = _Pass(MixerWeights.of(tensors), q_VN, state_VS)
        total_V1 = mixer.forward()
        ctx.save_for_backward(q_VN, state_VS, *tensors, *mixer.kept)
        ctx.n_tensors = len(tensors)
        return total_V1

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_total_V1: Tensor) -> tuple[Tensor | None, ...]:
        q_VN, state_VS, *rest = ctx.saved_tensors
        tensors, kept = rest[: ctx.n_tensors], rest[ctx.n_tensors :]
        mixer = _Pass(MixerWeights.of(tensors), q_VN, state_VS, kept)
        d_q, d_state, d_weights = mixer.backward(d_total_V1, ctx.needs_input_grad[1])
        return d_q, d_state, *d_weights


def mix(q_VN: Tensor, state_VS: Tensor, weights: MixerWeights) -> Tensor:
    """Returns Q_tot (V, 1) for float32 on the CPU.

    Args:
        q_VN: Q-values of the chosen actions.
        state_VS: global states.
        weights: the mixer's.
    """
    q_VN, state_VS = q_VN.contiguous(), state_VS.contiguous()
    if torch.is_grad_enabled():
        return _MixCpu.apply(q_VN, state_VS, *weights.flat())
    without = MixerWeights.of([tensor.detach() for tensor in weights.flat()])
    return _Pass(without, q_VN.detach(), state_VS.detach()).forward()
