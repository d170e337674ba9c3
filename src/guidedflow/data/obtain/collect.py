"""Make a dataset without a download: a recipe's episodes, from several processes, in the format of their suite.

An episode is a function of the seed, its index and which of the two files it belongs to. So the files do not depend on
the number of processes, a longer collection begins with a shorter one, and validation never repeats training. This
module does not know what an episode is, who makes it, or what it is for.
"""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from guidedflow.data.formats import making
from guidedflow.data.obtain import metaworld, oracles
from guidedflow.data.obtain.oracles import FOLDER, Collector, Episode, Recipe
from guidedflow.errors import InputError
from guidedflow.files import reason, replacing
from guidedflow.processes import available_cores, launching
from guidedflow.results.counts import plural

__all__ = ["FOLDER", "collect", "collectable", "collector", "published_episodes", "recipe"]

Job = tuple[int, int]  # which file (0 training, 1 validation), and the episode's index in it


def collectable() -> list[str]:
    """Names of the datasets that can be made without a download."""
    return [*oracles.RECIPES, *metaworld.RECIPES]


def recipe(name: str) -> Recipe:
    """The recipe of a dataset. Raises `InputError` for an unknown name, and for data that no scripted oracle makes."""
    return metaworld.recipe(name) if name.startswith("metaworld-") else oracles.recipe(name)


def collector(made: Recipe) -> Collector:
    """Start the simulator of a recipe; the result makes the episode of a seed, whatever was made before."""
    return metaworld.ScriptedPolicy(made) if isinstance(made, metaworld.Scripted) else oracles.collector(made)


def published_episodes(name: str) -> int:
    """How many training episodes a dataset has by default: as many as published, where it was; see `collect`."""
    return recipe(name).episodes


