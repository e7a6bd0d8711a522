"""Observers: what is measured on an ensemble while it runs, in memory that grows with neither paths nor steps."""

from .base import Observer, State, Variables
from .covariance import Covariance
from .histogram import Histogram
from .moments import Moments
from .passage import PassageTimes
from .quantiles import Quantiles

__all__ = ["Covariance", "Histogram", "Moments", "Observer", "PassageTimes", "Quantiles", "State", "Variables"]
