"""Studies: the analyses of the QGF paper (arXiv 2606.11087) on a toy or on a run, and experiments that train runs.

    toy            which guidance finds the best of three modes, in closed form
    scale          whether the best weight survives another scale of rewards
    robust         whether pessimistic plans survive other dynamics, in closed form (R2PVI, arXiv 2411.18612)
    sensitivity    how much a little noise in the action turns each gradient
    exploitation   how far actions leave the data for the value that the critic claims
    weight         success against the weight of guidance
    compute        success against the operations and the milliseconds of an action
    methods        success of every test-time method, each at the weight that other episodes chose
    alpha          GFP at each alpha: success, distance of the actor to the flow, Q
    temperature    GFP at each temperature: share of data that are cloned, diversity of the flow, success
    components     GFP without each of its parts
    stability      the map of alpha and temperature, with the signature of each failure
    quality        every method, tuned alike, on data with more and more random actions
    shift          how far the actor leaves the data, and how much Q overestimates there
    sparse         GFP on fewer rewards, with n-step returns and chunks
    critic         what QGF and GFP gain from critics of graded accuracy
    critics        success of one flow under the critics of several runs
    realtime       jumps between chunks that arrive late, and success, with and without real-time chunking
    width          success and milliseconds against the width of the networks, over several runs

Each file is one study, and one row of a table below. This package does not know how studies are asked for.
"""

from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from guidedflow import files
from guidedflow.environments.vector import Simulators, open_simulators
from guidedflow.studies import experiment, picture
from guidedflow.studies.alpha import Alpha
from guidedflow.studies.components import Components
from guidedflow.studies.compute import Compute
from guidedflow.studies.critic import Critic
from guidedflow.studies.critics import Critics
from guidedflow.studies.experiment import CarryOut, Setup
from guidedflow.studies.exploitation import Exploitation
from guidedflow.studies.finding import Finding
from guidedflow.studies.methods import Methods
from guidedflow.studies.picture import Figure
from guidedflow.studies.quality import Quality
from guidedflow.studies.realtime import Realtime
from guidedflow.studies.robust import Robust
from guidedflow.studies.scale import Scale
from guidedflow.studies.sensitivity import Sensitivity
from guidedflow.studies.shift import Shift
from guidedflow.studies.sparse import Sparse
from guidedflow.studies.stability import Stability
from guidedflow.studies.subject import Subject
from guidedflow.studies.temperature import Temperature
from guidedflow.studies.toy import Toy
from guidedflow.studies.weight import Weight
from guidedflow.studies.width import Width

TOYS: dict[str, type[Any]] = {"toy": Toy, "scale": Scale, "robust": Robust}
"""Studies of nobody's run, by name: `measure()` is a `Finding`."""

OF_RUNS: dict[str, type[Any]] = {
    "sensitivity": Sensitivity,
    "exploitation": Exploitation,
    "weight": Weight,
    "compute": Compute,
    "methods": Methods,
    "critics": Critics,
    "realtime": Realtime,
    "width": Width,
}
"""Studies of a run, by name: `measure(subject)` is a `Finding`."""

EXPERIMENTS: dict[str, type[Any]] = {
    "alpha": Alpha,
    "temperature": Temperature,
    "components": Components,
    "stability": Stability,
    "quality": Quality,
    "shift": Shift,
    "sparse": Sparse,
    "critic": Critic,
}
"""Studies that train runs, by name: see `experiment`."""

STUDIES = TOYS | OF_RUNS | EXPERIMENTS


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


def conduct_experiment(
    study: Any, setup: Setup, carry_out: CarryOut, out: Path | str | None = None, workers: int | None = None
) -> tuple[Finding, Path]:
    """Train and measure the runs of an experiment, and draw into `out`, by default study-NAME.png in their folder.

    The finding is written beside the picture as JSON. Raises `InputError` as `experiment.measure` does.
    """
    with ExitStack() as stack:
        path = Path(out or setup.runs / f"study-{name_of(study)}.png")
        if out is None:
            setup.runs.mkdir(parents=True, exist_ok=True)
        picture.check(path)

        @cache
        def simulators() -> Simulators:
            return stack.enter_context(open_simulators(setup.task, workers, None, setup.plan.frame_stack))

        finding = experiment.measure(study, setup, carry_out, simulators)
        picture.save(study.draw(finding), path)
        files.write_json(path.with_suffix(".json"), {"study": name_of(study), **finding.plain()})
        return finding, path
