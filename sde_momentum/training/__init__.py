"""PyTorch: a momentum finder, momentum that follows the learning rate, and estimates of a model's timescales and best momentum.

Importing this package does not import torch; using a name that needs torch does.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
