"""Theory's own answer: which way decides, the momentum that leaves room for the fluctuations, and what makes it doubtful."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import sde_momentum as sm
from sde_momentum.core.errors import InputError
from sde_momentum.predictors import theory_answer
from sde_momentum.predictors.target import Target
from sde_momentum.predictors.theory_answer import answers_of_theory, combine, stationary_share
from sde_momentum.predictors.ways.base import Answer, Extras, Question
from sde_momentum.predictors.ways.registry import WAYS
from sde_momentum.theory import formulas

NOISE, LR = 0.01 / 32, 0.01


def question(valley: sm.Valley, start: float, fraction: float, lr: float = LR) -> Question:
    begin = valley.start(start)
    return Question(valley, begin, begin, Target("test_error", fraction), lr, NOISE, Extras(workers=1, progress=False))


def answer(one_minus_beta: float, time: float = 1000.0) -> Answer:
    return Answer(one_minus_beta, None, None, time, 0.0, np.empty(0), np.empty(0), "given")


@pytest.fixture(scope="module")
def calm() -> Question:
    """A valley whose eigenvalues hardly fluctuate, g = 0."""
    return question(sm.Valley.balanced(32, curvature=1.0, coupling=0.0), 2.5, 0.05)


@pytest.fixture(scope="module")
def best(calm: Question) -> float:
    return calm.closed_form.one_minus_beta(LR)


def test_in_a_valley_the_critical_limit_decides_and_is_safe(calm, best):
    answers = {"closed form": answer(1.05 * best), "critical limit": answer(best)}
    found, way, doubts = combine(calm, answers)
    assert (found, way, doubts) == (answers["critical limit"], "critical limit", ())


def test_without_the_faithful_way_the_least_momentum_decides_and_is_doubtful(calm, best):
    answers = {"closed form": answer(best), "effective loss": answer(1.2 * best)}
    found, way, doubts = combine(calm, answers)
    assert found is answers["effective loss"]
    assert way == "effective loss"
    assert any("does not see" in doubt for doubt in doubts)


def test_ways_that_differ_much_are_a_doubt(calm, best):
    answers = {"closed form": answer(2 * best), "critical limit": answer(best)}
    _, way, doubts = combine(calm, answers)
    assert way == "critical limit"
    assert doubts == ("closed form differs from critical limit by a factor of 2.00",)


def test_one_way_alone_is_a_doubt(calm, best):
    assert "one way only: nothing to compare with" in combine(calm, {"critical limit": answer(best)})[2]


def test_a_time_known_badly_is_a_doubt(calm, best):
    answers = {"closed form": answer(best), "critical limit": replace(answer(best), time_se=100.0)}
    assert combine(calm, answers)[2] == ("the predicted time is known to 10 % only",)


def test_transfer_and_trials_do_not_count(calm, best):
    with pytest.raises(InputError, match="answers: given transfer; allowed: at least one of theory's ways"):
        combine(calm, {"transfer": answer(best)})


@pytest.fixture(scope="module")
def rough() -> Question:
    """A valley whose fluctuations at the momentum of the closed form exceed what the target leaves."""
    return question(sm.Valley.balanced(32, curvature=1.0, coupling=2.0), 4.0, 0.05)


def test_the_momentum_is_lowered_until_the_fluctuations_fit(rough):
    tight = float(rough.closed_form.rule.one_minus_beta(LR))
    assert stationary_share(rough, tight) > 0.5
    found, _, doubts = combine(rough, {"closed form": answer(1.01 * tight), "critical limit": answer(tight)})
    assert found.one_minus_beta > tight
    assert stationary_share(rough, found.one_minus_beta) <= 0.5 < stationary_share(rough, found.one_minus_beta / 1.1)
    assert any("fluctuations, which set the momentum" in doubt for doubt in doubts)
    assert found.time >= 1000
    assert "less momentum" in found.basis


def test_the_time_at_a_lowered_momentum_is_read_from_those_tried(rough):
    tight = float(rough.closed_form.rule.one_minus_beta(LR))
    curve = tight * np.geomspace(1, 8, 4)
    given = replace(answer(tight), tried=curve, times=1000 * curve / tight)
    found, _, _ = combine(rough, {"critical limit": given})
    assert found.time == pytest.approx(1000 * found.one_minus_beta / tight)


def test_fluctuations_that_no_momentum_calms_are_a_doubt(rough, monkeypatch):
    monkeypatch.setattr(theory_answer, "stationary_share", lambda question, delta: 3.0)
    found, _, doubts = combine(rough, {"critical limit": answer(0.001)})
    assert found.one_minus_beta == pytest.approx(0.004, rel=0.1)
    assert any("the target may never be met: the fluctuations take 300 %" in doubt for doubt in doubts)


def test_the_stationary_share_in_a_valley_is_what_the_theory_says():
    """The simulated price is that of the linearised state [theory: Price of speed, eq. 9.9]; 4 standard errors are 5 %."""
    valley = sm.Valley.balanced(64, curvature=1.0, coupling=0.5)
    asked = question(valley, 8.0, 0.1)
    delta = float(formulas.one_minus_beta_at_kappa(LR, NOISE, 0.05))
    least, flattest = valley.trace_hessian(valley.start(0.0)), asked.path.flattest  # where the flow rests is a little above
    price = sm.predictors.StationaryState(flattest).price(LR, delta, NOISE) + least - flattest.trace_hessian
    allowed = asked.path.arrived.trace_hessian - flattest.trace_hessian
    assert stationary_share(asked, delta) == pytest.approx(price / allowed, rel=0.05)


def test_where_j_loses_rank_the_share_is_unknown_and_the_answer_doubtful():
    problem = sm.MatrixSensing(6, 1, 20)
    begin = problem.interpolating_start()
    asked = Question(problem, begin, begin, Target("test_error", 0.1), LR, 5e-4, Extras(workers=1, progress=False))
    assert np.isnan(stationary_share(asked, 0.01))
    _, _, doubts = combine(asked, {"closed form": answer(0.01), "critical limit at finite lr": answer(0.01)})
    assert any("J loses rank" in doubt for doubt in doubts)


def test_a_way_that_takes_too_long_or_gives_no_answer_is_silent(calm, monkeypatch):
    monkeypatch.setattr(type(WAYS["critical limit"]), "seconds", lambda way, question: 1e6)

    def refuse(way, question):
        raise InputError("lr", question.lr, "a smaller one")

    monkeypatch.setattr(type(WAYS["effective loss"]), "answer", refuse)
    answers, silent = answers_of_theory(calm, seconds=50.0)
    assert list(answers) == ["closed form"]
    assert silent["critical limit"].startswith("would take about 1000000 s, more than the ")
    assert silent["effective loss"] == "lr: given 0.01; allowed: a smaller one"


def test_an_unreachable_target_ends_it_in_one_line():
    asked = question(sm.Valley.balanced(8, curvature=1.0, coupling=0.0), 2.5, 1e-9)
    object.__setattr__(asked, "target", Target("trace_hessian", 0.01))
    with pytest.raises(InputError, match=r"fraction: given 0\.01; allowed: more than"):
        answers_of_theory(asked)


@pytest.mark.parametrize("way", ["effective loss", "moment closure", "critical limit"])
def test_the_time_estimated_for_a_way_is_positive_and_finite(way):
    asked = question(sm.Valley.balanced(4, curvature=1.0, coupling=0.0), 2.5, 0.1)
    assert 0 < WAYS[way].seconds(asked) < 1e4


@pytest.mark.usefixtures("coarse")
def test_predict_by_theory_says_which_way_decides():
    valley = sm.Valley.balanced(8, curvature=1.0, coupling=0.0)
    found = sm.predict(valley, 0.05, noise=0.01 / 8, start=valley.start(2.5), target=("test_error", 0.1), methods="theory")
    assert found.method == "critical limit"
    assert found.safe
    assert found.one_minus_beta == found.ways["critical limit"].one_minus_beta
