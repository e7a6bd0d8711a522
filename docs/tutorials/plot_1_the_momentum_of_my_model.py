r"""
The momentum of my model
========================

**You have** a PyTorch training with a learning rate. **You want** the momentum that
belongs to it, and to know what to do when the learning rate changes. **You need**
``pip install '.[torch,plot]'``; no theory.

:doc:`/start/ten_minutes` shows the shortest way. Here is the rest: a training step of
your own, judging by a validation set, another learning rate, and a picture in which
you see for yourself whether the rule holds on your model.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import sde_momentum as sm

torch.set_num_threads(1)  # so small a network is faster on one

# %%
# A training
# ----------
# Regression with heavy-tailed errors, which is why the gradients are clipped.
# Everything in this block stands for your own code.

torch.manual_seed(0)
teacher = nn.Sequential(
    nn.Linear(20, 64), nn.Tanh(), nn.Linear(64, 1)
).requires_grad_(False)
x = torch.randn(8000, 20)
y = 3 * teacher(x)
noisy = y + 0.2 * torch.distributions.StudentT(3.0).sample(
    y.shape
)
loader = DataLoader(
    TensorDataset(x[:6000], noisy[:6000]),
    batch_size=32,
    shuffle=True,
)
validation = x[6000:7000], y[6000:7000]
test = x[7000:], y[7000:]
epochs = 5


def make(lr, momentum, seed=1):
    """Model, optimizer and schedule before the first step."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(20, 64), nn.GELU(), nn.Linear(64, 1)
    )
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=lr,
        momentum=momentum,
        weight_decay=1e-4,
    )
    return (
        model,
        optimizer,
        torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, T_max=epochs * len(loader)
        ),
    )


def update(model, optimizer, batch):
    """One step on a batch with clipped gradients; the loss."""
    inputs, targets = batch
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(inputs), targets)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()
    return loss.detach()


def error(model, data):
    """Root-mean-square error on `data`."""
    with torch.no_grad():
        return (
            float(nn.functional.mse_loss(model(data[0]), data[1]))
            ** 0.5
        )


# %%
# Find
# ----
# ``step`` hands over your own update. ``metric`` is a number that you judge by,
# smaller is better; without it the training loss of the last batches is compared.
# ``anneal`` says that the learning rate will fall to 0, so each trial ends with such
# a fall too. ``seeds=2`` repeats every trial with other batches: since a metric gives
# one number a trial, their scatter is the only error that there is.

model, optimizer, schedule = make(lr=0.005, momentum=0.9)
found = sm.find_momentum(
    model, optimizer, None, loader,
    steps=190, seeds=2, anneal=True, progress=False,
    step=lambda batch: update(model, optimizer, batch),
    metric=lambda trained: error(trained, validation),
)  # fmt: skip
print(found)

# %%
# Read the lines from the top. A line that begins with ``doubtful:`` would come first,
# and name the trials that settle it (:doc:`/start/trusted`). ``as good`` encloses the values of 1 - momentum that
# the trials do not show to be worse; a momentum of your own within it needs no
# change. Nothing was changed:

print(
    "momentum of the optimizer:",
    optimizer.param_groups[0]["momentum"],
)

# %%
# Use
# ---


def train(lr, momentum, seed=1):
    """Error on the test set after the whole training."""
    model, optimizer, schedule = make(lr, momentum, seed)
    for _ in range(epochs):
        for batch in loader:
            update(model, optimizer, batch)
            schedule.step()
    return error(model, test)


print(
    f"test error at momentum {found.momentum:.3f}:",
    f"{train(0.005, found.momentum):.3f}",
)

# %%
# Another learning rate
# ---------------------
# Later the learning rate is to be twenty times as large. ``found.rule`` moves the
# pair by ``1 - momentum ~ lr^(2/3)``.

print(found.rule.explain(0.1))

# %%
# See
# ---
# Does the rule hold on *your* model? Train at several momenta and at both learning
# rates, and look where the minima are. This is the only step that costs many
# trainings, and you need it once, if at all.

one_minus_beta = np.geomspace(0.004, 1.0, 7)
figure, axes = plt.subplots(
    figsize=(7, 4.5), layout="constrained"
)
for lr, colour in ((0.005, "#0072B2"), (0.1, "#D55E00")):
    errors = [train(lr, 1 - d) for d in one_minus_beta]
    axes.plot(
        one_minus_beta,
        errors,
        "o-",
        color=colour,
        label=f"lr {lr}",
    )
    axes.axvline(
        found.rule.one_minus_beta(lr), color=colour, ls="--"
    )
    kept = train(lr, 0.9)
    axes.plot(0.1, kept, "k+", ms=12)
    print(
        f"lr {lr}: best of the sweep {min(errors):.3f};",
        f"by the rule {train(lr, found.rule.momentum(lr)):.3f};",
        f"at 0.9 {kept:.3f}",
    )
print(
    f"lr 0.1 with the momentum of 0.005, {found.momentum:.3f}:",
    f"{train(0.1, found.momentum):.3f}",
)
axes.set(
    xscale="log",
    xlabel="1 - momentum",
    ylabel="test error",
    title="dashed: found at 0.005, moved to 0.1; +: momentum 0.9",
    ylim=(0.14, 0.3),
)
axes.legend()
plt.show()

# %%
# Where the learning rate falls in long steps
# -------------------------------------------
# Along a cosine momentum should stay as it is. If your schedule holds the learning
# rate for many steps and then cuts it, momentum can follow:

model, optimizer, _ = make(lr=0.005, momentum=found.momentum)
scaler = sm.MomentumScaler(optimizer, found.rule)
print(
    "momentum set by the scaler:",
    round(optimizer.param_groups[0]["momentum"], 4),
)

# %%
# Its state is saved and loaded with the optimizer's own ``state_dict``. More:
# :doc:`/pytorch`; whether all this pays for your kind of training:
# :doc:`/start/does_it_apply`.
