"""Chunks that arrive late: how far actions jump where one chunk gives way to the next, and what that does to success.

Each delay is played twice, with a new chunk as the flow draws it and with one that is pulled to the chunk before
(real-time chunking, arXiv 2506.07339; `guidedflow.flows.realtime`), on the same episodes. This module does not know how
chunks are executed, nor how success is measured.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from guidedflow.environments.vector import open_simulators
from guidedflow.errors import InputError
from guidedflow.evaluation.pace import Pace
from guidedflow.flows.realtime import check_delay
from guidedflow.results.rows import measure
from guidedflow.studies import picture
from guidedflow.studies.finding import Finding, check
from guidedflow.studies.picture import Figure
from guidedflow.studies.subject import Subject
from guidedflow.studies.weight import check_guidance


@dataclass(frozen=True)
class Realtime:
    """Jumps between chunks and success, against the delay of a chunk, with and without real-time chunking."""

    delay: tuple[int, ...] = (0, 1, 2)
    """Steps from a request to the arrival of its chunk."""
    replan: int | None = None
    """Steps from one request to the next; by default half a chunk, or more where the largest delay needs it."""
    guidance: str | None = None
    """Guidance by the run's critic: noisy, denoised, jacobian, rollout; by default none."""
    weight: float = 0.1
    """Weight of the guidance."""
    normalize: bool = False
    """Follow the gradient's direction alone."""
    episodes: int = 50
    """Reported episodes of each delay and training seed, the same for both ways."""
    seed: int = 0
    """Chooses episodes."""
    workers: int | None = None
    """Simulator processes; by default one a core."""

    def measure(self, subject: Subject) -> Finding:
        """The mean jump between chunks, success, return and length, at each delay with and without the pull.

        Raises `InputError` for a run without chunks, and for a delay that its chunks are too short for.
        """
        check(self, weight=(0, np.inf), seed=(0, 2**31 - 1), episodes=(1, np.inf), delay=(0, np.inf))
        if self.guidance is not None:
            check_guidance([self.guidance])
        trained, using, rows = subject.trained, subject.base, []
        if self.guidance is not None:
            using = subject.guided(self.guidance, self.weight, normalize=self.normalize)
        with open_simulators(trained.task, self.workers, frame_stack=trained.frame_stack) as simulators:
            chunk = subject.base.action_size // math.prod(simulators.single_action_space.shape)
            every = self._every(subject, chunk)
            for delay in self.delay:
                for realtime in (False, True):
                    told = trained.evaluate(
                        subject.policy, using=using, episodes=self.episodes, seed=self.seed, simulators=simulators,
                        replan=every, delay=delay, realtime=realtime,
                    ).summary()  # fmt: skip
                    found = {"success": told["success_mean"], "return": told["return_mean"], "seeds": told["success"]}
                    length = {"length": told["length_mean"]}
                    way = {"delay": delay, "chunking": "real-time" if realtime else "plain"}
                    rows.append({**way, "jump": told.get("seam_mean"), **found, **length})
        title = (
            f"{trained.task}: chunks of {chunk}, one each {every} steps, {self.episodes} reporting episodes a seed, "
            f"{len(trained.seeds)} seed(s)"
        )
        notes: dict[str, Any] = {"task": trained.task, "policy": subject.policy, "training_seeds": trained.seeds}
        notes |= {"chunk": chunk, "replan": every, "guidance": self.guidance, "episodes": self.episodes}
        return Finding(title, rows, notes)

    def _every(self, subject: Subject, chunk: int) -> int:
        """Steps between two requests, at which every delay fits into the chunks."""
        if chunk < 2:
            raise InputError(
                f"{subject.trained.run.path} plans one step at a time, so no chunk gives way to the next; "
                "train with --horizon 5 --chunk."
            )
        usual = min(max(chunk // 2, max(self.delay) + 1), chunk)
        every = Pace(self.replan or usual).every(chunk)
        for delay in self.delay:
            check_delay(chunk, delay, every)
        return every

    def draw(self, finding: Finding) -> Figure:
        """The jump between chunks, and success, or return where success is not reported, against the delay."""
        figure, (left, right) = picture.panels(2)
        name = measure(finding.rows)
        for chunking, color in (("plain", "#CC6677"), ("real-time", "#4477AA")):
            rows = sorted(finding.of(chunking=chunking), key=lambda row: row["delay"])
            style: dict[str, Any] = {"marker": "o", "color": color, "label": chunking}
            delays = [row["delay"] for row in rows]
            jumps = [float("nan") if row["jump"] is None else row["jump"] for row in rows]
            left.plot(delays, jumps, **style)
            right.plot(delays, [row[name] for row in rows], **style)
        left.set(ylabel="jump between chunks", title=finding.notes["task"], ylim=(0, None))
        right.set(ylabel="success rate" if name == "success" else "mean return")
        if name == "success":
            right.set_ylim(-0.03, 1.03)
        for panel in (left, right):
            panel.set(xlabel="delay of a chunk, in steps", xticks=finding.column("delay"))
        left.legend(frameon=False, loc="best", fontsize="small")
        return figure
