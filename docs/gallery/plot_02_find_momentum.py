r"""
The momentum of a training, by short trials
===========================================

``find_momentum`` trains a little at several momenta from where your training stands,
compares the losses, and puts everything back.

The training is a small network on noisy labels: a fifth of them is wrong. Nothing
about the model is assumed; what is tried is your own model, loss, data and optimizer.
"""

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import sde_momentum as sm

torch.manual_seed(0)
torch.set_num_threads(1)  # so small a model is faster on one
x = torch.randn(2000, 10)
labels = (x.sin().sum(1) > 0).long()
wrong = torch.rand(len(labels)) < 0.2
labels[wrong] = 1 - labels[wrong]
loader = DataLoader(
    TensorDataset(x, labels), batch_size=32, shuffle=True
)
model = nn.Sequential(
    nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 2)
)
optimizer = torch.optim.SGD(
    model.parameters(), lr=0.1, momentum=0.9
)

# %%
# ``steps`` is the length of a trial: a fifth of the training is enough.
# ``anneal=True`` says that the learning rate will fall to 0 at the end of the
# training, as under cosine annealing; then it falls to 0 at the end of each trial
# too.

found = sm.find_momentum(
    model,
    optimizer,
    nn.CrossEntropyLoss(),
    loader,
    steps=300,
    anneal=True,
    progress=False,
)
print(found)

# %%
# Each point is one trial; the bars are two standard errors of its difference from the
# best. Of all momenta that are not shown to be worse (green) the least is
# recommended: too little momentum costs some time, too much can cost the training.

figure, axes = plt.subplots(
    figsize=(7, 4.2), layout="constrained"
)
found.plot(axes)
plt.show()
