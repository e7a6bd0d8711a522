# What `__init__.py` loads on first use; type checkers read it too.
from .kernels.compiled_problem import CompiledProblem as CompiledProblem
from .model_point import ModelPoint as ModelPoint
from .symbolic_model import SymbolicModel as SymbolicModel
