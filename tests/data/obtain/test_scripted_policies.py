"""MetaWorld's data: what disturbs the scripted policies, what a file records, and who may be trained on it."""

import numpy as np
import pytest
import tiny_metaworld

from guidedflow.data.convert import convert_mixture
from guidedflow.data.formats import making
from guidedflow.data.load import load_dataset, read_dataset
from guidedflow.data.obtain import collect, download, inventory, metaworld
from guidedflow.data.sources import locate
from guidedflow.data.validation import validate
from guidedflow.errors import InputError

REACH = "metaworld-reach-v3-noisy"


@pytest.fixture
def tiny(monkeypatch):
    """One task without physics, whose episodes are made in this process."""
    tiny_metaworld.installed(monkeypatch, max_path_length=12)

    def simulate(made, seed, jobs, workers):
        episode = collect.collector(made)
        return [(job, episode(np.random.SeedSequence(seed, spawn_key=job))) for job in jobs]

    monkeypatch.setattr(collect, "_simulate", simulate)


def gather(path, name=REACH, **settings):
    return collect.collect(name, out=path, progress=False, **({"episodes": 20} | settings))


def test_every_task_has_a_recipe():
    assert len(metaworld.RECIPES) == 200
    assert set(metaworld.RECIPES) <= set(collect.collectable())
    noisy, mixed, dithered = (collect.recipe(f"metaworld-push-v3-{data}") for data in ("noisy", "mixed", "dithered"))
    assert (noisy.random_actions, noisy.disturbance) == (0.0, 0.3)
    assert mixed.record()["experts"] == 0.5
    assert dithered.record()["held"] == 10
    assert "stacking" not in noisy.record()


def test_an_expert_is_undisturbed_and_noise_has_its_deviation():
    rng = np.random.default_rng(0)
    noise, random_rows, _ = metaworld.disturbed(collect.recipe("metaworld-push-v3-expert"), rng)
    assert not noise.any()
    assert not random_rows.any()
    noise, random_rows, _ = metaworld.disturbed(collect.recipe("metaworld-push-v3-noisy"), rng)
    assert noise.shape == (500, 4)
    assert noise.std() == pytest.approx(0.3, rel=0.1)
    assert not random_rows.any()


def test_half_of_mixed_episodes_are_the_experts_and_half_of_the_others_steps_random():
    made, rng = collect.recipe("metaworld-push-v3-mixed"), np.random.default_rng(0)
    episodes = [metaworld.disturbed(made, rng) for _ in range(200)]
    disturbed = [(noise, rows) for noise, rows, _ in episodes if noise.any() or rows.any()]
    assert 70 < len(disturbed) < 130
    assert np.mean([rows for _, rows in disturbed]) == pytest.approx(0.5, abs=0.02)
    assert np.std([noise for noise, _ in disturbed]) == pytest.approx(0.3, rel=0.02)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_dithered_action_is_held_for_ten_steps_and_the_share_is_as_asked(share):
    rng, rows = np.random.default_rng(0), 20_000
    actions = rng.uniform(-1, 1, (rows, 4))
    random_rows, chosen = metaworld.held(rng.random(rows), actions, share, 10)
    assert random_rows.mean() == pytest.approx(share, abs=0.03)
    begins = np.flatnonzero(random_rows & (chosen == actions).all(axis=1))
    assert len(begins) > 50
    for begin in begins[begins < rows - 10]:
        assert (chosen[begin : begin + 10] == actions[begin]).all()
        assert random_rows[begin : begin + 10].all()


def test_shares_of_none_and_all_are_exact():
    dice, actions = np.zeros(40), np.random.default_rng(0).uniform(-1, 1, (40, 4))
    assert not metaworld.held(dice, actions, 0.0, 10)[0].any()
    assert metaworld.held(dice + 0.999, actions, 1.0, 10)[0].all()


def test_episodes_of_different_lengths_lie_end_to_end(tiny, tmp_path):
    train, validation = gather(tmp_path, random_actions=0.3)
    columns = dict(np.load(train))
    ends = np.flatnonzero(columns["last"])
    lengths = np.diff(ends, prepend=-1) - 1
    assert len(ends) == 20
    assert len(set(lengths)) > 2
    assert lengths.max() == 12
    assert {len(column) for column in columns.values()} == {ends[-1] + 1}
    solved = columns["masks"][ends - 1] == 0
    assert 0 < solved.sum() < 20
    assert (lengths[~solved] == 12).all()
    assert making.read(train)["success_rate"] == solved.mean()
    assert np.flatnonzero(np.load(validation)["last"]).size == 2
    np.testing.assert_array_equal(columns["actions"][ends], columns["actions"][ends - 1])
    goals = columns["observations"][:, -3:]
    assert all((goals[end - length : end + 1] == goals[end]).all() for end, length in zip(ends, lengths, strict=True))


