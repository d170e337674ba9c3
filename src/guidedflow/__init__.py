"""Offline reinforcement learning with flow policies, guided by value at training time and at test time.

The public names are imported on first use, so that `import guidedflow` (and with it the start of every
simulator process) stays free of JAX. This module does not know what the names mean.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guidedflow.algorithms import BC as BC
    from guidedflow.algorithms import CFGRL as CFGRL
    from guidedflow.algorithms import DAC as DAC
    from guidedflow.algorithms import EDP as EDP
    from guidedflow.algorithms import FQL as FQL
    from guidedflow.algorithms import GFP as GFP
    from guidedflow.algorithms import IFQL as IFQL
    from guidedflow.algorithms import IQL as IQL
    from guidedflow.algorithms import QAM as QAM
    from guidedflow.algorithms import QGF as QGF
    from guidedflow.algorithms import QSM as QSM
    from guidedflow.algorithms import ReBRAC as ReBRAC
    from guidedflow.data.columns import Columns as Columns
    from guidedflow.data.dataset import Dataset as Dataset
    from guidedflow.data.dataset import Transitions as Transitions
    from guidedflow.data.goals import GoalSampling as GoalSampling
    from guidedflow.data.load import load_dataset as load_dataset
    from guidedflow.data.load import open_dataset as open_dataset
    from guidedflow.data.mapped import Mapped as Mapped
    from guidedflow.data.rebalance import Rebalance as Rebalance
    from guidedflow.data.windows import Window as Window
    from guidedflow.evaluation import evaluate as evaluate
    from guidedflow.guidance import DenoisedGradient as DenoisedGradient
    from guidedflow.guidance import JacobianGradient as JacobianGradient
    from guidedflow.guidance import NoisyGradient as NoisyGradient
    from guidedflow.guidance import RolloutGradient as RolloutGradient
    from guidedflow.guidance import Unguided as Unguided
    from guidedflow.sampling import GradientAscent as GradientAscent
    from guidedflow.sampling import Sampler as Sampler
    from guidedflow.trained import Trained as Trained
    from guidedflow.trained import load_policy as load_policy
    from guidedflow.training import Plan as Plan
    from guidedflow.training import train as train

__version__ = "0.1.0"

_HOME = {
    "BC": "algorithms",
    "CFGRL": "algorithms",
    "DAC": "algorithms",
    "EDP": "algorithms",
    "QAM": "algorithms",
    "QSM": "algorithms",
    "FQL": "algorithms",
    "GFP": "algorithms",
    "IFQL": "algorithms",
    "IQL": "algorithms",
    "QGF": "algorithms",
    "ReBRAC": "algorithms",
    "Columns": "data.columns",
    "Dataset": "data.dataset",
    "DenoisedGradient": "guidance",
    "GoalSampling": "data.goals",
    "GradientAscent": "sampling",
    "JacobianGradient": "guidance",
    "NoisyGradient": "guidance",
    "RolloutGradient": "guidance",
    "Mapped": "data.mapped",
    "Rebalance": "data.rebalance",
    "Sampler": "sampling",
    "Transitions": "data.dataset",
    "Unguided": "guidance",
    "Window": "data.windows",
    "evaluate": "evaluation",
    "load_dataset": "data.load",
    "load_policy": "trained",
    "open_dataset": "data.load",
    "Plan": "training",
    "Trained": "trained",
    "train": "training",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
