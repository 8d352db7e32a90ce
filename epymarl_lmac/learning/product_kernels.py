"""Matrix products inside compiled loops, for float32 on the CPU, which lose little speed with few rows.

A step of a recurrent network multiplies a few rows with weights that stay the same from step to step. Libraries take
these weights apart anew in every call, which costs most of a call with few rows (``benchmarks/step_products.py``). Here
that is done once, by ``panels``, and the product is a loop over tiles of the result whose sums stay in the processor's
vector registers. The sum of each number runs over I in order, whatever the number of rows is.

Letters: M rows, I inner, J columns of the result, Q panels of ``WIDTH`` columns.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from epymarl_lmac.processor import compiles_avx512

_BYTES = 4  # of a float32
_VECTORS = 2  # of a tile's row
_FLOAT, _INT = ir.FloatType(), ir.IntType(64)
# The sums of a tile must fit into the vector registers, 32 of 16 numbers with AVX-512 and 16 of 8 with AVX2.
_LANES, _ROWS = (16, 12) if compiles_avx512() else (8, 6)

WIDTH = _LANES * _VECTORS  # columns of a panel

_compiled: Any = partial(njit, cache=True, nogil=True, error_model="numpy")


def tile_of(n_lanes: int, n_rows: int) -> Any:
    """Returns a function for compiled loops that computes one tile of a product.

    Args:
        n_lanes: numbers of a vector; a tile has two vectors side by side. Where the processor's vectors are shorter,
            the compiler takes several.
        n_rows: of a tile.

    Returns:
        ``tile(left, left_stride, rows, panel, inner, out, out_stride, adds)``, all integers but the last: addresses of
        the tile's first row and their distance in bytes for the left array and the result, the address of the panel, I,
        and whether the result is added to. ``rows`` is how many rows follow, 1 or more: those beyond the tile are left
        alone, and so is what lies beyond the last row.
    """

    @intrinsic
    def tile(_context, left, left_stride, rows, panel, inner, out, out_stride, adds):
        def build(context: Any, builder: ir.IRBuilder, _signature: Any, values: Any) -> Any:
            _build_tile(builder, values, ir.VectorType(_FLOAT, n_lanes), n_rows)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 7, types.boolean), build

    return tile


def _build_tile(builder: ir.IRBuilder, values: Any, vector: ir.VectorType, n_rows: int) -> None:
    """Writes the instructions of a tile; the arguments' values are those that ``tile_of`` names."""
    left, left_stride, rows, panel, inner, out, out_stride, adds = values
    numbers = [ir.Constant(_INT, number) for number in range(max(n_rows, _VECTORS))]
    places = [(row, v) for row in range(n_rows) for v in range(_VECTORS)]
    # Rows beyond the last one repeat it, so that all tiles are alike; their sums are not written.
    last = builder.sub(rows, numbers[1])
    of_row = [builder.select(builder.icmp_signed("<", row, rows), row, last) for row in numbers[:n_rows]]
    lefts = [_pointer(builder, left, left_stride, row, _FLOAT) for row in of_row]
    outs = [_pointer(builder, out, out_stride, row, vector) for row in of_row]
    zeros = ir.Constant(vector, [0.0] * vector.count)
    sums = {place: cgutils.alloca_once_value(builder, zeros) for place in places}  # become registers
    for total in sums.values():  # again, as a tile may be built inside a loop
        builder.store(zeros, total)
    with builder.if_then(adds):
        for row, v in places:
            builder.store(builder.load(builder.gep(outs[row], [numbers[v]]), align=_BYTES), sums[row, v])
    panel = builder.inttoptr(panel, vector.as_pointer())
    with cgutils.for_range(builder, inner) as loop:
        at = builder.mul(loop.index, ir.Constant(_INT, _VECTORS))
        ahead = [builder.gep(panel, [builder.add(at, number)]) for number in numbers[:_VECTORS]]
        rights = [builder.load(pointer, align=_BYTES) for pointer in ahead]
        firsts = [builder.load(builder.gep(pointer, [loop.index]), align=_BYTES) for pointer in lefts]
        factors = [_everywhere(builder, first, vector) for first in firsts]
        for row, v in places:
            grown = builder.fmul(factors[row], rights[v], flags=("contract",))  # one operation with the sum
            total = builder.fadd(grown, builder.load(sums[row, v]), flags=("contract",))
            builder.store(total, sums[row, v])
    for row, v in places:
        with builder.if_then(builder.icmp_signed("<", numbers[row], rows)):
            builder.store(builder.load(sums[row, v]), builder.gep(outs[row], [numbers[v]]), align=_BYTES)


def _pointer(builder: ir.IRBuilder, start: Any, stride: Any, row: Any, kind: ir.Type) -> Any:
    """Returns a pointer to the row of an array that begins at an address."""
    return builder.inttoptr(builder.add(start, builder.mul(row, stride)), kind.as_pointer())


def _everywhere(builder: ir.IRBuilder, number: Any, vector: ir.VectorType) -> Any:
    """Returns a vector with one number in all places."""
    first, unknown = ir.Constant(ir.IntType(32), 0), ir.Constant(vector, ir.Undefined)
    places = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(builder.insert_element(unknown, number, first), unknown, places)


_tile = tile_of(_LANES, _ROWS)


@_compiled()
def panels(right_IJ):
    """Returns the right side of products as ``multiply`` reads it, (Q, I, WIDTH), with zeros beyond its last column."""
    inner, n = right_IJ.shape
    out = np.zeros(((n + WIDTH - 1) // WIDTH, inner, WIDTH), np.float32)
    for q in range(out.shape[0]):
        for i in range(inner):
            for j in range(min(WIDTH, n - q * WIDTH)):
                out[q, i, j] = right_IJ[i, q * WIDTH + j]
    return out


def columns(n: int) -> int:
    """Returns how many columns the result of a product needs to have room for when it has n."""
    return -(-n // WIDTH) * WIDTH


@_compiled()
def multiply(left_MI, panels_QIW, out, adds):
    """Writes a product into the first rows of ``out``, or adds it to them.

    Args:
        left_MI: the left side, float32; its rows may stand apart, the numbers of a row may not.
        panels_QIW: the right side, from ``panels``.
        out: float32, M rows or more, ``columns(J)`` columns or more; its rows may stand apart, too.
        adds: whether the product is added to what stands there.

    Raises:
        ValueError: the arrays do not fit.
    """
    n_panels, inner, width = panels_QIW.shape
    n_rows = left_MI.shape[0]
    # A tile sees addresses only. The message cannot name the shapes: it is part of the compiled code.
    if left_MI.shape[1] != inner or width != WIDTH or out.shape[0] < n_rows or out.shape[1] < n_panels * WIDTH:
        raise ValueError("the arrays of a product do not fit; out needs room for whole panels")
    if n_rows > 0 and (left_MI.strides[1] != _BYTES or out.strides[1] != _BYTES):
        raise ValueError("the arrays of a product do not fit; rows need to be float32, number beside number")
    left, left_stride = left_MI.ctypes.data, left_MI.strides[0]
    start, stride, panel = out.ctypes.data, out.strides[0], panels_QIW.ctypes.data
    for q in range(n_panels):  # a panel stays in the nearest cache while all rows pass by
        for m in range(0, n_rows, _ROWS):
            _tile(
                left + m * left_stride, left_stride, n_rows - m, panel + q * inner * WIDTH * _BYTES, inner,
                start + m * stride + q * WIDTH * _BYTES, stride, adds,
            )  # fmt: skip
