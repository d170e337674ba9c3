"""`guidedflow evaluate`: how a policy is to act, and where its weight of guidance comes from.

This module does not know how arguments are read, nor how anything is rolled out.
"""

import json
import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from jaxtyping import Array, Shaped
from rich.console import Console

from guidedflow import environments, files
from guidedflow.cli import judging
from guidedflow.cli.named import algorithm_class, environment
from guidedflow.cli.steering import GuidanceName, ScheduleName
from guidedflow.data.formats.columns import Columns
from guidedflow.environments.vector import open_simulators
from guidedflow.environments.worker import Success
from guidedflow.errors import InputError
from guidedflow.evaluation.off_policy import Judge
from guidedflow.evaluation.selection import WEIGHTS, Selection, by_dataset, by_episodes
from guidedflow.flows.guidance import GUIDANCE, guidance_of
from guidedflow.flows.improvement import CFPI, IMPROVEMENTS
from guidedflow.flows.realtime import check_delay
from guidedflow.flows.sampling import GradientAscent, Sampler
from guidedflow.flows.schedules import WeightSchedule
from guidedflow.keys import Stream, stream_key
from guidedflow.parts import Parts
from guidedflow.policies.controls import ValueName, under_value
from guidedflow.policies.improved import improved
from guidedflow.policies.kinds import FlowPolicy
from guidedflow.policies.policy import Policy
from guidedflow.results import plots, rows, tables
from guidedflow.runs.judged import Panel
from guidedflow.runs.steering import warn_of_differences
from guidedflow.runs.trained import Trained
from guidedflow.settings import check_ranges

DEFAULT_WEIGHT = 0.1
"""Of guidance, where none is given."""

CONDITION_WEIGHTS = (0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 15.0)
"""Of a condition, tried where none are named: those published for CFGRL, and 0."""

STATES = 256
"""Observations of the dataset at which a weight is judged without a simulator."""

DEFAULT_BUDGET = 0.5
"""Of improvement, in nats, where none is given: the published one of mixtures."""


