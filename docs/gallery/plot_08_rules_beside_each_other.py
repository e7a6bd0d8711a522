r"""
Heavy ball, Nesterov, weight decay: three rules
===============================================

The power 2/3 belongs to label noise and plain momentum. With other forces, or
Nesterov's momentum, the rule is another, and the library computes it.

A *valley* is the simplest model with a manifold of minimizers: one flat direction,
and several steep ones whose curvature changes along it.
"""

import matplotlib.pyplot as plt
import numpy as np

import sde_momentum as sm

valley = sm.Valley(np.linspace(1.0, 2.0, 8), 0.0, curvature=1.0)
flattest = valley.start(0.0)
point = sm.ManifoldPoint(valley, flattest)
along = np.eye(9)[0]  # the flat direction
noise = [sm.forces.LabelNoise(1e-4)]
rules = {
    "label noise, heavy ball": sm.MomentumRule.from_forces(
        point, along, noise
    ),
    "label noise, Nesterov": sm.MomentumRule.from_forces(
        point, along, noise, nesterov=True
    ),
    "with weight decay 1e-3": sm.MomentumRule.from_forces(
        point, along, [*noise, sm.forces.WeightDecay(1e-3)]
    ),
}

# %%
# Each rule is a function of the learning rate. The slope in this picture is the
# exponent.

rates = np.geomspace(1e-5, 0.03, 60)
figure, axes = plt.subplots(
    figsize=(7, 4.5), layout="constrained"
)
for (name, rule), style in zip(
    rules.items(), ("-", "--", "-."), strict=True
):
    values = rule.one_minus_beta(rates)
    slope = np.log(
        rule.one_minus_beta(2e-3) / rule.one_minus_beta(1e-3)
    ) / np.log(2)
    print(f"{name}: exponent {slope:.2f} at lr 0.001")
    axes.loglog(rates, values, style, label=name, lw=2)
axes.set(
    xlabel="learning rate",
    ylabel="best 1 - momentum",
    title="the best momentum under different forces",
)
axes.legend()
plt.show()

# %%
# Nesterov's momentum damps a steep direction by itself, by learning rate times
# curvature, and where that is larger than :math:`1 - \beta`, at ordinary learning
# rates, its power is near 1/2. Weight decay pulls along the flat direction however
# small the learning rate, and asks for the power 1/2.
