"""The critical limit in ambient coordinates: geometry, faults; against the valley's own, the drift and the update
[theory: Critical limit]."""

from __future__ import annotations

import numpy as np
import pytest

import sde_momentum as sm
from sde_momentum.core.times import fit_steps
from sde_momentum.dynamics.critical_runs import Blocks, Schedule, kernels_on_gamma
from sde_momentum.dynamics.critical_steps import begin, block, record, stepper
from sde_momentum.geometry.lanes.manifold import find_normals, gamma_of, make_tangent, place_of, shift
from sde_momentum.theory import formulas

SENSING = sm.MatrixSensing(6, 1, 20)
START = SENSING.interpolating_start()
LIMIT = sm.CriticalLimit(SENSING)


class InPython(sm.MatrixSensing):
    """Matrix sensing without kernels."""

    kernels = None


def test_moving_along_gamma_is_reversible_and_keeps_the_speed():
    """RATTLE: there and back again to the tolerance of the projection; |p| changes by O(h^2)."""
    rng, ones = np.random.default_rng(1), np.ones((1, 8))
    gamma = gamma_of(SENSING.kernels, SENSING.targets, 1e-12)
    for h, allowed in ((0.1, 4e-2), (0.05, 1e-2)):
        place = place_of(SENSING.n_outputs, START.size, 8, SENSING.kernels.scratch_rows)
        place.basis.accuracy[:] = 1e-6
        place.w[:] = START[:, None]
        find_normals(gamma.model, place, ones)
        p = rng.normal(size=place.w.shape)
        make_tangent(place, p, ones)
        first = p.copy()
        for direction in (1.0, -1.0):
            p *= direction
            place.todo[:] = 1.0
            shift(gamma.model, place, p, h)
            p[:] = (place.w - place.begin) / h
            find_normals(gamma.model, place, ones)
            make_tangent(place, p, ones)
            assert not place.lost.any()
            np.testing.assert_allclose(np.linalg.norm(p, axis=0) / np.linalg.norm(first, axis=0), 1, atol=allowed)
        np.testing.assert_allclose(place.w, np.broadcast_to(START[:, None], place.w.shape), atol=1e-10)
        np.testing.assert_allclose(-p, first, atol=1e-5)  # the damping of J J^T by 1e-9 of its trace


def test_what_swings_back_after_the_target_is_that_of_small_steps():
    """Where Gamma bends within a step, a step that ends at its nearest point would lose velocity, and with it the swing back."""
    problem, runs = sm.MatrixSensing(8, 1, 40), {}
    for step in (0.1, 0.025):
        seeds = np.arange(256) + int(1e6 * step)
        found = sm.solve(
            sm.CriticalLimit(problem), problem.interpolating_start(), [0.0, 2.1], kappa=0.343, seeds=seeds, step=step,
            metrics=["test_error"],
        )  # fmt: skip
        runs[step] = found.test_error.values[0, :, 1] / found.test_error.values[0, :, 0]
    (coarse, fine), n = runs.values(), 256
    assert fine.std() < 0.8 * fine.mean()
    assert abs(coarse.mean() - fine.mean()) < 4 * np.hypot(coarse.std(), fine.std()) / np.sqrt(n)


def test_runs_stay_on_gamma_with_tangent_velocity():
    tolerance = 1e-12
    blocks = Blocks(Schedule(SENSING, START, *fit_steps([2.5], 0.05), [], tolerance), SENSING.kernels)
    gamma, measures = blocks._models
    place, runs = block(
        START, blocks._vectors, np.ones(8), np.ones(8), np.arange(8, dtype=np.uint64), SENSING.kernels.scratch_rows
    )
    begin(gamma, place, runs)
    n_steps, steps = np.array([50]), np.array([0.05])
    record(
        gamma,
        measures,
        stepper(),
        place,
        runs,
        n_steps,
        steps,
        np.zeros(2),
        np.empty((0, 1, 8)),
        np.empty((0, 0, 0)),
    )
    assert np.isnan(runs.diverged).all()
    w, p = place.w.T.copy(), runs.p.T.copy()
    assert np.linalg.norm(SENSING.residual(w), axis=1).max() <= tolerance * (1 + np.linalg.norm(SENSING.targets))
    assert np.abs(SENSING.jacobian(w) @ p[..., None]).max() < 1e-4 * np.abs(p).max()
    assert np.abs(p).max() > 0.1


