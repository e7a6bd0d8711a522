r"""
Across and along: why there is a best momentum
==============================================

Two weights, one data point: the whole picture in which momentum helps one motion and
hinders another.

The model is :math:`f = u v` and the datum says :math:`f = 1`, so that every point of
the curve :math:`u v = 1` fits it exactly. Such a curve is called the manifold of
minimizers. With **label noise**, a fresh random error in the label at each step, SGD
never rests there: it is shaken *across* the curve, and the shaking pushes it *along*
the curve, towards where the loss is flattest, here (1, 1).
"""

import matplotlib.pyplot as plt
import numpy as np

lr, sigma, steps = 0.02, 1.0, 6000


def train(momentum, seed=0):
    """All points that SGD with momentum visits.

    The loss is (u v - 1 - noise)^2 / 2, the start on the curve.
    """
    noise = sigma * np.random.default_rng(seed).standard_normal(
        steps
    )
    w, velocity = np.array([2.5, 0.4]), np.zeros(2)
    path = [w]
    for xi in noise:
        gradient = (w[0] * w[1] - 1 - xi) * w[::-1]
        velocity = momentum * velocity - lr * gradient
        w = w + velocity
        path.append(w)
    return np.array(path)


paths = {
    momentum: train(momentum) for momentum in (0.0, 0.8, 0.98)
}

# %%
# How sharp the loss is at a point of the curve is told by the trace of its Hessian,
# here :math:`u^2 + v^2`: 2 at the flattest point, 6.41 at the start.

figure, panels = plt.subplots(
    2, 3, figsize=(10, 6.2), layout="constrained", sharey="row"
)
grid = np.linspace(0.05, 3.4, 200)
for (momentum, path), plane, time in zip(
    paths.items(), *panels, strict=True
):
    plane.contourf(
        grid,
        grid,
        np.log10(1e-3 + (grid[:, None] * grid - 1) ** 2),
        levels=20,
        cmap="Greys",
        alpha=0.6,
    )
    plane.plot(path[:, 0], path[:, 1], lw=0.5, color="#0072B2")
    plane.plot(grid, 1 / grid, color="#D55E00", lw=1.5)
    plane.plot(*path[0], "o", color="#222222")
    plane.plot(1, 1, "*", color="#009E73", ms=14)
    plane.set(
        title=f"momentum {momentum}",
        xlabel="u",
        xlim=(0.05, 3.4),
        ylim=(0.05, 3.4),
    )
    time.plot((path**2).sum(1), color="#0072B2", lw=0.7)
    time.axhline(2, color="#009E73", lw=1)
    time.set(xlabel="step", ylim=(0, 12))
panels[0, 0].set_ylabel("v")
panels[1, 0].set_ylabel("sharpness, trace of the Hessian")
plt.show()

# %%
# Without momentum the weights stay close to the curve and creep. With momentum 0.8
# they arrive. With momentum 0.98 they are thrown about so far across the curve that
# they never settle. Momentum speeds the motion along the curve up and slows the
# settling across it down; the best momentum makes both equally slow. How that depends
# on the learning rate is the subject of this library: :math:`1 - \beta \propto
# \mathrm{lr}^{2/3}`.
