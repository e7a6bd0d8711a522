"""The scripts of the site's tutorials and gallery: all parse, use names that exist and end in a picture; the quickest run here.

Building the site runs every one of them.
"""

from __future__ import annotations

import ast
import importlib
import runpy
from pathlib import Path
from types import ModuleType

import matplotlib.pyplot as plt
import numpy as np
import pytest

DOCS = Path(__file__).parent.parent / "docs"
SCRIPTS = sorted([*(DOCS / "gallery").glob("plot_*.py"), *(DOCS / "tutorials").glob("plot_*.py")])
QUICK = ("plot_03_across_and_along", "plot_04_two_timescales", "plot_09_the_phase_diagram")


def imported(tree: ast.Module) -> dict[str, object]:
    """What a script imports from this project, by name; an ImportError or AttributeError for what does not exist."""
    found: dict[str, object] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in ("sde_momentum", "derivations"):
                    found[alias.asname or alias.name] = importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("sde_momentum", "derivations"):
            for alias in node.names:
                try:
                    found[alias.asname or alias.name] = importlib.import_module(f"{node.module}.{alias.name}")
                except ModuleNotFoundError:
                    found[alias.asname or alias.name] = getattr(importlib.import_module(node.module), alias.name)
    return found


def missing(source: str) -> list[str]:
    """Attributes of this project's modules, or of its classes, that a script uses and that do not exist."""
    tree, wrong = ast.parse(source), []
    names = imported(tree)

    def value(node: ast.expr) -> object | None:
        """What an expression of names and attributes is, as far as modules and classes tell; None beyond."""
        if isinstance(node, ast.Name):
            return names.get(node.id)
        if isinstance(node, ast.Attribute):
            owner = value(node.value)
            if isinstance(owner, ModuleType | type):
                if not hasattr(owner, node.attr):
                    wrong.append(f"{ast.unparse(node)}, line {node.lineno}")
                    return None
                return getattr(owner, node.attr)
        return None

    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            value(node)
    return sorted(set(wrong))


def test_the_gallery_has_at_least_twelve_scripts():
    assert sum(script.parent.name == "gallery" for script in SCRIPTS) >= 12


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_names_exist_and_a_title_and_a_picture_are_there(script):
    source = script.read_text(encoding="utf-8")
    assert not missing(source)
    title, rule, *_ = (ast.get_docstring(ast.parse(source)) or "").splitlines()
    assert set(rule) == {"="}
    assert len(rule) == len(title)
    assert "plt.show()" in source


@pytest.mark.parametrize(
    "source", ["import sde_momentum as sm\nsm.no_such_name", "from sde_momentum import sde\nsde.Fixed.no_such_name(1)"]
)
def test_a_name_that_does_not_exist_is_noticed(source):
    assert missing(source)


@pytest.mark.parametrize("script", [s for s in SCRIPTS if s.stem in QUICK], ids=lambda script: script.stem)
def test_the_quickest_draw_a_picture(script, tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setattr(plt, "show", lambda: None)
    plt.close("all")
    runpy.run_path(str(script), run_name="__main__")
    assert plt.get_fignums()
    plt.savefig(tmp_path / "picture.png", dpi=40)
    plt.close("all")
    assert np.ptp(plt.imread(tmp_path / "picture.png")) > 0
