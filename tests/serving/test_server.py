"""The server: bits, order, limits, refusals, reloads and its end."""

import asyncio
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import msgpack
import numpy as np
import pytest
import websockets
from serving_helpers import Known, known, listening, waited
from tiny_data import line
from untaught import begun
from websockets.sync.client import connect

from guidedflow import DenoisedGradient, Sampler
from guidedflow.algorithms import BC
from guidedflow.errors import InputError
from guidedflow.flows.realtime import binding
from guidedflow.runs.trained import Trained
from guidedflow.serving.client import Client, Refusal
from guidedflow.serving.codec import pack, unpack
from guidedflow.serving.dispatch import Dispatcher
from guidedflow.serving.export import write_export
from guidedflow.serving.interface import Part
from guidedflow.serving.metrics import Metrics
from guidedflow.serving.programs import Acting, interface_of
from guidedflow.serving.server import Limits, Server
from guidedflow.serving.sources import ExportSource, RunSource
from guidedflow.training.plan import Plan

RANDOM = np.random.default_rng(0)


def guided(trained: Trained) -> Any:
    return trained.policy("flow").with_sampler(Sampler(steps=3, guidance=DenoisedGradient(0.1), candidates=2))


def refused(call: Callable[[], Any]) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        call()
    return refusal.value


