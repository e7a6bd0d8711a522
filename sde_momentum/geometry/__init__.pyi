# What `__init__.py` loads on first use; type checkers read it too.
from .along_manifold import move as move
from .manifold_point import ManifoldPoint as ManifoldPoint
