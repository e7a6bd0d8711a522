r"""
The headline figure again
=========================

**You want** to see the figure of the home page come out of your own machine: training
time against momentum, at several learning rates, on one curve. **You need** the core
and ``plot``. Twenty seconds, with 64 runs a point and three learning rates in place
of 256 and nine.

The problem is *matrix sensing*: recover an 8 x 8 matrix of rank one from 40 random
measurements, by training two factors U and V of it. Many pairs of factors fit the
measurements exactly, but only the flattest ones recover the matrix. The measurements
carry fresh errors of standard deviation 0.1 at each step: label noise.
"""

import matplotlib.pyplot as plt
import numpy as np

import sde_momentum as sm

problem = sm.MatrixSensing(d=8, rank=1, n_measurements=40)
method = sm.LabelNoiseSGD(problem, label_noise=0.1)
start = problem.interpolating_start()
print(
    "test error at the start:",
    round(float(problem.test_error(start)), 3),
    "with training loss",
    f"{float(problem.loss(start)):.0e}",
)

# %%
# The prediction, before any noisy training
# -----------------------------------------
# Theory replaces the noise by what it does in the mean, a regulariser that grows with
# the sharpness; training on this *effective loss* is free of chance.

predictor = sm.EffectiveLossPredictor(
    problem, start, method.noise
)
rates = [0.1, 0.0316, 0.01]
for lr in rates:
    print(predictor.recommend(lr))

# %%
# The sweep
# ---------
# At each learning rate ten momenta, around a power of 2/3. ``sm.convergence_time``
# reads off when the mean test error stays below a tenth of its start.

scaled = np.geomspace(0.02, 0.3, 10)  # (1 - beta) / lr^(2/3)
times = {}
for lr in rates:
    unit = lr ** (2 / 3)
    steps = np.unique(
        np.geomspace(1, 220 / unit, 200).astype(int)
    )
    runs = sm.solve(
        method,
        start,
        [0, *steps],
        lr=lr,
        momentum=1 - scaled[::-1] * unit,
        seeds=range(64),
        metrics=["test_error"],
        progress=False,
    )
    error = runs.test_error.isel(lr=0)
    met = sm.convergence_time(error, runs.time)[::-1]
    each = 1 / met  # 0 for a run that never stays below
    times[lr] = (
        1 / each.mean(1),
        each.std(1) / each.mean(1) / np.sqrt(64),
    )

# %%
# The time is averaged over runs as a rate, one over the time, so that a run that
# never arrives counts as 0 and not as infinity.

figure, axes = plt.subplots(
    figsize=(7.5, 5), layout="constrained"
)
curve = predictor.recommend(0.01)
axes.loglog(
    curve.tried / 0.01 ** (2 / 3),
    curve.times * 0.01 ** (2 / 3),
    lw=6,
    alpha=0.3,
    label="predicted, without chance",
)
for (lr, (time, error)), colour in zip(
    times.items(), ("#E69F00", "#009E73", "#0072B2"), strict=True
):
    unit = lr ** (2 / 3)
    axes.errorbar(
        scaled,
        time * unit,
        2 * error * time * unit,
        fmt="o-",
        ms=4,
        color=colour,
        label=f"lr = {lr}",
    )
axes.set(
    xlabel=r"$(1 - \beta)\,/\,\mathrm{lr}^{2/3}$",
    ylabel=r"steps $\times\ \mathrm{lr}^{2/3}$",
    xlim=(0.018, 0.33),
    ylim=(15, 300),
)
axes.legend()
plt.show()

# %%
# On the right, with too little momentum, everything falls on the one curve. On the
# left is the cliff, where fluctuations throw the weights out of the flat region
# again, and where the corrections to the power 2/3 live: they shrink as the learning
# rate falls.

best = [
    scaled[np.argmin(time)] * lr ** (2 / 3)
    for lr, (time, _) in times.items()
]
print(
    "exponent of the best of these few momenta:",
    round(
        float(np.polyfit(np.log(rates), np.log(best), 1)[0]), 2
    ),
)

# %%
# The full figure, with nine learning rates, intervals for the exponent and the tables
# of :doc:`/matrix_sensing`, is made by
#
# .. code-block:: sh
#
#    sde-momentum validate matrix-sensing --profile full
