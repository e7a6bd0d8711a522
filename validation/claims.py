"""The claims of the paper and of this library, each with what derives it, tests it and measures it.

`python -m validation.claims [DIR ...]` writes docs/claims.md from the stored results in validation/results, after adding those of
experiments in DIR to them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from derivations.codegen import BY_NAME
from derivations.sections import Section
from sde_momentum.predictors.measured_optimum import Optima

from . import judges
from .drawing import render
from .judges import ACCEPTABLE, FAR, TOLERATED, Judge, Measured, Summary
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
_LARGE = 1_000_000
"""Largest number of values of a variable that is kept."""
_MANY = 3_000
"""Number of values of a variable from which on it is kept in single precision."""


@dataclass(frozen=True)
class Claim:
    """A statement, and where each kind of support for it is.

    Attributes:
        text: one sentence
        agrees: when a system agrees with it, one sentence or two
        by: who claims it
        equations: of docs/theory.md
        derivations: names, as `sde-momentum derive NAME` knows them; () for what is only measured
        tests: files; of a claim without derivations those of the code that measures
        judge: what a summary says of it; () of a summary that says nothing
        weaker: what its measurement does not show, and results that are not stored and speak against it
    """

    text: str
    agrees: str
    by: str
    equations: Sequence[str]
    derivations: Sequence[str]
    tests: Sequence[str]
    judge: Judge
    weaker: str


_GOOD = (
    f"at every learning rate, takes at most {TOLERATED} times the shortest time, within two standard errors, which must be at "
    f"most {TOLERATED - 1:.2f}"
)
_TEN = "[predictions](predictions.md#each-way-of-theory-against-full-simulation)"
CLAIMS = (
    Claim(
        "Training with label noise is fastest at 1 - beta = C lr^(2/3).",
        "A system agrees if the exponent of its fastest momentum has 2/3 in its 95 % interval, and neither 1/2 nor 1, by the fit "
        "that decides.",
        PAPER, ("4.3", "5.5"), ("crossing", "prefactor"), ("tests/test_crossing.py", "tests/test_optimum.py"),
        judges.exponents("fastest"),
        "Theory has 2/3 as the limit lr -> 0, and corrections at any lr, whose size is fitted and not derived. A "
        "second run of matrix sensing, with other noise, fails: one correction is enough there, and its "
        "interval misses 2/3 ([matrix sensing](matrix_sensing.md)). How many corrections a fit to matrix sensing may have was "
        "settled after a first full run. mlp-fashionmnist-128-images, which fails, meets its target before the motion along the "
        "manifold is damped, where theory expects no such optimum ([networks](networks.md#networks-nobody-looked-at)). That an "
        "interval with another power in it does not count was settled when intervals of few seeds, found too narrow, had been "
        "made wider: it takes two systems from the count.",
    ),
    Claim(
        "The time at the best momentum goes as lr^(-2/3).",
        "A system agrees if the exponent of its shortest time has -2/3 in its 95 % interval, and neither -1/2 nor -1, by the fit "
        "that decides. Where the fastest momentum lies at an end of the sweep it fails.",
        PAPER, ("4.3",), ("crossing",), ("tests/test_crossing.py", "tests/test_estimates.py"), judges.times,
        "Theory has -2/3 as the limit lr -> 0, with corrections as in claim 1. The shortest time is the least of the momenta of "
        "the sweep, which by the errors of several may come out up to about one standard error too short. Errors of different "
        "learning rates count as independent, though they share their seeds. In matrix sensing the time is the test error's.",
    ),
    Claim(
        "The same scaling is best for the test metric.",
        "A system agrees if the exponent of the momentum with the lowest test loss, after a number of steps fixed for each lr, "
        "has 2/3 in its 95 % interval, and neither 1/2 nor 1, by the fit that decides. Where that momentum lies at an end of the "
        "sweep it fails. Test loss and accuracy at the fastest and at the least momentum of the sweep are listed and not judged.",
        PAPER, ("4.3",), (), ("tests/test_network_sweep.py",), judges.generalisation,
        "The equation is about the time along the manifold; theory says nothing of test loss. Over the momenta of one sweep "
        "the test loss changes by 1 to 51 %, in the student by a factor of 1.4 to 5; test accuracy stays within about two points "
        "of that of the start, in resnet18-cifar10 within four; cross-entropy apart ([networks](networks.md)). Whether training "
        "at the fastest momentum generalises as well as without momentum, as the paper says, was not measured. The listed "
        "numbers come nearest to it: means over the learning rates, after the same number of steps at both momenta. The least "
        "momentum is far from none, and has come less far along the manifold by then, so that they compare momenta and not flat "
        "minima with sharp ones. No rule for them was set before they were known. In matrix sensing the time of claim 1 is that "
        "of the test error.",
    ),
    Claim(
        "Momentum moved by lr^(2/3) costs less time than moved otherwise, or not at all.",
        f"A system agrees if the momentum tuned at its largest lr and moved by lr^(2/3), {_GOOD}, and every other way that was "
        "compared takes more than it, beyond the errors.",
        PAPER, ("4.3", "11.1"), ("crossing", "prefactor"), ("tests/test_momentum_rule.py", "tests/test_baselines.py"),
        judges.better,
        "\"Not at all\" is the tuned momentum kept at every lr, or one that people use, the same for every problem. In matrix "
        "sensing the tuned momentum is the best of the sweep itself, in the networks that of a first look. Where a momentum lies "
        "beyond the sweep, its number is the time at the end of the sweep, a lower bound; the largest number over the learning "
        "rates is given, whether or not another lr has such a bound. Ways with one number share a row, and count as one "
        "observation.",
    ),
    Claim(
        "In a stationary state every normal mode has the same variance, which the momentum sets.",
        "A system agrees if its train loss, at the least momentum of the sweep, is that of such modes within 2 standard errors.",
        OURS, ("2.10",), ("oscillator", "stationary_variance"), ("tests/test_formulas.py", "tests/test_label_noise_sgd.py"),
        judges.energies,
        "The train loss is the sum over the modes, each weighted by its eigenvalue: it says nothing of single modes. It is "
        "taken at one momentum, the least, and at the smallest learning rate, so that how it depends on momentum is not "
        "measured. It is compared with (2.10) at small a = lr lambda, which is too small by a share of up to a / (2 (1 + "
        "beta)): a ratio a few percent above 1 may be that.",
    ),
    Claim(
        "The closed form gives C before any training, from the geometry at the flattest point.",
        f"A system agrees if training at the momentum of the closed form, {_GOOD}.",
        OURS, ("5.5", "5.8"), ("prefactor",),
        ("tests/test_formulas.py", "tests/test_momentum_rule.py", "tests/test_prediction.py"), judges.good("closed form"),
        "Counted are only systems that it has an answer for: it has none for the image networks and the transformer "
        f"([networks](networks.md)). On ten small problems, whose results are not stored, it takes up to 1.34 times as long "
        f"({_TEN}). The bound of (5.8) is a choice, not derived.",
    ),
    Claim(
        "Noise-free training on the effective loss gives the best momentum before any noisy training.",
        f"A system agrees if training at the momentum that it recommends, {_GOOD}.",
        OURS, ("5.1", "5.2"), ("energy_share",), ("tests/test_effective_loss.py",), judges.good("effective loss"),
        "The momentum is not the fastest on the effective loss, which knows no cliff, but the least within 15 % of its shortest "
        "time: a choice, not derived. No quantity known before noisy training told where it fails ([networks](networks.md)). On "
        f"ten small problems, whose results are not stored, two targets are missed ({_TEN}).",
    ),
    Claim(
        "On the effective loss tr H takes the whole course of the mean of noisy training, not only its time to the target.",
        f"A system agrees if, at all momenta compared, predicted and measured tr H never differ by more than {FAR:.0%} of the "
        "start, beyond two standard errors.",
        OURS, ("5.1", "5.2"), ("energy_share",), ("tests/test_effective_loss.py", "tests/test_network_sweep.py"), judges.courses,
        f"A course is compared at one learning rate and four momenta. {FAR:.0%} of the start is up to 30 % of the way to the "
        "target. Systems without a course are not counted; two where the effective loss's momentum fails by far, "
        "resnet18-cifar10 and transformer-low-target, are among them.",
    ),
    Claim(
        "The critical limit gives the best momentum, the cliff included.",
        f"A system agrees if training at the momentum that it recommends, {_GOOD}.",
        OURS, ("7.9",), ("critical_limit",), ("tests/test_critical_limit.py", "tests/test_universal_curve.py"),
        judges.good("critical limit"),
        "One system is little. On ten small problems, whose results are not stored, the "
        f"limit fails on three: 1.31 and 1.89 times the shortest time, and a target that is missed ({_TEN}).",
    ),
    Claim(
        "In ordinary mini-batch training, too, a tuned momentum is best moved by lr^(2/3).",
        "A kind of training agrees if the exponent of the momentum of the best test accuracy has 2/3 in its 95 % interval, "
        "and neither 1/2 nor 1, by the fit that decides, and moving a tuned momentum by lr^(2/3) loses less accuracy than "
        "keeping it.",
        OURS, ("11.1", "11.4"), (), ("tests/test_validate_recipes.py",), judges.ordinary,
        "Theory does not reach these trainings. The kinds are three trainings of one network on one data set, with three seeds "
        "each. At constant lr the power 1 loses less than 2/3 does ([PyTorch](pytorch.md#does-the-rule-apply-to-me)).",
    ),
    Claim(
        "With averages of gradients (dampening = beta, Adam) momentum changes nothing down to 1 - beta ~ lr^2.",
        "The edge is the 1 - beta below which momentum begins to change the time. A setting agrees if all its numbers have the "
        "derived one in their 95 % intervals; ratios of edges and of falls have a tenth more.",
        OURS, ("12.3", "12.7", "12.10"), ("averages",), ("tests/test_averages.py",), judges.averages,
        "The settings are mostly of one valley, the model problem; the rows of beta2 test (12.10), the variance that Adam's "
        "second moments make by themselves. Levels, learning rates, momenta and a noise strength were changed after quick or "
        "first full runs ([neighbouring papers](neighbouring_papers.md#averages-of-gradients-adam)).",
    ),
    Claim(
        "Without label noise the best momentum for the fit follows from the batch size, and the drift ends with the residuals.",
        "The fit agrees if the exponents of its fastest momentum have the derived ones in their 95 % intervals and the closed "
        f"form takes at most {TOLERATED} times the shortest time; the drift, if its way is the derived one within four standard "
        "errors and nearly every run beyond the stability limit ends below it.",
        OURS, ("13.3", "13.6", "13.7"), ("interpolation",), ("tests/test_interpolation.py",), judges.interpolation,
        "Both are linear least squares of 32 samples, or one direction beside them: no network. The derived exponents are "
        "those of the recursion of (13.3) at these lr; with batches of 4 no single power fits (chi squared is in the report), "
        "so that this compares two mean slopes. The closed form (13.6) joins two derived limits by a sum of squares that is "
        "not derived; its largest time is computed by the recursion, and was not measured.",
    ),
    Claim(
        "What `predict` answers by default trains as fast as the best momentum.",
        f"A problem agrees if training at the momentum recommended, {_GOOD}.",
        OURS, ("11.3", "11.4"), (), ("tests/test_prediction.py", "tests/test_validate_predictions.py"), judges.default_answers,
        "The first ten problems were there when the trials were made; the others were made to test them, but the last mends came "
        "after their first answers ([predictions](predictions.md)). Two learning rates each. An answer called doubtful counts "
        "like the others. Trials end by the clock: on a busy machine answers are worse, and more of them doubtful.",
    ),
    Claim(
        "As lr goes to 0 the times of the critical limit become exact.",
        "A problem agrees if the error of the time is 0 within two standard errors at the smallest lr, or falls as a power of lr "
        "that is above 0 beyond two standard errors. The effective loss, which leaves fluctuations out, is listed beside it.",
        OURS, ("7.9",), ("critical_limit",), ("tests/test_critical_limit.py", "tests/test_validate_corrections.py"),
        judges.limits,
        "An error that falls need not fall to 0: the effective loss's falls, too, at these lr, and stays above 0 at smaller "
        "ones ([predictions](predictions.md#how-the-error-of-the-limits-falls-with-the-learning-rate)). Two of the problems "
        "are valleys. At the smallest lr the network's error is still there.",
    ),
    Claim(
        "The least momentum that is fast enough goes as lr^(2/3), in small models down to very small learning rates.",
        "Fast enough is a time within 15 % of the shortest. A system agrees if the exponent of that 1 - beta has 2/3 in its 95 % "
        "interval, and neither 1/2 nor 1, by the fit that decides.",
        OURS, ("4.3", "7.9", "11.4"), ("crossing", "critical_limit"),
        ("tests/test_crossing.py", "tests/test_optimum.py", "tests/test_validate_small_models.py"), judges.needed,
        "It is not the fastest momentum of claim 1, next to which there is a cliff that is a matter of chance; in five of the "
        "small models none was found. The measure was settled after a first look at them had shown that, and before any exponent "
        "but those of three of them at their three largest lr; to the other sweeps, which were stored, it was applied later. "
        "The small models have 24 to 120 parameters and are made by one recipe "
        "([small models](small_models.md)).",
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


@dataclass(frozen=True)
class Stored:
    """Stored results of an experiment.

    Attributes:
        summary: what their report says
        commands: that made them
        version: of this package, which made them
        files: with the data, in the folder, the main one first
    """

    summary: Summary
    commands: Sequence[str]
    version: str
    files: Sequence[str]


def stored(folder: Path = RESULTS) -> dict[str, Stored]:
    """All stored results, by the folder's name."""
    found = {}
    for path in sorted(each for each in folder.iterdir() if each.is_dir()):
        experiment = experiment_of(path)
        report = experiment.report(experiment.results(path))
        parts = [section.command for section in report.sections if section.command]
        files = [str(file.relative_to(path)) for kind in KEPT for file in sorted(path.glob(kind))]
        found[path.name] = Stored(report.summary, parts or [report.command], read(path / CONFIGURATION)["version"], files)
    return found


