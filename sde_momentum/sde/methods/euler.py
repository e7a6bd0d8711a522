"""Euler methods, with normal and with two-point increments."""

from __future__ import annotations

from typing import ClassVar

from .base import Method


class EulerMaruyama(Method):
    """Euler-Maruyama, X_{n+1} = X_n + a h + b dW, for any noise; of strong order 1 if the noise is additive."""

    name = "euler-maruyama"
    source = "Maruyama 1955; Kloeden, Platen 1992, eq. 10.2.4"
    strong_order: ClassVar[float | None] = 0.5
    weak_order = 1.0
    drift_order = 1
    interpretations = ("ito",)
    step = """
    a* = drift(x*, t, p)
    b* = diffusion(x*, t, p)
    new@ = x@ + a@ * h + (b.dw)@
    """


class WeakEuler(EulerMaruyama):
    """Euler with two-point increments, X_{n+1} = X_n + a h ± b sqrt(h), either sign with probability 1/2: for expectations."""

    name = "weak-euler"
    source = "Kloeden, Platen 1992, sec. 14.1"
    strong_order, weak_order = None, 1.0
    increments = "rademacher"