def get(server: Server, path: str, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}/{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_actions_have_the_bits_of_the_policy_whatever_is_asked_between(run: Path) -> None:
    """Of a run at several weights and numbers of candidates, and of its export at one row."""
    trained = Trained.open(run)
    policy = guided(trained)
    with listening({"flow": RunSource(run, guided, candidates=(1,))}) as server, Client(port=server.port) as client:
        assert client.metadata()["policies"]["flow"]["candidates"] == [2, 1]
        for seed in range(4):
            observation, weight, candidates = RANDOM.normal(size=3), 0.1 * seed, 1 + seed % 2
            sampler = Sampler(steps=3, guidance=DenoisedGradient(weight), candidates=candidates)
            expected = policy.with_sampler(sampler)(observation, jax.random.key(seed))
            found = client.infer(observation, seed=seed, weight=weight, candidates=candidates)
            assert np.array_equal(found["actions"], expected[None])
            assert found["version"] == "step 4"
        unnamed = client.infer(observation)
        assert np.array_equal(unnamed["actions"][0], policy(observation, jax.random.key(unnamed["seed"])))


def test_an_export_acts_from_the_noise_of_the_same_key(run: Path, tmp_path: Path) -> None:
    policy = guided(Trained.open(run))
    write_export(policy, interface_of(policy), tmp_path / "export")
    source = ExportSource(tmp_path / "export")
    with listening({"flow": source}, limits=Limits(reload=0.05)) as server, Client(port=server.port) as client:
        observation = RANDOM.normal(size=3)
        found = client.act(observation, seed=7)
        np.testing.assert_allclose(found[0], policy(observation, jax.random.key(7)), atol=1e-6)
        assert refused(lambda: client.act(observation, candidates=1)).kind == "unfit"
        older = client.infer(observation)["version"]
        newer = policy.with_sampler(Sampler(steps=2, guidance=DenoisedGradient(0.1), candidates=2))
        written = write_export(newer, interface_of(newer), tmp_path / "export", overwrite=True)
        waited(lambda: client.infer(observation)["version"] != older)
        found = client.infer(observation, seed=7)
        assert found["version"] == written.version
        np.testing.assert_allclose(found["actions"][0], newer(observation, jax.random.key(7)), atol=1e-6)


def test_several_rows_are_the_same_actions_but_for_rounding(run: Path) -> None:
    policy = guided(Trained.open(run))
    program, rows = Acting(policy, interface_of(policy)), 5
    observations = RANDOM.normal(size=(rows, 3)).astype(np.float32)
    found = program(observations, np.arange(rows, dtype=np.uint32), np.full((rows, 1), 0.1, np.float32))
    for seed in range(rows):
        np.testing.assert_allclose(found[seed, 0], policy(observations[seed], jax.random.key(seed)), atol=1e-6)


def test_several_policies_are_served_by_name_and_pieces_are_put_together() -> None:
    parts = (Part("joints", (2,)), Part("gripper", (1,)))
    with listening({"a": Known(), "b": Known(parts=parts)}) as server, Client(port=server.port) as client:
        told = client.metadata()
        assert (told["default_policy"], list(told["policies"])) == ("a", ["a", "b"])
        pieces = {"joints": np.array([1.0, 2.0]), "gripper": [3]}
        expected = known(np.array([[1.0, 2.0, 3.0]]), np.array([5]), np.array([[0.5]]))[0]
        assert np.array_equal(client.act(pieces, seed=5, policy="b"), expected)
        assert np.array_equal(client.act([1, 2, 3], seed=5), expected)
        assert "lacks 'gripper', of shape (1,)" in str(refused(lambda: client.act({"joints": [1, 2]}, policy="b")))
        whole = {"observation": [1, 2, 3], "gripper": [3]}
        assert "not both" in str(refused(lambda: client.act(whole, policy="b")))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another shape": ({"observation": np.zeros(4)}, "observation must be of shape (3,), found (4,)"),
    "not finite": ({"observation": np.array([0, np.nan, 0])}, "observation must be finite, but number 1 is nan"),
    "too large for float32": ({"observation": np.array([0, 1e300, 0])}, "must be finite, but number 1 is 1e+300"),
    "truth values": ({"observation": np.zeros(3, bool)}, "must be numbers, found truth values"),
    "text": ({"observation": "here"}, "must be an array of shape (3,), found a str"),
    "nothing": ({}, "the request lacks 'observation', of shape (3,)"),
    "a list of text": ({"observation": ["a", "b", "c"]}, "must be an array of shape (3,), found a list"),
    "an unknown field": ({"observation": np.zeros(3), "wieght": 1.0}, "no field 'wieght' (did you mean 'weight'?)"),
    "an unknown policy": ({"observation": np.zeros(3), "policy": "flwo"}, "no policy 'flwo' (did you mean 'flow'?)"),
    "a policy that is no name": ({"observation": np.zeros(3), "policy": 3}, "there is no policy of that name"),
    "a negative weight": ({"observation": np.zeros(3), "weight": -1.0}, "weight must be a finite number of at least 0"),
    "a weight that is not finite": ({"observation": np.zeros(3), "weight": np.inf}, "weight must be a finite number"),
    "a condition": ({"observation": np.zeros(3), "condition": 1.0}, "the policy 'flow' has no condition"),
    "a large seed": ({"observation": np.zeros(3), "seed": 2**31}, "seed must be from 0 to 2^31 - 1"),
    "a seed that is no number": ({"observation": np.zeros(3), "seed": "a"}, "seed must be a whole number"),
    "other candidates": ({"observation": np.zeros(3), "candidates": 9}, "candidates of the policy 'flow' may be 1"),
    "real-time chunking": ({"observation": np.zeros(3), "rest": np.zeros(2)}, "real-time chunking, for which"),
    "a flag that is a number": ({"observation": np.zeros(3), "terminated": 1}, "terminated must be true or false"),
}


@pytest.fixture(scope="module")
def serving() -> Any:
    with listening({"flow": Known()}) as server:
        yield server


@pytest.mark.parametrize("name", WRONG)
def test_a_request_that_does_not_fit_gets_a_sentence_and_the_next_one_its_actions(serving: Server, name: str) -> None:
    message, sentence = WRONG[name]
    with connect(f"ws://127.0.0.1:{serving.port}") as connection:
        connection.recv()
        connection.send(pack(message))
        refusal = Refusal.of(str(connection.recv(timeout=10)))
        assert sentence in refusal.message
        assert refusal.status in (404, 422)
        connection.send(pack({"observation": np.ones(3), "seed": 1, "prompt": "of openpi's clients"}))
        expected = known(np.ones((1, 3)), np.array([1]), np.array([[0.5]]))[0]
        assert np.array_equal(unpack(connection.recv(timeout=10))["actions"], expected)