_HEAD = f"""# Claims: what is derived, tested and measured, and what fails

Each claim of the paper and of this library: its equation, what derives it, what tests it, and what training says.
Failures stand here like successes. Terms: [glossary.md](glossary.md).

**What is counted** is systems: a network with its data, a problem, or a setting of one, each once, however many fits and
numbers it has. Its verdict comes from the numbers in bold; the others are listed beside them and decide nothing. A system
agrees if all its bold numbers do. What that means stands first under each claim. Intervals are 95 %, ± is one standard error.

**Which fit decides.** Of the fits to one sweep it is the plain power law C lr^gamma where its chi squared is acceptable
(p of at least {ACCEPTABLE:g}); or else the one with the fewest corrections in lr^(1/3) that is acceptable. Where no fit is, the
system does not agree. A fit to the lower learning rates alone never decides. The rule was written down before systems were
counted by it; the fits were known.

**What a count does not say.** To agree is not to be shown wrong: a wide interval contains 2/3 more easily, and often other
powers too: where 1/2 or 1 is among them, the system does not agree. Systems are not
independent: sweeps of one network at other learning rates, sizes, targets, losses or noise count beside each other. The networks
of claims 1 to 9 are small, and train on full batches with label noise added, which is theory's own case. Under each claim
stands where its measurement is weaker than the claim sounds.

**To check a row**, follow its first column to the data (xarray reads `.nc` files); the same folder of `validation/results/`
has the configuration and pictures, and `sde-momentum report FOLDER` writes the report anew. A test runs by
`python -m pytest FILE`, a proof by `sde-momentum derive NAME`. This page is written by `python -m validation.claims`.

| claim | by | systems that agree |
| --- | --- | --- |"""

