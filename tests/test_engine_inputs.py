"""Inputs that an engine may get wrong in silence, each against its right value: powers, changed constants, domains, units, names.

Chance enters with fixed seeds; tolerances are in standard errors, two-sided, the false-alarm rate beside each.
"""

import functools
import math
import types

import numpy as np
import pytest
import sympy as sp
from scipy import stats

import sde_momentum as sm
from sde_momentum import sde
from sde_momentum.core.fingerprint import fingerprint
from sde_momentum.core.times import check_times


def zero(x, t, p):
    return 0.0


def one(x, t, p):
    return 1.0


POWERS = {
    "square": lambda x, t, p: x**2.0,
    "cube": lambda x, t, p: x ** p[0],
    "inverse": lambda x, t, p: (1.0 + x * x) ** -2.0,
    "built_in": lambda x, t, p: pow(x, 5.0),
    "of_math": lambda x, t, p: math.pow(x, 3.0),
    "high": lambda x, t, p: (0.5 * x) ** 65.0,
    "none": lambda x, t, p: (0.0 * x) ** p[1],
    "varying": lambda x, t, p: x ** (0.0 * x + p[0]),
    "root": lambda x, t, p: abs(x) ** 0.5,
}


def test_powers_are_those_of_python_for_negative_numbers_too():
    p = (3.0, 0.0)
    asked = [sde.KeepPaths(range(64)), *(sde.Functional(name, f) for name, f in POWERS.items())]
    result = sm.solve(sm.SDE(zero, one), 0.0, [0.0, 1.0], step=0.25, n_paths=64, parameters=p, statistics=asked)
    x = result["path_value"].values
    assert x.min() < -1.0
    for name, f in POWERS.items():
        np.testing.assert_allclose(result[f"path_{name}"], [[f(v, 0.0, p) for v in row] for row in x], rtol=1e-13, err_msg=name)
    assert not result["faulty"].any()


class Model:
    """A drift as an object."""

    scale = 2.0

    def __init__(self):
        self.rate = 1.0
        self.table = np.array([0.5, 1.0])
        self.part = types.SimpleNamespace(weight=0.5)

    @property
    def twice(self):
        return 2.0 * self.rate

    def force(self, x, strength=1.0):
        return -self.twice * self.scale * self.table[0] * strength * x

    def drift(self, gain, x, t, p, *, more=0.25):
        return gain * (self.force(x, 0.5) + more * CONFIG.push(x) * self.part.weight) + CONFIG.shift + LIST[0]

    def __call__(self, x, t, p):
        return self.drift(1.0, x, t, p)


CONFIG = types.ModuleType("config")
CONFIG.shift = 0.125
CONFIG.push = lambda x: x * x
LIST = [0.25]


def euler(f):
    """One Euler step of size 1/2 from 1 without noise."""
    return float(sm.solve(sm.SDE(f, zero), 1.0, [0.5], step=0.5, n_paths=1)["mean"][0])


CHANGES = {
    "an attribute": lambda model: setattr(model, "rate", 0.75),
    "an entry of an array": lambda model: model.table.__setitem__(0, 0.25),
    "an attribute of an attribute": lambda model: setattr(model.part, "weight", 0.75),
    "a constant of a module": lambda model: setattr(CONFIG, "shift", 0.5),
    "a function of a module": lambda model: setattr(CONFIG, "push", lambda x: 3.0 * x),
    "an entry of a list": lambda model: LIST.__setitem__(0, 0.5),
    "an attribute of the class": lambda model: setattr(Model, "scale", 3.0),
    "a method": lambda model: setattr(Model, "force", lambda self, x, strength: -self.rate * strength * x),
    "a default": lambda model: Model.drift.__kwdefaults__.update(more=0.5),
}


