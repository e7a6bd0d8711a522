"""The theory as functions of numbers: `formulas`, generated from the derivations, and `timescales` of the normal modes."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
