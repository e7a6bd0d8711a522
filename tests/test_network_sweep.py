"""A sweep on a network: the same results on every engine, after a stop, with a worker killed; its summary; bad input."""

from __future__ import annotations

import html
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import torch
import xarray as xr
from distributed import LocalCluster
from typer.testing import CliRunner

from derivations.page.notation import typeset
from sde_momentum.core.errors import InputError
from validation import store
from validation.baselines import KEPT
from validation.cli import app
from validation.networks import sweep as sweeps
from validation.networks.block import Block, train
from validation.networks.course import Course
from validation.networks.plan import EFFECTIVE, TRANSFER, times
from validation.networks.report import checks, findings
from validation.networks.summary import FASTEST, Summary
from validation.networks.sweep import RUNS
from validation.networks.task import METRICS
from validation.registry import experiments
from validation.report import write
from validation.runner import Engine
from validation.runner import run as run_experiment
from validation.shares import heard_by
from validation.store import RESULTS

TEACHER_STUDENT = experiments()["teacher-student"]
SIZES = {"inputs": 4, "width": 8, "samples": 10}
TINY = {"lr": [0.05, 0.1, 0.2], "seeds": 3, "fraction": 0.5, "horizon": 800, "question": ["none"], "label_noise": 0.2, **SIZES}


@contextmanager
def silent(title, total):
    yield lambda amount: None


def run(folder, given=TINY, workers=1, dask=None):
    run_experiment(TEACHER_STUDENT, TEACHER_STUDENT.configuration(given), folder, Engine(workers, dask, silent))


def files(folder):
    return {path.name: path.read_bytes() for path in sorted((folder / RUNS).iterdir())}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    run(folder)
    return folder


def test_results_are_the_same_bytes_on_two_processes(finished, tmp_path):
    run(tmp_path, workers=2)
    assert files(tmp_path) == files(finished)
    assert (tmp_path / RESULTS).read_bytes() == (finished / RESULTS).read_bytes()


def test_on_dask_a_worker_killed_midway_changes_nothing(finished, tmp_path, monkeypatch):
    """Two worker processes; after the first finished chunk one of them is killed with all that it holds."""
    write_result, killed = store.write, []
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        pids = [worker.process.pid for worker in cluster.workers.values()]

        def write_and_kill(path, *result):
            write_result(path, *result)
            if path.parent.name == RUNS and path.name.startswith("sweep") and not killed:
                os.kill(pids[0], signal.SIGKILL)
                killed.append(pids[0])

        monkeypatch.setattr(store, "write", write_and_kill)
        monkeypatch.setattr(sweeps, "WIDTH", 1)  # more chunks than workers
        run(tmp_path, dask=cluster.scheduler_address)
    assert killed
    with xr.open_dataset(tmp_path / RESULTS) as cut, xr.open_dataset(finished / RESULTS) as whole:
        for name in ("last_step", "budget", "one_minus_beta"):
            np.testing.assert_array_equal(cut[name], whole[name])
        # Other stacks, other rounding; within a label-noise run of some hundred steps it stays small.
        np.testing.assert_allclose(cut["convergence_time"], whole["convergence_time"], rtol=1e-3)


def test_a_stopped_sweep_goes_on_from_finished_chunks(finished, tmp_path):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / RUNS).iterdir()}
    gone = sorted((tmp_path / RUNS).glob("sweep-*"))[0]
    gone.unlink()
    (tmp_path / RESULTS).unlink()
    run(tmp_path)
    assert files(tmp_path) == files(finished)
    assert {path for path, at in before.items() if path.stat().st_mtime_ns != at} == {gone}
    assert (tmp_path / RESULTS).read_bytes() == (finished / RESULTS).read_bytes()


def test_a_broken_file_is_named_before_the_work_starts(finished, tmp_path):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    broken = sorted((tmp_path / RUNS).glob("sweep-*"))[1]
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(InputError, match=broken.name):
        run(tmp_path)


def block(tmp_path=None, configuration=None, **changes):
    configuration = configuration or TEACHER_STUDENT.configuration(TINY)
    task = TEACHER_STUDENT.build(configuration)
    start = {name: value.numpy() for name, value in task.network.initial(0).items()}
    fields = {
        "lr": 0.1,
        "one_minus_beta": (0.1, 0.5),
        "seeds": (0, 1),
        "records": tuple(range(0, 101, 10)),
        "level": 0.0,
        "loss_level": float("inf"),
        "least": 0,
        "checkpoint": None if tmp_path is None else tmp_path / "checkpoint.npz",
    }
    return Block(TEACHER_STUDENT.build, configuration, start, **(fields | changes))


