"""The valley: its eigenvalues, derivatives and kernels against finite differences and each other."""

from __future__ import annotations

import numpy as np
import pytest

import sde_momentum as sm

VALLEYS = [
    sm.Valley([1.0, 1.0, 3.0], 0.0, curvature=2.0),
    sm.Valley([1.0, 2.0], [0.7, -0.7], curvature=0.6),
    sm.Valley.balanced(6, curvature=1.0, coupling=8.0),
]


@pytest.mark.parametrize("valley", VALLEYS, ids=["equal-slopes", "polynomial", "balanced"])
def test_derivatives_match_finite_differences(valley):
    w = np.random.default_rng(1).normal(size=valley.n_parameters)
    h = 1e-6 * np.eye(len(w))
    jacobian = (valley.outputs(w + h) - valley.outputs(w - h)).T / 2e-6
    np.testing.assert_allclose(valley.jacobian(w), jacobian, rtol=1e-7, atol=1e-8)
    c = np.random.default_rng(2).normal(size=jacobian.shape)
    slope = ((valley.jacobian(w + h) - valley.jacobian(w - h)) * c).sum(axis=(-2, -1)) / 2e-6
    np.testing.assert_allclose(valley.contract_hessians(w, c), slope, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("valley", VALLEYS, ids=["equal-slopes", "polynomial", "balanced"])
def test_kernels_match_the_plain_formulas(valley):
    outputs, pullback, data, rows = valley.kernels[:4]
    w = np.random.default_rng(3).normal(size=(valley.n_parameters, 5))
    f, g, scratch = np.empty((valley.n_outputs, 5)), np.empty_like(w), np.empty((rows, 5))
    outputs(data, w, f, scratch)
    np.testing.assert_allclose(f.T, valley.outputs(w.T), rtol=1e-13)
    pullback(data, w, f, g, scratch)
    np.testing.assert_allclose(g.T, (f.T[:, None] @ valley.jacobian(w.T))[:, 0], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("valley", VALLEYS, ids=["equal-slopes", "polynomial", "balanced"])
def test_the_geometry_of_the_flattest_point_is_the_given_one(valley):
    point = sm.ManifoldPoint(valley, valley.start(0.0))
    np.testing.assert_allclose(np.sort(point.eigenvalues), np.sort(valley.eigenvalues), rtol=1e-13)
    assert point.curvatures == pytest.approx([valley.curvature], rel=1e-6)
    assert point.gradient == pytest.approx(np.zeros(valley.n_parameters), abs=1e-13)
    # tr H is exactly quadratic along Gamma
    assert valley.trace_hessian(valley.start(1.7)) == pytest.approx(point.trace_hessian + valley.curvature * 1.7**2 / 2)


def test_eigenvalues_stay_positive_at_strong_coupling():
    valley = sm.Valley.balanced(6, curvature=0.1, coupling=30.0)
    theta = np.linspace(-100, 100, 20_001)
    w = np.zeros((len(theta), valley.n_parameters))
    w[:, 0] = theta
    assert (np.diagonal(valley.jacobian(w)[..., 1:], axis1=-2, axis2=-1) > 0).all()
    assert valley.coupling == pytest.approx(30.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sm.Valley([1.0, -1.0], 0.0, 1.0), "eigenvalues: given -1.0; allowed: finite numbers > 0"),
        (lambda: sm.Valley([1.0, 1.0], [0.1, 0.1], 1.0), "slopes: given a sum of 0.2; allowed: slopes that sum to 0"),
        (lambda: sm.Valley([1.0, 1.0], [0.1, -0.1, 0.0], 1.0), r"slopes: given shape \(3,\); allowed: shape \(2,\)"),
        (lambda: sm.Valley([1.0, 1.0], [5.0, -5.0], 1.0), "slopes: given 5.0; allowed: reach"),
        (lambda: sm.Valley([1.0, 1.0], 0.0, 0.0), "curvature: given 0.0; allowed: finite numbers > 0"),
        (lambda: sm.Valley([1.0, 1.0], 0.0, 1.0, reach=-1.0), "reach: given -1.0; allowed: a number > 1e-100"),
        (lambda: sm.Valley.balanced(3, 1.0, 1.0), "n_modes: given 3; allowed: an even number"),
        (lambda: sm.Valley([1.0, 1.0], 0.0, 1.0).start(np.nan), "theta: given nan; allowed: a number from -1e100 to 1e100"),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(sm.InputError, match=message):
        make()
