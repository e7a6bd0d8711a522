"""`derive`: what it lists, prints and writes, and what it refuses."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
import sympy as sp
from typer.testing import CliRunner

from derivations import codegen
from derivations.cli import app
from derivations.codegen import BY_NAME
from derivations.definitions import definitions
from derivations.formula import Derivation, Step
from derivations.page import notation
from derivations.sections import Section
from derivations.symbols import lr, other_eigenvalue, reference_lr
from sde_momentum.core.errors import InputError


def derive(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    """Every derivation on one page, for which each step is verified once."""
    path, verified = tmp_path_factory.mktemp("page") / "all.html", []
    with pytest.MonkeyPatch.context() as patch:
        holds = Step.holds
        patch.setattr(Step, "holds", lambda step: verified.append(step) or holds(step))
        written = derive("all", "--format", "html", "--out", str(path))
    assert f"steps written to {path}" in written.replace("\n", "")
    assert verified == [step for derivation in BY_NAME.values() for step in derivation.steps]
    return path.read_text(encoding="utf-8")


class Outline(HTMLParser):
    """Ids, links, what would be fetched, and whether every tag is closed."""

    VOID = frozenset({"meta", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.ids, self.links, self.fetched, self.open = [], [], [], []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if "href" in given else []
        self.fetched += [given["src"]] if "src" in given else []
        if tag in {"script", "link", "img", "iframe"}:
            self.fetched.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


def test_without_a_name_every_section_is_listed_with_what_proves_it_or_checks_it():
    text = derive()
    assert [line for line in text.splitlines()[2:] if not line.startswith(" ")] == [section.heading for section in Section]
    parts = re.split(r"^\d+\. .*$", text, flags=re.MULTILINE)[1:]
    for section, part in zip(Section, parts, strict=True):
        names = [name for name, derivation in BY_NAME.items() if section in derivation.sections]
        lines = [line for line in part.strip().splitlines() if line]
        if names:
            assert [line.split()[0] for line in lines] == names
            assert all(f"{BY_NAME[n].title}: {len(BY_NAME[n].steps)} steps" in line for n, line in zip(names, lines, strict=True))
        else:
            assert part.strip().startswith("no derivation: ")
            assert "tests/test_" in part


@pytest.mark.parametrize("name", ["stationary_variance", "crossing", "critical_limit"])
def test_text_has_assumptions_steps_and_results(name):
    text = " ".join(derive(name).split())
    derivation = BY_NAME[name]
    for part in (*derivation.assumptions, *(s.claim for s in derivation.steps), *(f.text for f in derivation.formulas)):
        assert " ".join(part.split()) in text
    for symbol, meaning in definitions(derivation):
        assert " ".join(f"{symbol} {meaning}".split()) in text
    assert text.count("proved symbolically") + text.count("holds to 50 digits") == len(derivation.steps)


def test_the_page_is_complete_and_fetches_nothing(page):
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert outline.ids == list(BY_NAME)
    assert outline.links == [f"#{name}" for name in BY_NAME]
    assert outline.fetched == []
    assert "url(" not in page
    assert page.count("class='verdict") == sum(len(d.steps) for d in BY_NAME.values())
    for formula in (f for d in BY_NAME.values() for f in d.formulas):
        assert f"<code>{formula.name}(" in page


def test_every_formula_on_the_page_is_well_formed(page):
    formulas = re.findall(r"<math displaystyle=true>(.*?)</math>", page, re.DOTALL)
    assert len(formulas) > 300
    for formula in formulas:
        without_entities = re.sub(r"&(?!lt|gt|amp)[A-Za-z]+;", "·", formula)  # HTML knows them, XML does not
        assert len(ElementTree.fromstring(f"<math>{without_entities}</math>"))
    names = set(re.findall(r"<mi>(\w+)</mi>", " ".join(formulas)))
    assert not names & {"lr", "eigenvalue", "noise", "compensated", "log1p"}


def test_latex_is_an_article_with_balanced_braces():
    text = derive("prefactor", "--format", "latex")
    assert text.startswith(r"\documentclass{article}")
    assert text.rstrip().endswith(r"\end{document}")
    assert text.count("{") == text.count("}")
    assert sorted(re.findall(r"\\begin\{(\w+)\}", text)) == sorted(re.findall(r"\\end\{(\w+)\}", text))
    assert text.count(r"\item[") == len(definitions(BY_NAME["prefactor"])) + len(BY_NAME["prefactor"].formulas)
    assert text.count(r"\equationline{") == len(BY_NAME["prefactor"].steps)


@pytest.mark.parametrize(
    ("plain", "html"),
    [
        ("delta ~ eta^(2/3)", "δ ~ η<sup>2/3</sup>"),
        ("a < 1 & theta'' -> oo", "a &lt; 1 &amp; θ'' → ∞"),
        ("delta0 = lambda_j", "δ<sub>0</sub> = λ<sub>j</sub>"),
        ("1 - beta0", "1 − β<sub>0</sub>"),
        ("eta^((1 + m) gamma)", "η<sup>(1 + m) γ</sup>"),
        ("dw = -grad_Gamma V", "dw = −∇<sub>Γ</sub> V"),
        ("one_minus_beta", "one_minus_beta"),
        ("x_{k+1} = T x_k, dtheta'", "x<sub>k+1</sub> = T x<sub>k</sub>, dθ'"),
        ("`other_eigenvalue`", "<code>other_eigenvalue</code>"),
        ("the meta data", "the meta data"),
        ("tau_perp ~ eta^-gamma, tau_par", "τ<sub>⊥</sub> ~ η<sup>−γ</sup>, τ<sub>∥</sub>"),
        ("gamma = lr^0.92.", "γ = lr<sup>0.92</sup>."),
        ("from 1.97e-05 to 2e3", "from 1.97\u202f×\u202f10<sup>−5</sup> to 2\u202f×\u202f10<sup>3</sup>"),
        ("3x3 kernels, 8 x 8, 2 x0", "3×3 kernels, 8 × 8, 2 x<sub>0</sub>"),
    ],
)
def test_plain_formulas_are_typeset(plain, html):
    assert notation.typeset(plain) == html


def test_expressions_are_shown_in_the_letters_of_the_theory():
    shown = notation.displayed(lr / reference_lr + other_eigenvalue)
    assert sp.sstr(shown) == "eta/eta_0 + lambda_j"


def test_a_step_that_fails_is_shown_and_sets_the_exit_status(monkeypatch):
    wrong = Derivation("Wrong", (Section.DRIFT,), (), (Step("one is two", sp.Integer(1), sp.Integer(2)),), ())
    monkeypatch.setattr(codegen, "BY_NAME", {"drift": wrong})
    result = CliRunner().invoke(app, ["drift"])
    assert result.exit_code == 1
    assert "one is two [DOES NOT HOLD]" in " ".join(result.output.split())
    page = CliRunner().invoke(app, ["drift", "--format", "html"]).output
    assert "1 do not hold" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], r"name: given nothing; allowed: oscillator, .*, all$"),
        (["drift", "--format", "pdf"], "format: given pdf; allowed: text, latex, html"),
        (["drift", "--out", "/nowhere/x.txt"], "--out: given /nowhere/x.txt; allowed: a file in a folder that exists"),
        (["drift", "--out", "/"], "--out: given /; allowed: a file in a folder that exists"),
        (["--format", "html"], "name: given none; allowed: a derivation or 'all'"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_the_command_says_what_to_install_and_costs_nothing_until_it_runs():
    code = (
        "import sys; sys.modules['sympy'] = None\n"
        "from derivations.cli import derive\n"
        "try: derive('all')\n"
        "except Exception as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("derive needs sympy, which is not installed: pip install 'sde-momentum[symbolic]', or")
