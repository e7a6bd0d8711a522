"""An experiment on networks: the fastest momentum, and the best on test data, at each learning rate, against every rule.

Four files of this package define one each: its model and data as `build`, its own options, and its profiles.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sde_momentum as sm
from sde_momentum.core.convergence import check_fraction
from sde_momentum.core.errors import InputError, check_integer, check_non_negative, check_one
from sde_momentum.core.options import Option, fill

from ..experiment import Configuration, Experiment, Plan, learning_rates, shared_options

if TYPE_CHECKING:
    from .task import Task


STARTS = {
    "interpolating": "phase 1 without label noise, to a point of Gamma",
    "initial": "no phase 1: ordinary initialisation, label noise from the first step",
    "noisy": "phase 1 with label noise, at momentum 0.9",
}
PRECISIONS = {"float32": "single", "tf32": "single, products in TF32 (CUDA)", "bf16": "outputs in bfloat16", "float64": "double"}

QUESTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "mini-batch": (
        "mini-batch SGD without label noise, from an ordinary initialisation",
        {"batch_share": 0.125, "label_noise": 0.0, "start": "initial"},
    ),
    "nesterov": ("Nesterov's update", {"nesterov": True}),
    "initial": ("ordinary (Kaiming) initialisation instead of an interpolating start", {"start": "initial"}),
    "noisy-fit": ("phase 1 with label noise", {"start": "noisy"}),
    "weight-decay": ("weight decay", {"weight_decay": None}),
}
"""Questions: name -> (description, changes). Each is answered by a variant of the sweep, a smaller one with these options changed
(None: the experiment's own value)."""

NARROW = (0.6, 0.72, 0.85, 1.0, 1.2, 1.45, 1.8)
"""The momenta of a sweep near its optimum alone, for learning rates where runs are long."""

_TRAINING = {
    *("experiment", "profile", "version", "lr", "n_seeds", "seed", "start", "batch_size", "nesterov", "weight_decay"),
    *("fraction", "budget", "horizon", "questions"),
}
"""Keys of a configuration that concern the training of a task, not the task itself."""

_OPTIONS = (
    *shared_options(
        "quick (a minute or two), full (tens of minutes), paper (the publication's sizes, on a GPU); some: small-lr, low-target",
        "of initialisation and label noise",
        "processes; -1: one for each core, one alone on CUDA",
    ),
    Option("dask", str, None, "address of a Dask scheduler to run on instead, such as tcp://HOST:8786"),
    Option("lr", list[float], None, "learning rate; repeat for several; default: that of the profile"),
    Option("seeds", int, None, "number of runs for each (lr, momentum); default: that of the profile"),
    Option(
        "label_noise",
        float,
        None,
        "standard deviation of the label noise, or probability of a flip; default: that of the experiment",
    ),
    Option("start", str, "interpolating", "; ".join(f"{name}: {text}" for name, text in STARTS.items())),
    Option("batch_size", int, None, "number of samples in a batch, 0: all; default: that of the profile"),
    Option("nesterov", bool, False, "Nesterov momentum: the gradient is taken at w + beta v"),
    Option("weight_decay", float, 0.0, "weight decay as in torch.optim.SGD"),
    Option("fraction", float, None, "target: tr H stays below this fraction of its value at the interpolating point"),
    Option(
        "budget", int, 0, "number of steps after which test losses are compared; 0: the shortest time to the target, for each lr"
    ),
    Option(
        "horizon",
        int,
        None,
        "number of steps of the first look, which tunes the momentum at the largest lr; default: that of the profile",
    ),
    Option("precision", str, None, f"{', '.join(PRECISIONS)}; default: that of the profile"),
    Option("device", str, "cpu", "cpu or cuda"),
)
_IMAGES = Option("data", Path, None, "folder with the images (default: SDE_MOMENTUM_DATA, or else scikit-learn's digits)")


@dataclass(frozen=True)
class Profile:
    """Amount of work of a profile.

    Attributes:
        lr: learning rates
        n_seeds: runs for each (lr, momentum)
        horizon: largest number of steps of the first look
        changes: options that it changes, the experiment's own or shared ones
        questions: variants that it runs
        n_records: number of measurements of a run
        grid: 1 - beta of the sweep over that of the first look, moved by lr^(2/3), increasing
    """

    lr: tuple[float, ...]
    n_seeds: int
    horizon: int
    changes: Mapping[str, Any] = field(default_factory=dict)
    questions: tuple[str, ...] = ()
    n_records: int = 110
    grid: tuple[float, ...] = (0.35, 0.5, 0.65, 0.8, 1.0, 1.25, 1.6, 2.2, 3.2)


@dataclass(frozen=True, kw_only=True)
class NetworkExperiment(Experiment):
    """A sweep over learning rate and momentum on one network and one kind of data.

    Attributes:
        build: configuration -> Task; a function of a module, so that another process finds it
        sizes: its own options, with the values that hold where neither the command line nor the profile has another
        label_noise, fraction, weight_decay: its defaults; the decay is that of the variant "weight-decay"
        describe: configuration -> lines about the model and the data, for the report
        questions: variants of its own, besides QUESTIONS
        follow: steps of the estimator down tr H, for the closed form; 0: no closed form, where eigenvalues close to 0 keep its
            projections from converging
        fit_iterations: of phase 1, at most
        images: whether it trains on images, which `--data` may give
        course: whether the course on the effective loss is compared with the runs; where tr H needs many probes it takes too long
    """

    build: Callable[[Configuration], Task]
    sizes: tuple[Option, ...]
    label_noise: float
    fraction: float
    weight_decay: float
    describe: Callable[[Configuration], list[str]]
    questions: Mapping[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    follow: int = 0
    fit_iterations: int = 3000
    images: bool = False
    course: bool = True

    def __post_init__(self) -> None:
        asks = f"variant of the sweep to run too: {', '.join(self.every_question)}; or none; default: that of the profile"
        text = "{}; {} unless the profile has another"
        sizes = (replace(size, default=None, help=text.format(size.help, size.default)) for size in self.sizes)
        summary = f"{self.title.partition(':')[0]}: sweep lr and momentum, compare with every rule."
        own = (*([_IMAGES] if self.images else []), Option("question", list[str], None, asks), *sizes)
        object.__setattr__(self, "options", (*_OPTIONS, *own))
        object.__setattr__(self, "help", summary)
        object.__setattr__(self, "spelling", {"n_seeds": "seeds", "questions": "question"})

    @property
    def every_question(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """All its variants, by name."""
        return {**QUESTIONS, **self.questions}

    def configuration(self, given: Mapping[str, Any]) -> Configuration:
        """Everything that the results depend on, checked."""
        given = fill(self.options, given)
        profile = self.profile(given)

        def chosen(name: str, default: Any) -> Any:
            return profile.changes.get(name, default) if given[name] is None else given[name]

        precision = chosen("precision", "float32")
        for option, value, allowed in (("--start", given["start"], STARTS), ("--precision", precision, PRECISIONS)):
            if value not in allowed:
                raise InputError(option, value, ", ".join(allowed))
        questions = [name for name in given["question"] or profile.questions if name != "none"]
        for name in questions:
            if name not in self.every_question:
                raise InputError("--question", name, ", ".join(self.every_question))
        noise = chosen("label_noise", self.label_noise)
        return {
            "experiment": self.name,
            "profile": given["profile"],
            "lr": learning_rates(given["lr"] or profile.lr),
            "n_seeds": check_integer(profile.n_seeds if given["seeds"] is None else given["seeds"], "--seeds", 2),
            "seed": self.seed(given),
            "label_noise": check_one(check_non_negative, noise, "--label-noise"),
            "start": given["start"],
            "batch_size": check_integer(chosen("batch_size", 0), "--batch-size", 0),
            "nesterov": given["nesterov"],
            "weight_decay": check_one(check_non_negative, given["weight_decay"], "--weight-decay"),
            "fraction": float(check_fraction(chosen("fraction", self.fraction), "--fraction")),
            "budget": check_integer(given["budget"], "--budget", 0),
            "horizon": check_integer(profile.horizon if given["horizon"] is None else given["horizon"], "--horizon", 100),
            "precision": precision,
            "device": given["device"],
            "data": None if given.get("data") is None else str(given["data"]),
            "questions": questions,
            **{size.name: chosen(size.name, size.default) for size in self.sizes},
            "version": sm.__version__,
        }

    def command(self, configuration: Configuration) -> str:
        """The command that reproduces this configuration; a folder of images is DIR."""
        return super().command({**configuration, "data": configuration["data"] and "DIR"})

    def check(self, configuration: Configuration) -> None:
        """Raise InputError for a missing device, missing data, and impossible sizes."""
        import torch

        if configuration["device"] != "cpu" and not torch.cuda.is_available():
            raise InputError("--device", configuration["device"], "cpu: there is no CUDA device")
        task = self.build(configuration)
        if configuration["batch_size"] > task.n_samples:
            raise InputError("--batch-size", configuration["batch_size"], f"at most the {task.n_samples} training samples")

    def workers(self, configuration: Configuration, asked: int) -> int:
        """One process by default on a GPU, since several would share its memory."""
        return 1 if configuration["device"] != "cpu" and asked == -1 else asked

    def plan(self, configuration: Configuration, folder: Path, given: Mapping[str, Any]) -> Plan:
        """Phase 1, first look, predictions, sweep, results; then the same for each variant, in a smaller sweep."""
        from .sweep import plan

        yield from plan(self, configuration, folder)


def once_per_process(build: Callable[[Configuration], Task]) -> Callable[[Configuration], Task]:
    """Decorator of a function that builds a task: the tasks of the last configurations are kept.

    Configurations that differ only in how the task is trained share it.
    """

    @lru_cache(maxsize=4)
    def kept(configuration: str) -> Task:
        return build(json.loads(configuration))

    @wraps(build)
    def task(configuration: Configuration) -> Task:
        return kept(json.dumps({name: value for name, value in configuration.items() if name not in _TRAINING}, sort_keys=True))

    return task
