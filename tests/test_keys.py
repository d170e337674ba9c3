"""Random keys are functions of seed, stream and step."""

import itertools

import jax
import jax.numpy as jnp

from guidedflow.keys import Stream, host_bits, stream_key


def numbers(seed: int, stream: Stream, step: int) -> tuple[int, ...]:
    return tuple(jax.random.key_data(stream_key(seed, stream, step)).tolist())


def test_another_seed_stream_or_step_is_another_key() -> None:
    triples = list(itertools.product(range(4), Stream, range(4)))
    assert len({numbers(*triple) for triple in triples}) == len(triples)


def test_the_same_seed_stream_and_step_is_the_same_key() -> None:
    assert numbers(3, Stream.UPDATE, 17) == numbers(3, Stream.UPDATE, 17)


def test_a_traced_key_is_the_key() -> None:
    """A compiled loop over steps, mapped over seeds, draws what single steps draw: resuming is exact."""
    seeds, steps = jnp.arange(2), jnp.arange(3)
    one_seed = lambda seed: jax.vmap(lambda step: stream_key(seed, Stream.DATA, step))(steps)  # noqa: E731
    traced = jax.random.key_data(jax.jit(jax.vmap(one_seed))(seeds))
    for seed, step in itertools.product(range(2), range(3)):
        assert tuple(traced[seed, step].tolist()) == numbers(seed, Stream.DATA, step)


def test_streams_keep_their_numbers() -> None:
    """They are part of every published result: a renumbered stream would change them all."""
    assert {stream.name: stream.value for stream in Stream} == {
        "INIT": 0,
        "TRAINING_EPISODES": 1,
        "REPORTING_EPISODES": 2,
        "SELECTION_EPISODES": 3,
        "DATA": 4,
        "UPDATE": 5,
        "WINDOWS": 6,
        "JUDGING": 7,
        "ONLINE_EPISODES": 8,
        "ONLINE_ACTIONS": 9,
        "REPLAY": 10,
        "CURRICULUM": 11,
        "DIAGNOSTICS": 16,
    }


def test_bits_for_the_host_are_a_function_of_seed_stream_and_step() -> None:
    triples = list(itertools.product((0, 1, 2**31 - 1), Stream, (0, 1, 10**9)))
    assert len({tuple(host_bits(*triple, 3).tolist()) for triple in triples}) == len(triples)
    of_philox = [1784971614742726369, 2539185228139533686]  # on any machine
    assert host_bits(3, Stream.WINDOWS, 17, 2).tolist() == of_philox
