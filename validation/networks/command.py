"""The commands `sde-momentum validate teacher-student | mlp-fashionmnist | resnet18-cifar10`, one from each definition."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from sde_momentum.core.errors import InputError
from sde_momentum.core.progress import track

from ..running import check_workers, stop
from ..store import Folder
from .definition import PRECISIONS, STARTS, Definition, Options

_SHARED: tuple[tuple[str, Any, Any, str], ...] = (
    ("profile", str, "quick", "quick (a minute or two), full (tens of minutes) or paper (the publication's sizes, on a GPU)"),
    ("out", Path | None, None, "folder of the results [default: results/EXPERIMENT-PROFILE]"),
    ("json", bool, False, "machine-readable summary on standard output"),
    ("seed", int, 0, "of initialisation and label noise"),
    ("workers", int, -1, "processes; -1: one for each core, one alone on CUDA"),
    ("dask", str | None, None, "address of a Dask scheduler to run on instead, such as tcp://HOST:8786"),
    ("resume", bool, False, "go on where an interrupted run stopped"),
    ("lr", list[float] | None, None, "learning rate, once for each [default: the profile's]"),
    ("seeds", int | None, None, "runs for each (lr, momentum) [default: the profile's]"),
    ("label_noise", float | None, None, "standard deviation, or probability of a flip [default: the experiment's]"),
    ("start", str, "interpolating", "; ".join(f"{name}: {text}" for name, text in STARTS.items())),
    ("batch_size", int | None, None, "samples a step; 0: all [default: the profile's]"),
    ("nesterov", bool, False, "the look-ahead update"),
    ("weight_decay", float, 0.0, "as in torch.optim.SGD"),
    ("fraction", float | None, None, "target: tr H stays below this fraction of its value at the interpolating point"),
    ("budget", int, 0, "steps after which the test metric is compared; 0: the shortest time to the target, for each lr"),
    ("horizon", int | None, None, "steps of the first look at the largest lr [default: the profile's]"),
    ("precision", str | None, None, f"{', '.join(PRECISIONS)} [default: the profile's]"),
    ("device", str, "cpu", "cpu or cuda"),
    ("data", Path | None, None, "folder with the images [default: SDE_MOMENTUM_DATA, or the digits of scikit-learn]"),
)


def command(definition: Definition) -> Callable[..., None]:
    """The command of an experiment, its own sizes among the options."""

    def run(**given: Any) -> None:
        _run(definition, given)

    parameters = []
    annotations: dict[str, Any] = {"return": None}
    sizes = [
        (name, type(size.default) | None, None, f"{size.help} [default: {size.default}]")
        for name, size in definition.sizes.items()
    ]
    asks = f"also answer: {', '.join(definition.every_question)}; or none [default: the profile's]"
    for name, kind, default, text in (*_SHARED, ("question", list[str] | None, None, asks), *sizes):
        option = f"--{name.replace('_', '-')}"
        if kind is bool or kind == bool | None:
            option = f"{option}/--no-{name.replace('_', '-')}" if default is None else option
        annotations[name] = Annotated[kind, typer.Option(option, help=text)]
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(name, keyword, default=default, annotation=annotations[name]))
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = annotations
    run.__doc__ = f"{definition.title.partition(':')[0]}: sweep lr and momentum, compare with every rule."
    return run


def _run(definition: Definition, given: dict[str, Any]) -> None:
    from ..engine import check_engine
    from .experiment import Experiment

    asked = given["question"]
    options = Options(
        profile=given["profile"],
        lr=tuple(given["lr"]) if given["lr"] else None,
        n_seeds=given["seeds"],
        questions=None if not asked else tuple(name for name in asked if name != "none"),
        sizes={name: given[name] for name in definition.sizes},
        **{name: given[name] for name in _SAME},
    )
    check_workers(given["workers"])
    configuration = options.configuration(definition)
    path = given["out"] or Path("results") / f"{definition.name}-{options.profile}"
    folder = Folder.open(path, configuration, resume=given["resume"])
    experiment = Experiment(definition, configuration, path)
    experiment.prepare()
    check_engine(given["workers"], given["dask"])
    # one process would be enough for a GPU, and several would share its memory
    workers = 1 if given["device"] != "cpu" and given["workers"] == -1 else given["workers"]
    engine = {"workers": workers, "dask": given["dask"]}
    try:
        folder.begin()
        experiment.run(engine, track)
        for name, question in experiment.questions():
            try:
                question.run(engine, partial(_track, name))
            except InputError as error:  # it ends the question, not the sweep
                print(f"{name}: {error}", file=sys.stderr, flush=True)
        write_report(definition, path, given["json"])
    except KeyboardInterrupt:
        stop("runs", path)


def _track(question: str, what: str, total: float) -> Any:
    return track(f"{question}: {what}", total)


def write_report(definition: Definition, folder: Path, as_json: bool) -> None:
    """Figures and report of finished results, and what they say on standard output."""
    from .report import show, write

    summary = write(definition, folder)
    if as_json:
        print(json.dumps({"out": str(folder), **summary.to_dict()}))
    else:
        show(summary, folder)


_SAME = (
    "seed",
    "label_noise",
    "start",
    "batch_size",
    "nesterov",
    "weight_decay",
    "fraction",
    "budget",
    "horizon",
    "precision",
    "device",
    "data",
)
