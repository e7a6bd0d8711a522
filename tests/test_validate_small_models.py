"""`sde-momentum validate small-models`: powers of lr from times whose law is known, and the whole way on the smallest model."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

from sde_momentum import InputError
from validation.cli import app
from validation.judges import needed
from validation.needed import WITHIN
from validation.small_models import experiment
from validation.small_models.report import Summary, momenta
from validation.small_models.sweep import GRID, RESAMPLED, packed

N_SEEDS, N_RESAMPLES = 64, 200
LR = np.geomspace(1e-5, 1e-2, 7)


def run(*words):
    return CliRunner().invoke(app, ["small-models", *words])


def made_up(gamma, noise=0.02, seed=0, off=1.0):
    """Times (r + 1 / r) / lr^(2/3) at r times the best 1 - beta, with a cliff below a third of it; errors are partly common to a
    run's momenta, as common noise makes them. The needed 1 - beta is the best times 1.15 + sqrt(1.15^2 - 1)."""
    rng = np.random.default_rng(seed)
    best = 0.3 * LR**gamma
    ratio = GRID / GRID[-1] * 4 * off
    time = np.where(ratio < 1 / 3, np.inf, ratio + 1 / ratio)[None] / LR[:, None] ** (2 / 3)
    common, own = rng.normal(size=(N_SEEDS, len(LR), 1)), rng.normal(size=(N_SEEDS, 1, len(GRID)))
    runs = np.exp(noise * (np.sqrt(N_SEEDS) * common + own))
    weights = rng.multinomial(N_SEEDS, np.full(N_SEEDS, 1 / N_SEEDS), size=N_RESAMPLES) / N_SEEDS
    resampled = np.einsum("bs,slm->lbm", weights, runs) * time[:, None]
    data = {
        "convergence_time": (("rate", "momentum"), runs.mean(axis=0) * time),
        RESAMPLED: (("rate", "resample", "momentum"), packed(resampled, runs.mean(axis=0) * time)),
        "one_minus_beta": (("rate", "momentum"), best[:, None] * ratio),
        "lr": ("rate", LR),
    }
    return best, Summary(xr.Dataset(data, attrs={"configuration": json.dumps({"n_seeds": N_SEEDS})}))


def test_without_noise_the_power_is_recovered_to_the_interpolation():
    """The needed 1 - beta by interpolation between momenta a factor 1.2 apart: within 1 % (found: 0.4 %)."""
    best, summary = made_up(0.6, noise=1e-9)
    assert summary.needed.laws[0].exponent.value == pytest.approx(0.6, abs=1e-8)
    assert summary.time_laws[0].exponent.value == pytest.approx(-2 / 3, abs=1e-8)
    wanted = best * (WITHIN + np.sqrt(WITHIN**2 - 1))
    np.testing.assert_allclose([each.value for each in summary.needed.estimates], wanted, rtol=0.01)
    assert summary.needed.at_end == 0


def test_intervals_of_powers_cover_the_truth():
    """40 sweeps: 95 % intervals miss 2 on average; more than 7 misses have probability 1e-3."""
    missed, missed_lowest = 0, 0
    for seed in range(40):
        _, summary = made_up(2 / 3, seed=seed)
        gamma, (low,) = summary.needed.laws[0].exponent, summary.needed.lowest.values()
        missed += not gamma.low <= 2 / 3 <= gamma.high
        missed_lowest += not low.low <= 2 / 3 <= low.high
    assert max(missed, missed_lowest) <= 7


def test_a_power_that_is_not_two_thirds_is_told_and_one_at_the_end_is_none():
    _, half = made_up(0.5, noise=0.005)
    _, ended = made_up(2 / 3, off=0.25)
    assert ended.needed.at_end == len(LR)
    judged = list(needed({"systems": {"half": half.to_dict(), "ended": ended.to_dict()}}))
    decided = {(each.system, each.holds) for each in judged if each.decides}
    assert decided == {("half", False), ("ended", False)}
    _, right = made_up(2 / 3, noise=0.005)
    (one,) = (each for each in needed({"systems": {"right": right.to_dict()}}) if each.decides)
    assert one.holds
    assert len(momenta({"half": half, "right": right}).axes) == 2


def test_the_smallest_model_from_the_command_to_the_report(tmp_path, monkeypatch):
    """Its files do not depend on the number of threads, nor on an interruption."""
    monkeypatch.setitem(experiment.EXPERIMENT.profiles, "quick", experiment.Profile(3, 4))
    out, again = tmp_path / "out", tmp_path / "again"
    words = ("--case", "linear state space", "--json")
    result = run("--out", str(out), "--workers", "2", *words)
    assert result.exit_code == 0, result.output
    (system,) = json.loads(result.stdout)["systems"].values()
    assert system["lr"] == [0.0169, 0.0534, 0.169]
    shutil.copytree(out, again)
    (again / "results.nc").unlink()
    sorted((again / "runs").iterdir())[-1].unlink()
    result = run("--out", str(again), "--resume", "--workers", "1", *words)
    assert result.exit_code == 0, result.output
    assert (again / "results.nc").read_bytes() == (out / "results.nc").read_bytes()
    data = xr.load_dataset(out / "results.nc", engine="h5netcdf")
    assert data["convergence_time"].shape == (1, 3, len(GRID))
    assert (data["lr"].values[0] == [0.0169, 0.0534, 0.169]).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [(("--case", "none"), "--case: given none"), (("--seeds", "1"), "--seeds: given 1"), (("--profile", "slow"), "--profile")],
)
def test_bad_input_is_named(words, message, tmp_path):
    result = run(*words, "--out", str(tmp_path / "out"))
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)
    assert not (tmp_path / "out").exists()
