"""What a report's numbers say of a claim: rows, each with a verdict, of which some decide."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

from .baselines import BASELINES, KEPT
from .estimates import with_error

TWO_THIRDS = 2 / 3
TOLERATED = 1.15
"""Largest time over the shortest at which a rule counts as good."""
ACCEPTABLE = 0.05
"""The p-value of chi squared from which on a fit is acceptable."""
FAR = 0.15
"""Largest difference of a predicted course from the measured one, over its start."""
Summary = Mapping[str, Any]
"""The numbers of an experiment's report, as `sde-momentum report DIR --json` prints them."""
Judge = Callable[[Summary], Iterator["Measured"]]
"""What a summary says of a claim; nothing where it has no such numbers."""


@dataclass(frozen=True)
class Measured:
    """A measured number beside a claim.

    Attributes:
        what: the quantity
        value: with its interval, as text
        holds: whether it agrees with the claim; None: listed and not judged
        decides: whether the verdict on the system depends on it; others are listed beside it
        system: the part of the experiment that it belongs to; "": the experiment is one system
        file: of the results that has it; "": the main one
    """

    what: str
    value: str
    holds: bool | None
    decides: bool = True
    system: str = ""
    file: str = ""


def _interval(estimate: Summary) -> str:
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"


def _others(gamma: Summary, claimed: float) -> str:
    """The powers 1/2 and 1, of the claimed one's sign, where the interval of an exponent contains both that and them."""
    if not gamma["low"] <= claimed <= gamma["high"]:
        return ""
    powers = (("1/2", 0.5), ("1", 1.0)) if claimed > 0 else (("-1/2", -0.5), ("-1", -1.0))
    found = [name for name, power in powers if gamma["low"] <= power <= gamma["high"]]
    return f", which also contains {' and '.join(found)}" if found else ""


def _laws(summary: Summary, which: str) -> Sequence[Summary]:
    """Power laws without and with corrections, fitted to the best momenta by one measure of best."""
    fits = summary.get("fits", ())
    found = fits.get(which, ()) if isinstance(fits, Mapping) else fits if which == "fastest" else ()
    return list(found)


def decisive(laws: Sequence[Summary]) -> int | None:
    """Which of the fits to one sweep decides: the first, in the order of their numbers of corrections, whose chi squared is
    acceptable; None: no fit is."""
    return next((i for i, law in enumerate(laws) if law["p_value"] >= ACCEPTABLE), None)


def _of_laws(laws: Sequence[Summary], system: str = "", claimed: float = TWO_THIRDS, decides: bool = True) -> Iterator[Measured]:
    """All fits, one of which decides; where none is acceptable the statement that none is decides."""
    best = decisive(laws)
    for i, law in enumerate(laws):
        n, gamma = len(law["corrections"]), law["exponent"]
        fit = "plain power law" if not n else f"with {n} correction{'s' * (n > 1)} in lr^(1/3)"
        good = f"chi squared {law['chi2']:.1f} for {law['degrees_of_freedom']}, p = {law['p_value']:.2g}"
        others = _others(gamma, claimed)
        value = f"{_interval(gamma)}{others}, {good}"
        holds = gamma["low"] <= claimed <= gamma["high"] and not others
        yield Measured(f"exponent, {fit}", value, holds, decides and i == best, system)
    if laws and best is None and decides:
        yield Measured("fit that decides", f"none: no chi squared has a p of at least {ACCEPTABLE:g}", False, True, system)


def _at_end(summary: Summary, which: str) -> str:
    """At how many learning rates the best momentum lies at an end of the sweep, in words; "": at none."""
    edge = summary.get("at_end_of_sweep", {}).get(which, 0)
    return f"at the end of the sweep at {edge} learning rate{'s' * (edge > 1)}" if edge else ""


def exponents(which: str) -> Judge:
    """Whether the interval of the exponent contains 2/3, and neither 1/2 nor 1."""

    def judge(summary: Summary) -> Iterator[Measured]:
        if edge := _at_end(summary, which):
            yield Measured("best momentum", f"{edge}: no exponent", False)
            return
        yield from _of_laws(_laws(summary, which))
        among = summary.get("left_out", {})
        parts = among.get(which, {}) if which in among else among if which == "fastest" else {}
        least = lower_decade([name for name in parts if " to " in name])
        if least is not None:
            gamma = parts[least]
            contains = gamma["low"] <= TWO_THIRDS <= gamma["high"]
            yield Measured(f"exponent, only lr {least}", _interval(gamma), contains, decides=False)

    return judge


def times(summary: Summary) -> Iterator[Measured]:
    """Whether the interval of the exponent of the shortest time contains -2/3, and neither -1/2 nor -1."""
    laws, edge = summary.get("time_fits", ()), _at_end(summary, "fastest")
    if laws and edge:
        yield Measured("best momentum", f"{edge}: its time is an upper bound", False)
    yield from _of_laws(laws, claimed=-TWO_THIRDS, decides=not edge)


