"""Downloads from a server on this machine that has every fault: what is not whole and right is never left behind."""

import contextlib
import hashlib
import http.server
import io
import json
import multiprocessing
import re
import threading
import time

import numpy as np
import pytest

from guidedflow.cli import main
from guidedflow.data.formats import minari
from guidedflow.data.obtain import download as downloads
from guidedflow.data.obtain import inventory, transfer
from guidedflow.data.obtain.download import download, find, published
from guidedflow.data.obtain.transfer import Known, Patience, fetch
from guidedflow.errors import InputError

QUICK = Patience(attempts=3, pause=0.001, timeout=2)
NAME = "scene-play-v0.npz"


def archive(seed=0):
    """An npz file of some 90 kB."""
    file = io.BytesIO()
    np.savez(file, observations=np.random.default_rng(seed).normal(size=(200, 56)))
    return file.getvalue()


WHOLE, OTHER = archive(0), archive(1)
KNOWN = Known(len(WHOLE), hashlib.sha256(WHOLE).hexdigest())


class Server(http.server.ThreadingHTTPServer):
    """Serves `contents`, as a list of behaviours says, one an answer; the last of them for good."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.contents, self.behaviours, self.asked = WHOLE, ["well"], []

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}/data"

    def behave(self, *behaviours, contents=WHOLE):
        self.behaviours, self.contents = list(behaviours), contents
        return self


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range")))
        behaviours = self.server.behaviours
        behaviour = behaviours.pop(0) if len(behaviours) > 1 else behaviours[0]
        getattr(self, behaviour)()

    def answer(self, status, body=b"", claimed=None, kind="application/octet-stream", **headers):
        self.close_connection = True
        self.send_response(status)
        if claimed is not False:
            self.send_header("Content-Length", str(len(body) if claimed is None else claimed))
        for name, value in {"Content-Type": kind, "Connection": "close", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def well(self):
        begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        contents = self.server.contents
        if begin >= len(contents):
            self.answer(416)
        elif begin:
            self.answer(206, contents[begin:], Content_Range=f"bytes {begin}-{len(contents) - 1}/{len(contents)}")
        else:
            self.answer(200, contents)

    def slowly(self):
        time.sleep(0.15)
        self.well()

    def cut(self):
        """Half of what was asked for, then silence."""
        begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        contents = self.server.contents
        rest = contents[begin:]
        if begin:
            where = f"bytes {begin}-{len(contents) - 1}/{len(contents)}"
            self.answer(206, rest[: len(rest) // 2], len(rest), Content_Range=where)
        else:
            self.answer(200, rest[: len(rest) // 2], len(rest))

    def at_once(self):
        """Headers, and not one byte."""
        self.answer(200, b"", len(self.server.contents))

    def whole(self):
        """All of it, whatever range was asked for."""
        self.answer(200, self.server.contents)

    def unsized(self):
        self.answer(200, self.server.contents, claimed=False)

    def unsized_cut(self):
        self.answer(200, self.server.contents[:40_000], claimed=False)

    def other_range(self):
        self.answer(206, self.server.contents, Content_Range=f"bytes 7-9/{len(self.server.contents)}")

    def refused(self):
        self.answer(403, b"no")

    def unknown(self):
        self.answer(404, b"no")

    def gone(self):
        self.answer(410)

    def busy(self):
        self.answer(503)

    def too_many(self):
        self.answer(429)

    def broken(self):
        self.answer(500)

    def page(self):
        self.answer(200, b"<!doctype html><title>Sign in</title>", kind="text/html; charset=utf-8")

    def hidden_page(self):
        self.answer(200, b"<!doctype html><title>Sign in</title>")

    def error_object(self):
        self.answer(200, b'{"error": "quota"}', kind="application/json")

    def nothing(self):
        self.answer(200)

    def damaged(self):
        hurt = bytearray(self.server.contents)
        hurt[5000] ^= 0xFF
        self.answer(200, bytes(hurt))

    def hang_up(self):
        self.close_connection = True
        self.connection.close()

    def nonsense(self):
        self.close_connection = True
        self.wfile.write(b"hello\r\n\r\n")

    def moved(self):
        self.answer(302, Location=f"{self.server.address}/elsewhere")

    def in_circles(self):
        self.answer(302, Location=self.path)


@contextlib.contextmanager
def serving():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def both():
    with serving() as first, serving() as second:
        yield first, second


@pytest.fixture
def first(both):
    both[0].asked.clear()
    return both[0].behave("well")


@pytest.fixture
def second(both):
    both[1].asked.clear()
    return both[1].behave("well")


def get(path, *servers, known=None, whole=True):
    addresses = [f"{server.address}/{path.name}" for server in servers]
    return fetch(addresses, path, known, downloads._whole if whole else None, QUICK)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


RECOVERED = {
    "at once": ["well"],
    "cut once": ["cut", "well"],
    "cut many times": ["cut"] * 8 + ["well"],
    "cut, then without ranges": ["cut", "whole"],
    "no byte at first": ["at_once", "at_once", "well"],
    "busy": ["busy", "too_many", "well"],
    "broken": ["broken", "cut", "broken", "cut", "broken", "well"],
    "hung up": ["hang_up", "well"],
    "no HTTP": ["nonsense", "well"],
    "without a size": ["unsized"],
    "moved": ["moved", "well"],
}


@pytest.mark.parametrize("known", [None, KNOWN], ids=["unknown", "checksum"])
@pytest.mark.parametrize("behaviours", RECOVERED.values(), ids=RECOVERED)
def test_what_breaks_off_goes_on(tmp_path, first, behaviours, known):
    first.behave(*behaviours)
    assert get(tmp_path / NAME, first, known=known)
    assert (tmp_path / NAME).read_bytes() == WHOLE
    assert names(tmp_path) == [NAME]


REFUSED = {
    "refused": "403 Forbidden",
    "unknown": "404 Not Found",
    "gone": "410 Gone",
    "busy": "503 Service Unavailable",
    "too_many": "429 Too Many Requests",
    "page": r"a page \(text/html\) instead of data",
    "hidden_page": "no data, but something that begins with b'<!doctype ht'",
    "error_object": r"a page \(application/json\) instead of data",
    "nothing": "nothing, 0 bytes",
    "damaged": "damage",
    "unsized_cut": "damage",
    "hang_up": "broke off|no connection",
    "nonsense": "broke off",
    "at_once": "broke off after 0 of",
    "other_range": "another range than the one that was asked for",
    "in_circles": "302",
}


@pytest.mark.parametrize("behaviour", REFUSED)
def test_what_a_server_gets_wrong_leaves_no_file(tmp_path, first, behaviour):
    first.behave(behaviour)
    with pytest.raises(InputError, match=REFUSED[behaviour]) as told:
        get(tmp_path / NAME, first)
    assert "\n" not in str(told.value)
    assert names(tmp_path) == []


@pytest.mark.parametrize("behaviour", REFUSED)
def test_a_second_server_takes_over(tmp_path, first, second, behaviour):
    first.behave(behaviour)
    assert get(tmp_path / NAME, first, second)
    assert (tmp_path / NAME).read_bytes() == WHOLE
    assert names(tmp_path) == [NAME]
    assert second.asked


def test_a_wrong_checksum_or_size_leaves_no_file(tmp_path, first):
    for wrong, told in ((Known(None, "0" * 64), "a wrong checksum"), (Known(7), "where 7 are published")):
        with pytest.raises(InputError, match=told):
            get(tmp_path / NAME, first, known=wrong)
        assert names(tmp_path) == []


def test_a_second_server_goes_on_where_the_first_broke_off(tmp_path, first, second):
    first.behave("cut", "refused")
    get(tmp_path / NAME, first, second)
    half = len(WHOLE) // 2
    assert [asked for _, asked in first.asked + second.asked] == [None, f"bytes={half}-", f"bytes={half}-"]
    assert (tmp_path / NAME).read_bytes() == WHOLE


def test_a_part_is_kept_for_the_next_time_and_never_mixed_with_another_file(tmp_path, first):
    first.behave("cut", "refused")
    with pytest.raises(InputError, match="403"):
        get(tmp_path / NAME, first)
    assert names(tmp_path) == [f".{NAME}.part", f".{NAME}.part.json"]
    first.asked.clear()
    get(tmp_path / NAME, first.behave("well"))
    assert first.asked[0][1] == f"bytes={len(WHOLE) // 2}-"
    assert names(tmp_path) == [NAME]
    (tmp_path / NAME).unlink()
    # Of the same size: the checksums of the archive tell that half of it is another file's, and it is fetched anew.
    first.behave("cut", "refused")
    with pytest.raises(InputError, match="403"):
        get(tmp_path / NAME, first)
    assert len(OTHER) == len(WHOLE)
    get(tmp_path / NAME, first.behave("well", contents=OTHER))
    assert (tmp_path / NAME).read_bytes() == OTHER
    (tmp_path / NAME).unlink()
    # Of another size: it is never joined.
    (tmp_path / f".{NAME}.part").write_bytes(WHOLE[:100])
    (tmp_path / f".{NAME}.part.json").write_text(json.dumps({"bytes": 99_999}))
    get(tmp_path / NAME, first.behave("well"))
    assert (tmp_path / NAME).read_bytes() == WHOLE


def test_a_part_that_had_all_arrived_is_only_checked_and_renamed(tmp_path, first):
    (tmp_path / f".{NAME}.part").write_bytes(WHOLE)
    (tmp_path / f".{NAME}.part.json").write_text(json.dumps({"bytes": len(WHOLE)}))
    get(tmp_path / NAME, first)
    assert [asked for _, asked in first.asked] == [f"bytes={len(WHOLE)}-"]
    assert (tmp_path / NAME).read_bytes() == WHOLE
    assert names(tmp_path) == [NAME]


def test_a_file_that_is_there_is_left_alone(tmp_path, first):
    (tmp_path / NAME).write_bytes(b"mine")
    assert not get(tmp_path / NAME, first)
    with pytest.raises(InputError, match=r"exists and has 4 bytes, where .* are published: it is another file"):
        get(tmp_path / NAME, first, known=KNOWN)
    assert (tmp_path / NAME).read_bytes() == b"mine"
    assert not first.asked


def test_many_at_once_fetch_it_once(tmp_path, first):
    first.behave("slowly")
    found = []
    threads = [threading.Thread(target=lambda: found.append(get(tmp_path / NAME, first))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [False, False, False, True]
    assert len(first.asked) == 1
    assert names(tmp_path) == [NAME]


def test_another_process_waits_and_finds_it(tmp_path, first):
    first.behave("slowly")
    context = multiprocessing.get_context("spawn")
    address, path = f"{first.address}/{NAME}", tmp_path / NAME
    others = [context.Process(target=fetch, args=([address], path)) for _ in range(2)]
    for other in others:
        other.start()
    for other in others:
        other.join(60)
    assert [other.exitcode for other in others] == [0, 0]
    assert len(first.asked) == 1
    assert path.read_bytes() == WHOLE


def test_a_disk_that_is_full_or_refuses_is_one_sentence(tmp_path, first, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=r"cannot be written: (Not a directory|File exists)"):
        get(tmp_path / "file" / NAME, first)
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match=r"needs [\d,]+ bytes, but its disk has 10; make room or choose --out"):
        get(tmp_path / NAME, first)
    assert NAME not in names(tmp_path)


@pytest.fixture
def no_other_server(monkeypatch):
    table = {"servers": {"ogbench": [], "d4rl": []}, "checksums": {}}
    monkeypatch.setattr(downloads, "_table", lambda: table)
    return table


def test_both_files_of_a_task_arrive_where_its_suite_looks(tmp_path, first, no_other_server, capsys):
    main(["data", "download", "scene-play-singletask-task1-v0", "--out", str(tmp_path), "--server", first.address])
    told = capsys.readouterr()
    assert told.out.split() == [str(tmp_path / NAME), str(tmp_path / "scene-play-v0-val.npz")]
    assert f"{NAME}: {len(WHOLE):,} of {len(WHOLE):,} bytes" in told.err
    assert [path for path, _ in first.asked] == [f"/data/{NAME}", "/data/scene-play-v0-val.npz"]


def test_slices_arrive_in_a_folder_of_their_own(tmp_path, first, no_other_server):
    paths = download("cube-triple-play-100m-v0", tmp_path, first.address, slices=2, patience=QUICK)
    assert [path.name for path in paths] == [
        f"cube-triple-play-v0-00{i}{kind}.npz" for i in (0, 1) for kind in ("", "-val")
    ]
    assert {path.parent for path in paths} == {tmp_path / "cube-triple-play-100m-v0"}
    assert first.asked[1][0] == "/data/cube-triple-play-100m-v0/cube-triple-play-v0-000-val.npz"
    assert len(find("humanoidmaze-giant-navigate-100m-v0").files) == 50
    for name, slices in (("cube-triple-play-100m-v0", 101), ("cube-triple-play-100m-v0", 0), ("scene-play-v0", 1)):
        with pytest.raises(InputError, match="--slices must be 1 to"):
            download(name, tmp_path, slices=slices)


@pytest.mark.parametrize(
    ("name", "remote", "local"),
    [
        ("door-human-v1", "hand_dapg_v1/door-human-v1.hdf5", "door-human-v1.hdf5"),
        ("hopper-medium-replay-v2", "gym_mujoco_v2/hopper_medium_replay-v2.hdf5", "hopper_medium_replay-v2.hdf5"),
        (
            "antmaze-umaze-v2",
            "ant_maze_v2/Ant_maze_u-maze_noisy_multistart_False_multigoal_False_sparse_fixed.hdf5",
            "Ant_maze_u-maze_noisy_multistart_False_multigoal_False_sparse_fixed.hdf5",
        ),
    ],
)
def test_d4rls_files_keep_its_names(name, remote, local):
    assert find(name).files == ((remote, local),)


def test_without_a_network_the_sentence_tells_how_to_make_the_data(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        downloads, "_table", lambda: {"servers": {"ogbench": ["http://nowhere.invalid"]}, "checksums": {}}
    )
    for name, collect in (("scene-play-v0", True), ("antmaze-large-navigate-v0", False)):
        with pytest.raises(SystemExit, match="2"):
            main(["data", "download", name, "--out", str(tmp_path)])
        told = capsys.readouterr().err
        assert told.count("\n") == 1
        assert "nowhere.invalid: no connection" in told
        assert (f"`guidedflow data collect {name}`" in told) == collect
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["scene-plai-v0"], r"unknown dataset 'scene-plai-v0' \(did you mean 'scene-play-v0'\?\)"),
        (["../../etc-v0"], "unknown dataset"),
        (["scene-play-v0", "--server", "file:///etc"], "--server must begin with http:// or https://"),
    ],
)
def test_names_and_servers_that_are_none(tmp_path, capsys, arguments, sentence):
    with pytest.raises(SystemExit, match="2"):
        main(["data", "download", *arguments, "--out", str(tmp_path / "here")])
    assert re.search(sentence, capsys.readouterr().err)
    assert names(tmp_path) == []


def test_checksums_are_of_files_that_are_published():
    table = downloads._table()
    local = {file for names in published().values() for name in names if find(name) for _, file in find(name).files}
    assert table["checksums"].keys() <= local
    for known in table["checksums"].values():
        assert len(bytes.fromhex(Known(**known).sha256)) == 32
    assert all(len(servers) > 1 for servers in table["servers"].values())


def test_the_published_files_at_hand_have_their_checksums(shared_data):
    for path in shared_data.iterdir():
        known = downloads._known(path.name)
        assert known == Known(path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())


class Package:
    """Stands for Minari's server."""

    def __init__(self, monkeypatch, made, fault=None):
        import minari as package

        self.made, self.fault = made, fault
        monkeypatch.setattr(package, "download_dataset", self)

    def __call__(self, name):
        if isinstance(self.fault, Exception):
            raise self.fault
        path = minari.folder() / name
        path.parent.mkdir(parents=True)
        minari.write(self.made, path)
        if self.fault:
            self.fault(path)


