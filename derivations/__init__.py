"""Symbolic derivations of the theory; `python -m derivations` checks them and writes formulas.py and docs/glossary.md.

`SymbolicModel` takes a model's formula and gives its geometry, its best momentum, and compiled code;
`derivations.models` holds ready-made ones.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
