"""The claims of the paper and of this library, each with what derives it, tests it and measures it.

`python -m validation.claims [DIR ...]` writes docs/claims.md from the stored results in validation/results, after adding those of
experiments in DIR to them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from derivations.codegen import BY_NAME
from derivations.sections import Section
from sde_momentum.predictors.measured_optimum import Optima

from .baselines import BASELINES
from .drawing import render
from .local_exponents import local_exponents
from .registry import experiment_of
from .report import PAGE as REPORT_PAGE
from .runner import draw
from .store import CONFIGURATION, read, read_sweep, write

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "validation" / "results", ROOT / "docs" / "claims.md"
PICTURE = ROOT / "docs" / "figures" / "local_exponent.png"
SMALL = "small-lr"
"""Profile of small learning rates, whose results are kept beside those of the full one."""
KEPT = ("results.*", "results/*.nc", "course.nc", "questions/*/results.nc")
"""Files of an experiment that are kept."""

PAPER, OURS = "Cowsik, Can, Glorioso (arXiv 2210.16400)", "this library"
TWO_THIRDS = 2 / 3
TOLERATED = 1.15
"""Largest time over the shortest at which a rule counts as good."""
_FAR = 0.15
"""Largest difference of a predicted course from the measured one, over its start."""
_LARGE = 1_000_000
"""Largest number of values of a variable that is kept."""
Summary = Mapping[str, Any]
"""The numbers of an experiment's report, as `sde-momentum report DIR --json` prints them."""


@dataclass(frozen=True)
class Measured:
    """A number that decides about a claim.

    Attributes:
        what: the quantity
        value: with its interval, as text
        holds: whether it agrees with the claim
    """

    what: str
    value: str
    holds: bool


@dataclass(frozen=True)
class Claim:
    """A statement, and where each kind of support for it is.

    Attributes:
        text: one sentence
        by: who claims it
        equation: of docs/theory.md
        derivations: names, as `sde-momentum derive NAME` knows them; () for what is only measured
        tests: files
        judge: what a summary says of it; () of a summary that says nothing
    """

    text: str
    by: str
    equation: str
    derivations: Sequence[str]
    tests: Sequence[str]
    judge: Callable[[Summary], Iterator[Measured]]


def _interval(estimate: Summary) -> str:
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"


def _laws(summary: Summary, which: str) -> Sequence[Summary]:
    """Power laws without and with corrections, fitted to the best momenta by one measure of best."""
    fits = summary.get("fits", ())
    found = fits.get(which, ()) if isinstance(fits, Mapping) else fits if which == "fastest" else ()
    return list(found)


def _exponents(which: str) -> Callable[[Summary], Iterator[Measured]]:
    """Whether the interval of the exponent contains 2/3."""

    def judge(summary: Summary) -> Iterator[Measured]:
        edge = summary.get("at_end_of_sweep", {}).get(which, 0)
        if edge:
            yield Measured("best momentum", f"at the end of the sweep at {edge} learning rates: no exponent", False)
            return
        for law in _laws(summary, which):
            n, gamma = len(law["corrections"]), law["exponent"]
            fit = "plain power law" if not n else f"with {n} correction{'s' * (n > 1)} in lr^(1/3)"
            value = f"{_interval(gamma)}, chi squared {law['chi2']:.1f} for {law['degrees_of_freedom']}"
            yield Measured(f"exponent, {fit}", value, gamma["low"] <= TWO_THIRDS <= gamma["high"])

        among = summary.get("left_out", {})
        parts = among.get(which, {}) if which in among else among if which == "fastest" else {}
        least = lower_decade([name for name in parts if " to " in name])
        if least is not None:
            gamma = parts[least]
            yield Measured(f"exponent, only lr {least}", _interval(gamma), gamma["low"] <= TWO_THIRDS <= gamma["high"])

    return judge


def lower_decade(parts: Sequence[str]) -> str | None:
    """Of parts "LOW to HIGH" of the learning rates the widest of a decade at most from the smallest on, or else the first."""
    ends = {part: [float(end) for end in part.split(" to ")] for part in parts}
    low = min((end[0] for end in ends.values()), default=0.0)
    within = [part for part, end in ends.items() if end[0] == low and end[1] <= 10.001 * low]
    return max(within, key=lambda part: ends[part][1]) if within else next(iter(parts), None)


def _regrets(summary: Summary) -> Summary:
    worst: Summary = summary.get("worst_regret", {})
    return worst.get("fastest", worst)


def _regret(estimate: Summary) -> str:
    return f"{'> ' if estimate.get('at_least') else ''}{estimate['value']:.2f} ± {estimate['standard_error']:.2f}"


