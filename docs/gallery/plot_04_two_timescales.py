r"""
Two timescales that cross
=========================

The time across the manifold of minimizers grows with momentum, the time along it
falls; where they cross, training is fastest.

``sm.timescales`` gives both in closed form. Across: one direction of the loss, of
curvature (Hessian eigenvalue) 1, is a damped oscillator that forgets within
:math:`\tau_\perp` steps. Along: the fluctuations push the weights to flatter minima
within :math:`\tau_\parallel = 4 (1 - \beta)^2 / (\mathrm{lr}^2 c \mu)` steps. Here
:math:`c` is the strength of the label noise (its variance over the batch size), and
:math:`\mu` says how fast the sharpness rises along the manifold.
"""

import matplotlib.pyplot as plt
import numpy as np

import sde_momentum as sm

c, mu = 1e-3, 10.0
one_minus_beta = np.geomspace(1e-3, 1, 400)

figure, axes = plt.subplots(
    figsize=(7, 4.5), layout="constrained"
)
crossings = {}
for lr, colour in (
    (0.1, "#0072B2"),
    (0.01, "#009E73"),
    (0.001, "#D55E00"),
):
    times = sm.timescales(
        lr,
        one_minus_beta=one_minus_beta,
        eigenvalue=1.0,
        noise=c,
        curvature=mu,
    )
    axes.loglog(
        one_minus_beta, times.transverse, color=colour, ls="--"
    )
    axes.loglog(
        one_minus_beta,
        times.longitudinal,
        color=colour,
        label=f"lr = {lr}",
    )
    crossing = np.argmin(
        np.maximum(times.transverse, times.longitudinal)
    )
    axes.plot(
        one_minus_beta[crossing],
        times.transverse[crossing],
        "o",
        color=colour,
    )
    crossings[lr] = one_minus_beta[crossing]
axes.set(
    xlabel="1 - momentum",
    ylabel="steps",
    ylim=(1, 1e7),
    title="dashed: across; full: along;\n"
    "they cross at the best momentum",
)
axes.legend()
plt.show()

# %%
# With much momentum, where the oscillator is underdamped, :math:`\tau_\perp = 2 / (1
# - \beta)`. Setting the two equal gives :math:`(1 - \beta)^3 = \mathrm{lr}^2 c \mu /
# 2`: the power 2/3. The crossings say the same:

rates = np.array(list(crossings))
print(
    "1 - beta at the crossings:",
    {lr: round(float(x), 4) for lr, x in crossings.items()},
)
print(
    "exponent:",
    round(
        float(
            np.polyfit(
                np.log(rates), np.log(list(crossings.values())), 1
            )[0]
        ),
        2,
    ),
)
