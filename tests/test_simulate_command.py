"""The command `sde-momentum simulate`: what it prints is what the library gives."""

import json

import numpy as np
import pytest
import xarray as xr
from command_lines import changed
from typer.testing import CliRunner

import sde_momentum as sm
from sde_momentum.commands.main import app

RUN = ["simulate", "--lr", "0.05", "--momentum", "0.9", "--momentum", "0.5", "--steps", "20", "--records", "2", "--seeds", "8"]
RUN += ["--d", "4", "--measurements", "10"]


def invoke(*arguments):
    return CliRunner().invoke(app, changed(RUN, *arguments, several=("--lr", "--momentum", "--metric")))


def test_it_prints_means_and_errors_over_the_seeds(tmp_path):
    printed = json.loads(invoke("--json", "--out", str(tmp_path / "runs.nc")).stdout)
    problem = sm.MatrixSensing(4, 1, 10)
    runs = sm.solve(
        sm.LabelNoiseSGD(problem, 0.1), problem.interpolating_start(), [0, 10, 20], lr=0.05, momentum=[0.9, 0.5], seeds=range(8)
    )
    assert [run["momentum"] for run in printed] == [0.9, 0.5]
    for run in printed:
        series = runs.test_error.sel(lr=0.05, momentum=run["momentum"])
        assert run["steps"] == [0, 10, 20]
        assert run["diverged"] == 0
        np.testing.assert_allclose(run["test_error"], series.mean("seed"), rtol=1e-12)
        np.testing.assert_allclose(run["test_error_se"], series.std("seed", ddof=1) / np.sqrt(8), rtol=1e-12)
    stored = xr.load_dataset(tmp_path / "runs.nc", engine="h5netcdf")
    np.testing.assert_array_equal(stored.test_error, runs.test_error)
    table = invoke().output
    assert "lr 0.05, momentum 0.9: 0 of 8 runs diverged" in table
    assert f"{printed[0]['test_error'][-1]:.4g} ± {printed[0]['test_error_se'][-1]:.1g}" in table


def test_diverged_runs_are_counted_and_left_out():
    run = json.loads(invoke("--lr", "50", "--json").stdout)[2]
    assert run["lr"] == 50.0
    assert run["diverged"] == 8
    assert set(run["test_error"]) == {None}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--start", "here"], "--start: given here; allowed: interpolating or random"),
        (["--steps", "0"], "--steps: given 0; allowed: a whole number >= 1"),
        (["--out", "no/where.nc"], "--out: given no/where.nc; allowed: a file in a folder that exists"),
        (["--out", "/dev/null"], "--out: given /dev/null; allowed: a file in a folder that exists"),
        (["--seeds", "100000000000"], "--seeds: given 100000000000; allowed: a whole number >= 2 and <= 10000000"),
        (["--momentum", "1.5"], "momentum: given 1.5; allowed: numbers in"),
    ],
)
def test_bad_input_names_argument_given_and_allowed(arguments, message):
    failure = invoke(*arguments).exception
    assert isinstance(failure, sm.InputError)
    assert message in str(failure)