def test_a_problem_without_kernels_has_the_same_runs():
    times, how = [0.0, 0.3, 1.0], {"kappa": [0.3, 2.0], "seeds": range(12), "step": 0.1}
    ours = sm.solve(LIMIT, START, times, **how)
    theirs = sm.solve(sm.CriticalLimit(InPython(6, 1, 20)), START, times, **how)
    for metric in ("test_error", "trace_hessian"):
        np.testing.assert_allclose(theirs[metric], ours[metric], rtol=1e-10)


def test_what_a_problem_s_function_raises_ends_the_simulation(monkeypatch):
    problem = InPython(6, 1, 20)
    limit = sm.CriticalLimit(problem)
    with kernels_on_gamma(problem) as kernels:
        assert kernels.outputs is not SENSING.kernels.outputs

    def fails(w):
        raise RuntimeError("no outputs today")

    jacobian = problem.jacobian
    calls = iter(range(100))
    monkeypatch.setattr(InPython, "jacobian", lambda self, w: jacobian(w) if next(calls) < 4 else fails(w))
    with pytest.raises(RuntimeError, match="no outputs today"):
        sm.solve(limit, START, [0.0, 1.0], kappa=1.0, seeds=range(2), step=0.1)


def test_in_the_valley_it_has_the_law_of_the_valley_s_own_coordinates():
    """rms of theta within 4 standard errors at 6 points; the eigenvalues cross on the way. False alarm: 4 in 10,000."""
    valley = sm.Valley.balanced(8, 1.0, 1.25, lowest=10.0, highest=14.0)
    times, kappa = [1.0, 3.0, 8.0], [0.25, 1.0]
    runs = sm.solve(
        sm.CriticalLimit(valley), valley.start(5.0), times, kappa=kappa, seeds=range(250), step=0.1, metrics=("test_error",)
    )
    own = sm.solve(sm.dynamics.CriticalValley(valley), 5.0, times, kappa=kappa, n_paths=20_000)
    rms = np.sqrt(runs.test_error.mean("seed")).values
    error = np.hypot(runs.test_error.std("seed", ddof=1).values / np.sqrt(250) / (2 * rms), own.position_rms_se.values)
    assert (np.abs(rms - own.position_rms.values) < 4 * error).all(), f"{rms} against {own.position_rms.values} +- {error}"


def test_small_kappa_is_the_drift():
    """At the clock t = 4 kappa (s - 2) the mean test error follows the drift flow within 4 standard errors or 3 %, 24 seeds.

    The delay is 1 for the modes to fill and 1 for w to gather speed; further corrections are of order kappa m: 1 to 2 %.
    """
    flow = sm.drift_flow(SENSING, START, tolerance=1e-4)
    errors, kappa = SENSING.test_error(flow.points), 0.0005
    t = np.linspace(0, np.interp(-0.3, -errors / errors[0], flow.time), 5)[1:]
    runs = sm.solve(LIMIT, START, t / (4 * kappa) + 2, kappa=kappa, seeds=range(24), step=0.25, metrics=("test_error",))
    mean = runs.test_error.mean("seed").values[0]
    error = runs.test_error.std("seed", ddof=1).values[0] / np.sqrt(24)
    drift = np.interp(t, flow.time, errors)
    assert (np.abs(mean - drift) < np.maximum(4 * error, 0.03 * drift)).all(), f"{mean} +- {error} against {drift}"


