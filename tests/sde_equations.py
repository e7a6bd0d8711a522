"""Equations that several tests of the SDE engine integrate: linear ones with parameters p, and one that explodes."""

from __future__ import annotations

import math

import sde_momentum as sm


def linear(x, t, p):
    return p[0] * x


def volatility(x, t, p):
    return p[1] * x


def constant(x, t, p):
    return p[1]


def pair_drift(x, t, p):
    """A damped, driven oscillator."""
    return (x[1], -x[0] - p[0] * x[1] + math.sin(t))


GEOMETRIC = sm.SDE(linear, volatility)
EXPLOSIVE = sm.SDE(lambda x, t, p: x * x, lambda x, t, p: 1.0)
