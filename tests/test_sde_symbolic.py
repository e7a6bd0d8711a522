"""Equations from sympy expressions: the same numbers as functions written by hand, and exact conversions."""

import ast
import inspect
import math
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from given_noise import follow

import sde_momentum as sm
from sde_momentum.sde import Fixed, from_sympy, standard_increments, to_ito, to_stratonovich

sp = pytest.importorskip("sympy")
x, y, t, k, s, m = sp.symbols("x y t k s m")


def hand_drift(x, t, p):
    return (x[1] * math.exp(-(x[0] ** 2)), math.sin(t) - p[0] * x[1] * math.exp(-(x[0] ** 2)))


def hand_diffusion(x, t, p):
    return (p[1] * math.sqrt(1 + x[0] ** 2), 0.3 + 0.1 * math.tanh(x[1]))


def hand_derivative(x, t, p):
    return (p[1] * x[0] / math.sqrt(1 + x[0] ** 2), 0.1 * (1 - math.tanh(x[1]) ** 2))


BELL = y * sp.exp(-(x**2))
COUPLED = dict(
    drift=[BELL, sp.sin(t) - k * BELL],
    diffusion=[s * sp.sqrt(1 + x**2), 0.3 + sp.tanh(y) / 10],
    state=[x, y],
    time=t,
    parameters=(k, s),
)


def test_functions_from_expressions_equal_those_written_by_hand():
    ours = from_sympy(**COUPLED)
    rng = np.random.default_rng(0)
    for _ in range(20):
        point, p = tuple(rng.normal(size=2)), tuple(rng.uniform(0.5, 2, size=2))
        for ours_f, hand in (
            (ours.drift, hand_drift),
            (ours.diffusion, hand_diffusion),
            (ours.diffusion_derivative, hand_derivative),
        ):
            np.testing.assert_allclose(ours_f(point, 0.7, p), hand(point, 0.7, p), rtol=1e-14)
    assert (ours.dim, ours.n_noise, ours.noise, ours.interpretation, ours.additive) == (2, 2, "diagonal", "ito", False)


@pytest.mark.parametrize("method", ["euler-maruyama", "milstein"])
def test_paths_from_expressions_equal_those_of_functions_by_hand(method):
    hand = sm.SDE(hand_drift, hand_diffusion, 2, diffusion_derivative=hand_derivative)
    dw = 0.2 * standard_increments(1, 50, 60, 2)
    paths = [
        follow(sde, (0.5, -1.0), dw, step=0.04, method=method, parameters=(0.8, 0.6)) for sde in (from_sympy(**COUPLED), hand)
    ]
    np.testing.assert_allclose(*paths, rtol=1e-11, atol=1e-12)


def test_the_order_of_the_parameters_is_that_of_the_tuple():
    one, two = (from_sympy(-k * x + m, s * x, x, parameters=order) for order in ((k, m, s), (s, k, m)))
    assert one.drift(2.0, 0.0, (3.0, 5.0, 7.0)) == -1.0 == two.drift(2.0, 0.0, (7.0, 3.0, 5.0))
    assert one.diffusion(2.0, 0.0, (3.0, 5.0, 7.0)) == 14.0 == two.diffusion(2.0, 0.0, (7.0, 3.0, 5.0))


def test_every_form_of_the_expressions_is_taken():
    column = from_sympy(sp.Matrix([y, -x]), sp.Matrix([s, s * x]), sp.Matrix([x, y]), parameters=[s], noise="scalar")
    assert column.diffusion((2.0, 3.0), 0.0, (5.0,)) == (5.0, 10.0)
    assert (column.n_noise, column.noise, column.diffusion_derivative) == (1, "scalar", None)
    for b in (sp.Matrix([[1, x, 0], [y, 2, x]]), [[1, x, 0], [y, 2, x]], ((1, x, 0), (y, 2, x))):
        general = from_sympy((y, -x), b, (x, y), noise="general")
        assert general.diffusion((3.0, 4.0), 0.0, ()) == ((1, 3.0, 0), (4.0, 2, 3.0))
        assert general.n_noise == 3
    for b in ([1, x], sp.Matrix([[1, x]]), [[1, x]]):
        assert from_sympy(-x, b, x, noise="general").diffusion(3.0, 0.0, ()) == (1, 3.0)
    bounded = from_sympy(1 - x, sp.sqrt(x), x, domain=((0, math.inf),), outside="clip")
    assert (bounded.domain, bounded.outside) == (((0.0, math.inf),), "clip")
    assert sm.solve(general, (1.0, 0.0), [0.2], step=0.1, n_paths=8)["faulty"].item() == 0
    integers = from_sympy(-2, 10**30 * x, x)  # more than 64 bits
    assert follow(integers, 1e-30, np.ones((1, 1, 1)), step=1.0)[-1].item() == -1.0


