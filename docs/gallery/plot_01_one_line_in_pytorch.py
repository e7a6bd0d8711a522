r"""
One line in PyTorch
===================

A learning rate is lowered in long steps, and one line lets momentum follow.

A pair of learning rate and momentum has been tuned, here 0.1 and 0.9. When the
learning rate is lowered to 0.01 and 0.001, which momentum belongs to it? The rule is
:math:`1 - \beta \propto \mathrm{lr}^{2/3}`, with :math:`\beta` the momentum: a tenth
of the learning rate asks for :math:`10^{-2/3} = 0.215` times the :math:`1 - \beta`.
"""

import matplotlib.pyplot as plt
import torch

import sde_momentum as sm

torch.manual_seed(0)
torch.set_num_threads(1)  # so small a model is faster on one
model = torch.nn.Linear(10, 1)
optimizer = torch.optim.SGD(
    model.parameters(), lr=0.1, momentum=0.9
)
schedule = torch.optim.lr_scheduler.StepLR(
    optimizer, step_size=5000, gamma=0.1
)

# %%
# This is the line. The scaler changes the momentum of the optimizer that it is given;
# the training loop stays as it is.

sm.MomentumScaler(
    optimizer,
    sm.MomentumRule.from_reference(lr=0.1, momentum=0.9),
)

# %%
# A training loop like any other. The data do not matter here; we only record what the
# optimizer is set to.

x, y = torch.randn(64, 10), torch.randn(64, 1)
rates, momenta = [], []
for _ in range(15_000):
    optimizer.zero_grad()
    torch.nn.functional.mse_loss(model(x), y).backward()
    optimizer.step()
    rates.append(optimizer.param_groups[0]["lr"])
    momenta.append(optimizer.param_groups[0]["momentum"])
    schedule.step()

print(
    "momentum at the end of each phase:",
    [round(momenta[k], 5) for k in (4999, 9999, 14_999)],
)

# %%
# Momentum changes later than the learning rate does: the scaler waits until a
# learning rate has lasted :math:`20 / (1 - \beta)` steps, with the :math:`\beta` to
# come. In a warm-up or under cosine annealing, where the learning rate changes at
# every step, it therefore leaves momentum alone, which is what was measured to be
# best there.

figure, (above, below) = plt.subplots(
    2, 1, sharex=True, figsize=(7, 4.5), layout="constrained"
)
above.semilogy(rates, color="#0072B2")
above.set(ylabel="learning rate")
below.semilogy([1 - m for m in momenta], color="#D55E00")
below.set(
    xlabel="step",
    ylabel="1 - momentum",
    title="1 - momentum follows lr, to the power 2/3",
)
plt.show()
