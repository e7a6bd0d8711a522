"""Runs an experiment in its folder: finished chunks are not run again, an interrupt keeps them, and the report is written."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from sde_momentum.core.errors import InputError
from sde_momentum.core.extras import require
from sde_momentum.core.options import fill
from sde_momentum.core.progress import track

from . import store
from .experiment import Chunk, Configuration, Experiment, Spread, Stage

Track = Callable[[str, float], Any]
"""title, total -> context that gives a function to call with each amount done; as `sde_momentum.core.progress.track`."""

NEEDED = ("torch", "matplotlib", "sympy", "mpmath", "jinja2", "sklearn", "PIL")
"""Modules of the extra `validation`: asked for by every experiment before it begins, whichever of them its report will use."""


@dataclass(frozen=True)
class Engine:
    """Where chunks run.

    Attributes:
        workers: threads or processes; -1: every core
        dask: address of a Dask scheduler, for stages that are spread over processes
        track: shows the progress of each stage
    """

    workers: int = -1
    dask: str | None = None
    track: Track = track


def validate(experiment: Experiment, given: Mapping[str, Any]) -> None:
    """The command `sde-momentum validate NAME`: run the missing chunks, write the report and print its findings."""
    from .engine import check_engine

    require(f"validate {experiment.name}", *NEEDED, extra="validation")
    given = fill(experiment.options, given)
    with track(f"preparing {experiment.name}", 1):
        configuration = experiment.configuration(given)
    if given["workers"] != -1 and given["workers"] < 1:
        raise InputError("--workers", given["workers"], "a whole number >= 1, or -1 for every core")
    path = given["out"] or Path("results") / f"{experiment.name}-{configuration['profile']}"
    folder = store.Folder.open(path, configuration, resume=given["resume"])
    with track(f"checking {experiment.name}", 1):
        experiment.check(configuration)
    engine = Engine(experiment.workers(configuration, given["workers"]), given.get("dask"))
    check_engine(engine.workers, engine.dask)
    try:
        with folder.locked():
            run(experiment, configuration, path, engine, given)
            draw(experiment, path, as_json=given["json"])
    except KeyboardInterrupt:
        _stop(path)


def run(
    experiment: Experiment, configuration: Configuration, folder: Path, engine: Engine, given: Mapping[str, Any] | None = None
) -> None:
    """Run every stage of the experiment's plan. The files do not depend on the engine, nor on interruptions.

    Raises:
        InputError: of a job, or for a file in the folder that is not whole; the latter before work on its stage starts.
    """
    plan = experiment.plan(configuration, folder, given or {})
    try:
        stage = next(plan)
        while True:
            try:
                results = run_stage(stage, folder, engine, configuration)
            except InputError as error:
                stage = plan.throw(error)
            else:
                stage = plan.send(results)
    except StopIteration:
        return


def run_stage(stage: Stage, folder: Path, engine: Engine, configuration: Configuration) -> list[Any]:
    """Run the chunks of a stage whose file is not there yet; the results of all, in their order.

    Progress is that of the former: what is there took no time.
    """
    results: dict[str, Any] = {}
    todo = [chunk for chunk in stage.chunks if not (folder / chunk.file).exists()]

    def identity(chunk: Chunk) -> str:
        return json.dumps({"file": chunk.file, **chunk.identity, "configuration": configuration})

    with engine.track(stage.title, sum(chunk.cost for chunk in todo)) as report:
        for chunk in stage.chunks:
            if chunk in todo:
                (folder / chunk.file).parent.mkdir(parents=True, exist_ok=True)
            else:
                results[chunk.file] = store.read(folder / chunk.file, identity(chunk), chunk.shapes)

        def finish(chunk: Chunk, result: Any) -> None:
            path = folder / chunk.file
            store.write(path, result, identity(chunk))
            if chunk.scratch is not None:
                chunk.scratch.unlink(missing_ok=True)
            results[chunk.file] = store.read(path, identity(chunk), chunk.shapes)  # what a resumed run would see

        if stage.spread is Spread.HERE:
            for chunk in todo:
                finish(chunk, _run_here(chunk, engine.workers, report))
        elif todo:
            _run_spread(sorted(todo, key=lambda chunk: -chunk.cost), stage.spread, finish, engine, report)
    return [results[chunk.file] for chunk in stage.chunks]


def _run_spread(
    todo: list[Chunk], spread: Spread, finish: Callable[[Chunk, Any], None], engine: Engine, report: Callable[[float], object]
) -> None:
    """Run chunks on the workers, the longest first, so that no worker waits for the last one."""
    from .engine import run_chunks

    threads = spread is Spread.THREADS
    run_chunks(
        _call,
        todo,
        finish,
        workers=engine.workers,
        dask=None if threads else engine.dask,
        threads=threads,
        report=report,
        cost=lambda chunk: chunk.cost,
    )


def _call(chunk: Chunk) -> Any:
    return chunk.job()


def _run_here(chunk: Chunk, workers: int, report: Callable[[float], object]) -> Any:
    told = 0.0

    def share(amount: float) -> None:
        nonlocal told
        told += amount
        report(amount * chunk.cost)

    result = chunk.job(workers, share)
    report((1 - told) * chunk.cost)
    return result


def draw(experiment: Experiment, folder: Path, *, as_json: bool) -> None:
    """Write pictures and report of finished results into their folder, and print tables and findings."""
    require("the report", *NEEDED, extra="validation")
    from .report import show, write

    with track("report", 1):
        report = experiment.report(experiment.results(folder))
        write(report, folder)
    if as_json:
        print(json.dumps({"out": str(folder), **report.summary}))
    else:
        show(report, folder)


def _stop(path: Path) -> NoReturn:
    """End this process at once, with one line, without waiting for busy workers, whatever else is pressed."""
    for again in (signal.SIGINT, signal.SIGTERM):
        signal.signal(again, signal.SIG_IGN)
    print(f"interrupted; finished runs are kept: add --resume to go on ({path})", file=sys.stderr, flush=True)
    os._exit(130)
