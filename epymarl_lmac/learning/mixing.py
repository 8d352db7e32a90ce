"""QMIX's mixing over many rows, with a hand-written backward pass.

PyTorch records some forty small operations for it. On the CPU in float32 rows are worked off in blocks that stay in the
processor's cache: the layers that read the state are one matrix product, each hypernetwork's second layer is one more,
and the rest is one compiled loop (``mixing_kernels.py``); one autograd node covers it all.

Letters: V rows, S state, N agents, E mixing width, W hidden width of a hypernetwork, X columns of all layers that read
the state.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Any, NamedTuple

import torch
from torch import Tensor

from epymarl_lmac.learning import mixing_kernels, mlp_kernels, threads
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
        self.widths = [len(layer[1]) for layer in layers]
        self.bounds = [0, *accumulate(self.widths)]  # of the layers that read the state
        self.is_deep = bool(weights.first)
        (V, N), E = q_VN.shape, self.widths[2]
        if kept is None:
            new = q_VN.new_empty
            kept = [new(V, sum(self.widths)), new(V, E)] + ([new(V, N * E), new(V, E)] if self.is_deep else [])
        self.kept = list(kept)
        self.read, self.hidden = self.kept[:2]
        self.first, self.final = self.kept[2:] if self.is_deep else (self.read, self.read)
        self.columns = (0, 0) if self.is_deep else (0, self.bounds[1])  # of the mixing weights
        self.hypernetworks: list[tuple[Sequence[Tensor], Tensor, slice]] = []  # second layer, its output, what it reads
        if self.is_deep:
            self.hypernetworks = [
                (weights.first, self.first, slice(0, self.bounds[1])),
                (weights.final, self.final, slice(self.bounds[1], self.bounds[2])),
            ]
        self.value, self.value_bias = weights.value[0].numpy().reshape(-1), weights.value[1].numpy()[0]

    def forward(self) -> Tensor:
        """Returns Q_tot, (V, 1)."""
        total_V = self.q.new_empty(len(self.q))

        def run(share: slice) -> None:
            for rows in blocks(share, BLOCK_ROWS):
                self._forward(rows, total_V[rows])

        threads.run(run, threads.shares(len(self.q)))
        return total_V.unsqueeze(1)

    def _forward(self, rows: slice, total_K: Tensor) -> None:
        """Writes Q_tot of a block."""
        read, bounds = self.read[rows], self.bounds
        product(self.state[rows], self.weight_XS.t(), out=read)
        parts = (0, bounds[2], self.is_deep), (bounds[2], bounds[3], False), (bounds[3], bounds[4], True)
        for start, stop, has_relu in parts:
            mlp_kernels.add_bias_at(read.numpy(), start, self.bias_X[start:stop].numpy(), has_relu)
        for (weight, bias), out, columns in self.hypernetworks:
            product(read[:, columns], weight.t(), out=out[rows])
            mlp_kernels.add_bias(out[rows].numpy(), bias.numpy(), False)
        arrays = self.q[rows].numpy(), *self._mixed(rows), self.hidden[rows].numpy(), self.value, self.value_bias
        mixing_kernels.mix(*arrays, total_K.numpy())

    def _mixed(self, rows: slice) -> tuple[Any, ...]:
        """Returns the arguments by which the compiled loops find weights and biases."""
        first_at, final_at = self.columns
        first, final, read = (t[rows].numpy() for t in (self.first, self.final, self.read))
        return first, first_at, final, final_at, read, self.bounds[2]

    def backward(self, d_total_V1: Tensor, wants_state: bool) -> tuple[Tensor, Tensor | None, list[Tensor]]:
        """Returns the gradients of the Q-values, of the states if wanted, and of the weights in order."""
        d_q = torch.empty_like(self.q)
        d_state = torch.empty_like(self.state) if wants_state else None
        d_total_V = d_total_V1.contiguous().view(-1)

        def run(share: slice) -> list[Tensor]:
            d_weights = [torch.zeros_like(t) for t in (self.weight_XS, self.bias_X, *self.weights.value[:1])]
            d_weights += [torch.zeros_like(t) for layer, _, _ in self.hypernetworks for t in layer]
            for rows in blocks(share, BLOCK_ROWS):
                d_read = self._backward(rows, d_total_V[rows], d_q[rows], d_weights)
                if d_state is not None:
                    product(d_read, self.weight_XS, out=d_state[rows])
            return d_weights

        d_weight, d_bias, d_value, *d_second = threads.added(threads.run(run, threads.shares(len(self.q))))
        pairs = zip(d_weight.split(self.widths), d_bias.split(self.widths), strict=True)
        return d_q, d_state, [*chain.from_iterable(pairs), *d_second, d_value, d_total_V1.sum(0)]

    def _backward(self, rows: slice, d_total_K: Tensor, d_q_KN: Tensor, d_weights: Sequence[Tensor]) -> Tensor:
        """Adds a block's share of the weights' gradients; returns that of what the state's layers put out."""
        d_weight, d_bias, d_value, *d_second = d_weights
        d_read = torch.empty_like(self.read[rows])
        d_outs = [torch.empty_like(out[rows]) for _, out, _ in self.hypernetworks]
        d_first, d_final = d_outs or (d_read, d_read)
        mixing_kernels.mix_back(
            d_total_K.numpy(), self.q[rows].numpy(), *self._mixed(rows), self.hidden[rows].numpy(), self.value,
            d_q_KN.numpy(), d_first.numpy(), d_final.numpy(), d_read.numpy(), d_value.numpy().reshape(-1),
        )  # fmt: skip
        for k, ((weight, _), _, columns) in enumerate(self.hypernetworks):
            add_product(d_second[2 * k], d_outs[k].t(), self.read[rows, columns])
            d_second[2 * k + 1] += d_outs[k].sum(0)
            d_in = product(d_outs[k], weight)
            mixing_kernels.through_relu(d_in.numpy(), self.read[rows].numpy(), columns.start, d_read.numpy())
        add_product(d_weight, d_read.t(), self.state[rows])
        d_bias += d_read.sum(0)
        return d_read


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
