r"""
The phase diagram
=================

Every pair of learning rate and momentum of one problem at a glance: where momentum is
too little, right, too much, or unstable.
"""

import matplotlib.pyplot as plt

import sde_momentum as sm
from sde_momentum.figures import phase_diagram

diagram = sm.PhaseDiagram(
    noise=2.5e-4,
    curvature=10.0,
    eigenvalues=[0.5, 1.0, 4.0],
    coupling=14.0,
    target=0.3,
)

# %%
# ``noise`` is the variance of the label noise over the batch size, ``curvature`` how
# fast the sharpness rises along the manifold of minimizers, ``eigenvalues`` the
# curvatures across it; ``coupling`` says how strongly these change along it, and so
# where fluctuations throw the weights out of the flat region. ``target``: training is
# done at 0.3 of the distance.

for lr in (0.1, 0.01, 0.001):
    best, edge = (
        float(diagram.optimum(lr)),
        float(diagram.edge(lr)),
    )
    print(
        f"lr {lr}: best 1 - momentum {best:.4f},"
        f" stability edge {edge:.4f}"
    )

# %%
# All lines along the manifold have the slope 2/3. The last grey region is the usual
# limit of the learning rate, from which a steep direction diverges.

data = diagram.dataset()
figure, axes = plt.subplots(
    figsize=(9, 5.2), layout="constrained"
)
phase_diagram.draw(axes, data)
names = (
    (1e-4, 0.1, "too little"),
    (1e-2, 5e-4, "too much"),
    (0.04, 0.1, "underdamped across"),
)
for lr, one_minus_beta, words in names:
    axes.text(
        lr, one_minus_beta, words, ha="center", weight="bold"
    )
axes.legend(
    loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=9
)
plt.show()