def test_what_is_no_message_gets_a_frame_of_its_own_and_the_connection_stays(serving: Server) -> None:
    with connect(f"ws://127.0.0.1:{serving.port}") as connection:
        connection.recv()
        for frame in ("text", b"", b"\xc1", msgpack.packb([1]), b"\x81\xa1a" + b"\x91" * 9000):
            connection.send(frame)
            assert json.loads(connection.recv(timeout=10))["status"] == 400
        connection.send(pack({"observation": np.zeros(3)}))
        assert b"actions" in connection.recv(timeout=10)


def test_a_message_that_is_too_large_closes_its_connection_alone(serving: Server) -> None:
    with connect(f"ws://127.0.0.1:{serving.port}") as other, connect(f"ws://127.0.0.1:{serving.port}") as connection:
        other.recv(), connection.recv()
        connection.send(bytes(10**6))
        with pytest.raises(websockets.ConnectionClosedError) as closed:
            connection.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
        other.send(pack({"observation": np.zeros(3)}))
        assert b"actions" in other.recv(timeout=10)


def test_a_frame_that_announces_a_gibibyte_closes_its_connection_at_once(serving: Server) -> None:
    with connect(f"ws://127.0.0.1:{serving.port}") as connection:
        connection.recv()
        connection.socket.sendall(b"\x82\xff" + (2**30).to_bytes(8, "big") + b"abcd")
        with pytest.raises(websockets.ConnectionClosedError) as closed:
            connection.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


def test_a_defect_is_told_without_a_traceback() -> None:
    source = Known()
    with listening({"flow": source}) as server, Client(port=server.port) as client:
        source.fail = True
        refusal = refused(lambda: client.act(np.zeros(3)))
        assert (refusal.kind, refusal.status) == ("failed", 500)
        assert "wires" not in refusal.message
        assert "Traceback" not in refusal.message
        source.fail = False
        client.act(np.zeros(3))


def test_health_and_metrics_are_answered_while_a_policy_computes() -> None:
    source = Known()
    with listening({"flow": source}) as server, ThreadPoolExecutor(1) as pool:
        source.hold.clear()
        with Client(port=server.port) as client:
            answer = pool.submit(client.act, np.ones(3))
            waited(lambda: source.calls >= 2)
            begun = time.monotonic()
            assert get(server, "healthz") == (200, "OK\n")
            assert get(server, "readyz") == (200, "OK\n")
            assert time.monotonic() - begun < 5
            source.hold.set()
            answer.result(30)
            with pytest.raises(Refusal):
                client.act(np.ones(4))
        told = get(server, "metrics")[1]
        assert 'guidedflow_requests_total{outcome="ok",policy="flow"} 1.0' in told
        assert 'guidedflow_requests_total{outcome="unfit",policy="-"} 1.0' in told
        assert 'guidedflow_request_seconds_count{policy="flow"} 1.0' in told
        assert get(server, "nowhere")[0] == 426


def test_a_full_queue_says_busy_and_when_to_come_again() -> None:
    source = Known()
    with listening({"flow": source}, limits=Limits(queue=2)) as server, ThreadPoolExecutor(8) as pool:
        source.hold.clear()
        clients = [Client(port=server.port, retry_busy=False) for _ in range(6)]
        first = pool.submit(clients[0].act, np.ones(3))
        waited(lambda: source.calls >= 2)
        answers = [pool.submit(client.act, np.ones(3)) for client in clients[1:]]
        waited(lambda: sum(answer.done() for answer in answers) >= 3)
        source.hold.set()
        refusals = [error for answer in answers if (error := answer.exception(30)) is not None]
        assert [error.kind for error in refusals] == ["busy"] * 3
        assert all(error.retry_after > 0 and error.status == 503 for error in refusals)
        first.result(30)
        assert all(clients[i].act(np.ones(3)) is not None for i in range(6))  # and each connection lives on
        for client in clients:
            client.close()


