"""Exact steps of the Ornstein-Uhlenbeck process, of any size."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm

from ..equation import Equation
from ..ornstein_uhlenbeck import OrnsteinUhlenbeck
from .base import Method


class ExactOrnsteinUhlenbeck(Method):
    """X_{n+1} = m + e^{-A h} (X_n - m) + L xi, L L^T = int_0^h e^{-A s} B B^T e^{-A^T s} ds."""

    name = "exact"
    source = "Gillespie 1996, Phys. Rev. E 54; the integral by Van Loan 1978, IEEE Trans. Autom. Control 23"
    strong_order: ClassVar[float | None] = None
    weak_order = np.inf
    equation = OrnsteinUhlenbeck
    step = """
    new@ = shift@ + (decay.x)@ + (spread.xi)@
    """

    @classmethod
    def constants(cls, equation: Equation, h: float) -> dict[str, NDArray[np.float64]]:
        assert isinstance(equation, OrnsteinUhlenbeck)
        a, d = equation.rate_matrix, equation.dim
        diffusion = equation.noise_matrix @ equation.noise_matrix.T
        # Van Loan's block exponential; the covariance is its lower right times upper right block
        block = expm(h * np.block([[a, diffusion], [np.zeros((d, d)), -a.T]]))
        decay = block[d:, d:].T
        covariance = decay @ block[:d, d:]
        values, basis = np.linalg.eigh((covariance + covariance.T) / 2)
        shift = equation.mean_vector - decay @ equation.mean_vector
        return {"shift": shift, "decay": decay, "spread": basis * np.sqrt(np.maximum(values, 0.0))}
