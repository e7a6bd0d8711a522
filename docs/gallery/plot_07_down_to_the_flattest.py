r"""
Down to the flattest point
==========================

Where does label noise lead, and how long is the way? ``sm.drift_flow`` follows it
without simulating any noise.

Along the manifold of minimizers the fluctuations act as a force: the mean motion is
that of a ball rolling down the sharpness, the trace of the Hessian
:math:`\operatorname{tr} H`. The model here is a function of our own in NumPy: a
linear map with twelve entries, each of them a product of two weights, whose outputs
at six inputs are known.
"""

import matplotlib.pyplot as plt
import numpy as np

import sde_momentum as sm

rng = np.random.default_rng(0)
inputs = rng.standard_normal((6, 12))


def f(w):
    """A diagonal linear network: a map with entries a b.

    Its outputs at the six inputs.
    """
    a, b = w[:12], w[12:]
    return inputs @ (a * b)


sparse = np.zeros(12)
sparse[:2] = 1.0, -1.0
problem = sm.Problem.from_function(f, inputs @ sparse, 24)
start = problem.interpolating_start(seed=3)
flow = sm.drift_flow(problem, start)
print(flow)

# %%
# Six data cannot fix twelve entries. Label noise chooses among all solutions the
# flattest, and that is here the sparse map from which the data were made, with two
# entries that are not zero: this is why one wants to arrive there.

entries = flow.points[:, :12] * flow.points[:, 12:]
figure, (left, right) = plt.subplots(
    1, 2, figsize=(9, 3.8), layout="constrained"
)
left.semilogx(
    flow.time, problem.trace_hessian(flow.points), color="#0072B2"
)
left.set(
    xlabel=r"time $t$ = steps $\times\ c\,\mathrm{lr}^2/(1 - \beta)^2$",
    ylabel="tr H, the sharpness",
    title="downhill",
)
right.semilogx(flow.time, entries, lw=1)
print("entries at the end:", *entries[-1].round(2) + 0.0)
right.set(
    xlabel="time t",
    ylabel="entries of the map",
    title="twelve entries on the way",
)
for value in (1.0, -1.0):
    right.axhline(value, color="0.6", ls=":", lw=1)
plt.show()

# %%
# The unit of time shows what momentum does for this motion: the steps for the same
# way are proportional to :math:`(1 - \beta)^2`.
