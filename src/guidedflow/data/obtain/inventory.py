"""Which datasets there are: to be collected, to be downloaded, and on this disk.

A dataset is on this disk if its file lies where its suite looks for it; the sizes are those of the files. This module
does not open a file, and asks no server.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from guidedflow.data.formats import d4rl, metaworld, minari
from guidedflow.data.obtain.collect import FOLDER, collectable, published_episodes
from guidedflow.data.obtain.download import find, published
from guidedflow.data.obtain.metaworld import FOLDER as METAWORLD
from guidedflow.data.obtain.metaworld import RECIPES


@dataclass(frozen=True)
class Entry:
    """One dataset."""

    name: str
    suite: str
    episodes: int | None
    """Training episodes of the published dataset, where it can be collected; else None."""
    download: bool
    """Whether somebody publishes it."""
    path: str | None
    """Where it lies on this disk."""
    bytes: int | None
    """The size of its files there."""
    complete: bool
    """Whether all its files are there."""

    def words(self) -> tuple[str, str, str]:
        """For people: episodes to collect, whether to download, and the size on this disk."""
        held = "" if self.bytes is None else f"{self.bytes / 1e6:,.1f} MB" + ("" if self.complete else ", incomplete")
        return f"{self.episodes:,}" if self.episodes else "", "yes" if self.download else "", held

    def plain(self) -> dict[str, Any]:
        """As JSON's own types."""
        return asdict(self)


def inventory() -> list[Entry]:
    """All datasets whose names are known, and those beside them in the suites' own folders."""
    made = set(collectable())
    entries = []
    for suite, names in published().items():
        for name in names:
            episodes = published_episodes(name) if name in made else None
            entries.append(Entry(name, suite, episodes, True, *_held(name)))
    entries += [Entry(name, "metaworld", made.episodes, False, *_collected(name)) for name, made in RECIPES.items()]
    listed = {entry.path for entry in entries}
    entries += [entry for entry in _others() if entry.path not in listed]
    return entries


def folders() -> dict[str, Path]:
    """Where the suites look for their datasets."""
    return {
        "ogbench": FOLDER.expanduser(),
        "d4rl": d4rl.folder(),
        "minari": minari.folder(),
        "metaworld": METAWORLD.expanduser(),
    }


def _held(name: str) -> tuple[str | None, int | None, bool]:
    """Where a dataset lies, its size, and whether it is whole."""
    source = find(name)
    if source is None:
        path = folders()["minari"] / name
        return (str(path), _size(path), True) if minari.is_minari(path) else (None, None, False)
    paths = [source.folder / local for _, local in source.files]
    held = [path for path in paths if path.is_file()]
    if source.suite == "d4rl" and not held:  # this library's own name for it
        held = [path for path in [source.folder / f"{name}.hdf5"] if path.is_file()]
    if not held:
        return None, None, False
    path = held[0] if len(paths) <= 2 else source.folder
    return str(path), sum(each.stat().st_size for each in held), len(held) == len(paths)


def _collected(name: str) -> tuple[str | None, int | None, bool]:
    """The same of a dataset of MetaWorld's, which nobody publishes."""
    train = metaworld.home(name)
    files = [path for path in (train, train.with_name(f"{train.stem}-val.npz")) if path.is_file()]
    if train not in files:
        return None, None, False
    return str(train), sum(path.stat().st_size for path in files), len(files) == 2


def _others() -> list[Entry]:
    """Datasets of the suites' folders whose names are not known here."""
    found = []
    places = folders()
    for suite, pattern in (("ogbench", "*.npz"), ("d4rl", "*.hdf5"), ("metaworld", "*.npz")):
        for path in sorted(places[suite].glob(pattern)):
            if path.is_file() and not path.stem.endswith("-val"):
                found.append(Entry(path.stem, suite, None, False, str(path), path.stat().st_size, True))
    for path in sorted(places["minari"].glob("**/data/metadata.json")):
        name = path.parents[1].relative_to(places["minari"]).as_posix()
        if not name.startswith("."):
            found.append(Entry(name, "minari", None, True, str(path.parents[1]), _size(path.parents[1]), True))
    return found


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
