"""An environment of the user's own: a step limit where it has none, and sentences where it cannot be used."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from tiny_code import Endless, make
from tiny_environment import Countdown

from guidedflow.environments import own
from guidedflow.environments.own import Own
from guidedflow.errors import InputError


def steps(env: gymnasium.Env[Any, Any]) -> int:
    env.reset(seed=0)
    for number in range(1, 1000):
        _, _, terminated, truncated, _ = env.step(np.zeros(2, np.float32))
        if terminated or truncated:
            return number
    raise AssertionError("it did not end")


def test_an_episode_ends_at_the_limit_that_was_given() -> None:
    assert steps(Own(Endless, episode_steps=7)()) == 7


def test_an_episode_that_does_not_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "LONGEST", 50)
    with pytest.raises(InputError, match="has not ended after 50 steps; give it a limit by --episode-steps"):
        steps(Own(Endless)())


def test_an_environment_with_a_limit_of_its_own_keeps_it() -> None:
    def limited() -> gymnasium.Env[Any, Any]:
        return gymnasium.wrappers.TimeLimit(Endless(), 9)

    assert steps(Own(limited)()) == 9


def test_frames_are_stacked() -> None:
    assert Own(make, frame_stack=3)().observation_space.shape == (9,)


def test_it_draws_where_it_can() -> None:
    assert Own(Countdown)(render=True).unwrapped.render_mode == "rgb_array"
    assert Own(make)(render=True).unwrapped.render_mode is None


def test_what_is_no_environment_is_told() -> None:
    with pytest.raises(InputError, match=r"number must make a gymnasium.Env, but made a int"):
        Own(number)()  # type: ignore[arg-type]
    with pytest.raises(InputError, match="observations must be one array"):
        Own(Parts)()


def number() -> int:
    return 3


class Parts(Countdown):
    observation_space = gymnasium.spaces.Discrete(3)  # type: ignore[assignment]
