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
import typer
import xarray as xr
from distributed import LocalCluster
from typer.testing import CliRunner

from sde_momentum.core.errors import InputError
from validation.mlp_fashionmnist import MLP_FASHIONMNIST
from validation.networks import experiment as sweeps
from validation.networks.chunk import Chunk, train
from validation.networks.command import command as network_command
from validation.networks.definition import Options, command
from validation.networks.experiment import RESULTS, RUNS, Experiment
from validation.networks.plan import times
from validation.networks.report import checks, findings, write
from validation.networks.summary import FASTEST, Summary
from validation.networks.task import METRICS
from validation.resnet18_cifar10 import RESNET18_CIFAR10
from validation.teacher_student import TEACHER_STUDENT

SIZES = {"inputs": 4, "width": 8, "samples": 10}
TINY = Options(lr=(0.05, 0.1, 0.2), n_seeds=3, fraction=0.5, horizon=800, questions=("nesterov",), label_noise=0.2, sizes=SIZES)


@contextmanager
def silent(what, total):
    yield lambda cost: None


def run(folder, options=TINY, definition=TEACHER_STUDENT, **engine):
    experiment = Experiment(definition, options.configuration(definition), folder)
    experiment.prepare()
    experiment.run({"workers": 1, "dask": None, **engine}, silent)
    return experiment


def files(folder):
    return {path.name: path.read_bytes() for path in sorted((folder / RUNS).iterdir())}


def copy_of(finished, folder):
    experiment, source = finished
    shutil.copytree(source, folder, dirs_exist_ok=True)
    return Experiment(TEACHER_STUDENT, experiment.configuration, folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    return run(folder), folder


def test_results_are_the_same_bytes_on_two_processes(finished, tmp_path):
    run(tmp_path, workers=2)
    assert files(tmp_path) == files(finished[1])
    assert (tmp_path / RESULTS).read_bytes() == (finished[1] / RESULTS).read_bytes()


def test_on_dask_a_worker_killed_midway_changes_nothing(finished, tmp_path, monkeypatch):
    """Two worker processes; after the first finished chunk one of them is killed with all that it holds."""
    write_arrays, killed = sweeps.write_arrays, []
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        pids = [worker.process.pid for worker in cluster.workers.values()]

        def write_and_kill(path, **arrays):
            write_arrays(path, **arrays)
            if path.parent.name == RUNS and path.name.startswith("sweep") and not killed:
                os.kill(pids[0], signal.SIGKILL)
                killed.append(pids[0])

        monkeypatch.setattr(sweeps, "write_arrays", write_and_kill)
        monkeypatch.setattr(sweeps, "WIDTH", 1)  # more chunks than workers
        run(tmp_path, dask=cluster.scheduler_address)
    assert killed
    with xr.open_dataset(tmp_path / RESULTS) as cut, xr.open_dataset(finished[1] / RESULTS) as whole:
        for name in ("last_step", "budget", "one_minus_beta"):
            np.testing.assert_array_equal(cut[name], whole[name])
        # Other stacks, other rounding; within a label-noise run of some hundred steps it stays small.
        np.testing.assert_allclose(cut["convergence_time"], whole["convergence_time"], rtol=1e-3)


def test_a_stopped_sweep_goes_on_from_finished_chunks(finished, tmp_path):
    _, whole = finished
    experiment = copy_of(finished, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / RUNS).iterdir()}
    gone = sorted((tmp_path / RUNS).glob("sweep-*"))[0]
    gone.unlink()
    (tmp_path / RESULTS).unlink()
    experiment.run({"workers": 1, "dask": None}, silent)
    assert files(tmp_path) == files(whole)
    assert {path for path, at in before.items() if path.stat().st_mtime_ns != at} == {gone}


def test_a_broken_file_is_named_before_the_work_starts(finished, tmp_path):
    experiment = copy_of(finished, tmp_path)
    broken = sorted((tmp_path / RUNS).glob("sweep-*"))[1]
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(InputError, match=broken.name):
        experiment.run({"workers": 1, "dask": None}, silent)


def chunk(tmp_path=None, configuration=None, **changes):
    configuration = configuration or TINY.configuration(TEACHER_STUDENT)
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
    return Chunk(TEACHER_STUDENT.build, configuration, start, **(fields | changes))


def test_a_chunk_taken_up_from_its_checkpoint_ends_the_same(tmp_path, monkeypatch):
    from validation.networks import chunk as chunks

    whole = train(chunk())
    saved = []
    write_arrays = chunks.write_arrays

    def keep_the_third(path, **arrays):
        if len(saved) < 3:
            write_arrays(path, **arrays)
        saved.append(path)

    monkeypatch.setattr(chunks, "_CHECKPOINT", 0.0)
    monkeypatch.setattr(chunks, "_PAUSE", 0.0)
    monkeypatch.setattr(chunks, "write_arrays", keep_the_third)
    train(chunk(tmp_path))
    assert len(saved) > 5
    again = train(chunk(tmp_path))  # from the third record's checkpoint on
    for name, value in whole.items():
        np.testing.assert_array_equal(value, again[name])


