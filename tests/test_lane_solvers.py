"""Inverses and pair covariances of many small matrices at once, against LAPACK's."""

from __future__ import annotations

import numpy as np
import pytest

from sde_momentum.core.simd.matrix import aligned
from sde_momentum.geometry.lanes.cholesky import invert
from sde_momentum.geometry.lanes.pairs import pairs_of, solve_pairs

SHAPES = [(1, 8), (3, 8), (9, 16), (20, 8)]


def in_lanes(matrices):
    """(lanes, m, n) -> (m n, lanes)."""
    array = aligned(matrices[0].size, len(matrices))
    array[:] = matrices.reshape(len(matrices), -1).T
    return array


def out_of(array, p):
    return array.T.reshape(-1, p, p)


def positive(rng, lanes, p):
    """Of condition number about 100."""
    factor = rng.normal(size=(lanes, p, 3 * p))
    return factor @ factor.swapaxes(1, 2)


def inverses(matrices, shift):
    lanes, p, _ = matrices.shape
    inverse, factor, column, good = (aligned(rows, lanes) for rows in (p * p, p * p, 2 * p, 1))
    invert(in_lanes(matrices), shift, inverse, factor, column, good)
    return out_of(inverse, p), good[0]


@pytest.mark.parametrize(("p", "lanes"), SHAPES)
def test_inverses_are_lapacks(p, lanes):
    matrices = positive(np.random.default_rng(0), lanes, p)
    for shift in (0.0, 0.7):
        found, good = inverses(matrices, shift)
        np.testing.assert_allclose(found, np.linalg.inv(matrices + shift * np.eye(p)), rtol=0, atol=1e-11 * np.abs(found).max())
        assert (good == 1).all()


def test_a_singular_matrix_is_named_and_its_neighbours_do_not_notice():
    matrices = positive(np.random.default_rng(0), 8, 6)
    whole, _ = inverses(matrices, 0.0)
    spoilt = matrices.copy()
    spoilt[3, 2], spoilt[3, :, 2] = spoilt[3, 1], spoilt[3, :, 1]
    spoilt[5] = np.nan
    found, good = inverses(spoilt, 0.0)
    assert good.tolist() == [1, 1, 1, 0, 1, 0, 1, 1]
    np.testing.assert_array_equal(found[good == 1], whole[good == 1])


def covariances(gram, vectors, source, share):
    lanes, p, _ = gram.shape
    room, count = pairs_of(p, lanes), aligned(1, lanes)
    solve_pairs(room, in_lanes(gram), in_lanes(vectors.swapaxes(1, 2)), in_lanes(source), share, p, count)
    return out_of(room.solution, p), count[0]


@pytest.mark.parametrize(("p", "lanes"), SHAPES)
@pytest.mark.parametrize("share", [0.0, 0.01, 1.0])
def test_pair_covariances_are_those_of_the_eigenbasis(p, lanes, share):
    """With eigenvectors of matrices that differ by some per cent. 1e-6 is the solver's tolerance, in its own norm."""
    rng = np.random.default_rng(1)
    gram, source = positive(rng, lanes, p), positive(rng, lanes, p)
    other = rng.normal(size=(lanes, p, p))
    near = np.linalg.eigh(gram + 0.1 * (other + other.swapaxes(1, 2)))[1]
    values, vectors = np.linalg.eigh(gram)
    sums, gaps = values[:, :, None] + values[:, None], values[:, :, None] - values[:, None]
    inner = vectors.swapaxes(1, 2) @ source @ vectors / (gaps**2 * share + sums)
    exact = vectors @ inner @ vectors.swapaxes(1, 2)
    found, count = covariances(gram, near, source, share)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-5 * np.abs(exact).max())
    assert count.max() < 30
    np.testing.assert_array_equal(found, found.swapaxes(1, 2))


def test_a_lane_goes_on_as_long_as_it_needs_itself():
    """Bit by bit: beside lanes that need more steps, less, or none."""
    rng = np.random.default_rng(2)
    gram, source = positive(rng, 8, 7), positive(rng, 8, 7)
    vectors = np.linalg.eigh(gram + 0.3 * np.eye(7)[::-1])[1]
    found, count = covariances(gram, vectors, source, 0.1)
    other = vectors.copy()
    other[::2] = np.eye(7)
    source[1] = 0.0
    again, counts = covariances(gram, other, source, 0.1)
    assert counts[0] > count[0]
    assert counts[1] == 0
    np.testing.assert_array_equal(again[3::2], found[3::2])
    np.testing.assert_array_equal(again[1], np.zeros((7, 7)))