def _good(*rules: str) -> Callable[[Summary], Iterator[Measured]]:
    """Whether rules take at most TOLERATED times the shortest time at every learning rate."""

    def judge(summary: Summary) -> Iterator[Measured]:
        for rule, found in _regrets(summary).items():
            if rule in rules and not isnan(found["value"]):  # NaN: the rule makes no prediction, or one outside the sweep
                good = found["value"] - 2 * found["standard_error"] <= TOLERATED and not found.get("at_least")
                yield Measured(f"largest time over the shortest, {rule}", _regret(found), good)

    return judge


def _better(summary: Summary) -> Iterator[Measured]:
    """Whether lr^(2/3) beats the other ways to move a tuned momentum, beyond the errors."""
    found = _regrets(summary)
    ours = next((found[name] for name in ("lr^(2/3)", "transfer") if name in found), None)
    if ours is not None:
        yield Measured("largest time over the shortest, lr^(2/3)", _regret(ours), ours["high"] <= 1.5)
        for other in ("lr^(1/2)", "lr", *BASELINES):
            if other in found:
                least = found[other]["value" if found[other].get("at_least") else "low"]
                yield Measured(f"the same, {other}", _regret(found[other]), least > ours["high"])


def _energies(summary: Summary) -> Iterator[Measured]:
    if "loss_ratio" in summary:
        ratio, error = summary["loss_ratio"]
        yield Measured("train loss, measured over predicted", f"{ratio:.3f} ± {error:.3f}", abs(ratio - 1) <= 2 * error)


def _courses(summary: Summary) -> Iterator[Measured]:
    """Whether the predicted course of tr H stays within a share of the start of the measured one."""
    course = summary.get("course")
    if course:
        for delta, found in zip(course["one_minus_beta"], course["trace_hessian"], strict=True):
            text = (
                f"{100 * found['value']:+.1f} ± {100 * found['standard_error']:.1f} % of the start, after {found['step']:,} steps"
            )
            far = abs(found["value"]) - 2 * found["standard_error"]
            yield Measured(f"largest difference of tr H, lr {course['lr']:.3g}, 1 - beta {delta:.2g}", text, far <= _FAR)


def _ordinary(summary: Summary) -> Iterator[Measured]:
    """Ordinary mini-batches: the exponent of the best momentum, and the points of accuracy lost by moving a tuned one."""
    for arm, found in summary.get("summary", {}).items():
        if "lost" in found:
            value, low, high = found["exponent"]
            yield Measured(f"exponent, {arm}", f"{value:.2f} ({low:.2f} to {high:.2f})", low <= TWO_THIRDS <= high)
            (moved, error), (kept, _) = (_most_lost(found["lost"][rule]) for rule in ("lr^(2/3)", "fixed"))
            text = f"{moved:.1f} ± {error:.1f} points; {kept:.1f} by keeping it"
            yield Measured(f"accuracy lost by lr^(2/3), {arm}", text, moved < kept)


def _most_lost(rule: Summary) -> tuple[float, float]:
    """Points lost at the learning rate where a rule loses most, and their standard error."""
    return max(zip(rule["points"], rule["se"], strict=True))


def _contains(name: str, found: Summary, value: float) -> Measured:
    return Measured(name, _interval(found), found["low"] <= value <= found["high"])


def _averages(summary: Summary) -> Iterator[Measured]:
    """Averages of gradients: the exponent of the edge is 2, and its prefactor the derived one within a tenth."""
    for name, found in _neighbour(summary, "averaged_gradients").items():
        if "exponent" in found:
            yield _contains(
                f"exponent of the edge, derived {found['derived']:.3f} at these lr: {name}", found["exponent"], found["derived"]
            )
            ratio = found["over_predicted"]
            good = ratio["low"] <= 1.1 and ratio["high"] >= 0.9
            yield Measured(f"edge over predicted, {name}", _interval(ratio), good)
        elif "edge" in found:
            yield _contains(
                f"edge in units of lr^2 mu_A, derived {found['predicted']:.3f}: {name}", found["edge"], found["predicted"]
            )
        elif "gain" in found:
            change = found["gain"]
            good = change["low"] <= 1.1 and change["high"] >= 0.9
            yield Measured(f"fall of tr H at 1 - beta1 = 15 lr^2 over that at 2000 lr^2: {name}", _interval(change), good)
        else:
            yield _contains(f"variance along the valley over derived, {name}", found["spread"], 1.0)


