"""The contract of an experiment: options, a configuration, a plan of stages made of chunks, and a report.

An experiment is a stateless object, one for each command `sde-momentum validate NAME`. `runner.py` runs any of them.
"""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sde_momentum as sm
from sde_momentum.core.errors import InputError, check_integer, check_lr
from sde_momentum.core.options import Option

from .store import read

if TYPE_CHECKING:
    from .report import Report

Configuration = dict[str, Any]
"""Everything that the results depend on: plain data, as in configuration.json."""


class Spread(Enum):
    """Where the chunks of a stage run; the value says how a chunk's job is called."""

    THREADS = "job(), in a thread of this process: compiled code that runs without the interpreter's lock"
    PROCESSES = "job(), in a process of this machine or on a Dask cluster, with one thread of torch and BLAS; it is pickled"
    HERE = "job(workers, report), one chunk after another: the job has threads of its own, and reports shares of 1"


@dataclass(frozen=True, repr=False)
class Chunk:
    """A piece of work whose result is one file.

    Attributes:
        file: its path inside the folder of results; the ending says what `job` returns (see `store.write`)
        job: makes the result; called as the stage's Spread says. The result may depend on nothing but what the job holds.
        cost: in units of the stage
        shapes: of the arrays of an .npz file, which a file from an earlier run must have; None: unchecked
        scratch: a file of intermediate states, deleted once the result is stored
        identity: what the result depends on beside the configuration, as plain data; a file of another identity is refused
    """

    file: str
    job: Callable[..., Any]
    cost: float = 1.0
    shapes: Mapping[str, tuple[int, ...]] | None = None
    scratch: Path | None = None
    identity: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return self.file


@dataclass(frozen=True)
class Stage:
    """Chunks that can run in any order.

    Attributes:
        title: what the progress bar says
        chunks: those whose file exists are not run again
        spread: where the chunks run
    """

    title: str
    chunks: Sequence[Chunk]
    spread: Spread


Plan = Generator[Stage, list[Any], None]
"""Stages, each made with the results of those before: `results = yield stage` are those of its chunks, in their order, as read
back from the files. An InputError of a job is raised at that `yield`."""


class Switch(Option):
    """A bool that is on by default, or in some profile, and so can be switched off too: --name and --no-name."""

    @property
    def flag(self) -> str:
        return f"{super().flag}/--no-{super().flag[2:]}"


def shared_options(profiles: str, seed: str, workers: str = "threads; -1: every core") -> tuple[Option, ...]:
    """The options of every experiment; the arguments are the help texts of --profile, --seed and --workers."""
    return (
        Option("profile", str, "quick", profiles),
        Option("out", Path, None, "folder of the results (default: results/EXPERIMENT-PROFILE)"),
        Option("json", bool, False, "machine-readable summary on standard output"),
        Option("seed", int, 0, f"seed {seed}"),
        Option("workers", int, -1, workers),
        Option("resume", bool, False, "continue an interrupted run"),
    )