@pytest.mark.parametrize("kappa", [0.1, 0.5])
def test_convergence_times_are_those_of_the_discrete_update(kappa):
    """Mean speed 1 / T to 10 % of the test error within 4 standard errors or 4 %; lr = 1e-3. False alarm: 1 in 10,000."""
    lr, n, sigma = 1e-3, 32, 0.1
    noise = sigma**2 / SENSING.n_outputs
    delta = float(formulas.one_minus_beta_at_kappa(lr, noise, kappa))
    times = np.linspace(0, 1.2 / kappa, 121)
    reduced = sm.solve(LIMIT, START, times, kappa=kappa, seeds=range(n), step=0.05, metrics=("test_error",))
    steps = np.unique(np.rint(times / delta).astype(int))
    method = sm.LabelNoiseSGD(SENSING, sigma)
    full = sm.solve(method, START, steps, lr=lr, momentum=1 - delta, seeds=range(64), metrics=("test_error",))
    ours = 1 / sm.convergence_time(reduced.test_error.values[0], times)
    theirs = 1 / (sm.convergence_time(full.test_error.values[0, 0], steps) * delta)
    error = np.hypot(ours.std(ddof=1) / np.sqrt(n), theirs.std(ddof=1) / 8)
    assert abs(ours.mean() - theirs.mean()) < max(4 * error, 0.04 * theirs.mean()), (ours.mean(), theirs.mean(), error)


def test_numbers_do_not_depend_on_threads_or_company():
    times = [0.0, 0.3, 1.0]
    all_runs = sm.solve(LIMIT, START, times, kappa=[0.3, 2.0], seeds=range(12), step=0.1, workers=2)
    assert all_runs.equals(sm.solve(LIMIT, START, times, kappa=[0.3, 2.0], seeds=range(12), step=0.1, workers=1))
    alone = sm.solve(LIMIT, START, times, kappa=2.0, seeds=[7], step=0.1)
    assert (alone.test_error.values[0, 0] == all_runs.test_error.sel(kappa=2.0, seed=7).values).all()


def test_runs_side_by_side_have_record_times_of_their_own():
    """Bit for bit where the pace is a power of 2, else to rounding."""
    times, kappa, pace = np.linspace(0, 1, 6), [0.2, 0.5, 0.3], [1.0, 0.5, 1.3]
    how = {"seeds": range(3)}
    together = LIMIT.courses(START, times, kappa=kappa, pace=pace, metric="test_error", step=0.13, progress=False, **how)
    for i, (k, unit) in enumerate(zip(kappa, pace, strict=True)):
        alone = LIMIT.solve(START, times * unit, kappa=k, step=0.1 * unit, metrics=["test_error"], **how)
        np.testing.assert_allclose(together[i], alone.test_error.values[0], rtol=1e-7 if unit == 1.3 else 0)


def test_a_failed_run_is_marked_with_its_time_and_leaves_its_neighbours_alone():
    times = [0.0, 0.5, 3.0]
    runs = sm.solve(LIMIT, START, times, kappa=[0.3, 1e9], seeds=range(3), step=0.1)
    good = sm.solve(LIMIT, START, times, kappa=0.3, seeds=range(3), step=0.1)
    assert (runs.diverged.values[1] <= 3.0).all()
    assert np.isnan(runs.diverged.values[0]).all()
    assert np.isnan(runs.test_error.values[1, :, -1]).all()
    assert (runs.test_error.values[0] == good.test_error.values[0]).all()
    assert np.isinf(sm.convergence_time(runs.test_error.values[1], times)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kappa": -1.0}, "kappa: given -1.0; allowed: finite numbers > 0"),
        ({"kappa": [[1.0]]}, r"kappa: given shape \(1, 1\); allowed"),
        ({"start": START + 1}, r"w: given \|f\(w\) - y\|"),
        ({"seeds": [0.5]}, "seeds: given .*; allowed: a 1-D array of whole numbers >= 0"),
        ({"times": [-1.0]}, "times: given -1.0; allowed: a 1-D array of increasing numbers >= 0"),
        ({"metrics": ("speed",)}, "metrics: given speed; allowed: train_loss"),
    ],
)
def test_bad_input_is_refused(change, message):
    good = {"system": LIMIT, "start": START, "kappa": 1.0, "seeds": [0], "times": [1.0]}
    with pytest.raises(sm.InputError, match=message):
        sm.solve(**good | change)


def test_a_limit_that_cannot_be_is_refused():
    with pytest.raises(sm.InputError, match=r"tolerance: given 0\.0; allowed: finite numbers > 0"):
        sm.CriticalLimit(SENSING, tolerance=0.0)
    with pytest.raises(sm.InputError, match="problem: given sensing; allowed: a Problem"):
        sm.CriticalLimit("sensing")