@dataclass(frozen=True)
class Evaluate:
    """Roll a trained policy out in the simulator, guided by a critic if asked."""

    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""
    policy: str | None = None
    """Policy, for example actor or flow; by default the algorithm's main one, or its flow if it is to be guided."""
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
    guidance: GuidanceName | None = None
    """Steer by the critic's gradient: noisy is QFQL, denoised QGF, rollout BPTT; or by the condition of CFGRL."""
    schedule: ScheduleName = "constant"
    """Weight over the flow's time t: constant, falling as 1 - t, or ratio, (1 - t) / t, held before t = 0.1."""
    match: bool = False
    """Rescale the gradient to the velocity's length (QPILOTS), so that one weight serves every scale of rewards."""
    value: ValueName = "critic"
    """What guides, refines and chooses: the critic; as controls, its negative or a critic with shuffled weights."""
    weight: tuple[float, ...] = ()
    """Weight of guidance, by default 0.1, or of a condition, by default as trained; several are evaluated in turn."""
    normalize: bool = False
    """Follow the gradient's direction alone, so that the weight does not depend on the scale of rewards."""
    candidates: int | None = None
    """Proposals, of which the critic's favourite is taken (best of N); by default as the policy was trained to act."""
    refine_steps: int = 0
    """Steps up the critic's gradient after the flow or the actor (GradStep)."""
    refine_size: float = 0.01
    """Length of such a step, in action per value."""
    refine_sign: bool = False
    """Step by the sign of the gradient."""
    improve: Literal["cfpi"] | None = None
    """Improve the action in closed form by the critic's gradient, within a budget of likelihood (CFPI)."""
    budget: tuple[float, ...] = ()
    """Nats of log-density that the improvement may give up, by default 0.5; of several the critic chooses."""
    critic_from: Path | None = None
    """Another run of the same task and horizon, whose critic, at its newest checkpoint, guides, refines and chooses."""
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
    replan: int | None = None
    """Steps of a chunk that are executed before the next; by default all."""
    delay: int | None = None
    """Steps from a request to the arrival of its chunk, in which the chunk before goes on; by default it is at once."""
    realtime: bool = False
    """Pull each chunk to the one before: the steps of the delay are frozen, those after it are bound softly."""
    workers: int | None = None
    """Simulator processes; by default one a core."""
    json: bool = False
    """Print one JSON object on standard output."""
    video: int = 0
    """Also film so many of the episodes of the first training seed."""
    plot: bool = False
    """Also draw the learning curve of the run."""

    def run(self) -> None:
        check_ranges(
            self, episodes=(1, math.inf), video=(0, math.inf), seed=(0, 2**31 - 1), weight=(0, math.inf),
            candidates=(1, math.inf), refine_steps=(0, math.inf), refine_size=(0, math.inf),
            select_episodes=(1, math.inf), **({} if self.workers is None else {"workers": (1, math.inf)}),
            **({} if self.delay is None else {"delay": (0, math.inf)}),
        )  # fmt: skip
        self._refuse_idle()
        if self.task is not None:
            environments.parse(self.task)
        if self.off_policy:
            self._judge()
            return
        trained = self._open(self.path)
        own = None if self.env is None else environment(self.env, trained.frame_stack, self.episode_steps)
        task = self.task or trained.task
        simulated = own is not None or environments.known(task)
        only_choose = self.select_offline and not (self.select_weight or self.video or simulated)
        name, policies = self._policies(trained)  # what cannot be had is told before the simulators start
        asks = any(policy.sampler.asks for policy in policies.values())
        if self.value != "critic" and not asks and self.improve is None:
            raise InputError("--value changes nothing without guidance, refinement or candidates.")
        if self.critic_from is None and asks:
            warn_of_differences(trained, trained, task)
        selections: dict[str, Selection] = {}
        if self.select_offline:
            if not only_choose and own is None:
                environments.simulated(task)  # told before a minute of choosing
            weighted = {weight: policy for weight, policy in policies.items() if weight is not None}
            selections["dataset"] = by_dataset(weighted, self._observations(trained))
        plot = None
        if self.plot:
            evaluated = {str(self.path): rows.read(trained.run.evaluations)}
            plot = plots.learning_curve(evaluated, trained.run.path / "learning-curve.png", trained.task)
        if only_choose:
            self._tell([self._choice(task, name, policies, selections["dataset"])], plot)
            return
        files.check_appendable(trained.run.evaluations)
        most = max(self.episodes, self.select_episodes if self.select_weight else 0) * len(trained.seeds)
        with open_simulators(
            task, self.workers, most, trained.frame_stack, own=own, success=self.success
        ) as simulators:
            rolled_out: dict[str, Any] = {
                "task": task,
                "seed": self.seed,
                "simulators": simulators,
                "replan": self.replan,
                "delay": self.delay,
                "realtime": self.realtime,
                "critic_run": None if self.critic_from is None else str(self.critic_from),
            }
            if self.select_weight:
                weighted = {weight: policy for weight, policy in policies.items() if weight is not None}
                trial = partial(trained.evaluate, name, episodes=self.select_episodes, **rolled_out)
                selections["episodes"] = by_episodes(weighted, trial)
            chosen = {selection.chosen: policies[selection.chosen] for selection in selections.values()} or policies
            summaries = []
            for weight, policy in chosen.items():
                summary = trained.evaluate(name, using=policy, episodes=self.episodes, **rolled_out).summary()
                told = {by: selection.plain() for by, selection in selections.items() if selection.chosen == weight}
                summaries.append(summary | ({"selection": told} if told else {}))
        summary = summaries[0]
        if self.video:
            film = trained.run.path / f"{summary['policy']}.mp4"
            first = next(iter(chosen.values()))
            trained.film(
                film, name, using=first, episodes=self.video, seed=self.seed, task=task, replan=self.replan,
                delay=self.delay, realtime=self.realtime, own=own,
            )  # fmt: skip
            summary["video"] = str(film)
        self._tell(summaries, plot)

    def _open(self, path: Path) -> Trained:
        return Trained.open(path, self.step, None if self.algorithm is None else algorithm_class(self.algorithm))

    def _judge(self) -> None:
        """Rank policies without a simulator."""
        usual = Evaluate(self.path)
        changed = {
            f"--{name.replace('_', '-')}": getattr(self, name) != getattr(usual, name) for name in judging.SIMULATED
        }
        judging.refuse(changed)
        judge = Judge(self.judge_members, self.judge_steps, self.judge_transitions, self.judge_hidden, seed=self.seed)
        columns = Columns.parse(self.columns) if self.columns else None
        panel = Panel(judge, self.dataset, columns, self.importance)

        def policies(trained: Trained, name: str | None) -> tuple[str, dict[float | None, Policy]]:
            return replace(self, policy=name)._policies(trained)

        found = judging.judge(panel, (self.path, *self.compare), self.policy, policies, self._open)
        judging.tell(found, panel, self.json)

    def _choice(
        self, task: str, name: str, policies: dict[float | None, Policy], selection: Selection
    ) -> dict[str, Any]:
        """What is said of a weight that is only chosen, for a task without a simulator."""
        chosen = policies[selection.chosen]
        told = {"task": task, "policy": name, "sampler": rows.in_words(chosen.columns()), "weight": selection.chosen}
        return told | {"selection": {"dataset": selection.plain()}}

    def _refuse_idle(self) -> None:
        """Raise InputError for a flag that would change nothing."""
        gradient = self.guidance in GUIDANCE and self.guidance != "none"
        offline = self.select_offline or self.off_policy
        refinement = self.refine_sign or self.refine_size != Evaluate.refine_size
        for flag, given, works, needs in (
            ("--weight", self.weight, self.guidance not in (None, "none"), "a guidance, such as --guidance denoised"),
            ("--select-weight", self.select_weight, self.guidance not in (None, "none"), "a guidance to weigh"),
            ("--select-offline", self.select_offline, gradient, "guidance by a critic, such as --guidance denoised"),
            ("--normalize", self.normalize, gradient, "guidance by a critic, such as --guidance denoised"),
            ("--budget", self.budget, self.improve, "--improve cfpi"),
            ("--schedule", self.schedule != "constant", gradient, "guidance by a critic, such as --guidance denoised"),
            ("--match", self.match, gradient, "guidance by a critic, such as --guidance denoised"),
            ("--realtime", self.realtime, self.delay is not None, "--delay, the steps until a chunk arrives"),
            ("--refine-size and --refine-sign", refinement, self.refine_steps, "--refine-steps"),
            ("--episode-steps", self.episode_steps is not None, self.env, "--env"),
            ("--dataset", self.dataset is not None, offline, "--select-offline or --off-policy"),
            ("--columns", self.columns, offline, "--select-offline or --off-policy"),
            ("--compare", self.compare, self.off_policy, "--off-policy"),
            ("--importance", self.importance, self.off_policy, "--off-policy"),
            ("--judge-steps", self.judge_steps != Judge.steps, self.off_policy, "--off-policy"),
            ("--judge-members", self.judge_members != Judge.members, self.off_policy, "--off-policy"),
            ("--judge-transitions", self.judge_transitions != Judge.transitions, self.off_policy, "--off-policy"),
            ("--judge-hidden", self.judge_hidden != Judge.hidden, self.off_policy, "--off-policy"),
            (
                "--select-episodes",
                self.select_episodes != Evaluate.select_episodes,
                self.select_weight,
                "--select-weight",
            ),
        ):
            if given and not works:
                raise InputError(f"{flag} changes nothing without {needs}.")

    def _policies(self, trained: Trained) -> tuple[str, dict[float | None, Policy]]:
        """The policy's name, and the policy under each weight; under None as it was trained to act."""
        guided = self.guidance not in (None, "none")
        steered = guided and self.guidance != "conditional"
        policies = list(trained.policies())
        name = self.policy or ("flow" if steered and "flow" in policies else policies[0])
        critic_from = None if self.critic_from is None else Trained.open(self.critic_from)
        task = self.task or trained.task
        base = under_value(trained.steered(name, critic_from=critic_from, task=task), self.value, self.seed)
        if self.improve is not None:
            base = improved(base, self._improvement())
        self._check_pace(trained, base)
        selects = self.select_weight or self.select_offline
        if self.guidance == "conditional":
            if not isinstance(base, FlowPolicy):
                raise InputError("Only a flow has a condition to weigh; train one by `guidedflow train cfgrl`.")
            as_trained = () if self.weight or selects else (base.condition_weight,)
            return name, {
                weight: base.conditioned(weight).with_sampler(self._sampler(base.sampler))
                for weight in self.weight or as_trained or CONDITION_WEIGHTS
            }
        weights: tuple[float | None, ...] = (None,)
        if guided:
            weights = self.weight or (WEIGHTS if selects else (DEFAULT_WEIGHT,))
        return name, {weight: base.with_sampler(self._sampler(base.sampler, weight)) for weight in weights}

    def _improvement(self) -> CFPI:
        """What the action goes through before it is taken."""
        return IMPROVEMENTS[self.improve or "cfpi"](budgets=self.budget or (DEFAULT_BUDGET,))

    def _check_pace(self, trained: Trained, policy: Policy) -> None:
        """Raise InputError for a delay that the policy's chunks are too short for, and for a pull without a flow."""
        if self.delay is not None:
            chunk = trained.configuration.horizon if trained.configuration.chunk else 1
            check_delay(chunk, self.delay, self.replan or chunk)
        if self.realtime and not isinstance(policy, FlowPolicy):
            raise InputError("Real-time chunking pulls a flow to the chunk before, and this policy is no flow.")

    def _observations(self, trained: Trained) -> Shaped[Array, " states *observation"] | Parts:
        """Some observations of the run's dataset, as its policy saw them."""
        columns = Columns.parse(self.columns) if self.columns else None
        batches = trained.cut(trained.load(self.dataset, columns))
        return batches.sample(stream_key(self.seed, Stream.SELECTION_EPISODES), STATES).acting.observation

    def _sampler(self, sampler: Sampler, weight: float | None = None) -> Sampler:
        """The policy's own sampler, changed where it was asked for."""
        if self.guidance in GUIDANCE:
            guidance = guidance_of(
                self.guidance, DEFAULT_WEIGHT if weight is None else weight, self.normalize, sampler.steps,
                WeightSchedule[self.schedule], self.match,
            )  # fmt: skip
            sampler = replace(sampler, guidance=guidance)
        if self.refine_steps:
            sampler = replace(sampler, refinement=GradientAscent(self.refine_size, self.refine_steps, self.refine_sign))
        if self.candidates is not None:
            sampler = replace(sampler, candidates=self.candidates)
        return sampler

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
