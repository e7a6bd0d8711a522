"""sm.predict: what it answers, how its ways compare, and what it refuses [theory: Ways to predict]."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

import sde_momentum as sm
from sde_momentum.core.errors import InputError
from sde_momentum.predictors.theory_answer import UNCHECKED
from sde_momentum.predictors.ways.base import Extras
from sde_momentum.predictors.ways.registry import WAYS
from sde_momentum.problems.metrics import Metric
from sde_momentum.theory import formulas

VALLEY = sm.Valley.balanced(8, curvature=1.0, coupling=0.5)
START = VALLEY.start(2.0)
ASKED = {"noise": 1e-3, "start": START}
NAMES = ["transfer", "closed form", "effective loss", "moment closure", "critical limit"]


@pytest.fixture(scope="module")
def answer():
    return sm.predict(VALLEY, 0.05, **ASKED, reference=(0.1, 0.98), methods=NAMES)


@pytest.mark.usefixtures("answer", "coarse")  # in this order: that answer is a fine one
def test_named_ways_of_theory_say_what_makes_them_doubtful(answer):
    """As `methods="theory"` does: neither sees the cliff. Where the critical limit answers in a valley, nothing is. A transfer
    alone rests on nothing of the problem."""
    both = sm.predict(VALLEY, 0.05, **ASKED, methods=["closed form", "effective loss"])
    assert not both.safe
    assert any("does not see where fluctuations throw training off" in doubt for doubt in both.doubts)
    assert str(both).startswith("doubtful: ")
    assert answer.safe
    assert sm.predict(VALLEY, 0.05, **ASKED, reference=(0.1, 0.98), methods=["transfer"]).doubts == (UNCHECKED,)


def test_every_way_answers_and_the_times_agree(answer):
    """The effective loss and the moment closure leave out the fluctuations of the energies, kappa m / P of their mean.

    That is 9 % here; found: times 5.7 and 5.5 % shorter than the critical limit's, known to 0.2 %. And 4 of its standard
    errors: false alarms 6e-5, of a difference as large as that allowed.
    """
    assert list(answer.ways) == NAMES
    assert answer.method == "critical limit"
    best = answer.best
    assert best.low <= best.one_minus_beta <= best.high
    fluctuation = float(formulas.critical_kappa(0.05, best.one_minus_beta, 1e-3)) * VALLEY.curvature / VALLEY.n_outputs
    for name in ("effective loss", "moment closure"):
        way = answer.ways[name]
        at = np.interp(best.one_minus_beta, way.tried, way.times)
        assert abs(at - best.time) < fluctuation * best.time + 4 * best.time_se
    rule = sm.MomentumRule.from_geometry(1e-3, 1.0, target=np.sqrt(0.1))
    assert answer.ways["closed form"].one_minus_beta >= rule.one_minus_beta(0.05) * (1 - 1e-3)
    assert answer.ways["transfer"].one_minus_beta == pytest.approx(0.02 * 0.5 ** (2 / 3))


def test_trials_decide_unless_theory_or_other_ways_are_asked_for():
    asked = {"nothing": Extras(), "a pair": Extras(reference=(0.1, 0.98)), "a folder": Extras(store="curves")}
    default = {what: [name for name, way in WAYS.items() if way.by_default(VALLEY, extras)] for what, extras in asked.items()}
    assert default["nothing"] == ["closed form", "trial"]
    assert default["a pair"] == ["transfer", "closed form", "trial"]
    assert default["a folder"] == ["closed form", "critical limit", "trial"]
    assert not WAYS["trial"].in_theory(VALLEY, Extras())


def test_it_prints_and_turns_into_json(answer):
    text = str(answer)
    for word in ("momentum", "closed form", "effective loss", "critical limit", answer.verdict):
        assert word in text
    back = json.loads(json.dumps(answer.to_dict()))
    assert back["momentum"] == answer.momentum
    assert back["ways"]["critical limit"]["times"]
    assert {check["name"] for check in back["checks"]} >= {"interpolating", "normal modes stable", "small coupling"}


def test_it_draws(answer):
    axes = answer.plot()
    labels = axes.get_legend_handles_labels()[1]
    assert "critical limit" in labels
    assert "closed form recommends" in labels


def test_every_public_name_of_the_room_is_there_and_loads_nothing_heavy():
    code = (
        "import sys; from sde_momentum import predictors as p; [getattr(p, name) for name in p.__all__];"
        "from sde_momentum.predictors.predict import predict; from sde_momentum.predictors.first_phase import first_phase;"
        "print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "sde_momentum.predictors.ways.registry" in loaded
    assert not {"torch", "sympy", "matplotlib"} & set(loaded)


@pytest.mark.usefixtures("coarse")
def test_a_broken_assumption_is_named():
    strong = sm.Valley.balanced(8, curvature=1.0, coupling=4.0)
    answer = sm.predict(strong, 0.05, noise=1e-2, start=strong.start(6.0), methods=["closed form", "effective loss"])
    failed = {check.name for check in answer.checks if not check.holds}
    assert "small coupling" in failed
    assert "small coupling" in answer.verdict


@pytest.mark.usefixtures("coarse")
def test_an_ordinary_start_adds_the_descent():
    """To rounding: the descent ends where the other prediction starts, and both try the same momenta."""
    problem = sm.MatrixSensing(3, 1, 6)
    begin, landing = problem.random_start(0.5), problem.interpolating_start(0.5)
    ask = {"noise": 1e-3, "methods": ["closed form", "effective loss"], "target": ("trace_hessian", 0.7)}
    near, far = (sm.predict(problem, 0.05, start=start, **ask) for start in (landing, begin))
    at = far.best.one_minus_beta
    alone = np.interp(at, near.best.tried, near.best.times)
    assert far.time == pytest.approx(alone + float(sm.predictors.first_phase(problem, begin, 0.05)(at)), rel=1e-9)


def test_the_first_phase_is_heavy_ball_on_the_loss():
    """Against a plain loop; momentum shortens it until it is underdamped."""
    problem = sm.MatrixSensing(4, 1, 12)
    begin, lr, delta = problem.random_start(0.5), 0.02, 0.2
    w, v, losses = begin.copy(), np.zeros_like(begin), [float(problem.loss(begin))]
    for _ in range(2000):
        v = (1 - delta) * v - lr * problem.jacobian(w).T @ problem.residual(w) / problem.n_outputs
        w = w + v
        losses.append(float(problem.loss(w)))
    by_hand = float(sm.convergence_time(losses, np.arange(2001), 0.01))
    assert float(sm.predictors.first_phase(problem, begin, lr)(delta)) == pytest.approx(by_hand, rel=0.01)


def test_the_closed_form_keeps_away_from_fluctuations():
    """In a valley with g = 3 m the target is below the fluctuations at critical damping: less momentum is asked for."""
    valley = sm.Valley.balanced(32, curvature=1.0, coupling=3.0)
    path = sm.predictors.DriftPath(valley, valley.start(2.5), "test_error", 0.1)
    closed = sm.predictors.ClosedForm(path, 1e-3)
    delta = closed.one_minus_beta(1e-3)
    assert delta > 1.2 * closed.rule.one_minus_beta(1e-3)
    kappa = float(formulas.critical_kappa(1e-3, delta, 1e-3))
    variance = float(formulas.valley_variance(kappa, 1.0, 3.0, valley.squared_slopes))
    assert variance == pytest.approx(0.8 * 0.1 * 2.5**2, rel=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": ["guess"]}, f"methods: given guess; allowed: {', '.join(WAYS)}"),
        ({"methods": []}, "methods: given none"),
        ({"methods": ["transfer"]}, "reference: given None"),
        ({"methods": ["critical limit"], "nesterov": True}, "methods: given critical limit; allowed: another for Nesterov"),
        ({"noise": 0.0}, "noise: given 0"),
        ({"target": ("test_error", 1.5)}, "target: given 1.5"),
        ({"target": ("accuracy", 0.5)}, "target: given accuracy"),
        ({"methods": ["critical limit at finite lr"]}, "allowed: another for valley: its critical limit has no correction"),
        ({"reference": (0.1, 0.9)}, "reference: given .*; allowed: only with the method 'transfer'"),
        ({"start": None}, "start: given None; allowed: a start: valley has none of its own"),
    ],
)
def test_bad_input_is_refused(change, message):
    with pytest.raises(sm.InputError, match=message):
        sm.predict(VALLEY, 0.01, **{**ASKED, "methods": ["closed form"], **change})


def test_a_curve_is_refused_for_another_start_and_where_no_way_uses_it():
    curve = sm.universal_curve(VALLEY, VALLEY.start(1.0))
    with pytest.raises(sm.InputError, match="curve: given valley; allowed: the curve of this problem, start"):
        sm.predict(VALLEY, 0.01, **ASKED, methods=["critical limit"], curve=curve)
    with pytest.raises(sm.InputError, match=r"curve: given .*; allowed: only with the method 'critical limit'"):
        sm.predict(VALLEY, 0.01, **ASKED, methods=["closed form"], curve=curve)


CHAIN = {"noise": 1e-3, "start": [1.2, 0.5, 1.0, 0.4], "target": ("trace_hessian", 0.8)}


def chain():
    """f = w0 w1 + w2 w3, target 1, in NumPy."""
    return sm.Problem.from_function(lambda w: np.stack([w[..., 0] * w[..., 1] + w[..., 2] * w[..., 3]], axis=-1), [1.0], 4)


def raises(problem, w):
    return 1 / 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": True}, "lr: given True"),
        ({"lr": "0.1"}, "lr: given 0.1; allowed: one number"),
        ({"lr": 10**400}, "lr: given 1000"),
        ({"noise": "x"}, "noise: given x"),
        ({"seed": 2**32}, "seed: given 4294967296; allowed: a whole number from 0 to 4294967295"),
        ({"target": "test_error"}, r"target: given test_error; allowed: \(metric, fraction\)"),
        ({"target": ("test_error",)}, r"target: given \('test_error',\); allowed: \(metric"),
        ({"target": 0.1}, r"target: given 0.1; allowed: \(metric"),
        ({"target": (np.sum, 0.5)}, "target: given .*allowed: .*Metric"),
        (
            {"target": ("test_error", 0.5)},
            "target: given test_error = nan at the start; allowed: a metric that is one number",
        ),
        ({"target": (Metric("size", "size", "1", lambda problem, w: -np.square(w).sum(-1)), 0.5)}, "target: given size = -"),
        ({"target": (Metric("broken", "broken", "1", raises), 0.5)}, "target: given broken, which raises"),
        ({"methods": 3}, "methods: given 3; allowed: 'theory', or a list"),
        ({"reference": 0.1}, r"reference: given 0.1; allowed: a tuned pair \(lr, momentum\)"),
        ({"reference": (0.1, 0.9, 1)}, r"reference: given \(0.1, 0.9, 1\); allowed: a tuned pair"),
        ({"nesterov": "a"}, "nesterov: given a; allowed: True or False"),
        ({"weight_decay": -1}, "weight_decay: given -1"),
    ],
)
def test_each_bad_value_is_named_in_one_line(change, message):
    with pytest.raises(InputError, match=message):
        sm.predict(chain(), **({"lr": 0.05} | CHAIN | change))


def test_nesterov_momentum_has_no_closed_form_and_theory_goes_on_without_it():
    with pytest.raises(InputError, match="nesterov: given True; allowed: heavy ball"):
        sm.predict(chain(), 0.5, **CHAIN, nesterov=True, methods=["closed form"])
    answer = sm.predict(chain(), 0.5, **CHAIN, nesterov=True, methods="theory")
    assert "closed form" not in answer.ways
    assert answer.method in answer.ways
    beside = sm.predict(chain(), 0.5, **CHAIN, nesterov=True, budget=600)
    assert beside.agreement["closed form"].startswith("does not apply")


def test_where_nothing_drifts_a_target_of_the_trace_is_refused_before_any_trial():
    flat = sm.Problem.from_function(lambda w: w.sum(axis=-1, keepdims=True), [1.0], 3)
    with pytest.raises(InputError, match="problem: given the same tr H"):
        sm.predict(flat, 0.05, noise=1e-3, start=[0.2, 0.3, 0.5], target=("trace_hessian", 0.5))
