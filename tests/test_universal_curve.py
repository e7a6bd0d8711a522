"""The universal curve: against the critical limit run by hand, against training, laws of scaling, storage
[theory: Critical limit]."""

from __future__ import annotations

import numpy as np
import pytest

import sde_momentum as sm
from sde_momentum.dynamics.critical_course import CriticalCourse, MeanCourse, critical_course
from sde_momentum.predictors.curve.search import CurveSearch, ScaledCourse
from sde_momentum.predictors.curve.simulate import read_curve
from sde_momentum.predictors.curve.universal_curve import TOLERANCE
from sde_momentum.predictors.recommendation import largest_within
from sde_momentum.theory import formulas

VALLEY = sm.Valley.balanced(16, curvature=1.0, coupling=1.0)
START = VALLEY.start(2.5)


@pytest.fixture(scope="module")
def curve():
    return sm.universal_curve(VALLEY, START)


def test_a_point_of_the_curve_is_the_critical_limit_at_its_kappa(curve):
    i = curve.best
    d, tau = curve.scaled_one_minus_beta[i], curve.scaled_time[i]
    clock = np.linspace(0, 2 * tau, 400) * d
    runs = sm.dynamics.CriticalValley(VALLEY).solve(2.5, clock, kappa=1 / (4 * d**3), n_paths=8192, seed=1, step=0.02)
    by_hand = float(sm.convergence_time(runs.position_rms.values[0] ** 2, clock)) / d
    assert by_hand == pytest.approx(tau, rel=0.01, abs=5 * np.hypot(1, 1) * curve.scaled_time_se[i])


def test_training_takes_the_time_that_the_curve_predicts(curve):
    """lr = 1e-3 and 1e-2, at the recommendation and 1.5 times it: within 3 %."""
    sigma = 0.1
    noise = sigma**2 / VALLEY.n_outputs
    for lr in (1e-3, 1e-2):
        best = curve.recommend(lr, noise)
        for delta in (best.one_minus_beta, 1.5 * best.one_minus_beta):
            predicted, _ = curve.convergence_time(lr, delta, noise)
            steps = np.unique(np.linspace(0, 2.5 * float(predicted), 200).astype(int))
            runs = sm.solve(
                sm.LabelNoiseSGD(VALLEY, sigma), START, steps, lr=lr, momentum=1 - delta, seeds=range(256), metrics=["test_error"]
            )
            measured = float(sm.convergence_time(runs.test_error.values[0, 0].mean(axis=0), steps))
            assert measured == pytest.approx(float(predicted), rel=0.03)


def test_lr_and_noise_only_stretch_the_curve(curve):
    """At small lr, where the drift's ratio is 1: delta ~ (c lr^2)^(1/3), steps ~ (c lr^2)^(-1/3)."""
    one, two = curve.recommend(1e-5, 1e-3), curve.recommend(8e-5, 4e-3)
    stretch = np.cbrt(4 * 64)
    assert two.one_minus_beta / one.one_minus_beta == pytest.approx(stretch, rel=1e-4)
    assert one.time / two.time == pytest.approx(stretch, rel=1e-4)
    rule = curve.rule(1e-3)
    assert rule.one_minus_beta(1e-5) == pytest.approx(one.one_minus_beta, rel=1e-4)


def test_the_recommendation_is_the_largest_within_tolerance(curve):
    best = curve.recommend(1e-4, 1e-3)
    assert best.time == pytest.approx((1 + TOLERANCE) * best.shortest_time)
    assert best.low <= best.one_minus_beta <= best.high
    low, high = curve.band(0.1)
    assert low <= curve.scaled_one_minus_beta[curve.best] < high
    assert curve.cliff[0] <= curve.cliff[1] <= curve.scaled_one_minus_beta[curve.best]


