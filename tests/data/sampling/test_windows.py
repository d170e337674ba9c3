"""What streams from disk are the transitions of the dataset, each as often as any other."""

import dataclasses

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_data import episodes

from guidedflow.data.drawing import Weighted
from guidedflow.data.ondisk import mapper
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.data.sampling.blocks import Blocks, drawn, order
from guidedflow.data.sampling.cutting import Cutting
from guidedflow.data.sampling.feed import open_feed
from guidedflow.data.sampling.goals import GoalSampling
from guidedflow.data.sampling.rebalance import Rebalance
from guidedflow.data.sampling.windows import Window, Windows
from guidedflow.errors import InputError

lengths = st.lists(st.one_of(st.integers(0, 6), st.integers(0, 60)), min_size=1, max_size=10).filter(any)


def random_rows(dataset, seed, inside=True):
    """The same episodes with rewards and masks of no pattern, and actions that tell the row but lie in the box."""
    random = np.random.default_rng(seed)
    rows = len(dataset.last)
    return dataclasses.replace(
        dataset,
        actions=(np.arange(rows, dtype=np.float32) / 1024)[:, None],
        rewards=random.normal(size=rows).astype(np.float32),
        masks=random.integers(0, 2, rows).astype(np.float32),
    )


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory):
    def write(dataset, **settings):
        return Mapped.open(mapper.write([dataset], tmp_path_factory.mktemp("made") / "data", "counted"), **settings)

    return write


def streamed(data, size, horizon=1, chunk=False, frame_stack=1, **settings):
    cutting = Cutting(0.9, horizon, chunk, frame_stack)
    return Windows(data, Window(size * 4, updates=10, blocks=4), cutting, seed=0, **settings)


