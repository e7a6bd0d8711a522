# What `__init__.py` loads on first use; type checkers read it too.
from .compiled import Kernels as Kernels
from .function import FunctionProblem as FunctionProblem
from .interpolation import descend_to_manifold as descend_to_manifold
from .interpolation import project_to_manifold as project_to_manifold
from .load import load_problem as load_problem
from .matrix_sensing import MatrixSensing as MatrixSensing
from .metrics import METRICS as METRICS
from .metrics import Metric as Metric
from .problem import Problem as Problem
from .problem import as_problem as as_problem
from .registry import BuiltIn as BuiltIn
from .registry import built_in as built_in
from .registry import built_in_problems as built_in_problems
from .valley import Valley as Valley
