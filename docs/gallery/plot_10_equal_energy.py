r"""
Every direction is shaken equally far
=====================================

In equilibrium label noise shakes steep and soft directions equally far; momentum
alone sets how far.

For a direction of Hessian eigenvalue :math:`\lambda` the gradient noise has the
variance :math:`c \lambda`: the restoring force and the noise grow together. So the
variance of the weight does not depend on :math:`\lambda`: it is :math:`\mathrm{lr}\,
c / (2 (1 - \beta))` at small learning rates, and exactly

.. math:: s = \frac{\mathrm{lr}\, c\, (1 + \beta)}{(1 - \beta)\,(2 (1 + \beta) - \mathrm{lr}\,\lambda)} .
"""

import matplotlib.pyplot as plt
import numpy as np

import sde_momentum as sm

eigenvalues = np.geomspace(0.05, 10.0, 12)
lr, c = 0.05, 1e-3
rng = np.random.default_rng(0)

# %%
# A simulation of 4,000 runs of the update itself, for all directions at once, against
# the formula:

figure, axes = plt.subplots(
    figsize=(7, 4.5), layout="constrained"
)
for beta, colour in (
    (0.0, "#0072B2"),
    (0.9, "#009E73"),
    (0.98, "#D55E00"),
):
    x, v = np.zeros((4000, 12)), np.zeros((4000, 12))
    for _ in range(2500):
        gradient = eigenvalues * x + np.sqrt(
            c * eigenvalues
        ) * rng.standard_normal(x.shape)
        v = beta * v - lr * gradient
        x += v
    measured, error = (
        (x**2).mean(0),
        (x**2).std(0) / np.sqrt(len(x)),
    )
    exact = sm.timescales(
        lr, beta, eigenvalue=eigenvalues, noise=c
    ).stationary_variance
    worst = np.max(abs(measured - exact) / error)
    print(
        f"momentum {beta}: measured over exact"
        f" {np.mean(measured / exact):.3f},"
        f" farthest {worst:.1f} standard errors"
    )
    axes.errorbar(
        eigenvalues,
        measured,
        2 * error,
        fmt="o",
        color=colour,
        label=f"momentum {beta}",
    )
    axes.loglog(eigenvalues, exact, color=colour)
axes.set(
    xlabel="eigenvalue of the direction",
    ylabel="variance of the weight",
    title="points: 4,000 runs; lines: the formula",
)
axes.legend()
plt.show()
