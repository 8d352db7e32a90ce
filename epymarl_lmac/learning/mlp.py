"""Feed-forward networks over many rows, with a hand-written backward pass.

On the CPU in float32 a network's rows are worked off in blocks that stay in the processor's cache through all its
layers, forwards and backwards; what stands between two matrix products (bias, ReLU, layer norm, dropout) is one
compiled loop (``mlp_kernels.py``), and one autograd node covers the network. Other devices and dtypes, and networks
with other layers, take PyTorch's own modules. Both are the same function, to rounding.

Letters: P rows, K rows of a block, I inputs, H columns of a layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import compress
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from epymarl_lmac.learning import input_parts, mlp_kernels, threads
from epymarl_lmac.learning.dropout import Dropout
from epymarl_lmac.learning.forms import is_compiled
from epymarl_lmac.learning.products import product

BLOCK_NUMBERS = 2**19  # a block of the widest layer's rows has at most so many numbers (2 MiB)


class Stage(NamedTuple):
    """A linear layer and what follows it: nothing, ReLU, ReLU and layer norm, or ReLU and dropout."""

    linear: nn.Linear
    has_relu: bool = False
    norm: nn.LayerNorm | None = None
    dropout: Dropout | None = None

    def weights(self) -> list[Tensor]:
        """Returns what is trained."""
        own = [self.linear.weight, self.linear.bias]
        return own if self.norm is None else [*own, self.norm.weight, self.norm.bias]


def stages_of(network: nn.Sequential) -> list[Stage] | None:
    """Returns a network's stages; None if it has layers that the compiled form does not know."""
    stages: list[Stage] = []
    for layer in network:
        last = stages[-1] if stages else None
        if isinstance(layer, nn.Linear):
            stages.append(Stage(layer))
        elif last is None or last.norm is not None or last.dropout is not None:
            return None
        elif isinstance(layer, nn.ReLU) and not last.has_relu:
            stages[-1] = last._replace(has_relu=True)
        elif isinstance(layer, nn.LayerNorm) and last.has_relu and layer.elementwise_affine:
            stages[-1] = last._replace(norm=layer)
        elif isinstance(layer, Dropout) and last.has_relu:
            if layer.is_on:
                stages[-1] = last._replace(dropout=layer)
        else:
            return None
    return stages if all(stage.linear.bias is not None for stage in stages) else None


def weights_of(stages: Sequence[Stage]) -> list[Tensor]:
    """Returns what is trained in all stages."""
    return [weight for stage in stages for weight in stage.weights()]


