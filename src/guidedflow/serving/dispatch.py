"""Requests in order through one worker thread, so that the event loop stays free for pings and health checks.

By default each is one call of one row, whose bits are those of the policy. With `batch` above 1, what waits at the same
moment is one call, in buckets of powers of two. An accelerator pads to the next bucket. A CPU never pads, and answers
fewer than 8 one by one, since two rows cost more than twice one there. This module does not know how requests arrive.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import jax
import numpy as np
from numpy.typing import NDArray

from guidedflow.serving.metrics import Metrics
from guidedflow.serving.refusals import Refusal
from guidedflow.serving.requests import Request
from guidedflow.serving.sources import Opened

_LOG = logging.getLogger(__name__)

WORTHWHILE = 8
"""Rows from which on one call is faster than as many calls, on a CPU."""


@dataclass(frozen=True, eq=False)
class Answer:
    """Actions [chunk, size], and how they came about."""

    actions: NDArray[np.float32]
    version: str
    seed: int
    waited: float
    """Seconds in the queue."""
    took: float
    """Seconds of the call."""


@dataclass(eq=False)
class _Job:
    request: Request
    seed: int
    future: asyncio.Future[Answer]
    born: float = field(default_factory=time.monotonic)

    @property
    def late(self) -> bool:
        return time.monotonic() - self.born > self.request.deadline

    @property
    def group(self) -> tuple[str, int]:
        return self.request.policy, self.request.candidates


class Dispatcher:
    """A bounded queue, and the thread that works it off; `policies` may be replaced between two calls."""

    def __init__(self, policies: Mapping[str, Opened], metrics: Metrics, limit: int = 64, batch: int = 1) -> None:
        self.policies = dict(policies)
        self._metrics, self._limit, self._batch = metrics, limit, batch
        self._accelerated = jax.default_backend() != "cpu"
        self._waiting: deque[_Job] = deque()
        self._arrived = asyncio.Event()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="inference")
        self._usual = 0.01
        self._busy = False

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is computed."""
        return not self._waiting and not self._busy

    def submit(self, request: Request, seed: int) -> asyncio.Future[Answer]:
        """Queue a request; cancel its future to give it up. Raises `Refusal` where the queue is full."""
        if len(self._waiting) >= self._limit:
            after = self._usual * len(self._waiting)
            raise Refusal("busy", f"{len(self._waiting)} requests are waiting, which is the limit; try again", after)
        job = _Job(request, seed, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._metrics.queue.set(len(self._waiting))
        self._arrived.set()
        return job.future

    async def warm(self, opened: Opened) -> None:
        """Compile every program of a policy that a request may need."""
        await asyncio.get_running_loop().run_in_executor(self._executor, self._warm, opened)

    def _warm(self, opened: Opened) -> None:
        rows, (shape, dtype) = 1, opened.interface.observation_layout
        while rows <= self._batch:
            if rows == 1 or self._accelerated or rows >= WORTHWHILE:
                observations = np.zeros((rows, *shape), dtype)
                weights = np.array([[*opened.interface.weights.values()]] * rows, np.float32)
                for program in opened.programs.values():
                    program(observations, np.zeros(rows, np.uint32), weights)
            rows *= 2

    async def run(self) -> None:
        """Work the queue off, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            jobs = self._take()
            if not jobs:
                continue
            opened = self.policies[jobs[0].request.policy]
            self._busy = True
            begun = time.monotonic()
            try:
                actions = await loop.run_in_executor(self._executor, self._act, opened, jobs)
            except Exception:
                _LOG.exception("the policy %s failed", jobs[0].request.policy)
                failure = Refusal("failed", "the policy failed at this request; the server's log says why")
                _settle(jobs, failure)
                continue
            finally:
                self._busy = False
            took = time.monotonic() - begun
            self._usual += 0.1 * (took / len(jobs) - self._usual)
            self._metrics.inference.labels(jobs[0].request.policy).observe(took)
            self._metrics.rows.observe(len(jobs))
            for job, own in zip(jobs, actions, strict=True):
                if not np.isfinite(own).all():
                    _settle([job], Refusal("failed", "the policy gave actions that are not finite"))
                elif not job.future.done():
                    job.future.set_result(Answer(own, opened.version, job.seed, begun - job.born, took))

    def close(self) -> None:
        """Let go of the thread; what waits is refused."""
        _settle(list(self._waiting), Refusal("draining", "the server is going down; try again elsewhere", 1.0))
        self._waiting.clear()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _take(self) -> list[_Job]:
        """The next requests of one call, all of one policy; late and cancelled requests are dropped."""
        self._drop()
        if not self._waiting:
            self._arrived.clear()
            return []
        group = self._waiting[0].group
        alike = sum(job.group == group for job in self._waiting) if self._batch > 1 else 1
        count = self._count(min(alike, self._batch))
        jobs: list[_Job] = []
        kept: deque[_Job] = deque()
        while self._waiting and len(jobs) < count:
            job = self._waiting.popleft()
            (jobs if job.group == group else kept).append(job)
        kept.extend(self._waiting)
        self._waiting = kept
        self._metrics.queue.set(len(self._waiting))
        return jobs

    def _drop(self) -> None:
        """Take out what is late or was cancelled."""
        late = [job for job in self._waiting if job.late and not job.future.done()]
        _settle(late, Refusal("late", "the deadline passed before the request came to its turn"))
        if any(job.future.done() for job in self._waiting):
            self._waiting = deque(job for job in self._waiting if not job.future.done())

    def _count(self, alike: int) -> int:
        """How many of the waiting are one call."""
        if self._accelerated:
            return alike
        return 1 << (alike.bit_length() - 1) if alike >= WORTHWHILE else 1

    def _act(self, opened: Opened, jobs: list[_Job]) -> NDArray[np.float32]:
        """One call, in the worker thread."""
        rows = 1 << (len(jobs) - 1).bit_length()
        padded = [*jobs, *[jobs[-1]] * (rows - len(jobs))]
        observations = np.stack([job.request.observation for job in padded])
        seeds = np.array([job.seed for job in padded], np.uint32)
        names = opened.interface.weights
        weights = np.array([[job.request.weights[name] for name in names] for job in padded], np.float32)
        program = opened.programs[jobs[0].request.candidates]
        return program(observations, seeds, weights.reshape(rows, len(names)))[: len(jobs)]


def _settle(jobs: list[_Job], refusal: Refusal) -> None:
    for job in jobs:
        if not job.future.done():
            job.future.set_exception(refusal)