def test_a_block_taken_up_from_its_checkpoint_ends_the_same(tmp_path, monkeypatch):
    from validation.networks import block as blocks

    whole = train(block())
    saved = []
    write_arrays = blocks.write_arrays

    def keep_the_third(path, *state):
        if len(saved) < 3:
            write_arrays(path, *state)
        saved.append(path)

    monkeypatch.setattr(blocks, "_CHECKPOINT", 0.0)
    monkeypatch.setattr(blocks, "_PAUSE", 0.0)
    monkeypatch.setattr(blocks, "write_arrays", keep_the_third)
    train(block(tmp_path))
    assert len(saved) > 5
    left, shares = block(tmp_path).left, []
    assert left == 0.8 * block().cost  # the third record is that of step 20 of 100
    with heard_by(shares.append):
        again = train(block(tmp_path))  # from the third record's checkpoint on
    np.testing.assert_allclose(shares, np.arange(1, 8) / 8)  # of what was left, until all runs end
    for name, value in whole.items():
        np.testing.assert_array_equal(value, again[name])
    other, alone = train(block(tmp_path, lr=0.05)), train(block(lr=0.05))  # it is no checkpoint of theirs
    np.testing.assert_array_equal(other["values"], alone["values"])


def test_learning_rates_that_differ_have_files_that_do(tmp_path):
    sweep = sweeps.Sweep(TEACHER_STUDENT, TEACHER_STUDENT.configuration(TINY), tmp_path)
    chunks = sweep._chunks([block(lr=0.1), block(lr=0.10000001), block(lr=1e-5)], "sweep")
    assert [chunk.file for chunk in chunks] == [f"{RUNS}/sweep-lr{lr}-seed0.npz" for lr in ("0.1", "0.10000001", "1e-05")]


def test_a_run_in_a_stack_is_what_it_is_alone_and_ends_are_kept():
    level = 1e9  # everything has arrived at once: runs end at the first record past `least`
    both = train(block(level=level, least=50))
    assert (both["last"] == 50).all()
    values = both["values"]
    after = list(range(0, 101, 10)).index(50)
    assert np.isnan(values[list(METRICS).index("test_accuracy")]).all()
    assert np.array_equal(values[0, ..., after:], np.broadcast_to(values[0, ..., after, None], values[0, ..., after:].shape))
    alone = train(block(one_minus_beta=(0.5,), seeds=(1,)))
    np.testing.assert_allclose(alone["values"][0, 0, 0], train(block())["values"][0, 1, 1], rtol=1e-4)


def test_a_diverging_run_is_infinite_from_then_on_and_does_not_stop_the_others():
    one = block(lr=30.0, one_minus_beta=(1.0,), level=1.0)
    found = train(one)
    trace = found["values"][list(METRICS).index("trace_hessian")]
    assert np.isinf(trace[..., -1]).all()
    assert np.isinf(times(one, found)).all()


def test_times_are_those_after_which_both_levels_are_kept():
    one = block(level=2.0, loss_level=3.0)
    values = np.full((len(METRICS), 2, 2, 11), 1.0, dtype=np.float32)
    names = list(METRICS)
    values[names.index("trace_hessian"), 0, 0, :4] = 8.0  # above until step 30
    values[names.index("train_loss"), 0, 1, :7] = 12.0  # above until step 60
    values[names.index("trace_hessian"), 1, 0] = 8.0  # never
    found = times(one, {"values": values})
    assert 30 < found[0, 0] < 40
    assert 60 < found[0, 1] < 70
    assert np.isinf(found[1, 0])
    assert found[1, 1] < 10  # what starts below its level counts from the first record


def adopt(finished, folder, given):
    """Copy a finished sweep to one of another configuration, of which its runs are a part."""
    shutil.copytree(finished, folder, dirs_exist_ok=True)
    for path in (file for file in folder.rglob("*") if file.suffix in (".npz", ".json", ".nc")):
        identity, value = store._whole(path)
        said = json.loads(identity) | {"configuration": TEACHER_STUDENT.configuration(given)}
        store.write(path, value, json.dumps(said))


def test_summary_and_report_say_what_the_sweep_says(finished, tmp_path, capsys):
    adopt(finished, tmp_path, {**TINY, "question": ["nesterov"]})
    (tmp_path / RESULTS).unlink()
    run(tmp_path, {**TINY, "question": ["nesterov"]})
    results = TEACHER_STUDENT.results(tmp_path)
    summary = Summary(results.main)
    assert list(results.asked) == ["nesterov"]
    report = TEACHER_STUDENT.report(results)
    write(report, tmp_path)
    plain = json.loads(json.dumps(report.summary))
    optima = summary.optima[FASTEST]
    for i, row in enumerate(plain["learning_rates"]):
        assert row[FASTEST]["one_minus_beta"]["value"] == pytest.approx(optima.optimum(i).value)
        for rule in row[FASTEST]["rules"].values():
            assert not rule["regret"]["value"] < 1 - 1e-9
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for text in (*map(typeset, findings(summary)), "Nesterov", html.escape(TEACHER_STUDENT.command(summary.configuration))):
        assert text in page
    assert any(row[0].startswith("training starts") and row[2] == "holds" for row in checks(summary))


