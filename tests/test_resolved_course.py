"""Time courses at finite lr with every mode resolved: against training at the smaller lr that they stand for
[theory: Finite learning rate]."""

from __future__ import annotations

import numpy as np
import pytest

import sde_momentum as sm
from sde_momentum.dynamics.critical_course import CourseRequest, critical_course
from sde_momentum.dynamics.resolved_course import resolved_metric, stiffest

PROBLEM = sm.MatrixSensing(4, 1, 10)
START = PROBLEM.interpolating_start()
SIGMA, LR, DELTA = 0.1, 2e-4, 4e-4
NOISE = SIGMA**2 / PROBLEM.n_outputs
KAPPA, FREQUENCY = LR**2 * NOISE / (4 * DELTA**3), np.sqrt(LR) / DELTA
TIMES = np.array([0.0, 2.0, 4.0, 6.0])


def runs(problem=PROBLEM, n=512, first=0, **changes):
    how = {"kappa": np.array([KAPPA]), "frequency": np.array([FREQUENCY]), "pace": np.ones(1), "step": 0.05} | changes
    return resolved_metric(problem, START, TIMES, metric="test_error", seeds=np.arange(first, first + n), **how)


def test_the_mean_is_that_of_training_at_the_smaller_lr():
    """At lr 2e-4, far below the lr of the run: within 4.5 errors, or 0.5 % of the start (false alarm 1e-5)."""
    found = runs()[0]
    training = sm.solve(
        sm.LabelNoiseSGD(PROBLEM, SIGMA), START, (TIMES / DELTA).astype(int), lr=LR, momentum=1 - DELTA,
        seeds=range(1000, 1256), metrics=["test_error"], progress=False,
    ).test_error.values[0, 0]  # fmt: skip
    error = np.hypot(*(values.std(axis=0, ddof=1) / np.sqrt(len(values)) for values in (found, training)))
    assert np.all(np.abs(found.mean(axis=0) - training.mean(axis=0)) <= 4.5 * error + 0.005 * training[0, 0])
    assert found.mean(axis=0)[-1] < 0.5 * found[0, 0]


def test_halving_the_step_changes_the_mean_by_less_than_its_error():
    whole, half = runs(step=0.003, n=256)[0], runs(step=0.0015, n=256, first=256)[0]
    error = np.hypot(*(values.std(axis=0, ddof=1) / np.sqrt(len(values)) for values in (whole, half)))
    assert np.all(np.abs(whole.mean(axis=0) - half.mean(axis=0)) <= 4.5 * error + 0.005 * whole[0, 0])


def test_numbers_do_not_depend_on_threads_or_company():
    both = runs(n=20, kappa=np.array([KAPPA, 2 * KAPPA]), frequency=np.full(2, FREQUENCY), pace=np.ones(2), workers=1)
    assert np.array_equal(both[:1], runs(n=20, workers=2))
    assert np.array_equal(both[:1, 7:9], runs(n=2, first=7))


def test_a_pace_stretches_the_times():
    kappa, frequency = np.array([KAPPA, KAPPA]), np.array([FREQUENCY, FREQUENCY / 2])
    slow = runs(n=4, kappa=kappa, frequency=frequency, pace=np.array([1.0, 2.0]))[1]
    alone = resolved_metric(
        PROBLEM, START, 2 * TIMES, metric="test_error", seeds=np.arange(4), kappa=kappa[:1], frequency=frequency[1:],
        pace=np.ones(1), step=0.1,
    )[0]  # fmt: skip
    assert slow == pytest.approx(alone, rel=1e-9)


def test_functions_without_kernels_take_the_same_steps():
    plain = sm.Problem.from_function(
        PROBLEM.outputs, PROBLEM.targets, PROBLEM.n_parameters, batched=True, jacobian=PROBLEM.jacobian,
        test_error=PROBLEM.test_error,
    )  # fmt: skip
    assert runs(plain, n=3) == pytest.approx(runs(n=3), rel=1e-6)


def test_the_stiffest_mode_is_found_by_products():
    largest = np.linalg.norm(PROBLEM.jacobian(START), 2) ** 2 / PROBLEM.n_outputs
    assert 0.99 * largest < stiffest(PROBLEM, START) <= largest * (1 + 1e-6)


def test_a_course_at_finite_lr_is_made_of_these_runs():
    request = CourseRequest(START, TIMES, "test_error", kappa=KAPPA, step=0.05, frequency=FREQUENCY)
    course = critical_course(PROBLEM).mean(request, 6, 2)
    assert course.values == pytest.approx(runs(n=6, first=2)[0], rel=1e-12)
