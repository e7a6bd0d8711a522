r"""
An ensemble of a stochastic differential equation
=================================================

**You have** a stochastic differential equation, in one dimension or more. **You
want** means, distributions and first-passage times with their errors. **You need**
the core; nothing of the theory of momentum.

One dimension
-------------
A double well, :math:`dX = (X - X^3)\,dt + s\,dW`. Drift and diffusion are plain
Python functions of state, time and parameters; they are compiled on first use.
"""

import matplotlib.pyplot as plt
import numpy as np

import sde_momentum as sm
from sde_momentum import sde

well = sm.SDE(lambda x, t, p: x - x**3, lambda x, t, p: p[0])
times = np.linspace(0, 30, 61)
result = sm.solve(
    well, -1.0, times, step=0.01, n_paths=4000,
    parameters=(0.5,), progress=False,
    statistics=[
        sde.Histogram(np.linspace(-2, 2, 41)),
        sde.PassageTimes(lambda x, t, p: x),
    ],
)  # fmt: skip
for t in (10.0, 30.0):
    now = result.sel(time=t)
    mean, variance = (
        f"{float(now[name]):.3f} +- {float(now[name + '_se']):.3f}"
        for name in ("mean", "variance")
    )
    print(f"t = {t:.0f}: mean {mean}, variance {variance}")

# %%
# The result is an :class:`xarray.Dataset` over ``time``. Nothing is stored for each
# path: memory does not grow with their number. Every estimate has a standard error,
# ``..._se``, and a 95 % interval, ``..._low`` and ``..._high``.
#
# Do they count the error of the step? No: they are of chance alone. ``check_step=True``
# adds ``step_bias``, what the step changes in the mean (and in each
# ``sde.Functional``), from pairs of paths on the same noise, at this step and at half
# of it. It says nothing of variances, quantiles and passage times.

checked = sm.solve(
    well,
    -1.0,
    [10.0],
    step=0.01,
    n_paths=4000,
    parameters=(0.5,),
    check_step=True,
    progress=False,
).squeeze()
print(
    f"mean {float(checked['mean']):.3f}",
    f"+- {float(checked['mean_se']):.3f} by chance;",
    f"by the step {float(checked['step_bias']):.4f}",
    f"+- {float(checked['step_bias_se']):.4f}",
)

# %%
# The step is small enough where its part is far below that of chance, as here.
#
# First passages
# --------------
# ``PassageTimes`` takes a function that is first at least 0 when a path passes; here
# the state itself, since the top of the barrier is at 0. ``passed`` counts those that
# passed by the end, and ``survival`` is the share that has not, over time.

print("passed by t = 30:", int(result.passed), "of 4000")
print(
    f"mean of min(T, 30): {float(result.mean_passage_time):.2f}",
    f"+- {float(result.mean_passage_time_se):.2f}",
)
for p in result.passage_probability.values:
    one = result.sel(passage_probability=p)
    print(
        f"{p:.0%} have passed by t = {float(one.passage_quantile):.2f}",
        f"+- {float(one.passage_quantile_se):.2f},",
        f"bin {float(one.passage_quantile_resolution):.2f} wide",
    )

# %%
# ``mean_passage_time`` is the mean of min(T, end), which is less than the mean passage
# time where some have not passed. Quantiles need no more than that their share has
# passed, and are ``nan`` where it has not. They are counted in bins: the quantile is
# off by less than ``..._resolution``, the width of its bin, which the standard error
# does not count, and mostly by far less. A passage between two steps is caught by the
# probability of a Brownian bridge, but an error of the order of the step remains.
#
# So for the mean passage time: go on until all have passed, and halve the step to see
# whether the answer stays. Only the end is recorded, so this is cheap.

for step in (0.01, 0.005):
    long = sm.solve(
        well,
        -1.0,
        [400.0],
        step=step,
        n_paths=4000,
        parameters=(0.5,),
        seed=1,
        statistics=[sde.PassageTimes(lambda x, t, p: x)],
        progress=False,
    )
    print(
        f"step {step}: {int(long.passed)} of 4000 passed,",
        f"mean passage time {float(long.mean_passage_time):.2f}",
        f"+- {float(long.mean_passage_time_se):.2f},",
        f"median {float(long.passage_quantile[1]):.2f}",
        f"+- {float(long.passage_quantile_se[1]):.2f}",
    )

# %%

figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 4), layout="constrained"
)
for t in (1.0, 5.0, 30.0):
    left.plot(
        result["bin"],
        result["density"].sel(time=t).squeeze(),
        label=f"t = {t:.0f}",
    )
left.set(xlabel="x", ylabel="density")
left.legend()
right.fill_between(
    times, result.survival_low, result.survival_high, alpha=0.3
)
right.semilogy(times, result.survival)
right.set(
    xlabel="t",
    ylabel="share that has not passed 0, with 95 % interval",
)
plt.show()

# %%
# Two dimensions
# --------------
# With ``dim=2`` drift and diffusion return a tuple. This is the FitzHugh-Nagumo model
# of a nerve cell: a voltage and a slow recovery, noise in both. A spike is the
# passage of the voltage through 1.


def drift(x, t, p):
    """Voltage x[0] and recovery x[1]; the current is p[0]."""
    return x[0] - x[0] ** 3 / 3 - x[1] + p[0], 0.08 * (
        x[0] + 0.7 - 0.8 * x[1]
    )


