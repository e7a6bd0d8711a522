"""What people use without any measurement, beside which every rule is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FIXED = "0.9"
BASELINES: Mapping[str, tuple[str, Callable[[Floats], Floats]]] = {
    FIXED: ("beta = 0.9 at every lr", lambda lr: np.full_like(lr, 0.1)),
    "0.85": ("beta = 0.85 at every lr, the least of PyTorch's OneCycleLR", lambda lr: np.full_like(lr, 0.15)),
    "0.95": ("beta = 0.95 at every lr, the largest of PyTorch's OneCycleLR", lambda lr: np.full_like(lr, 0.05)),
    "1 - 2 sqrt(lr)": (
        "critical damping of a mode of eigenvalue 1 (arXiv 2603.28921)",
        lambda lr: np.minimum(1.0, 2 * np.sqrt(lr)),
    ),
}
"""Name -> its description, and 1 - beta at each learning rate."""
