"""The command `sde-momentum validate neighbours`."""

from __future__ import annotations

import base64
import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import jinja2
import typer
import xarray as xr

import sde_momentum as sm
from sde_momentum.errors import InputError, check_integer
from sde_momentum.files import write_whole
from sde_momentum.progress import track

from ..store import Folder
from . import EXPERIMENTS, experiment

NAME = "neighbours"
PROFILES = ("quick", "full")
RESULTS = "results"
"""Folder of the files NAME.nc."""


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
    if profile not in PROFILES:
        raise InputError("--profile", profile, ", ".join(PROFILES))
    for name in only or ():
        if name not in EXPERIMENTS:
            raise InputError("--only", name, ", ".join(EXPERIMENTS))
    if workers != -1 and workers < 1:
        raise InputError("--workers", workers, "a whole number >= 1, or -1 for every core")
    check_integer(seed, "--seed", 0)
    path = out or Path("results") / f"{NAME}-{profile}"
    # without `only`: experiments may be added to a folder later
    configuration = {"experiment": NAME, "profile": profile, "seed": seed, "version": sm.__version__}
    folder = Folder.open(path, configuration, resume=resume)
    wanted = [name for name in EXPERIMENTS if not only or name in only]
    try:
        folder.begin()
        (path / RESULTS).mkdir(exist_ok=True)
        with track("experiments", len(wanted)) as report:
            for name in wanted:
                if _file(path, name).exists():
                    _read(path, name)  # a broken file is noticed before the work starts
                    report(1)
                else:
                    result = experiment(name).measure(profile, seed, workers, report)
                    _write(result, path, name, configuration)
        summary = write_report(path)
    except KeyboardInterrupt:
        print(f"interrupted; finished experiments are kept: add --resume to go on ({path})", file=sys.stderr, flush=True)
        os._exit(130)  # at once: worker threads are in the middle of what nobody waits for
    if as_json:
        print(json.dumps({"out": str(path), "experiments": summary}))
        return
    for row in summary.values():
        print(f"{row['title']} ({row['source']})")
        for line in row["findings"]:
            print(f"- {line}")
        print()
    print(f"report: {path / 'report.html'}")


def command(profile: str, seed: int, name: str) -> str:
    """The command that measures one experiment again."""
    return f"sde-momentum validate {NAME} --profile {profile} --seed {seed} --only {name}"


def _file(out: Path, name: str) -> Path:
    return out / RESULTS / f"{name}.nc"


def _versions() -> dict[str, str]:
    names = ("sde-momentum", "numpy", "scipy", "numba", "xarray")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _write(result: xr.Dataset, out: Path, name: str, configuration: dict[str, Any]) -> None:
    """NetCDF-4 with what made it, whole or not at all."""
    mine = experiment(name)
    attributes = {
        "experiment": name,
        "title": mine.TITLE,
        "source": mine.SOURCE,
        "claim": mine.CLAIM,
        "derived": mine.DERIVED,
        "seed": configuration["seed"],
        "configuration": json.dumps(configuration),
        "command": command(configuration["profile"], configuration["seed"], name),
        "versions": json.dumps(_versions()),
    }
    content = result.assign_attrs(attributes).to_netcdf(engine="h5netcdf")
    write_whole(_file(out, name), lambda file: file.write(content))


def _read(out: Path, name: str) -> xr.Dataset:
    """What `_write` wrote, or an InputError that names the file."""
    try:
        data = xr.load_dataset(_file(out, name), engine="h5netcdf")
    except (OSError, ValueError, KeyError):
        raise InputError("--out", _file(out, name), "a readable file; delete it to compute it again") from None
    if data.attrs.get("experiment") != name:
        raise InputError("--out", _file(out, name), "a file of this experiment; delete it to compute it again")
    return data


def write_report(out: Path) -> dict[str, dict[str, Any]]:
    """Pictures NAME.png and report.html of the finished experiments in `out`; gives title, source and findings of each."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from sde_momentum.figures.style import render

    summary, pages = {}, []
    data = {name: _read(out, name) for name in EXPERIMENTS if _file(out, name).exists()}
    for name, result in data.items():
        mine = experiment(name)
        drawn = mine.figure(result)
        picture = render(drawn, "png")
        plt.close(drawn)
        write_whole(out / f"{name}.png", lambda file, picture=picture: file.write(picture))  # type: ignore[misc]
        findings = mine.findings(result)
        summary[name] = {"title": mine.TITLE, "source": mine.SOURCE, "findings": findings}
        pages.append(
            {
                **summary[name],
                "claim": mine.CLAIM,
                "derived": mine.DERIVED,
                "figure": base64.b64encode(picture).decode(),
                "name": name.replace("_", " "),
                "command": result.attrs["command"],
                "versions": ", ".join(f"{key} {number}" for key, number in json.loads(result.attrs["versions"]).items()),
            }
        )
    configuration = json.loads(next(iter(data.values())).attrs["configuration"])
    environment = jinja2.Environment(loader=jinja2.PackageLoader("validation"), autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.get_template("neighbours.html.j2").render(
        title="Neighbouring papers: the claims beside measurements",
        subtitle=f"profile {configuration['profile']}, seed {configuration['seed']}; ± is one standard error",
        experiments=pages,
    )
    write_whole(out / "report.html", lambda file: file.write(page.encode()))
    return summary
