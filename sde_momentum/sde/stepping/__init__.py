"""Ways to step the paths of an equation, one a file: fixed steps, adaptive ones, multilevel, on given increments."""

from .adaptive import Adaptive
from .base import Stepping
from .fixed import Fixed
from .multilevel import Multilevel
from .on_increments import OnIncrements, coarsen
