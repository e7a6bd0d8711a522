"""The printed prediction: doubts first, every number with its error, columns that no name breaks; JSON is complete."""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

import sde_momentum as sm
from sde_momentum.predictors.checks import Check
from sde_momentum.predictors.prediction import _doubts
from sde_momentum.predictors.prediction_text import as_dict, describe
from sde_momentum.predictors.ways.base import Answer

NONE = np.empty(0)
LONG = "a way of an extension, whose name has sixty-four characters here"


@dataclass
class LrTrials:
    lr: float
    one_minus_beta: np.ndarray
    time: np.ndarray
    time_se: np.ndarray
    n_seeds: np.ndarray
    n_steps: np.ndarray
    lost: np.ndarray
    best: float


@dataclass
class Trials:
    at: tuple[LrTrials, ...]
    regret: float = 1.024
    carried: bool = False
    seconds: float = 3.21
    budget: float = 20.0


def at(lr, scale=1.0):
    delta = scale * np.array([0.009, 0.0129, 0.02])
    time = np.array([np.inf, 412.34, 500.0]) / scale
    return LrTrials(
        lr,
        delta,
        time,
        np.array([np.nan, 3.21, 4.0]),
        np.array([64, 256, 64]),
        np.array([900, 900, 900]),
        np.array([2, 0, 0]),
        0.0129,
    )


def prediction(**changes):
    """A fake one: the trials answer, one theory agrees, one does not, one does not apply."""
    best = Answer(0.01288, 0.0121, 0.0139, 412.34, 3.21, NONE, NONE, "trials at lr 0.01", 0.0101)
    ways = {
        "closed form": Answer(0.0131, None, None, 380.0, 0.0, NONE, NONE, "the drift"),
        LONG: Answer(0.0092, 0.009, 0.0095, None, 0.0, np.array([0.0092]), np.array([np.inf]), "a curve"),
        "trial": best,
    }
    fields = {
        "lr": 0.01,
        "noise": 5e-4,
        "target": sm.Target("test_error", 0.1),
        "ways": ways,
        "method": "trial",
        "best": best,
        "safe": True,
        "doubts": (),
        "agreement": {
            "closed form": "agrees",
            LONG: "too much momentum",
            "moment closure": "does not apply: 96 parameters, 40 at most",
        },
        "checks": (Check("interpolating", True, "it is"), Check("J of full rank", False, "3 of 8 modes vanish")),
        "verdict": "the ways differ by a factor of 1.4",
        "trials": Trials((at(0.01),)),
        "momentum": 1 - 0.01288,
        **{name: getattr(best, name) for name in ("one_minus_beta", "low", "high", "time", "time_se", "cliff")},
    }
    return SimpleNamespace(**{**fields, **changes})


def test_it_prints_momentum_steps_trials_theory_and_a_table():
    assert describe(prediction()).splitlines() == [
        "momentum 0.98712 at lr 0.01, by trial (1 - beta = 0.01288, from 0.0121 to 0.0139)",
        "expected: 412.3 ± 3.2 steps until the mean of test_error stays below 0.1 of its start",
        "cliff: below 1 - beta = 0.0101 the target is met much later or never; 2 of 64 runs there diverged",
        "trials at lr 0.01: 3 momenta, 64 to 256 seeds, 900 steps",
        "reached: at most 1.02 times the shortest time (95 %); took 3.21 of 20 s",
        f"theory: momentum of closed form agrees; {LONG} has too much momentum (1 - beta is 0.71 times the answer's); "
        "moment closure does not apply; broken: J of full rank",
        f"  way{' ' * 61}  1 - beta        steps",
        f"  closed form{' ' * 53}    0.0131          380  momentum agrees",
        f"  {LONG}    0.0092               too much momentum",
        f"  trial{' ' * 59}   0.01288  412.3 ± 3.2  the answer",
        f"  moment closure{' ' * 50}                         does not apply: 96 parameters, 40 at most",
    ]


def test_doubts_come_first_and_a_carried_answer_says_from_where():
    trials = Trials((at(0.003, 0.4), at(0.01)), carried=True, regret=np.inf)
    text = describe(
        prediction(doubts=("the fits differ", "the mean swings back"), safe=False, trials=trials, lr=1e-5)
    ).splitlines()
    assert text[:2] == ["doubtful: the fits differ", "doubtful: the mean swings back"]
    assert text[2].startswith("momentum 0.98712 at lr 1e-05, by trial")
    assert [line for line in text if line.startswith("trials")] == [
        "trials at lr 0.003: 3 momenta, 64 to 256 seeds, 900 steps",
        "trials at lr 0.01: 3 momenta, 64 to 256 seeds, 900 steps",
    ]
    assert "reached: no bound on the regret at lr 0.003, carried from there by the theory's law; took 3.21 of 20 s" in text


