"""Products of matrices with lanes: the values, and the same numbers whoever the neighbours are."""

import numpy as np
import pytest
from numba import njit

from sde_momentum.core.simd.matrix import (
    WIDTH,
    aligned,
    apply_by_lane,
    product,
    product_by_lane,
    product_transposed,
    symmetric_by_lane,
)


@njit
def multiply(a, x, y, transposed):
    if transposed:
        product_transposed(a, x, y)
    else:
        product(a, x, y)


@njit
def multiply_by_lane(a, x, y, m, size, n, turn_left, turn_right):
    """Row by row within the lanes' rows, or column by column."""
    left = (a, 0, 1, m) if turn_left else (a, 0, size, 1)
    right = (x, 0, 1, size) if turn_right else (x, 0, n, 1)
    product_by_lane(left, right, (y, 0, n, 1), m, size, n)


@pytest.mark.parametrize("lanes", [8, 11, 32])
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (6, 4), (7, 1), (20, 33)])
@pytest.mark.parametrize("transposed", [False, True])
def test_numbers_times_lanes(shape, lanes, transposed):
    rng = np.random.default_rng(0)
    a = rng.standard_normal(shape)
    matrix = a.T if transposed else a
    x, y = rng.standard_normal((matrix.shape[1], lanes)), np.full((matrix.shape[0], lanes), np.nan)
    multiply(a, x, y, transposed)
    np.testing.assert_allclose(y, matrix @ x, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("lanes", [8, 11, 32])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (4, 5, 4), (3, 2, 9), (9, 2, 1), (6, 7, 5)])
@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True)])
def test_every_lane_has_its_own_matrices(sizes, lanes, turned):
    m, size, n = sizes
    rng = np.random.default_rng(0)
    a, x = rng.standard_normal((lanes, m, size)), rng.standard_normal((lanes, size, n))

    def rows(matrices, turn):
        return np.ascontiguousarray((matrices.swapaxes(1, 2) if turn else matrices).reshape(lanes, -1).T)

    y = np.full((m * n, lanes), np.nan)
    multiply_by_lane(rows(a, turned[0]), rows(x, turned[1]), y, m, size, n, *turned)
    np.testing.assert_allclose(y, (a @ x).reshape(lanes, -1).T, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_lane_does_not_know_its_neighbours_nor_an_entry_its_tile(transposed):
    """Bit by bit: 16 lanes against the first 8 and others, 20 rows against the first 3 of them."""
    rng = np.random.default_rng(0)
    a, x = rng.standard_normal((20, 20)), rng.standard_normal((20, 16))
    whole, some, few = np.empty((20, 16)), np.empty((20, 8)), np.empty((3, 16))
    multiply(a, x, whole, transposed)
    multiply(a, np.ascontiguousarray(x[:, [15, 3, 3, 3, 0, 1, 2, 9]]), some, transposed)
    np.testing.assert_array_equal(some, whole[:, [15, 3, 3, 3, 0, 1, 2, 9]])
    multiply(np.ascontiguousarray(a[:, :3] if transposed else a[:3]), x, few, transposed)
    np.testing.assert_array_equal(few, whole[:3])


def test_aligned_arrays_start_at_a_cache_line():
    for rows in (0, 1, 5, 1000):
        array = aligned(rows, WIDTH)
        assert array.shape == (rows, WIDTH)
        assert array.ctypes.data % 64 == 0


@njit
def multiply_symmetric(a, y, m, size):
    """a a^T."""
    symmetric_by_lane((a, 0, size, 1), (a, 0, 1, size), (y, 0, m, 1), m, size)


@njit
def apply(a, x, y, m, size):
    apply_by_lane((a, 0, size, 1), x, y, m, size)


@pytest.mark.parametrize("lanes", [8, 16])
@pytest.mark.parametrize("sizes", [(1, 1), (3, 5), (4, 2), (6, 7), (13, 20)])
def test_a_symmetric_product_is_half_computed_and_a_vector_is_one_column(sizes, lanes):
    m, size = sizes
    rng = np.random.default_rng(0)
    a, x = rng.standard_normal((lanes, m, size)), rng.standard_normal((size, lanes))
    rows = np.ascontiguousarray(a.reshape(lanes, -1).T)
    y, v = np.full((m * m, lanes), np.nan), np.full((m, lanes), np.nan)
    multiply_symmetric(rows, y, m, size)
    np.testing.assert_allclose(y, (a @ a.swapaxes(1, 2)).reshape(lanes, -1).T, rtol=1e-12, atol=1e-13)
    square = y.reshape(m, m, lanes)
    np.testing.assert_array_equal(square, square.swapaxes(0, 1))
    apply(rows, x, v, m, size)
    np.testing.assert_allclose(v, np.einsum("lij,jl->il", a, x), rtol=1e-12, atol=1e-13)
