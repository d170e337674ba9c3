"""A film shows the episodes that an evaluation counts; without a graphics library there is one sentence and no file."""

import imageio.v2 as imageio
import imageio_ffmpeg
import jax
import jax.numpy as jnp
import pytest
from tiny_environment import Blind, Countdown

from guidedflow.environments.vector import Simulators
from guidedflow.errors import InputError
from guidedflow.evaluation.rollout import evaluate
from guidedflow.evaluation.video import record

STILL = jax.tree_util.Partial(lambda table, observation, key: table, jnp.zeros((2, 2)))


def number_of_frames(path):
    return imageio_ffmpeg.count_frames_and_secs(path)[0] if path.suffix == ".mp4" else len(imageio.mimread(path))


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_film_has_the_first_episodes_of_the_first_seed(tmp_path, suffix):
    path = tmp_path / "new" / f"film{suffix}"
    filmed = record(STILL, Countdown, path, task="countdown", seeds=[5, 6], episodes=3, seed=7, every=1)
    with Simulators(Countdown, 4, 2) as simulators:
        evaluation = evaluate(STILL, simulators, task="countdown", seeds=[5, 6], episodes=3, seed=7)
    assert filmed.rows == [row for row in evaluation.rows if row["seed"] == 5]
    assert number_of_frames(path) == sum(row["length"] + 1 for row in filmed.rows)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_another_suffix_is_refused_before_anything_is_drawn(tmp_path):
    with pytest.raises(InputError, match=r"\.mp4 or \.gif"):
        record(STILL, Countdown, tmp_path / "film.txt", task="countdown", seeds=[0, 1])
    with pytest.raises(InputError, match=r"\.mp4 or \.gif"):
        record(STILL, Countdown, "film.txt", task="countdown", seeds=[0, 1])


def test_no_graphics_library_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    with pytest.raises(InputError, match=r"no graphics library draws here \(egl: .*no display egl; osmesa: .*osmesa\)"):
        record(STILL, Blind, tmp_path / "film.mp4", task="countdown", seeds=[0, 1])
    assert not list(tmp_path.iterdir())
