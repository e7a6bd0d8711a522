"""PyTorch: a momentum finder, momentum that follows the learning rate, and estimates of a model's timescales and best momentum.

Importing this package does not import torch; using a name that needs torch does.
"""

from __future__ import annotations

from ..core.extras import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
