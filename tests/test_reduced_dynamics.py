"""The reduced dynamics against the discrete update: the critical limit [theory: Critical limit] and the drift
[theory: Drift] in the valley."""

from __future__ import annotations

import numpy as np
import pytest

import sde_momentum as sm
from sde_momentum.theory import formulas

LR = 1e-3


class SignedValley(sm.Valley):
    """A valley whose recorded distance is theta with its sign: the simulator streams metrics of w only."""

    def distance(self, w):
        return w[..., 0]


def simulate(valley, theta, noise, one_minus_beta, steps, n_seeds):
    """theta (seed, time) of the discrete update from Gamma."""
    method = sm.LabelNoiseSGD(valley, np.sqrt(noise * valley.n_outputs))
    runs = sm.solve(
        method, valley.start(theta), steps, lr=LR, momentum=1 - one_minus_beta, seeds=range(n_seeds), metrics=("distance",)
    )
    return runs.distance.values[0, 0]


@pytest.mark.parametrize("coupling", [0.0, 1.25])  # the edge of stability is at kappa m = inf and 8
@pytest.mark.parametrize("kappa", [0.05, 0.25, 1.0, 2.0, 4.0])
def test_the_critical_limit_is_that_of_the_discrete_update(coupling, kappa):
    """Mean and rms of theta at 6 times within 4 standard errors or 1 % of the start, whichever is larger; 32 modes.

    The 1 % is for finite lr: corrections of relative order lr lambda / 4 = 0.001. 120 comparisons: a false alarm in 100
    suites with other seeds.
    """
    valley = SignedValley.balanced(32, 1.0, coupling, lowest=2.5, highest=5.0)
    noise = 4 * 0.05 * 0.01**3 / LR**2  # one noise strength for all kappa: 1 - beta = 0.01 at kappa = 0.05
    delta = float(formulas.one_minus_beta_at_kappa(LR, noise, kappa))
    steps = np.rint(np.linspace(0, 30 if kappa < 0.1 else 10, 7)[1:] / delta).astype(int)
    theta, n = 2.5, 1024
    x = simulate(valley, theta, noise, delta, steps, n)
    theory = sm.solve(sm.dynamics.CriticalValley(valley), theta, steps * delta, kappa=kappa, n_paths=5_000)
    mean_error = np.hypot(x.std(axis=0, ddof=1) / np.sqrt(n), theory.position_se.values[0])
    rms = np.sqrt((x**2).mean(axis=0))
    rms_error = np.hypot((x**2).std(axis=0, ddof=1) / np.sqrt(n) / (2 * rms), theory.position_rms_se.values[0])
    for name, ours, measured, error in (
        ("mean", theory.position.values[0], x.mean(axis=0), mean_error),
        ("rms", theory.position_rms.values[0], rms, rms_error),
    ):
        allowed = np.maximum(4 * error, 0.01 * theta)
        assert (np.abs(ours - measured) < allowed).all(), f"{name}: {ours} against {measured} +- {error}"


@pytest.mark.parametrize("coupling", [0.0, 1.25])
def test_the_drift_is_that_of_the_discrete_update_at_gamma_below_two_thirds(coupling):
    """1 - beta = lr^0.4, kappa = 0.002: mean of theta within 4 standard errors or 3 %, at 6 times.

    Theory's own corrections are 2 kappa (filling the modes) + kappa (m + g / 2) + lr lambda / 4: below 1 %.
    """
    valley = SignedValley.balanced(32, 1.0, coupling, lowest=5.0, highest=10.0)
    delta, theta, n = LR**0.4, 3.0, 64
    noise = 4 * 0.002 * delta**3 / LR**2
    flow = sm.drift_flow(valley, valley.start(theta))
    time = np.linspace(0, 6, 7)[1:]
    steps = np.rint(time * delta**2 / (noise * LR**2)).astype(int)
    drift = np.exp(np.interp(time, flow.time, np.log(flow.points[:, 0])))
    np.testing.assert_allclose(drift, theta * np.exp(-time / 4), rtol=5e-3)  # tr H is quadratic
    x = simulate(valley, theta, noise, delta, steps, n)
    error = x.std(axis=0, ddof=1) / np.sqrt(n)
    assert (np.abs(x.mean(axis=0) - drift) < np.maximum(4 * error, 0.03 * drift)).all(), (x.mean(axis=0), error, drift)