@pytest.mark.parametrize(
    ("b", "state", "additive"),
    [
        (s * sp.sin(t), x, True),
        (s * x, x, False),
        (sp.sin(x) ** 2 + sp.cos(x) ** 2, x, True),  # by differentiation, and simplified: the text has no x
        ([1 + t, y], [x, y], False),
        ([1 + t, 2], [x, y], True),
        ([s, sp.exp(x) * sp.exp(-x)], [x, y], True),
    ],
)
def test_additive_noise_is_found_by_differentiation(b, state, additive):
    drift = -x if state is x else [-x, -y]
    sde = from_sympy(drift, b, state, time=t, parameters=[s])
    assert sde.additive is additive
    assert (sde.diffusion_derivative is None) is additive
    if additive:
        assert "x" not in inspect.getsource(sde.diffusion).split(":", 1)[1]


def test_piecewise_functions_branch_and_run():
    b = sp.Piecewise((sp.sqrt(x), x > 0), (0, True))
    sde = from_sympy(-sp.sign(x) * k, b, x, parameters=[k])
    assert [sde.drift(v, 0.0, (2.0,)) for v in (-3.0, 0.0, 3.0)] == [2.0, 0.0, -2.0]
    assert [sde.diffusion(v, 0.0, (2.0,)) for v in (-3.0, 0.0, 4.0)] == [0, 0, 2.0]  # no root of a negative number
    assert [sde.diffusion_derivative(v, 0.0, (2.0,)) for v in (-3.0, 4.0)] == [0, 0.25]
    hand = sm.SDE(lambda x, t, p: -p[0] if x > 0 else p[0] if x < 0 else 0.0, lambda x, t, p: math.sqrt(x) if x > 0 else 0.0)
    dw = 0.1 * standard_increments(2, 20, 30)
    paths = [follow(e, 1.0, dw, step=0.01, parameters=(0.5,)) for e in (sde, hand)]
    np.testing.assert_allclose(*paths, rtol=1e-13)


def test_derivatives_at_an_edge_are_those_of_a_piece():
    # sqrt(max(x, 0)): the derivative as such would be 0 times infinity for x <= 0
    sde = from_sympy(1 - x, s * sp.sqrt(sp.Max(x, 0)), x, parameters=[s])
    assert [sde.diffusion_derivative(v, 0.0, (2.0,)) for v in (-1.0, 0.0, 4.0)] == [0, 0, 0.5]
    assert "max(" in inspect.getsource(sde.diffusion)  # which runs in lanes
    assert [from_sympy(x, sp.Abs(x), x).diffusion_derivative(v, 0.0, ()) for v in (-2.0, 2.0)] == [-1, 1]
    assert from_sympy(x, sp.gamma(x), x).diffusion_derivative is None  # digamma is not in math


def repeated(function):
    """Subexpressions with an operation in them that the text has more than once."""
    tree = ast.parse(inspect.getsource(function))
    return [
        text
        for text, n in Counter(
            ast.unparse(node)
            for node in ast.walk(tree)
            if isinstance(node, ast.BinOp | ast.Call) and not all(isinstance(c, ast.Constant) for c in ast.iter_child_nodes(node))
        ).items()
        if n > 1
    ]


def test_the_text_has_no_repeated_subexpression():
    r = sp.sqrt(x**2 + y**2)
    sde = from_sympy(
        [sp.exp(-r) * x / r - k * sp.cos(r), sp.exp(-r) * y / r + k * sp.cos(r)],
        [s * r * sp.exp(-r), s * sp.tanh(y) * (1 + sp.tanh(y) ** 2)],
        [x, y],
        parameters=[k, s],
    )
    for function in sde.coefficients().values():
        assert repeated(function) == []
        calls = Counter(node.func.attr for node in ast.walk(ast.parse(inspect.getsource(function))) if isinstance(node, ast.Call))
        assert max(calls.values()) == 1  # one exponential, one root, one cosine each
    assert repeated(hand_drift) != []  # the counting itself


