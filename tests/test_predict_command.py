"""The command `sde-momentum predict`: what it prints is what the library gives, for each of its forms."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest
from command_lines import changed
from typer.testing import CliRunner

import sde_momentum as sm
from sde_momentum.commands.main import app


def run(*words):
    return CliRunner().invoke(app, changed(["predict", "--lr", "0.01"], *words))


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (("--ref-lr", "0.1", "--ref-momentum", "0.9"), sm.MomentumRule.from_reference(0.1, 0.9)),
        (("--noise", "1e-3", "--curvature", "2"), sm.MomentumRule.from_geometry(1e-3, 2.0)),
        (
            ("--noise", "1e-3", "--curvature", "2", "--weight-decay", "1e-3"),
            sm.MomentumRule.from_geometry(1e-3, 2.0, explicit_curvature=1e-3),
        ),
    ],
)
def test_numbers_give_the_momentum_rule(words, rule):
    printed = json.loads(run(*words, "--json").stdout)
    assert printed["momentum"] == rule.momentum(0.01)
    assert printed["source"] == rule.source
    assert run(*words).stdout == f"momentum {rule.momentum(0.01):.6f}\n{rule.explain(0.01)}\n"


@pytest.mark.usefixtures("coarse")
def test_a_problem_is_predicted_and_drawn(tmp_path):
    picture = tmp_path / "times.png"
    words = (
        "--lr",
        "0.1",
        "--problem",
        "valley",
        "--modes",
        "8",
        "--coupling",
        "0.5",
        "--method",
        "closed form",
        "--method",
        "effective loss",
    )
    result = run(*words, "--plot", str(picture), "--json")
    assert result.exit_code == 0, result.output
    valley = sm.Valley.balanced(8, 1.0, 0.5)
    answer = sm.predict(
        valley,
        0.1,
        noise=sm.LabelNoiseSGD(valley, 0.1).noise,
        start=valley.start(2.5),
        target=("test_error", 0.1),
        methods=["closed form", "effective loss"],
    )
    assert json.loads(result.stdout) == answer.to_dict()
    assert picture.stat().st_size > 10_000
    assert f"\nmomentum {1 - answer.ways['closed form'].one_minus_beta:.5f}"[:-1] in run(*words[:-2]).stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--problem", "banana"), "--problem: given banana; allowed: matrix-sensing, valley"),
        (
            ("--problem", "valley", "--noise", "1"),
            "--noise: given 1.0; allowed: not with --problem valley, only",
        ),
        (("--problem", "valley", "--start", "random"), "--start: given random; allowed: interpolating or flattest"),
        (("--problem", "valley", "--plot", "x.gif"), "--plot: given x.gif"),
        (("--problem", "valley", "--plot", "nowhere/x.png"), "--plot: given nowhere/x.png"),
        (("--problem", "valley", "--metric", "trace_hessian"), "--fraction: given nothing; allowed: a number in (0, 1)"),
        (("--problem", "valley", "--ref-lr", "0.1"), "--ref-momentum: given nothing; allowed: a number, beside --ref-lr"),
        (("--problem", "valley", "--metric", "banana", "--fraction", "0.5"), "--metric: given banana; allowed: train_loss"),
        (("--problem", "valley", "--method", "banana"), "--method: given banana; allowed: transfer, closed form"),
        (("--problem", "valley", "--label-noise", "0"), "--label-noise: given 0.0; allowed: finite numbers > 0"),
        (("--problem", "valley", "--start", "flattest", "--start-theta", "1"), "--start-theta: given 1.0; allowed: not with"),
        (
            ("--problem", "valley", "--store", "x", "--method", "closed form"),
            "--store: given x; allowed: only with --method 'critical limit'",
        ),
        (("--problem", "valley", "--nesterov", "--method", "closed form"), "--nesterov: given True; allowed: only with"),
        (("--problem", "valley", "--store", __file__), f"--store: given {__file__}"[:120]),
        (("--problem", "valley", "--nesterov", "--store", "x"), "--store: given x; allowed: not with --nesterov"),
        (("--noise", "1", "--curvature", "1", "--ref-momentum", "0.9"), "--ref-lr: given nothing; allowed: a number, beside"),
        ((), "predict: given --lr alone; allowed: with one of --problem NAME (a built-in training), --model"),
        (("--problem", "valley", "--budget", "0"), "--budget: given 0.0; allowed: finite numbers > 0"),
        (("--problem", "valley", "--seed", "-1"), "--seed: given -1; allowed: a whole number >= 0"),
        (
            ("--problem", "valley", "--theory", "--method", "closed form"),
            "--method: given closed form; allowed: not with --theory, which asks every way that needs no trial",
        ),
        (("--problem", "valley", "--theory", "--seed", "1"), "--seed: given 1; allowed: only with --method 'trial'"),
        (
            ("--problem", "valley", "--method", "closed form", "--budget", "5"),
            "--budget: given 5.0; allowed: only with --method 'trial'",
        ),
        (
            ("--problem", "valley", "--model", "a.py:f"),
            "--model: given a.py:f; allowed: not with --problem valley, only with",
        ),
        (("--model", "a.py:f"), "--noise or --label-noise: given nothing; allowed: one of the two"),
        (
            ("--model", "a.py:f", "--noise", "1", "--label-noise", "1"),
            "--noise or --label-noise: given both; allowed: one of the",
        ),
        (("--model", "a.py:f", "--noise", "0"), "--noise: given 0.0; allowed: finite numbers > 0"),
        (("--model", "a.py:f", "--noise", "1", "--metric", "test_error"), "--fraction: given nothing; allowed: a value, beside"),
        (("--model", "a.py:f", "--noise", "1", "--fraction", "0.5"), "--metric: given nothing; allowed: a value, beside"),
        (("--model", "a.py:f", "--noise", "1", "--d", "8"), "--d: given 8; allowed: not with --model, only with"),
    ],
)
def test_what_it_cannot_use_is_refused_in_one_line(words, message):
    result = run(*words)
    assert isinstance(result.exception, sm.InputError)
    assert str(result.exception).startswith(message)


@pytest.fixture
def asked(monkeypatch):
    """Keywords with which the library is asked; the file of the model holds a valley, and no start."""
    valley = sm.Valley.balanced(4, 1.0, 0.5)
    keywords = {}

    def ask(problem, lr, **how):
        keywords.update(problem=problem, lr=lr, **how)
        return SimpleNamespace(to_dict=lambda: {"asked": True})

    def load(text):
        if text != "chain.py:chain":
            raise sm.InputError("--model", text, "FILE.py:NAME of a file that exists")
        return valley, None

    monkeypatch.setattr(sm, "predict", ask)
    monkeypatch.setitem(sys.modules, "sde_momentum.problems.load", SimpleNamespace(load_problem=load))
    return keywords


def test_a_model_of_ones_own_is_predicted_for_a_noise_strength_or_a_deviation(asked):
    """c = sigma^2 / P: a valley of 4 modes has 4 outputs."""
    words = ("--model", "chain.py:chain", "--json")
    assert json.loads(run(*words, "--noise", "1e-3").stdout) == {"asked": True}
    assert (asked["problem"].n_outputs, asked["lr"], asked["noise"], asked["start"]) == (4, 0.01, 1e-3, None)
    assert "target" not in asked
    run(*words, "--label-noise", "0.2", "--metric", "trace_hessian", "--fraction", "0.6")
    assert asked["noise"] == pytest.approx(0.01)
    assert asked["target"] == ("trace_hessian", 0.6)
    refused = run("--model", "nowhere.py:f", "--noise", "1").exception
    assert str(refused) == "--model: given nowhere.py:f; allowed: FILE.py:NAME of a file that exists"
    refused = run(*words, "--noise", "1", "--metric", "banana", "--fraction", "0.5").exception
    assert str(refused).startswith("--metric: given banana")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), (None, None, None)),
        (("--budget", "5", "--seed", "3"), (None, 5.0, 3)),
        (("--theory",), ("theory", None, None)),
        (("--method", "closed form"), (["closed form"], None, None)),
        (("--method", "trial", "--budget", "5"), (["trial"], 5.0, None)),
    ],
)
def test_ways_budget_and_seed_reach_the_library(asked, words, expected):
    run("--problem", "valley", "--json", *words)
    assert (asked["methods"], asked["budget"], asked["seed"]) == expected


def test_a_file_is_predicted_as_its_problem_is(tmp_path):
    pytest.importorskip("sde_momentum.problems.load")
    file = tmp_path / "own.py"
    file.write_text("import sde_momentum as sm\nmade = sm.Valley.balanced(8, 1.0, 0.5)\nvalley = made, made.start(2.5)\n")
    how = ("--metric", "test_error", "--fraction", "0.1", "--method", "closed form", "--json")
    own = run("--model", f"{file}:valley", "--label-noise", "0.1", *how)
    assert own.exit_code == 0, own.output
    built = run("--problem", "valley", "--modes", "8", "--coupling", "0.5", *how)
    assert json.loads(own.stdout) == json.loads(built.stdout)