def test_a_run_in_a_stack_is_what_it_is_alone_and_ends_are_kept():
    level = 1e9  # everything has arrived at once: runs end at the first record past `least`
    both = train(chunk(level=level, least=50))
    assert (both["last"] == 50).all()
    values = both["values"]
    after = list(range(0, 101, 10)).index(50)
    assert np.isnan(values[list(METRICS).index("test_accuracy")]).all()
    assert np.array_equal(values[0, ..., after:], np.broadcast_to(values[0, ..., after, None], values[0, ..., after:].shape))
    alone = train(chunk(one_minus_beta=(0.5,), seeds=(1,)))
    np.testing.assert_allclose(alone["values"][0, 0, 0], train(chunk())["values"][0, 1, 1], rtol=1e-4)


def test_a_diverging_run_is_infinite_from_then_on_and_does_not_stop_the_others():
    one = chunk(lr=30.0, one_minus_beta=(1.0,), level=1.0)
    found = train(one)
    trace = found["values"][list(METRICS).index("trace_hessian")]
    assert np.isinf(trace[..., -1]).all()
    assert np.isinf(times(one, found)).all()


def test_times_are_those_after_which_both_levels_are_kept():
    one = chunk(level=2.0, loss_level=3.0)
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


def test_summary_and_report_say_what_the_sweep_says(finished):
    experiment, folder = finished
    for _, question in experiment.questions():
        question.run({"workers": 1, "dask": None}, silent)
    summary = write(TEACHER_STUDENT, folder)
    assert isinstance(summary, Summary)
    plain = json.loads(json.dumps(summary.to_dict()))
    optima = summary.optima[FASTEST]
    for i, row in enumerate(plain["learning_rates"]):
        assert row[FASTEST]["one_minus_beta"]["value"] == pytest.approx(optima.optimum(i).value)
        for rule in row[FASTEST]["rules"].values():
            assert not rule["regret"]["value"] < 1 - 1e-9
    page = (folder / "report.html").read_text(encoding="utf-8")
    for text in (*findings(summary), "Nesterov", command(TEACHER_STUDENT, summary.configuration)):
        assert html.escape(text) in page
    assert any(row[0].startswith("training starts") and row[2] == "holds" for row in checks(summary))


def test_the_command_reproduces_the_configuration():
    options = Options(profile="full", lr=(0.1, 0.2, 0.3), nesterov=True, questions=(), sizes={"width": 8})
    words = command(TEACHER_STUDENT, options.configuration(TEACHER_STUDENT)).split()
    assert words[:3] == ["sde-momentum", "validate", "teacher-student"]
    assert "--nesterov" in words
    assert words[words.index("--width") + 1] == "8"
    assert words[words.index("--question") + 1] == "none"
    assert [words[i + 1] for i, word in enumerate(words) if word == "--lr"] == ["0.1", "0.2", "0.3"]


BAD = [
    ({"profile": "huge"}, "--profile: given huge; allowed: quick, full, paper"),
    ({"lr": (0.1, 0.2)}, "--lr: given 2 learning rates"),
    ({"start": "flat"}, "--start: given flat"),
    ({"fraction": 1.5}, "--fraction"),
    ({"precision": "half"}, "--precision: given half"),
    ({"questions": ("why",)}, "--question: given why"),
    ({"n_seeds": 1}, "--seeds: given 1"),
    ({"label_noise": -1.0}, "--label-noise"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_bad_options_are_told_in_one_line(changes, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        Options(**changes).configuration(TEACHER_STUDENT)


def test_the_command_line_refuses_in_one_line(tmp_path):
    program = "from sde_momentum.commands.main import main; main()"
    words = [sys.executable, "-c", program, "validate", "teacher-student", "--width", "0", "--out", str(tmp_path / "out")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "--width: given 0" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


REFUSED = [
    (TEACHER_STUDENT, ["--batch-size", "1000"], "--batch-size"),
    (TEACHER_STUDENT, ["--device", "tpu"], "--device"),
    (TEACHER_STUDENT, ["--workers", "0"], "--workers"),
    (MLP_FASHIONMNIST, ["--data", "nowhere"], "--data"),
    (MLP_FASHIONMNIST, ["--loss", "hinge"], "--loss"),
    (RESNET18_CIFAR10, ["--images", "100000"], "--images"),
]


@pytest.mark.parametrize(("definition", "arguments", "message"), REFUSED)
def test_a_command_refuses_before_anything_is_written(definition, arguments, message, tmp_path, monkeypatch):
    monkeypatch.delenv("SDE_MOMENTUM_DATA", raising=False)
    app = typer.Typer()
    app.command()(network_command(definition))
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_without_a_data_folder_the_images_are_digits(monkeypatch):
    monkeypatch.delenv("SDE_MOMENTUM_DATA", raising=False)
    options = Options(sizes={"images": 20, "test_images": 10, "width": 1})
    task = RESNET18_CIFAR10.build(options.configuration(RESNET18_CIFAR10))
    assert "digits" in task.source
    assert task.network.forward(task.network.initial(0), task.inputs).shape == (1, 20, 10)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda_runs_are_those_of_the_cpu_to_rounding(tmp_path):
    there = train(chunk(configuration={**TINY.configuration(TEACHER_STUDENT), "device": "cuda"}))
    np.testing.assert_allclose(there["values"][0], train(chunk())["values"][0], rtol=1e-2)
