"""The shapes of everything that moves between the parts of kd_jax. No logic lives here.

Letters in shapes: B examples in a batch, H and W pixels, C channels, K classes, D embedding width,
N examples in a data set. What jax passes through a program is a NamedTuple; everything else is a
frozen dataclass, made by keywords (but for a network and its spec, which factories of users make).
"""

from kd_jax.types.data import AnyArray, Array, Batch, Block, Source
from kd_jax.types.errors import ConfigError, Damaged, DataError, FileError, KdJaxError
from kd_jax.types.methods import (
  InitInputs,
  LossInputs,
  Method,
  MethodVariables,
  NetworkInfo,
  trains_everything,
)
from kd_jax.types.networks import LogitsOnly, Network, NetworkSpec, Outputs, Path, PyTree, Trained
from kd_jax.types.results import ResultRow, Share, Sink
from kd_jax.types.training import Frozen, Monitor, OptimiserSpec, Phase, Trainee, TrainState