@settings(deadline=None, max_examples=15)
@given(lengths, st.integers(1, 4), st.booleans(), st.integers(1, 3), st.integers(1, 20), st.integers(0, 2**31))
def test_all_blocks_together_are_the_dataset(on_disk, lengths, horizon, chunk, frames, size, seed):
    """Bit for bit, in the same order, for any layout of episodes and any size of blocks."""
    if chunk and max(lengths) < horizon:
        return
    dataset = random_rows(episodes(lengths), seed)
    whole = dataset.cut(0.9, horizon, chunk, frames)
    with streamed(on_disk(dataset), size, horizon, chunk, frames) as windows:
        read = windows.read(np.arange(len(windows.blocks)))
        indices = read.drawing.every(len(read))
    assert len(indices) == len(whole)
    for mine, theirs in zip(gathered(read, indices), gathered(whole, np.arange(len(whole))), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def gathered(transitions, indices):
    """As `Transitions.take`, without compiling anything for each shape."""
    on_host = jax.tree.map(np.asarray, transitions)
    starts, nexts, ends = (column[indices] for column in (on_host.starts, on_host.nexts, on_host.ends))
    steps = np.arange(on_host.chunk)
    chunks = [np.minimum(rows[:, None] + steps, ends[:, None]) for rows in (starts, nexts)]
    firsts = starts if on_host.firsts is None else on_host.firsts[indices]
    frames = [np.maximum(rows[:, None] - np.arange(on_host.frames), firsts[:, None]) for rows in (starts, nexts)]
    yield from (on_host.observations[rows] for rows in (frames if on_host.frames > 1 else (starts, nexts)))
    yield from (on_host.actions[rows] for rows in chunks)
    yield from (on_host.rewards[indices], on_host.discounts[indices])


def test_goals_of_a_window_are_later_states_of_the_same_episode(on_disk):
    """An episode is in one block, however long it is, so that none of its goals is cut off."""
    lengths = np.array([40, 3, 25, 5])
    later = GoalSampling(value_p_curgoal=0, value_p_trajgoal=1, value_p_randomgoal=0, value_geom_sample=False)
    data = dataclasses.replace(on_disk(random_rows(episodes(lengths), 0)), goal_conditioned=True)
    ahead = set()
    with Windows(data, Window(12, updates=10, blocks=2), Cutting(goals=later), seed=0) as windows:
        for number in range(4):
            batch = windows.window(number).sample(jax.random.key(number), 256)
            episode, step, goal_episode, goal_step = np.asarray(batch.observation).T.astype(int)
            np.testing.assert_array_equal(episode, goal_episode)
            final = lengths[episode] - 1  # the last state from which something was done
            assert ((step < goal_step) | (step == final)).all()
            assert (goal_step <= final).all()
            ahead |= set((goal_step - step).tolist())
    assert max(ahead) > 24  # farther than blocks of 6 rows would reach


@settings(deadline=None)
@given(lengths, st.integers(1, 4), st.booleans(), st.integers(1, 20))
def test_blocks_own_each_row_once_and_carry_what_follows(lengths, horizon, chunk, size):
    dataset = episodes(lengths)
    ends = np.flatnonzero(dataset.last)
    blocks = Blocks.of(ends, size, horizon, chunk)
    assert blocks.begins[0] == 0
    np.testing.assert_array_equal(blocks.begins[1:], blocks.owned[:-1])
    assert blocks.owned[-1] == len(dataset.last)
    assert blocks.counts.sum() == sum(max(0, length + 1 - (horizon if chunk else 1)) for length in lengths)
    for begin, stop in zip(blocks.begins, blocks.stops, strict=True):
        assert stop <= ends[np.searchsorted(ends, stop - 1)] + 1  # beyond its rows it reads no other episode
        if begin and not dataset.last[begin - 1]:
            assert ends[np.searchsorted(ends, begin)] - begin + 1 <= max(lengths) + 1
    if max(lengths) < size:
        assert dataset.last[blocks.owned - 1].all()  # whole episodes, wherever they fit


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(any), st.integers(0, 5))
def test_an_epoch_has_each_block_in_proportion_to_its_mass(mass, seed):
    mass = np.array(mass, np.float64)
    counts = np.bincount(order(mass, seed, 3), minlength=len(mass))
    expected = mass / mass.sum() * np.count_nonzero(mass)
    assert (np.abs(counts - expected) < 1 + 1e-9).all()
    assert counts.sum() == np.count_nonzero(mass)
    length = int(np.count_nonzero(mass))
    whole = np.concatenate([order(mass, seed, epoch) for epoch in range(3)])
    np.testing.assert_array_equal(drawn(mass, seed, length // 2, 2 * length + 1), whole[length // 2 : 2 * length + 1])


def chances(windows, count):
    """The mean chance of each transition over so many windows, by the order of the blocks alone."""
    chance = np.zeros(len(windows.blocks))
    np.add.at(chance, drawn(windows.mass, windows.seed, 0, count * windows.slots), 1 / (count * windows.slots))
    return chance


def test_the_chance_of_a_block_is_its_share_in_the_long_run(on_disk):
    with streamed(on_disk(random_rows(episodes([5, 9, 2, 14, 3, 7, 8, 1, 30, 4]), 0)), 12) as windows:
        share = windows.blocks.counts / windows.blocks.counts.sum()
        assert len(set(windows.blocks.counts)) > 2
        deviation = 0.5 / np.sqrt(2000) / len(share)  # of a mean over 2000 epochs, each of which rounds up or down
        np.testing.assert_allclose(chances(windows, 4000), share, atol=4 * deviation)


def counted(windows, count, batch):
    """How often each transition of the dataset was drawn from so many windows, told by its action."""
    draw = jax.jit(lambda window, key: window.sample(key, batch).action[:, 0])
    found = [np.asarray(draw(windows.window(k), jax.random.key(k))) for k in range(count)]
    return np.bincount(
        np.round(np.concatenate(found) * 1024).astype(int), minlength=len(windows.data.rows("last", 0, 10**6))
    )


def chi_squared(counts, expected):
    alive = expected > 0
    assert not counts[~alive].any()
    return float((np.square(counts - expected)[alive] / expected[alive]).sum()), int(alive.sum()) - 1


LAYOUT = [5, 9, 2, 14, 3, 7, 8, 1, 30, 4, 6, 6]


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(None, marks=pytest.mark.slow),
        pytest.param(Rebalance("return", 0.1), marks=pytest.mark.slow),
        Rebalance("weights"),
    ],
)
def test_draws_over_many_windows_have_the_right_shares(on_disk, rule):
    """Pearson's chi-squared, whose mean is the degrees of freedom, five deviations above at most."""
    dataset = random_rows(episodes(LAYOUT), 1)
    dataset = dataclasses.replace(
        dataset, weights=np.random.default_rng(2).integers(0, 5, len(dataset.last)).astype(np.float32)
    )
    expected = share(dataset, rule)
    with open_feed(on_disk(dataset), rebalance=rule, window=Window(50, updates=1, blocks=4)) as windows:
        counts = counted(windows, 200, 16)
    statistic, freedom = chi_squared(counts, expected * counts.sum())
    assert statistic < freedom + 5 * np.sqrt(2 * freedom)
    # A test that cannot fail is none: the same draws do not pass for another rule's.
    other = share(dataset, Rebalance("return", 0.5) if rule is None else None)
    assert chi_squared(counts, other * counts.sum())[0] > freedom + 10 * np.sqrt(2 * freedom)


def share(dataset, rule):
    """The chance of the transition that starts in each row."""
    weights = np.ones(len(dataset.last))
    if rule is not None and rule.by == "weights":
        weights = dataset.weights.astype(float) + rule.base
    elif rule is not None:
        number = np.concatenate([[0], np.cumsum(dataset.last)[:-1]])
        returns = np.bincount(number, np.where(dataset.last, 0, dataset.rewards))
        weights = (returns[number] - returns.min()) / (returns.max() - returns.min()) + rule.base
    weights[dataset.last] = 0
    return weights / weights.sum()


