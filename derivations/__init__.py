"""Symbolic derivations of the theory; `python -m derivations` checks them and writes formulas.py and docs/glossary.md.

`SymbolicModel` takes a model's formula and gives its geometry, its best momentum, and compiled code;
`derivations.models` holds ready-made ones.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

# public name -> the module that defines it
_HOME = {
    "CompiledProblem": "kernels.compiled_problem",
    "ModelPoint": "model_point",
    "SymbolicModel": "symbolic_model",
}

__all__ = ["CompiledProblem", "ModelPoint", "SymbolicModel"]

if TYPE_CHECKING:
    from .kernels.compiled_problem import CompiledProblem
    from .model_point import ModelPoint
    from .symbolic_model import SymbolicModel


def __getattr__(name: str) -> object:
    if name in _HOME:
        value = globals()[name] = getattr(import_module(f".{_HOME[name]}", __name__), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
