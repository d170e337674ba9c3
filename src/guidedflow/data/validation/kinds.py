"""The kinds of problems that a dataset can have: how bad, what is expected, what to do.

A kind's words become a sentence: FILE: 'COLUMN' must EXPECTED, found ..., first in row ...; HINT. An error is what
would stop a training or spoil it silently, a warning what a policy can be trained with, but hardly as meant. This
module does not know how a kind is told from another.
"""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Kind:
    """One row of the table."""

    severity: Severity
    expected: str
    hint: str


def _error(expected: str, hint: str) -> Kind:
    return Kind("error", expected, hint)


def _warning(expected: str, hint: str) -> Kind:
    return Kind("warning", expected, hint)


FILES = {
    "missing": _error("exist", "look at the path, or get it by 'guidedflow data download' or 'data collect'"),
    "dangling-link": _error("lead to a file", "mend or remove the link"),
    "link-loop": _error("lead to a file, not in a circle", "remove one of the links"),
    "folder": _error("be a file, a folder of a known layout, or one with a file an episode", "name the file inside it"),
    "special-file": _error("be a regular file", "write its contents into a file first"),
    "unreadable": _error("be readable", "look at its permissions and at the disk"),
    "empty-file": _error("hold data", "a write or a download broke off before it began: get it again"),
    "pickle": _error(
        "be an npz, HDF5 or Parquet file", "a pickle runs code when it is opened, so it is not: save its arrays as npz"
    ),
    "single-array": _error("hold named columns", "put all columns into one file by numpy.savez"),
    "compressed": _error("be unpacked", "unpack it, and name the file that was inside"),
    "web-page": _error("be data, not a page of a web server", "the download failed: get it again"),
    "pointer": _error("be the data itself, not Git LFS's pointer to it", "fetch it by 'git lfs pull'"),
    "text": _error("be data", "end its name with .csv, if it is a table whose first line names the columns"),
    "unknown-format": _error("be an npz, HDF5 or Parquet file", "convert it with the program that wrote it"),
    "cut-off": _error("be complete", "what is left ends too early: get it again, or write it again"),
    "no-columns": _error("hold columns", "was anything recorded?"),
    "foreign-member": _warning("hold nothing but arrays", "it is not read"),
    "changed": _warning("stay as it is while it is read", "wait until whoever writes it is done, and look again"),
}

COLUMNS = {
    "naming": _error("have columns whose meaning is known", "{told}"),
    "missing-column": _error("be there", "only {names} are{close}"),
    "repeated-column": _error("be there once", "readers disagree on which of them counts: write it once"),
    "shared-column": _error("play one part", "name another column for one of them by --columns"),
    "pickled-column": _error("be numbers", "pickled objects are never loaded: save it as a plain array"),
    "text-column": _error("be numbers, not text", "turn the words into numbers"),
    "complex-column": _error("be real numbers", "save real and imaginary part as two columns"),
    "record-column": _error("be numbers of one type", "save each field as a column of its own"),
    "ragged-column": _error("have equally many numbers in each row", "pad the rows, or save the parts apart"),
    "bad-checksum": _error("have the bytes that its checksum was made of", "the disk or a download hurt it"),
    "missing-filter": _error("be compressed in a way that is installed here", "other columns can be read without it"),
    "oversized-column": _error("be as large as its header says", "the file is damaged or forged: get it again"),
    "damaged-column": _error("be a readable array", "get the file again"),
    "external-link": _warning("lie in the file", "links to other files are never followed: copy the data into it"),
    "broken-link": _warning("lead to a column of the file", "links inside a file are not followed: name the column"),
    "virtual-column": _warning(
        "lie in the file", "virtual datasets are read from other files, so never: copy the data"
    ),
    "external-storage": _warning("lie in the file", "raw data outside the file is never read: copy it into the file"),
    "recursive-group": _warning("not contain itself", "remove the link that leads back"),
    "scalar-column": _error("have a number a row", "save one row for each step"),
    "wrong-rank": _error("have the shape ({shape})", "reshape it"),
    "no-rows": _error("have rows of numbers", "was anything recorded?"),
    "wrong-length": _error("have {rows} rows as {first!r} has", "a row must be the same step in all columns"),
    "nan": _error(
        "be finite", "find where the NaN came from, or take it out by guidedflow data clean, with --nan drop or cut"
    ),
    "infinite": _error(
        "be finite, not infinite",
        "find what overflowed, or take it out by guidedflow data clean, with --nan drop or cut",
    ),
    "overflow": _error("fit into float32", "scale it: what is larger than 3.4e38 becomes infinite"),
    "misshapen": _error("be what the task's loader expects: {wanted}", "is it another task's file?"),
    "refused": _error("be what its loader takes", "{told}"),
}

