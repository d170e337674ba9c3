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
    from guidedflow.data.dataset import Dataset as Dataset
    from guidedflow.data.formats.columns import Columns as Columns
    from guidedflow.data.load import load_dataset as load_dataset
    from guidedflow.data.load import open_dataset as open_dataset
    from guidedflow.data.obtain.collect import collect as collect
    from guidedflow.data.ondisk.mapped import Mapped as Mapped
    from guidedflow.data.sampling.goals import GoalSampling as GoalSampling
    from guidedflow.data.sampling.rebalance import Rebalance as Rebalance
    from guidedflow.data.sampling.windows import Window as Window
    from guidedflow.data.transitions import Transitions as Transitions
    from guidedflow.data.validation import validate as validate
    from guidedflow.environments.vector import Simulators as Simulators
    from guidedflow.evaluation.rollout import evaluate as evaluate
    from guidedflow.evaluation.selection import by_dataset as by_dataset
    from guidedflow.flows.guidance import DenoisedGradient as DenoisedGradient
    from guidedflow.flows.guidance import JacobianGradient as JacobianGradient
    from guidedflow.flows.guidance import NoisyGradient as NoisyGradient
    from guidedflow.flows.guidance import RolloutGradient as RolloutGradient
    from guidedflow.flows.guidance import Unguided as Unguided
    from guidedflow.flows.sampling import GradientAscent as GradientAscent
    from guidedflow.flows.sampling import Sampler as Sampler
    from guidedflow.runs.trained import Trained as Trained
    from guidedflow.runs.trained import load_policy as load_policy
    from guidedflow.settings import hyperparameters as hyperparameters
    from guidedflow.training.loop import train as train
    from guidedflow.training.plan import Plan as Plan

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
    "Columns": "data.formats.columns",
    "Dataset": "data.dataset",
    "DenoisedGradient": "flows.guidance",
    "GoalSampling": "data.sampling.goals",
    "GradientAscent": "flows.sampling",
    "JacobianGradient": "flows.guidance",
    "NoisyGradient": "flows.guidance",
    "RolloutGradient": "flows.guidance",
    "Mapped": "data.ondisk.mapped",
    "Rebalance": "data.sampling.rebalance",
    "Sampler": "flows.sampling",
    "Simulators": "environments.vector",
    "Transitions": "data.transitions",
    "Unguided": "flows.guidance",
    "Window": "data.sampling.windows",
    "by_dataset": "evaluation.selection",
    "collect": "data.obtain.collect",
    "evaluate": "evaluation.rollout",
    "hyperparameters": "settings",
    "load_dataset": "data.load",
    "load_policy": "runs.trained",
    "open_dataset": "data.load",
    "Plan": "training.plan",
    "Trained": "runs.trained",
    "train": "training.loop",
    "validate": "data.validation",
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
