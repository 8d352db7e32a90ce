"""Feed-forward networks over many rows, with a hand-written backward pass.

On the CPU in float32 a network's rows are worked off in blocks that stay in the processor's cache through all its
layers, forwards and backwards; what stands between two matrix products (bias, ReLU, layer norm, dropout) is one
compiled loop (``mlp_kernels.py``), and one autograd node covers the network. Other devices and dtypes, and networks
with other layers, take PyTorch's own modules. Both are the same function, to rounding.

Letters: P rows, K rows of a block, I inputs, H columns of a layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from epymarl_lmac.learning import mlp_kernels
from epymarl_lmac.learning.dropout import Dropout
from epymarl_lmac.learning.forms import is_compiled

BLOCK_NUMBERS = 2**17  # a block of the widest layer's rows has at most so many numbers (512 KiB)


class _Stage(NamedTuple):
    """A linear layer and what follows it: nothing, ReLU, ReLU and layer norm, or ReLU and dropout."""

    linear: nn.Linear
    has_relu: bool = False
    norm: nn.LayerNorm | None = None
    dropout: Dropout | None = None

    def weights(self) -> list[Tensor]:
        """Returns what is trained."""
        own = [self.linear.weight, self.linear.bias]
        return own if self.norm is None else [*own, self.norm.weight, self.norm.bias]


def _stages(network: nn.Sequential) -> list[_Stage] | None:
    """Returns a network's stages; None if it has layers that the compiled form does not know."""
    stages: list[_Stage] = []
    for layer in network:
        last = stages[-1] if stages else None
        if isinstance(layer, nn.Linear):
            stages.append(_Stage(layer))
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


