"""Flags of `guidedflow train` that would change nothing, because another one is missing."""

from typing import TYPE_CHECKING, Any

from guidedflow.errors import InputError
from guidedflow.settings import is_auto
from guidedflow.training.plan import Plan

if TYPE_CHECKING:
    from guidedflow.cli.train import Train


def refuse_idle(command: "Train[Any]", beyond: bool) -> None:
    """Raise `InputError` for a flag that would change nothing; `beyond` memory, data are trained on from disk."""
    plan, defaults, folder = command.plan, type(command), "a folder of data convert --to mapped"

    def automatic(setting: str) -> bool:
        return is_auto(getattr(command.algorithm, setting, None))

    for flag, given, works, needs in (
        ("--chunk", plan.chunk, plan.horizon > 1, "--horizon 2 or more"),
        ("--rebalance-base", command.rebalance_base != defaults.rebalance_base, command.rebalance, "--rebalance"),
        ("--window", command.window != defaults.window, beyond, folder),
        ("--window-updates", command.window_updates != defaults.window_updates, beyond, folder),
        ("--env", command.env is not None, plan.eval_interval, "--eval-interval"),
        ("--success", command.success != defaults.success, plan.eval_interval, "--eval-interval"),
        ("--episode-steps", command.episode_steps is not None, command.env, "--env"),
        ("--eval-episodes", plan.eval_episodes != Plan.eval_episodes, plan.eval_interval, "--eval-interval"),
        ("--distance", "distance" in command.typed, automatic("alpha"), "--alpha auto"),
        ("--effective-share", "effective_share" in command.typed, automatic("temperature"), "--temperature auto"),
        ("--keep-checkpoints", plan.keep_checkpoints, plan.checkpoint_interval, "--checkpoint-interval"),
    ):
        if given and not works:
            raise InputError(f"{flag} changes nothing without {needs}.")
