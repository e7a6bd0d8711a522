# What `__init__.py` loads on first use; type checkers read it too.
from .estimate import estimate_timescales as estimate_timescales
from .finder.find import find_momentum as find_momentum
from .finder.libraries import find_lightning_momentum as find_lightning_momentum
from .finder.libraries import find_trainer_momentum as find_trainer_momentum
from .finder.result import FoundMomentum as FoundMomentum
from .lightning_callback import LightningMomentumCallback as LightningMomentumCallback
from .result import Measurement as Measurement
from .result import TimescaleEstimate as TimescaleEstimate
from .scaler import MomentumScaler as MomentumScaler
from .settings import QUICK as QUICK
from .settings import EstimatorSettings as EstimatorSettings
from .trainer_callback import TrainerMomentumCallback as TrainerMomentumCallback
