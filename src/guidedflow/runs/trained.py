"""What a run has learned: its policies, as saved, and how they do in the simulator."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from guidedflow import environments
from guidedflow.algorithms.contract import Algorithm
from guidedflow.data.dataset import Dataset
from guidedflow.data.formats.columns import Columns
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.transitions import Transitions
from guidedflow.environments.own import Own
from guidedflow.environments.vector import Simulators, factory_of, given_or_opened
from guidedflow.evaluation import video
from guidedflow.evaluation.rollout import Evaluation, evaluate
from guidedflow.flows.sampling import Sampler
from guidedflow.keys import Stream
from guidedflow.policies.policy import Policy
from guidedflow.results import rows
from guidedflow.runs import deaths, source, steering
from guidedflow.runs.configuration import Configuration
from guidedflow.runs.opening import opened
from guidedflow.runs.run import Run


class Trained:
    """A run at one of its checkpoints; every array of `state` has a leading axis of `seeds`."""

    def __init__(self, run: Run, algorithm: Algorithm[Any], state: Any, step: int, configuration: Configuration):
        self.run, self.algorithm, self.step = run, algorithm, step
        self.configuration = configuration
        self.task = configuration.task
        self.dead = deaths.at(deaths.read(run.path), step)
        """Seeds that were not finite any more at this step; neither `seeds` nor `state` hold them."""
        self.seeds, self.state = deaths.survivors(configuration.each_seed, state, self.dead)
        self.frame_stack = configuration.frame_stack
        self.action_scale = configuration.action_scale

    @classmethod
    def open(
        cls, path: Path | str, step: int | None = None, algorithm: Algorithm[Any] | type[Algorithm[Any]] | None = None
    ) -> "Trained":
        """The run at `path`, at `step` or at its newest checkpoint; what cannot be read is an `InputError`.

        The path may be that of a checkpoint, `RUN/checkpoints/STEP`. An `algorithm` that has no name in the table of
        algorithms has to be given: its class, which takes its settings from the run, or as it was trained.
        """
        return cls(*opened(path, step, algorithm))

    def policies(self) -> dict[str, Policy]:
        """The policies by name, of all seeds at once, in the box and of normalised observations, if the run has these.

        Every array has a leading axis of seeds.
        """
        return self.algorithm.policies(self.state)

    def policy(
        self,
        name: str | None = None,
        seed: int | None = None,
        sampler: Sampler | None = None,
        critic_from: "Trained | Path | str | None" = None,
    ) -> Policy:
        """One policy of one training seed, by default the main policy and the first seed, in the units of its data.

        `sampler` and `critic_from` steer it as `steered` does.
        """
        return self.configuration.in_units(steering.of_seed(self.steered(name, sampler, critic_from), seed, self))

    def steered(
        self,
        policy: str | None = None,
        sampler: Sampler | None = None,
        critic_from: "Trained | Path | str | None" = None,
        task: str | None = None,
    ) -> Policy:
        """A policy of all seeds, in the box, sampled in another way or under the critic of another run.

        It is to act in `task`, by default the run's own; a warning says where the critic was trained on another task or
        on other transitions. Raises `InputError` for what the policy cannot do, and for a critic of other sizes, of
        actions in other units or of another number of seeds.
        """
        chosen = steering.named(self.policies(), policy, self.run.path)
        if critic_from is not None:
            critic = critic_from if isinstance(critic_from, Trained) else Trained.open(critic_from)
            chosen = steering.under_critic_of(critic, chosen, self, task or self.task)
        return chosen if sampler is None else chosen.with_sampler(sampler)

    def evaluate(
        self,
        policy: str | None = None,
        *,
        using: Policy | None = None,
        episodes: int = 50,
        seed: int = 0,
        sampler: Sampler | None = None,
        simulators: Simulators | None = None,
        task: str | None = None,
        replan: int | None = None,
        delay: int | None = None,
        realtime: bool = False,
        stream: Stream = Stream.REPORTING_EPISODES,
        critic_run: str | None = None,
    ) -> Evaluation:
        """Roll a policy of every seed out for `episodes` episodes each, and append the rows to the run's evaluations.

        `using` is what `steered` returned, in place of the policy of that name; without a name the rows call it
        steered, and `critic_run` names the run whose critic it asks. `seed` and `stream` choose the episodes; they are
        never those seen while training. Give `simulators` to use them again, or for an environment that no suite has.
        A `task` other than the run's own is for policies that do not depend on rewards. A goal-conditioned one is five
        tasks, each with so many episodes. A chunk is executed to its end, or for `replan` steps. It arrives `delay`
        steps after its request, and `realtime` pulls it to the chunk before.
        """
        task = task or self.task
        name = policy or ("steered" if using is not None else next(iter(self.policies())))
        with given_or_opened(simulators, task, episodes * len(self.seeds), self.frame_stack) as simulators:
            found = evaluate(
                self._acting(policy, using, sampler), simulators, task=task, seeds=self.seeds, episodes=episodes,
                seed=seed, stream=stream, replan=replan, delay=delay, realtime=realtime,
                task_ids=environments.task_ids(task),
            )  # fmt: skip
        found = found.labelled(policy=name, step=self.step, critic_run=critic_run)
        rows.append(self.run.evaluations, found.rows)
        return found

    def film(
        self,
        path: Path | str,
        policy: str | None = None,
        *,
        using: Policy | None = None,
        episodes: int = 1,
        seed: int = 0,
        sampler: Sampler | None = None,
        task: str | None = None,
        replan: int | None = None,
        delay: int | None = None,
        realtime: bool = False,
        own: Own | None = None,
    ) -> Evaluation:
        """Film a policy of the first seed into an MP4 or GIF; without a graphics library it is an `InputError`.

        The episodes are the first of those that `evaluate` plays under the same `seed` and `task`, for each task of a
        goal-conditioned name; with `own` they are in that environment.
        """
        task = task or self.task
        return video.record(
            self._acting(policy, using, sampler), factory_of(task, self.frame_stack, own, render=True), path,
            task=task, seeds=self.seeds, episodes=episodes, seed=seed, replan=replan, delay=delay, realtime=realtime,
            task_ids=environments.task_ids(task),
        )  # fmt: skip

    def load(
        self, path: Path | str | None = None, columns: Columns | Mapping[str, str] | None = None
    ) -> Dataset | Mapped:
        """Its dataset, from the suite's own folder or from a file; its actions are clipped, or rescaled as before.

        `columns` names the columns of a file beside which no names are kept. A mapped folder stays on disk.
        """
        return source.load(self.configuration, self.run.path, path, columns)

    def cut(self, dataset: Dataset | Mapped) -> Transitions:
        """A dataset as the run cut its own; of one on disk the transitions of one window, about 2^20."""
        return source.cut(self.configuration, dataset)

    def episodes(self) -> list[rows.Episode]:
        """Every episode that the run was evaluated on, one row each, those on the way of its training included."""
        return rows.read(self.run.evaluations)

    def _acting(self, policy: str | None, using: Policy | None, sampler: Sampler | None) -> Policy:
        """The policy of all seeds that is to act, in the units of its data."""
        chosen = self.steered(policy) if using is None else using
        return self.configuration.in_units(chosen if sampler is None else chosen.with_sampler(sampler))


def load_policy(
    path: Path | str, name: str | None = None, *, seed: int | None = None, step: int | None = None
) -> Policy:
    """The policy of a run: `policy(observation, key)` is an action. By default the main one of the first seed."""
    return Trained.open(path, step).policy(name, seed)
