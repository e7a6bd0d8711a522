"""`sde-momentum validate predictions`: regrets against a sweep, the cases, results resumed and refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import sde_momentum as sm
from validation import unseen
from validation.cases import CASES, UNSEEN
from validation.cli import app, report
from validation.predictions.measure import CARRIED, works
from validation.predictions.report import exponents, good, in_time, summary, wrong
from validation.predictions.sweep import GROUPS, Training, sweep

CASE = "valley, g = 0"


def run(*words):
    return CliRunner().invoke(app, ["predictions", *words])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("predictions") / "results"
    result = run("--case", CASE, "--theory", "--out", str(out), "--json")
    assert result.exit_code == 0, result.output
    return out, json.loads(result.stdout), json.loads((out / "results.json").read_text())["results"]


def test_the_valley_s_answer_holds(finished):
    """At 4 standard errors: a false alarm in 16,000. Fixed seed."""
    for cell in finished[2]:
        answer = cell["answers"]["default"]
        assert answer["regret_se"] < 0.02
        assert answer["regret"] < 1.05 + 4 * answer["regret_se"]
        error = np.hypot(answer["time_se"], answer["measured_time_se"])
        assert error < 0.04 * answer["measured_time"]
        assert abs(answer["time"] - answer["measured_time"]) < 4 * error + 0.01 * answer["measured_time"]  # records of either


@pytest.mark.parametrize("case", [case for case in UNSEEN if case.compiled], ids=lambda case: case.name)
def test_a_sweep_in_machine_code_is_of_the_same_problem(case):
    (problem, start), compiled = case.make(), case.compiled()
    points = start + 0.1 * np.random.default_rng(0).standard_normal((3, len(start)))
    for name in ("outputs", "jacobian", "trace_hessian", "trace_hessian_gradient"):
        np.testing.assert_allclose(getattr(compiled, name)(points), getattr(problem, name)(points), rtol=1e-6, atol=1e-8)
    np.testing.assert_array_equal(compiled.targets, problem.targets)


def test_the_exponent_is_that_between_the_fastest_momenta_of_the_sweeps(finished):
    (low, high), ((plain,),) = finished[2], exponents(finished[2]).values()
    slope = np.log(high["fastest"] / low["fastest"]) / np.log(high["lr"] / low["lr"])
    assert (plain.exponent.value, plain.freedom) == (pytest.approx(slope), 0)
    assert plain.exponent.low < 2 / 3 < plain.exponent.high


def test_regret_is_time_over_the_shortest_of_the_sweep(finished):
    for cell in finished[2]:
        times = np.array([np.inf if time is None else time for time in cell["times"]])
        assert cell["fastest"] == cell["one_minus_beta"][int(np.argmin(times))]
        for answer in cell["answers"].values():
            for row in (answer, *answer["ways"].values()):
                i = int(np.argmin(np.abs(np.array(cell["one_minus_beta"]) / row["one_minus_beta"] - 1)))
                assert cell["one_minus_beta"][i] == pytest.approx(row["one_minus_beta"])
                assert row["regret"] == pytest.approx(times[i] / times.min())
                assert row["regret"] >= 1


@pytest.mark.usefixtures("unwritten")
def test_resuming_computes_nothing_again(finished):
    out, answer, _ = finished
    before = {file.name: file.stat().st_mtime_ns for file in out.glob("valley*.json")}
    assert len(before) == 2
    again = run("--case", CASE, "--theory", "--out", str(out), "--resume", "--json")
    assert json.loads(again.stdout) == answer
    assert {file.name: file.stat().st_mtime_ns for file in out.glob("valley*.json")} == before


def test_report_draws_it_again(finished, capsys):
    out, answer, _ = finished
    page = (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    report(out, as_json=True)
    assert json.loads(capsys.readouterr().out) == answer
    assert (out / "report.html").read_bytes() == page
    assert "sde-momentum validate predictions --profile quick --seed 0 --case &#39;valley, g = 0&#39; --theory" in page.decode()


def linear(**given):
    """Training on a valley from theta = 2.5 to a tenth of its test error."""
    problem = sm.Valley.balanced(4, 1.0, 0.0)
    settings = {"metric": "test_error", "fraction": 0.1, "lr": 0.1, "first_seed": 10**9, "n_runs": GROUPS, **given}
    return Training(sm.LabelNoiseSGD(problem, 0.1), problem.start(2.5), **settings)


def test_a_sweep_finds_the_fastest_from_far_away():
    """From recommendations a factor 6 too large and too small it comes to the same momentum: the same seeds, steps of 4 %."""
    near = sweep(linear(), [0.03], 300.0)
    for factor in (6, 1 / 6):
        far = sweep(linear(), [0.03 * factor], 300.0)
        assert far.time.min() == pytest.approx(near.time.min(), rel=0.02)
        assert abs(np.log(far.fastest / near.fastest)) < 0.1
    assert near.one_minus_beta[0] < near.fastest < near.one_minus_beta[-1]


def test_times_of_a_sweep_are_those_of_a_plain_loop_over_runs():
    """The mean over all runs, at every step."""
    training = linear()
    found = sweep(training, [0.03], 300.0)
    clock = np.arange(int(2 * found.time.min()))
    for delta in (0.03, found.fastest):
        seeds = training.first_seed + np.arange(found.n_runs)
        runs = sm.solve(
            training.method, training.start, clock, lr=training.lr, momentum=1 - delta, seeds=seeds, metrics=["test_error"]
        )
        mean = runs.test_error.values[0, 0].mean(axis=0)
        exact = float(sm.convergence_time(mean, clock, training.fraction))
        assert found.at(delta)[0] == pytest.approx(exact, rel=0.01)  # records 1 % of the shortest time apart


def test_a_target_that_no_momentum_meets_is_missed():
    """Far below the fluctuations of the stationary state."""
    found = sweep(linear(fraction=1e-12), [0.1], 3.0)
    assert not np.isfinite(found.time).any()
    assert found.regret(0.1) == (pytest.approx(np.nan, nan_ok=True), np.inf)


def test_answers_are_judged_as_the_report_says():
    safe = {"safe": True, "regret": 1.06, "regret_se": 0.011, "time": 104.0, "time_se": 0.1}
    safe |= {"measured_time": 100.0, "measured_time_se": 0.1}
    assert good(safe)
    assert in_time(safe)
    assert not wrong(safe)
    late = {**safe, "regret": 1.2, "time": 107.0}
    assert not good(late)
    assert not in_time(late)
    assert wrong(late)
    assert in_time({**late, "measured_time_se": 4.0})
    assert not wrong({**late, "safe": False})
    missed = {**safe, "regret": None, "regret_se": None, "measured_time": None}
    assert wrong(missed)
    assert not good(missed)
    assert not in_time(missed)
    cells = [
        {"case": "a", "unseen": True, "lr": lr, "smallest_trial_lr": None, "fastest": 0.1}
        | {"answers": {"default": {**answer, "seconds": 1.0, "ways": {}}}}
        for lr, answer in ((0.1, safe), (0.2, late))
    ]
    (row,) = summary(cells)
    assert (row["regret"], row["regret_at"], row["safe"]) == (1.2, 0.2, 2)
    assert (row["time_ratio"], row["time_ratio_at"]) == (pytest.approx(1.07), 0.2)


def test_a_carried_answer_is_asked_for_far_below_every_trial():
    *others, carried = works(3, 5, [CASE], 0, carry=True)
    assert carried.smallest_trial_lr == min(work.lr for work in others)
    assert carried.lr == pytest.approx(carried.smallest_trial_lr / CARRIED, rel=0.01)
    assert carried.file not in {work.file for work in others}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--profile", "huge"), "--profile: given huge"),
        (("--case", "banana"), "--case: given banana; allowed: valley, g = 0; "),
        (("--workers", "0"), "--workers: given 0"),
    ],
)
def test_bad_input_is_refused(words, message, tmp_path):
    result = run(*words, "--out", str(tmp_path / "new"))
    assert isinstance(result.exception, sm.InputError)
    assert message in str(result.exception)
    assert not (tmp_path / "new").exists()


def test_every_built_in_case_spans_one_and_a_half_decades_from_a_point_of_gamma():
    for case in CASES:
        assert case.lr[1] / case.lr[0] >= 10**1.5 * 0.999
        assert len(case.rates(3)) == 3
        problem, start = case.make()
        sm.ManifoldPoint(problem, start)


@pytest.mark.parametrize("case", UNSEEN, ids=lambda case: case.name)
def test_every_unseen_case_follows_from_the_rules(case):
    """Its numbers are rounded to three digits; J has full rank at the start, and derivatives agree with differences."""
    problem, start = case.make()
    assert case.label_noise == unseen.label_noise(problem)
    assert case.lr == pytest.approx(unseen.learning_rates(problem, start), rel=2e-3)
    if problem.name in ("three-factors", "tensor-factors", "deep-diagonal"):  # that of others takes up to half a minute
        assert case.fraction == pytest.approx(unseen.target(problem, start), rel=2e-3)
    assert sm.ManifoldPoint(problem, start).rank == problem.n_outputs
    direction = np.random.default_rng(0).standard_normal(problem.n_parameters)
    ahead, behind = problem.outputs(np.stack([start + 1e-5 * direction, start - 1e-5 * direction]))
    assert problem.jacobian(start) @ direction == pytest.approx((ahead - behind) / 2e-5, rel=1e-5, abs=1e-6)
