"""Matrix products inside compiled loops, for float32 on the CPU, which lose little speed with few rows.

A step of a recurrent network multiplies a few rows with weights that stay the same from step to step. Libraries take
these weights apart anew in every call, which costs most of a call with few rows (``benchmarks/step_products.py``). Here
that is done once, by ``panels``, and the product is a loop over tiles of the result whose sums stay in the processor's
vector registers. The sum of each number runs over I in order, whatever the number of rows is.

Letters: M rows, I inner, J columns of the result, Q panels of ``WIDTH`` columns.
"""

from __future__ import annotations

from collections.abc import Sequence
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
_NEAR = 64  # rows of a right side that is read as it stands
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
            left, left_stride, rows, panel, inner, out, out_stride, adds = values
            tile = _Tile(builder, ir.VectorType(_FLOAT, n_lanes), n_rows, rows, out, out_stride)
            with builder.if_then(adds):
                tile.load()
            lefts = [_pointer(builder, left, left_stride, row, _FLOAT) for row in tile.rows]
            with cgutils.for_range(builder, inner) as loop:
                firsts = [builder.gep(pointer, [loop.index]) for pointer in lefts]
                tile.grow(firsts, panel, ir.Constant(_INT, n_lanes * _VECTORS * _BYTES), loop.index)
            tile.store()
            return context.get_dummy_value()

        return types.void(*[types.int64] * 7, types.boolean), build

    return tile


def transposed_tile_of(n_lanes: int, n_rows: int) -> Any:
    """Returns a function for compiled loops that adds one tile of a product whose left side is read by columns.

    Args:
        n_lanes, n_rows: as for ``tile_of``.

    Returns:
        ``tile(left, left_stride, rows, right, right_stride, inner, out, out_stride)``, all integers: addresses of the
        first number that the tile reads or writes of the left side (I, M), the right side (I, J) and the result (M, J),
        and how many bytes lie between rows of each. ``rows`` is how many rows of the result follow, as for ``tile_of``.
    """

    @intrinsic
    def tile(_context, left, left_stride, rows, right, right_stride, inner, out, out_stride):
        def build(context: Any, builder: ir.IRBuilder, _signature: Any, values: Any) -> Any:
            left, left_stride, rows, right, right_stride, inner, out, out_stride = values
            tile = _Tile(builder, ir.VectorType(_FLOAT, n_lanes), n_rows, rows, out, out_stride)
            with cgutils.for_range(builder, inner) as loop:
                column = _pointer(builder, left, left_stride, loop.index, _FLOAT)
                tile.grow([builder.gep(column, [row]) for row in tile.rows], right, right_stride, loop.index)
            tile.store(adds=True)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 8), build

    return tile


class _Tile:
    """The instructions of a tile, whose sums stay in vector registers.

    Args:
        builder: writes instructions.
        vector: type of a vector.
        n_rows: of the tile.
        rows: how many rows the result has from here on.
        out, out_stride: of the result.
    """

    def __init__(
        self, builder: ir.IRBuilder, vector: ir.VectorType, n_rows: int, rows: Any, out: Any, out_stride: Any
    ) -> None:
        self._builder, self._vector, self._left = builder, vector, rows
        self._numbers = [ir.Constant(_INT, number) for number in range(max(n_rows, _VECTORS))]
        self._places = [(row, v) for row in range(n_rows) for v in range(_VECTORS)]
        # Rows beyond the last one repeat it, so that all tiles are alike; their sums are not written.
        last = builder.sub(rows, self._numbers[1])
        numbers = self._numbers[:n_rows]
        self.rows = [builder.select(builder.icmp_signed("<", row, rows), row, last) for row in numbers]
        self._outs = [_pointer(builder, out, out_stride, row, vector) for row in self.rows]
        zeros = ir.Constant(vector, [0.0] * vector.count)
        self._sums = {place: cgutils.alloca_once_value(builder, zeros) for place in self._places}  # become registers
        for total in self._sums.values():  # again, as a tile may be built inside a loop
            builder.store(zeros, total)

    def load(self) -> None:
        """Starts the sums from what the result holds."""
        for place in self._places:
            self._builder.store(self._builder.load(self._out(place), align=_BYTES), self._sums[place])

    def grow(self, lefts: Sequence[Any], right: Any, right_stride: Any, index: Any) -> None:
        """Adds one product to every sum.

        Args:
            lefts: pointers to the left number of every row.
            right, right_stride, index: where the right side begins, bytes between its rows, and the row.
        """
        builder, vector = self._builder, self._vector
        pointer = _pointer(builder, right, right_stride, index, vector)
        rights = [builder.load(builder.gep(pointer, [self._numbers[v]]), align=_BYTES) for v in range(_VECTORS)]
        firsts = [builder.load(left, align=_BYTES) for left in lefts]
        factors = [_everywhere(builder, first, vector) for first in firsts]
        for row, v in self._places:
            grown = builder.fmul(factors[row], rights[v], flags=("contract",))  # one operation with the sum
            total = builder.fadd(grown, builder.load(self._sums[row, v]), flags=("contract",))
            builder.store(total, self._sums[row, v])

    def store(self, adds: bool = False) -> None:
        """Writes the sums, or adds them to the result."""
        builder = self._builder
        for row, v in self._places:
            with builder.if_then(builder.icmp_signed("<", self._numbers[row], self._left)):
                out, total = self._out((row, v)), builder.load(self._sums[row, v])
                builder.store(
                    builder.fadd(builder.load(out, align=_BYTES), total) if adds else total, out, align=_BYTES
                )

    def _out(self, place: tuple[int, int]) -> Any:
        row, v = place
        return self._builder.gep(self._outs[row], [self._numbers[v]])


