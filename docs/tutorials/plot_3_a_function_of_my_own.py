r"""
A function of my own
====================

**You have** a model as code: a function of its weights in NumPy, PyTorch or JAX, or a
``torch.nn.Module``. **You want** the momentum that trains it fastest under label
noise, for a goal of your own. **You need** the core, and ``plot`` for the pictures.

The function gets a vector of weights and returns the outputs on all training data.
The loss is :math:`|f(w) - y|^2 / (2 P)`, P the number of outputs.
"""

import matplotlib.pyplot as plt
import numpy as np

import sde_momentum as sm

rng = np.random.default_rng(0)
inputs = rng.standard_normal((6, 12))
# the map to be found; six of its outputs are known
sparse = np.zeros(12)
sparse[:2] = 1.0, -1.0
n = len(sparse)


def network(w):
    """The linear map with entries a b: its outputs (..., 6).

    The weights `w` (..., 24) may be of many points at once.
    """
    return (w[..., :n] * w[..., n:]) @ inputs.T


def jacobian(w):
    """Derivatives by w, (..., 6, 24): optional, and faster."""
    a, b = w[..., None, :n], w[..., None, n:]
    return np.concatenate([inputs * b, inputs * a], axis=-1)


def map_error(w):
    """Squared distance from the map that made the data."""
    return np.sum(
        (w[..., :n] * w[..., n:] - sparse) ** 2, axis=-1
    )


problem = sm.Problem.from_function(
    network,
    inputs @ sparse,
    2 * n,
    jacobian=jacobian,
    test_error=map_error,
)
print(
    problem.n_parameters,
    "weights,",
    problem.n_outputs,
    "outputs; derivatives by",
    problem.derivatives,
)

# %%
# 24 weights and 6 data: many exact fits, few of which are the map.
# ``interpolating_start`` finds one by gradient flow from random weights.
# ``drift_flow`` shows where label noise would lead from there in the mean: to the
# flattest fit, which here is the map.

start = problem.interpolating_start(seed=3)
flow = sm.drift_flow(problem, start)
print(
    f"loss at the start: {float(problem.loss(start)):.0e},",
    f"distance from the map: {float(map_error(start)):.2f}",
)
print(flow)
print(
    "distance from the map at its end:",
    f"{float(map_error(flow.points[-1])):.1e}",
)

# %%
# What counts as done
# -------------------
# A target is a metric and the fraction of its start below which its mean must stay:
# here the distance from the map, at 0.3. ``noise`` is the variance of the errors in
# the labels over the batch size, which is 6: all data in each step.
#
# Say the target. Without ``target=`` it depends on the model and on the start: a
# tenth of ``test_error`` there, or, for a model without ``test_error``, the sharpness
# after nine tenths of its way from this start to the flattest point. Here a tenth would
# be asked for. The printed line ``expected:`` says which target it was.

sigma = 0.1
answer = sm.predict(
    problem,
    lr=0.02,
    noise=sigma**2 / 6,
    start=start,
    target=("test_error", 0.3),
    budget=8,
    progress=False,
)
print(answer)

# %%
# The momentum comes with its range, the steps with their error, and then what was
# simulated. A line that begins with ``doubtful:`` comes first where there is
# something to doubt, and names the remedy. Here it is ``budget``: eight seconds are
# short for a function in NumPy, and runs of this model differ much from each other.
# The last lines compare with theory, and ``broken`` names an assumption of theory
# that this model does not meet; trials do not need it.
#
# The targets that every model has are ``"test_error"``, your own function above, and
# ``"trace_hessian"``, the sharpness: ``target=("trace_hessian", 0.5)``. More numbers of
# your own: :doc:`/extending`, "A target metric". A fraction that no momentum meets is an
# error that names one that is met.
#
# Faster than NumPy: a function in PyTorch or JAX with hundreds of runs in one call,
# or a formula, which is compiled (:doc:`plot_2_from_formula_to_checked_prediction`).
# Without ``jacobian=`` a function in NumPy is differentiated by complex steps, a call
# for each weight.

figure, axes = plt.subplots(
    figsize=(7.5, 4.6), layout="constrained"
)
answer.plot(axes)
plt.show()

# %%
# From the shell
# --------------
# Put the function into a file ``model.py``, with what it needs as attributes:
# ``network.targets = inputs @ sparse`` and ``network.n_parameters = 24``. Then
#
# .. code-block:: sh
#
#    sde-momentum predict --model model.py:network --lr 0.02 --noise 1.7e-3 --fraction 0.3
#
# Metrics of your own, modules with batch norm, data in files: :doc:`/extending`.