def test_drift_ratio_is_the_exact_weight_of_the_modes():
    """All modes of one eigenvalue: the ratio is that mode's, 1 / (1 - a / (2 (1 + beta)))."""
    valley = sm.Valley([1.5, 1.5], 0.0, curvature=0.01)
    path = sm.predictors.DriftPath(valley, valley.start(1.0), "test_error", 0.1)
    lr, delta = 0.4, 0.05
    assert path.drift_ratio(lr, delta) == pytest.approx(1 / (1 - lr * 1.5 / (2 * (2 - delta))), rel=1e-3)
    assert path.overdamped_share(lr, delta) == 0
    assert path.overdamped_share(1e-6, 0.5) == 1


def test_stored_curves_are_found_again_and_not_mistaken(curve, tmp_path):
    first = sm.universal_curve(VALLEY, START, store=tmp_path)
    (file,) = tmp_path.glob("*.nc")
    stamp = file.stat().st_mtime_ns
    again = sm.universal_curve(VALLEY, START, store=tmp_path)
    assert file.stat().st_mtime_ns == stamp
    assert again.data.identical(first.data)
    assert first.data.identical(curve.data)  # nothing but the arguments decides the numbers
    with pytest.raises(sm.InputError, match="the curve of this problem and start"):
        read_curve(file, VALLEY, VALLEY.start(2.0))
    whole = file.read_bytes()
    for bit in np.random.default_rng(1).choice(8 * len(whole), 100, replace=False):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        with pytest.raises(sm.InputError, match=rf"curve: given .*{file.name}; allowed: an intact file written by"):
            read_curve(file, VALLEY, START)
    file.write_bytes(b"broken")
    with pytest.raises(sm.InputError, match="an intact file written by"):
        sm.universal_curve(VALLEY, START, store=tmp_path)


def test_largest_within_interpolates_and_never_fails():
    x, times = np.array([1.0, 2.0, 4.0]), np.array([5.0, 1.0, 4.0])
    assert largest_within(x, times, 2.0) == pytest.approx((2 * 2**0.5, 2.0))
    assert largest_within(x, times, 0.5) == (2.0, 1.0)
    assert largest_within(x, np.array([5.0, 1.0, np.inf]), 2.0) == (2.0, 1.0)
    assert largest_within(x, times, 9.0) == (4.0, 4.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": ("test_error", 2.0)}, "target: given 2"),
        ({"target": ("loss", 0.1)}, "target: given loss"),
        ({"n_seeds": 1}, "n_seeds: given 1"),
        ({"precision": 0.0}, "precision: given 0"),
        ({"scaled_lr": -1.0}, "scaled_lr: given -1"),
        ({"scaled_lr": 1.0}, "scaled_lr: given 1.0; allowed: None: the critical limit of valley has no correction at finite lr"),
    ],
)
def test_bad_input_is_refused(change, message):
    settings = {name: change[name] for name in ("n_seeds", "precision") if name in change}
    rest = {name: value for name, value in change.items() if name not in settings}
    with pytest.raises(sm.InputError, match=message):
        sm.universal_curve(VALLEY, START, settings=sm.predictors.CurveSettings(**settings), **rest)


def test_out_of_reach_times(curve):
    assert np.isnan(curve.convergence_time(1e-3, 1e-9, 1e-3)[0])
    top = float(curve.scaled_one_minus_beta[-1])
    for d in (1.5 * top, 3 * top):
        clock = np.linspace(0, 3 * curve.scaled_time[-1] * (d / top) ** 2, 400) * d
        runs = sm.dynamics.CriticalValley(VALLEY).solve(2.5, clock, kappa=1 / (4 * d**3), n_paths=2048, seed=1, step=0.2)
        tau = float(sm.convergence_time(runs.position_rms.values[0] ** 2, clock)) / d
        scale = curve.scale(1e-6, d * np.cbrt(1e-15), 1e-3)
        predicted = float(curve.convergence_time(1e-6, d * scale, 1e-3)[0]) * scale
        assert predicted == pytest.approx(tau, rel=0.1), d
    assert formulas.critical_kappa(1e-3, top, 1e-3) < 1


