r"""
From a formula to a checked prediction
======================================

**You have** a model as a formula. **You want** its best momentum from theory alone,
and to know how good that is. **You need** ``pip install '.[symbolic,plot]'``.

The model: one output, a sum of products of weights, as in a linear network of one
hidden layer with one input,

.. math:: f(u, v) = \tfrac{1}{4} \sum_{i=1}^{16} u_i v_i, \qquad L = \tfrac{1}{2} (f - 1)^2 .

Every point with :math:`f = 1` fits the datum: a manifold of minimizers, of 31
dimensions. With label noise of standard deviation :math:`\sigma`, a fresh error in
the target 1 at each step, SGD wanders on it to where the loss is flattest.
"""

import matplotlib.pyplot as plt
import numpy as np
import sympy as sp

import sde_momentum as sm
from derivations import SymbolicModel

u, v = sp.symbols("u:16"), sp.symbols("v:16")
model = SymbolicModel(
    sum(a * b for a, b in zip(u, v, strict=True)) / 4,
    [*u, *v],
    targets=[1.0],
    point=[0.9] * 16 + [0.3] * 16,
    name="products",
)

# %%
# ``point`` says where to look for the manifold. What follows from the formula alone:

print(
    "the trace of the Hessian, the sharpness:",
    str(sp.factor(model.trace_hessian))[:40],
    "...",
)
# the point of the manifold that gradient flow reaches from `point`
start = model.interpolating_point()
flattest = model.flattest_point(start)
print(
    "sharpness at the start:",
    round(model.at(start).trace_hessian, 3),
    "and at the flattest point:",
    round(model.at(flattest).trace_hessian, 3),
)

# %%
# The two numbers of the theory
# -----------------------------
# :math:`c = \sigma^2 / B`, the strength of the noise at batch size B, here 1. And
# :math:`\mu`, how fast the sharpness rises along the manifold away from its flattest
# point. From them the best momentum in closed form (:doc:`/theory`, eq. 5.5):
# :math:`1 - \beta = (c \mu \zeta^2)^{1/3} \mathrm{lr}^{2/3}`. :math:`\zeta` is the
# damping ratio: 1 damps just enough to never overshoot. We only want the excess of
# the sharpness to stay below a tenth of its start, and the excess is quadratic in the
# distance from the flattest point; so the distance may overshoot by
# :math:`\sqrt{0.1}`. ``target`` says so, and :math:`\zeta` follows.

sigma, lr = 0.3, 0.02
rule = model.momentum_rule(
    label_noise=sigma, start=start, target=0.1**0.5
)
print(rule)
print(rule.explain(lr))

# %%
# The check, by training
# ----------------------
# ``compile`` turns the formula into machine code. 256 runs at each of eleven momenta,
# all of the same noise, and the steps until the mean sharpness has come down to
# within a tenth of its way.

method = sm.LabelNoiseSGD(model.compile(), label_noise=sigma)
best = rule.one_minus_beta(lr)
factors = np.geomspace(0.5, 6, 11)
runs = sm.solve(
    method,
    start,
    range(0, 4001, 20),
    lr=lr,
    momentum=1 - factors[::-1] * best,
    seeds=range(256),
    metrics=["trace_hessian"],
    progress=False,
)
excess = (
    runs.trace_hessian.mean("seed").isel(lr=0)
    - model.at(flattest).trace_hessian
)
times = sm.convergence_time(
    np.maximum(excess, 1e-9), runs.time, fraction=0.1
)[::-1]
for factor, time in zip(factors, times, strict=True):
    print(
        f"1 - momentum = {factor:4.2f} x predicted:",
        f"{time:6.0f} steps",
    )

# %%
# The time at the predicted momentum against the shortest:

at_best = np.exp(np.interp(0.0, np.log(factors), np.log(times)))
print(
    f"predicted momentum {1 - best:.4f}: {at_best:.0f} steps;",
    f"shortest of the sweep: {times.min():.0f}",
)
print(f"ratio: {at_best / times.min():.2f}")

# %%
# Theory's own times beside them
# ------------------------------
# ``sm.predict`` asks several ways at once. ``methods`` names those without trials:
# the closed form, and training without chance on an effective loss. Without trials the
# answer is doubtful, and says why: the momenta of these ways are near the best, but
# their steps are short of those that training needs, here by a quarter.

answer = sm.predict(
    model.compile(),
    lr,
    noise=sigma**2,
    start=start,
    methods=["closed form", "effective loss"],
    progress=False,
)
print(answer)

# %%

figure, axes = plt.subplots(
    figsize=(7, 4.5), layout="constrained"
)
met = np.isfinite(times)
axes.loglog(
    factors[met] * best,
    times[met],
    "o-",
    color="#0072B2",
    label="training, 256 runs each",
)
axes.axvline(
    best, color="#009E73", lw=2, label="predicted, closed form"
)
axes.axvline(
    answer.one_minus_beta,
    color="#D55E00",
    ls="--",
    label="predicted, effective loss",
)
axes.set(
    xlabel="1 - momentum",
    ylabel="steps until within a tenth",
    title=f"lr {lr}, label noise {sigma}",
)
axes.legend()
plt.show()

# %%
# With data
# ---------
# Usually a formula is the output for one sample, and there are several samples. ``inputs``
# are the symbols of a sample, ``data`` and ``targets`` their values, a row for each.

a, b, d, e, x = sp.symbols("a b d e x")
fit = SymbolicModel(
    a * sp.tanh(b * x) + d * sp.tanh(e * x),
    [a, b, d, e],
    targets=[[0.5], [0.9]],
    inputs=[x],
    data=[[0.5], [1.5]],
    point=[2.0, 0.3, 0.3, 1.0],
)
print(
    fit.momentum_rule(label_noise=0.05, target=0.1**0.5).explain(
        0.1
    )
)

# %%
# The batch size is that of all samples unless ``batch_size`` says otherwise.
#
# Where does the formula stop? The closed form does not see the cliff, the steep side
# on the left, and is bounded by it only roughly. Every equation used here has a
# proof: ``sde-momentum derive prefactor`` prints that of the closed form, step by
# step, each verified as it prints. All options:
# ``help(SymbolicModel)``. Where formulas get too large, state the model as a
# function: :doc:`plot_3_a_function_of_my_own`.
