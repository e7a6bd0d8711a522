# What `__init__.py` loads on first use; type checkers read it too.
from . import dynamics as dynamics
from . import geometry as geometry
from . import predictors as predictors
from . import problems as problems
from . import sde as sde
from . import theory as theory
from . import training as training
from .core.convergence import convergence_time as convergence_time
from .core.errors import InputError as InputError
from .dynamics.critical_limit import CriticalLimit as CriticalLimit
from .dynamics.drift_diffusion import DriftDiffusion as DriftDiffusion
from .dynamics.drift_flow import drift_flow as drift_flow
from .dynamics.label_noise_sgd import LabelNoiseSGD as LabelNoiseSGD
from .dynamics.solve import solve as solve
from .geometry.manifold_point import ManifoldPoint as ManifoldPoint
from .predictors import forces as forces
from .predictors.curve.simulate import universal_curve as universal_curve
from .predictors.effective_loss import EffectiveLossPredictor as EffectiveLossPredictor
from .predictors.momentum_rule import MomentumRule as MomentumRule
from .predictors.phase_diagram import PhaseDiagram as PhaseDiagram
from .predictors.predict import predict as predict
from .predictors.prediction import Prediction as Prediction
from .predictors.target import Target as Target
from .problems.function import FunctionProblem as FunctionProblem
from .problems.matrix_sensing import MatrixSensing as MatrixSensing
from .problems.problem import Problem as Problem
from .problems.valley import Valley as Valley
from .sde.equation import SDE as SDE
from .theory.relaxation import timescales as timescales
from .training.estimate import estimate_timescales as estimate_timescales
from .training.finder.find import find_momentum as find_momentum
from .training.scaler import MomentumScaler as MomentumScaler

__version__: str