def _interpolation(summary: Summary) -> Iterator[Measured]:
    """Mini-batches without label noise: exponents of the best momentum, the rule's price, and the drift's whole way."""
    found = _neighbour(summary, "interpolation")
    for name, value in found.items():
        if name.startswith("exponent"):
            yield _contains(f"{name}, derived {value['derived']:.3f} at these lr", value, value["derived"])
    if found:
        worst = found["worst_regret"]
        yield Measured("largest time over the shortest, closed form", f"{worst:.2f}", worst <= TOLERATED)
        way, below = found["way_errors"], found["ended_below"]
        yield Measured("way of the drift, from the derived", f"at most {way:.1f} standard errors", way <= 4)
        yield Measured("runs beyond the stability limit that ended below it", f"{below:.0%}", below > 0.99)


def _neighbour(summary: Summary, name: str) -> Summary:
    """The numbers of one neighbouring paper."""
    found: Summary = summary.get("experiments", {}).get(name, {}).get("numbers", {})
    return found


CLAIMS = (
    Claim(
        "Training with label noise is fastest at 1 - beta = C lr^(2/3).",
        PAPER, "4.3", ("crossing",), ("tests/test_crossing.py", "tests/test_optimum.py"), _exponents("fastest"),
    ),
    Claim(
        "The same scaling is best for the test metric.",
        PAPER, "4.3", (), ("tests/test_network_sweep.py",), _exponents("best test"),
    ),
    Claim(
        "Momentum moved by lr^(2/3) costs less time than moved otherwise, or not at all.",
        PAPER, "4.3", ("crossing",), ("tests/test_momentum_rule.py",), _better,
    ),
    Claim(
        "In a stationary state every normal mode holds the same energy, which the momentum sets.",
        OURS, "2.10", ("oscillator", "stationary_variance"), ("tests/test_stationary_state.py",), _energies,
    ),
    Claim(
        "The closed form gives C before any training, from the geometry at the flattest point.",
        OURS, "5.8", ("prefactor",), ("tests/test_formulas.py",), _good("closed form"),
    ),
    Claim(
        "Noise-free training on the effective loss gives the best momentum before any noisy training.",
        OURS, "5.1", ("energy_share",), ("tests/test_effective_loss.py",), _good("effective loss"),
    ),
    Claim(
        "On the effective loss tr H takes the whole course of the mean of noisy training, not only its time to the target.",
        OURS, "5.1", ("energy_share",), ("tests/test_effective_loss.py", "tests/test_network_sweep.py"), _courses,
    ),
    Claim(
        "The critical limit gives the best momentum, the cliff included.",
        OURS, "7.9", ("critical_limit",), ("tests/test_critical_limit.py", "tests/test_universal_curve.py"),
        _good("critical limit"),
    ),
    Claim(
        "In ordinary mini-batch training, too, a tuned momentum is best moved by lr^(2/3).",
        OURS, "11.4", (), ("tests/test_validate_recipes.py",), _ordinary,
    ),
    Claim(
        "With averages of gradients (dampening = beta, Adam) momentum changes nothing down to 1 - beta ~ lr^2.",
        OURS, "12.7", ("averages",), ("tests/test_averages.py",), _averages,
    ),
    Claim(
        "Without label noise the best momentum for the fit follows from the batch size, and the drift ends with the residuals.",
        OURS, "13.6", ("interpolation",), ("tests/test_interpolation.py",), _interpolation,
    ),
)  # fmt: skip


SYSTEMS = {
    "matrix-sensing": "matrix sensing",
    "teacher-student": "teacher and student",
    "mlp-fashionmnist": "6 layers, FashionMNIST",
}
"""Experiments whose local exponents are drawn: name -> title."""


def exponents_picture(folder: Path = RESULTS) -> Figure:
    """Local exponents of the stored sweeps, those at small learning rates beside the others."""
    kinds = {"": "measured", f"-{SMALL}": "measured, small lr"}
    return local_exponents(
        {
            title: [
                (label, fastest(folder / f"{name}{kind}")) for kind, label in kinds.items() if (folder / f"{name}{kind}").exists()
            ]
            for name, title in SYSTEMS.items()
        }
    )


def fastest(folder: Path) -> Optima:
    """The fastest momenta of a stored sweep."""
    data = read_sweep(folder)
    whole = data.isel(momentum=np.flatnonzero(np.isfinite(data["one_minus_beta"].values).all(axis=0)))
    return Optima(whole["lr"].values, whole["one_minus_beta"].values, whole["convergence_time"].values)


