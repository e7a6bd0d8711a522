"""The report on neighbouring papers: claim, derivation, findings and a picture for each."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from sde_momentum.core.errors import InputError

from ..experiment import Experiment
from ..report import Picture, Report, Section
from ..store import read_dataset
from .experiment import PAPERS, file, paper

Results = dict[str, xr.Dataset]


def read(folder: Path) -> Results:
    """The results of the papers that are finished, by name."""
    found = {name: read_dataset(folder / file(name)) for name in PAPERS if (folder / file(name)).exists()}
    if not found:
        raise InputError("folder", folder, "a folder with finished experiments")
    return found


def report(experiment: Experiment, results: Results) -> Report:
    """A section for each paper."""
    sections = [_section(name, result) for name, result in results.items()]
    configuration = next(iter(results.values())).attrs["configuration"]
    c = json.loads(configuration)
    summary = {
        name: {"title": section.title, "source": paper(name).SOURCE, "findings": list(section.findings)} | _numbers(name, result)
        for (name, result), section in zip(results.items(), sections, strict=True)
    }
    return Report(
        title=experiment.title,
        subtitle=f"profile {c['profile']}, seed {c['seed']}; ± is one standard error",
        summary={"experiments": summary},
        sections=sections,
        command=experiment.command(c),
        configuration=configuration,
    )


def _numbers(name: str, result: xr.Dataset) -> dict[str, Any]:
    """What decides about a claim, of a paper that has such numbers."""
    mine = paper(name)
    return {"numbers": mine.numbers(result)} if hasattr(mine, "numbers") else {}


def _section(name: str, result: xr.Dataset) -> Section:
    mine = paper(name)
    return Section(
        mine.TITLE,
        text=[("Source.", mine.SOURCE), ("The claim, as understood here.", mine.CLAIM), ("Derived here.", mine.DERIVED)],
        findings=mine.findings(result),
        pictures=[Picture(name, partial(mine.figure, result))],
        command=result.attrs["command"],
        versions=json.loads(result.attrs["versions"]),
    )
