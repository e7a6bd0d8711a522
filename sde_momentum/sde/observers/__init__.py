"""Statistics of an ensemble, computed while it runs, in memory that grows with neither paths nor steps; one per file."""

from .autocovariance import Autocovariance
from .base import Extras, Observer, State, Statistic, Variables
from .covariance import Covariance
from .functional import Functional
from .histogram import Histogram
from .moments import Moments
from .passage import PassageTimes
from .paths import KeepPaths, KeptPaths
from .quantiles import Quantiles
from .step_counts import StepCounts