def test_objects_methods_and_partial_functions_are_compiled_with_what_they_refer_to_now(tmp_path):
    model = Model()
    drift, file = functools.partial(model.drift, 1.5), tmp_path / "run.npz"
    equation = sm.SDE(drift, zero)
    assert euler(drift) == 1.0 + 0.5 * drift(1.0, 0.0, ())
    ask = dict(step=0.5, n_paths=1, checkpoint=file)
    sm.solve(equation, 1.0, [0.5], **ask)
    known = {fingerprint({"drift": drift}, mutable=True)}
    for name, change in CHANGES.items():
        change(model)
        known.add(fingerprint({"drift": drift}, mutable=True))
        assert len(known) == len(known - {None}) == 1 + list(CHANGES).index(name) + 1, name
    assert float(sm.solve(equation, 1.0, [0.5], step=0.5, n_paths=1)["mean"][0]) == 1.0 + 0.5 * drift(1.0, 0.0, ())
    assert euler(model) == 1.0 + 0.5 * model(1.0, 0.0, ())
    with pytest.raises(sm.InputError, match="of another ensemble"):
        sm.solve(equation, 1.0, [0.5], **ask)


def test_functions_made_from_text_are_told_apart():
    made = [sde.OrnsteinUhlenbeck(rate, 1.0).drift for rate in (1.0, 2.0)]
    assert fingerprint({"drift": made[0]}, mutable=True) != fingerprint({"drift": made[1]}, mutable=True)


def test_coefficients_are_taken_in_the_domain_alone():
    """Cox, Ingersoll, Ross 1985, from its mean, where 0 is reached: Heun's predictor leaves the domain in one step of ten.

    4 standard errors: a false alarm in 16,000; to it the bias of the reflection at this step, 0.0013 with Euler steps too.
    """
    cir = sm.SDE(
        lambda x, t, p: p[0] * (p[1] - x) - 0.25 * p[2] ** 2,
        lambda x, t, p: p[2] * math.sqrt(x),
        interpretation="stratonovich",
        domain=(0.0, math.inf),
        outside="reflect",
    )
    result = sm.solve(cir, 0.04, [1.0], step=0.01, n_paths=16384, parameters=(1.0, 0.04, 0.4))
    assert result["faulty"][0] == 0
    assert abs(result["mean"][0] - 0.04) < 4 * result["mean_se"][0] + 0.0015
    assert result["mean_se"][0] < 0.0005


@pytest.mark.parametrize(("dim", "state"), [(1, r"x one number \(dim = 1\)"), (2, "x of 2 components")])
def test_a_function_of_more_components_than_the_equation_has_is_told_how_many_it_gets(dim, state):
    equation = sm.SDE(lambda x, t, p: x[2], lambda x, t, p: 1.0, dim)
    with pytest.raises(sm.InputError, match=rf"drift: given a function that raises .*; allowed: f\(x, t, p\) with {state} and 0"):
        sm.solve(equation, np.zeros(dim), [1.0], step=0.5, n_paths=10)


def test_milstein_without_a_derivative_has_no_unit_and_no_eye_for_components_without_noise():
    equation = sm.SDE(lambda x, t, p: (0.0, 0.0), lambda x, t, p: (0.0, x[1] * x[1] / (p[0] + x[1])), 2, noise="scalar")

    def solve(quiet, unit):
        step = sde.Fixed(0.01, "milstein")
        result = sm.solve(equation, [quiet, unit], [1.0], step=step, n_paths=1024, parameters=(unit,))
        return result["mean"].values[0, 1] / unit, result["variance"].values[0, 1] / unit**2

    for quiet, unit in ((1e8, 1.0), (0.0, 1e-12), (1e8, 1e9)):
        np.testing.assert_allclose(solve(quiet, unit), solve(0.0, 1.0), rtol=1e-9)


@pytest.mark.parametrize("name", ["value", "steps", "forced"])
def test_a_functional_cannot_take_the_name_of_another_variable(name):
    with pytest.raises(sm.InputError, match=f"name: given {name}; allowed: a name other than value"):
        sde.Functional(name, one)


def test_a_functional_cannot_take_the_name_of_a_component():
    with pytest.raises(sm.InputError, match="statistics: given a functional 'x'; allowed: another name"):
        sm.solve(sm.SDE(zero, one), 0.0, [1.0], step=0.5, n_paths=4, statistics=[sde.Functional("x", one)])


def lorenz(x, t, p):
    return (10.0 * (x[1] - x[0]), x[0] * (28.0 - x[2]) - x[1], x[0] * x[1] - 8.0 / 3.0 * x[2])


