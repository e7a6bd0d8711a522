"""Estimates, intervals and power laws as text for tables and as plain data for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from sde_momentum.predictors.measured_optimum import N_RESAMPLES, Estimate, Optima, PowerLaw

Floats = NDArray[np.float64]

POWER_LAWS = ("C lr^γ", "C lr^γ exp(a₁ lr^(1/3))", "C lr^γ exp(a₁ lr^(1/3) + a₂ lr^(2/3))")
"""With 0, 1 and 2 corrections in powers of lr^(1/3) [theory: Ways to predict, eq. 11.4]."""


_LEAST_ERROR = 1e-3
"""Least standard error of the logarithm of a time, as in fits to the best momenta: that of few runs may be 0 by chance."""


def number(value: float, digits: int = 3) -> str:
    """A number with `digits` significant digits; "–" for one that is not finite."""
    return f"{value:.{digits}g}" if np.isfinite(value) else "–"


def interval(estimate: Estimate) -> str:
    """The 95 % interval."""
    return f"{number(estimate.low)} to {number(estimate.high)}"


def percent(value: float) -> str:
    """A share in percent."""
    return f"{100 * value:.1f} %"


def with_error(value: float, error: float, sign: str = "") -> str:
    """A value ± its standard error, to two significant digits of the error.

    >>> with_error(0.024312, 0.00012), with_error(-3, 0.5, "+"), with_error(1, 0)
    ('0.02431 ± 0.00012', '-3.00 ± 0.50', '1.0000 ± 0.0000')
    """
    digits = max(0, 1 - int(np.floor(np.log10(error)))) if 0 < error < np.inf else 4
    return f"{value:{sign}.{digits}f} ± {error:.{digits}f}"


def gamma(exponent: Estimate) -> list[str]:
    """Two cells for an exponent: value ± standard error, and the 95 % interval."""
    return [f"{exponent.value:.3f} ± {exponent.standard_error:.3f}", f"{exponent.low:.3f} to {exponent.high:.3f}"]


LAW_HEAD = ("fit to the measured optima", "exponent γ", "95 %", "prefactor C", "95 %", "χ² / degrees of freedom")
TIME_HEAD = ("fit to the shortest times", *LAW_HEAD[1:])
TIME_NOTE = (
    "Theory has γ = −2/3 for the time at the best momentum, in the limit of small learning rates. Fitted are the shortest times "
    "of the sweep, with the errors of the runs at these momenta."
)


def law_rows(laws: Sequence[PowerLaw], among: Sequence[tuple[str, Estimate]]) -> list[list[str]]:
    """Rows below LAW_HEAD or TIME_HEAD: each law, then exponents of the plain law fitted to parts of the learning rates."""
    rows = []
    for name, law in zip(POWER_LAWS, laws, strict=False):
        fit = f"{law.chi2:.1f} / {law.freedom} (p = {law.p_value:.2g})" if law.freedom else "–"
        rows.append([name, *gamma(law.exponent), number(law.prefactor.value), interval(law.prefactor), fit])
    return rows + [[f"{POWER_LAWS[0]}, {text}", *gamma(exponent), "", "", ""] for text, exponent in among]


def fitted_laws(x: Floats, y: Floats, relative_error: Floats, order: int = 1, freedom: float = np.inf) -> list[PowerLaw]:
    """The plain power law y = C x^γ through points of these independent errors, and those with up to `order` corrections that
    leave a degree of freedom [theory: Ways to predict, eq. 11.4]: least squares in logarithms, Student's intervals.

    Args:
        x, y: all above 0, (n,); n at least 2
        relative_error: standard errors of ln y, all above 0, (n,)
        order: largest number of corrections
        freedom: degrees of freedom of the errors; inf: they are known

    >>> x = np.array([0.01, 0.02, 0.04, 0.08])
    >>> plain, corrected = fitted_laws(x, 3 * x ** (2 / 3), np.full(4, 0.01))
    >>> print(f"{plain.exponent.value:.3f} ± {plain.exponent.standard_error:.3f}, {corrected.freedom}")
    0.667 ± 0.006, 1
    """
    laws, reach = [], float(stdtrit(freedom, 0.975))
    for n in range(1 + min(order, max(len(x) - 3, 0))):
        powers = [np.cbrt(x) ** (i + 1) for i in range(n)]
        design = np.stack([np.ones_like(x), np.log(x), *powers], axis=1) / relative_error[:, None]
        covariance = np.linalg.inv(design.T @ design)
        terms = covariance @ design.T @ (np.log(y) / relative_error)
        prefactor, *others = zip(terms, np.sqrt(np.diag(covariance)), strict=True)
        exponent, *corrections = (
            Estimate(float(value), float(value - reach * se), float(value + reach * se), float(se)) for value, se in others
        )
        c = np.exp(prefactor[0] + prefactor[1] * np.array([0.0, -reach, reach]))
        laws.append(
            PowerLaw(
                exponent,
                Estimate(float(c[0]), float(c[1]), float(c[2]), float(c[0] * prefactor[1])),
                tuple(corrections),
                float(np.sum((design @ terms - np.log(y) / relative_error) ** 2)),
                len(x) - len(terms),
                terms,
                np.random.default_rng(0).multivariate_normal(terms, covariance, size=N_RESAMPLES),
                freedom,
            )
        )
    return laws


def time_laws(optima: Optima, order: int = 1) -> list[PowerLaw]:
    """Power laws of the shortest time of a sweep against lr, whose exponent is -2/3 in theory [theory: Crossing, eq. 4.3].

    The shortest time is the least of the momenta of the sweep, its error that of the runs at this momentum, at least 0.1 %.
    Errors of different learning rates, which share their seeds, count as independent.
    """
    best = optima.time.argmin(axis=1)[:, None]
    time, error = (np.take_along_axis(values, best, axis=1)[:, 0] for values in (optima.time, optima.relative_error))
    return fitted_laws(optima.lr, time, np.maximum(error, _LEAST_ERROR), order, optima.n_seeds - 1)


def lowest(x: Floats, y: Floats, error: Floats) -> tuple[float, float]:
    """exp of the x where a parabola through y(x) is least, and its standard error; NaN where it opens downwards.

    Args:
        x, y: logarithms of 1 - beta and of the time, (n,); n at least 3
        error: standard errors of y, (n,)
    """
    middle = x.mean()
    basis = np.stack([np.ones_like(x), x - middle, (x - middle) ** 2], axis=1)
    covariance = np.linalg.inv(basis.T @ (basis * (error**-2.0)[:, None]))
    _, b, c = covariance @ basis.T @ (y * error**-2.0)
    if c <= 0:
        return np.nan, np.nan
    gradient = np.array([0, -1 / (2 * c), b / (2 * c**2)])
    at = float(np.exp(middle - b / (2 * c)))
    return at, at * float(np.sqrt(gradient @ covariance @ gradient))


def both_exponents(laws: Sequence[PowerLaw], variable: str = "lr") -> str:
    """The exponents of all fits in words: the plain power law's first, with its χ², then those with corrections."""
    said = []
    for law in laws:
        n = len(law.corrections)
        fit = "as a plain power law" if not n else f"with {n} correction{'s' * (n > 1)} in {variable}^(1/3)"
        chi2 = f", χ² = {law.chi2:.1f} for {law.freedom}, p = {law.p_value:.2g}" if law.freedom else ""
        said.append(f"{law.exponent.value:.3f} ({law.exponent.low:.3f} to {law.exponent.high:.3f}{chi2}) {fit}")
    if len(laws) == 1:
        said.append("too few points for a fit with corrections")
    return "γ = " + "; ".join(said)


def plain_law(law: PowerLaw) -> dict[str, Any]:
    """A power law as plain numbers."""
    return {
        "exponent": asdict(law.exponent),
        "prefactor": asdict(law.prefactor),
        "corrections": [asdict(term) for term in law.corrections],
        "chi2": law.chi2,
        "degrees_of_freedom": law.freedom,
        "p_value": law.p_value,
    }