@dataclass(frozen=True, kw_only=True)
class Experiment(ABC):
    """A test of predictions against training, which a command runs.

    Attributes:
        name: of its command, and of the folder of its results
        title: of its report
        help: first line of its command's help
        options: of its command, `shared_options` among them
        profiles: name -> amount of work
        spelling: key of the configuration -> name of the option that sets it, where these differ
    """

    name: str
    title: str
    help: str = ""
    options: tuple[Option, ...] = field(default=(), repr=False)
    profiles: Mapping[str, Any] = field(repr=False)
    spelling: Mapping[str, str] = field(default_factory=dict, repr=False)

    @abstractmethod
    def configuration(self, given: Mapping[str, Any]) -> Configuration:
        """The checked configuration of these options, by name; those not given have their defaults. Raises InputError."""

    def seed(self, given: Mapping[str, Any]) -> int:
        """The seed: runs get 64-bit seeds of which it is the upper half, so that no two seeds share any."""
        seed = check_integer(given["seed"], "--seed", 0)
        if seed >= 2**32:
            raise InputError("--seed", seed, "a whole number from 0 to 2^32 - 1 = 4294967295")
        return seed

    def basic(self, given: Mapping[str, Any], **own: Any) -> Configuration:
        """The configuration of profile, seed and what else there is."""
        self.profile(given)
        return {"experiment": self.name, "profile": given["profile"], "seed": self.seed(given), **own, "version": sm.__version__}

    def check(self, configuration: Configuration) -> None:
        """Slow checks, made before anything is written. Raises InputError."""
        return None

    def workers(self, configuration: Configuration, asked: int) -> int:
        """Number of workers to use if the user gives `asked`; -1: every core."""
        return asked

    @abstractmethod
    def plan(self, configuration: Configuration, folder: Path, given: Mapping[str, Any]) -> Plan:
        """The stages of the work; the last one collects the results that `results` reads.

        Args:
            configuration: of `configuration`
            folder: where the files go, for jobs that keep files of their own
            given: all options, also those on which the results do not depend
        """

    @property
    def _reporting(self) -> Any:
        """The module `report` beside the class: it may load xarray and matplotlib, which the command's --help does without."""
        return import_module(".report", type(self).__module__.rpartition(".")[0])

    def results(self, folder: Path) -> Any:
        """The collected results in a folder, by `read(folder)` of the module `report` beside the class. Raises InputError for a
        file that is not whole."""
        return self._reporting.read(folder)

    def report(self, results: Any) -> Report:
        """What the results say, by `report(experiment, results)` of the same module."""
        found: Report = self._reporting.report(self, results)
        return found

    def profile(self, given: Mapping[str, Any]) -> Any:
        """The profile that is asked for. Raises InputError."""
        if given["profile"] not in self.profiles:
            raise InputError("--profile", given["profile"], ", ".join(self.profiles))
        return self.profiles[given["profile"]]

    def command(self, configuration: Configuration) -> str:
        """The command that reproduces this configuration."""
        default = self.configuration({"profile": configuration["profile"]})
        words = ["sde-momentum", "validate", self.name]
        words += ["--profile", configuration["profile"], "--seed", str(configuration["seed"])]
        for key, value in configuration.items():
            if key in ("experiment", "profile", "seed", "version") or default.get(key) == value:
                continue
            flag = "--" + self.spelling.get(key, key).replace("_", "-")
            if isinstance(value, bool):
                words.append(flag if value else flag.replace("--", "--no-", 1))
            elif isinstance(value, list):
                words += [word for item in value or ["none"] for word in (flag, str(item))]
            else:
                words += [flag, str(value)]
        return shlex.join(words)


@dataclass(frozen=True, kw_only=True)
class PlainExperiment(Experiment):
    """An experiment of one stage, whose chunks give plain data; results.json has all of them, and `summary(results)` of the
    module `report` beside the class.

    Attributes:
        spread: where the chunks run
    """

    spread: Spread = field(default=Spread.HERE, repr=False)

    @abstractmethod
    def chunks(self, configuration: Configuration, folder: Path) -> list[Chunk]:
        """The chunks of the stage; their jobs are called as `spread` says."""

    def plan(self, configuration: Configuration, folder: Path, given: Mapping[str, Any]) -> Plan:
        """One stage, and the file of its results."""
        results = yield Stage(self.name, self.chunks(configuration, folder), self.spread)
        summary = self._reporting.summary
        found = {"results": results, "summary": summary(results), "version": sm.__version__, "configuration": configuration}
        yield collecting("results.json", lambda: found)

    def results(self, folder: Path) -> dict[str, Any]:
        """results, summary, version, and the configuration."""
        found: dict[str, Any] = read(folder / "results.json")
        return found


def collecting(file: str, collect: Callable[[], Any]) -> Stage:
    """The stage that puts the results of others into one file."""
    return Stage("collecting", [Chunk(file, lambda workers, report: collect())], Spread.HERE)


def learning_rates(asked: Any) -> list[float]:
    """The learning rates asked for, each once, increasing. Raises InputError for fewer than 3, and for rates that are none."""
    rates: list[float] = sorted(set(check_lr(asked, "--lr").tolist()))
    if len(rates) < 3:
        raise InputError("--lr", f"{len(rates)} learning rates", "at least 3, for the fit")
    return rates