def test_the_course_is_compared_as_long_as_all_runs_go_on(finished):
    results = TEACHER_STUDENT.results(finished)
    found = Course(results.course, results.main)
    assert found.lr == 0.1
    lr, first = int(np.flatnonzero(results.main["lr"].values == 0.1)[0]), results.main["step"].values[1]
    column = int(np.flatnonzero(results.main["one_minus_beta"].values[lr] == found.one_minus_beta[2])[0])
    runs = results.main["trace_hessian"].values[lr, column].astype(float)
    going = (first >= 0) & (first <= results.main["last_step"].values[lr, column].min())
    mean, error = found.measured("trace_hessian", 2)
    np.testing.assert_allclose(mean, runs[:, going].mean(axis=0))
    np.testing.assert_allclose(error, runs[:, going].std(axis=0, ddof=1) / np.sqrt(3))
    assert found.expected("trace_hessian", 2)[0] == pytest.approx(mean[0], rel=1e-3)
    # one wrong value is where the courses are farthest
    wrong = results.course.copy(deep=True)
    wrong["trace_hessian"][2, 4] = mean[4] + 3 * mean[0]
    farthest = Course(wrong, results.main).farthest("trace_hessian", 2)
    assert (farthest.value, farthest.step) == (pytest.approx(3.0, rel=1e-3), first[4])
    # until the first of them diverges, whether or not its values come back
    wrong["test_loss"][2, 4] = np.inf
    assert np.flatnonzero(Course(wrong, results.main).steps(2)).tolist() == [0, 1, 2, 3]


LOOK = {"one_minus_beta": [0.01, 0.02, 0.04], "time": [None, 300.0, 100.0], "best_time": 100.0}


@pytest.mark.parametrize(("value", "costs"), [(0.04, 1.0), (0.02, 3.0), (np.sqrt(0.02 * 0.04), np.sqrt(3)), (0.015, np.inf)])
def test_a_momentum_is_checked_by_the_trials_of_the_first_look(finished, value, costs):
    data = TEACHER_STUDENT.results(finished).main.copy(deep=True)
    data.attrs["look"] = json.dumps(LOOK)
    data["predicted_optimum"].loc[{"method": EFFECTIVE}] = value
    summary = Summary(data)
    assert summary.checked(EFFECTIVE) == pytest.approx(costs)
    said = [line for line in findings(summary) if line.startswith("Effective loss")]
    assert ("not safe" in said[0]) == (costs > 1.15)


def test_the_kept_momentum_and_test_metrics_at_the_fastest_and_the_least(finished):
    """A made-up sweep on the stored grid: exact times, and a test loss that tells momenta and seeds apart."""
    data = TEACHER_STUDENT.results(finished).main.copy(deep=True)
    delta, best = data["one_minus_beta"].values, data["predicted_optimum"].sel({"method": TRANSFER}).values
    k = int(np.abs(np.log(delta[0] / best[0])).argmin())
    longer = np.abs(np.log(delta / delta[:, [k]]))
    data["convergence_time"][:] = 100 * np.exp(longer)[..., None]
    data["test_loss"][:] = (np.arange(delta.shape[1])[:, None] + [1.0, 2.0, 6.0])[None, ..., None]
    summary = Summary(data)
    for i in range(len(best)):
        found, at_least = summary.regret(FASTEST, KEPT, i)
        x, y = np.log(delta[i]), longer[i]
        assert found.value == pytest.approx(np.exp(np.interp(np.log(best[-1]), x, y)))
        assert at_least == (best[-1] > delta[i, -1])
    last = delta.shape[1] - 1
    measured = summary.test_metrics["test loss"]
    expected = {"fastest": k + 3, "least": last + 3, "difference": k - last}
    assert {which: one.value for which, one in measured.items()} == pytest.approx(expected)
    assert measured["least"].standard_error == pytest.approx(np.sqrt(7 / 3))  # of 1, 2, 6
    assert measured["difference"].standard_error == pytest.approx(0, abs=1e-12)  # seeds are shared
    assert measured["least"].high - measured["least"].value == pytest.approx(4.303 * np.sqrt(7 / 3), rel=1e-3)
    assert "test accuracy" not in summary.test_metrics  # it has no classes
    assert summary.over_fastest == pytest.approx(delta[:, -1] / delta[:, k])
    data["convergence_time"][:] = 100 / delta[..., None]
    assert Summary(data).test_metrics == {}  # the fastest is the least


