"""The command `sde-momentum validate neighbours`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

import sde_momentum as sm
from sde_momentum.core.errors import InputError, check_integer
from sde_momentum.core.progress import track

from ..running import check_workers, stop
from ..store import Folder
from . import EXPERIMENTS, experiment

NAME = "neighbours"
PROFILES = ("quick", "full")


def neighbours(
    profile: Annotated[str, typer.Option(help="quick (a minute) or full (minutes)")] = "quick",
    out: Annotated[Path | None, typer.Option("--out", help="folder of the results [default: results/neighbours-PROFILE]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable summary on standard output")] = False,
    seed: Annotated[int, typer.Option(help="of all noise")] = 0,
    workers: Annotated[int, typer.Option(help="threads; -1: every core")] = -1,
    resume: Annotated[bool, typer.Option("--resume", help="go on in a folder that holds results")] = False,
    only: Annotated[list[str] | None, typer.Option("--only", help="experiment, once for each [default: all]")] = None,
) -> None:
    """The claims of neighbouring papers, each beside a small measurement."""
    from . import results

    if profile not in PROFILES:
        raise InputError("--profile", profile, ", ".join(PROFILES))
    for name in only or ():
        if name not in EXPERIMENTS:
            raise InputError("--only", name, ", ".join(EXPERIMENTS))
    check_workers(workers)
    check_integer(seed, "--seed", 0)
    path = out or Path("results") / f"{NAME}-{profile}"
    # without `only`: experiments may be added to a folder later
    configuration = {"experiment": NAME, "profile": profile, "seed": seed, "version": sm.__version__}
    folder = Folder.open(path, configuration, resume=resume)
    wanted = [name for name in EXPERIMENTS if not only or name in only]
    try:
        folder.begin()
        (path / results.RESULTS).mkdir(exist_ok=True)
        with track("experiments", len(wanted)) as report:
            for name in wanted:
                if results.result_file(path, name).exists():
                    results.read_result(path, name)  # a broken file is noticed before the work starts
                    report(1)
                else:
                    result = experiment(name).measure(profile, seed, workers, report)
                    results.write_result(result, path, name, configuration)
    except KeyboardInterrupt:
        stop("experiments", path)
    show_neighbours(path, as_json)


def show_neighbours(folder: Path, as_json: bool) -> None:
    """Pictures and report of the finished experiments, and their findings on standard output."""
    from .results import write_report

    summary = write_report(folder)
    if as_json:
        print(json.dumps({"out": str(folder), "experiments": summary}))
        return
    for row in summary.values():
        print(f"{row['title']} ({row['source']})")
        for line in row["findings"]:
            print(f"- {line}")
        print()
    print(f"report: {folder / 'report.html'}")
