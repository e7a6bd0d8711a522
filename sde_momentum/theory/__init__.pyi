# What `__init__.py` loads on first use; type checkers read it too.
from . import formulas as formulas
from .relaxation import Timescales as Timescales
from .relaxation import timescales as timescales
