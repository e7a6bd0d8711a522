"""Symbolic derivations of the theory; `python -m derivations` checks them and writes formulas.py and docs/glossary.md.

`SymbolicModel` takes a model's formula and gives its geometry, its best momentum, and compiled code;
`derivations.models` holds ready-made ones.
"""

from __future__ import annotations

from sde_momentum.core.extras import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
