"""Steppings, one per file: steps of fixed size, adaptive steps, multilevel Monte Carlo, steps on given increments."""

from .adaptive import Adaptive
from .base import Stepping
from .fixed import Fixed
from .multilevel import Multilevel
from .on_increments import OnIncrements, coarsen
