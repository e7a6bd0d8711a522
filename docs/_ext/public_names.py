"""Public names of the library, and those that the pages of docs/reference/ document; without Sphinx, so that a test can ask."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

ROOMS = (
    "sde_momentum",
    "sde_momentum.problems",
    "sde_momentum.training",
    "sde_momentum.predictors",
    "sde_momentum.predictors.forces",
    "sde_momentum.theory",
    "sde_momentum.theory.formulas",
    "sde_momentum.geometry",
    "sde_momentum.dynamics",
    "sde_momentum.sde",
    "derivations",
    "derivations.models",
)
"""Modules whose names are public."""
REFERENCE = Path(__file__).parent.parent / "reference"


def _names(room: str) -> list[str]:
    module = import_module(room)
    listed = getattr(module, "__all__", None)
    if listed is None:
        listed = [n for n, v in vars(module).items() if not n.startswith("_") and getattr(v, "__module__", None) == room]
    return [name for name in listed if name != "__version__"]


def public_names() -> dict[str, Any]:
    """Full name -> object, each once, under the first of its names that a page documents; None where its extra is missing."""
    documented = set(page_names())
    found: dict[str, Any] = {}
    known: dict[int, str] = {}
    for room in ROOMS:
        for name in _names(room):
            full = f"{room}.{name}"
            try:
                value = getattr(import_module(room), name)
            except ModuleNotFoundError:
                found[full] = None
                continue
            if isinstance(value, ModuleType):
                continue
            if id(value) not in known:
                known[id(value)] = full
                found[full] = value
            elif full in documented and known[id(value)] not in documented:
                del found[known[id(value)]]
                known[id(value)] = full
                found[full] = value
    return found


def page_names() -> list[str]:
    """Full names in the `{interface}` blocks of the pages."""
    names = []
    for page in sorted(REFERENCE.glob("*.md")):
        for module, block in re.findall(r"^```\{interface\} (\S+)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S):
            names += [f"{module}.{name}" for name in block.split()]
    return names


def missing() -> list[str]:
    """Public names that no page documents."""
    documented = set(page_names())
    return [name for name in public_names() if name not in documented]