def test_an_episode_depends_on_the_seed_and_its_number_alone(tiny, tmp_path):
    short, long, other = (
        dict(np.load(gather(tmp_path / f"{n}-{seed}.npz", episodes=n, seed=seed)[0]))
        for n, seed in ((3, 0), (5, 0), (3, 1))
    )
    for key, column in short.items():
        np.testing.assert_array_equal(column, long[key][: len(column)])
    assert not np.array_equal(short["observations"][0], other["observations"][0])


def test_what_was_collected_is_what_is_trained_on(tiny, tmp_path):
    train, _ = gather(tmp_path, random_actions=0.3)
    problems = validate(train)
    assert not problems.errors
    dataset, columns = load_dataset(REACH, tmp_path), np.load(train)
    np.testing.assert_array_equal(dataset.observations, columns["observations"])
    np.testing.assert_array_equal(dataset.rewards, columns["rewards"])
    np.testing.assert_array_equal(dataset.masks, columns["masks"])
    np.testing.assert_array_equal(dataset.last, columns["last"])
    assert np.abs(dataset.actions).max() < 1
    assert (dataset.rewards >= -1).all()
    assert (dataset.rewards <= 0).all()


def test_a_task_takes_the_other_data_of_its_environment_alone(tiny, tmp_path):
    train, _ = gather(tmp_path, episodes=2)
    for task in ("metaworld-reach-v3-mixed", REACH):
        assert read_dataset(task, train).name == task
    sentence = "was collected as metaworld-reach-v3-noisy, in another environment than that of metaworld-push-v3-noisy"
    with pytest.raises(InputError, match=sentence):
        read_dataset("metaworld-push-v3-noisy", train)


def test_a_mixture_of_two_kinds_serves_each_kind_of_its_environment_alone(tiny, tmp_path):
    sources = [gather(tmp_path / data, f"metaworld-reach-v3-{data}", episodes=4)[0] for data in ("expert", "mixed")]
    mixture = convert_mixture([locate(source) for source in sources], (0.5, 0.5), tmp_path / "half.npz", episodes=4)
    assert read_dataset("metaworld-reach-v3-mixed", mixture).last.sum() == 4
    assert [part["made"]["dataset"] for part in making.read(mixture)["parts"]] == [path.stem for path in sources]
    with pytest.raises(InputError, match="whose rewards are not those of metaworld-push-v3-mixed"):
        read_dataset("metaworld-push-v3-mixed", mixture)


def test_a_missing_file_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(InputError, match=f"does not exist: collect it by `guidedflow data collect {REACH} --out"):
        read_dataset(REACH, tmp_path)
    assert locate(REACH).path == metaworld.FOLDER.expanduser() / f"{REACH}.npz"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"name": "metaworld-reach-v3-nosy"}, r"unknown dataset .* \(did you mean 'metaworld-reach-v3-noisy'\?\)"),
        ({"random_actions": 1.1}, "random-actions must be between 0 and 1, but is 1.1."),
        ({"noise": -0.1}, "noise must be between 0 and 1, but is -0.1."),
    ],
)
def test_what_cannot_be_collected_is_one_sentence(tmp_path, arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        gather(tmp_path, **arguments)
    assert not list(tmp_path.iterdir())


def test_nobody_publishes_it(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=f"is not published; make it by `guidedflow data collect {REACH}`"):
        download.download(REACH, tmp_path)


def test_it_is_listed_with_what_is_on_this_disk(tmp_path, monkeypatch):
    from guidedflow.data.formats import metaworld as files

    monkeypatch.setattr(files, "FOLDER", tmp_path)
    (tmp_path / f"{REACH}.npz").write_bytes(b"some")
    entries = {entry.name: entry for entry in inventory.inventory() if entry.suite == "metaworld"}
    assert len(entries) >= 200
    assert (entries[REACH].bytes, entries[REACH].complete, entries[REACH].download) == (4, False, False)
    assert entries["metaworld-push-v3-noisy"].path is None


@pytest.mark.slow
@pytest.mark.parametrize("data", ["expert", "dithered"])
def test_a_scripted_policy_solves_its_task(tmp_path, data):
    pytest.importorskip("metaworld", reason="metaworld is not installed")
    name = f"metaworld-button-press-topdown-v3-{data}"
    paths = [gather(tmp_path / str(workers), name, episodes=3, workers=workers)[0] for workers in (1, 2)]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert making.read(paths[0])["success_rate"] == 1
    columns = np.load(paths[0])
    assert columns["observations"].shape[1] == 39
    assert len(np.unique(columns["observations"][columns["last"]][:, -3:], axis=0)) == 3