def _pointer(builder: ir.IRBuilder, start: Any, stride: Any, row: Any, kind: ir.Type) -> Any:
    """Returns a pointer to the row of an array that begins at an address."""
    return builder.inttoptr(builder.add(start, builder.mul(row, stride)), kind.as_pointer())


def _everywhere(builder: ir.IRBuilder, number: Any, vector: ir.VectorType) -> Any:
    """Returns a vector with one number in all places."""
    first, unknown = ir.Constant(ir.IntType(32), 0), ir.Constant(vector, ir.Undefined)
    places = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(builder.insert_element(unknown, number, first), unknown, places)


_tile, _transposed_tile = tile_of(_LANES, _ROWS), transposed_tile_of(_LANES, _ROWS)


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
    multiply_at(left_MI.ctypes.data, left_MI.strides[0], n_rows, panels_QIW, 0, inner, out, adds)


@_compiled()
def multiply_at(left, left_stride, n_rows, panels_QIW, first, inner, out, adds):
    """As ``multiply``, for a left side of which only the address is known; nothing is checked.

    Args:
        left, left_stride: address of the left side, bytes between its rows.
        n_rows: M.
        panels_QIW, first, inner: the right side's panels, of which the rows from ``first`` on count, ``inner`` of them.
        out, adds: as for ``multiply``.
    """
    start, stride = out.ctypes.data, out.strides[0]
    panel, panel_stride = panels_QIW.ctypes.data + first * WIDTH * _BYTES, panels_QIW.strides[0]
    for q in range(panels_QIW.shape[0]):  # a panel stays in the nearest cache while all rows pass by
        for m in range(0, n_rows, _ROWS):
            _tile(
                left + m * left_stride, left_stride, n_rows - m, panel + q * panel_stride, inner,
                start + m * stride + q * WIDTH * _BYTES, stride, adds,
            )  # fmt: skip


@_compiled()
def add_transposed_at(left, left_stride, n_rows, right_IJ, out):
    """Adds the product of a transposed left side and a right side to ``out``; nothing is checked.

    Args:
        left, left_stride: address of the left side (I, M), bytes between its rows.
        n_rows: M.
        right_IJ: the right side, float32; whole panels of columns.
        out: (M, J), float32.
    """
    right_stride, stride = right_IJ.strides[0], out.strides[0]
    for i in range(0, right_IJ.shape[0], _NEAR):  # rows far apart would not stay in the cache
        inner = min(_NEAR, right_IJ.shape[0] - i)
        here, right = left + i * left_stride, right_IJ.ctypes.data + i * right_stride
        for j in range(0, right_IJ.shape[1], WIDTH):
            for m in range(0, n_rows, _ROWS):
                _transposed_tile(
                    here + m * _BYTES, left_stride, n_rows - m, right + j * _BYTES, right_stride, inner,
                    out.ctypes.data + m * stride + j * _BYTES, stride,
                )  # fmt: skip