def test_a_question_that_fails_says_why_and_ends_alone(finished, tmp_path, monkeypatch, capsys):
    adopt(finished, tmp_path, {**TINY, "question": ["nesterov", "noisy-fit"]})
    look = sweeps.planning.look

    def fails(found, lr):
        if found[0][0].configuration["nesterov"]:
            raise InputError("--lr", lr, "a smaller one: every run diverges, at any momentum")
        return look(found, lr)

    monkeypatch.setattr(sweeps.planning, "look", fails)
    run(tmp_path, {**TINY, "question": ["nesterov", "noisy-fit"]})
    assert capsys.readouterr().err == "nesterov: --lr: given 0.2; allowed: a smaller one: every run diverges, at any momentum\n"
    assert [path.parent.name for path in tmp_path.glob("questions/*/results.nc")] == ["noisy-fit"]


def test_the_command_reproduces_the_configuration():
    given = {
        "profile": "full",
        "lr": [0.1, 0.2, 0.3],
        "nesterov": True,
        "question": ["none"],
        "width": 8,
        "critical_limit": False,
    }
    words = TEACHER_STUDENT.command(TEACHER_STUDENT.configuration(given)).split()
    assert words[:3] == ["sde-momentum", "validate", "teacher-student"]
    assert "--nesterov" in words
    assert "--no-critical-limit" in words
    assert words[words.index("--width") + 1] == "8"
    assert words[words.index("--question") + 1] == "none"
    assert [words[i + 1] for i, word in enumerate(words) if word == "--lr"] == ["0.1", "0.2", "0.3"]


BAD = [
    ({"profile": "huge"}, "--profile: given huge; allowed: quick, full, small-lr, paper"),
    ({"lr": [0.1, 0.2]}, "--lr: given 2 learning rates"),
    ({"start": "flat"}, "--start: given flat"),
    ({"fraction": 1.5}, "--fraction"),
    ({"precision": "half"}, "--precision: given half"),
    ({"question": ["why"]}, "--question: given why"),
    ({"seeds": 1}, "--seeds: given 1"),
    ({"label_noise": -1.0}, "--label-noise"),
]


@pytest.mark.parametrize(("given", "message"), BAD)
def test_bad_options_are_told_in_one_line(given, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        TEACHER_STUDENT.configuration(given)


def test_the_command_line_refuses_in_one_line(tmp_path):
    program = "from sde_momentum.commands.main import main; main()"
    words = [sys.executable, "-c", program, "validate", "teacher-student", "--width", "0", "--out", str(tmp_path / "out")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "--width: given 0" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


REFUSED = [
    ("teacher-student", ["--batch-size", "1000"], "--batch-size"),
    ("teacher-student", ["--device", "tpu"], "--device"),
    ("teacher-student", ["--workers", "0"], "--workers"),
    ("mlp-fashionmnist", ["--data", "nowhere"], "--data"),
    ("mlp-fashionmnist", ["--loss", "hinge"], "--loss"),
    ("resnet18-cifar10", ["--images", "100000"], "--images"),
]


def test_only_experiments_on_images_take_a_folder_of_images():
    taking = [name for name, one in experiments().items() if "data" in {option.name for option in one.options}]
    assert taking == ["mlp-fashionmnist", "resnet18-cifar10", "recipes"]


@pytest.mark.parametrize(("name", "arguments", "message"), REFUSED)
def test_a_command_refuses_before_anything_is_written(name, arguments, message, tmp_path, monkeypatch):
    monkeypatch.delenv("SDE_MOMENTUM_DATA", raising=False)
    result = CliRunner().invoke(app, [name, *arguments, "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_without_a_data_folder_the_images_are_digits(monkeypatch):
    monkeypatch.delenv("SDE_MOMENTUM_DATA", raising=False)
    resnet = experiments()["resnet18-cifar10"]
    task = resnet.build(resnet.configuration({"images": 20, "test_images": 10, "width": 1}))
    assert "digits" in task.source
    assert task.network.forward(task.network.initial(0), task.inputs).shape == (1, 20, 10)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda_runs_are_those_of_the_cpu_to_rounding(tmp_path):
    there = train(block(configuration={**TEACHER_STUDENT.configuration(TINY), "device": "cuda"}))
    np.testing.assert_allclose(there["values"][0], train(block())["values"][0], rtol=1e-2)