def test_a_client_waits_out_a_busy_server() -> None:
    source = Known(seconds=0.02)
    with listening({"flow": source}, limits=Limits(queue=1)) as server, ThreadPoolExecutor(6) as pool:

        def work(seed: int) -> bool:
            with Client(port=server.port, timeout=30) as client:
                expected = known(np.ones((1, 3)), np.array([seed]), np.array([[0.25]]))[0]
                return all(np.array_equal(client.act(np.ones(3), seed=seed, weight=0.25), expected) for _ in range(3))

        assert all(pool.map(work, range(6)))


def test_a_deadline_is_kept_in_the_queue_and_during_a_call() -> None:
    source = Known()
    with listening({"flow": source}) as server, ThreadPoolExecutor(2) as pool:
        source.hold.clear()
        with Client(port=server.port) as first, Client(port=server.port) as second:
            answers = [pool.submit(client.act, np.ones(3), deadline_ms=300) for client in (first, second)]
            for answer in answers:
                error = answer.exception(10)
                assert isinstance(error, Refusal)
                assert (error.kind, error.status) == ("late", 504)
            calls = source.calls
            source.hold.set()
            expected = known(np.ones((1, 3)), np.array([3]), np.array([[0.5]]))[0]
            assert np.array_equal(first.act(np.ones(3), seed=3), expected)  # and not the late answer
        assert source.calls == calls + 1  # the one in the queue was never computed


def test_a_client_that_leaves_is_not_computed_for() -> None:
    source = Known()
    with listening({"flow": source}) as server:
        source.hold.clear()
        uri = f"ws://127.0.0.1:{server.port}"
        with connect(uri) as busy, connect(uri) as leaving:
            busy.recv(), leaving.recv()
            busy.send(pack({"observation": np.ones(3)}))
            waited(lambda: source.calls >= 2)
            leaving.send(pack({"observation": np.ones(3)}))
            waited(lambda: "guidedflow_queue 1.0" in get(server, "metrics")[1])
            leaving.close()
            waited(lambda: 'outcome="left"' in get(server, "metrics")[1])
            source.hold.set()
            assert b"actions" in busy.recv(timeout=10)
            busy.send(pack({"observation": np.ones(3)}))
            assert b"actions" in busy.recv(timeout=10)
        assert source.calls == 3  # to warm up, and two


def test_strangers_are_turned_away_before_they_are_heard() -> None:
    token = "a-token-of-some-length"
    with listening({"flow": Known()}, token=token) as server:
        for header in ({}, {"Authorization": "Api-Key wrong"}, {"Authorization": token}, {"Authorization": "Basic a"}):
            with pytest.raises(websockets.InvalidStatus) as status:
                connect(f"ws://127.0.0.1:{server.port}", additional_headers=header)
            assert status.value.response.status_code == 401
        with Client(port=server.port, token=token) as client:
            client.act(np.zeros(3))
        assert refused(lambda: Client(port=server.port, token="wrong").act(np.zeros(3))).kind == "unauthorized"
        assert get(server, "metrics")[0] == 401
        assert get(server, "metrics", Authorization=f"Bearer {token}")[0] == 200
        assert get(server, "healthz")[0] == 200
        headers = {"Authorization": f"Api-Key {token}", "Origin": "http://evil.example"}
        with pytest.raises(websockets.InvalidStatus) as status:
            connect(f"ws://127.0.0.1:{server.port}", additional_headers=headers)
        assert status.value.response.status_code == 403


def test_more_clients_than_allowed_are_turned_away() -> None:
    with listening({"flow": Known()}, limits=Limits(connections=1)) as server, Client(port=server.port) as client:
        client.act(np.zeros(3))
        with pytest.raises(websockets.InvalidStatus) as status:
            connect(f"ws://127.0.0.1:{server.port}")
        assert status.value.response.status_code == 503


