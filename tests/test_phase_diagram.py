"""The phase diagram: its boundaries against roots and stability computed independently, its lines against the rule."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import sde_momentum as sm
from sde_momentum.predictors.phase_diagram import REGIMES, PhaseDiagram
from sde_momentum.theory import formulas

NAMES = list(REGIMES)
LR = np.geomspace(1e-4, 3.0, 41)
DELTA = np.geomspace(1e-4, 1.0, 53)
GIVEN = {"noise": 1e-3, "curvature": 2.0, "eigenvalues": [0.2, 1.0, 3.0], "coupling": 5.0, "explicit_curvature": 1e-5}


def multipliers(lr, delta, eigenvalue, nesterov):
    """Roots of the characteristic polynomial of one normal mode."""
    beta, a = 1 - delta, lr * eigenvalue
    if nesterov:
        return np.roots([1, -(1 - a) * (1 + beta), (1 - a) * beta])
    return np.roots([1, -(1 + beta - a), beta])


def decay_rates(lr, delta, given):
    """Eigenvalues of the linearised critical limit (theta, p, u_1, u_2), in units of s = delta k.

    Two modes of slopes b, -b, energies e_j = lambda_j (1 + u_j): theta' = p, p' = -p - K theta - kappa sum b_j u_j,
    u_j' = -u_j - (b_j / l_j) p / 2.
    """
    kappa = given["noise"] * lr**2 / (4 * delta**3)
    stiffness = kappa * given["curvature"] + lr * given["explicit_curvature"] / delta**2
    lowest, highest = 1.0, 2.0
    b = np.sqrt(given["coupling"] / (1 / lowest + 1 / highest))
    matrix = [
        [0.0, 1.0, 0.0, 0.0],
        [-stiffness, -1.0, -kappa * b, kappa * b],
        [0.0, -b / lowest / 2, -1.0, 0.0],
        [0.0, b / highest / 2, 0.0, -1.0],
    ]
    return np.linalg.eigvals(matrix)


def expected(lr, delta, given, nesterov):
    roots = [multipliers(lr, delta, eigenvalue, nesterov) for eigenvalue in given["eigenvalues"]]
    if max(np.abs(r).max() for r in roots) >= 1:
        return "unstable normal"
    if decay_rates(lr, delta, given).real.max() > 0:
        return "beyond the edge"
    k = lr * given["explicit_curvature"] + lr**2 * given["noise"] * given["curvature"] / (4 * delta)
    if np.iscomplex(np.roots([1, delta, k])).any():
        return "inertial drift"
    complex_modes = [bool(np.iscomplex(r).any()) for r in roots]
    return "underdamped" if all(complex_modes) else "mixed" if any(complex_modes) else "overdamped"


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("coupling", [0.0, 5.0])
@pytest.mark.parametrize("weight_decay", [0.0, 1e-5, 1e-2])
def test_every_cell_has_the_regime_of_its_characteristic_roots(nesterov, coupling, weight_decay):
    given = {**GIVEN, "coupling": coupling, "explicit_curvature": weight_decay}
    codes = PhaseDiagram(**given, nesterov=nesterov).regime(LR[:, None], DELTA)
    truth = [[NAMES.index(expected(lr, delta, given, nesterov)) for delta in DELTA] for lr in LR]
    np.testing.assert_array_equal(codes, truth)
    assert len(np.unique(codes)) >= 5  # the grid sees most of them


@pytest.mark.parametrize("nesterov", [False, True])
def test_normal_modes_decay_within_the_transverse_time(nesterov):
    diagram = PhaseDiagram(**GIVEN, nesterov=nesterov)
    for lr, delta in ((0.01, 0.5), (0.1, 0.05), (0.3, 0.01)):
        slowest = max(np.abs(multipliers(lr, delta, e, nesterov)).max() for e in GIVEN["eigenvalues"])
        assert float(diagram.transverse(lr, delta)) == pytest.approx(-1 / np.log(slowest), rel=1e-9)
    assert diagram.transverse(2.0, 1.0) == np.inf


def test_longitudinal_time_without_weight_decay_is_that_of_section_3():
    diagram = PhaseDiagram(1e-3, 2.0, [1.0])
    expected_time = formulas.longitudinal_time(LR[:, None], DELTA, 1e-3, 2.0)
    np.testing.assert_allclose(diagram.longitudinal(LR[:, None], DELTA), expected_time, rtol=1e-12)


@pytest.mark.parametrize("weight_decay", [0.0, 1e-4])
def test_convergence_time_is_that_of_the_slowest_of_all_roots(weight_decay):
    given = {**GIVEN, "explicit_curvature": weight_decay}
    diagram = PhaseDiagram(**given)
    for lr in LR[::5]:
        for delta in DELTA[::6]:
            along = -delta * decay_rates(lr, delta, given).real.max()
            across = -np.log(max(np.abs(multipliers(lr, delta, e, False)).max() for e in given["eigenvalues"]))
            truth = 1 / min(along, across) if min(along, across) > 0 else np.inf
            assert float(diagram.convergence(lr, delta)) == pytest.approx(truth, rel=1e-6)


def test_convergence_is_fastest_at_critical_damping_without_coupling():
    """Normal modes faster than 2 / delta are out of the way: the slowest root along Gamma decides [theory: Effective loss]."""
    diagram = PhaseDiagram(1e-3, 2.0, [1.0])
    for lr in (1e-3, 1e-2):
        delta = np.geomspace(0.2, 5, 2001) * float(diagram.optimum(lr))
        best = delta[np.argmin(diagram.convergence(lr, delta))]
        assert best == pytest.approx(float(diagram.optimum(lr)), rel=2e-3)


@pytest.mark.parametrize("target", [None, 0.1, 0.3])
@pytest.mark.parametrize("weight_decay", [0.0, 1e-3])
def test_optimum_is_that_of_the_momentum_rule(target, weight_decay):
    diagram = PhaseDiagram(1e-3, 2.0, [1.0], explicit_curvature=weight_decay, target=target)
    rule = sm.MomentumRule.from_geometry(1e-3, 2.0, weight_decay, target)
    np.testing.assert_array_equal(diagram.optimum(LR), rule.one_minus_beta(LR))
    low, high = diagram.optimum_band(LR)
    np.testing.assert_array_equal(low, diagram.optimum(LR))
    np.testing.assert_array_equal(high, sm.MomentumRule.from_geometry(1e-3, 2.0, weight_decay).one_minus_beta(LR))


def test_a_stated_band_is_a_factor_either_way():
    diagram = PhaseDiagram(1e-3, 2.0, [1.0], band=0.25)
    low, high = diagram.optimum_band(1e-3)
    assert high / diagram.optimum(1e-3) == pytest.approx(1.25)
    assert diagram.optimum(1e-3) / low == pytest.approx(1.25)


@pytest.mark.parametrize("weight_decay", [0.0, 1e-6, 1e-3, 1.0])
def test_on_the_edge_a_decay_rate_vanishes(weight_decay):
    given = {**GIVEN, "explicit_curvature": weight_decay}
    diagram = PhaseDiagram(**given)
    for lr in (1e-4, 1e-2, 1.0):
        edge = float(diagram.edge(lr))
        assert decay_rates(lr, edge * 1.001, given).real.max() < 0 < decay_rates(lr, edge * 0.999, given).real.max()


def test_the_edge_is_kappa_and_scales_as_two_thirds():
    by_coupling, by_edge = PhaseDiagram(1e-3, 2.0, [1.0], coupling=5.0), PhaseDiagram(1e-3, 2.0, [1.0], edge_kappa=2 / 3)
    for lr in (1e-4, 1e-2):
        kappa = formulas.critical_kappa(lr, by_coupling.edge(lr), 1e-3)
        assert float(kappa) == pytest.approx(2 / (5 - 2))
        assert float(by_edge.edge(lr)) == pytest.approx(float(by_coupling.edge(lr)), rel=1e-12)
    assert float(by_coupling.edge(1e-2) / by_coupling.edge(1e-5)) == pytest.approx(100)
    assert PhaseDiagram(1e-3, 2.0, [1.0], coupling=2.0).edge(LR).max() == 0


def test_the_largest_eigenvalue_alone_decides_stability():
    diagram = PhaseDiagram(1e-3, 2.0, [1.0], largest_eigenvalue=4.0)
    assert NAMES[diagram.regime(0.99, 0.01)] != "unstable normal"
    assert NAMES[diagram.regime(1.0, 0.01)] == "unstable normal"
    assert float(diagram.stable_lr(0.01)) == pytest.approx(2 * 1.99 / 4)


def test_a_valley_gives_its_own_numbers():
    valley = sm.Valley.balanced(8, curvature=1.5, coupling=4.0)
    diagram = PhaseDiagram.of_point(sm.ManifoldPoint(valley, valley.start(0.0)), valley.start(1.0), 1e-3)
    assert diagram.curvature == pytest.approx(1.5, rel=1e-6)
    assert diagram.coupling == pytest.approx(valley.coupling, rel=1e-6)
    np.testing.assert_allclose(np.sort(diagram.eigenvalues), np.sort(valley.eigenvalues))


def test_coupling_is_that_of_the_eigenvalues_along_gamma():
    """Central differences of the eigenvalues along the projected displacement, at a point where J has full rank."""
    problem = sm.MatrixSensing(4, 1, 6)
    start = problem.interpolating_start()
    point = sm.ManifoldPoint(problem, start)
    x = point.tangent[:, 0]

    def logs(t):
        w = sm.problems.project_to_manifold(problem, start + t * x)
        return np.log(sm.ManifoldPoint(problem, w).eigenvalues)

    slope = (logs(1e-4) - logs(-1e-4)) / 2e-4
    assert point.coupling(x + point.normal[:, 0]) == pytest.approx((slope**2 * point.eigenvalues).sum(), rel=1e-5)


def test_a_mode_that_opens_counts_twice_its_curvature():
    """At the low-rank solution J loses rank; just beside it (lambda_j')^2 / lambda_j is finite and has this limit."""
    problem = sm.MatrixSensing(6, 1, 20)
    flow = sm.drift_flow(problem, problem.interpolating_start())
    end = flow.flattest
    assert end.rank < problem.n_outputs
    size = np.linalg.norm(flow.points - end.w, axis=1)
    beside = flow.points[np.flatnonzero(size > 0.02 * size[0])[-1]]
    at, near = end.coupling(beside - end.w), sm.ManifoldPoint(problem, beside).coupling(beside - end.w)
    assert near == pytest.approx(at, rel=0.03)


def test_of_predictor_takes_mu_and_target_of_the_closed_form():
    problem = sm.MatrixSensing(6, 1, 20)
    predictor = sm.EffectiveLossPredictor(problem, problem.interpolating_start(), 1e-3)
    diagram = PhaseDiagram.of_predictor(predictor)
    np.testing.assert_array_equal(diagram.optimum(LR), predictor.closed_form.one_minus_beta(LR))
    with pytest.raises(sm.InputError, match="the stability limit at the start"):
        predictor.check_stable(1.0001 * float(diagram.stable_lr(0.1)), 0.1)
    predictor.check_stable(0.9999 * float(diagram.stable_lr(0.1)), 0.1)


def test_the_dataset_is_tidy_and_survives_a_file(tmp_path):
    data = PhaseDiagram(**GIVEN).dataset()
    assert data["regime"].dims == ("lr", "one_minus_beta")
    assert data["regime"].attrs["flag_meanings"].split(", ") == NAMES
    for name in ("transverse", "longitudinal", "convergence"):
        assert data[name].attrs["units"] == "steps"
    for name in data.variables:
        assert {"units", "long_name"} <= set(data[name].attrs), name
    data.to_netcdf(tmp_path / "d.nc", engine="h5netcdf")
    xr.testing.assert_equal(xr.load_dataset(tmp_path / "d.nc", engine="h5netcdf"), data)
    assert data["one_minus_beta"].min() < data["edge"].min()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"noise": -1.0}, "noise: given -1.0; allowed: finite numbers >= 0"),
        ({"eigenvalues": []}, r"eigenvalues: given shape \(0,\); allowed: shape \(n,\)"),
        ({"eigenvalues": [1.0, 0.0]}, "eigenvalues: given 0.0; allowed: finite numbers > 0"),
        ({"coupling": [1.0, 2.0]}, r"coupling: given shape \(2,\); allowed: one number"),
        ({"edge_kappa": 1.0, "coupling": 3.0}, "edge_kappa: given edge_kappa and coupling; allowed: at most one"),
        ({"edge_kappa": 0.0, "coupling": 0.0}, "edge_kappa: given 0.0; allowed: finite numbers > 0"),
        ({"target": 1.0}, r"target: given 1.0; allowed: numbers in \(0, 1\)"),
        ({"band": 0.0}, "band: given 0.0"),
        (
            {"noise": 0.0, "explicit_curvature": 0.0},
            "both 0; allowed: one of them > 0, or nothing drives the weights along the manifold of minimizers",
        ),
    ],
)
def test_bad_input_names_argument_given_and_allowed(given, message):
    with pytest.raises(sm.InputError, match=message):
        PhaseDiagram(**{**GIVEN, **given})


def test_bad_grids_are_refused():
    diagram = PhaseDiagram(**GIVEN)
    with pytest.raises(sm.InputError, match=r"one_minus_beta: given 1.5; allowed: numbers in"):
        diagram.regime(0.1, 1.5)
    with pytest.raises(sm.InputError, match=r"shapes: given lr \(2,\), one_minus_beta \(3,\)"):
        diagram.convergence([0.1, 0.2], [0.1, 0.2, 0.3])
    with pytest.raises(sm.InputError, match=r"lr: given .*; allowed: an increasing list"):
        diagram.dataset([0.2, 0.1])
