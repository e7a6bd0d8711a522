"""The command `sde-momentum phase-diagram`, as a user runs it: the files it writes, its numbers, what it refuses."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import xarray as xr

import sde_momentum as sm
from sde_momentum.commands import main as cli

pytest.importorskip("matplotlib")

NUMBERS = ["--noise", "1e-3", "--curvature", "2", "--eigenvalue", "0.5", "--eigenvalue", "2", "--coupling", "5"]
SMALL = {"d": 6, "rank": 1, "n_measurements": 20, "label_noise": 0.2, "metric": "test_error", "fraction": 0.1, "nesterov": False}


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """The command in this process and a folder of its own: call(*arguments) gives (exit status, output, error)."""
    monkeypatch.chdir(tmp_path)

    def run_here(*arguments):
        monkeypatch.setattr(sys, "argv", ["sde-momentum", "phase-diagram", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return (stop.value.code or 0, *capsys.readouterr())

    return run_here


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A results file as `validate matrix-sensing` writes it, with a known optimum 0.1 lr^(2/3)."""
    lr, ratio = np.array([1e-3, 1e-2, 1e-1]), np.geomspace(0.4, 4, 9)
    best = 0.1 * lr ** (2 / 3)
    noise = 0.1 * np.random.default_rng(0).standard_normal((3, 9, 16))
    times = np.exp(np.log(ratio)[None, :, None] ** 2 + noise) / best[:, None, None]
    data = xr.Dataset(
        {
            "convergence_time": (("lr", "momentum", "seed"), times),
            "predicted_time": (("lr", "momentum"), times.mean(axis=-1)),
            "predicted_optimum": (("method", "lr"), [1.1 * best, 1.2 * best]),
        },
        coords={
            "lr": lr,
            "one_minus_beta": (("lr", "momentum"), best[:, None] * ratio),
            "method": ["effective loss", "closed form"],
        },
        attrs={"configuration": json.dumps(SMALL)},
    )
    file = tmp_path_factory.mktemp("results") / "results.nc"
    data.to_netcdf(file, engine="h5netcdf")
    return file, best


