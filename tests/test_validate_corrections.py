"""`sde-momentum validate corrections`: errors that go to 0 as lr does, and the power by which."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from sde_momentum.core.errors import InputError
from sde_momentum.predictors.ways.critical_limit import ByCriticalLimit
from sde_momentum.predictors.ways.effective_loss import ByEffectiveLoss
from validation.cli import app, report
from validation.corrections import experiment as corrections
from validation.corrections.measure import Approach


def run(*words):
    return CliRunner().invoke(app, ["corrections", *words])


def approach(power, se=1e-3, limit=10.0, seed=0):
    lr = np.geomspace(0.1, 1e-4, 7)
    noise = np.random.default_rng(seed).normal(size=7)
    time = limit * (1 + 0.5 * lr**power + se * noise)
    return Approach(
        "made up",
        1.0,
        lr.tolist(),
        time.tolist(),
        [se * limit] * 7,
        {ByEffectiveLoss.name: (limit, 0.0), ByCriticalLimit.name: (2 * limit, 0.0)},
    )


@pytest.mark.parametrize("power", [1 / 6, 1 / 3, 1 / 2])
def test_the_power_of_a_made_up_error_is_found(power):
    found = [approach(power, seed=seed).power(ByEffectiveLoss.name) for seed in range(40)]
    pulls = np.array([(value - power) / se for value, se in found])
    assert abs(pulls.mean()) < 4 / 40**0.5
    assert 0.3 < pulls.std() < 1.7


def test_a_wrong_limit_has_power_zero_and_a_small_error_none():
    power, _ = approach(1 / 3).power(ByCriticalLimit.name)
    assert power == pytest.approx(0, abs=0.05)
    assert approach(1 / 3, se=10.0).power(ByEffectiveLoss.name) is None


def test_on_a_valley_the_error_of_the_limit_falls_with_lr(tmp_path, monkeypatch):
    """By 4 standard errors (false alarms 3e-5), from 5.6 ± 0.6 % at lr = 0.2 to 0.4 ± 0.5 % at 0.002. Fixed seed."""
    monkeypatch.setattr(corrections, "PROBLEMS", ("valley, g = 0",))
    monkeypatch.setitem(corrections.EXPERIMENT.profiles, "quick", corrections.Profile((0.2, 0.02, 0.002), 0.5, 0.03))
    out = tmp_path / "out"
    result = run("--out", str(out), "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    (found,) = (Approach(**each) for each in json.loads((out / "results.json").read_text())["results"])
    error, se = found.error(ByCriticalLimit.name)
    assert answer["summary"]["valley, g = 0"][ByCriticalLimit.name]["error"] == pytest.approx(error)
    assert abs(error[0]) - abs(error[2]) > 4 * np.hypot(se[0], se[2]), f"{error} ± {se}"
    assert (out / "corrections.png").stat().st_size > 5_000
    again = run("--out", str(out), "--resume", "--json")
    assert json.loads(again.stdout) == answer
    page = (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    (out / "corrections.png").unlink()
    report(out)
    assert (out / "report.html").read_bytes() == page
    assert (out / "corrections.png").exists()


def test_an_unknown_profile_is_refused(tmp_path):
    result = run("--profile", "huge", "--out", str(tmp_path / "out"))
    assert isinstance(result.exception, InputError)
    assert str(result.exception) == "--profile: given huge; allowed: quick, full"
    assert not (tmp_path / "out").exists()
