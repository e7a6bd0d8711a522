"""The SDE engine: `solve` steps an ensemble of paths of an equation and gives statistics with standard errors."""

from .chains import as_chains
from .equation import SDE
from .langevin import Langevin
from .methods import METHODS, Method
from .noise import standard_increments
from .observers import Autocovariance, Covariance, Functional, Histogram, KeepPaths, PassageTimes, Quantiles
from .ornstein_uhlenbeck import OrnsteinUhlenbeck
from .products import multiply
from .solve import solve
from .stepping import Adaptive, Fixed, Multilevel, OnIncrements, coarsen
from .symbolic import from_sympy, to_ito, to_stratonovich
from .until import UntilError

__all__ = [
    "METHODS",
    "SDE",
    "Adaptive",
    "Autocovariance",
    "Covariance",
    "Fixed",
    "Functional",
    "Histogram",
    "KeepPaths",
    "Langevin",
    "Method",
    "Multilevel",
    "OnIncrements",
    "OrnsteinUhlenbeck",
    "PassageTimes",
    "Quantiles",
    "UntilError",
    "as_chains",
    "coarsen",
    "from_sympy",
    "multiply",
    "solve",
    "standard_increments",
    "to_ito",
    "to_stratonovich",
]
