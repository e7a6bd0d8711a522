"""Estimates, intervals and power laws as text for tables and as plain data for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from sde_momentum.predictors.measured_optimum import Estimate, PowerLaw

POWER_LAWS = ("C lr^γ", "C lr^γ exp(a₁ lr^(1/3))", "C lr^γ exp(a₁ lr^(1/3) + a₂ lr^(2/3))")
"""With 0, 1 and 2 corrections in powers of lr^(1/3) [theory: Ways to predict, eq. 11.4]."""


def number(value: float, digits: int = 3) -> str:
    """A number with `digits` significant digits; "–" for one that is not finite."""
    return f"{value:.{digits}g}" if np.isfinite(value) else "–"


def interval(estimate: Estimate) -> str:
    """The 95 % interval."""
    return f"{number(estimate.low)} to {number(estimate.high)}"


def percent(value: float) -> str:
    """A share in percent."""
    return f"{100 * value:.1f} %"


def gamma(exponent: Estimate) -> list[str]:
    """Two cells for an exponent: value ± standard error, and the 95 % interval."""
    return [f"{exponent.value:.3f} ± {exponent.standard_error:.3f}", f"{exponent.low:.3f} to {exponent.high:.3f}"]


LAW_HEAD = ("fit to the measured optima", "exponent γ", "95 %", "prefactor C", "95 %", "χ² / degrees of freedom")


def law_rows(laws: Sequence[PowerLaw], among: Sequence[tuple[str, Estimate]]) -> list[list[str]]:
    """Rows below LAW_HEAD: each law, then exponents of the plain law fitted to parts of the learning rates."""
    rows = []
    for name, law in zip(POWER_LAWS, laws, strict=False):
        fit = f"{law.chi2:.1f} / {law.freedom} (p = {law.p_value:.2g})" if law.freedom else "–"
        rows.append([name, *gamma(law.exponent), number(law.prefactor.value), interval(law.prefactor), fit])
    return rows + [[f"{POWER_LAWS[0]}, {text}", *gamma(exponent), "", "", ""] for text, exponent in among]


def both_exponents(laws: Sequence[PowerLaw]) -> str:
    """The exponents of all fits in words, the plain power law's first, each with its interval and how well it fits."""
    said = []
    for law in laws:
        n = len(law.corrections)
        fit = "as a plain power law" if not n else f"with {n} correction{'s' * (n > 1)} in lr^(1/3)"
        chi2 = f", χ² = {law.chi2:.1f} for {law.freedom}" if law.freedom else ""
        said.append(f"{law.exponent.value:.3f} ({law.exponent.low:.3f} to {law.exponent.high:.3f}{chi2}) {fit}")
    return "γ = " + "; ".join(said)


def plain_law(law: PowerLaw) -> dict[str, Any]:
    """A power law as plain numbers."""
    return {
        "exponent": asdict(law.exponent),
        "prefactor": asdict(law.prefactor),
        "corrections": [asdict(term) for term in law.corrections],
        "chi2": law.chi2,
        "degrees_of_freedom": law.freedom,
    }
