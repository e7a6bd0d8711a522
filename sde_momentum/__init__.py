"""Which momentum is best for a learning rate, why, and how well that holds in training.

Every public name is here; nothing heavier than the standard library is imported until one is used.
"""

from __future__ import annotations

from .core.extras import attach

__version__ = "0.2.0"
__getattr__, __dir__, __all__ = attach(__name__, __file__)
