"""Formulas of the pages are typeset: numbered lines of indented blocks, each linked to its proof, and letters in text."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from plain_formula import Unreadable, inside, latex
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

from derivations.codegen import BY_NAME

PAGES = re.compile(
    "theory|glossary|forces|phase_diagram|claims|neighbouring_papers|matrix_sensing|networks|predictions|understand/.*|"
    "index|start/(does_it_apply|ten_minutes|trusted)|evidence/results|project/(roadmap|faq)"
)
"""Pages whose letters are typeset in text too."""
_AS_IT_IS = (
    *(nodes.literal, nodes.literal_block, nodes.math, nodes.math_block, nodes.title, nodes.raw, nodes.reference),
    *(addnodes.pending_xref, nodes.Invisible, nodes.image),
)
_NUMBERED = re.compile(r"(.*?)\s*\((\d+\.\d+)\)$")
_LONG = 78  # characters of a formula that is broken at its commas
logger = logging.getLogger(__name__)


def _proofs() -> dict[str, str]:
    """Number of an equation -> the derivation that ends in it."""
    found: dict[str, str] = {}
    for name, derivation in BY_NAME.items():
        found |= {formula.equation.number: name for formula in derivation.formulas}
    return found


def _rows(formula: str) -> str:
    """A formula of several parts, each on a line of its own where it is long."""
    depth, start, parts = 0, 0, []
    for i, character in enumerate(formula):
        depth += (character in "([{") - (character in ")]}")
        if character in ",;" and depth == 0 and formula[i + 1 :].startswith(" "):
            parts.append(formula[start : i + 1])
            start = i + 1
    parts.append(formula[start:])
    if len(formula) < _LONG or len(parts) == 1:
        return latex(formula)
    rows = [latex(part.strip().rstrip(",;")) for part in parts]
    return r"\begin{aligned} " + r" \\[.4em] ".join(f"& {row}" for row in rows) + r" \end{aligned}"


def formulas_of(text: str) -> list[tuple[str, str]] | None:
    """(formula, number) of each line of a block; None for a block that is something else."""
    lines = [_NUMBERED.fullmatch(line.strip()) for line in text.splitlines() if line.strip()]
    if not lines or None in lines:
        return None
    return [(line[1], line[2]) for line in lines if line is not None]


class Equations(SphinxTransform):
    """Indented blocks whose lines all end in a number, as equations."""

    default_priority = 300

    def apply(self, **options: Any) -> None:
        proofs = _proofs()
        for block in list(self.document.findall(nodes.literal_block)):
            if (found := formulas_of(block.astext())) is None:
                continue
            block.replace_self([self.equation(formula, number, proofs) for formula, number in found])

    def equation(self, formula: str, number: str, proofs: dict[str, str]) -> nodes.Node:
        outer = nodes.container(classes=["numbered"], ids=[f"eq-{number.replace('.', '-')}"])
        try:
            shown = _rows(formula)
        except (Unreadable, KeyError) as error:
            logger.warning("equation %s cannot be typeset (%s): %s", number, error, formula, location=self.env.docname)
            return nodes.literal_block("", formula)
        outer += nodes.math_block(shown, shown, nowrap=False, number=None, label=None, docname=self.env.docname)
        place = nodes.paragraph(classes=["equation-number"])
        if number in proofs:
            place += _to_page(f"proofs/{proofs[number]}", f"({number})", f"proof: {proofs[number]}")
        else:
            place += nodes.reference("", f"({number})", refid=outer["ids"][0])
        outer += place
        return outer


def _to_page(target: str, text: str, title: str) -> nodes.Node:
    link = addnodes.pending_xref("", refdomain="std", reftype="doc", reftarget=f"/{target}", refexplicit=True, refwarn=True)
    link += nodes.inline("", text, reftitle=title)
    return link


class Titles(SphinxTransform):
    """A link whose text is a file of the repository, `[glossary.md](glossary.md)`, shows the title of the page."""

    default_priority = 305

    def apply(self, **options: Any) -> None:
        for link in self.document.findall(addnodes.pending_xref):
            if link.get("reftype") == "myst" and re.fullmatch(r"[\w/.]+\.md", link.astext()):
                link["refexplicit"] = False


class Letters(SphinxTransform):
    """Letters and short formulas in text, references to equations, and commands that print a proof."""

    default_priority = 310

    def apply(self, **options: Any) -> None:
        if not PAGES.fullmatch(self.env.docname):
            return
        known = {node["ids"][0] for node in self.document.findall(nodes.container) if "numbered" in node["classes"]}
        self.proofs()
        for text in list(self.document.findall(nodes.Text)):
            parents = list(_parents(text))
            if any(isinstance(parent, _AS_IT_IS) for parent in parents):
                continue
            new: list[nodes.Node] = []
            for is_formula, part in inside(text.astext()):
                if is_formula:
                    new.append(nodes.math(part, part))
                    continue
                ending = re.match(r"[.,;:)]+", part)
                if (
                    new and ending and isinstance(new[-1], nodes.math) and len(new[-1].astext()) < 30
                ):  # no line begins with a full stop
                    new[-1] = nodes.inline("", "", new[-1], nodes.Text(ending[0]), classes=["kept"])
                    part = part[ending.end() :]
                new += self.references(part, known)
            if len(new) > 1 or (new and not isinstance(new[0], nodes.Text)):
                text.parent.replace(text, new)

    def references(self, text: str, known: set[str]) -> list[nodes.Node]:
        parts = re.split(r"(\(\d+\.\d+\))", text)
        out: list[nodes.Node] = []
        for part in parts:
            name = "eq-" + part[1:-1].replace(".", "-")
            if part.startswith("(") and name in known:
                out.append(nodes.reference("", part, refid=name, internal=True))
            elif part:
                out.append(nodes.Text(part))
        return out

    def proofs(self) -> None:
        for literal in list(self.document.findall(nodes.literal)):
            match = re.fullmatch(r"sde-momentum derive (\w+)", literal.astext())
            if match and match[1] in BY_NAME and not any(isinstance(p, nodes.reference) for p in _parents(literal)):
                literal.replace_self(_to_page(f"proofs/{match[1]}", BY_NAME[match[1]].title, literal.astext()))


def _parents(node: nodes.Node) -> list[nodes.Node]:
    found = []
    while node.parent is not None:
        node = node.parent
        found.append(node)
    return found


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_transform(Equations)
    app.add_transform(Titles)
    app.add_transform(Letters)
    return {"parallel_read_safe": True}
