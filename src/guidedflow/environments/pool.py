"""Worker processes and a pipe to each: they are started, asked, and stopped together.

This module does not know what the messages mean. It never imports JAX, because its workers import it.
"""

import contextlib
import multiprocessing
import selectors
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn

from guidedflow.environments.worker import Failure, serve
from guidedflow.errors import InputError
from guidedflow.processes import launching


class Pool:
    """Spawned workers that own `environments` together: environment i lives in worker i modulo `workers`.

    Where a worker fails, dies, or is silent for `timeout` seconds, all are killed, `failed` is called, and an error is
    raised: `InputError` where the worker's own was one, else `RuntimeError`.
    """

    def __init__(self, workers: int, environments: int, timeout: float, failed: Callable[[], None]) -> None:
        self.workers, self.environments, self.timeout, self._failed = workers, environments, timeout, failed
        self._connections: list[Connection] = []
        self._ears: list[selectors.BaseSelector] = []
        self._processes: list[BaseProcess] = []

    def start(self, first: Callable[[int], object], graphics: str | None) -> list[Any]:
        """Spawn every worker, send each its `first` message, and return their answers."""
        context = multiprocessing.get_context("spawn")
        with launching(graphics):
            for worker in range(self.workers):
                ours, theirs = context.Pipe()
                process = context.Process(target=serve, args=(theirs,), daemon=True, name=f"simulators-{worker}")
                process.start()
                theirs.close()
                self._connections.append(ours)
                self._ears.append(selectors.DefaultSelector())  # Made once: `Connection.poll` makes one a call.
                self._ears[-1].register(ours, selectors.EVENT_READ)
                self._processes.append(process)
                self.send(worker, first(worker))
        return [self.answer(worker) for worker in range(self.workers)]

    def owned(self, worker: int) -> range:
        """The environments of a worker."""
        return range(worker, self.environments, self.workers)

    def ask(self, message: object) -> list[Any]:
        """The answer of every worker to one message."""
        for worker in range(self.workers):
            self.send(worker, message)
        return [self.answer(worker) for worker in range(self.workers)]

    def send(self, worker: int, message: object) -> None:
        """Send a message to one worker, and do not wait."""
        try:
            self._connections[worker].send(message)
        except ConnectionError:
            self._died(worker)

    def answer(self, worker: int) -> Any:
        """Wait for the next answer of one worker."""
        try:
            if not self._ears[worker].select(self.timeout):
                self._fail(RuntimeError(f"simulators: worker {worker} was silent for {self.timeout:g} seconds"))
            answer = self._connections[worker].recv()
        except (EOFError, ConnectionError):
            self._died(worker)
        if isinstance(answer, Failure):
            if answer.from_input:
                self._fail(InputError(answer.sentence))
            error = RuntimeError(answer.sentence)
            error.add_note(answer.trace)
            self._fail(error)
        return answer

    def stop(self, patience: float) -> None:
        """Stop the workers: ask, then terminate, then kill, each time waiting up to `patience` seconds."""
        for ear in self._ears:
            ear.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.send(None)
            connection.close()
        for stop in (lambda process: None, BaseProcess.terminate, BaseProcess.kill):
            for process in self._processes:
                stop(process)
            for process in self._processes:
                process.join(patience)
            if all(process.exitcode is not None for process in self._processes):
                break
        self._connections, self._ears, self._processes = [], [], []

    def _died(self, worker: int) -> NoReturn:
        process = self._processes[worker]
        process.join(5.0)
        where = f"environments {list(self.owned(worker))}"
        self._fail(RuntimeError(f"simulators: worker {worker} ({where}) died with exit status {process.exitcode}"))

    def _fail(self, error: Exception) -> NoReturn:
        for process in self._processes:
            process.kill()  # One that hangs or is stopped would not hear anything softer.
        self._failed()
        raise error from None
