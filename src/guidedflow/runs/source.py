"""The dataset of a run, opened again, and cut as the run cut it."""

from collections.abc import Mapping
from pathlib import Path

from guidedflow.data.dataset import Dataset
from guidedflow.data.formats.columns import Columns
from guidedflow.data.load import open_dataset
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.sampling.feed import open_feed
from guidedflow.data.sampling.windows import Window
from guidedflow.data.sources import at_home
from guidedflow.data.transitions import Transitions
from guidedflow.errors import InputError
from guidedflow.runs.configuration import Configuration


def load(
    configuration: Configuration,
    run: Path,
    path: Path | str | None = None,
    columns: Columns | Mapping[str, str] | None = None,
) -> Dataset | Mapped:
    """The dataset of the run at `run`, from its suite's own folder or from `path`, with actions scaled as it saw them.

    Raises `InputError` where the name of its task does not say where the data lie, and no path is given.
    """
    task, scale = configuration.task, configuration.action_scale
    try:
        return open_dataset(
            task, path, columns=Columns.of(columns), clip_actions=scale is None, rescale_actions=scale or False
        )
    except InputError as error:
        if path is None and not at_home(task):
            raise InputError(
                f"{run} was trained on data of your own, {task!r}; name its file by --dataset FILE"
            ) from error
        raise


def cut(configuration: Configuration, dataset: Dataset | Mapped) -> Transitions:
    """A dataset as a run cut its own: its horizon, discount, frames and rule of goals.

    Of one on disk these are the transitions of one window, about 2^20 from all over it.
    """
    with open_feed(dataset, configuration.cutting, window=Window(updates=1), steps=1) as feed:
        return feed.at(0)
