"""`sde-momentum validate predictions`: regrets against a sweep, resumed and refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import sde_momentum as sm
from sde_momentum.predictors.curve.universal_curve import TOLERANCE
from validation.cases import CASES
from validation.cli import app, report
from validation.predictions.measure import CRITICAL_LIMIT

CASE = "valley, g = 0"


def run(*words):
    return CliRunner().invoke(app, ["predictions", *words])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("predictions") / "results"
    result = run("--case", CASE, "--out", str(out), "--json")
    assert result.exit_code == 0, result.output
    return out, json.loads(result.stdout)


def test_the_valley_s_predictions_hold(finished):
    """Within 4 standard errors, false alarms 6e-5 each: 0.9 % of the regret, which the recommendation sets, and 1 % of the times.

    Found: regret 1.022 ± 0.009 where 1.03 is asked for, and times within 0.8 % at 20 momenta. Fixed seed.
    """
    out, answer = finished
    (row,) = answer["summary"]
    way = row[CRITICAL_LIMIT]
    assert way["regret_se"] < 0.01
    assert abs(way["regret"] - (1 + TOLERANCE)) < 4 * way["regret_se"]
    ratios = []
    for result in json.loads((out / "results.json").read_text())["results"]:
        asked = np.array(result["one_minus_beta"]) >= result["ways"][CRITICAL_LIMIT]["one_minus_beta"] * (1 - 1e-9)
        time, error, predicted = (
            np.array(values, dtype=float)[asked]
            for values in (result["time"], result["time_se"], result["predicted"][CRITICAL_LIMIT])
        )
        assert np.all(error < 0.016 * time)
        assert np.all(np.abs(predicted - time) < 4 * error), f"{predicted / time} ± {error / time}"
        ratios += list(predicted / time)
    assert abs(np.log(row["time_ratio"][0])) == pytest.approx(np.abs(np.log(ratios)).max())


def test_regret_is_time_over_the_shortest_of_the_sweep(finished):
    out, _ = finished
    for result in json.loads((out / "results.json").read_text())["results"]:
        times = np.array([np.inf if time is None else time for time in result["time"]])
        for way in result["ways"]:
            row = result["ways"][way]
            i = int(np.argmin(np.abs(np.array(result["one_minus_beta"]) / row["one_minus_beta"] - 1)))
            assert row["regret"] == pytest.approx(times[i] / times.min())
            assert row["regret"] >= 1


def test_resuming_computes_nothing_again(finished):
    out, answer = finished
    before = {file.name: file.stat().st_mtime_ns for file in out.glob("valley*.json")}
    assert len(before) == 2
    again = run("--case", CASE, "--out", str(out), "--resume", "--json")
    assert json.loads(again.stdout) == answer
    assert {file.name: file.stat().st_mtime_ns for file in out.glob("valley*.json")} == before
    (out / next(iter(before))).unlink()
    assert json.loads(run("--case", CASE, "--out", str(out), "--resume", "--json").stdout) == answer


def test_report_draws_it_again(finished, capsys):
    out, answer = finished
    page = (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    report(out, as_json=True)
    assert json.loads(capsys.readouterr().out) == answer
    assert (out / "report.html").read_bytes() == page
    assert "sde-momentum validate predictions --profile quick --seed 0 --case &#39;valley, g = 0&#39;" in page.decode()


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


def test_every_case_spans_one_and_a_half_decades_from_a_point_of_gamma():
    for case in CASES:
        assert case.lr[1] / case.lr[0] >= 10**1.5 * 0.999
        problem, start = case.make()
        sm.ManifoldPoint(problem, start)