def needed(summary: Summary) -> Iterator[Measured]:
    """Whether the interval of the exponent of the needed momentum contains 2/3, and neither 1/2 nor 1; listed is that of the
    smallest learning rates, and, of small models, that of the shortest time."""
    for name, each in summary.get("systems", {"": summary} if "needed" in summary else {}).items():
        found = each["needed"]
        if found["at_end"]:
            yield Measured("needed momentum", f"at the end of the sweep at {found['at_end']} lr: no exponent", False, system=name)
        else:
            yield from _of_laws(found["fits"], name)
            for part, gamma in found["lowest"].items():
                contains = gamma["low"] <= TWO_THIRDS <= gamma["high"]
                yield Measured(f"exponent, only lr {part}", _interval(gamma), contains, False, name)
        best = decisive(each["time_fits"])
        if name and best is not None:
            gamma = each["time_fits"][best]["exponent"]
            yield Measured("shortest time: exponent", _interval(gamma), gamma["low"] <= -TWO_THIRDS <= gamma["high"], False, name)


def generalisation(summary: Summary) -> Iterator[Measured]:
    """The exponent of the lowest test loss; and the test metrics at the fastest and the least momentum, listed."""
    yield from exponents("best test")(summary)
    for name, found in summary.get("test_metrics", {}).items():
        over = " to ".join(dict.fromkeys(f"{each(summary['least_over_fastest']):.2g}" for each in (min, max)))
        fastest, least, difference = (found[which] for which in ("fastest", "least", "difference"))
        text = "; ".join(with_error(each["value"], each["standard_error"]) for each in (fastest, least))
        text += f"; difference {with_error(difference['value'], difference['standard_error'], '+')}"
        yield Measured(f"{name}: at the fastest momentum; at {over} times its 1 - beta", text, None, decides=False)


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
    """With its standard error; that of a bound set by the number of steps is 0, and is left out."""
    bound, error = estimate.get("at_least"), estimate["standard_error"]
    return f"{'> ' if bound else ''}{estimate['value']:.2f}{'' if bound and not error else f' ± {error:.2f}'}"


def _is_good(found: Summary) -> bool:
    """`_at_most`, of a number that is no lower bound."""
    return _at_most(found["value"], found["standard_error"]) and not found.get("at_least")


def _at_most(value: float, error: float) -> bool:
    """At most TOLERATED within two standard errors, which must themselves be small enough to tell."""
    return bool(value - 2 * error <= TOLERATED and _tells(error))


def _tells(error: float) -> bool:
    """Whether two standard errors tell 1 from TOLERATED."""
    return 2 * error <= TOLERATED - 1


def good(*rules: str) -> Judge:
    """Whether rules take at most TOLERATED times the shortest time at every learning rate."""

    def judge(summary: Summary) -> Iterator[Measured]:
        for rule, found in _regrets(summary).items():
            if rule in rules and not isnan(found["value"]):  # NaN: the rule makes no prediction, or one outside the sweep
                yield Measured(f"largest time over the shortest, {rule}", _regret(found), _is_good(found))

    return judge


def better(summary: Summary) -> Iterator[Measured]:
    """Whether lr^(2/3) beats the other ways to choose the momentum, beyond the errors; ways with the same number are one row."""
    found = _regrets(summary)
    ours = found.get("lr^(2/3)")
    if ours is not None:
        yield Measured("largest time over the shortest, lr^(2/3)", _regret(ours), _is_good(ours))
        rows: dict[tuple[str, bool], list[str]] = {}
        for other in ("lr^(1/2)", "lr", KEPT, *BASELINES):
            if other in found:
                least = found[other]["value" if found[other].get("at_least") else "low"]
                rows.setdefault((_regret(found[other]), least > ours["high"]), []).append(other)
        for (text, holds), names in rows.items():
            yield Measured(f"the same, {'; '.join(names)}", text, holds)


def energies(summary: Summary) -> Iterator[Measured]:
    """Whether the train loss is that of normal modes in their stationary state; NaN: it cannot be told."""
    ratio, error = summary.get("loss_ratio", (float("nan"), float("nan")))
    if not isnan(ratio):
        yield Measured("train loss, measured over predicted", f"{ratio:.3f} ± {error:.3f}", abs(ratio - 1) <= 2 * error)


def courses(summary: Summary) -> Iterator[Measured]:
    """Whether the predicted course of tr H stays within a share of the start of the measured one."""
    course = summary.get("course")
    if course:
        for delta, found in zip(course["one_minus_beta"], course["trace_hessian"], strict=True):
            text = (
                f"{100 * found['value']:+.1f} ± {100 * found['standard_error']:.1f} % of the start, after {found['step']:,} steps"
            )
            value, band = abs(found["value"]), 2 * found["standard_error"]
            name = f"largest difference of tr H, lr {course['lr']:.3g}, 1 - beta {delta:.2g}"
            yield Measured(name, text, band <= FAR and value - band <= FAR, file="course.nc")