class Plan:
    """What one pass of a network needs besides its tensors; draws what dropout leaves out.

    Args:
        stages: of the network.
        n_rows: P.
    """

    def __init__(self, stages: Sequence[Stage], n_rows: int) -> None:
        self.kinds = [(s.has_relu, s.norm.eps if s.norm is not None else None) for s in stages]
        self.widths = [s.linear.out_features for s in stages]
        self.n_rows = n_rows
        self.n_weights = len(weights_of(stages))
        self.block_rows = max(1, BLOCK_NUMBERS // max(stages[0].linear.in_features, *self.widths))
        self.dropouts = [s.dropout for s in stages]
        draws = [None if d is None else d.draw((n_rows, H)) for d, H in zip(self.dropouts, self.widths, strict=True)]
        self.levels = [None if draw is None else draw.numpy() for draw in draws]

    def scale(self, k: int) -> np.float32:
        """Returns what dropout multiplies kept elements of stage k with."""
        dropout = self.dropouts[k]
        return np.float32(1.0 if dropout is None else dropout.scale)

    def by_stage(self, weights: Sequence[Tensor]) -> list[list[Tensor]]:
        """Returns the weights of every stage."""
        rest = iter(weights)
        return [[next(rest) for _ in range(2 if eps is None else 4)] for _, eps in self.kinds]


class Pass:
    """A pass of a network over P rows, which its caller leads through it block by block, forwards and then backwards.

    Args:
        plan: of this pass.
        weights: the network's, as ``weights_of`` returns them, without gradient.
        keeps: whether a backward pass follows. Else only the last stage's output is complete.
        tensors: what ``tensors`` was after the forward pass, to go backwards with; None: a new pass.

    ``outs`` is what every stage puts out (P, H), ``normed`` what its layer norm reads. After the backward pass
    ``d_weights`` is the gradient of every weight, by stage.
    """

    def __init__(
        self, plan: Plan, weights: Sequence[Tensor], keeps: bool, tensors: Sequence[Tensor] | None = None
    ) -> None:
        self._plan, self._weights = plan, plan.by_stage(weights)
        last, new = len(plan.kinds) - 1, weights[0].new_empty
        if tensors is None:
            outs = [new(plan.n_rows if keeps or k == last else 0, H) for k, H in enumerate(plan.widths)]
            has_norm = [eps is not None for _, eps in plan.kinds]
            tensors = [*outs, *(new(plan.n_rows if keeps else 0, H) for H in compress(plan.widths, has_norm))]
        self.tensors = list(tensors)
        self.outs, rest = self.tensors[: last + 1], iter(self.tensors[last + 1 :])
        self.normed = [None if eps is None else next(rest) for _, eps in plan.kinds]
        self.d_weights: list[list[Tensor]] = []

    def forward(self, rows: slice, parts: Sequence[Tensor]) -> Tensor:
        """Returns the network's output for a block.

        Args:
            rows: of the block.
            parts: these rows of the inputs, which are read side by side.
        """
        plan, here = self._plan, parts
        for k, ((weight, bias, *affine), (has_relu, eps)) in enumerate(zip(self._weights, plan.kinds, strict=True)):
            out, levels, norm_input = _room(self.outs[k], rows), plan.levels[k], self.normed[k]
            y = out if norm_input is None else _room(norm_input, rows)
            input_parts.linear(here, weight, y)
            if norm_input is not None:
                gain, shift = affine
                mlp_kernels.add_bias_relu_norm(
                    y.numpy(), bias.numpy(), gain.numpy(), shift.numpy(), np.float32(eps), out.numpy()
                )
            elif levels is not None:
                dropout = plan.dropouts[k]
                assert dropout is not None
                mlp_kernels.add_bias_relu_drop(
                    y.numpy(), bias.numpy(), levels, rows.start, np.float32(dropout.first_kept), plan.scale(k)
                )
            else:
                mlp_kernels.add_bias(y.numpy(), bias.numpy(), has_relu)
            here = [out]
        return here[0]

    def backward(self, rows: slice, d: Tensor, parts: Sequence[Tensor], d_parts: Sequence[Tensor | None]) -> None:
        """Adds a block's share of the weights' gradients and writes those of its inputs.

        Args:
            rows, parts: as in the forward pass.
            d: gradient of the output for these rows; is changed.
            d_parts: written, for each part that wants a gradient.
        """
        if not self.d_weights:
            self.d_weights = [[torch.zeros_like(weight) for weight in stage] for stage in self._weights]
        for k in range(len(self._weights) - 1, -1, -1):
            self._through(k, d, rows)
            d_weight, d_bias = self.d_weights[k][:2]
            d_bias.add_(d.sum(0))
            input_parts.add_weight_gradient(d_weight, d, [self.outs[k - 1][rows]] if k > 0 else parts)
            if k > 0:
                d = product(d, self._weights[k][0])
        input_parts.input_gradients(d, self._weights[0][0], d_parts, parts)

    def _through(self, k: int, d: Tensor, rows: slice) -> None:
        """Turns the gradient of what stage k puts out into that of its linear layer's, in place."""
        norm_input, (has_relu, eps) = self.normed[k], self._plan.kinds[k]
        if norm_input is not None:
            gain = self._weights[k][2]
            d_affine = gain.new_zeros(2, len(gain))  # a block's own sums, which round less than one running sum
            d_gain, d_shift = d_affine.numpy()
            mlp_kernels.through_norm_relu(
                d.numpy(), norm_input[rows].numpy(), gain.numpy(), np.float32(eps), d_gain, d_shift
            )
            self.d_weights[k][2].add_(d_affine[0])
            self.d_weights[k][3].add_(d_affine[1])
        elif has_relu:
            mlp_kernels.through_relu(d.numpy(), self.outs[k][rows].numpy(), self._plan.scale(k))

    def gradients(self) -> list[Tensor]:
        """Returns the gradient of every weight."""
        return [d for stage in self.d_weights for d in stage]


def _room(x_PH: Tensor, rows: slice) -> Tensor:
    """Returns these rows of an array to be written; room for them where the array, which is empty, is not kept."""
    return x_PH[rows] if len(x_PH) > 0 else x_PH.new_empty(rows.stop - rows.start, x_PH.shape[1])


def blocks(rows: slice, block_rows: int) -> Iterator[slice]:
    """Yields the blocks of some rows."""
    for start in range(rows.start, rows.stop, block_rows):
        yield slice(start, min(start + block_rows, rows.stop))


def _forward(plan: Plan, tensors: Sequence[Tensor], keeps: bool) -> Pass:
    """Leads the parts, which stand before the weights, through a network."""
    tensors = [t.detach() for t in tensors]
    parts, weights = tensors[: -plan.n_weights], tensors[-plan.n_weights :]
    network = Pass(plan, weights, keeps)

    def run(share: slice) -> None:
        for rows in blocks(share, plan.block_rows):
            network.forward(rows, [part[rows] for part in parts])

    threads.run(run, threads.shares(plan.n_rows))
    return network


class _MlpCpu(torch.autograd.Function):
    """A network in the compiled form."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, *tensors: Tensor) -> Tensor:
        network = _forward(plan, tensors, keeps=True)
        ctx.save_for_backward(*tensors, *network.tensors)
        ctx.plan, ctx.n_tensors = plan, len(tensors)
        return network.outs[-1]

    @staticmethod
    def backward(ctx: Any, grad_PH: Tensor) -> tuple[Tensor | None, ...]:
        plan: Plan = ctx.plan
        given, kept = ctx.saved_tensors[: ctx.n_tensors], ctx.saved_tensors[ctx.n_tensors :]
        parts, weights = given[: -plan.n_weights], given[-plan.n_weights :]
        wants = ctx.needs_input_grad[1 : 1 + len(parts)]
        d_parts = [torch.empty_like(part) if wanted else None for part, wanted in zip(parts, wants, strict=True)]

        def run(share: slice) -> list[Tensor]:
            own = Pass(plan, weights, keeps=True, tensors=kept)
            for rows in blocks(share, plan.block_rows):
                d = grad_PH[rows].clone(memory_format=torch.contiguous_format)  # what is given is not ours to change
                d_rows = [None if d_part is None else d_part[rows] for d_part in d_parts]
                own.backward(rows, d, [part[rows] for part in parts], d_rows)
            return own.gradients()

        return None, *d_parts, *threads.added(threads.run(run, threads.shares(plan.n_rows)))


def mlp(network: nn.Sequential, *parts: Tensor) -> Tensor:
    """Returns what a network makes of its inputs.

    Args:
        network: linear layers, each alone or followed by ReLU, which layer norm or ``Dropout`` may follow; others are
            called as they are.
        parts: inputs (..., I), several to be read side by side.

    Returns:
        (..., H).
    """
    stages = stages_of(network)
    if stages is None or not is_compiled(*parts, *network.parameters()) or parts[0].numel() == 0:
        return network(parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1))
    lead = parts[0].shape[:-1]
    rows = [part.reshape(-1, part.shape[-1]) for part in parts]
    plan = Plan(stages, len(rows[0]))
    tensors = [*rows, *weights_of(stages)]
    out = _MlpCpu.apply(plan, *tensors) if torch.is_grad_enabled() else _forward(plan, tensors, keeps=False).outs[-1]
    return out.view(*lead, -1)
