r"""
A predicted momentum, and how sure it is
========================================

``sm.predict`` answers for a model with label noise which momentum is the fastest, in
how many steps, and what makes the answer doubtful.

It runs short trials of the training itself at several momenta side by side, and puts
the closed form of the theory beside them.
"""

import matplotlib.pyplot as plt

import sde_momentum as sm

problem = sm.MatrixSensing(d=8, rank=1, n_measurements=40)
noise = 0.1**2 / 40  # variance of the errors over batch size
answer = sm.predict(problem, lr=0.05, noise=noise, progress=False)
print(answer)

# %%
# Time to the target against 1 - momentum. On the right, with too little momentum,
# time rises slowly and the curve is smooth; on the left is the cliff. The
# recommendation stands at the side of less momentum, where nearly nothing is lost and
# nothing is risked.

figure, axes = plt.subplots(
    figsize=(7.5, 4.6), layout="constrained"
)
answer.plot(axes)
plt.show()
