"""`sde-momentum validate` and `report`, as a user runs them: results, resumption, damaged files, bad input."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest

import sde_momentum as sm
from sde_momentum import InputError
from sde_momentum.commands import main as cli
from validation.baselines import BASELINES, MOVED

xr = pytest.importorskip("xarray")
pytest.importorskip("torch")

COMMAND = [sys.executable, "-m", "sde_momentum", "validate", "matrix-sensing"]
LR = ["--lr", "0.05", "--lr", "0.1", "--lr", "0.2"]
SIZE = ["--seeds", "4", "--d", "4", "--measurements", "12"]
SMALL = [*LR, *SIZE, "--workers", "2"]


def run(*arguments):
    """The command in a process of its own."""
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.fixture
def call(monkeypatch, capsys):
    """The command in this process: call(*arguments) gives (exit status, standard output, standard error)."""

    def run_here(*arguments):
        monkeypatch.setattr(sys, "argv", ["sde-momentum", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return (stop.value.code or 0, *capsys.readouterr())

    return run_here


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small sweep, run to its end."""
    out = tmp_path_factory.mktemp("validate") / "out"
    done = run(*SMALL, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    return out, done


def files(out):
    return {str(file.relative_to(out)): file.stat().st_mtime_ns for file in out.rglob("*") if file.is_file()}


def test_it_writes_results_report_and_figures(finished):
    out, done = finished
    assert {"results.nc", "report.html", "time_against_momentum.png", "collapse.png", "exponent.png"} <= set(files(out))
    summary = json.loads(done.stdout)
    assert len(summary["learning_rates"]) == 3
    assert set(summary["learning_rates"][0]["methods"]) == {"effective loss", "closed form", "lr^(2/3)", "measured fit"}
    assert set(MOVED) | set(BASELINES) < set(summary["worst_regret"])
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert " ".join(["sde-momentum validate matrix-sensing --profile quick --seed 0", *LR, *SIZE]) in page
    assert not re.search(r"""(src|srcset)=["']?http|<link|<script|@import|url\(""", page)  # nothing is fetched
    assert '<a href="https://arxiv.org/abs/2210.16400">' in page


def test_results_carry_dims_units_and_the_configuration(finished):
    data = xr.load_dataset(finished[0] / "results.nc", engine="h5netcdf")
    assert data["test_error"].dims == ("lr", "momentum", "seed", "time")
    for name in ("test_error", "trace_hessian", "train_loss", "convergence_time", "one_minus_beta", "step", "lr", "diverged"):
        assert data[name].attrs["units"] in ("1", "steps"), name
    assert json.loads(data.attrs["configuration"])["n_seeds"] == 4
    assert data.attrs["torch_difference"] < 1e-9


def test_results_make_a_momentum_rule(finished):
    rule = sm.MomentumRule.from_sweep(xr.load_dataset(finished[0] / "results.nc", engine="h5netcdf"))
    plain = json.loads(finished[1].stdout)["fits"][0]
    for lr in (0.05, 0.1):
        expected = plain["prefactor"]["value"] * lr ** plain["exponent"]["value"]
        assert rule.one_minus_beta(lr) == pytest.approx(expected, rel=1e-12)


@pytest.mark.usefixtures("unwritten")
def test_a_finished_sweep_is_not_run_again_and_any_number_of_workers_gives_the_same(finished, tmp_path, call):
    out = finished[0]
    before = files(out)
    assert call("validate", "matrix-sensing", *SMALL, "--out", out, "--resume")[0] == 0
    after = files(out)
    kept = [name for name in before if name.startswith(("runs", "predictions", "configuration"))]
    assert len(kept) == 3 * 15 + 3 + 1
    assert all(before[name] == after[name] for name in kept)
    assert call("validate", "matrix-sensing", *SMALL[:-1], "1", "--out", tmp_path / "one")[0] == 0
    assert (tmp_path / "one" / "results.nc").read_bytes() == (out / "results.nc").read_bytes()


def test_report_draws_finished_results_again(finished, call):
    out, done = finished
    before = (out / "report.html").read_bytes()
    status, text, error = call("report", out, "--json")
    assert status == 0, error
    assert json.loads(text) == json.loads(done.stdout)
    assert (out / "report.html").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--profile", "huge"], "--profile: given huge; allowed: quick, full"),
        (["--lr", "-1", "--lr", "0.1", "--lr", "0.2"], "--lr: given -1.0; allowed: finite numbers > 0"),
        (["--lr", "0.1"], "--lr: given 1 learning rates; allowed: at least 3, for the fit"),
        (["--lr", "0.1", "--lr", "0.2", "--lr", "9"], "lr: given 9; allowed: below 0.1519, the stability limit"),
        (["--seeds", "1"], "--seeds: given 1; allowed: a whole number >= 2"),
        (["--seed", "4294967296"], "--seed: given 4294967296; allowed: a whole number from 0 to 2^32 - 1 = 4294967295"),
        (["--workers", "0"], "--workers: given 0; allowed: a whole number >= 1, or -1 for every core"),
        (["--label-noise", "0"], "--label-noise: given 0.0; allowed: finite numbers > 0"),
        (["--metric", "speed"], "metric: given speed; allowed: train_loss, test_error"),
        (["--metric", "trace_hessian"], "fraction: given 0.1; allowed: more than 0.14"),
        (["--rank", "9"], "rank: given 9; allowed: a whole number from 1 to d = 8"),
    ],
)
def test_bad_input_is_one_line_and_status_2_and_nothing_is_written(tmp_path, call, arguments, message):
    out = tmp_path / "out"
    status, _, error = call("validate", "matrix-sensing", *arguments, "--out", out)
    assert status == 2
    assert error.startswith(f"sde-momentum: {message}")
    assert error.count("\n") == 1
    assert not out.exists()


