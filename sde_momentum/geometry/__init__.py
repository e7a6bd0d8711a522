"""Geometry of the manifold of minimizers Gamma = {w : f(w) = y} [theory: Setting; Drift].

manifold_point  `ManifoldPoint`: tangent and normal space, tr H with its gradient and curvatures, mu and the coupling g
along_manifold  `Normals`: Gamma's normal space at a point; `move`: a displacement along Gamma
lanes           the same for many runs at once in machine code: eigenvectors that are followed, moves along Gamma
"""

from __future__ import annotations

from ..core.extras import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
