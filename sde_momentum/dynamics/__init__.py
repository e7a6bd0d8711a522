"""SGD with momentum and label noise, and its reduced dynamics along the manifold of minimizers Gamma.

label_noise_sgd  `LabelNoiseSGD`: the training itself, step by step; `update`: its compiled and NumPy steps
moment_closure   `MomentClosure`: mean and covariance of the training, as a deterministic recursion
effective_loss   `EffectiveLoss`: noise-free heavy ball on the effective loss
drift_flow       `DriftFlow`, `drift_flow`: the drift along Gamma to flatter points, without fluctuations
drift_diffusion  `DriftDiffusion`: drift and diffusion along Gamma for any gradient noise; `drift_diffusion_steps`: its steps
critical_limit   `CriticalLimit`: along Gamma at 1 - beta = C lr^(2/3), lr -> 0; `critical_steps`, `critical_runs`: its compiled
                 steps and their blocks
resolved_course  the same at finite lr: training at the largest lr with the same course
critical_course  the mean of a metric in either, by the simulation that suits the problem
critical_valley  `CriticalValley`: the critical limit in a `Valley`, as moments over many paths; `valley_kernel`: its kernel
solve            `solve`: for all of them and for any equation of `sde`
"""

from __future__ import annotations

from ..core.extras import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
