"""The theory as functions of numbers: `formulas`, generated from the derivations, and `timescales` of the normal modes."""

from __future__ import annotations

from ..core.extras import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
