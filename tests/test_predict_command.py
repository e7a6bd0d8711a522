"""The command `sde-momentum predict`: what it prints is what the library gives, for each of its forms."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

import sde_momentum as sm
from sde_momentum.commands.main import app


def run(*words):
    return CliRunner().invoke(app, ["predict", "--lr", "0.01", *words])


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


def test_a_problem_is_predicted_and_drawn(tmp_path):
    picture = tmp_path / "times.png"
    words = ("--problem", "valley", "--modes", "8", "--coupling", "0.5", "--method", "closed form", "--method", "effective loss")
    result = run(*words, "--plot", str(picture), "--json")
    assert result.exit_code == 0, result.output
    valley = sm.Valley.balanced(8, 1.0, 0.5)
    answer = sm.predict(
        valley,
        0.01,
        noise=sm.LabelNoiseSGD(valley, 0.1).noise,
        start=valley.start(2.5),
        target=("test_error", 0.1),
        methods=["closed form", "effective loss"],
    )
    assert json.loads(result.stdout) == answer.to_dict()
    assert picture.stat().st_size > 10_000
    assert run(*words[:-2]).stdout.startswith("lr = 0.01: momentum 0.")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--problem", "banana"), "--problem: given banana; allowed: matrix-sensing, valley"),
        (
            ("--problem", "valley", "--noise", "1"),
            "--noise: given 1.0; allowed: nothing with --problem valley; it",
        ),
        (("--problem", "valley", "--start", "random"), "--start: given random; allowed: interpolating or flattest"),
        (("--problem", "valley", "--plot", "x.gif"), "--plot: given x.gif"),
        (("--problem", "valley", "--plot", "nowhere/x.png"), "--plot: given nowhere/x.png"),
        (("--problem", "valley", "--metric", "trace_hessian"), "--fraction: given nothing; allowed: a number in (0, 1)"),
        (("--problem", "valley", "--ref-lr", "0.1"), "--ref-momentum: given nothing; allowed: a number, beside --ref-lr"),
        (("--problem", "valley", "--metric", "banana", "--fraction", "0.5"), "--metric: given banana; allowed: train_loss"),
        (("--problem", "valley", "--method", "banana"), "--method: given banana; allowed: transfer, closed form"),
        (("--problem", "valley", "--label-noise", "0"), "--label-noise: given 0.0; allowed: finite numbers > 0"),
        (("--problem", "valley", "--start", "flattest", "--start-theta", "1"), "--start-theta: given 1.0; allowed: nothing with"),
        (
            ("--problem", "valley", "--store", "x", "--method", "closed form"),
            "--store: given x; allowed: nothing without --method 'critical limit'",
        ),
        (("--problem", "valley", "--nesterov", "--method", "closed form"), "--nesterov: given True; allowed: nothing without"),
        (("--problem", "valley", "--nesterov", "--store", "x"), "--store: given x; allowed: nothing with --nesterov"),
        (("--noise", "1", "--curvature", "1", "--ref-momentum", "0.9"), "--ref-lr: given nothing; allowed: a number, beside"),
        ((), "options: given another combination"),
    ],
)
def test_what_it_cannot_use_is_refused_in_one_line(words, message):
    result = run(*words)
    assert isinstance(result.exception, sm.InputError)
    assert str(result.exception).startswith(message)
