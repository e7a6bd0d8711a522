r"""
A mean to a stated error, mostly from coarse steps
==================================================

Multilevel Monte Carlo reaches a wanted error, bias included, and pays most of it on a
coarse grid.

The price of a call option under geometric Brownian motion is the mean of
:math:`\max(X_1 - 1, 0)`; Black and Scholes gave it in closed form, which makes it a
good test.
"""

from math import erf, exp, log, sqrt

import matplotlib.pyplot as plt

import sde_momentum as sm
from sde_momentum import sde

rate, volatility = 0.05, 0.2
gbm = sm.SDE(lambda x, t, p: p[0] * x, lambda x, t, p: p[1] * x)
payoff = sde.Functional(
    "payoff", lambda x, t, p: max(x - 1.0, 0.0)
)


def normal(z):
    """The distribution function of a standard normal variable."""
    return (1 + erf(z / sqrt(2))) / 2


d = (log(1.0) + rate + volatility**2 / 2) / volatility
exact = exp(rate) * normal(d) - normal(d - volatility)

# %%
# ``UntilError`` states what is wanted: a root-mean-square error. Steps and numbers of
# paths follow.

wanted = [4e-3, 2e-3, 1e-3, 5e-4]
found = []
for error in wanted:
    found.append(
        sm.solve(
            gbm, 1.0, [1.0], step=sde.Multilevel(0.25), progress=False,
            n_paths=sde.UntilError(absolute=error),
            parameters=(rate, volatility), statistics=[payoff],
        )
    )  # fmt: skip
    mean, reached = (
        float(found[-1]["mean"]),
        float(found[-1]["rms_error"]),
    )
    print(
        f"wanted {error}: {mean:.5f} +- {reached:.5f},"
        f" off by {mean - exact:+.5f}"
    )
print(f"exact: {exact:.5f}")

# %%

figure, axes = plt.subplots(
    figsize=(7, 4.2), layout="constrained"
)
axes.axhline(
    exact, color="0.3", ls="--", label="Black and Scholes"
)
axes.errorbar(
    wanted,
    [float(r["mean"]) for r in found],
    [2 * float(r["rms_error"]) for r in found],
    fmt="o",
    capsize=3,
    label="multilevel, two errors",
)
axes.set(xscale="log", xlabel="error asked for", ylabel="price")
axes.legend()
plt.show()
