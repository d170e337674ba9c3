"""How results look in a cell of a table: one number with its spread, and below it what it rests on."""

from collections.abc import Mapping, Sequence

from guidedflow.results.aggregates import Aggregate
from guidedflow.results.comparison import Column, Entry, fewer
from guidedflow.results.confidence import Interval
from guidedflow.results.counts import plural
from guidedflow.results.methods import Method
from guidedflow.results.sections import Published
from guidedflow.results.tables import MISSING, Shown

Names = Mapping[Method, str]

NOTE = (
    "A cell: mean ± population deviation over seeds; below it the 95 % interval (below 3 seeds each seed's mean), "
    "seeds × episodes of each, and how many settings were tried. – means not measured. † marks fewer seeds or episodes "
    "than in another cell."
)


def rank(column: Column) -> tuple[int, float]:
    """What columns are sorted by: those with the most tasks first, then those with the highest mean."""
    means = [entry.scale * entry.cell.mean for entry in column.by_task.values()]
    return -len(means), -sum(means) / len(means)


def head(column: Column, names: Names) -> str:
    """The head of a column; a star says that training settings differ by task."""
    method = column.method
    return f"{method.algorithm} {method.policy}*" if column.varies else names[method]


def measured(entry: Entry | None, neighbours: Sequence[Entry]) -> Shown:
    """A method on a task; a dash where it was not measured, a mark where a neighbour rests on more."""
    if entry is None:
        return Shown(MISSING)
    cell = entry.cell
    each = " ".join(f"{entry.scale * mean:.1f}" for mean in cell.by_seed.values())
    spread = f"each {each}" if cell.interval is None else interval_text(cell.interval, entry.scale)
    small = f"{spread}, {cell.seeds} × {cell.episodes}, tried {entry.tried}"
    return Shown(mean_text(entry), small, entry.scale * cell.mean, fewer(entry, neighbours))


def printed(score: Published | None) -> Shown:
    """A published score; a dash where there is none."""
    if score is None:
        return Shown(MISSING)
    text = f"{score.mean:.1f}" + ("" if score.deviation is None else f" ± {score.deviation:.1f}")
    return Shown(text, "" if score.seeds is None else plural(score.seeds, "seed"), score.mean)


def averaged(found: Aggregate) -> Shown:
    """A number over tasks, in points, with its interval."""
    interval = "no interval" if found.interval is None else interval_text(found.interval, 100.0)
    return Shown(f"{100 * found.value:.1f}", interval, 100 * found.value)


def mean_text(entry: Entry) -> str:
    """Mean and population deviation over seeds."""
    return f"{entry.scale * entry.cell.mean:.1f} ± {entry.scale * entry.cell.deviation:.1f}"


def interval_text(interval: Interval | None, scale: float = 1.0, digits: int = 1) -> str:
    """Both ends of an interval; a dash where there is none."""
    if interval is None:
        return MISSING
    return f"[{scale * interval.low:.{digits}f}, {scale * interval.high:.{digits}f}]"
