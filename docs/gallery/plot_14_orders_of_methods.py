r"""
Which method for an equation? Errors against the step
=====================================================

The error of the mean against the size of the step, for three methods, on one equation
with an exact answer.

Geometric Brownian motion, :math:`dX = a X\,dt + b X\,dW`: :math:`E X^2 = e^{(2 a +
b^2) t}`. An error in the mean of a function of the state is called weak; a method of
weak order 1 halves it with the step, one of order 2 quarters it.
"""

import matplotlib.pyplot as plt
import numpy as np

import sde_momentum as sm
from sde_momentum import sde

a, b, end = 1.0, 0.3, 1.0
gbm = sm.SDE(lambda x, t, p: p[0] * x, lambda x, t, p: p[1] * x)
square = sde.Functional("square", lambda x, t, p: x * x)
exact = np.exp((2 * a + b**2) * end)
steps = [0.5, 0.25, 0.125, 0.0625]

# %%
# ``dri1`` is of weak order 2. Milstein's method follows single paths better than
# Euler's, but for means it is no better: it pays to know what one wants of a method.

figure, axes = plt.subplots(
    figsize=(7, 4.5), layout="constrained"
)
for method, marker in (
    ("euler-maruyama", "o"),
    ("milstein", "s"),
    ("dri1", "^"),
):
    errors, bars = [], []
    for step in steps:
        how = sde.Fixed(step, method)
        result = sm.solve(
            gbm,
            1.0,
            [end],
            step=how,
            n_paths=400_000,
            parameters=(a, b),
            statistics=[square],
            progress=False,
        )
        errors.append(
            abs(float(result.square_mean[0]) - exact) / exact
        )
        bars.append(2 * float(result.square_mean_se[0]) / exact)
    axes.errorbar(
        steps,
        errors,
        bars,
        fmt=marker + "-",
        label=method,
        capsize=2,
    )
    print(
        f"{method}: relative error",
        ", ".join(f"{e:.4f}" for e in errors) + ";",
        f"standard error {bars[0] / 2:.4f}",
    )
axes.set(
    xscale="log",
    yscale="log",
    xlabel="step",
    ylabel="relative error of the mean of $X^2$,\n"
    "bars: 2 standard errors",
    ylim=(1e-4, 1),
)
axes.legend()
plt.show()