_COMMANDS = """
## The stored results, and the commands that made them

DIR is a folder with the real images, FashionMNIST or CIFAR-10: the rows with `--data DIR` are of those. **Without it** (or
SDE_MOMENTUM_DATA) these commands take scikit-learn's digits instead, and find other numbers.

The version is that of this package when the results were made, as their configuration states it. If yours is newer
(`sde_momentum.__version__`), code has changed since: the [changelog](project/changelog.md) says what, and names changes that
alter the numbers of a given seed. Fits and verdicts on this page are of the present code, from the stored runs.

| results | data | made by version | command |
| --- | --- | --- | --- |"""


def page(results: Mapping[str, Stored]) -> str:
    """docs/claims.md, from the results of `stored`."""
    judged = [(claim, {name: list(claim.judge(each.summary)) for name, each in results.items()}) for claim in CLAIMS]
    lines = [_HEAD]
    for n, (claim, found) in enumerate(judged, 1):
        verdicts = _verdicts(found)
        count = f"{sum(verdicts.values())} of {len(verdicts)}" if verdicts else "no results are stored"
        lines.append(f"| [{n}](#claim-{n}). {claim.text} | {claim.by} | {count} |")
    for n, (claim, found) in enumerate(judged, 1):
        lines += ["", f"## Claim {n}", claim.text, "", *_support(claim, _verdicts(found)), ""]
        if not any(found.values()):
            continue
        lines += ["| results | quantity | value | |", "| --- | --- | --- | --- |"]
        lines += [_row(name, results[name].files[0], measured) for name, each in found.items() for measured in each]
    lines.append(_COMMANDS)
    for name, each in results.items():
        data = ", ".join(_file(name, file, file.rpartition("/")[2]) for file in each.files if not file.startswith("questions"))
        data += f", {_file(name, CONFIGURATION, 'configuration')}"
        lines.append(f"| {name} | {data} | {each.version} | {', '.join(f'`{command}`' for command in each.commands)} |")
    return "\n".join(lines) + "\n"


