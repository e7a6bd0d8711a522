"""Ensembles of stochastic differential equations: an equation, a stepping, what is asked, one `solve`."""

from .equation import SDE
from .langevin import Langevin
from .methods import METHODS
from .noise import standard_increments
from .observers import Covariance, Functional, Histogram, KeepPaths, PassageTimes, Quantiles
from .ornstein_uhlenbeck import OrnsteinUhlenbeck
from .solve import solve
from .stepping import Adaptive, Fixed, Multilevel, OnIncrements, coarsen
from .symbolic import from_sympy, to_ito, to_stratonovich
from .until import UntilError

__all__ = [
    "METHODS", "SDE", "Adaptive", "Covariance", "Fixed", "Functional", "Histogram", "KeepPaths", "Langevin", "Multilevel",
    "OnIncrements", "OrnsteinUhlenbeck", "PassageTimes", "Quantiles", "UntilError", "coarsen", "from_sympy", "solve",
    "standard_increments", "to_ito", "to_stratonovich",
]  # fmt: skip
