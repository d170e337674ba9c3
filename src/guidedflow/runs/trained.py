"""What a run has learned: its policies, as saved, and how they do in the simulator.

This module does not know how runs are trained.
"""

import json
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from guidedflow import environments, files
from guidedflow.algorithms.contract import Algorithm, initial_state
from guidedflow.data.dataset import Dataset
from guidedflow.data.formats.columns import Columns
from guidedflow.data.load import at_home, open_dataset
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.sampling.feed import open_feed
from guidedflow.data.sampling.windows import Window
from guidedflow.data.transitions import Batches
from guidedflow.environments.vector import Simulators, open_simulators
from guidedflow.errors import InputError, did_you_mean
from guidedflow.evaluation import video
from guidedflow.evaluation.rollout import Evaluation, evaluate
from guidedflow.flows.sampling import Sampler
from guidedflow.keys import Stream
from guidedflow.networks import Aggregate
from guidedflow.policies.policy import Policy
from guidedflow.policies.rescaled import in_units
from guidedflow.runs import checkpoint
from guidedflow.runs.configuration import Configuration, algorithm_of, name_of
from guidedflow.runs.run import CONFIG, Run
from guidedflow.settings import to_plain


class Trained:
    """A run at one of its checkpoints; every array of `state` has a leading axis of `seeds`."""

    def __init__(self, run: Run, algorithm: Algorithm[Any], state: Any, step: int):
        self.run = run
        self.algorithm = algorithm
        self.state = state
        self.step = step
        self.configuration = Configuration.read(run.config)
        self.task = self.configuration.task
        self.seeds = self.configuration.each_seed
        self.frame_stack = self.configuration.frame_stack
        self.action_scale = self.configuration.action_scale

    @classmethod
    def open(cls, path: Path | str, step: int | None = None, algorithm: Algorithm[Any] | None = None) -> "Trained":
        """The run at `path`, at `step` or at its newest checkpoint; what cannot be read is an `InputError`.

        An `algorithm` of your own, which no name stands for, has to be given as it was trained.
        """
        run = Run.open(Path(path).expanduser())
        if algorithm is not None:
            saved, given = run.config.get("algorithm"), {"name": name_of(algorithm), **to_plain(algorithm)}
            if saved != json.loads(json.dumps(given)):
                raise InputError(f"{run.path} was trained by {saved}, not by {given}.")
        try:
            algorithm, configuration = algorithm or algorithm_of(run.config), Configuration.read(run.config)
        except InputError as error:
            raise InputError(f"{run.path / CONFIG} cannot be used: {error}") from None
        example, seeds = configuration.transition.example(), jnp.asarray(configuration.each_seed)
        like = jax.eval_shape(initial_state, algorithm, example, seeds)
        step, state = checkpoint.load(run.checkpoints, step, like)
        return cls(run, algorithm, state, step)

    def policies(self) -> dict[str, Policy]:
        """The policies by name, of all seeds at once, in the box: every array has a leading axis of seeds."""
        return self.algorithm.policies(self.state)

    def policy(
        self,
        name: str | None = None,
        seed: int | None = None,
        sampler: Sampler | None = None,
        critic_from: "Trained | Path | str | None" = None,
    ) -> Policy:
        """One policy of one training seed, by default the main policy and the first seed, in the units of its data.

        It is sampled in another way, or under the critic of another run, as `steered` does it for all seeds.
        """
        seed = self.seeds[0] if seed is None else seed
        if seed not in self.seeds:
            raise InputError(f"{self.run.path} has no seed {seed!r}; it was trained with {self.seeds}.")
        row = self.seeds.index(seed)
        steered = self.steered(name, sampler, critic_from)
        own = jax.tree.map(lambda leaf: leaf[row] if jnp.ndim(leaf) else leaf, steered)
        return in_units(own, self.action_scale)

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
        stream: Stream = Stream.REPORTING_EPISODES,
        note: str = "",
    ) -> Evaluation:
        """Roll a policy of every seed out for `episodes` episodes each, and append the rows to the run's evaluations.

        `using` is what `steered` returned, in place of the policy of that name; without a name the rows call it
        steered. `seed` and `stream` choose the episodes; they are never those seen while training. Give `simulators`
        to use them again, or for an environment of your own; what made it is then named in rows and summary. A `task`
        other than the run's own is for policies that do not depend on rewards. A goal-conditioned one is five tasks,
        each with so many episodes. A chunk is executed to its end, or for `replan` steps. `note` joins what the rows
        say of the sampler.
        """
        task = task or self.task
        if simulators is None:
            with open_simulators(task, None, episodes * len(self.seeds), self.frame_stack) as own:
                return self.evaluate(
                    policy, using=using, episodes=episodes, seed=seed, sampler=sampler, simulators=own, task=task,
                    replan=replan, stream=stream, note=note,
                )  # fmt: skip
        chosen = self.steered(policy) if using is None else using
        chosen = chosen if sampler is None else chosen.with_sampler(sampler)
        maker = _own_environment(simulators)
        result = evaluate(
            in_units(chosen, self.action_scale),
            simulators,
            task=task,
            seeds=self.seeds,
            episodes=episodes,
            seed=seed,
            stream=stream,
            policy_name=policy or ("steered" if using is not None else next(iter(self.policies()))),
            sampler=", ".join(filter(None, [chosen.told(), note, f"replan={replan}" if replan else ""])),
            step=self.step,
            source=("evaluate" if stream is Stream.REPORTING_EPISODES else "selection")
            + (f" in {maker}" if maker else ""),
            simulator={"environment": maker} if maker else environments.describe(task),
            replan=replan,
            task_ids=environments.task_ids(task),
        )
        files.append_rows(self.run.evaluations, result.rows)
        return result

    def steered(
        self,
        policy: str | None = None,
        sampler: Sampler | None = None,
        critic_from: "Trained | Path | str | None" = None,
        task: str | None = None,
    ) -> Policy:
        """A policy of all seeds, in the box, sampled in another way or under the critic of another run.

        It is to act in `task`, by default the run's own; a critic of another one, or of data that was cut in another
        way, is told by a warning. Raises `InputError` for what the policy cannot do, and for a critic of other sizes,
        of actions in other units or of another number of seeds.
        """
        chosen = self._named(self.policies(), policy)
        if critic_from is not None:
            critic_from = critic_from if isinstance(critic_from, Trained) else Trained.open(critic_from)
            if critic_from.action_scale != self.action_scale:
                raise InputError(
                    f"{critic_from.run.path} and {self.run.path} were trained on actions of different scales "
                    "(--rescale-actions), so the critic of one cannot judge the other; train both alike."
                )
            chosen = chosen.with_critic(*critic_from.judge(len(self.seeds)))
            self.compare(critic_from, task or self.task)
        return chosen if sampler is None else chosen.with_sampler(sampler)

    def compare(self, critic: "Trained", task: str) -> None:
        """Warn where the critic of a run is about something else than a policy of this one in a task."""
        differences = [f"on {critic.task}, the policy acts in {task}"] if critic.task != task else []
        for name in ("horizon", "chunk"):
            theirs, ours = (getattr(run.configuration, name) for run in (critic, self))
            if theirs != ours:
                differences.append(f"with {name} {theirs}, the policy with {ours}")
        if differences:
            warnings.warn(f"the critic of {critic.run.path} was trained {'; '.join(differences)}", stacklevel=3)

    def judge(self, seeds: int) -> tuple[Any, Aggregate]:
        """The critic of this run, for so many seeds, and how its members become one; one seed's serves them all."""
        for policy in self.policies().values():
            if policy.critic is not None:
                if len(self.seeds) not in (1, seeds):
                    raise InputError(
                        f"{self.run.path} has the critics of {len(self.seeds)} seeds, but they are to judge {seeds}; "
                        "train as many seeds in both runs, or one here."
                    )
                spread = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:1], (seeds, *leaf.shape[1:])), policy.critic)
                return (policy.critic if len(self.seeds) == seeds else spread), policy.aggregate
        raise InputError(f"{self.run.path} has no critic; it was trained by {self.run.config['algorithm']['name']}.")

    def load(
        self, path: Path | str | None = None, columns: Columns | Mapping[str, str] | None = None
    ) -> Dataset | Mapped:
        """Its dataset, from the suite's own folder or from a file; its actions are clipped, or rescaled as before.

        `columns` tells which column is what in a file of your own, beside which no names are kept. A folder that was
        converted stays on disk.
        """
        scale, named = self.action_scale, Columns.of(columns)
        try:
            return open_dataset(
                self.task, path, columns=named, clip_actions=scale is None, rescale_actions=scale or False
            )
        except InputError as error:
            if path is None and not at_home(self.task):
                told = (
                    f"{self.run.path} was trained on data of your own, {self.task!r}; name its file by --dataset FILE"
                )
                raise InputError(told) from error
            raise

    def cut(self, dataset: Dataset | Mapped) -> Batches:
        """A dataset as the run cut its own: the same horizon and discount, and the same rule of goals if it has any.

        Of one on disk these are the transitions of a window, about 2^20 from all over it.
        """
        with open_feed(dataset, self.configuration.cutting, window=Window(updates=1), steps=1) as feed:
            return feed.at(0)

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
    ) -> Evaluation:
        """Film a policy of the first seed into an MP4 or GIF; without a graphics library it is an `InputError`.

        The episodes are the first of those that `evaluate` plays under the same `seed` and `task`, for each task of a
        goal-conditioned name.
        """
        task = task or self.task
        environments.simulated(task)
        chosen = self.steered(policy) if using is None else using
        chosen = chosen if sampler is None else chosen.with_sampler(sampler)
        factory = partial(environments.make, task, render=True, frame_stack=self.frame_stack)
        chosen = in_units(chosen, self.action_scale)
        return video.record(
            chosen,
            factory,
            path,
            task=task,
            seeds=self.seeds,
            episodes=episodes,
            seed=seed,
            replan=replan,
            task_ids=environments.task_ids(task),
        )

    def _named(self, policies: Mapping[str, Policy], name: str | None) -> Policy:
        if name is None:
            return next(iter(policies.values()))
        if name not in policies:
            closest = did_you_mean(str(name), policies)
            raise InputError(f"{self.run.path} has no policy {name!r}{closest}; it has {', '.join(policies)}.")
        return policies[name]


def _own_environment(simulators: Simulators) -> str | None:
    """What made the environments, by name, unless it is the suites here."""
    made: Any = simulators.factory
    while isinstance(made, partial):
        made = made.func
    return None if made is environments.make else f"{made.__module__}.{getattr(made, '__qualname__', made)}"


def load_policy(
    path: Path | str, name: str | None = None, *, seed: int | None = None, step: int | None = None
) -> Policy:
    """The policy of a run: `policy(observation, key)` is an action. By default the main one of the first seed."""
    return Trained.open(path, step).policy(name, seed)
