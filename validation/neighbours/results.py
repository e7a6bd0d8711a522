"""Results of the neighbouring papers' experiments: files, pictures and report."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import jinja2
import xarray as xr

from sde_momentum.core.errors import InputError
from sde_momentum.core.files import write_whole

from ..store import versions
from . import EXPERIMENTS, experiment

RESULTS = "results"
"""Folder of the files NAME.nc."""


def command(profile: str, seed: int, name: str) -> str:
    """The command that measures one experiment again."""
    return f"sde-momentum validate neighbours --profile {profile} --seed {seed} --only {name}"


def result_file(out: Path, name: str) -> Path:
    return out / RESULTS / f"{name}.nc"


def write_result(result: xr.Dataset, out: Path, name: str, configuration: dict[str, Any]) -> None:
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
        "versions": json.dumps(versions("numpy", "scipy", "numba", "xarray")),
    }
    content = result.assign_attrs(attributes).to_netcdf(engine="h5netcdf")
    write_whole(result_file(out, name), lambda file: file.write(content))


def read_result(out: Path, name: str) -> xr.Dataset:
    """What `write_result` wrote, or an InputError that names the file."""
    try:
        data = xr.load_dataset(result_file(out, name), engine="h5netcdf")
    except (OSError, ValueError, KeyError):
        raise InputError("--out", result_file(out, name), "a readable file; delete it to compute it again") from None
    if data.attrs.get("experiment") != name:
        raise InputError("--out", result_file(out, name), "a file of this experiment; delete it to compute it again")
    return data


def write_report(out: Path) -> dict[str, dict[str, Any]]:
    """Pictures NAME.png and report.html of the finished experiments in `out`; gives title, source and findings of each."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from sde_momentum.figures.style import render

    summary, pages = {}, []
    data = {name: read_result(out, name) for name in EXPERIMENTS if result_file(out, name).exists()}
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