@pytest.mark.parametrize(("name", "magic"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")])
def test_it_draws_in_each_format_twice_the_same(call, tmp_path, name, magic):
    status, text, error = call(*NUMBERS, "--out", name)
    assert (status, error) == (0, "")
    assert f"drawn: {name}" in text
    first = (tmp_path / name).read_bytes()
    assert first.startswith(magic)
    call(*NUMBERS, "--out", name)
    assert (tmp_path / name).read_bytes() == first
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_json_has_the_lines_of_the_diagram(call):
    printed = json.loads(call(*NUMBERS, "--weight-decay", "1e-4", "--fraction", "0.04", "--json")[1])
    diagram = sm.PhaseDiagram(1e-3, 2.0, [0.5, 2.0], coupling=5.0, explicit_curvature=1e-4, target=0.2)
    lr = printed["lr"]
    assert (lr[0], lr[-1]) == (pytest.approx(1e-5), pytest.approx(1.0))
    np.testing.assert_allclose(printed["optimum"], diagram.optimum(lr))
    np.testing.assert_allclose(printed["optimum_high"], diagram.critical.one_minus_beta(lr))
    np.testing.assert_allclose(printed["edge"], diagram.edge(lr))
    np.testing.assert_allclose(printed["stable_lr"]["lr"], diagram.stable_lr(printed["stable_lr"]["one_minus_beta"]))
    assert printed["regimes"][-1] == "unstable normal"


def test_the_numbers_behind_the_picture_are_saved(call, tmp_path):
    call(*NUMBERS, "--data", "d.nc", "--nesterov", "--lr-min", "0.001", "--lr-max", "0.1")
    data = xr.load_dataset(tmp_path / "d.nc", engine="h5netcdf")
    given = sm.PhaseDiagram(1e-3, 2.0, [0.5, 2.0], coupling=5.0, target=np.sqrt(0.1), nesterov=True)
    np.testing.assert_allclose(data["lr"][[0, -1]], [1e-3, 0.1])
    xr.testing.assert_allclose(data, given.dataset(data["lr"].values))
    assert (tmp_path / "phase-diagram.png").exists()


def test_a_results_file_says_which_problem_and_its_optima_are_shown(call, tmp_path, results):
    file, best = results
    status, text, error = call("--results", file, "--json", "--data", "d.nc")
    assert status == 0, error
    printed = json.loads(text)
    problem = sm.MatrixSensing(6, 1, 20)
    predictor = sm.EffectiveLossPredictor(problem, problem.interpolating_start(), 0.04 / 20)
    np.testing.assert_allclose(printed["optimum"], predictor.closed_form.one_minus_beta(printed["lr"]))
    assert printed["lr"][0] == pytest.approx(5e-4)
    measured = printed["measured"]
    # 16 seeds, 10 % spread each: the optimum of (ln ratio)^2 is found within 20 %, and the interval is around it
    np.testing.assert_allclose(measured["measured"], best, rtol=0.2)
    assert np.all(np.array(measured["measured_low"]) < measured["measured"])
    assert np.all(np.array(measured["measured_high"]) > measured["measured"])
    np.testing.assert_allclose(measured["recommended"]["effective loss"], 1.1 * best)
    stored = xr.load_dataset(tmp_path / "d.nc", engine="h5netcdf")
    np.testing.assert_array_equal(stored["measured"], measured["measured"])


def test_a_valley_is_drawn_as_any_problem_and_its_edge_is_named(call):
    words = ("--problem", "valley", "--curvature", "2", "--coupling", "3")
    printed = json.loads(call(*words, "--json")[1])
    valley = sm.Valley.balanced(32, 2.0, 3.0)
    predictor = sm.EffectiveLossPredictor(valley, valley.start(2.5), sm.LabelNoiseSGD(valley, 0.1).noise)
    diagram = sm.PhaseDiagram.of_predictor(predictor)
    assert printed["settings"]["edge_kappa"] == diagram.edge_kappa
    np.testing.assert_array_equal(printed["optimum"], diagram.optimum(printed["lr"]))
    assert "stay above the edge" in call("--problem", "valley", "--coupling", "3")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--noise", "1e-3"], "--curvature: given nothing; allowed: a value: mu, second derivative of tr H"),
        (["--curvature", "2"], "--curvature: given 2.0; allowed: not with --problem matrix-sensing, only with --noise"),
        (["--problem", "network"], "--problem: given network; allowed: matrix-sensing, valley"),
        (
            ["--problem", "valley", "--rank", "2"],
            "--rank: given 2; allowed: not with --problem valley, only with",
        ),
        (
            ["--problem", "valley", "--noise", "1"],
            "--noise: given 1.0; allowed: not with --problem valley, only",
        ),
        ([*NUMBERS, "--d", "4"], "--d: given 4; allowed: not with --noise, --curvature and --eigenvalue, only with"),
        ([*NUMBERS, "--out", "picture.bmp"], "--out: given picture.bmp; allowed: a file that ends in .png, .svg, .pdf"),
        ([*NUMBERS, "--out", "no/where.png"], "--out: given no/where.png; allowed: a file in a folder that exists"),
        ([*NUMBERS, "--data", "no/where.nc"], "--data: given no/where.nc; allowed: a file in a folder that exists"),
        ([*NUMBERS, "--data", "phase-diagram.png"], "--data: given phase-diagram.png; allowed: another file than --out"),
        ([*NUMBERS, "--lr-min", "1", "--lr-max", "0.1"], "--lr-max: given 0.1; allowed: more than --lr-min = 1"),
        ([*NUMBERS, "--lr-min", "-1"], "--lr-min: given -1.0; allowed: finite numbers > 0"),
        ([*NUMBERS, "--fraction", "2"], "fraction: given 2.0; allowed"),
        ([*NUMBERS, "--band", "-1"], "band: given -1.0; allowed: finite numbers > 0"),
        (["--rank", "9"], "rank: given 9; allowed: a whole number from 1 to d = 8"),
        (["--label-noise", "0"], "--label-noise: given 0.0; allowed: finite numbers > 0"),
        (["--results", "nothing.nc"], "results: given nothing.nc; allowed: a readable results file"),
    ],
)
def test_bad_input_is_one_line_and_status_2_and_nothing_is_written(call, tmp_path, arguments, message):
    status, text, error = call(*arguments)
    assert (status, text) == (2, "")
    assert error.startswith(f"sde-momentum: {message}")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--d", "5"], "--d: given 5; allowed: 6, as in --results"),
        (["--noise", "1"], "--results: given "),
        (["--problem", "valley"], "--problem: given valley; allowed: matrix-sensing, as in --results"),
        (["--nesterov"], "--nesterov: given True; allowed: False, as in --results"),
    ],
)
def test_options_that_contradict_the_results_are_refused(call, tmp_path, results, arguments, message):
    status, _, error = call("--results", results[0], *arguments)
    assert (status, error.count("\n")) == (2, 1)
    assert error.startswith(f"sde-momentum: {message}")
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_it_says_what_to_install(call, monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib" or name.startswith("sde_momentum.figures")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delattr("sde_momentum.figures", raising=False)
    status, _, error = call(*NUMBERS)
    assert (status, error.count("\n")) == (1, 1)
    assert "phase-diagram needs matplotlib" in error
    assert not list(tmp_path.iterdir())