def test_adaptive_steps_of_chaotic_paths_with_additive_noise_have_the_right_mean():
    """Against 16 times as many small steps. 4 standard errors in three components: a false alarm in 5,000."""
    equation = sm.SDE(lorenz, lambda x, t, p: (0.1, 0.1, 0.1), 3, additive=True)
    ask = [1.0, 1.0, 1.0], [1.0]
    adaptive = sm.solve(equation, *ask, step=sde.Adaptive(0.0625, rtol=1e-4, atol=1e-4), n_paths=1024)
    fixed = sm.solve(equation, *ask, step=sde.Fixed(1 / 4096, "sra1"), n_paths=1024, seed=1)
    assert adaptive["steps"][0] < 4096 / 8
    assert np.all(abs(adaptive["mean"] - fixed["mean"]) < 4 * np.hypot(adaptive["mean_se"], fixed["mean_se"]))
    assert np.all(adaptive["mean_se"] < 0.004)


@pytest.mark.parametrize("noise", ["diagonal", "general"])
def test_passages_between_the_ends_of_steps_are_counted(noise):
    """Brownian motion passes 1 before time 1 with probability 2 Phi(-1), whatever the step. 4 standard errors."""
    if noise == "diagonal":
        brownian, event, start = sm.SDE(zero, one), lambda x, t, p: x - 1.0, 0.0
    else:
        rows = lambda x, t, p: ((1.2, 1.6), (0.0, 1.0))  # noqa: E731
        brownian = sm.SDE(lambda x, t, p: (0.0, 0.0), rows, 2, noise="general", n_noise=2)
        event, start = (lambda x, t, p: 0.5 * x[0] - 1.0), [0.0, 5.0]
    for step in (0.25, 0.0625):
        asked = [sde.PassageTimes(event)]
        result = sm.solve(brownian, start, [0.5, 1.0], step=step, n_paths=16384, statistics=asked)
        exact = 1.0 - 2.0 * stats.norm.sf(1.0 / np.sqrt(result["time"]))
        assert np.all(abs(result["survival"] - exact) < 4 * result["survival_se"])
        assert np.all(result["survival_se"] < 0.004)


def test_derivatives_are_those_of_real_symbols():
    x, s = sp.symbols("x s")
    b = s * sp.sqrt(sp.Abs(x))
    assert sp.simplify(sde.to_ito(-x, b, x) - (-x + s**2 * sp.sign(x) / 4)) == 0
    assert sp.simplify(sde.to_stratonovich(sde.to_ito(-x, b, x), b, x) + x) == 0
    equation = sde.from_sympy(sde.to_ito(-x, b, x), b, x, parameters=[s])
    assert equation.drift(4.0, 0.0, (2.0,)) == -4.0 + 1.0
    assert equation.drift(-4.0, 0.0, (2.0,)) == 4.0 - 1.0


def test_sums_derivatives_and_integrals_are_evaluated_or_refused():
    x, a = sp.symbols("x a")
    f = sp.Function("f")
    for expression, value in (
        (sp.Sum(x**a, (a, 0, 3)), 15.0),
        (sp.Product(x + a, (a, 0, 2)), 24.0),
        (sp.Subs(a**2, a, x), 4.0),
        (sp.Derivative(x**3, x), 12.0),
        (sp.Integral(a, (a, 0, x)), 2.0),
        (sp.Limit(sp.sin(a * x) / a, a, 0), 2.0),
    ):
        assert sde.from_sympy(expression, sp.Float(0), x).drift(2.0, 0.0, ()) == value
    for expression in (sp.Integral(sp.exp(sp.sin(a * x)) / (a + 2), (a, 0, x)), sp.Derivative(f(x), x)):
        with pytest.raises(sm.InputError, match=r"drift: given .*; allowed: expressions that sympy can evaluate"):
            sde.from_sympy(expression, sp.Float(0), x)


def test_a_clock_may_begin_far_from_0_while_it_resolves_the_steps():
    assert list(check_times(1.7e9 + np.array([0.01, 0.02, 1.0]), 0.01, 1.7e9)[1]) == [1, 2, 100]
    with pytest.raises(sm.InputError, match="times: given"):
        check_times([1e9 + 0.015], 0.01, 1e9)
    with pytest.raises(sm.InputError, match=r"t0: given 1e\+16; allowed: a clock that resolves steps of 0.1"):
        check_times([1e16 + 2], 0.1, 1e16)