def test_a_newer_version_takes_over_without_a_lost_request() -> None:
    source = Known(seconds=0.001)
    with listening({"flow": source}, limits=Limits(reload=0.05)) as server, ThreadPoolExecutor(4) as pool:
        begun = threading.Semaphore(0)

        def work(seed: int) -> list[str]:
            versions: list[str] = []
            with Client(port=server.port) as client:
                while versions.count("2") < 5:
                    answer = client.infer(np.ones(3), seed=seed)
                    expected = known(np.ones((1, 3)), np.array([seed]), np.array([[0.5]]))[0]
                    versions.append(answer["version"])
                    assert np.array_equal(answer["actions"], expected + 1000 * (versions[-1] == "2"))
                    if len(versions) == 5:
                        begun.release()
            return versions

        work_of = [pool.submit(work, seed) for seed in range(4)]
        assert all(begun.acquire(timeout=30) for _ in work_of)
        source.now = "2"
        for versions in (each.result(60) for each in work_of):
            assert versions == sorted(versions)
            assert versions[:5] == ["1"] * 5
        assert 'guidedflow_reloads_total{outcome="done"} 1.0' in get(server, "metrics")[1]


def test_a_newer_checkpoint_is_served_and_a_damaged_one_is_not(run: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    shutil.move(copy / "checkpoints" / "4", tmp_path / "4")
    source = RunSource(copy, lambda trained: trained.policy("flow"))
    with listening({"flow": source}, limits=Limits(reload=0.05)) as server, Client(port=server.port) as client:
        assert client.infer(np.ones(3))["version"] == "step 2"
        (copy / "checkpoints" / "3").mkdir()
        with pytest.warns(UserWarning, match="damaged"):
            waited(lambda: "guidedflow_reloads_total{" in get(server, "metrics")[1])
        assert client.infer(np.ones(3))["version"] == "step 2"
        shutil.move(tmp_path / "4", copy / "checkpoints" / "4")
        waited(lambda: client.infer(np.ones(3))["version"] == "step 4")
        expected = Trained.open(copy).policy("flow")(np.ones(3), jax.random.key(1))
        assert np.array_equal(client.act(np.ones(3), seed=1)[0], expected)


def test_what_was_asked_is_answered_when_the_server_is_to_stop() -> None:
    source = Known()
    with listening({"flow": source}) as server, ThreadPoolExecutor(4) as pool:
        source.hold.clear()
        clients = [Client(port=server.port, timeout=3, retry_busy=False) for _ in range(4)]
        for client in clients:
            client.metadata()
        answers = [pool.submit(client.act, np.ones(3), seed=i) for i, client in enumerate(clients)]
        waited(lambda: "guidedflow_queue 3.0" in get(server, "metrics")[1])
        server.stop()  # type: ignore[attr-defined]
        waited(lambda: not server.ready)
        source.hold.set()
        for seed, answer in enumerate(answers):
            assert np.array_equal(answer.result(10), known(np.ones((1, 3)), np.array([seed]), np.array([[0.5]]))[0])
        for client in clients:
            with pytest.raises(TimeoutError):
                asked_on(client)
            client.close()


def asked_on(client: Client) -> None:
    """A few more requests may still be answered, if they were on their way."""
    for _ in range(20):
        client.act(np.ones(3), timeout=0.3)


def test_a_stop_does_not_wait_for_ever() -> None:
    source, begun = Known(), 0.0
    with (
        listening({"flow": source}, limits=Limits(drain=0.3)) as server,
        connect(f"ws://127.0.0.1:{server.port}") as robot,
    ):
        source.hold.clear()
        robot.recv()
        robot.send(pack({"observation": np.ones(3)}))
        waited(lambda: source.calls >= 2)
        begun = time.monotonic()
        server.stop()  # type: ignore[attr-defined]
        with pytest.raises(websockets.ConnectionClosed):
            robot.recv(timeout=10)
        source.hold.set()
    assert time.monotonic() - begun < 5


def test_a_public_host_without_a_token_and_a_port_in_use_get_a_sentence() -> None:
    with pytest.raises(InputError, match=r"--host 0.0.0.0 lets other machines in, so it needs --token-file"):
        Server({"flow": Known()}, host="0.0.0.0")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"Port {port} of 127.0.0.1 cannot be used: .*; choose another --port"):
            asyncio.run(Server({"flow": Known()}, port=port).serve(asyncio.Event()))


