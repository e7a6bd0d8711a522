"""What an experiment on networks is: its task, its own options, its profiles; and the options that all of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sde_momentum as sm
from sde_momentum.core.convergence import check_fraction
from sde_momentum.core.errors import InputError, check_integer, check_lr, check_non_negative, check_one

if TYPE_CHECKING:
    from .task import Task

STARTS = {
    "interpolating": "phase 1 without label noise, to a point of Gamma",
    "initial": "no phase 1: ordinary initialisation, straight into label noise",
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
"""Readers' questions: each is a smaller sweep with these options changed (None: the experiment's own value)."""


@dataclass(frozen=True)
class Profile:
    """How much a profile runs.

    Attributes:
        lr: learning rates
        n_seeds: runs for each (lr, momentum)
        horizon: steps of the first look at the largest learning rate, at most
        changes: options that it changes, the experiment's own or shared ones
        questions: readers' questions that it answers
        n_records: how often a run is measured
        grid: 1 - beta of the sweep over that of the first look, carried over by lr^(2/3), increasing
    """

    lr: tuple[float, ...]
    n_seeds: int
    horizon: int
    changes: Mapping[str, Any] = field(default_factory=dict)
    questions: tuple[str, ...] = ()
    n_records: int = 110
    grid: tuple[float, ...] = (0.35, 0.5, 0.65, 0.8, 1.0, 1.25, 1.6, 2.2, 3.2)


@dataclass(frozen=True)
class Size:
    """An option of one experiment: its type is that of the default."""

    default: Any
    help: str


@dataclass(frozen=True)
class Definition:
    """One experiment.

    Attributes:
        name, title: of the command, and of the report
        build: configuration -> Task, at module level, so that another process finds it
        sizes: its own options
        profiles: quick, full, paper
        label_noise, fraction, weight_decay: its defaults; the decay is that of the reader's question
        describe: configuration -> lines about the model and the data, for the report
        questions: its own, beside QUESTIONS
        follow: steps of the estimator down tr H, for the closed form; 0: no closed form, where modes too soft to be told from
            Gamma keep its projections from converging
        fit_iterations: of phase 1, at most
    """

    name: str
    title: str
    build: Callable[[Mapping[str, Any]], Task]
    sizes: Mapping[str, Size]
    profiles: Mapping[str, Profile]
    label_noise: float
    fraction: float
    weight_decay: float
    describe: Callable[[Mapping[str, Any]], list[str]]
    questions: Mapping[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    follow: int = 0
    fit_iterations: int = 3000

    @property
    def every_question(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """Readers' questions that it can answer."""
        return {**QUESTIONS, **self.questions}


@dataclass(frozen=True)
class Options:
    """What the user asked for; None: the profile's or the experiment's own."""

    profile: str = "quick"
    lr: tuple[float, ...] | None = None
    n_seeds: int | None = None
    seed: int = 0
    label_noise: float | None = None
    start: str = "interpolating"
    batch_size: int | None = None
    nesterov: bool = False
    weight_decay: float = 0.0
    fraction: float | None = None
    budget: int = 0
    horizon: int | None = None
    precision: str | None = None
    device: str = "cpu"
    data: Path | None = None
    questions: tuple[str, ...] | None = None
    sizes: Mapping[str, Any] = field(default_factory=dict)

    def configuration(self, definition: Definition) -> dict[str, Any]:
        """Everything that the results depend on, checked."""
        if self.profile not in definition.profiles:
            raise InputError("--profile", self.profile, ", ".join(definition.profiles))
        profile = definition.profiles[self.profile]
        rates = sorted(set(check_lr(self.lr or profile.lr, "--lr").tolist()))
        if len(rates) < 3:
            raise InputError("--lr", f"{len(rates)} learning rates", "at least 3, for the fit")

        def chosen(name: str, default: Any) -> Any:
            value = getattr(self, name)
            return profile.changes.get(name, default) if value is None else value

        precision = chosen("precision", "float32")
        for option, value, allowed in (("--start", self.start, STARTS), ("--precision", precision, PRECISIONS)):
            if value not in allowed:
                raise InputError(option, value, ", ".join(allowed))
        questions = profile.questions if self.questions is None else self.questions
        for name in questions:
            if name not in definition.every_question:
                raise InputError("--question", name, ", ".join(definition.every_question))
        sizes = {name: profile.changes.get(name, size.default) for name, size in definition.sizes.items()}
        sizes |= {name: value for name, value in self.sizes.items() if value is not None}
        noise = chosen("label_noise", definition.label_noise)
        return {
            "experiment": definition.name,
            "profile": self.profile,
            "lr": rates,
            "n_seeds": check_integer(profile.n_seeds if self.n_seeds is None else self.n_seeds, "--seeds", 2),
            "seed": check_integer(self.seed, "--seed", 0),
            "label_noise": check_one(check_non_negative, noise, "--label-noise"),
            "start": self.start,
            "batch_size": check_integer(chosen("batch_size", 0), "--batch-size", 0),
            "nesterov": self.nesterov,
            "weight_decay": check_one(check_non_negative, self.weight_decay, "--weight-decay"),
            "fraction": float(check_fraction(chosen("fraction", definition.fraction), "--fraction")),
            "budget": check_integer(self.budget, "--budget", 0),
            "horizon": check_integer(profile.horizon if self.horizon is None else self.horizon, "--horizon", 100),
            "precision": precision,
            "device": self.device,
            "data": None if self.data is None else str(self.data),
            "questions": list(questions),
            **sizes,
            "version": sm.__version__,
        }


def command(definition: Definition, configuration: Mapping[str, Any]) -> str:
    """The command that reproduces this configuration."""
    default = Options(profile=configuration["profile"]).configuration(definition)
    words = ["sde-momentum", "validate", definition.name, "--profile", configuration["profile"]]
    words += ["--seed", str(configuration["seed"])]
    names = {"n_seeds": "seeds", "questions": "question"}
    for name, value in configuration.items():
        if name in ("experiment", "profile", "seed", "version", "data") or default.get(name) == value:
            continue
        option = "--" + names.get(name, name).replace("_", "-")
        if isinstance(value, bool):
            words.append(option if value else option.replace("--", "--no-", 1))
        elif isinstance(value, list):
            words += [word for item in value or ["none"] for word in (option, str(item))]
        else:
            words += [option, str(value)]
    if configuration["data"] is not None:
        words += ["--data", "DIR"]
    return " ".join(words)