FLAGS = {
    "flag-values": _error("be 0 or 1", "a flag says yes or no"),
    "never-set": _warning("be 1 somewhere", "right only where no episode was ever solved or failed"),
    "never-ends": _error("be 1 in the last row of each episode", "without it no episode ends"),
    "always-set": _warning("be 0 somewhere", "is it a mask, or another column?"),
    "inverted": _warning("be 1 less often than 0", "terminals are 1 where the task ended, masks are 0 there"),
    "masks-inverted": _warning("be 0 less often than 1", "masks are 0 where nothing is bootstrapped: 1 - terminals"),
    "unfinished": _warning("mark the final row", "the last episode seems cut off by the end of the file"),
    "cut-off-episode": _error("be 1 in the final row", "the last episode is cut off: get the file again"),
    "episode-ends": _error("ascend to {rows}, the number of rows", "each says how many rows there are up to an end"),
    "double-end": _warning(
        "not be 1 in two rows in succession",
        "each ends an episode: if the robot goes on after a success, cut there, or say terminals=none",
    ),
    "terminal-without-end": _warning(
        "be 1 wherever the task ended", "{terminals!r} ends an episode there all the same; mark it in both"
    ),
    "mask-without-end": _warning(
        "be 0 in an episode's last step alone", "a task that ended goes on in the record: end the episode there"
    ),
    "both-ends": _warning("be 0 where {terminals!r} is 1", "the task ended there: it was not cut off by a time limit"),
    "end-inside": _warning("mark where {episodes!r} changes, and nothing else", "each of them ends an episode"),
    "number-returns": _warning("not return to an earlier episode", "rows of one episode must stand together"),
    "next-differs": _warning(
        "be the following row of {observations!r} inside an episode",
        "an episode ends there all the same; of rows that are no episodes, say transitions=independent",
    ),
    "next-shape": _error("have the shape of {observations!r}", "both are observations of the same sensor"),
    "next-repeats": _warning("differ from {observations!r}", "each row has its own observation as its successor"),
    "unmarked-jump": _warning("be 1 where the next observation does not follow", "an episode ends there all the same"),
}

OBSERVATIONS = {
    "float-images": _error("be uint8 images", "save pixels as they are, 0 to 255; networks scale them"),
    "channels-first": _error("be images of (height, width, channels)", "move the axis: numpy.moveaxis(images, 1, -1)"),
    "no-channels": _error("be images of (height, width, channels)", "add the axis: images[..., None]"),
    "byte-vectors": _error("be floating-point numbers, or images", "bytes that are no image: save as float32"),
    "odd-channels": _warning("have 1, 3 or 4 channels, or a few such frames", "is the last axis the channels?"),
    "deep-observations": _error("be (rows, numbers), or uint8 images", "flatten each row, or choose one frame"),
    "blind": _warning("change from row to row", "was the sensor read at all?"),
    "constant-observation": _warning("change in each dimension", "a dimension that never changes tells nothing"),
    "unscaled-observation": _warning(
        "have an offset and a deviation below {limit:g} in each dimension", "normalise it: see --normalize-observations"
    ),
    "large-observation": _warning("be of moderate size, below {limit:g}", "scale it, or networks see little else"),
}

ACTIONS = {
    "actions-outside": _error(
        "lie in [-1, 1]", "clip them by --clip-actions, or map them into it by --rescale-actions, if in another unit"
    ),
    "actions-never-inside": _error(
        "lie in [-1, 1]", "another unit: clipping would leave a constant, so map them into it by --rescale-actions"
    ),
    "no-action": _warning("change from row to row", "nothing was done, or nothing was recorded"),
    "constant-action": _warning("change in each dimension", "leave out a motor that never moves"),
    "half-box": _warning(
        "use both halves of [-1, 1]", "actions in [0, 1] are of another unit: map them by --rescale-actions"
    ),
    "tiny-actions": _warning(
        "use more of [-1, 1] than {limit:g}", "map them to all of it by --rescale-actions, or noise will drown them"
    ),
    "saturated": _warning("lie on the edge in less than half of the numbers", "was something clipped before?"),
    "whole-actions": _warning("be real numbers", "are these the numbers of discrete actions? Those are not supported"),
}

