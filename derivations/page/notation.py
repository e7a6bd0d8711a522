"""Notation: symbols and plain-text formulas as HTML and MathML, with eta for lr and superscripts for ^."""

from __future__ import annotations

import html
import re
from typing import Any

import sympy as sp
from sympy.codegen.cfunctions import expm1, log1p
from sympy.printing.mathml import MathMLPresentationPrinter

from ..definitions import GREEK
from ..formula import plain
from ..symbols import letter

_SIGNS = {"perp": "⊥", "par": "∥"}
_WORD = re.compile(r"(?<![A-Za-z_])(d?)(" + "|".join(GREEK) + r")(?![A-Za-z])")


def displayed(expression: sp.Expr) -> sp.Expr:
    """The expression in the letters of docs/theory.md, without marks and without functions that only avoid rounding."""
    shown = plain(expression).replace(log1p, lambda z: sp.log(1 + z)).replace(expm1, lambda z: sp.exp(z) - 1)
    shown = shown.replace(sp.log, sp.Function("ln"))
    # `eta0` is printed with a subscript, as `eta_0` is
    named = {s: sp.Symbol(re.sub(r"(?<=[A-Za-z])(\d+)$", r"_\1", letter(s)), **s.assumptions0) for s in shown.atoms(sp.Symbol)}
    return shown.xreplace(named)


class _MathML(MathMLPresentationPrinter):
    """Presentation MathML with cases and comparisons, which sympy leaves to its text printer."""

    def _element(self, name: str, *children: object) -> Any:
        element = self.dom.createElement(name)
        for child in children:
            element.appendChild(self.dom.createTextNode(child) if isinstance(child, str) else child)
        return element

    def _print_Relational(self, expr: sp.core.relational.Relational) -> Any:
        sign = {"<": "&lt;", ">": "&gt;", "<=": "&#8804;", ">=": "&#8805;", "==": "=", "!=": "&#8800;"}[expr.rel_op]
        return self._element("mrow", self._print(expr.lhs), self._element("mo", sign), self._print(expr.rhs))

    _print_Equality = _print_Relational

    def _print_Piecewise(self, expr: sp.Piecewise) -> Any:
        rows = []
        for value, condition in expr.args:
            words = [self._element("mtext", "otherwise")] if condition == True else [self._print(condition)]  # noqa: E712
            rows.append(self._element("mtr", self._element("mtd", self._print(value)), self._element("mtd", *words)))
        return self._element("mtable", *rows)  # its brace and alignment are in the stylesheet


def mathml(expression: sp.Expr) -> str:
    """The inside of a `math` element of an HTML page."""
    return str(_MathML().doprint(expression)).replace("<mo>-</mo>", "<mo>−</mo>")


def typeset(text: str) -> str:
    """Words with formulas in plain text ("delta ~ eta^(2/3)") as HTML; `names` in backquotes as code."""
    parts = re.split(r"`([^`]*)`", text)
    return "".join(f"<code>{html.escape(part)}</code>" if i % 2 else _words(part) for i, part in enumerate(parts))


def _power_of_ten(match: re.Match[str]) -> str:
    sign = "−" if match[2] == "-" else ""
    return f"{match[1]}\u202f×\u202f10<sup>{sign}{match[3]}</sup>"


def _words(text: str) -> str:
    out = html.escape(text, quote=False)
    out = re.sub(r"\bsqrt\(", "√(", out)
    out = re.sub(r"\bsum(?=_)", "Σ", out)
    out = re.sub(r"\bgrad (?=[A-Za-z])", "∇", out).replace("grad_Gamma", "∇<sub>Γ</sub>")
    out = out.replace("-&gt;", "→").replace("+-i", "± i").replace("&lt;=", "≤").replace("&gt;=", "≥").replace("...", "…")
    out = re.sub(r"(?<![\w.])(\d(?:\.\d+)?)e([+-]?)0*(\d+)(?!\w)", _power_of_ten, out)
    out = re.sub(r"(?<=\d)x(?=\d)|(?<=\d )x(?= \d)", "×", out)  # sizes
    out = _WORD.sub(lambda match: match[1] + GREEK[match[2]], out)
    out = re.sub(r"\^\(((?:[^()]|\([^()]*\))*)\)|\^(-?\w+(?:\.\w+)*)", lambda match: f"<sup>{match[1] or match[2]}</sup>", out)
    out = re.sub(
        r"_\{([^}]*)\}|_([A-Za-zΓ]|\d+|perp|par|eff|[ijxy]{2})(?!\w)",
        lambda m: f"<sub>{m[1] or _SIGNS.get(m[2], m[2])}</sub>",
        out,
    )
    out = re.sub(r"(?<=[ηβδλGx])(\d)(?!\d)", r"<sub>\1</sub>", out)
    return re.sub(r"(?<=[\s(/=~>])-(?=[\d(A-Za-zΑ-ω√∇])|^-(?=\S)|(?<= )-(?= )", "−", out)
