"""The tables of this package, read once: facts of papers and of the code behind them, each with its source.

    suites.json         how a suite's tasks are trained, evaluated and scored, and seen if they are images
    environments.csv    what one dataset and its tasks are
    references.csv      the returns that are 0 and 100 points
    methods.json        what all published runs of a method share, and what is usual where nothing is published
    settings/*.csv      what a method was published with, a row an environment
    online.csv          what runs that are fine-tuned online were published with
    contradictions.csv  where another source says something else
    quick.csv           what a laptop's size takes instead
    laptop.json         sizes that were measured on the laptop suite
    scores.csv          what was published, a row a task and method
    best_known.csv      the highest published mean over the five tasks of an environment, as of 2026
    sources.csv         keys of sources, and what they stand for

This module does not know what a row means.
"""

import csv
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

Row = Mapping[str, str]

_TABLES = files("guidedflow.recipes") / "tables"


@cache
def rows(name: str) -> tuple[Row, ...]:
    """The rows of a CSV table, in its order; an empty cell is an empty string."""
    text = _TABLES.joinpath(*f"{name}.csv".split("/")).read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines(), strict=True))


@cache
def document(name: str) -> Mapping[str, Any]:
    """A JSON table."""
    loaded: dict[str, Any] = json.loads((_TABLES / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


@cache
def _citations() -> dict[str, str]:
    return {row["key"]: row["citation"] for row in rows("sources")}


def citation(key: str) -> str:
    """What the key of a source stands for."""
    return _citations()[key]