def collect(
    name: str,
    episodes: int | None = None,
    workers: int | None = None,
    seed: int = 0,
    out: Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    random_actions: float | None = None,
    noise: float | None = None,
) -> tuple[Path, Path]:
    """Make the training file of a dataset and its validation file of a tenth as many episodes, and return their paths.

    `episodes` defaults to `published_episodes` and `workers` to one for each processor. `out` is the training file
    (`*.npz`) or a folder for both, by default the suite's own. `random_actions`, a probability, and `noise`, a
    deviation, change the quality of the data; by default they are the recipe's. The files appear complete or not at
    all, and record how they were made. Raises `InputError` for a name that cannot be collected, a number out of
    range, a suite that is not installed, and files that exist, unless `overwrite`.
    """
    made = recipe(name).dialled(random_actions, noise)
    episodes = made.episodes if episodes is None else episodes
    workers = available_cores() if workers is None else workers
    for word, number, least in (("episodes", episodes, 1), ("workers", workers, 1), ("seed", seed, 0)):
        if number < least:
            raise InputError(f"{word} must be at least {least}, not {number}")
    paths = _paths(name, made.folder if out is None else out, overwrite)
    jobs = [(0, index) for index in range(episodes)] + [(1, index) for index in range(max(1, episodes // 10))]
    columns, rows = _gather(made, seed, jobs, min(workers, len(jobs)), progress)
    training = sum(rows[:episodes])
    parts = [{k: v[:training] for k, v in columns.items()}, {k: v[training:] for k, v in columns.items()}]
    records = [{**made.record(), "seed": seed, **made.outcome(part)} for part in parts]
    _write(paths, parts, records)
    if progress and "success_rate" in records[0]:
        told = f"{records[0]['success_rate']:.1%} of {plural(episodes, 'episode')} were solved"
        Console(stderr=True).print(f"{name}: {told}", highlight=False, soft_wrap=True)
    return paths


def _paths(name: str, out: Path, overwrite: bool) -> tuple[Path, Path]:
    """The two files, in a folder that exists and can be written."""
    train = Path(out).expanduser()
    train = train if train.suffix == ".npz" else train / f"{name}.npz"
    validation = train.with_name(f"{train.stem}-val.npz")
    for path in (train, validation):
        if path.exists() and not overwrite:
            raise InputError(f"{path} exists: collect into another place by --out, or replace it by --overwrite")
    try:
        train.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder {train.parent} cannot be made: {reason(error)}") from error
    if not os.access(train.parent, os.W_OK):
        raise InputError(f"the folder {train.parent} cannot be written to: choose another by --out")
    return train, validation


def _gather(
    made: Recipe, seed: int, jobs: list[Job], workers: int, progress: bool
) -> tuple[dict[str, NDArray[Any]], list[int]]:
    """All episodes end to end in the order of the jobs, each column allocated once; and the rows of each."""
    columns: dict[str, NDArray[Any]] = {}
    lengths: dict[Job, int] = {}
    place = {job: slice(i * made.rows, (i + 1) * made.rows) for i, job in enumerate(jobs)}
    shown = [TextColumn("collecting {task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("episodes"),
             TextColumn("{task.fields[rate]} steps/s"), TimeRemainingColumn()]  # fmt: skip
    console = Console(stderr=True)
    with Progress(*shown, console=console, disable=not progress) as bar:
        task = bar.add_task(made.name, total=len(jobs), rate="-")
        for done, (job, episode) in enumerate(_simulate(made, seed, jobs, workers), start=1):
            for key, rows in episode.items():
                if key not in columns:
                    columns[key] = np.empty((len(jobs) * made.rows, *rows.shape[1:]), rows.dtype)
                columns[key][place[job]][: len(rows)] = rows
            lengths[job] = len(episode["actions"])
            speed = bar.tasks[task].speed
            mean = sum(lengths.values()) / done
            bar.update(task, advance=1, rate=f"{speed * mean:,.0f}" if speed else "-")
            if progress and not console.is_terminal and done * 10 // len(jobs) > (done - 1) * 10 // len(jobs):
                console.print(f"collecting {made.name}: {done} of {plural(len(jobs), 'episode')}", soft_wrap=True)
    return _closed_up(columns, made.rows, [lengths[job] for job in jobs])


def _closed_up(
    columns: dict[str, NDArray[Any]], most: int, rows: list[int]
) -> tuple[dict[str, NDArray[Any]], list[int]]:
    """Columns with room for `most` rows an episode, moved together in place where episodes are shorter."""
    ends = np.cumsum(rows)
    if len(rows) * most == ends[-1]:
        return columns, rows
    for column in columns.values():
        for number, (end, length) in enumerate(zip(ends, rows, strict=True)):
            column[end - length : end] = column[number * most : number * most + length]
    return {key: column[: ends[-1]] for key, column in columns.items()}, rows


def _simulate(made: Recipe, seed: int, jobs: list[Job], workers: int) -> Iterator[tuple[Job, Episode]]:
    """Episodes as they are done. Raises `RuntimeError` if a process dies."""
    waiting = iter(jobs)
    with _processes(made, seed, workers) as processes:
        for connection, job in zip(processes, waiting, strict=False):
            connection.send(job)
        for _ in jobs:
            connection = cast(Connection, wait(list(processes))[0])
            try:
                answer = connection.recv()
            except EOFError:
                processes[connection].join()
                code = processes[connection].exitcode
                raise RuntimeError(f"a collecting process ended early, with exit code {code}") from None
            if isinstance(answer, InputError):
                raise answer
            job, episode = answer
            following = next(waiting, None)
            if following is not None:
                connection.send(following)
            yield job, episode


@contextmanager
def _processes(made: Recipe, seed: int, count: int) -> Iterator[dict[Connection, BaseProcess]]:
    """Spawned processes that answer jobs, ended on the way out whatever happened."""
    spawn = multiprocessing.get_context("spawn")
    processes: dict[Connection, BaseProcess] = {}
    try:
        # A process inherits the blocked signal, so that an interrupt reaches this process alone, which ends the others.
        resource_tracker.ensure_running()  # which unblocks it, when the first process starts it
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with launching():
                for _ in range(count):
                    ours, theirs = spawn.Pipe()
                    process = spawn.Process(target=_serve, args=(theirs, made, seed), daemon=True)
                    process.start()
                    theirs.close()
                    processes[ours] = process
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        yield processes
    finally:
        for running in processes.values():
            running.terminate()
        for connection, running in processes.items():
            running.join()
            connection.close()


def _serve(connection: Connection, made: Recipe, seed: int) -> None:
    """Answer jobs until the other end closes, which also happens when its process is killed; or say why not."""
    try:
        episode = collector(made)
    except InputError as error:
        connection.send(error)
        return
    while True:
        try:
            split, index = connection.recv()
        except EOFError:
            return
        connection.send(((split, index), episode(np.random.SeedSequence(seed, spawn_key=(split, index)))))


def _write(paths: tuple[Path, Path], parts: list[dict[str, NDArray[Any]]], records: list[dict[str, Any]]) -> None:
    """Store all files or none. Not compressed, since noisy floats hardly shrink."""
    with ExitStack() as stack:
        for path, columns, record in zip(paths, parts, records, strict=True):
            part = stack.enter_context(replacing(path))
            with part.open("wb") as file:
                np.savez(file, allow_pickle=False, **columns)
            making.write(part, record)