def test_a_folder_of_another_configuration_is_left_alone(finished, call):
    out = finished[0]
    before = files(out)
    status, _, error = call("validate", "matrix-sensing", *SMALL, "--seed", "5", "--out", out, "--resume")
    assert (status, error.count("\n")) == (2, 1)
    assert "a folder with seed = 0; allowed: a folder with seed = 5, or a new one" in error
    assert files(out) == before


def test_a_run_in_anothers_place_is_refused(finished, tmp_path, call):
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    shutil.copy(tmp_path / "runs" / "lr00-momentum00-seed00000.npz", tmp_path / "runs" / "lr00-momentum10-seed00000.npz")
    status, _, error = call("validate", "matrix-sensing", *SMALL, "--out", tmp_path, "--resume")
    assert (status, error.count("\n")) == (2, 1)
    assert "lr00-momentum10-seed00000.npz; allowed: the file of the runs that its name says; delete it to compute it" in error


@pytest.mark.usefixtures("blank")
@pytest.mark.parametrize("content", [None, "null", "[1]", '"{"', "{"])
def test_a_lost_configuration_is_restored_from_whole_results(finished, tmp_path, call, content):
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    file = tmp_path / "configuration.json"
    before = file.read_bytes()
    file.unlink() if content is None else file.write_text(content)
    status, text, error = call("report", tmp_path, "--json")
    assert (status, json.loads(text)["fits"]) == (0, json.loads(finished[1].stdout)["fits"]), error
    if content is None:
        assert call("validate", "matrix-sensing", *SMALL, "--out", tmp_path, "--resume")[0] == 0
        assert file.read_bytes() == before


@pytest.mark.usefixtures("blank")
@pytest.mark.parametrize("attribute", ["configuration", "versions"])
def test_results_with_a_damaged_attribute_are_refused_in_one_line(finished, tmp_path, call, attribute):
    for value in ("null", "[1]", '"{"', "{", '{"start": "nowhere"}'):
        data = xr.load_dataset(finished[0] / "results.nc", engine="h5netcdf").assign_attrs({attribute: value})
        data.to_netcdf(tmp_path / "results.nc", engine="h5netcdf")
        status, _, error = call("report", tmp_path)
        assert (status, error.count("\n")) in ((0, 0), (2, 1)), error
        assert attribute == "versions" or status == 2


def test_a_corrupt_results_file_is_named(finished, tmp_path, call):
    content = (finished[0] / "results.nc").read_bytes()
    (tmp_path / "results.nc").write_bytes(content[: len(content) // 3])
    status, _, error = call("report", tmp_path)
    assert (status, error.count("\n")) == (2, 1)
    assert "results: given" in error
    assert "allowed: a readable results file" in error
    assert [file.name for file in tmp_path.iterdir()] == ["results.nc"]


def test_debug_shows_the_traceback(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["sde-momentum", "--debug", "validate", "matrix-sensing", "--profile", "huge"])
    with pytest.raises(InputError):
        cli.main()