def ordinary(summary: Summary) -> Iterator[Measured]:
    """Ordinary mini-batches: the exponent of the best momentum, and the points of accuracy lost by moving a tuned one."""
    found = summary.get("summary", {})
    for arm, one in found.items() if isinstance(found, Mapping) else ():
        if "lost" in one:
            yield from _of_laws(one["fits"], arm)
            (moved, error), (kept, _) = (_most_lost(one["lost"][rule]) for rule in ("lr^(2/3)", "fixed"))
            text = f"{moved:.1f} ± {error:.1f} points; {kept:.1f} by keeping it"
            yield Measured("accuracy lost by lr^(2/3)", text, moved < kept, system=arm)


def _most_lost(rule: Summary) -> tuple[float, float]:
    """Points lost at the learning rate where a rule loses most, and their standard error."""
    return max(zip(rule["points"], rule["se"], strict=True))


def _contains(name: str, found: Summary, value: float, system: str, file: str) -> Measured:
    return Measured(name, _interval(found), found["low"] <= value <= found["high"], True, system, file)


def averages(summary: Summary) -> Iterator[Measured]:
    """Averages of gradients: the exponent of the edge is 2, and its prefactor the derived one within a tenth."""
    file = "results/averaged_gradients.nc"
    for name, found in _neighbour(summary, "averaged_gradients").items():
        if "exponent" in found:
            what = f"exponent of the edge, derived {found['derived']:.3f} at these lr"
            yield _contains(what, found["exponent"], found["derived"], name, file)
            ratio = found["over_predicted"]
            near = ratio["low"] <= 1.1 and ratio["high"] >= 0.9
            yield Measured("edge over predicted", _interval(ratio), near, True, name, file)
        elif "edge" in found:
            what = f"edge in units of lr^2 mu_A, derived {found['predicted']:.3f}"
            yield _contains(what, found["edge"], found["predicted"], name, file)
        elif "gain" in found:
            change = found["gain"]
            near = change["low"] <= 1.1 and change["high"] >= 0.9
            what = "fall of tr H at 1 - beta1 = 15 lr^2 over that at 2000 lr^2"
            yield Measured(what, _interval(change), near, True, name, file)
        else:
            yield _contains("variance along the valley over derived", found["spread"], 1.0, name, file)


def interpolation(summary: Summary) -> Iterator[Measured]:
    """Mini-batches without label noise: exponents of the best momentum, the rule's price, and the drift's whole way."""
    found, file = _neighbour(summary, "interpolation"), "results/interpolation.nc"
    fit, drift = "the fit", "the drift"
    for name, value in found.items():
        if name.startswith("exponent"):
            what = f"{name}, derived {value['derived']:.3f} at these lr"
            yield _contains(what, value, value["derived"], fit, file)
    if found:
        worst, way, below = found["worst_regret"], found["way_errors"], found["ended_below"]
        what = "largest time over the shortest by the recursion, closed form"
        yield Measured(what, f"{worst:.2f}", worst <= TOLERATED, True, fit, file)
        text = f"at most {way:.1f} standard errors"
        yield Measured("way of the drift, from the derived", text, way <= 4, True, drift, file)
        what = "runs beyond the stability limit that ended below it"
        yield Measured(what, f"{below:.0%}", below > 0.99, True, drift, file)


def _neighbour(summary: Summary, name: str) -> Summary:
    """The numbers of one neighbouring paper."""
    found: Summary = summary.get("experiments", {}).get(name, {}).get("numbers", {})
    return found


def default_answers(summary: Summary) -> Iterator[Measured]:
    """The default answer of `predict`: the largest regret on each problem, and its predicted over measured steps."""
    rows = summary.get("summary", ())
    for row in rows if isinstance(rows, Sequence) else ():
        if row["kind"] != "default":
            continue
        doubtful = len(row["lr"]) - row["safe"]
        doubt = f"; called doubtful at {doubtful} of {len(row['lr'])} learning rates" if doubtful else ""
        if row["regret"] is None:
            yield Measured("largest time over the shortest", f"target missed{doubt}", False, system=row["case"])
            continue
        value, error, largest = row["regret"], row["regret_se"] or 0.0, row["largest_regret_se"]
        other = f"; at another learning rate ± {largest:.2f}" if largest > error and not _tells(largest) else ""
        holds = _at_most(value, error) and _tells(largest)
        yield Measured("largest time over the shortest", f"{value:.2f} ± {error:.2f}{other}{doubt}", holds, system=row["case"])


def limits(summary: Summary) -> Iterator[Measured]:
    """The critical limit's error: 0 within two standard errors at the smallest lr, or a power of lr that is surely above 0."""
    found = summary.get("summary", {})
    for case, each in found.items() if isinstance(found, Mapping) else ():
        for limit, one in each.items() if "lost" not in each else ():
            smallest = min(range(len(one["lr"])), key=lambda i: one["lr"][i])
            (error, se), power = (one["error"][smallest], one["error_se"][smallest]), one["power"]
            falls = abs(error) <= 2 * se or (power is not None and power[0] > 2 * power[1])
            how = "" if power is None else f"; as lr^({power[0]:.2f} ± {power[1]:.2f})"
            text = f"{100 * error:+.1f} ± {100 * se:.1f} % at lr {one['lr'][smallest]:.2g}{how}"
            yield Measured(f"error of the time, {limit}", text, falls, limit == "critical limit", case)
