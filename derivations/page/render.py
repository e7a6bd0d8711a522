"""Rendering of a derivation: as plain text, as a LaTeX article, or as one HTML page that needs no network."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module

import sympy as sp

from ..definitions import definitions
from ..formula import POINTS, Derivation, Formula, Step
from ..sections import Section
from ..symbols import letter
from . import stylesheet
from .notation import displayed, mathml, typeset

FOLD_FROM = 70  # operations; a longer side of an equation is folded away on the page
_WIDTH = 100


@dataclass(frozen=True)
class Checked:
    """A step with the result of its verification."""

    step: Step
    holds: bool

    @property
    def verdict(self) -> str:
        if not self.holds:
            return "DOES NOT HOLD"
        return "proved symbolically" if self.step.symbolic else f"holds to 50 digits at {POINTS} random points"

    @property
    def equation(self) -> tuple[sp.Expr, sp.Expr]:
        left, right = (displayed(side) for side in (self.step.left, self.step.right))
        return left, right


def check(derivation: Derivation) -> list[Checked]:
    """All steps of a derivation, each verified now."""
    return [Checked(step, step.holds()) for step in derivation.steps]


def introduction(name: str) -> list[str]:
    """The paragraphs in which the derivation's module says what it is about."""
    text = import_module(f"..{name}", __package__).__doc__ or ""
    return text.strip().split("\n\n")


def contents(derivations: Mapping[str, Derivation], columns: int = _WIDTH) -> str:
    """Every section of docs/theory.md with its derivations, or what checks it where there are none; lines of `columns`."""
    wrap = partial(_wrapped, columns=columns)
    lines = ["The sections of docs/theory.md and what proves them; `sde-momentum derive NAME` prints a proof.", ""]
    for section in Section:
        lines.append(wrap(section.heading, "  ", ""))
        lines += [
            wrap(f"{name:20} {derivation.title}: {len(derivation.steps)} steps", " " * 25, "    ")
            for name, derivation in derivations.items()
            if section in derivation.sections
        ]
        if section.underived:
            lines.append(wrap(f"no derivation: {section.underived}", "    "))
    return "\n".join(lines)


# --- Text -----------------------------------------------------------------------------------------------
def as_text(checked: Mapping[str, tuple[Derivation, list[Checked]]], columns: int = _WIDTH) -> str:
    """Every derivation as plain text, lines of at most `columns` where they have spaces."""
    return "\n\n".join(_text(name, *entry, columns) for name, entry in checked.items())


def _wrapped(text: str, indent: str, first: str | None = None, columns: int = _WIDTH) -> str:
    begin = indent if first is None else first
    return textwrap.fill(text, columns, initial_indent=begin, subsequent_indent=indent, break_long_words=False)


def _text(name: str, derivation: Derivation, steps: list[Checked], columns: int) -> str:
    wrap = partial(_wrapped, columns=columns)
    title = wrap(f"{derivation.title} ({derivation.place}): {name}", "")
    about = [part if part.startswith("    ") else wrap(" ".join(part.split()), "") for part in introduction(name)]
    lines = [title, "=" * max(map(len, title.splitlines())), "", "\n\n".join(about), "", "Assumptions"]
    lines += [wrap(assumption, "    ", "  - ") for assumption in derivation.assumptions]
    lines += ["", "Symbols"]
    lines += [wrap(f"{symbol:9} {meaning}", " " * 12, "  ") for symbol, meaning in definitions(derivation)]
    lines += ["", "Steps"]
    for number, checked in enumerate(steps, 1):
        left, right = (sp.sstr(side) for side in checked.equation)
        lines.append(wrap(f"{checked.step.claim}  [{checked.verdict}]", "      ", f"{number:4}. "))
        lines.append(wrap(left if left == right else f"{left} = {right}", " " * 12, " " * 8))
    lines += ["", "Result"]
    for formula in derivation.formulas:
        arguments = ", ".join(map(str, formula.arguments))
        lines.append(wrap(f"sde_momentum.theory.formulas.{formula.name}({arguments})", "      ", "  "))
        lines.append(wrap(f"{formula.summary} {formula.equation}", "      "))
        lines.append(wrap(formula.text, " " * 12, " " * 8))
    return "\n".join(lines) + "\n"


# --- LaTeX ----------------------------------------------------------------------------------------------
_PREAMBLE = r"""\documentclass{article}
\usepackage[a4paper, margin=25mm]{geometry}
\usepackage{amsmath, amssymb, adjustbox, hyperref}
\newcommand{\equationline}[1]{\par\smallskip\noindent\adjustbox{max width=\linewidth}{$\displaystyle #1$}\smallskip\par}
\title{Derivations}\date{}
\begin{document}
\maketitle\tableofcontents
"""


def _tex(text: str) -> str:
    """Plain words for LaTeX; formulas in them stay as they are written."""
    escapes = {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}"}
    escapes |= {">": r"\textgreater{}"} | {character: f"\\{character}" for character in "#$%&_{}"}
    return "".join(escapes.get(character, character) for character in text)


def as_latex(checked: Mapping[str, tuple[Derivation, list[Checked]]]) -> str:
    """Every derivation as a section of one article."""
    return _PREAMBLE + "\n".join(_latex(name, *entry) for name, entry in checked.items()) + "\\end{document}\n"