def test_a_guess_that_is_several_times_too_short_costs_time_and_not_truth(curve, monkeypatch):
    """The geometry's guess of the time only says how long to look at first: a third of it finds the same other."""
    true = sm.predictors.DriftPath.expected_time
    monkeypatch.setattr(sm.predictors.DriftPath, "expected_time", lambda self, *args: true(self, *args) / 3)
    other = sm.universal_curve(VALLEY, START)
    error = np.hypot(other.scaled_time_se[other.best], curve.scaled_time_se[curve.best])
    assert other.scaled_time[other.best] == pytest.approx(curve.scaled_time[curve.best], abs=4 * error)
    assert other.cliff[0] <= curve.cliff[1]
    assert curve.cliff[0] <= other.cliff[1]
    ours, theirs = (np.interp(1.0, c.scaled_one_minus_beta, c.scaled_time) for c in (other, curve))
    assert ours == pytest.approx(theirs, rel=0.03)


def test_a_problem_with_critical_dynamics_of_its_own_registers_them():
    class Own(sm.MatrixSensing):
        """Its mean falls by a factor e in tau = D."""

    class OwnCourse(CriticalCourse):
        corrected_at_finite_lr = False

        def mean(self, request, n_runs, first=0):
            scaled = np.cbrt(1 / (4 * request.kappa))
            return MeanCourse(np.exp(-request.times / scaled**2), np.zeros(len(request.times)), n_runs)

        def samples(self, request, n_runs):
            raise NotImplementedError

    critical_course.register(Own, lambda problem: OwnCourse())
    problem = Own(4, 1, 10)
    assert not isinstance(critical_course(sm.MatrixSensing(4, 1, 10)), OwnCourse)
    curve = sm.universal_curve(problem, problem.interpolating_start(), progress=False)
    assert curve.scaled_time == pytest.approx(np.log(10) * curve.scaled_one_minus_beta, rel=1e-3)
    with pytest.raises(sm.InputError, match="no correction at finite lr"):
        sm.universal_curve(problem, problem.interpolating_start(), scaled_lr=1.0)


@pytest.mark.parametrize("seed", range(6))
def test_the_cliff_is_found_though_few_runs_meet_the_target_by_chance(monkeypatch, seed):
    """Runs made up: the mean reaches the target after sqrt(D) and comes back to it at the cliff, each run to its own height.

    Four runs have the height of the mean to a half: a quarter above the cliff they may miss the target, a quarter below meet it.
    """
    problem = sm.MatrixSensing(4, 1, 10)
    cliff, at = 0.4, {}

    def mean(self, scaled, clock, first, count):
        ratio = scaled / (cliff * self.path.scaled_one_minus_beta)
        u = clock / (0.5 * self.guess * np.sqrt(ratio))
        bump = (0.1 - 10**-1.7) * ratio**-2 * np.exp(-(((u - 1.7) / 0.3) ** 2))
        height = np.random.default_rng([seed, int(1e6 * scaled)]).exponential(size=first + count)[first:]
        at[ratio] = first + count
        return MeanCourse.of_runs(np.minimum(np.exp(-np.log(10) * u), 1.0) + height[:, None] * bump)

    def means(self, clocks, first, count):
        return {d: ScaledCourse(d, clock, mean(self, d, clock, first, count), 0.1) for d, clock in clocks.items()}

    monkeypatch.setattr(CurveSearch, "_means", means)
    start, settings = problem.interpolating_start(), sm.predictors.CurveSettings(n_seeds=4)
    curve = sm.universal_curve(problem, start, settings=settings, progress=False)
    ratios = np.array(sorted(at))
    assert ratios[0] < 0.9  # it has looked past the cliff
    assert 0.97 < ratios[curve.best] < 1.12
    assert max(at[ratio] for ratio in ratios if ratio > 1.6) <= 16  # and spent its runs where the question is