def test_the_text_is_the_same_in_every_process():
    # kernels are kept on disk under the hash of it
    code = (
        "import inspect, sympy as sp; from sde_momentum.sde.symbolic import from_sympy; x, y, k = sp.symbols('x y k'); e ="
        " from_sympy([x*y*sp.exp(x*y) - k*x, sp.sin(x*y) + k*y], [x*sp.exp(x*y)*k, sp.Piecewise((y, y > k), (k, True))], [x, y],"
        " parameters=[k]); print(*(inspect.getsource(f) for f in e.coefficients().values()))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1
    assert "math.exp" in texts.pop()


# -- Ito and Stratonovich ----------------------------------------------------------------------------


def test_conversions_by_hand_and_back():
    assert sp.simplify(to_ito(k * x, s * x**2, x) - (k * x + s**2 * x**3)) == 0
    b = sp.Matrix([[y, sp.sin(x)], [x * y, t]])
    ito = to_ito([x, y], b, [x, y], noise="general")
    # (1/2) sum_jk b_jk d_j b_ik, by hand
    expected = [x + (x * y + sp.sin(x) * sp.cos(x)) / 2, y + (y * y + x * y * x) / 2]
    assert [sp.simplify(one - two) for one, two in zip(ito, expected, strict=True)] == [0, 0]
    back = to_stratonovich(ito, b, [x, y], noise="general")
    assert [sp.simplify(one - two) for one, two in zip(back, [x, y], strict=True)] == [0, 0]
    assert to_ito(sp.Matrix([x, y]), [y, y], [x, y], noise="scalar") == sp.Matrix([x + y / 2, y + y / 2])
    assert to_ito([x, y], [y, x], [x, y]) == [x, y]  # diagonal: only b_i's own derivative by x_i
    assert to_stratonovich((x,), (3,), (x,)) == [x]


def test_heun_and_euler_agree_in_the_mean_after_conversion():
    # noncommuting noise; bias of either of first order in h, so 1/400: far below the standard error of 1.5e-3
    drift, b, state = [-x, sp.sin(x) - y], [[sp.Rational(1, 2) * y, sp.Rational(2, 5)], [sp.Rational(3, 5) * x, y / 5]], [x, y]
    h, options = 1 / 400, dict(n_paths=2**16)
    stratonovich = from_sympy(drift, b, state, interpretation="stratonovich", noise="general")
    ito = from_sympy(to_ito(drift, b, state, noise="general"), b, state, noise="general")
    one = sm.solve(stratonovich, (1.0, 0.5), [1.0], step=Fixed(h, "heun"), seed=1, **options).isel(time=0)
    two = sm.solve(ito, (1.0, 0.5), [1.0], step=h, seed=2, **options).isel(time=0)
    wrong = sm.solve(from_sympy(drift, b, state, noise="general"), (1.0, 0.5), [1.0], step=h, seed=3, **options)
    for name in ("mean", "variance"):
        se = np.hypot(one[f"{name}_se"], two[f"{name}_se"])
        assert np.all(np.abs(one[name] - two[name]) < 5 * se)  # false alarms: 6e-7 each
    assert np.abs((one["mean"] - wrong["mean"].isel(time=0)) / wrong["mean_se"].isel(time=0)).max() > 20  # and not without


# -- errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(drift=k * x), r"drift: given the symbol k; allowed: the symbols of state, time and parameters: x, s"),
        (dict(diffusion=t), r"diffusion: given the symbol t; allowed: the symbols of state, time and parameters: x, s"),
        (dict(drift=sp.Symbol("x", positive=True)), r"drift: given the symbol x; .* \(one of that name has other assumptions\)"),
        (dict(state=[x, x]), r"state: given x; allowed: symbols that are all different"),
        (dict(parameters=[x]), r"parameters: given x; allowed: symbols that are all different"),
        (dict(parameters=[2]), r"parameters: given 2; allowed: sympy symbols"),
        (dict(state=[]), r"state: given \[\]; allowed: a sympy symbol, or several"),
        (dict(time="t"), r"time: given t; allowed: a sympy symbol"),
        (dict(drift="x"), r"drift: given x; allowed: sympy expressions or numbers"),
        (dict(drift=sp.Function("f")(x)), r"drift: given f\(x\); allowed: functions that Python's math has, and Piecewise"),
        (dict(drift=sp.besselj(0, x)), r"drift: given besselj\(0, x\); allowed: functions that Python's math has"),
        (
            dict(diffusion=sp.Piecewise((x, x > 0))),
            r"diffusion: given Piecewise\(\(x, x > 0\)\); allowed: a Piecewise whose last",
        ),
        (dict(drift=sp.I * x), r"drift: given I\*x; allowed: real and finite expressions"),
        (dict(drift=sp.oo), r"drift: given oo; allowed: real and finite expressions"),
        (dict(drift=[x, x]), r"drift: given \[x, x\]; allowed: one expression"),
        (dict(diffusion=[[1], [2]], noise="general"), r"diffusion: given \[\[1\], \[2\]\]; allowed: 1 rows of one expression"),
        (dict(noise="full"), r"noise: given full; allowed: 'diagonal' or 'scalar' or 'general'"),
        (dict(interpretation="Ito"), r"interpretation: given Ito; allowed: 'ito' or 'stratonovich'"),
    ],
)
def test_what_cannot_be_used_is_named(change, message):
    with pytest.raises(sm.InputError, match=message):
        from_sympy(**(dict(drift=-x, diffusion=s * x, state=x, parameters=[s]) | change))


def test_importing_the_package_does_not_import_sympy():
    code = "import sys, sde_momentum.sde.symbolic; assert 'sympy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)