@pytest.mark.parametrize("rule", [Rebalance("return"), Rebalance("weights", 0.5)])
def test_a_dataset_in_memory_is_rebalanced_alike(rule):
    dataset = random_rows(episodes(LAYOUT), 1)
    dataset = dataclasses.replace(dataset, weights=dataset.actions[:, 0])
    expected = share(dataset, rule)
    with open_feed(dataset, rebalance=rule, window=Window(updates=1)) as feed:
        batch = feed.at(0).sample(jax.random.key(0), 40_000)
    counts = np.bincount(np.round(np.asarray(batch.action[:, 0]) * 1024).astype(int), minlength=len(dataset.last))
    statistic, freedom = chi_squared(counts, expected * 40_000)
    assert statistic < freedom + 5 * np.sqrt(2 * freedom)


def test_a_weight_of_nothing_is_never_drawn_and_shares_are_fine():
    weights = np.array([0, 1, 0, 0, 3, 0], np.float64)
    draws = Weighted.of(weights)(jax.random.key(0), 4000, 6)
    np.testing.assert_array_equal(Weighted.of(weights).every(6), np.flatnonzero(weights))
    assert set(np.unique(draws)) == {1, 4}
    edges = np.asarray(Weighted.of(np.ones(10**6)).edges).astype(np.int64)
    np.testing.assert_allclose(np.diff(edges), 2**31 / 10**6, rtol=5e-4)


def test_a_window_is_a_function_of_seed_and_number(on_disk):
    data = on_disk(random_rows(episodes(LAYOUT), 3))
    with streamed(data, 8) as first, streamed(data, 8) as second:
        forward = [first.at(step) for step in (0, 9, 10, 20)]
        assert forward[0] is forward[1]
        assert not np.array_equal(forward[0].observations, forward[2].observations)
        for mine, theirs in ((second.at(25), forward[3]), (second.at(0), forward[0])):
            for one, other in zip(jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True):
                np.testing.assert_array_equal(one, other)
        assert {window.observations.shape for window in forward} == {forward[0].observations.shape}


def test_an_error_of_the_reader_is_the_runs(on_disk):
    data = on_disk(random_rows(episodes(LAYOUT), 3))
    with streamed(data, 8) as windows:
        windows.at(0)
        windows.at(10)
        (data.path / "masks.npy").unlink()
        with pytest.raises(InputError, match=r"masks.npy must be a column of the dataset"):
            [windows.at(step) for step in range(20, 60, 10)]


def test_what_cannot_be_streamed_or_rebalanced_is_told(on_disk):
    plain = random_rows(episodes([3, 2]), 0)
    with pytest.raises(InputError, match="a chunk of 4 steps fits into no episode, the longest has 3"):
        streamed(on_disk(plain), 8, horizon=4, chunk=True)
    with pytest.raises(
        InputError, match=r"actions must lie in \[-1, 1\], but 60 % of their numbers do not, the first in row 2"
    ):
        open_feed(on_disk(episodes([3, 2]))).__enter__()
    with streamed(on_disk(episodes([3, 2]), clip_actions=True), 8) as windows:
        assert float(windows.window(0).actions.max()) < 1
    for data in (plain, on_disk(plain)):
        with pytest.raises(InputError, match="has no weights, which --rebalance weights is to follow"):
            open_feed(data, rebalance=Rebalance("weights")).__enter__()
        none = dataclasses.replace(plain, weights=np.zeros(7, np.float32))
        with pytest.raises(InputError, match="no transition has a weight above 0"):
            open_feed(none if data is plain else on_disk(none), rebalance=Rebalance("weights")).__enter__()
    flat = dataclasses.replace(plain, rewards=np.zeros(7, np.float32))
    with pytest.raises(InputError, match="all episodes have the same return"):
        open_feed(flat, rebalance=Rebalance()).__enter__()
    with pytest.raises(InputError, match=r"weights must be at least 0, found -1.0 in row 3"):
        dataclasses.replace(plain, weights=np.array([0, 0, 0, -1, 0, 0, 0], np.float32))
    with pytest.raises(InputError, match="window-updates must be 0 or a multiple of log-interval 10, but is 15"):
        Window(updates=15).lasting(256, 10)
    assert Window(1000).lasting(10, 30) == 90


@pytest.mark.filterwarnings("error")
def test_an_example_is_of_what_may_be_drawn(on_disk):
    """The episodes of the least return come first, as in data whose rewards are rare, and are never drawn."""
    dataset = random_rows(episodes([4] * 8), 0)
    dataset = dataclasses.replace(dataset, rewards=(np.arange(40) >= 30).astype(np.float32))
    with open_feed(on_disk(dataset), rebalance=Rebalance(), window=Window(12, 10, 2)) as feed:
        assert np.isfinite(feed.example().reward)


def test_a_horizon_that_is_too_long_is_not_blamed_on_weights(on_disk):
    plain = random_rows(episodes([3, 2]), 0)
    for data in (plain, on_disk(plain)):
        with pytest.raises(InputError, match="a chunk of 9 steps fits into no episode"):
            open_feed(data, Cutting(0.9, 9, True), rebalance=Rebalance()).__enter__()
