"""Studies: the analyses of the QGF paper (arXiv 2606.11087), repeated on a toy or on one's own run.

    toy            which guidance finds the best of three modes, in closed form
    scale          whether the best weight survives another scale of rewards
    robust         whether pessimistic plans survive other dynamics, in closed form (R2PVI, arXiv 2411.18612)
    sensitivity    how much a little noise in the action turns each gradient
    exploitation   how far actions leave the data for the value that the critic claims
    weight         success against the weight of guidance
    compute        success against the operations and the milliseconds of an action
    methods        success of every test-time method, each at the weight that other episodes chose

Each file is one study, and one row of a table below. This package does not know how studies are asked for.
"""

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from guidedflow.studies import picture
from guidedflow.studies.compute import Compute
from guidedflow.studies.exploitation import Exploitation
from guidedflow.studies.finding import Finding
from guidedflow.studies.methods import Methods
from guidedflow.studies.picture import Figure
from guidedflow.studies.robust import Robust
from guidedflow.studies.scale import Scale
from guidedflow.studies.sensitivity import Sensitivity
from guidedflow.studies.subject import Subject
from guidedflow.studies.toy import Toy
from guidedflow.studies.weight import Weight

TOYS: dict[str, type[Any]] = {"toy": Toy, "scale": Scale, "robust": Robust}
"""Studies of nobody's run, by name: `measure()` is a `Finding`."""

OF_RUNS: dict[str, type[Any]] = {
    "sensitivity": Sensitivity,
    "exploitation": Exploitation,
    "weight": Weight,
    "compute": Compute,
    "methods": Methods,
}
"""Studies of a run, by name: `measure(subject)` is a `Finding`."""

STUDIES = TOYS | OF_RUNS


@runtime_checkable
class Study(Protocol):
    """What every study has beside its settings and `measure`."""

    def draw(self, finding: Finding) -> Figure:
        """The picture of what was found."""
        ...


def name_of(study: Study) -> str:
    """The name of a study's row in the table."""
    return next(name for name, cls in STUDIES.items() if cls is type(study))


def conduct(study: Any, subject: Subject | None = None, out: Path | str | None = None) -> tuple[Finding, Path]:
    """Measure, and draw into `out`, by default study-NAME.png in the run's folder, or in the working folder.

    Raises `InputError` for what the subject cannot do, and for a place where no picture can be put, before measuring.
    """
    folder = Path() if subject is None else subject.trained.run.path
    path = Path(out or folder / f"study-{name_of(study)}.png")
    picture.check(path)
    finding = study.measure() if subject is None else study.measure(subject)
    picture.save(study.draw(finding), path)
    return finding, path
