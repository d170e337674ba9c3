"""`guidedflow evaluate`: which episodes a policy is rolled out on, and where its weight of guidance comes from.

This module does not know how arguments are read, nor how a policy is made to act in another way.
"""

import json
import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro
from jaxtyping import Array, Shaped
from rich.console import Console

from guidedflow import environments, files
from guidedflow.cli import judging
from guidedflow.cli.acting import Acting
from guidedflow.cli.named import algorithm_class, environment
from guidedflow.data.formats.columns import Columns
from guidedflow.environments.own import Own
from guidedflow.environments.vector import open_simulators
from guidedflow.environments.worker import Success
from guidedflow.errors import InputError
from guidedflow.evaluation.recorded import Judge
from guidedflow.evaluation.selection import Selection, by_dataset, by_episodes
from guidedflow.keys import Stream, stream_key
from guidedflow.parts import Parts
from guidedflow.policies.policy import Policy
from guidedflow.results import plots, rows, tables
from guidedflow.runs.judged import Panel
from guidedflow.runs.trained import Trained
from guidedflow.settings import check_ranges

STATES = 256
"""Observations of the dataset at which a weight is judged without a simulator."""

Policies = dict[float | None, Policy]
"""A policy under each weight; under None as it was trained to act."""


@dataclass(frozen=True)
class Evaluate:
    """Roll a trained policy out in the simulator, guided by a critic if asked."""

    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""
    acting: Acting
    episodes: int = 50
    """Episodes of each training seed."""
    env: str | None = None
    """Act in your own environment, MODULE:FUNCTION: a function of an importable module that makes a gymnasium.Env."""
    success: Success = "last"
    """When an episode counts as a success: by its last step, or by any of its steps."""
    episode_steps: int | None = None
    """Steps after which an episode of --env ends, if the environment itself has no limit."""
    algorithm: str | None = None
    """Class of an algorithm of your own that the run was trained by, MODULE:CLASS."""
    task: str | None = None
    """Act in another task than the run's own, which a policy that never saw rewards can, or one steered to it."""
    step: int | None = None
    """Checkpoint; by default the newest."""
    seed: int = 0
    """Chooses the episodes."""
    select_weight: bool = False
    """Choose among the weights (if none are given: 8 from 0 to 3, of a condition 7 to 15) on episodes of their own."""
    select_episodes: int = 20
    """Episodes of each weight and training seed in that choice."""
    select_offline: bool = False
    """Choose among the weights from the dataset alone; without a simulator that choice is all that is told."""
    off_policy: bool = False
    """Estimate returns from held-out episodes by fitted Q evaluation, and rank; too high where no data covers actions.

    No simulator is needed. RUN may be a folder of runs, --policy all judges every policy of a run. The value is a
    discounted return at the first states of the episodes. Short recordings and long horizons blur it, and a bias of
    the method is not in its interval. The critics are new ones, never those that steer."""
    compare: tuple[Path, ...] = ()
    """More runs, or folders of runs, to rank beside this one by --off-policy."""
    importance: bool = False
    """Also give the importance-weighted return by --off-policy, of Gaussian policies that act at random."""
    judge_steps: int = Judge.steps
    """Updates of the critics of --off-policy."""
    judge_members: int = Judge.members
    """Critics of --off-policy, each with its own resample of the episodes."""
    judge_transitions: int = Judge.transitions
    """Held-out transitions of --off-policy, at most."""
    judge_hidden: tuple[int, ...] = Judge.hidden
    """Sizes of the hidden layers of the critics of --off-policy."""
    dataset: Path | None = None
    """Dataset file for --select-offline, if not in the suite's own folder, or held-out episodes for --off-policy."""
    columns: tuple[str, ...] = ()
    """Which column of that file is what, as for train, if their names are not kept beside it."""
    workers: int | None = None
    """Simulator processes; by default one a core."""
    json: bool = False
    """Print one JSON object on standard output."""
    video: int = 0
    """Also film so many of the episodes of the first training seed."""
    plot: bool = False
    """Also draw the learning curve of the run."""

    def run(self) -> None:
        self._check()
        if self.off_policy:
            self._judge()
            return
        trained = self._open(self.path)
        own = None if self.env is None else environment(self.env, trained.frame_stack, self.episode_steps)
        task = self.task or trained.task
        simulated = own is not None or environments.known(task)
        only_choose = self.select_offline and not (self.select_weight or self.video or simulated)
        selects = self.select_weight or self.select_offline
        # What cannot be had is told before the simulators start.
        name, policies = self.acting.policies(trained, task, seed=self.seed, selects=selects)
        selections: dict[str, Selection] = {}
        if self.select_offline:
            if not only_choose and own is None:
                environments.simulated(task)  # told before a minute of choosing
            selections["dataset"] = by_dataset(_weighted(policies), self._observations(trained))
        plot = self._plotted(trained) if self.plot else None
        if only_choose:
            self._tell([_choice(task, name, policies, selections["dataset"])], plot)
            return
        files.check_appendable(trained.run.evaluations)
        summaries, best = self._roll_out(trained, own, task, name, policies, selections)
        if self.video:
            film = trained.run.path / f"{summaries[0]['policy']}.mp4"
            trained.film(
                film, name, using=best, episodes=self.video, seed=self.seed, task=task, replan=self.acting.replan,
                delay=self.acting.delay, realtime=self.acting.realtime, own=own,
            )  # fmt: skip
            summaries[0]["video"] = str(film)
        self._tell(summaries, plot)

    def _roll_out(
        self,
        trained: Trained,
        own: Own | None,
        task: str,
        name: str,
        policies: Policies,
        selections: dict[str, Selection],
    ) -> tuple[list[dict[str, Any]], Policy]:
        """A summary of each policy that is chosen, of all where none is, and the first of these policies."""
        most = max(self.episodes, self.select_episodes if self.select_weight else 0) * len(trained.seeds)
        with open_simulators(
            task, self.workers, most, trained.frame_stack, own=own, success=self.success
        ) as simulators:
            roll_out = partial(
                trained.evaluate, name, task=task, seed=self.seed, simulators=simulators, replan=self.acting.replan,
                delay=self.acting.delay, realtime=self.acting.realtime,
                critic_run=None if self.acting.critic_from is None else str(self.acting.critic_from),
            )  # fmt: skip
            if self.select_weight:
                trial = partial(roll_out, episodes=self.select_episodes)
                selections = selections | {"episodes": by_episodes(_weighted(policies), trial)}
            chosen = {selection.chosen: policies[selection.chosen] for selection in selections.values()} or policies
            summaries = []
            for weight, policy in chosen.items():
                summary = roll_out(using=policy, episodes=self.episodes).summary()
                told = {by: selection.plain() for by, selection in selections.items() if selection.chosen == weight}
                summaries.append(summary | ({"selection": told} if told else {}))
        return summaries, next(iter(chosen.values()))

    def _open(self, path: Path) -> Trained:
        return Trained.open(path, self.step, None if self.algorithm is None else algorithm_class(self.algorithm))

    def _judge(self) -> None:
        """Rank policies without a simulator."""
        usual = Evaluate(self.path, Acting())
        given, default = {**vars(self), **vars(self.acting)}, {**vars(usual), **vars(usual.acting)}
        judging.refuse({f"--{name.replace('_', '-')}": given[name] != default[name] for name in judging.SIMULATED})
        judge = Judge(self.judge_members, self.judge_steps, self.judge_transitions, self.judge_hidden, seed=self.seed)
        columns = Columns.parse(self.columns) if self.columns else None
        panel = Panel(judge, self.dataset, columns, self.importance)

        def policies(trained: Trained, name: str | None) -> tuple[str, Policies]:
            return replace(self.acting, policy=name).policies(trained, self.task or trained.task, seed=self.seed)

        found = judging.judge(panel, (self.path, *self.compare), self.acting.policy, policies, self._open)
        judging.tell(found, panel, self.json)

    def _check(self) -> None:
        """Raise `InputError` for a number out of its range, and for a flag that would change nothing."""
        check_ranges(
            self, episodes=(1, math.inf), video=(0, math.inf), seed=(0, 2**31 - 1), select_episodes=(1, math.inf),
            **({} if self.workers is None else {"workers": (1, math.inf)}),
        )  # fmt: skip
        self.acting.check()
        offline, episodes = self.select_offline or self.off_policy, self.select_episodes != Evaluate.select_episodes
        by_critic = "guidance by a critic, such as --guidance denoised"
        for flag, given, works, needs in (
            ("--select-weight", self.select_weight, self.acting.guided, "a guidance to weigh"),
            ("--select-offline", self.select_offline, self.acting.by_critic, by_critic),
            ("--select-episodes", episodes, self.select_weight, "--select-weight"),
            ("--episode-steps", self.episode_steps is not None, self.env, "--env"),
            ("--dataset", self.dataset is not None, offline, "--select-offline or --off-policy"),
            ("--columns", self.columns, offline, "--select-offline or --off-policy"),
            ("--compare", self.compare, self.off_policy, "--off-policy"),
            ("--importance", self.importance, self.off_policy, "--off-policy"),
            ("--judge-steps", self.judge_steps != Judge.steps, self.off_policy, "--off-policy"),
            ("--judge-members", self.judge_members != Judge.members, self.off_policy, "--off-policy"),
            ("--judge-transitions", self.judge_transitions != Judge.transitions, self.off_policy, "--off-policy"),
            ("--judge-hidden", self.judge_hidden != Judge.hidden, self.off_policy, "--off-policy"),
        ):
            if given and not works:
                raise InputError(f"{flag} changes nothing without {needs}.")
        if self.task is not None:
            environments.parse(self.task)

    def _observations(self, trained: Trained) -> Shaped[Array, " states *observation"] | Parts:
        """Some observations of the run's dataset, as its policy saw them."""
        columns = Columns.parse(self.columns) if self.columns else None
        batches = trained.cut(trained.load(self.dataset, columns))
        return batches.sample(stream_key(self.seed, Stream.SELECTION_EPISODES), STATES).acting.observation

    def _plotted(self, trained: Trained) -> Path | None:
        """The picture of the run's learning curve."""
        evaluated = {str(self.path): rows.read(trained.run.evaluations)}
        return plots.learning_curve(evaluated, trained.run.path / "learning-curve.png", trained.task)

    def _tell(self, summaries: list[dict[str, Any]], plot: Path | None) -> None:
        """Print; the picture stands with the first summary."""
        if plot is not None:
            summaries[0]["plot"] = str(plot)
        if self.json and len(summaries) == 1:
            print(json.dumps(summaries[0]))
        elif self.json:
            print(json.dumps({"evaluations": summaries}))
        else:
            told = Console()
            for summary in summaries:
                for by, selection in summary.pop("selection", {}).items():
                    told.print(tables.selection_table(selection, by))
                tables.print_summary(summary, told)


def _weighted(policies: Policies) -> dict[float, Policy]:
    """Those that have a weight."""
    return {weight: policy for weight, policy in policies.items() if weight is not None}


def _choice(task: str, name: str, policies: Policies, selection: Selection) -> dict[str, Any]:
    """What is said of a weight that is only chosen, for a task without a simulator."""
    chosen = policies[selection.chosen]
    told = {"task": task, "policy": name, "sampler": rows.in_words(chosen.columns()), "weight": selection.chosen}
    return told | {"selection": {"dataset": selection.plain()}}
