r"""
Any stochastic differential equation
====================================

From a formula to the mean with its error band: the engine behind the theory serves
any equation.

An Ornstein-Uhlenbeck process, :math:`dX = -k X\,dt + s\,dW`, is a ball on a spring in
a noisy bath. ``drift`` and ``diffusion`` are plain Python functions of state, time
and parameters; they are compiled on first use.
"""

import matplotlib.pyplot as plt
import numpy as np

import sde_momentum as sm
from sde_momentum import sde

spring = sm.SDE(lambda x, t, p: -p[0] * x, lambda x, t, p: p[1])
times = np.linspace(0, 5, 51)
result = sm.solve(
    spring, 1.0, times, step=0.01, n_paths=1000,
    parameters=(1.0, 0.5), progress=False,
    statistics=[sde.KeepPaths(range(5)), sde.Quantiles((0.1, 0.9))],
)  # fmt: skip

# %%
# Every number has a standard error. Here the exact mean is known, :math:`e^{-t}`:

gap = abs(result["mean"] - np.exp(-times))
distance = (gap / result["mean_se"]).where(result.time > 0)
print(
    "largest distance of the mean from exp(-t):",
    f"{float(distance.max()):.1f} standard errors",
)

# %%

figure, axes = plt.subplots(
    figsize=(7, 4.2), layout="constrained"
)
axes.plot(times, result.path_value.T, color="0.75", lw=0.8)
axes.fill_between(
    times,
    *result["quantile"].squeeze().T,
    color="#56B4E9",
    alpha=0.25,
    label="between the 10 % and 90 % quantiles",
)
low, high = (
    result["mean"] + k * result["mean_se"] for k in (-2, 2)
)
axes.fill_between(
    times,
    low,
    high,
    color="#0072B2",
    alpha=0.5,
    label="mean, two standard errors",
)
axes.plot(times, np.exp(-times), "k--", lw=1, label="exact mean")
axes.set(xlabel="t", ylabel="X")
axes.legend()
plt.show()