def stored(folder: Path = RESULTS) -> dict[str, tuple[Summary, str]]:
    """What the report of every experiment with stored results says, and the command that made them, by the folder's name."""
    found = {}
    for path in sorted(each for each in folder.iterdir() if each.is_dir()):
        experiment = experiment_of(path)
        report = experiment.report(experiment.results(path))
        found[path.name] = report.summary, report.command
    return found


def page(results: Mapping[str, tuple[Summary, str]]) -> str:
    """docs/claims.md, from the results of `stored`."""
    judged = [(claim, {name: list(claim.judge(summary)) for name, (summary, _) in results.items()}) for claim in CLAIMS]
    lines = [
        "# Claims: what is derived, tested and measured, and what fails",
        "",
        "Each claim of the paper and of this library: its equation, what derives it, what tests it, and what training says.",
        "Failures stand here like successes. An exponent agrees if its 95 % interval contains 2/3. A rule is good if training",
        f"by it takes at most {TOLERATED} times the shortest, within two standard errors, at every learning rate.",
        "Terms: [glossary.md](glossary.md).",
        "",
        "This page is written by `python -m validation.claims` from `validation/results/`. To check a row: its first column",
        "names the folder there with the data (`results.nc`, which xarray reads, or `results.json`), the exact configuration",
        "and the report; `sde-momentum report FOLDER` draws it again. A test runs by `python -m pytest FILE`; a proof by",
        "`sde-momentum derive NAME`.",
        "",
        "| claim | by | measured |",
        "| --- | --- | --- |",
    ]
    for n, (claim, found) in enumerate(judged, 1):
        verdicts = [measured.holds for each in found.values() for measured in each]
        lines.append(f"| [{n}](#claim-{n}). {claim.text} | {claim.by} | {sum(verdicts)} of {len(verdicts)} agree |")
    for n, (claim, found) in enumerate(judged, 1):
        lines += [
            "",
            f"## Claim {n}",
            f"{claim.text}",
            "",
            *_support(claim),
            "",
            "| results | quantity | value | |",
            "| --- | --- | --- | --- |",
        ]
        lines += [
            f"| {name} | {measured.what} | {measured.value} | {'agrees' if measured.holds else '**fails**'} |"
            for name, each in found.items()
            for measured in each
        ]
    lines += ["", "## The commands that made the results", ""]
    lines += [f"- {name}: `{command}`" for name, (_, command) in results.items()]
    return "\n".join(lines) + "\n"


def _support(claim: Claim) -> Iterator[str]:
    """Where a claim is stated, derived and tested, as a list."""
    section = next(section for section in Section if section.number == int(claim.equation.split(".")[0]))
    yield f"- Claimed by {claim.by}; [{section.title}](theory.md#{section.anchor}), eq. {claim.equation}."
    proofs = ", ".join(f"`sde-momentum derive {name}` ({len(BY_NAME[name].steps)} steps)" for name in claim.derivations)
    yield f"- Derived: {proofs or 'no; it is a claim about training alone'}."
    yield f"- Tested: {', '.join(f'`{test}`' for test in claim.tests)}."


def without_folders(value: Any) -> Any:
    """A configuration, or a Dataset that has one among its attributes, without the folder of images of the machine it is from."""
    if isinstance(value, dict):
        return {**value, "data": None} if "data" in value else value
    if "configuration" not in value.attrs:
        return value
    return value.assign_attrs(configuration=json.dumps(without_folders(json.loads(value.attrs["configuration"]))))


def keep(folder: Path) -> None:
    """Add the results of an experiment to RESULTS, but for large courses of single runs, and draw them there.

    In RESULTS the folder has its own name, without "-full", if that begins with the experiment's, or else the experiment's. Left
    out are the page of the report, which `sde-momentum report` writes from the rest, and the folder of the images.
    """
    experiment = experiment_of(folder)
    own = folder.name.removesuffix("-full")
    kept = RESULTS / (own if own.startswith(experiment.name) else experiment.name)
    kept.mkdir(exist_ok=True)
    for path in (folder / CONFIGURATION, *(path for kind in KEPT for path in folder.glob(kind))):
        (kept / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
        value = read(path)
        if path.suffix == ".nc":
            value = value.drop_vars([name for name, values in value.data_vars.items() if values.size > _LARGE])
        write(kept / path.relative_to(folder), without_folders(value))
    draw(experiment, kept, as_json=False)
    (kept / REPORT_PAGE).unlink()


def main(folders: Sequence[str]) -> int:
    """Keep the results in folders, and write the page."""
    for folder in folders:
        keep(Path(folder))
    PAGE.write_text(page(stored()), encoding="utf-8")
    PICTURE.write_bytes(render(exponents_picture(), "png"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
