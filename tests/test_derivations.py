"""The derivations hold, a wrong one is noticed, and simulations of the discrete update agree with them."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations import __main__ as command
from derivations.codegen import DERIVATIONS
from derivations.formula import Derivation, Formula, Step, lr, one_minus_beta
from sde_momentum.theory import formulas


@pytest.mark.parametrize("derivation", DERIVATIONS, ids=lambda derivation: derivation.title)
def test_every_step_holds(derivation):
    assert derivation.failed() == []


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((1 + lr) ** 2, 1 + 2 * lr),
        (sp.sqrt(1 - lr), 1 - lr / 2 - lr**2 / 8 - lr**3 / 16),
        (sp.cos(lr), sp.cos(lr) + sp.Rational(1, 10**30)),
    ],
    ids=["rational", "first orders only", "off by 1e-30"],
)
def test_a_wrong_step_does_not_hold(left, right):
    assert not Step("wrong", left, right).holds()


def test_a_formula_may_not_use_what_it_is_not_given():
    with pytest.raises(ValueError, match=r"one_minus_beta.*neither an argument nor defined"):
        Formula("f", (lr,), lr * one_minus_beta, "", "", "T2")


def test_nothing_is_written_when_a_step_fails(monkeypatch, tmp_path, capsys):
    wrong = Derivation("Wrong", "T0", (), (Step("one is two", sp.Integer(1), sp.Integer(2)),), ())
    monkeypatch.setattr(command, "DERIVATIONS", (wrong,))
    monkeypatch.setattr(command, "FORMULAS", tmp_path / "formulas.py")
    assert command.main() == 1
    assert not (tmp_path / "formulas.py").exists()
    assert "Wrong (T0): one is two" in capsys.readouterr().err


def test_the_command_writes_the_module_when_every_step_holds(monkeypatch, tmp_path):
    monkeypatch.setattr(command, "FORMULAS", tmp_path / "formulas.py")
    assert command.main() == 0
    compile((tmp_path / "formulas.py").read_text(encoding="utf-8"), "formulas.py", "exec")


def simulated_drift(nesterov: bool, eta: float, delta: float, eigenvalue: float, noise: float):
    """-d theta / (lambda' steps) in a valley with lambda = eigenvalue + g theta, and its standard error."""
    slope, replicas, burn_in, steps = 1e-3, 4000, 300, 700
    rng = np.random.default_rng(20240607)
    beta = 1 - delta
    x, theta, vx, vtheta = np.zeros((4, replicas))
    for step in range(burn_in + steps):
        if step == burn_in:
            start = theta.copy()
        n = rng.choice([-1.0, 1.0], replicas)
        at_x, at_theta = (x + beta * vx, theta + beta * vtheta) if nesterov else (x, theta)
        root = np.sqrt(eigenvalue + slope * at_theta)
        residual = root * at_x - np.sqrt(noise) * n
        vx = beta * vx - eta * residual * root
        vtheta = beta * vtheta - eta * residual * at_x * slope / (2 * root)
        x, theta = x + vx, theta + vtheta
    weights = (start - theta) / (slope * steps)
    return weights.mean(), weights.std(ddof=1) / np.sqrt(replicas)


@pytest.mark.parametrize(
    ("nesterov", "delta", "a"),
    [(False, 0.3, 1.5), (False, 0.1, 0.05), (False, 1.0, 1.0), (True, 0.3, 0.5), (True, 0.2, 1.1)],
)
def test_drift_along_gamma_is_that_of_the_simulated_update(nesterov, delta, a):
    """Two-sided at 4 standard errors, five cases: false alarms below 4e-4. Fixed seed."""
    eta, noise = 0.1, 0.5
    weight, error = simulated_drift(nesterov, eta, delta, a / eta, noise)
    theory = formulas.nesterov_drift_weight if nesterov else formulas.heavy_ball_drift_weight
    expected = float(theory(eta, a / eta, delta, noise))
    assert error < 0.02 * expected
    assert abs(weight - expected) < 4 * error, f"simulated {weight:.6g} +- {error:.2g}, theory {expected:.6g}"
