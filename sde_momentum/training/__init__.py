"""PyTorch training: momentum that follows the learning rate, and the timescales and best momentum of a model.

Importing this package does not import torch; using a name that needs it does.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
