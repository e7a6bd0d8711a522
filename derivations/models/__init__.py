"""Models given by their formulas, one file each; a function returns a `SymbolicModel` that knows a point of Gamma.

>>> from derivations.models import two_factor
>>> two_factor(4)
SymbolicModel('two-factor', N = 8, P = 1)
"""

from .diagonal_linear import diagonal_linear
from .matrix_sensing import matrix_sensing
from .two_factor import two_factor
from .two_layer_linear import two_layer_linear
from .two_layer_tanh import two_layer_tanh
from .valley import valley

__all__ = ["diagonal_linear", "matrix_sensing", "two_factor", "two_layer_linear", "two_layer_tanh", "valley"]