@pytest.fixture
def line(tmp_path, monkeypatch):
    from tiny_data import line

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return line(episodes=2, length=4)


def test_minaris_datasets_come_by_its_package_and_appear_whole(tmp_path, monkeypatch, line):
    package = Package(monkeypatch, line)
    assert download("arm/reach-v0") == [tmp_path / "minari/arm/reach-v0"]
    assert len(minari.load(tmp_path / "minari/arm/reach-v0", "arm/reach-v0")) == len(line)
    package.fault = AssertionError("asked twice")
    assert download("arm/reach-v0") == [tmp_path / "minari/arm/reach-v0"]
    assert names(tmp_path / "minari") == ["arm"]


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (ConnectionError(101, "Network is unreachable"), "could not be downloaded: Network is unreachable"),
        (ValueError("no such\ndataset"), "could not be downloaded by the minari package: no such dataset"),
        (ImportError("huggingface_hub is not installed"), "huggingface_hub is not installed"),
        (lambda path: (path / "data/main_data.hdf5").write_bytes(b""), "arrived, but is not whole"),
    ],
)
def test_what_minaris_package_gets_wrong_leaves_nothing(tmp_path, monkeypatch, line, fault, sentence):
    Package(monkeypatch, line, fault)
    with pytest.raises(InputError, match=sentence) as told:
        download("arm/reach-v0")
    assert "\n" not in str(told.value)
    assert ".part" not in str(told.value)
    assert names(tmp_path / "minari") == []