class _Plan:
    """What one pass of a network needs besides its tensors.

    Args:
        stages: of the network.
        n_parts: how many inputs are read side by side.
        n_rows: P.
    """

    def __init__(self, stages: Sequence[_Stage], n_parts: int, n_rows: int) -> None:
        self.kinds = [(s.has_relu, s.norm.eps if s.norm is not None else None) for s in stages]
        self.n_parts = n_parts
        widest = max(max(s.linear.in_features, s.linear.out_features) for s in stages)
        self.block_rows = max(1, BLOCK_NUMBERS // widest)
        self.dropouts = [s.dropout for s in stages]
        draws = [
            None if d is None else d.draw((n_rows, s.linear.out_features))
            for s, d in zip(stages, self.dropouts, strict=True)
        ]
        self.levels = [None if draw is None else draw.numpy() for draw in draws]

    def scale(self, k: int) -> np.float32:
        """Returns what dropout multiplies kept elements of stage k with."""
        dropout = self.dropouts[k]
        return np.float32(1.0 if dropout is None else dropout.scale)

    def split(self, tensors: Sequence[Tensor]) -> tuple[Sequence[Tensor], list[list[Tensor]]]:
        """Returns the inputs, and the weights of every stage."""
        rest = list(tensors[self.n_parts :])
        weights = []
        for _, eps in self.kinds:
            n = 2 if eps is None else 4
            weights.append(rest[:n])
            rest = rest[n:]
        return tensors[: self.n_parts], weights

    def blocks(self, n_rows: int) -> Iterator[slice]:
        """Yields the rows of every block."""
        for start in range(0, n_rows, self.block_rows):
            yield slice(start, min(start + self.block_rows, n_rows))


def linear_of_parts(parts: Sequence[Tensor], weight: Tensor, out: Tensor) -> None:
    """Writes the product of the parts, side by side, with a layer's weight."""
    start = 0
    for k, part in enumerate(parts):
        columns = weight[:, start : start + part.shape[1]].t()
        if k == 0:
            torch.mm(part, columns, out=out)
        else:
            torch.addmm(out, part, columns, out=out)
        start += part.shape[1]


def add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Adds a matrix product in place; PyTorch's counter of floating-point operations does not see ``addmm_``."""
    torch.addmm(total, left, right, out=total)


def _run(plan: _Plan, tensors: Sequence[Tensor], keeps: bool) -> tuple[list[Tensor], list[Tensor | None]]:
    """Returns what every stage puts out, (P, H), and what its layer norm reads; complete for the last one only,
    unless ``keeps``."""
    parts, weights = plan.split([t.detach() for t in tensors])
    P = len(parts[0])
    new, last = parts[0].new_empty, len(weights) - 1
    stored = [P if keeps or k == last else min(P, plan.block_rows) for k in range(len(weights))]
    outs = [new(n, len(w[0])) for n, w in zip(stored, weights, strict=True)]
    normed: list[Tensor | None] = [
        None if eps is None else new(n, len(w[0])) for n, w, (_, eps) in zip(stored, weights, plan.kinds, strict=True)
    ]
    for rows in plan.blocks(P):
        here: Sequence[Tensor] = [part[rows] for part in parts]
        for k, ((weight, bias, *affine), (has_relu, eps)) in enumerate(zip(weights, plan.kinds, strict=True)):
            within = rows if stored[k] == P else slice(0, rows.stop - rows.start)
            out, levels, norm_input = outs[k][within], plan.levels[k], normed[k]
            y = out if norm_input is None else norm_input[within]
            linear_of_parts(here, weight, y)
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
            elif has_relu:
                mlp_kernels.add_bias_relu(y.numpy(), bias.numpy())
            else:
                mlp_kernels.add_bias(y.numpy(), bias.numpy())
            here = [out]
    return outs, normed


class _MlpCpu(torch.autograd.Function):
    """A network in the compiled form."""

    @staticmethod
    def forward(ctx: Any, plan: _Plan, *tensors: Tensor) -> Tensor:
        outs, normed = _run(plan, tensors, keeps=True)
        ctx.save_for_backward(*tensors, *outs, *(y for y in normed if y is not None))
        ctx.plan, ctx.n_tensors = plan, len(tensors)
        return outs[-1]

    @staticmethod
    def backward(ctx: Any, grad_PH: Tensor) -> tuple[Tensor | None, ...]:
        plan: _Plan = ctx.plan
        saved = list(ctx.saved_tensors)
        parts, weights = plan.split(saved[: ctx.n_tensors])
        outs = saved[ctx.n_tensors : ctx.n_tensors + len(weights)]
        rest = iter(saved[ctx.n_tensors + len(weights) :])
        normed = [None if eps is None else next(rest) for _, eps in plan.kinds]
        wants = ctx.needs_input_grad[1 : 1 + plan.n_parts]
        d_parts = [torch.empty_like(part) if wanted else None for part, wanted in zip(parts, wants, strict=True)]
        d_weights = [[torch.zeros_like(t) for t in stage] for stage in weights]
        for rows in plan.blocks(len(grad_PH)):
            d = grad_PH[rows]
            for k in range(len(weights) - 1, -1, -1):
                if k == len(weights) - 1 and plan.kinds[k][0]:
                    d = d.clone(memory_format=torch.contiguous_format)  # the gradient given is not ours to change
                norm_input = normed[k]
                _through(
                    plan, k, d, outs[k][rows], None if norm_input is None else norm_input[rows], weights, d_weights
                )
                before = [part[rows] for part in parts] if k == 0 else [outs[k - 1][rows]]
                _add_linear(d, before, d_weights[k])
                if k > 0:
                    d = torch.mm(d, weights[k][0])
            start = 0
            for part, d_part in zip(parts, d_parts, strict=True):
                if d_part is not None:
                    torch.mm(d, weights[0][0][:, start : start + part.shape[1]], out=d_part[rows])
                start += part.shape[1]
        return None, *d_parts, *(t for stage in d_weights for t in stage)


def _through(
    plan: _Plan,
    k: int,
    d: Tensor,
    out: Tensor,
    norm_input: Tensor | None,
    weights: Sequence[Sequence[Tensor]],
    d_weights: Sequence[Sequence[Tensor]],
) -> None:
    """Turns the gradient of what stage k puts out into that of its linear layer's, in place."""
    has_relu, eps = plan.kinds[k]
    if norm_input is not None:
        _, _, gain, _ = weights[k]
        d_affine = gain.new_zeros(2, len(gain))  # a block's own sums, which round less than one running sum
        d_gain, d_shift = d_affine.numpy()
        mlp_kernels.through_norm_relu(d.numpy(), norm_input.numpy(), gain.numpy(), np.float32(eps), d_gain, d_shift)
        d_weights[k][2].add_(d_affine[0])
        d_weights[k][3].add_(d_affine[1])
    elif has_relu:
        mlp_kernels.through_relu(d.numpy(), out.numpy(), plan.scale(k))


def _add_linear(d: Tensor, parts: Sequence[Tensor], d_weights: Sequence[Tensor]) -> None:
    """Adds a block's share of a linear layer's gradients."""
    d_weight, d_bias = d_weights[:2]
    d_bias.add_(d.sum(0))
    start = 0
    for part in parts:
        add_product(d_weight[:, start : start + part.shape[1]], d.t(), part)
        start += part.shape[1]


def mlp(network: nn.Sequential, *parts: Tensor) -> Tensor:
    """Returns what a network makes of its inputs.

    Args:
        network: linear layers, each alone or followed by ReLU, which layer norm or ``Dropout`` may follow; others are
            called as they are.
        parts: inputs (..., I), several to be read side by side.

    Returns:
        (..., H).
    """
    stages = _stages(network)
    if stages is None or not is_compiled(*parts, *network.parameters()) or parts[0].numel() == 0:
        return network(parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1))
    lead = parts[0].shape[:-1]
    rows = [part.reshape(-1, part.shape[-1]) for part in parts]
    plan = _Plan(stages, len(parts), len(rows[0]))
    tensors = [*rows, *(t for stage in stages for t in stage.weights())]
    out = _MlpCpu.apply(plan, *tensors) if torch.is_grad_enabled() else _run(plan, tensors, keeps=False)[0][-1]
    return out.view(*lead, -1)
