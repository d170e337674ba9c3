"""The 144 tasks of the GFP paper (arXiv 2512.03973): what each one is, and how it is trained, evaluated and scored.

A task of OGBench is `{environment}-singletask-task{1..5}-v0`; those of D4RL and Minari are called as their dataset is.
This module does not know of algorithms, and it makes no environment.
"""

from dataclasses import dataclass
from functools import cache

from guidedflow.errors import InputError, did_you_mean
from guidedflow.recipes.facts import Row, citation, document, rows


@dataclass(frozen=True)
class Protocol:
    """How the published score was measured."""

    steps: int
    """Updates."""
    evaluations: tuple[int, ...]
    """The updates after which the evaluations were made whose mean is the score."""
    episodes: int
    """Episodes of each evaluation and seed."""
    seeds: int
    """Training seeds."""


@dataclass(frozen=True)
class Reference:
    """The returns that count as 0 and as 100 points."""

    minimum: float
    maximum: float
    source: str


@dataclass(frozen=True)
class Task:
    """One task: what it is, and what a published number about it means."""

    name: str
    suite: str
    family: str
    environment: str
    """What settings are published for; the five tasks of an OGBench environment share one."""
    number: int | None
    """1 to 5 in OGBench."""
    dataset: str
    """Name of the dataset in its suite."""
    simulator: str
    """Name of the environment in its suite."""
    pixels: bool
    """Whether observations are images."""
    time_limit: int | None
    """Steps of an episode, where the suite fixes it."""
    episodes: int | None
    """Episodes of the published dataset, where known."""
    length: int | None
    """Steps of each of these."""
    download: str
    """How to get the published dataset."""
    rule: str
    """How points come about, in words."""
    reference: Reference | None
    """For a score by return; None for a score by success."""
    protocol: Protocol

    def score(self, measured: float) -> float:
        """Points from the mean success rate, or, where there are reference returns, from the mean return."""
        if self.reference is None:
            return 100 * measured
        low, high = self.reference.minimum, self.reference.maximum
        return 100 * (measured - low) / (high - low)


def tasks(suite: str | None = None, family: str | None = None) -> list[Task]:
    """The tasks, in the order of the paper, of one suite or family if asked; where there is none, an `InputError`."""
    every = _tasks().values()
    for word, asked, known in (
        ("suite", suite, dict.fromkeys(task.suite for task in every)),
        ("family", family, dict.fromkeys(task.family for task in every)),
    ):
        if asked is not None and asked.lower() not in known:
            raise InputError(
                f"unknown {word} {asked!r}{did_you_mean(asked.lower(), known)}; known: {', '.join(known)}."
            )
    found = [
        task
        for task in every
        if (suite is None or task.suite == suite.lower()) and (family is None or task.family == family.lower())
    ]
    if not found:
        raise InputError(f"suite {suite!r} has no family {family!r}.")
    return found


def task(name: str) -> Task:
    """The task of this name, or of OGBench's short name for a default task; an unknown one is an `InputError`."""
    if (found := find(name)) is None:
        close = did_you_mean(name, _tasks())
        raise InputError(f"{name!r} is none of the 144 tasks{close}; see `guidedflow tasks`.")
    return found


def find(name: str) -> Task | None:
    """The task of this name, if it is one of the 144."""
    return _tasks().get(_short_names().get(name, name))


@cache
def _tasks() -> dict[str, Task]:
    made = [_task(row, number) for row in rows("environments") for number in _numbers(row["tasks"])]
    return {task.name: task for task in made}


@cache
def _short_names() -> dict[str, str]:
    """OGBench leaves the number out for one task of each environment."""
    short = {
        f"{row['environment']}-singletask-v0": f"{row['environment']}-singletask-task{row['default']}-v0"
        for row in rows("environments")
        if row["default"]
    }
    return {name: full for name, full in short.items() if full in _tasks()}


def _numbers(text: str) -> list[int | None]:
    if not text:
        return [None]
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def _task(row: Row, number: int | None) -> Task:
    suite = document("suites")[row["suite"]]
    protocol = suite["protocols"][row["observation"]]
    dataset = row["environment"] if number is None else f"{row['environment']}-v0"
    return Task(
        name=row["environment"] if number is None else f"{row['environment']}-singletask-task{number}-v0",
        suite=row["suite"],
        family=row["family"],
        environment=row["environment"],
        number=number,
        dataset=dataset,
        simulator=row["simulator"],
        pixels=row["observation"] == "pixels",
        time_limit=_whole(row["time_limit"]),
        episodes=_whole(row["episodes"]),
        length=_whole(row["length"]),
        download=suite["download"].format(dataset=dataset),
        rule=suite["score"],
        reference=_reference(row["suite"], row["body"]),
        protocol=Protocol(**{**protocol, "evaluations": tuple(protocol["evaluations"])}),
    )


def _reference(suite: str, body: str) -> Reference | None:
    for row in rows("references"):
        if (row["suite"], row["body"]) == (suite, body):
            return Reference(float(row["minimum"]), float(row["maximum"]), citation(row["source"]))
    return None


def _whole(text: str) -> int | None:
    return int(text) if text else None
