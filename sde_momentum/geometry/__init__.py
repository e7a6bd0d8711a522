"""Geometry of the manifold of minimizers Gamma = {w : f(w) = y} [theory: Setting; Drift].

manifold_point  `ManifoldPoint`: tangent and normal space, tr H with its gradient and curvatures, mu and the coupling g
along_manifold  `Frame`: Gamma's normals at a point; `move`: a displacement along Gamma
normal_modes    amplitudes of the normal modes, followed while eigenvalues and eigenvectors change along Gamma
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {"Frame": "along_manifold", "ManifoldPoint": "manifold_point", "move": "along_manifold"}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = globals()[name] = getattr(import_module(f".{_HOME[name]}", __name__), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
