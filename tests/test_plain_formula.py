"""The pages' plain formulas as LaTeX: each kind of notation, every numbered equation, and text that is none."""

from __future__ import annotations

import re
import sys

import pytest
from test_documentation import DOCS, PAGES

sys.path.insert(0, str(DOCS / "_ext"))
plain_formula = pytest.importorskip("plain_formula")  # a source distribution may be without


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("a = eta lambda", r"a = \eta \lambda"),
        ("1 - beta* = C eta^(2/3)", r"1 - \beta^* = C \eta^{2/3}"),
        ("k c eta^2 / delta^2", r"\frac{k c \eta^{2}}{\delta^{2}}"),
        ("J J^T / P u_j", r"\frac{J J^{\top}}{P} u_{j}"),
        ("dV/dlambda", r"\frac{\mathrm{d}V}{\mathrm{d}\lambda}"),
        ("sum_j x_j / lambda_j", r"\sum_{j} \frac{x_{j}}{\lambda_{j}}"),
        ("(1/4) grad_Gamma tr H", r"\frac{1}{4} \nabla_{\Gamma} \operatorname{tr} H"),
        ("-1 / ln max|chi|", r"- \frac{1}{\ln \max\left|\chi\right|}"),
        ("theta'' + delta theta'", r"\theta'' + \delta \theta'"),
        ("x . M x", r"x \cdot M x"),
        ("tau_perp -> 2 / delta", r"\tau_{\perp} \to \frac{2}{\delta}"),
        ("0 < a  (heavy ball)", r"0 < a \quad\left(\text{heavy ball}\right)"),
        ("delta0", r"\delta_{0}"),
    ],
)
def test_a_formula_is_translated(text, latex):
    assert plain_formula.latex(text) == latex


@pytest.mark.parametrize("text", ["(a", "a)", "a / ", "sqrt a", "a ? b"])
def test_what_is_no_formula_is_refused(text):
    with pytest.raises(plain_formula.Unreadable):
        plain_formula.latex(text)


def test_every_numbered_equation_is_translated_with_its_brackets_closed():
    text = (DOCS / "theory.md").read_text(encoding="utf-8")
    lines = re.findall(r"^    (.*?)\s*\((\d+\.\d+)\)$", text, flags=re.MULTILINE)
    assert len(lines) > 90
    for formula, number in lines:
        latex = plain_formula.latex(formula)
        assert latex.count("{") == latex.count("}"), number
        assert latex.count(r"\left") == latex.count(r"\right") + latex.count(r"\leftarrow"), number
        letters = set(re.findall(r"\b(?:eta|beta|delta|lambda|kappa|mu)\b", formula))
        assert letters <= set(re.findall(r"\\([a-z]+)", latex)), number


@pytest.mark.parametrize(
    ("text", "formulas"),
    [
        ("a mode of eigenvalue lambda_j relaxes", [r"\lambda_{j}"]),
        ("at 1 - beta = C eta^(2/3), so (2.3) holds", [r"1 - \beta = C \eta^{2 / 3}"]),
        ("Gamma's flattest point", [r"\Gamma"]),
        ("0.98 ± 0.02 and 1.4 in the ResNet-18", []),
        ("a loss, in A-level terms, is a number", []),
    ],
)
def test_formulas_within_words_are_found_and_the_words_stay(text, formulas):
    parts = plain_formula.inside(text)
    assert [part for is_formula, part in parts if is_formula] == formulas
    assert formulas or "".join(part for _, part in parts) == text


def test_text_of_the_pages_is_read_without_fault():
    """Whatever stands there: a part that cannot be read stays as it is."""
    for page in PAGES:
        for line in page.read_text(encoding="utf-8").splitlines():
            assert line == "" or plain_formula.inside(line)
