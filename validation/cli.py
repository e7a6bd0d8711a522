"""The commands `sde-momentum validate` and `sde-momentum report`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from sde_momentum import __version__ as sm_version
from sde_momentum.core.errors import InputError
from sde_momentum.core.progress import track

from .mlp_fashionmnist import MLP_FASHIONMNIST
from .neighbours.command import neighbours, show_neighbours
from .networks.command import command as network_command
from .networks.command import write_report
from .networks.definition import Definition
from .resnet18_cifar10 import RESNET18_CIFAR10
from .running import check_workers, stop
from .store import CONFIGURATION, Folder, read_json, write_dataset
from .teacher_student import TEACHER_STUDENT

if TYPE_CHECKING:
    from .summary import Summary

app = typer.Typer(no_args_is_help=True, help="Test the predictions against training, and write table, figures and report.")

DEFINITIONS: tuple[Definition, ...] = (TEACHER_STUDENT, MLP_FASHIONMNIST, RESNET18_CIFAR10)

Out = Annotated[Path | None, typer.Option("--out", help="folder of the results [default: results/EXPERIMENT-PROFILE]")]
Json = Annotated[bool, typer.Option("--json", help="machine-readable summary on standard output")]
Workers = Annotated[int, typer.Option(help="threads; -1: every core")]


@app.command("matrix-sensing")
def matrix_sensing(
    profile: Annotated[str, typer.Option(help="quick (a minute or two) or full (tens of minutes)")] = "quick",
    out: Out = None,
    as_json: Json = False,
    seed: Annotated[int, typer.Option(help="of the label noise")] = 0,
    workers: Workers = -1,
    resume: Annotated[bool, typer.Option("--resume", help="go on where an interrupted run stopped")] = False,
    lr: Annotated[list[float] | None, typer.Option(help="learning rate, once for each [default: the profile's]")] = None,
    seeds: Annotated[int | None, typer.Option(help="runs for each (lr, momentum) [default: the profile's]")] = None,
    d: Annotated[int, typer.Option(help="the matrix is d x d")] = 8,
    rank: Annotated[int, typer.Option(help="of the hidden matrix")] = 1,
    measurements: Annotated[int, typer.Option(help="how many")] = 40,
    label_noise: Annotated[float, typer.Option(help="sigma")] = 0.1,
    metric: Annotated[str, typer.Option(help="test_error or trace_hessian")] = "test_error",
    fraction: Annotated[float, typer.Option(help="target: the metric stays below this fraction of its start")] = 0.1,
    nesterov: Annotated[bool, typer.Option("--nesterov", help="the look-ahead update")] = False,
) -> None:
    """Matrix sensing from an interpolating start: sweep lr and momentum, compare with every prediction."""
    from . import matrix_sensing as experiment
    from . import sweep
    from .summary import Summary

    options = experiment.Options(
        profile, tuple(lr) if lr else None, seeds, seed, d, rank, measurements, label_noise, metric, fraction, nesterov
    )
    check_workers(workers)
    path = out or Path("results") / f"{experiment.NAME}-{profile}"
    work, folder = experiment.open_folder(path, options, resume=resume)
    try:
        folder.begin()
        with track("predicting", len(work.configuration["lr"])) as report:
            plan = work.plan(path, workers, report)
        runs = work.sweep(plan)
        with track("training", sum(map(runs.cost, runs.chunks()))) as report:
            sweep.run(runs, path, workers, report)
        data = work.dataset(plan, path)
        write_dataset(data.assign_attrs(Summary(data).rule), path / experiment.RESULTS)
        summary = _write(path, path)
    except KeyboardInterrupt:
        stop("runs", path)
    _show(summary, path, as_json)


@app.command("predictions")
def predictions(
    profile: Annotated[str, typer.Option(help="quick (minutes) or full (an hour)")] = "quick",
    out: Out = None,
    as_json: Json = False,
    seed: Annotated[int, typer.Option(help="of the label noise")] = 0,
    workers: Workers = -1,
    resume: Annotated[bool, typer.Option("--resume", help="go on where an interrupted run stopped")] = False,
    case: Annotated[list[str] | None, typer.Option(help="problem, once for each [default: all]")] = None,
) -> None:
    """Every prediction against full simulation, on all built-in problems: regrets and times."""
    from . import predictions as experiment

    works = experiment.plan(profile, case, seed)
    check_workers(workers)
    path = out or Path("results") / f"{experiment.NAME}-{profile}"
    configuration = {"experiment": experiment.NAME, "profile": profile, "seed": seed, "cases": case, "version": sm_version}
    folder = Folder.open(path, configuration, resume=resume)
    try:
        folder.begin()
        with track("problems", len(works)) as report:
            results = experiment.run(works, path, workers, report)
        experiment.write(results, path)
    except KeyboardInterrupt:
        stop("learning rates", path)
    rows = experiment.summary(results)
    print(json.dumps({"out": str(path), "summary": rows}) if as_json else experiment.table(rows))


@app.command("corrections")
def corrections(
    profile: Annotated[str, typer.Option(help="quick (minutes) or full (half an hour)")] = "quick",
    out: Out = None,
    as_json: Json = False,
    seed: Annotated[int, typer.Option(help="of the label noise")] = 0,
    workers: Workers = -1,
    resume: Annotated[bool, typer.Option("--resume", help="go on where an interrupted run stopped")] = False,
) -> None:
    """How fast the limits become true as lr falls: errors of the times with and without fluctuations, and their powers of lr."""
    from . import corrections as experiment

    if profile not in experiment.PROFILES:
        raise InputError("--profile", profile, ", ".join(experiment.PROFILES))
    check_workers(workers)
    path = out or Path("results") / f"{experiment.NAME}-{profile}"
    configuration = {"experiment": experiment.NAME, "profile": profile, "seed": seed, "version": sm_version}
    folder = Folder.open(path, configuration, resume=resume)
    try:
        folder.begin()
        with track("problems", len(experiment.PROBLEMS)) as report:
            found = experiment.run(profile, seed, path, workers, report)
        summary = experiment.write(found, path)
    except KeyboardInterrupt:
        stop("problems", path)
    print(json.dumps({"out": str(path), "summary": summary}) if as_json else experiment.table(found))


def _write(source: Path, out: Path) -> Summary:
    """Figures and report of the results in `source`."""
    from sde_momentum.predictors.measured_optimum import read_results

    from . import figures, matrix_sensing, report
    from .summary import Summary

    summary = Summary(read_results(source / matrix_sensing.RESULTS))
    report.write_report(summary, figures.draw(summary, out), out / "report.html")
    return summary


def _show(summary: Summary, path: Path, as_json: bool) -> None:
    from .report import findings, table

    if as_json:
        print(json.dumps({"out": str(path), **summary.to_dict()}))
        return
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(table(summary))
    for line in findings(summary):
        console.print(f"- {line}", highlight=False)
    console.print(f"report: {path / 'report.html'}", highlight=False)


for _definition in DEFINITIONS:
    app.command(_definition.name)(network_command(_definition))
app.command("neighbours")(neighbours)


def report(
    folder: Annotated[Path, typer.Argument(help="a folder that `sde-momentum validate` wrote")],
    as_json: Json = False,
) -> None:
    """Draw the figures and write the report of finished results again."""
    configuration = read_json(folder / CONFIGURATION) if (folder / CONFIGURATION).exists() else None
    name = configuration.get("experiment") if isinstance(configuration, dict) else None
    if name == "neighbours":
        show_neighbours(folder, as_json)
        return
    for definition in DEFINITIONS:
        if definition.name == name:
            write_report(definition, folder, as_json)
            return
    _show(_write(folder, folder), folder, as_json)