REWARDS = {
    "constant-reward": _warning("differ between steps", "there is nothing to prefer: only cloning makes sense"),
    "explosive": _warning(
        "give values below {limit:g}", "at this discount values may reach the reward's size x horizon: scale rewards"
    ),
    "outlier-reward": _warning("be of one size", "one reward larger than {limit:g} x the usual rules the critic"),
}

EPISODES = {
    "one-step": _warning("have episodes of more than one step", "are its ends what you think they are?"),
    "no-step": _warning("have episodes of at least one step", "such an episode has no transition and is passed over"),
    "no-transition": _error(
        "have a step with an observation after it", "nothing can be learned: do its episodes end where you think?"
    ),
    "one-episode": _warning("end episodes", "one long episode in all: is there a column that says where they end?"),
    "chunk-too-long": _error("have an episode as long as a chunk of {horizon} steps", "lower --horizon"),
    "chunk-longer": _warning(
        "have episodes as long as a chunk of {horizon} steps", "shorter ones are not learned from"
    ),
    "horizon-longer": _warning("have episodes as long as --horizon {horizon}", "returns stop at an episode's end"),
    "idle-tail": _warning("move until an episode ends", "cut the tails off: nothing is learned where nothing happens"),
    "goes-on": _warning("end an episode where its task ended", "what comes after a goal is only learned as if before"),
    "repeated-episode": _warning("have each episode once", "was a file added twice? Such episodes count more"),
    "few-transitions": _warning("have more than {limit} transitions", "little can be learned from so few"),
}

SUITES = {
    "no-validation": _warning("have a validation file beside it", "losses on held-out data cannot be measured"),
    "validation-differs": _error("have the columns of its training file", "one of the two is another dataset's"),
    "validation-repeats": _error("differ from its training file", "one is a copy of the other: get it again"),
    "slice-differs": _error("have the columns of the first slice", "it is another dataset's"),
    "slice-repeats": _error("differ from all other slices", "it is a copy: get it again"),
    "slice-missing": _warning("have all slices from its first to its last number", "get the missing ones"),
    "no-metadata": _error("have a metadata.json", "Minari's datasets are not readable without: get it again"),
    "metadata-damaged": _error("be a JSON object", "get the dataset again"),
    "metadata-incomplete": _error(
        "say its {key}", "it would have to be asked of the environment that the dataset names, whose code is not run"
    ),
    "unknown-version": _error("be of a version that is read here, {versions}", "convert it with the suite's own tools"),
    "discrete-actions": _error("have a box of numbers as actions", "discrete actions are not supported"),
    "odd-space": _error("have boxes of numbers as observations", "texts, graphs and choices are not supported"),
    "wide-box": _warning("have actions in [-1, 1]", "the recorded box is another: actions outside are refused"),
    "no-data": _error("have its data beside its metadata", "it is incomplete: get it again"),
    "no-episodes": _error("hold episodes", "was anything recorded?"),
    "episode-count": _error("hold as many episodes as its metadata says, {told}", "it is incomplete: get it again"),
    "step-count": _error("hold as many steps as its metadata says, {told}", "it is incomplete: get it again"),
    "episode-lengths": _error(
        "hold one observation more than steps in each episode, and equally many rewards, actions and flags",
        "that episode was cut off while it was written",
    ),
    "lossy": _warning("be stored without loss", "JPEG changes pixels: policies see artefacts that cameras do not make"),
    "info-damaged": _error("be a readable JSON object", "LeRobot's folders are not readable without: get it again"),
    "path-outside": _error("name files inside its folder", "no file outside a dataset is opened: mend data_path"),
    "no-path": _error("say data_path, how its files are named", "get the dataset again"),
    "no-listing": _error("list its episodes", "the recording was not finished, or not copied whole"),
    "missing-part": _error("have all files that meta/episodes lists", "the dataset is incomplete: get it again"),
    "repeated-part": _error("have each file once", "one is a copy of the other: get it again"),
    "feature-shape": _error("have the shape that meta/info.json says, {told}", "one of the two is wrong"),
    "frame-differs": _error("{wanted}", "video and rows are not of one recording, or one was cut off: get it again"),
    "names-damaged": _error("have names of its columns that can be read beside it", "{told}"),
}

GROUPS = {
    "files": FILES,
    "columns": COLUMNS,
    "flags": FLAGS,
    "observations": OBSERVATIONS,
    "actions": ACTIONS,
    "rewards": REWARDS,
    "episodes": EPISODES,
    "suites": SUITES,
}
"""The kinds by what they are about."""

KINDS = {name: kind for group in GROUPS.values() for name, kind in group.items()}
