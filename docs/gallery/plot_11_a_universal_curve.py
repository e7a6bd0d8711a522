r"""
A universal curve
=================

In the right units the training time against momentum is one curve, whatever the
learning rate and the strength of the noise.

The theory says which units: :math:`1 - \beta` in units of :math:`(c\,
\mathrm{lr}^2)^{1/3}`, and steps in units of :math:`(c\, \mathrm{lr}^2)^{-1/3}`, with
:math:`c` the strength of the label noise. ``sm.universal_curve`` simulates the limit
in which this is exact, a limit of vanishing learning rate in which the fluctuations
stay.
"""

import matplotlib.pyplot as plt
import numpy as np

import sde_momentum as sm

# one flat direction, eight steep ones
valley = sm.Valley.balanced(8, curvature=1.0, coupling=3.0)
start = valley.start(1.0)  # at distance 1 from the flattest point
curve = sm.universal_curve(
    valley, start, ("test_error", 0.1), progress=False
)
print(curve)

# %%
# Now training itself, the update step by step, at three learning rates and two noise
# strengths, without any fit:

figure, axes = plt.subplots(
    figsize=(7.5, 4.8), layout="constrained"
)
wide = np.geomspace(1.95, 5.5, 60)
# any small learning rate and noise give the same curve
unit = np.cbrt(1e-6 * 1e-6**2)
predicted = (
    curve.convergence_time(1e-6, wide * unit, noise=1e-6)[0]
    * unit
)
axes.loglog(
    wide,
    predicted,
    "k-",
    lw=2,
    label="universal curve, predicted",
)
settings = ((0.02, 0.3, "o"), (0.005, 0.3, "s"), (0.02, 0.1, "^"))
for (lr, sigma, marker), colour in zip(
    settings, ("#0072B2", "#009E73", "#D55E00"), strict=True
):
    method = sm.LabelNoiseSGD(valley, label_noise=sigma)
    unit = np.cbrt(method.noise * lr**2)
    scaled = np.geomspace(1.8, 5.0, 9)
    steps = np.unique(np.linspace(0, 150 / unit, 600).astype(int))
    runs = sm.solve(
        method,
        start,
        steps,
        lr=lr,
        momentum=1 - scaled[::-1] * unit,
        seeds=range(128),
        metrics=["test_error"],
        progress=False,
    )
    times = sm.convergence_time(
        runs.test_error.mean("seed").isel(lr=0), runs.time
    )[::-1]
    axes.loglog(
        scaled,
        times * unit,
        marker,
        color=colour,
        label=f"lr {lr}, label noise {sigma}",
    )
axes.set(
    xlabel=r"$(1 - \beta)\,/\,(c\,\mathrm{lr}^2)^{1/3}$",
    ylabel=r"steps $\times\,(c\,\mathrm{lr}^2)^{1/3}$",
    xlim=(1.6, 5.5),
    ylim=(20, 150),
)
axes.legend()
plt.show()

# %%
# On the right, with too little momentum, all settings lie on the curve. Close to the
# cliff, on the left, corrections of the order :math:`\mathrm{lr}^{1/3}` are seen;
# they vanish slowly, and the library has formulas for them too.
