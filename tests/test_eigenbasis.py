"""Eigenvectors that are followed: against LAPACK, at crossings, in degenerate and vanishing modes, and lane by lane."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm

from sde_momentum.geometry.lanes.eigenbasis import basis_of, follow

LANES = 8


def matrices(basis, given):
    """Hand each lane its matrix, (lanes, p, p)."""
    basis.matrix[:] = np.moveaxis(given, 0, -1).reshape(-1, LANES)
    follow(basis, np.ones((1, LANES)))


def vectors(basis):
    """The eigenvectors of each lane, a row each, (lanes, p, p)."""
    p = len(basis.values)
    return np.moveaxis(basis.vectors.reshape(p, p, LANES), -1, 0)


def check(basis, given):
    """V is orthogonal, V G V^T diagonal up to `accuracy`, and the eigenvalues are those of LAPACK to its square over the gaps."""
    v, p = vectors(basis), len(basis.values)
    np.testing.assert_allclose(v @ np.swapaxes(v, -1, -2), np.broadcast_to(np.eye(p), v.shape), atol=1e-6)
    inner = v @ given @ np.swapaxes(v, -1, -2)
    size = np.sqrt(np.abs(np.diagonal(inner, axis1=-2, axis2=-1))) + 1e-9
    relative = np.abs(inner) / (size[:, :, None] * size[:, None]) * (1 - np.eye(p))
    assert relative.max() <= 2 * basis.accuracy[0, 0], relative.max()
    exact = np.linalg.eigvalsh(given)
    np.testing.assert_allclose(np.sort(basis.values.T, axis=-1), exact, atol=2 * basis.accuracy[0, 0] * exact.max())


@pytest.mark.parametrize("p", [1, 2, 3, 5, 13, 40])
def test_they_stay_those_of_a_matrix_that_changes(p):
    rng = np.random.default_rng(p)
    j, change = rng.normal(size=(2, LANES, p, 3 * p))
    basis = basis_of(p, LANES)
    for s in np.linspace(0, 1, 12):
        given = (j + s * change) @ np.swapaxes(j + s * change, -1, -2)
        matrices(basis, given)
        check(basis, given)


def test_many_modes_continue_those_that_they_overlap_most():
    rng = np.random.default_rng(6)
    p, basis = 101, basis_of(101, LANES)
    j, change = rng.normal(size=(2, LANES, p, 3 * p))
    for s in (0.0, 1e-3, 0.1):
        before = vectors(basis).copy()
        given = (j + s * change) @ np.swapaxes(j + s * change, -1, -2)
        matrices(basis, given)
        check(basis, given)
        if s == 1e-3:
            assert (np.abs(np.einsum("lij,lij->li", vectors(basis), before)) > 0.7).mean() > 0.95


def test_a_matrix_far_from_the_last_one_is_no_obstacle():
    rng = np.random.default_rng(1)
    basis = basis_of(24, LANES)
    for _ in range(3):
        j = rng.normal(size=(LANES, 24, 30))
        matrices(basis, j @ np.swapaxes(j, -1, -2))
        check(basis, j @ np.swapaxes(j, -1, -2))


def test_at_a_crossing_that_a_step_leaps_over_they_go_straight_on():
    """Eigenvalues 1 + s and 1 - s of fixed eigenvectors, coupled by a gap far below a step's change."""
    rng = np.random.default_rng(2)
    q = np.linalg.qr(rng.normal(size=(LANES, 6, 6)))[0]
    basis = basis_of(6, LANES)
    start = None
    for s in np.linspace(-0.3, 0.3, 8):
        inner = np.diag([1 + s, 1 - s, 0.3, 2.0, 3.0, 4.0])
        inner[0, 1] = inner[1, 0] = 1e-4
        matrices(basis, q @ inner @ np.swapaxes(q, -1, -2))
        start = vectors(basis).copy() if start is None else start
        np.testing.assert_allclose(np.einsum("lij,lij->li", vectors(basis), start), 1.0, atol=1e-5)


def test_an_avoided_crossing_in_small_steps_turns_them():
    basis, gap = basis_of(2, LANES), 0.1
    for s in np.linspace(-2, 2, 400):
        matrices(basis, np.broadcast_to([[3 + s, gap], [gap, 3 - s]], (LANES, 2, 2)))
    # the vector of the larger eigenvalue was the second axis, and is the first now
    top = vectors(basis)[:, basis.values[:, 0].argmax()]
    assert basis.values[:, 0].argmax() == 1  # the same mode all the way
    assert (np.abs(top[:, 0]) > 0.999).all()


def test_degenerate_and_vanishing_modes_stay_as_they_are():
    rng = np.random.default_rng(3)
    q = np.linalg.qr(rng.normal(size=(LANES, 7, 7)))[0]
    basis = basis_of(7, LANES)
    basis.vectors[:] = np.moveaxis(q, 0, -1).reshape(-1, LANES)
    for s in (1.0, 1.5, 2.0):
        matrices(basis, np.swapaxes(q, -1, -2) @ np.diag([0, 0, 0, s, s, s, 5.0]) @ q)
        np.testing.assert_allclose(vectors(basis), q, atol=1e-6)


def test_a_lane_does_not_know_its_neighbours_nor_what_is_not_asked():
    rng = np.random.default_rng(4)
    j = rng.normal(size=(LANES, 9, 20))
    given = j @ np.swapaxes(j, -1, -2)
    together, alone, part = (basis_of(9, LANES) for _ in range(3))
    matrices(together, given)
    matrices(alone, np.broadcast_to(given[3], given.shape).copy())
    np.testing.assert_array_equal(vectors(together)[3], vectors(alone)[0])
    np.testing.assert_array_equal(together.values[:, 3], alone.values[:, 0])
    part.matrix[:] = together.matrix
    asked = np.array([[1.0, 0, 1, 0, 0, 1, 1, 1]])
    follow(part, asked)
    np.testing.assert_array_equal(vectors(part)[asked[0] > 0], vectors(together)[asked[0] > 0])
    np.testing.assert_array_equal(vectors(part)[asked[0] == 0], np.broadcast_to(np.eye(9), (3, 9, 9)))


def test_a_mode_continues_as_the_one_that_it_overlaps_most():
    rng = np.random.default_rng(5)
    skew = 0.05 * rng.normal(size=(6, 6))
    tilt = expm(skew - skew.T)
    basis = basis_of(6, LANES)
    matrices(basis, np.broadcast_to(tilt.T @ np.diag([3.0, 1.0, 6.0, 2.0, 5.0, 4.0]) @ tilt, (LANES, 6, 6)).copy())
    np.testing.assert_allclose(vectors(basis)[0], tilt, atol=0.02)
