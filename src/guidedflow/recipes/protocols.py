"""Tuning protocols: which settings a paper tuned for a task, in which order, over which values.

GFP (arXiv 2512.03973, appendix) sweeps alpha on a logarithmic grid at temperature 1e-3, then the temperature at the
alpha that was best. FQL (arXiv 2502.02538) sweeps alpha alone. For the others these are the settings whose published
values differ between tasks, over the range of those values.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from guidedflow.errors import InputError


@dataclass(frozen=True)
class Protocol:
    """Stages, each a setting and the values to try; before its stage a setting has its value in `start`."""

    stages: tuple[tuple[str, tuple[Any, ...]], ...]
    start: Mapping[str, Any] = field(default_factory=dict)


PROTOCOLS: Mapping[str, Protocol] = {
    "gfp": Protocol(
        (("alpha", (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)), ("temperature", (1e-5, 1e-4, 1e-3, 1e-2, 1e-1))),
        {"temperature": 1e-3},
    ),
    "fql": Protocol((("alpha", (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)),)),
    "iql": Protocol((("alpha", (0.3, 1.0, 3.0, 10.0)), ("expectile", (0.7, 0.9)))),
    "ifql": Protocol((("expectile", (0.7, 0.8, 0.9, 0.95)),)),
    "rebrac": Protocol(
        (("alpha_actor", (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)), ("alpha_critic", (0.0, 0.001, 0.01, 0.1))),
    ),
    "qgf": Protocol((("weight", (0.03, 0.1, 0.3, 1.0)), ("expectile", (0.7, 0.9)))),
    "cfgrl": Protocol((("weight", (1.0, 3.0, 5.0, 10.0)),)),
    "edp": Protocol((("alpha", (1.0, 3.0, 10.0, 30.0, 100.0)),)),
    "qam": Protocol((("kappa", (0.03, 0.1, 0.3, 1.0, 3.0)),)),
    "dac": Protocol((("alpha", (0.1, 1.0, 10.0, 100.0)),)),
    "qsm": Protocol((("alpha", (0.1, 1.0, 10.0, 100.0)),)),
    "bc": Protocol(()),
}
"""Protocols by the name of the algorithm."""


def protocol(name: str) -> Protocol:
    """The protocol of an algorithm. Raises `InputError` for one that has none."""
    if name not in PROTOCOLS:
        raise InputError(f"no tuning protocol is known for {name!r}; name its settings by --grid {name}.SETTING=....")
    return PROTOCOLS[name]
