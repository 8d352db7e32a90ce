"""Products inside compiled loops equal numpy's, for every number of rows, and write nothing beyond their result."""

import numpy as np
import pytest
from numba import njit

from epymarl_lmac import processor
from epymarl_lmac.learning.product_kernels import (
    WIDTH,
    add_transposed_at,
    columns,
    multiply,
    panels,
    tile_of,
    transposed_tile_of,
)

GUARD = np.float32(7.0)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("n_columns", [1, WIDTH - 1, WIDTH, WIDTH + 1, 3 * WIDTH])
@pytest.mark.parametrize("inner", [1, 2, 64])
@pytest.mark.parametrize("n_rows", [1, 2, 5, 6, 7, 12, 13, 25])
def test_product_equals_numpys(n_rows, inner, n_columns):
    left, right = numbers(n_rows, inner), numbers(inner, n_columns, seed=1)
    out = np.full((n_rows + 1, columns(n_columns) + 1), GUARD)
    multiply(left, panels(right), out, False)
    np.testing.assert_allclose(out[:n_rows, :n_columns], left @ right, rtol=1e-5, atol=1e-5)
    assert np.all(out[:n_rows, n_columns:-1] == 0)  # the rest of the last panel
    assert np.all(out[n_rows:] == GUARD) and np.all(out[:, -1] == GUARD)
    multiply(left, panels(right), out, True)
    np.testing.assert_allclose(out[:n_rows, :n_columns], 2 * (left @ right), rtol=1e-5, atol=2e-5)
    assert np.all(out[n_rows:] == GUARD) and np.all(out[:, -1] == GUARD)


def test_rows_of_larger_arrays_and_a_transposed_right_side_are_read():
    left, right = numbers(9, 20)[:, 3:11], numbers(5, 8, seed=1).T
    out = np.full((9, columns(5) + 4), GUARD)
    multiply(left, panels(right), out[:, 2:-2], False)
    np.testing.assert_allclose(out[:, 2:7], left @ right, rtol=1e-5, atol=1e-5)
    assert np.all(out[:, :2] == GUARD) and np.all(out[:, -2:] == GUARD)


def test_a_row_does_not_depend_on_the_rows_beside_it():
    left, right = numbers(25, 64), panels(numbers(64, 2 * WIDTH, seed=1))
    whole, alone = np.empty((25, 2 * WIDTH), np.float32), np.empty((1, 2 * WIDTH), np.float32)
    multiply(left, right, whole, False)
    for m in range(25):
        multiply(left[m : m + 1], right, alone, False)
        assert np.array_equal(alone[0], whole[m])


def test_no_rows_are_no_work():
    out = np.full((2, WIDTH), GUARD)
    multiply(numbers(0, 4), panels(numbers(4, WIDTH)), out, False)
    assert np.all(out == GUARD)


@pytest.mark.parametrize(("left", "out"), [
    ((3, 5), (3, WIDTH)),  # another inner size
    ((3, 4), (2, WIDTH)),  # too few rows
    ((3, 4), (3, 3)),  # no room for a whole panel
])  # fmt: skip
def test_arrays_that_do_not_fit_are_refused(left, out):
    with pytest.raises(ValueError, match="do not fit"):
        multiply(numbers(*left), panels(numbers(4, 3)), np.zeros(out, np.float32), False)


def test_rows_with_gaps_between_their_numbers_and_other_types_are_refused():
    right, out = panels(numbers(4, 3)), np.zeros((3, 2 * WIDTH), np.float32)
    for left, room in [
        (numbers(3, 8)[:, ::2], out),
        (numbers(3, 4).astype(np.float64), out),
        (numbers(3, 4), out[:, ::2]),
        (numbers(3, 4), out.astype(np.float64)),
    ]:
        with pytest.raises(ValueError, match="number beside number"):
            multiply(left, right, room, False)


@pytest.mark.parametrize(("n_lanes", "n_rows"), [(8, 6), (16, 12)])
def test_tiles_of_both_sizes_of_vectors(n_lanes, n_rows):
    """Products use the size of this processor's vectors; for the other one the compiler takes several, or a part."""
    tile = tile_of(n_lanes, n_rows)

    @njit
    def one(left, panel, out, adds):
        at, stride = left.ctypes.data, left.strides[0]
        tile(at, stride, len(left), panel.ctypes.data, len(panel), out.ctypes.data, out.strides[0], adds)

    right = numbers(10, 2 * n_lanes, seed=1)
    for rows in range(1, n_rows + 2):
        left, out = numbers(rows, 10), np.full((rows, 2 * n_lanes), GUARD)
        one(left, right, out, False)
        np.testing.assert_allclose(out[:n_rows], (left @ right)[:n_rows], rtol=1e-5, atol=1e-5)
        assert np.all(out[n_rows:] == GUARD)
        one(left, right, out, True)
        np.testing.assert_allclose(out[:n_rows], 2 * (left @ right)[:n_rows], rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(("n_lanes", "n_rows"), [(8, 6), (16, 12)])
def test_transposed_tiles_of_both_sizes_of_vectors(n_lanes, n_rows):
    tile = transposed_tile_of(n_lanes, n_rows)

    @njit
    def one(left, right, out):
        at, stride = left.ctypes.data, left.strides[0]
        tile(
            at, stride, left.shape[1], right.ctypes.data, right.strides[0], len(right), out.ctypes.data, out.strides[0]
        )

    right = numbers(10, 2 * n_lanes, seed=1)
    for rows in range(1, n_rows + 2):
        left, out = numbers(10, rows), np.full((rows, 2 * n_lanes), GUARD)
        one(left, right, out)
        np.testing.assert_allclose(out[:n_rows], (GUARD + left.T @ right)[:n_rows], rtol=1e-5, atol=1e-5)
        assert np.all(out[n_rows:] == GUARD)


@pytest.mark.parametrize(
    ("features", "expected"), [({"avx512f": True}, True), ({"avx512f": False}, False), ({}, False)]
)
def test_what_the_compiler_says_of_the_processor(features, expected, monkeypatch):
    monkeypatch.setattr(processor.llvmlite.binding, "get_host_cpu_features", lambda: features)
    assert processor.compiles_avx512() is expected


def test_a_compiler_that_does_not_know_the_processor(monkeypatch):
    def refuse():
        raise RuntimeError("unknown processor")

    monkeypatch.setattr(processor.llvmlite.binding, "get_host_cpu_features", refuse)
    assert not processor.compiles_avx512()


@pytest.mark.parametrize("n_columns", [WIDTH, 3 * WIDTH])
@pytest.mark.parametrize("inner", [1, 64, 65, 130])
@pytest.mark.parametrize("n_rows", [1, 5, 6, 13])
def test_product_with_a_transposed_left_side_is_added(n_rows, inner, n_columns):
    """Left and result have gaps between their rows, and nothing else is written."""

    @njit
    def add(left, right, out):
        add_transposed_at(left.ctypes.data, left.strides[0], left.shape[1], right, out)

    wide, right = numbers(inner, n_rows + 3), numbers(inner, n_columns, seed=1)
    left, out = wide[:, 2:-1], np.full((n_rows + 1, n_columns + 2), GUARD)
    add(left, right, out[:n_rows, 1:-1])
    np.testing.assert_allclose(out[:n_rows, 1:-1], GUARD + left.T @ right, rtol=1e-5, atol=1e-4)
    assert np.all(out[n_rows:] == GUARD) and np.all(out[:, [0, -1]] == GUARD)