def _verdicts(found: Mapping[str, Sequence[Measured]]) -> dict[str, bool]:
    """System -> whether all numbers that decide agree."""
    out: dict[str, bool] = {}
    for name, each in found.items():
        for measured in each:
            if measured.decides:
                system = f"{name}, {measured.system}" if measured.system else name
                out[system] = out.get(system, True) and bool(measured.holds)
    return out


def _file(name: str, file: str, text: str) -> str:
    """A link to a file of stored results, from docs/."""
    return f"[{text}](../validation/results/{name}/{file})"


def _row(name: str, main: str, measured: Measured) -> str:
    what = f"{measured.system}: {measured.what}" if measured.system else measured.what
    says = "listed" if measured.holds is None else "agrees" if measured.holds else "fails"
    value, says = (f"**{measured.value}**", f"**{says}**") if measured.decides else (measured.value, says)
    return f"| {_file(name, measured.file or main, name)} | {what} | {value} | {says} |"


def _support(claim: Claim, verdicts: Mapping[str, bool]) -> Iterator[str]:
    """When a system agrees, which do, and where the claim is stated, derived and tested, as a list."""
    agree = [system for system, holds in verdicts.items() if holds]
    counted = f"**{len(agree)} of {len(verdicts)}** do{': ' * bool(agree)}{'; '.join(agree)}"
    yield f"- {claim.agrees} {counted if verdicts else '**No results are stored**'}."
    sections: dict[Section, list[str]] = {}
    for equation in claim.equations:
        section = next(section for section in Section if section.number == int(equation.split(".")[0]))
        sections.setdefault(section, []).append(f"({equation})")
    stated = "; ".join(f"[{section.title}](theory.md#{section.anchor}), {', '.join(each)}" for section, each in sections.items())
    yield f"- Claimed by {claim.by}. Stated: {stated}."
    proofs = ", ".join(
        f"`sde-momentum derive {name}` ({len(BY_NAME[name].steps)} steps, [source](../derivations/{name}.py))"
        for name in claim.derivations
    )
    yield f"- Derived: {proofs or 'no; it is only measured'}."
    tested = "Tested" if claim.derivations else "Tested is the code that measures"
    yield f"- {tested}: {', '.join(f'[{test}](../{test})' for test in claim.tests)}."
    yield f"- **Weaker than it sounds**: {claim.weaker}"


def without_folders(value: Any) -> Any:
    """A configuration, or results that have one, without the folder of images of the machine they are from."""
    if isinstance(value, dict):
        inner = {"configuration": without_folders(value["configuration"])} if "configuration" in value else {}
        return value | inner | ({"data": None} if "data" in value else {})
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
            doubles = [name for name, each in value.data_vars.items() if each.size > _MANY and each.dtype == np.float64]
            value = value.assign({name: value[name].astype(np.float32) for name in doubles})
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