def diffusion(x, t, p):
    """Noise of each component (noise "diagonal")."""
    return p[1], 0.01


cell = sm.SDE(drift, diffusion, 2)
rest = np.array([-1.05, -0.44])
two = sm.solve(
    cell, rest, np.linspace(0, 100, 201),
    step=0.05, n_paths=2000, progress=False,
    parameters={"current": [0.1, 0.2, 0.3], "noise": 0.08},
    statistics=[
        sde.PassageTimes(lambda x, t, p: x[0] - 1.0),
        sde.KeepPaths(range(5)),
        sde.Covariance(),
    ],
)  # fmt: skip
for current in two.current.values:
    one = two.sel(current=current)
    half = float(one.passage_quantile[1])
    print(
        f"current {current}: {float(one.passed):.0f} of 2000 cells"
        f" have fired by t = 100, half of all by {half:.1f}"
    )

# %%
# ``parameters`` by name, one of them with three values: the result has a dimension
# ``current``. ``nan`` means that fewer than half have fired.

figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 4), layout="constrained"
)
paths = two.path_value.sel(current=0.3)
left.plot(*[paths.isel(component=i).T for i in (0, 1)], lw=0.8)
left.plot(*rest, "ko")
left.set(
    xlabel="voltage",
    ylabel="recovery",
    title="five cells, current 0.3",
)
for current in two.current.values:
    right.plot(
        two.time,
        two.survival.sel(current=current),
        label=f"current {current}",
    )
right.set(xlabel="t", ylabel="share that has not fired")
right.legend()
plt.show()

# %%
# Here each component has a noise of its own, ``noise="diagonal"``. Noises that several
# components share are ``noise="general"``: the diffusion then returns a row for each
# component, with an entry for each Wiener process. Prey and predator, both disturbed by
# the same weather, and never below 0:


def hunt(x, t, p):
    """Growth of the prey x[0] and of the predator x[1]."""
    return x[0] * (1.0 - x[1]), x[1] * (x[0] - 1.0)


def weather(x, t, p):
    """A row each: a noise of its own, and one that both share."""
    return (0.1 * x[0], 0.0, 0.1 * x[0]), (
        0.0,
        0.1 * x[1],
        0.1 * x[1],
    )


plain = [(0, np.inf), (0, np.inf)]
animals = sm.SDE(
    hunt, weather, 2, noise="general", n_noise=3, domain=plain
)
many = sde.PassageTimes(lambda x, t, p: x[1] - 2.0)
three = sm.solve(
    animals, [1.0, 1.0], [40.0], step=0.005,
    n_paths=2000, statistics=[many], progress=False,
)  # fmt: skip
quarter, error = (
    float(three[n][0])
    for n in ("passage_quantile", "passage_quantile_se")
)
print(
    "a quarter of the predators have doubled by",
    f"t = {quarter:.1f} +- {error:.1f}",
)

# %%
# A mean to a stated error
# ------------------------
# ``UntilError`` takes as many paths as a wanted error needs. ``Multilevel`` counts
# the error of the steps in, and does most of the work with coarse ones:

answer = sm.solve(
    well,
    -1.0,
    [2.0],
    step=sde.Multilevel(0.25),
    n_paths=sde.UntilError(absolute=2e-3),
    parameters=(0.5,),
    progress=False,
)
print(
    f"mean at t = 2: {float(answer['mean']):.4f},",
    f"error with bias {float(answer['rms_error']):.4f}",
)

# %%
# Coming from diffrax or torchsde
# -------------------------------
#
# .. list-table::
#    :header-rows: 1
#
#    * - here
#      - diffrax
#      - torchsde
#    * - ``SDE(drift, diffusion)`` with ``f(x, t, p)``
#      - ``MultiTerm(ODETerm(drift), ControlTerm(diffusion, ...))`` with ``f(t, y, args)``
#      - a module with ``f(t, y)`` and ``g(t, y)``
#    * - ``n_paths=4000``
#      - ``vmap`` over keys
#      - a batch of rows as ``y0``
#    * - statistics, computed on the way, with errors
#      - of saved paths, by hand
#      - of saved paths, by hand
#    * - ``KeepPaths([0, 7])``
#      - ``SaveAt``
#      - the return value
#    * - ``PassageTimes(f)``
#      - ``Event``
#      - by hand, between saved times
#    * - ``sde.Fixed(step, "heun")``; the equation says "ito" or "stratonovich"
#      - the solver decides the interpretation
#      - ``sde_type`` and ``method``
#
# An equation of theirs carries over by swapping the arguments: this is torchsde's
# ``f(t, y)`` and ``g(t, y)``, on arrays, as it stands.

import torch  # noqa: E402


class Module(torch.nn.Module):
    """A torchsde equation of three components."""

    def f(self, t, y):
        return -y + 0.5 * torch.sin(y)

    def g(self, t, y):
        return 0.2 + 0.0 * y


module = Module()
moved = sm.SDE(
    lambda x, t, p: module.f(t, x),
    lambda x, t, p: module.g(t, x),
    3,
    batched="torch",
)
print(
    sm.solve(
        moved,
        np.ones(3),
        [1.0],
        step=0.05,
        n_paths=2000,
        progress=False,
    )["mean"].values
)

# %%
# ``batched="torch"`` (or ``"jax"``) calls it with all paths of a batch as the columns
# of a tensor, where torchsde has rows: functions that act on each entry need no
# change, products with matrices are turned around. All methods and options:
# :doc:`/ensembles`.
