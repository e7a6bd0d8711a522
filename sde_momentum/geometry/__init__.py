"""Geometry of the manifold of minimizers Gamma = {w : f(w) = y} [theory: Setting; Drift].

manifold_point  `ManifoldPoint`: tangent and normal space, tr H with its gradient and curvatures, mu and the coupling g
along_manifold  `Frame`, `Normals`: Gamma's normal space at a point, with or without its modes; `move`: a displacement along Gamma
lanes           the same for many runs at once in machine code: eigenvectors that are followed, moves along Gamma
normal_modes    amplitudes of the normal modes, followed while eigenvalues and eigenvectors change along Gamma
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