def _latex(name: str, derivation: Derivation, steps: list[Checked]) -> str:
    lines = [rf"\section{{{_tex(derivation.title)} ({_tex(derivation.place)})}}"]
    lines += [_tex(paragraph) + "\n" for paragraph in introduction(name)]
    lines += [r"\subsection*{Assumptions}"]
    lines += [r"\begin{itemize}", *(rf"\item {_tex(assumption)}" for assumption in derivation.assumptions), r"\end{itemize}"]
    lines += [r"\subsection*{Symbols}", r"\begin{description}"]
    lines += [rf"\item[{_tex(symbol)}] {_tex(meaning)}" for symbol, meaning in definitions(derivation)]
    lines += [r"\end{description}", r"\subsection*{Steps}", r"\begin{enumerate}"]
    for checked in steps:
        left, right = (sp.latex(side) for side in checked.equation)
        equation = left if left == right else f"{left} = {right}"
        lines.append(rf"\item {_tex(checked.step.claim)} \emph{{({checked.verdict})}}\equationline{{{equation}}}")
    lines += [r"\end{enumerate}"]
    if derivation.formulas:
        lines += [r"\subsection*{Result}", r"\begin{description}"]
        lines += [
            rf"\item[\texttt{{{_tex(f.name)}}}] {_tex(f.summary)} {_tex(str(f.equation))}\par {_tex(f.text)}"
            for f in derivation.formulas
        ]
        lines += [r"\end{description}"]
    return "\n".join(lines) + "\n"


# --- HTML -----------------------------------------------------------------------------------------------
def as_html(checked: Mapping[str, tuple[Derivation, list[Checked]]]) -> str:
    """One self-contained page: contents, then every derivation with its formulas in MathML."""
    entries = [(name, derivation, steps) for name, (derivation, steps) in checked.items()]
    total = sum(len(steps) for _, _, steps in entries)
    proved = sum(c.holds and c.step.symbolic for _, _, steps in entries for c in steps)
    failed = sum(not c.holds for _, _, steps in entries for c in steps)
    verdict = f"{total} steps: {proved} proved symbolically, {total - proved - failed} evaluated with 50 digits"
    verdict += f", <strong class=bad>{failed} do not hold</strong>" if failed else ", all hold"
    links = "\n".join(
        f"<li><a href='#{name}'>{html.escape(d.title)}</a> <span class=tag>{d.place}</span></li>" for name, d, _ in entries
    )
    body = "\n".join(_article(*entry) for entry in entries)
    style = stylesheet("base.css") + stylesheet("style.css")
    return (
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>sde-momentum: derivations</title><style>{style}</style></head><body>\n"
        "<header><h1>Momentum, label noise and the flat direction: derivations</h1>"
        f"<p>Every formula of <code>sde_momentum.theory.formulas</code> is generated from these. {verdict}.</p></header>\n"
        f"<nav><h2>Contents</h2><ol>{links}</ol></nav>\n<main>{body}</main></body></html>\n"
    )


def _article(name: str, derivation: Derivation, steps: list[Checked]) -> str:
    about = "".join(_paragraph(text) for text in introduction(name))
    assumptions = "".join(f"<li>{typeset(text)}</li>" for text in derivation.assumptions)
    meanings = "".join(f"<dt>{typeset(s)}</dt><dd>{typeset(meaning)}</dd>" for s, meaning in definitions(derivation))
    proof = "\n".join(_step(checked) for checked in steps)
    results = "\n".join(_result(formula) for formula in derivation.formulas)
    result = f"<h3>Result</h3>{results}" if results else ""
    return (
        f"<article id='{name}'><h2>{html.escape(derivation.title)} <span class=tag>{derivation.place}</span></h2>"
        f"{about}<h3>Assumptions</h3><ul>{assumptions}</ul><details><summary>Symbols</summary><dl>{meanings}</dl></details>"
        f"<h3>Steps</h3><ol class=steps>{proof}</ol>{result}</article>"
    )


def _paragraph(text: str) -> str:
    """Words, or an indented block of formulas line by line."""
    if text.startswith("    "):
        return f"<p class=formula>{'<br>'.join(typeset(line.strip()) for line in text.splitlines())}</p>"
    return f"<p>{typeset(' '.join(text.split()))}</p>"


def _math(expression: sp.Expr) -> str:
    return f"<div class=scroll><math displaystyle=true>{mathml(expression)}</math></div>"


def _side(expression: sp.Expr) -> str:
    operations = expression.count_ops()
    if operations < FOLD_FROM:
        return _math(expression)
    return f"<details class=side><summary>expression of {operations} operations</summary>{_math(expression)}</details>"


def _step(checked: Checked) -> str:
    left, right = checked.equation
    kind = "bad" if not checked.holds else ("symbolic" if checked.step.symbolic else "numeric")
    # Where both sides come out in the same form there is one to show: the derived one.
    equation = _side(left) if left == right else f"{_side(left)}<span class=equals>=</span>{_side(right)}"
    return (
        f"<li><p>{typeset(checked.step.claim)} <span class='verdict {kind}'>{checked.verdict}</span></p>"
        f"<div class=equation>{equation}</div></li>"
    )


def _result(formula: Formula) -> str:
    names = ", ".join(map(str, formula.arguments))
    where = "".join(
        f"<div class=equation>{_math(sp.Eq(sp.Symbol(str(letter(s))), displayed(v), evaluate=False))}</div>"
        for s, v in formula.where
    )
    signature = f"<code>{formula.name}({names})</code> <span class=tag>{formula.equation}</span>"
    evaluated = f"{where}<div class=equation>{_math(displayed(formula.expression))}</div>"
    return (
        f"<section class=result><p class=signature>{signature}</p>"
        f"<p class=formula>{typeset(formula.text)}</p><p>{typeset(formula.summary)}</p>"
        f"<details><summary>as evaluated</summary>{evaluated}</details></section>"
    )
