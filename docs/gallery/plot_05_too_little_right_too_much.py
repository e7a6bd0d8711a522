r"""
Too little, right, too much
===========================

Training of a small model at three momenta, many runs of each: how the sharpness
falls, and the cliff.

The model recovers an 8 x 8 matrix of rank one from 40 random measurements (*matrix
sensing*), by training two factors of it. All runs start at the same point, which fits
the data exactly; only the momentum and the noise in the labels differ.
"""

import matplotlib.pyplot as plt

import sde_momentum as sm

problem = sm.MatrixSensing(d=8, rank=1, n_measurements=40)
method = sm.LabelNoiseSGD(problem, label_noise=0.1)
runs = sm.solve(
    method,
    problem.interpolating_start(),
    range(0, 1201, 8),
    lr=0.05,
    momentum=[0.97, 0.99, 0.998],
    seeds=range(64),
    progress=False,
)

# %%
# ``runs`` is a labelled array (:class:`xarray.Dataset`) over learning rate, momentum,
# seed and time. The steps until the mean test error stays below a tenth of its start:

error = runs.test_error.isel(lr=0).mean("seed")
for momentum in runs.momentum.values:
    mean = error.sel(momentum=momentum)
    met = sm.convergence_time(mean, runs.time)
    print(f"momentum {momentum}: {float(met):.0f} steps")

# %%
# Thin lines are single runs, thick ones the mean. At 0.97 training is sure, and slow.
# At 0.99 it is fast. At 0.998 some runs arrive even sooner, and are thrown out again:
# their mean does not settle. This steep side is called the cliff, and a good
# recommendation keeps away from it.

figure, axes = plt.subplots(
    figsize=(7, 4.5), layout="constrained"
)
for momentum, colour, word in zip(
    runs.momentum.values,
    ("#0072B2", "#009E73", "#D55E00"),
    ("too little", "right", "too much"),
    strict=True,
):
    some = runs.test_error.isel(lr=0).sel(momentum=momentum)
    axes.semilogy(
        runs.time,
        some.isel(seed=slice(0, 8)).T,
        color=colour,
        lw=0.5,
        alpha=0.4,
    )
    axes.semilogy(
        runs.time,
        some.mean("seed"),
        color=colour,
        lw=2.5,
        label=f"momentum {momentum}: {word}",
    )
axes.axhline(
    0.1 * float(error.isel(momentum=0, time=0)),
    color="0.5",
    ls=":",
    label="a tenth of the start",
)
axes.set(
    xlabel="step",
    ylabel="test error",
    title="64 runs of each, lr 0.05",
)
axes.legend()
plt.show()
