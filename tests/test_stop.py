"""Paths that stop at an event: their times and states, in every form of an equation; refusals."""

import numpy as np
import pytest

import sde_momentum as sm
from sde_momentum import sde

N = 4000


def falling(x, t, p, out):
    out[0], out[1] = -0.5, 0.0


def shaking(x, t, p, out):
    out[0], out[1] = 1.0, 1.0


BROWNIAN = {  # dX = -dt / 2 + dW until X = 1
    "tuple": (sm.SDE(lambda x, t, p: -0.5, lambda x, t, p: 1.0), lambda x, t, p: x - 1.0),
    "batched": (sm.SDE(lambda x, t, p: -0.5, lambda x, t, p: 1.0, batched=True), lambda x, t, p: x - 1.0),
    "out": (sm.SDE(falling, shaking, 2), lambda x, t, p: x[0] - 1.0),
}


def stopped(equation, event, x0, times=(0.5, 2.0), step=0.1, n=N, **options):
    """The result, stopping times (n,) and last states (dim, n)."""
    asked = [sde.PassageTimes(event, stop=True), sde.KeepPaths(range(n))]
    result = sm.solve(equation, x0, times, step=step, n_paths=n, statistics=asked, progress=False, **options)
    return result, result["path_passage_time"].values, result["path_value"].values.reshape(n, len(times), -1)[:, -1].T


@pytest.mark.parametrize("form", BROWNIAN)
def test_a_stopped_path_stays_on_the_boundary_and_optional_stopping_holds(form):
    equation, event = BROWNIAN[form]
    result, when, x = stopped(equation, event, np.zeros(equation.dim) if equation.dim > 1 else 0.0)
    passed = when <= 2.0
    np.testing.assert_allclose(x[0][passed], 1.0, atol=1e-9)
    assert np.all(x[0][~passed] < 1.0)
    assert abs(passed.mean() - (1 - result["survival"].values[-1])) < 1e-12
    # X_t + t / 2 is a martingale: its mean at min(T, 2) is 0; the step's error is far smaller. False alarms: 6e-5
    martingale = x[0] + 0.5 * np.minimum(when, 2.0)
    assert abs(martingale.mean()) < 4 * martingale.std() / np.sqrt(N)
    np.testing.assert_allclose(result["mean"].values.reshape(2, -1)[-1], x.mean(axis=1), rtol=1e-9, atol=1e-12)


def test_forms_agree_path_by_path():
    _, when, x = stopped(*BROWNIAN["tuple"], 0.0, n=500)
    _, when_batched, x_batched = stopped(*BROWNIAN["batched"], 0.0, n=500)
    np.testing.assert_allclose(when, when_batched, rtol=1e-9)
    np.testing.assert_allclose(x, x_batched, atol=1e-9)


def test_an_event_of_time_stops_all_paths_within_a_step():
    wiener = sm.SDE(lambda x, t, p: 1.0, lambda x, t, p: 0.0)
    _, when, x = stopped(wiener, lambda x, t, p: t - 1.05, 0.0, n=100)
    np.testing.assert_allclose(when, 1.05)
    np.testing.assert_allclose(x, 1.05)


def test_a_position_stops_with_its_velocity():
    equation = sde.Langevin(lambda q, t, p: -q)
    _, when, x = stopped(equation, lambda x, t, p: x[0] - 0.5, (0.0, 0.0), (4.0,), n=500)
    passed = when <= 4.0
    assert 0.3 < passed.mean() < 1.0
    np.testing.assert_allclose(x[0][passed], 0.5, atol=1e-12)
    assert np.mean(x[1][passed] > 0.0) > 0.95  # upward, but for steps within which the velocity turns


@pytest.mark.filterwarnings("ignore:.*were lost")
def test_what_begins_beyond_stays_and_is_neither_lost_nor_out_of_the_domain():
    leaving = sm.SDE(lambda x, t, p: 5.0, lambda x, t, p: 1.0, domain=(-1.0, 1.5))
    result, when, x = stopped(leaving, lambda x, t, p: x - 1.0, np.repeat([1.25, 0.9], 50), n=100)
    assert np.all(when[:50] == 0.0)
    assert np.all(x[0, :50] == 1.25)
    inside = np.isfinite(x[0, 50:])  # a step may leave the domain before the event is seen
    np.testing.assert_allclose(x[0, 50:][inside & (when[50:] <= 2.0)], 1.0, atol=1e-9)
    assert result.attrs["paths_with_exits"] == int((~inside).sum())


def test_two_point_increments_stop_at_the_crossing():
    equation, event = BROWNIAN["tuple"]
    _, when, x = stopped(equation, event, 0.0, step=sde.Fixed(0.1, "weak-euler"), n=500)
    np.testing.assert_allclose(x[0][when <= 2.0], 1.0, atol=1e-12)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (dict(step=0.1, n_paths=10, check_step=True), "check_step: given True; allowed: False, with paths that stop"),
        (dict(step=sde.Adaptive(0.1), n_paths=10), "no passages with adaptive sra1 steps|no passages with adaptive"),
        (dict(step=sde.Multilevel(0.1), n_paths=sde.UntilError(absolute=0.1)), "one Functional alone with Multilevel"),
    ],
)
def test_what_cannot_stop_is_refused_in_one_line(how, message):
    equation, event = BROWNIAN["tuple"]
    with pytest.raises(sm.InputError, match=message):
        sm.solve(equation, 0.0, [1.0], statistics=[sde.PassageTimes(event, stop=True)], **how)
