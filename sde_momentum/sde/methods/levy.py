"""A stochastic Runge-Kutta method of strong order 1 for noise that does not commute, with Levy areas."""

from __future__ import annotations

import math
from itertools import combinations
from typing import ClassVar

from ..equation import SDE, Equation
from .base import Method


class LevySRK(Method):
    """Milstein's terms for any noise, without derivatives: with I_jk the iterated integrals of the Wiener processes j and k,

        H_k± = X_n ± sum_j b_j I_jk / sqrt(h),  X_{n+1} = X_n + a h + sum_k b_k dW_k + sqrt(h) / 2 sum_k (b_k(H_k+) - b_k(H_k-))

    (Rößler 2010). I_jk = (dW_j dW_k - h delta_jk) / 2 + A_jk (Stratonovich: without h); the Levy area A_jk = -A_kj is drawn
    given dW: `terms` terms of its Fourier series (Kloeden, Platen 1992, eq. 10.3.7), and the rest, of which the part linear in dW
    is drawn exactly, the other replaced by a normal number of its variance (Mrongowius, Rößler 2022, Stoch. Anal. Appl. 40). By
    the fourth cumulant of what is replaced (its excess is 1 / terms) this is an error of about 0.02 h / terms^(3/2) in each area,
    0.001 h with 8 terms, where an area is 0.5 h: so the order is 1 down to steps of about a millionth of the noise's own time. A
    subclass may set more `terms`.

    One drift and 1 + 2 n_noise diffusions a step, and 2 n_noise (terms + 1) + n_noise (n_noise - 1) / 2 normal numbers. Where
    only expectations are wanted `dri1` is cheaper. Paths on given increments are not possible, since they do not tell the areas.
    """

    name = "srk-levy"
    source = "Rößler 2010, SIAM J. Numer. Anal. 48; areas: Mrongowius, Rößler 2022, Stoch. Anal. Appl. 40"
    strong_order: ClassVar[float | None] = 1.0
    weak_order = 1.0
    drift_order = 1
    noises = ("general",)
    levy_areas = True
    terms: ClassVar[int] = 8

    @classmethod
    def n_numbers(cls, equation: Equation) -> int:
        """dW, the coefficients of sines and cosines, the rest's part along dW, and one for each pair of processes."""
        m = equation.n_noise
        return m if m == 1 else 2 * m * (cls.terms + 1) + m * (m - 1) // 2

    @classmethod
    def text(cls, equation: Equation) -> str:
        assert isinstance(equation, SDE)
        m, lines = equation.n_noise, ["a* = drift(x*, t, p)", "b* = diffusion(x*, t, p)"]
        lines += cls.area_lines(m)
        square = " - h" if equation.interpretation == "ito" else ""
        new = ["x@ + a@ * h"]
        for k in range(m):
            integrals = []
            for j in range(m):
                area = "" if j == k else f" + area{j}_{k}" if j < k else f" - area{k}_{j}"
                product = f"0.5 * (w{j} * w{k}{square if j == k else ''})"
                integrals.append(f"b@[{j}] * (({product}{area}) / root)")
            lines.append(f"moved@ = {' + '.join(integrals)}")
            for name, sign in (("f", "+"), ("g", "-")):
                lines += [f"y@ = x@ {sign} moved@", "s* = diffusion(y*, t, p)", f"{name}{k}@ = s@[{k}]"]
            new.append(f"b@[{k}] * w{k} + 0.5 * root * (f{k}@ - g{k}@)")
        return "\n".join([*lines, f"new@ = {' + '.join(new)}"])

    @classmethod
    def area_lines(cls, m: int) -> list[str]:
        """Lines that set the increments w0, w1, ... and the areas area0_1, ... from the numbers of the step."""
        lines = [f"w{k} = root * xi[{k}]" for k in range(m)]
        rest = math.sqrt(2.0 * (math.pi**2 / 6.0 - sum(1.0 / r**2 for r in range(1, cls.terms + 1)))) / (2.0 * math.pi)
        last = m * (2 * cls.terms + 1)
        for pair, (j, k) in enumerate(combinations(range(m), 2)):
            terms = []
            for r in range(1, cls.terms + 1):
                sines, cosines = (m * (2 * r - 1 + i) for i in (0, 1))
                one, two = (f"xi[{sines + i}] * ({math.sqrt(2.0)} * xi[{o}] + xi[{cosines + o}])" for i, o in ((j, k), (k, j)))
                terms.append(f"{1.0 / (2.0 * math.pi * r)} * ({one} - {two})")
            terms.append(f"{rest} * (xi[{last + j}] * xi[{k}] - xi[{last + k}] * xi[{j}] + xi[{last + m + pair}])")
            lines.append(f"area{j}_{k} = h * ({' + '.join(terms)})")
        return lines
