"""A page for each derivation in docs/proofs/, its steps checked while it is written, and the list of them."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

from derivations.codegen import BY_NAME
from derivations.page import render
from derivations.sections import Section


def _page(name: str) -> str:
    derivation = BY_NAME[name]
    steps = render.check(derivation)
    if not all(step.holds for step in steps):
        raise ExtensionError(f"derivation {name}: a step does not hold")
    article = render._article(name, derivation, steps)
    body = re.sub(r"<h2>.*?</h2>", "", article, count=1)
    body = re.sub(r"<(/?)h3>", r"<\1h2>", body)
    sections = ", ".join(f"[{section.title}](../theory.md#{section.anchor})" for section in derivation.sections)
    numbers = ", ".join(
        f.equation.number for f in sorted(derivation.formulas, key=lambda f: (f.equation.section.number, f.equation.place))
    )
    result = f" It ends in equations {numbers}." if numbers else ""
    checked = (
        f"Printed by `sde-momentum derive {name}`; every step was checked by sympy or with 50 digits when this page was made."
    )
    about = f"Belongs to {sections} of the theory.{result} {checked}"
    lines = [f"# {derivation.title}", "", about, "", "```{raw} html", f"<div class=proof>{body}</div>", "```"]
    return "\n".join(lines) + "\n"


class Proofs(SphinxDirective):
    """The derivations by section of the theory."""

    def run(self) -> list[nodes.Node]:
        lines = []
        for section in Section:
            lines += ["", f"**[{section.heading}](../theory.md#{section.anchor})**", ""]
            for name, derivation in BY_NAME.items():
                if section in derivation.sections:
                    lines.append(f"- [{derivation.title}]({name}.md): {len(derivation.steps)} steps")
            if section.underived:
                lines.append(f"- No derivation: {section.underived}.")
        lines += ["", "```{toctree}", ":hidden:", "", *BY_NAME, "```"]
        parent = nodes.container()
        self.state.nested_parse(StringList(lines, source=self.env.docname), 0, parent)
        return parent.children


def _write(app: Sphinx) -> None:
    folder = Path(app.srcdir) / "proofs"
    for name in BY_NAME:
        path, text = folder / f"{name}.md", _page(name)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    style = files("derivations.page").joinpath("style.css").read_text(encoding="utf-8")
    rules = "".join(style.partition("ol.steps {")[1:]).replace(" } ", " }\n")
    scoped = re.sub(r"^(?=[a-z.])", ".proof ", rules, flags=re.MULTILINE)
    (Path(app.srcdir) / "_static" / "proofs.css").write_text(_SCOPE + scoped, encoding="utf-8")
    app.add_css_file("proofs.css")


_SCOPE = """/* Written by docs/_ext/proofs.py from derivations/page/style.css. */
.proof { --text: var(--color-foreground-primary); --soft: var(--color-foreground-muted);
  --card: var(--color-background-secondary); --line: var(--color-background-border); --accent: var(--color-brand-primary);
  --good: #17693a; --fair: #7a5200; --bad: #b3261e }
body[data-theme="dark"] .proof { --good: #79d39b; --fair: #e8bd66; --bad: #ff8a80 }
@media (prefers-color-scheme: dark) { body:not([data-theme="light"]) .proof { --good: #79d39b; --fair: #e8bd66; --bad: #ff8a80 } }
.proof .tag { font-size: .75rem; font-weight: 500; color: var(--soft); border: 1px solid var(--line); border-radius: 1rem;
  padding: .05rem .5rem; white-space: nowrap; vertical-align: .15em }
"""


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("proofs", Proofs)
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True}
