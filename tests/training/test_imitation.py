"""A curriculum of episodes: parity with the published selection, and the good tenth of mixed data."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from guidedflow.algorithms import BC
from guidedflow.algorithms.contract import initial_state
from guidedflow.data.dataset import Dataset
from guidedflow.data.sampling.curriculum import Curriculum, Filter, Score
from guidedflow.errors import InputError
from guidedflow.training.imitation import Imitation
from guidedflow.training.updates import advance, in_rows

SCORES = {
    "alpha1": Score.one_sigma,
    "alpha2": Score.two_sigma,
    "alpha3": Score.three_sigma,
    "is": Score.smallest,
    "prod": Score.total,
    "mean": Score.mean,
    "median": Score.median,
}
FILTERS = {"running_mean": Filter.running, "mean": Filter.mean, None: Filter.none}


@pytest.mark.parametrize("name", ["alpha2", "alpha2_fast", "by_return", "default_tau", "mean_filter", "occupancy"])
def test_golden_coil_curriculum(name: str, golden: Path) -> None:
    with np.load(golden / "coil-curriculum.npz", allow_pickle=False) as arrays:
        file = {key: arrays[key] for key in arrays.files}
    scenario = json.loads(str(file["config"]))["scenarios"][name]
    lengths, likelihoods = file["batch/length"], file["batch/log_likelihood"]
    for key, score in SCORES.items():
        ours = [score(row[:length]) for row, length in zip(likelihoods[0], lengths, strict=True)]
        np.testing.assert_allclose(ours, file[f"metric/score/{key}"], rtol=1e-6)
    occupancy = scenario["mode"] == "occupancy"
    returns = (file["batch/success"] if occupancy else file["batch/return"]).astype(float)
    returns = returns + (30 if name == "default_tau" else 0)
    least = -5.0 if occupancy else None
    curriculum = Curriculum(returns, scenario["N"], scenario["tau"] or 0.99, FILTERS[scenario["filter_type"]], least)
    ends, epoch = list(file[f"metric/{name}/calls_by_epoch_end"]), 0
    for call, selected in enumerate(file[f"metric/{name}/selected"]):
        np.testing.assert_array_equal(curriculum.pool, [i for i in file[f"metric/{name}/pool"][call] if i >= 0])
        steps = [likelihoods[call, i, : lengths[i]] for i in curriculum.pool]
        by_return = scenario["sel"] == "reward"
        scores = -returns[curriculum.pool] if by_return else [SCORES[scenario["sel"]](each) for each in steps]
        np.testing.assert_array_equal(curriculum.pick(list(scores)), [i for i in selected if i >= 0])
        if epoch < len(ends) and ends[epoch] == call + 1:
            curriculum.end_epoch()
            if curriculum.filter is Filter.running:
                assert curriculum.least == pytest.approx(file[f"metric/{name}/filter"][epoch], rel=1e-4)
            epoch += 1
    assert not curriculum.pool


def mixed() -> Dataset:
    """60 episodes of 6 steps at levels from -0.5 to 0.5: the level is each action, nearly, and each reward."""
    random = np.random.default_rng(0)
    levels = np.linspace(-0.5, 0.5, 60).repeat(7)
    last = np.arange(60 * 7) % 7 == 6
    actions = (levels + 0.03 * random.normal(size=levels.shape))[:, None].astype(np.float32)
    observations = np.ones((len(levels), 1), np.float32)
    return Dataset("mixed", observations, actions, levels.astype(np.float32), np.ones(len(levels), np.float32), last)


@pytest.mark.slow
@pytest.mark.parametrize("components", [0, 1])
def test_coil_learns_the_good_tenth_where_bc_learns_the_mean(components: int) -> None:
    algorithm = BC(components=components, hidden=(16,), flow_steps=5, learning_rate=1e-2)
    settings = Imitation(picks=1, steps=40, calls=1, tau=0.3, batch_size=32)
    state, picked = settings.imitate(algorithm, mixed())
    assert np.mean([np.mean(each) for each in picked[-3:]]) > 50, "the last picks are the best episodes"
    everything = mixed().cut(0.99)
    start = initial_state(algorithm, everything.example(), jnp.arange(1))
    cloned, _ = advance(in_rows([algorithm]), start, everything, jnp.arange(1), 0, 1000, 32)

    def level(state: object) -> float:
        (policy, *_) = algorithm.policies(state).values()  # type: ignore[arg-type]
        keys = jax.random.split(jax.random.key(1), 128)
        return float(jnp.mean(jax.vmap(policy, in_axes=(None, 0))(jnp.ones(1), keys)))

    assert level(state) > 0.4
    assert abs(level(jax.tree.map(lambda leaf: leaf[0], cloned))) < 0.2


def test_a_single_episode_is_refused() -> None:
    data = mixed()
    single = Dataset(
        "single", *(getattr(data, name)[:7] for name in ("observations", "actions", "rewards", "masks", "last"))
    )
    with pytest.raises(InputError, match="A curriculum chooses among episodes, but 'single' has 1"):
        Imitation().imitate(BC(components=1, hidden=(4,)), single)
