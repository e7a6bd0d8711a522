# What `__init__.py` loads on first use; type checkers read it too.
from .critical_limit import CriticalLimit as CriticalLimit
from .critical_valley import CriticalValley as CriticalValley
from .drift_diffusion import DriftDiffusion as DriftDiffusion
from .drift_flow import DriftFlow as DriftFlow
from .drift_flow import drift_flow as drift_flow
from .effective_loss import EffectiveLoss as EffectiveLoss
from .label_noise_sgd import LabelNoiseSGD as LabelNoiseSGD
from .moment_closure import MomentClosure as MomentClosure
