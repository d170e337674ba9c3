"""Messages as bytes: what is written is read back, and what is wrong gets a refusal and nothing else."""

import pickle
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from guidedflow.serving.codec import DTYPES, pack, unpack
from guidedflow.serving.refusals import Refusal

ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda dtype: arrays.arrays(np.dtype(dtype), arrays.array_shapes(min_dims=0, max_dims=4, max_side=4, min_side=0))
)


@settings(max_examples=100, deadline=None)
@given(ARRAYS)
def test_an_array_is_read_back_bit_for_bit(array: np.ndarray) -> None:
    found = unpack(pack({"a": {"b": [array]}}))["a"]["b"][0]
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert found.tobytes() == array.tobytes()


def test_numbers_text_and_other_orders_of_bytes_are_read_back() -> None:
    message = {
        "a": 1,
        "b": -2.5,
        "c": "text",
        "d": None,
        "e": True,
        "f": np.float32(0.5),
        "g": np.arange(3, dtype=">f4"),
    }
    found = unpack(pack(message))
    assert found.pop("g").tolist() == [0, 1, 2]
    assert found == {name: value for name, value in message.items() if name != "g"}


def array(**changes: Any) -> bytes:
    told = {b"__ndarray__": True, b"data": bytes(12), b"dtype": "<f4", b"shape": [3]}
    return msgpack.packb({"observation": told | {key.encode(): value for key, value in changes.items()}})


BAD = {
    "an object": array(dtype="|O", data=bytes(24)),
    "a structure": array(dtype=[["a", "<f4"]]),
    "a void": array(dtype="|V4"),
    "a date": array(dtype="<M8[s]"),
    "another order of bytes": array(dtype=">f4"),
    "a negative size": array(shape=[-3]),
    "a size that is no whole number": array(shape=[3.0]),
    "a size that is a truth value": array(shape=[True]),
    "a huge shape": array(shape=[2**40]),
    "a product of sizes that overflows": array(shape=[2**20, 2**20, 2**20, 2**20]),
    "too many axes": array(shape=[1, 1, 1, 1, 3]),
    "too few bytes": array(data=bytes(11)),
    "too many bytes": array(data=bytes(13)),
    "data that is text": array(data="abc"),
    "a stranger beside the data": array(more=1),
    "no shape": msgpack.packb({"observation": {b"__ndarray__": True, b"data": b"", b"dtype": "<f4"}}),
    "a pickle of msgpack-numpy": msgpack.packb(
        {b"nd": True, b"type": "|O", b"kind": b"O", b"shape": [1], b"data": pickle.dumps(print)}
    ),
    "a pickle": pickle.dumps({"observation": 1}),
    "cut": array()[:-3],
    "more behind it": array() + b"\x00",
    "nothing": b"",
    "no map": msgpack.packb([1, 2]),
    "a map with a number as a name": msgpack.packb({1: 2}),
    "a map with bytes as a name": msgpack.packb({b"observation": 2}),
    "a name that is a list": b"\x81\x91\x01\x02",
    "too deep": msgpack.packb({"a": [[[[[[[[[1]]]]]]]]]}),
    "far too deep": b"\x81\xa1a" + b"\x91" * 100_000 + b"\x01",
    "a list of 4 billion": b"\x81\xa1a\xdd\xff\xff\xff\xff",
    "a map of 4 billion": b"\xdf\xff\xff\xff\xff",
    "bytes of 4 billion": b"\x81\xa1a\xc6\xff\xff\xff\xff",
    "thousands of lists": msgpack.packb({"a": [[] for _ in range(5000)]}),
    "an extension": msgpack.packb({"a": msgpack.ExtType(5, b"x")}),
    "a time": b"\x81\xa1a\xd6\xff\x00\x00\x00\x00",
    "no UTF-8": b"\x81\xa1a\xa2\xff\xfe",
    "a NumPy number that is text": msgpack.packb({"a": {b"__npgeneric__": True, b"data": "x", b"dtype": "<f4"}}),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_malformed(name: str) -> None:
    with pytest.raises(Refusal) as refused:
        unpack(BAD[name])
    assert refused.value.kind == "malformed"
    assert refused.value.status == 400
    assert len(refused.value.message) < 300
    assert "\n" not in refused.value.message


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.tuples(st.integers(0, 60), st.integers(0, 255)).map(lambda at: flipped(*at)))
def test_any_bytes_are_a_message_or_malformed(data: bytes) -> None:
    try:
        found: Any = unpack(data)
    except Refusal as refusal:
        found = refusal
    assert isinstance(found, dict) or found.kind == "malformed"


def flipped(place: int, byte: int) -> bytes:
    data = bytearray(array())
    data[place % len(data)] = byte
    return bytes(data)


def test_what_cannot_be_sent_is_an_error_at_the_sender() -> None:
    for value in (np.array(["a"]), np.array([object()]), np.array([1j]), {1, 2}):
        with pytest.raises(TypeError, match="cannot be sent"):
            pack({"a": value})


def test_a_refusal_is_read_back_and_other_text_is_a_failure() -> None:
    refusal = Refusal.of(Refusal("busy", "later", 0.25).frame())
    assert (refusal.kind, refusal.message, refusal.retry_after, refusal.status) == ("busy", "later", 0.25, 503)
    for text in ("Traceback (most recent call last)", '{"error": "nothing", "message": "x"}', "[1]", '{"error": []}'):
        assert Refusal.of(text).kind == "failed"
