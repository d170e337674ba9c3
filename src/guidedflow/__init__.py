"""Offline reinforcement learning with flow policies, guided by value at training time and at test time.

The public names are imported on first use, so that `import guidedflow` (and with it the start of every
simulator process) stays free of JAX. This module does not know what the names mean. It imports nothing, so that
`python -m guidedflow` hears Ctrl-C as early as it can.
"""

TYPE_CHECKING = False  # as in `typing`, which takes longer to import than all that comes before it

if TYPE_CHECKING:
    from guidedflow.algorithms import A2PO as A2PO
    from guidedflow.algorithms import BC as BC
    from guidedflow.algorithms import CFGRL as CFGRL
    from guidedflow.algorithms import CFPI as CFPI
    from guidedflow.algorithms import DAC as DAC
    from guidedflow.algorithms import DQC as DQC
    from guidedflow.algorithms import DSRL as DSRL
    from guidedflow.algorithms import EDP as EDP
    from guidedflow.algorithms import FQL as FQL
    from guidedflow.algorithms import GFP as GFP
    from guidedflow.algorithms import IFQL as IFQL
    from guidedflow.algorithms import IQL as IQL
    from guidedflow.algorithms import LAPO as LAPO
    from guidedflow.algorithms import LPS as LPS
    from guidedflow.algorithms import MISA as MISA
    from guidedflow.algorithms import QAM as QAM
    from guidedflow.algorithms import QGF as QGF
    from guidedflow.algorithms import QSM as QSM
    from guidedflow.algorithms import ReBRAC as ReBRAC
    from guidedflow.algorithms import ReFORM as ReFORM
    from guidedflow.algorithms.parts.ensemble import Ensemble as Ensemble
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
    from guidedflow.errors import InputError as InputError
    from guidedflow.evaluation.rollout import Evaluation as Evaluation
    from guidedflow.evaluation.rollout import evaluate as evaluate
    from guidedflow.evaluation.selection import by_dataset as by_dataset
    from guidedflow.flows.guidance import DenoisedGradient as DenoisedGradient
    from guidedflow.flows.guidance import JacobianGradient as JacobianGradient
    from guidedflow.flows.guidance import NoisyGradient as NoisyGradient
    from guidedflow.flows.guidance import RolloutGradient as RolloutGradient
    from guidedflow.flows.guidance import Unguided as Unguided
    from guidedflow.flows.sampling import GradientAscent as GradientAscent
    from guidedflow.flows.sampling import Sampler as Sampler
    from guidedflow.policies.policy import Policy as Policy
    from guidedflow.results.plots import learning_curve as learning_curve
    from guidedflow.results.rows import measure as measure
    from guidedflow.results.rows import summarise as summarise
    from guidedflow.runs.trained import Trained as Trained
    from guidedflow.runs.trained import load_policy as load_policy
    from guidedflow.settings import hyperparameters as hyperparameters
    from guidedflow.training.loop import train as train
    from guidedflow.training.online import Online as Online
    from guidedflow.training.online import finetune as finetune
    from guidedflow.training.plan import Plan as Plan

__version__ = "0.2.0"

_HOME = {
    "A2PO": "algorithms",
    "BC": "algorithms",
    "by_dataset": "evaluation.selection",
    "CFGRL": "algorithms",
    "CFPI": "algorithms",
    "collect": "data.obtain.collect",
    "Columns": "data.formats.columns",
    "DAC": "algorithms",
    "Dataset": "data.dataset",
    "DenoisedGradient": "flows.guidance",
    "DQC": "algorithms",
    "DSRL": "algorithms",
    "EDP": "algorithms",
    "Ensemble": "algorithms.parts.ensemble",
    "evaluate": "evaluation.rollout",
    "Evaluation": "evaluation.rollout",
    "finetune": "training.online",
    "FQL": "algorithms",
    "GFP": "algorithms",
    "GoalSampling": "data.sampling.goals",
    "GradientAscent": "flows.sampling",
    "hyperparameters": "settings",
    "IFQL": "algorithms",
    "InputError": "errors",
    "IQL": "algorithms",
    "JacobianGradient": "flows.guidance",
    "LAPO": "algorithms",
    "learning_curve": "results.plots",
    "load_dataset": "data.load",
    "load_policy": "runs.trained",
    "LPS": "algorithms",
    "Mapped": "data.ondisk.mapped",
    "measure": "results.rows",
    "MISA": "algorithms",
    "NoisyGradient": "flows.guidance",
    "Online": "training.online",
    "open_dataset": "data.load",
    "Plan": "training.plan",
    "Policy": "policies.policy",
    "QAM": "algorithms",
    "QGF": "algorithms",
    "QSM": "algorithms",
    "Rebalance": "data.sampling.rebalance",
    "ReBRAC": "algorithms",
    "ReFORM": "algorithms",
    "RolloutGradient": "flows.guidance",
    "Sampler": "flows.sampling",
    "Simulators": "environments.vector",
    "summarise": "results.rows",
    "train": "training.loop",
    "Trained": "runs.trained",
    "Transitions": "data.transitions",
    "Unguided": "flows.guidance",
    "validate": "data.validation",
    "Window": "data.sampling.windows",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
