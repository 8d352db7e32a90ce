"""Matrix products with an input that comes in parts, which are read side by side without being copied together.

A weight's columns belong to the parts in order. Letters: P rows, I inputs of all parts, H columns of a layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from epymarl_lmac.learning.products import add_product, product


def columns_of(parts: Sequence[Tensor]) -> Iterator[slice]:
    """Yields the columns that each part has where they stand side by side."""
    start = 0
    for part in parts:
        yield slice(start, start + part.shape[1])
        start += part.shape[1]


def linear(parts: Sequence[Tensor], weight_HI: Tensor, out_PH: Tensor) -> None:
    """Writes what a linear layer without bias makes of the parts."""
    for k, (part, columns) in enumerate(zip(parts, columns_of(parts), strict=True)):
        to_out = weight_HI[:, columns].t()
        if k == 0:
            product(part, to_out, out=out_PH)
        else:
            add_product(out_PH, part, to_out)


def add_weight_gradient(d_weight_HI: Tensor, d_PH: Tensor, parts: Sequence[Tensor]) -> None:
    """Adds these rows' share of the weight's gradient, given that of what the layer puts out."""
    for part, columns in zip(parts, columns_of(parts), strict=True):
        add_product(d_weight_HI[:, columns], d_PH.t(), part)


def input_gradients(d_PH: Tensor, weight_HI: Tensor, d_parts: Sequence[Tensor | None], parts: Sequence[Tensor]) -> None:
    """Writes the gradient of every part that wants one."""
    for d_part, columns in zip(d_parts, columns_of(parts), strict=True):
        if d_part is not None:
            product(d_PH, weight_HI[:, columns], out=d_part)
