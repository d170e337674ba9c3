"""The algorithms by name: one file a paper, one row each in this table.

This module does not know what its algorithms share.
"""

from typing import Any

from guidedflow.algorithms.a2po import A2PO
from guidedflow.algorithms.bc import BC
from guidedflow.algorithms.cfgrl import CFGRL
from guidedflow.algorithms.cfpi import CFPI
from guidedflow.algorithms.contract import Algorithm
from guidedflow.algorithms.dac import DAC
from guidedflow.algorithms.dqc import DQC
from guidedflow.algorithms.dsrl import DSRL
from guidedflow.algorithms.edp import EDP
from guidedflow.algorithms.fql import FQL
from guidedflow.algorithms.gfp import GFP
from guidedflow.algorithms.ifql import IFQL
from guidedflow.algorithms.iql import IQL
from guidedflow.algorithms.lapo import LAPO
from guidedflow.algorithms.lps import LPS
from guidedflow.algorithms.misa import MISA
from guidedflow.algorithms.qam import QAM
from guidedflow.algorithms.qgf import QGF
from guidedflow.algorithms.qsm import QSM
from guidedflow.algorithms.rebrac import ReBRAC
from guidedflow.algorithms.reform import ReFORM

ALGORITHMS: dict[str, type[Algorithm[Any]]] = {
    "a2po": A2PO,
    "bc": BC,
    "cfgrl": CFGRL,
    "cfpi": CFPI,
    "dac": DAC,
    "dqc": DQC,
    "dsrl": DSRL,
    "edp": EDP,
    "fql": FQL,
    "gfp": GFP,
    "ifql": IFQL,
    "iql": IQL,
    "lapo": LAPO,
    "lps": LPS,
    "misa": MISA,
    "qam": QAM,
    "qgf": QGF,
    "qsm": QSM,
    "rebrac": ReBRAC,
    "reform": ReFORM,
}

__all__ = [
    "A2PO",
    "ALGORITHMS",
    "BC",
    "CFGRL",
    "CFPI",
    "DAC",
    "DQC",
    "DSRL",
    "EDP",
    "FQL",
    "GFP",
    "IFQL",
    "IQL",
    "LAPO",
    "LPS",
    "MISA",
    "QAM",
    "QGF",
    "QSM",
    "ReBRAC",
    "ReFORM",
]
