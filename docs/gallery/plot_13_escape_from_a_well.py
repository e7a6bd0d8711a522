r"""
Escape from a well
==================

How long does a noisy particle stay in one of two wells? First-passage times, with the
paths that have not left counted right.

The force is that of the potential :math:`U = (x^2 - 1)^2`, with a well at -1 and one
at 1, and the path has left when it first reaches 0, the top of the barrier.
"""

import matplotlib.pyplot as plt
import numpy as np

import sde_momentum as sm
from sde_momentum import sde

well = sm.SDE(
    lambda x, t, p: -4 * x * (x * x - 1),
    lambda x, t, p: (2 * p[0]) ** 0.5,
)

# %%
# ``p[0]`` is the temperature. Parameters given by name, with several values, make a
# sweep. A path passes when the function given to ``PassageTimes`` is first at least
# 0.

times = np.linspace(0, 40, 81)
result = sm.solve(
    well, -1.0, times, step=0.01, n_paths=4000, progress=False,
    parameters={"temperature": [0.3, 0.4, 0.6]},
    statistics=[sde.PassageTimes(lambda x, t, p: x)],
)  # fmt: skip
for temperature in result.temperature.values:
    one = result.sel(temperature=temperature)
    print(
        f"temperature {temperature}: median time"
        f" {float(one.passage_quantile[1]):.2f}"
        f" +- {float(one.passage_quantile_se[1]):.2f}"
    )

# %%
# The shares of paths still in the well. On this scale they are straight lines:
# leaving is a matter of chance alone, and the rate falls steeply with the
# temperature.

figure, axes = plt.subplots(
    figsize=(7, 4.2), layout="constrained"
)
for temperature, colour in zip(
    result.temperature.values,
    ("#0072B2", "#009E73", "#D55E00"),
    strict=True,
):
    one = result.sel(temperature=temperature)
    axes.semilogy(
        times,
        one.survival,
        color=colour,
        label=f"temperature {temperature}",
    )
    axes.fill_between(
        times,
        one.survival_low,
        one.survival_high,
        color=colour,
        alpha=0.25,
    )
axes.set(
    xlabel="t",
    ylabel="share still in the well, with 95 % intervals",
    ylim=(1e-2, 1),
)
axes.legend()
plt.show()