@pytest.mark.parametrize(("accelerated", "batches"), [(False, [8, 1, 1, 1]), (True, [11])])
def test_what_waits_is_one_call_in_buckets(accelerated: bool, batches: list[int]) -> None:
    """A CPU takes 8 of 11 at once and the rest one by one; an accelerator pads 11 to 16."""
    source, sizes = Known(), []
    opened = source.open()
    inner = opened.programs[1]

    def program(observations: Any, seeds: Any, weights: Any) -> Any:
        sizes.append(len(observations))
        return inner(observations, seeds, weights)

    opened.programs[1] = program

    async def work() -> list[Any]:
        dispatcher = Dispatcher({"flow": opened}, Metrics(), 64, 16)
        dispatcher._accelerated = accelerated
        futures = [dispatcher.submit(asked(seed), seed) for seed in range(11)]
        running = asyncio.create_task(dispatcher.run())
        answers = await asyncio.gather(*futures)
        running.cancel()
        dispatcher.close()
        return answers

    for seed, answer in enumerate(asyncio.run(work())):
        assert np.array_equal(answer.actions, known(np.ones((1, 3)), np.array([seed]), np.array([[0.5]]))[0])
    assert sizes == ([16] if accelerated else batches)


def asked(seed: int) -> Any:
    from guidedflow.serving.requests import parse

    return parse({"observation": np.ones(3), "seed": seed}, {"flow": Known.interface}, {"flow": (1,)}, 10.0)


def test_a_chunk_is_pulled_to_the_rest_of_the_last_one(chunked: Path) -> None:
    """Its actions are those of `Policy.bound`; steps within the delay come close to the rest, and metadata says so."""
    trained = Trained.open(chunked)
    policy, observation = trained.policy("flow"), np.array([0.3, -0.2, 0.1], np.float32)
    rest = np.full((3, 2), 0.4, np.float32)
    source = RunSource(chunked, lambda opened: opened.policy("flow"))
    with listening({"flow": source}) as server, Client(port=server.port, timeout=60) as client:
        assert client.metadata()["policies"]["flow"]["realtime"] is True
        free = client.act(observation, seed=3)
        found = client.act(observation, seed=3, rest=rest, delay=1)
        for fields, told in (
            ({"rest": rest[:, :1]}, "rest must be of shape"),
            ({"rest": np.zeros((5, 2))}, "1 to 4 steps"),
            ({"rest": 0.5}, "1 to 4 steps"),
            ({"rest": rest, "delay": 2}, "delay must be from 0 to 1"),
            ({"delay": 1}, "delay changes nothing"),
            ({"rest": rest * np.nan}, "finite"),
        ):
            assert told in str(refused(lambda fields=fields: client.act(observation, **fields)))
    target = np.concatenate([rest, np.zeros((2, 2), np.float32)])
    bound = policy.bound(jax.numpy.asarray(target.ravel()), jax.numpy.asarray(np.repeat(binding(5, 1, 2), 2)))
    expected = bound(observation, jax.random.key(3))
    np.testing.assert_allclose(found, np.asarray(expected).reshape(5, 2), atol=1e-6)
    assert np.abs(found[0] - 0.4).max() < np.abs(free[0] - 0.4).max()


@pytest.fixture(scope="module")
def chunked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a flow with chunks of five steps."""
    out = tmp_path_factory.mktemp("chunked") / "run"
    plan = Plan(2, batch_size=8, log_interval=2, horizon=5, chunk=True)
    begun(BC(hidden=(8, 8), flow_steps=3), line(), plan, out=out)
    return out