@pytest.mark.parametrize(
    ("regret", "says"),
    [
        (1.06, None),
        (1.12, "the time may exceed the shortest by up to 12 %; a budget of about 80 s should decide"),  # half the error: 4 times
        (np.inf, "the time may exceed the shortest by more than can be said; a larger budget should decide"),
    ],
)
def test_too_few_trials_are_told_with_the_budget_that_should_decide(regret, says):
    doubts = list(_doubts(Trials((at(0.01),), regret=regret), prediction().best))
    assert [says in doubt for doubt in doubts] == ([] if says is None else [True])


def test_without_trials_the_verdict_stands_in_their_place():
    closed = Answer(0.0131, None, None, None, 0.0, NONE, NONE, "the drift")
    alone = prediction(trials=None, method="closed form", best=closed, ways={"closed form": closed}, agreement={}, cliff=None)
    assert describe(alone).splitlines() == [
        "momentum 0.98690 at lr 0.01, by closed form (1 - beta = 0.0131)",
        "target: the mean of test_error stays below 0.1 of its start; closed form predicts no number of steps",
        "the ways differ by a factor of 1.4",
        "  way          1 - beta  steps",
        "  closed form    0.0131         the answer",
    ]


def test_a_target_that_is_not_met_is_said_so():
    never = Answer(0.5, None, None, np.inf, 0.0, NONE, NONE, "trials")
    lines = describe(prediction(best=never, ways={"trial": never}, agreement={}, checks=())).splitlines()
    assert lines[:2] == [
        "momentum 0.5000 at lr 0.01, by trial (1 - beta = 0.5)",
        "expected: never that the mean of test_error stays below 0.1 of its start",
    ]
    assert lines[-3:] == [
        "theory: nothing to compare the trials with",
        "  way    1 - beta    steps",
        "  trial       0.5  not met  the answer",
    ]


@pytest.mark.parametrize("name", ["x", "y" * 200])
def test_no_name_breaks_a_column(name):
    """Every way's 1 - beta ends in the same column as the heading."""
    answer = Answer(0.0123456, None, None, 123456.0, 789.0, NONE, NONE, "")
    lines = describe(
        prediction(ways=prediction().ways | {name: answer}, agreement={name: "agrees"}, target=sm.Target(name, 0.25))
    )
    assert f"the mean of {name} stays below 0.25" in lines
    table = lines.splitlines()[-5:]
    ends = table[0].index("1 - beta") + len("1 - beta"), table[0].index("steps") + len("steps")
    for line, value, steps in zip(
        table[1:], ("0.0131", "0.0092", "0.01288", "0.01235"), ("380", "", "412.3 ± 3.2", "123460 ± 790"), strict=True
    ):
        padded = line.ljust(ends[1] + 2)
        assert padded[: ends[0]].endswith(f"  {value}")
        assert padded[ends[0] : ends[1]].strip() == steps
        assert padded[ends[1] : ends[1] + 2] == "  "


def test_json_is_complete_and_has_no_number_that_is_not_finite():
    given = prediction(doubts=("a doubt",), safe=False)
    back = json.loads(json.dumps(as_dict(given), allow_nan=False))
    assert set(back) == set(vars(given)) - {"best"}
    assert back["trials"]["at"] == [
        {
            "lr": 0.01,
            "one_minus_beta": [0.009, 0.0129, 0.02],
            "time": [None, 412.34, 500.0],
            "time_se": [None, 3.21, 4.0],
            "n_seeds": [64, 256, 64],
            "n_steps": [900, 900, 900],
            "lost": [2, 0, 0],
            "best": 0.0129,
        }
    ]
    assert (back["trials"]["regret"], back["trials"]["carried"], back["trials"]["budget"]) == (1.024, False, 20.0)
    assert (back["safe"], back["doubts"], back["agreement"]) == (False, ["a doubt"], given.agreement)
    assert back["ways"][LONG]["times"] == [None]
    assert as_dict(prediction(trials=None))["trials"] is None


def test_its_picture_shows_trials_theory_answer_and_cliff():
    pytest.importorskip("matplotlib")
    from sde_momentum.predictors.prediction_picture import draw_prediction

    curve = Answer(
        0.0092, 0.009, 0.0095, 350.0, 0.0, np.array([0.005, 0.0092, 0.02]), np.array([np.inf, 350.0, 400.0]), "a curve"
    )
    given = prediction()
    given.ways[LONG] = curve
    axes = draw_prediction(given)
    shown = axes.get_legend_handles_labels()[1]
    ways = {LONG, f"{LONG} recommends", "closed form recommends"}
    assert set(shown) == {"beyond the cliff", "trials, lr 0.01", "target not met in so many steps", "recommended", *ways}
    alone = draw_prediction(prediction(trials=None, method=LONG, best=curve, ways={LONG: curve}, cliff=None))
    assert alone.get_legend_handles_labels()[1] == [LONG, "recommended"]
    assert alone.get_title(loc="left") == "lr 0.01: steps until test_error stays below 0.1 of its start"
