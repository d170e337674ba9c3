"""Steering: a policy of a run, sampled in another way or under the critic of another run."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from guidedflow.errors import InputError, did_you_mean
from guidedflow.networks import Combine
from guidedflow.policies.policy import Policy

if TYPE_CHECKING:
    from guidedflow.runs.trained import Trained


def named(policies: Mapping[str, Policy], name: str | None, run: Path) -> Policy:
    """The policy of that name, by default the first; an unknown name is an `InputError`."""
    if name is None:
        return next(iter(policies.values()))
    if name not in policies:
        closest = did_you_mean(str(name), policies)
        raise InputError(f"{run} has no policy {name!r}{closest}; it has {', '.join(policies)}.")
    return policies[name]


def of_seed(policy: Policy, seed: int | None, run: "Trained") -> Policy:
    """The policy of one training seed, by default the first; an unknown or a dead seed is an `InputError`."""
    if seed in run.dead:
        raise InputError(f"Seed {seed} of {run.run.path} is dead: {run.dead[seed].sentence}; take another one.")
    seed = run.seeds[0] if seed is None else seed
    if seed not in run.seeds:
        raise InputError(f"{run.run.path} has no seed {seed!r}; it was trained with {run.seeds}.")
    row = run.seeds.index(seed)
    return jax.tree.map(lambda leaf: leaf[row] if jnp.ndim(leaf) else leaf, policy)


def under_critic_of(critic: "Trained", policy: Policy, run: "Trained", task: str) -> Policy:
    """A policy of `run`, of all its seeds, under the critic of another run; a warning names what differs between them.

    Raises `InputError` for a critic of other sizes, of actions in other units, or of another number of seeds.
    """
    theirs, ours = critic.configuration, run.configuration
    for what, flag, alike in (
        ("actions", "--rescale-actions", theirs.action_scale == ours.action_scale),
        ("observations", "--normalize-observations", theirs.observation_scale == ours.observation_scale),
    ):
        if not alike:
            raise InputError(
                f"{critic.run.path} and {run.run.path} were trained on {what} of different scales ({flag}), so the "
                "critic of one cannot judge the other; train both alike."
            )
    steered = policy.with_critic(*critic_of(critic, len(run.seeds)))
    warn_of_differences(critic, run, task)
    return steered


def warn_of_differences(critic: "Trained", run: "Trained", task: str) -> None:
    """Warn where the critic of one run was trained on another task or other transitions than a policy of `run`."""
    differences = [f"on {critic.task}, the policy acts in {task}"] if critic.task != task else []
    for name in ("horizon", "chunk"):
        theirs, ours = (getattr(each.configuration, name) for each in (critic, run))
        if theirs != ours:
            differences.append(f"with {name} {theirs}, the policy with {ours}")
    if differences:
        warnings.warn(f"the critic of {critic.run.path} was trained {'; '.join(differences)}", stacklevel=4)


def critic_of(trained: "Trained", seeds: int) -> tuple[Any, Combine]:
    """The critic of a run for so many seeds, and how its members become one value; one seed's serves them all."""
    for policy in trained.policies().values():
        if policy.critic is not None:
            if len(trained.seeds) not in (1, seeds):
                raise InputError(
                    f"{trained.run.path} has the critics of {len(trained.seeds)} seeds, but they are to judge {seeds}; "
                    "train as many seeds in both runs, or one here."
                )
            spread = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:1], (seeds, *leaf.shape[1:])), policy.critic)
            return (policy.critic if len(trained.seeds) == seeds else spread), policy.aggregate
    raise InputError(f"{trained.run.path} has no critic; it was trained by {trained.run.config['algorithm']['name']}.")