@pytest.fixture
def disk(tmp_path, monkeypatch, line):
    """The suites' own folders, with something in each."""
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path / "d4rl"))
    for module in (inventory, downloads):
        monkeypatch.setattr(module, "FOLDER", tmp_path / "ogbench")
    for folder in ("ogbench", "d4rl", "minari/arm"):
        (tmp_path / folder).mkdir(parents=True)
    minari.write(line, tmp_path / "minari/arm/reach-v0")
    for name in ("scene-play-v0.npz", "scene-play-v0-val.npz", "cube-double-play-v0.npz", "mine-v0.npz"):
        (tmp_path / "ogbench" / name).write_bytes(b"12345")
    (tmp_path / "d4rl/hopper_medium-v2.hdf5").write_bytes(b"123")
    return tmp_path


def test_the_list_tells_what_can_be_had_and_what_is_here(disk, capsys):
    main(["data", "list", "--json"])
    told = json.loads(capsys.readouterr().out)
    entries = {entry["name"]: entry for entry in told["datasets"]}
    assert told["folders"]["d4rl"] == str(disk / "d4rl")
    scene = entries["scene-play-v0"]
    assert (scene["episodes"], scene["download"], scene["bytes"], scene["complete"]) == (1000, True, 10, True)
    assert scene["path"] == str(disk / "ogbench/scene-play-v0.npz")
    assert not entries["cube-double-play-v0"]["complete"]
    assert entries["antmaze-large-navigate-v0"]["episodes"] is entries["door-human-v1"]["path"] is None
    assert (entries["hopper-medium-v2"]["bytes"], entries["arm/reach-v0"]["suite"]) == (3, "minari")
    assert not entries["mine-v0"]["download"]
    assert len(entries) == len(told["datasets"])
    main(["data", "list"])
    lines = {line.split()[1]: line for line in capsys.readouterr().out.splitlines() if line.startswith("│")}
    assert lines.keys() == entries.keys()
    assert "incomplete" in lines["cube-double-play-v0"]
