r"""
Two dimensions: a charged particle in a trap
============================================

A two-dimensional ensemble: position and velocity with friction, heat and a magnetic
field, and its stationary density.

Underdamped Langevin equations have a class of their own: ``force`` of the position,
``friction``, ``temperature``. A magnetic field turns the velocity; it enters as the
antisymmetric part of the friction matrix.
"""

import matplotlib.pyplot as plt
import numpy as np

import sde_momentum as sm
from sde_momentum import sde

field, temperature = 2.0, 0.2
trapped = sde.Langevin(
    lambda q, t, p: (-q[0], -2 * q[1]),
    friction=[[0.5, -field], [field, 0.5]],
    temperature=temperature,
    n_coordinates=2,
)
times = np.arange(0, 40.01, 0.1)
result = sm.solve(
    trapped,
    [1.5, 0.0, 0.0, 0.0],
    times,
    step=0.025,
    n_paths=2000,
    statistics=[sde.KeepPaths(range(400))],
    progress=False,
)

# %%
# In equilibrium the magnetic field does no work, so the variances are those of a
# particle without it: temperature over stiffness, 0.2 and 0.1.

for name in result.component.values[:2]:
    one = result.sel(component=name).isel(time=-1)
    print(
        f"variance of {name}: {float(one['variance']):.3f}"
        f" +- {float(one['variance_se']):.3f}"
    )

# %%
# On the left the mean over all paths spirals into the trap, beside one path of the
# ensemble; on the right where 400 paths are found late.

figure, (left, right) = plt.subplots(
    1,
    2,
    figsize=(9.5, 4.2),
    layout="constrained",
    sharex=True,
    sharey=True,
)
x, y = (result["mean"].isel(component=i) for i in (0, 1))
left.plot(
    *result.path_value.isel(path=0, component=slice(0, 2)).T,
    color="0.8",
    lw=0.7,
    label="one path",
)
left.plot(x, y, color="#0072B2", lw=2, label="mean of 2,000")
left.set(
    xlabel="q1",
    ylabel="q2",
    title="the way to the centre",
    aspect="equal",
)
left.legend()
late = result.path_value.isel(
    time=slice(200, None), component=slice(0, 2)
).values.reshape(-1, 2)
right.hexbin(
    *late.T,
    gridsize=45,
    extent=(-1.6, 1.6, -1.6, 1.6),
    cmap="Blues",
)
right.set(
    xlabel="q1",
    title="density for t > 20",
    aspect="equal",
    xlim=(-1.6, 1.6),
    ylim=(-1.6, 1.6),
)
plt.show()
