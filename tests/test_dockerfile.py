"""The Dockerfile, as far as reading shows: what it copies exists, and what it runs is a command of this package."""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from guidedflow.cli import parsed
from guidedflow.cli.serve import Serve

ROOT = Path(__file__).parents[1]
LINES = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines() if (ROOT / "Dockerfile").exists() else []

pytestmark = pytest.mark.skipif(not LINES, reason="an sdist has no Dockerfile")


def instructions(name: str) -> list[str]:
    return [line.removeprefix(name).strip() for line in LINES if line.startswith(f"{name} ")]


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    sources = [word for line in instructions("COPY") if "--from" not in line for word in line.split()[:-1]]
    assert {"src", "pyproject.toml"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, pattern) for pattern in allowed), source


def test_images_have_plain_names_and_the_server_is_no_root() -> None:
    assert {line.split()[0] for line in instructions("FROM")} == {"python:3.12-slim"}
    last = LINES[max(at for at, line in enumerate(LINES) if line.startswith("FROM ")) :]
    assert "USER policy" in last
    assert last.index("USER policy") < next(at for at, line in enumerate(last) if line.startswith("ENTRYPOINT"))


def test_it_serves_and_checks_its_health_on_one_port() -> None:
    words = re.findall(r'"([^"]*)"', instructions("ENTRYPOINT")[0] + instructions("CMD")[0])
    assert words[0] == "guidedflow"
    command = parsed(words[1:])
    assert isinstance(command, Serve)
    assert str(command.port) == instructions("EXPOSE")[0]
    assert f"127.0.0.1:{command.port}/readyz" in " ".join(LINES)
    assert command.host != "127.0.0.1"
    assert command.token_file is not None


def test_what_the_wheel_is_made_of_is_copied() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    hooks = project["tool"]["hatch"]
    named = [*project["project"]["license-files"], hooks["version"]["path"], "constraints.txt"]
    named += [each["path"] for each in hooks["metadata"]["hooks"]["fancy-pypi-readme"]["fragments"]]
    sources = [word for line in instructions("COPY") if "--from" not in line for word in line.split()[:-1]]
    for name in named:
        assert name.split("/")[0] in sources, name
    extras = re.findall(r"'\.\[([\w,]+)\]'", instructions("RUN")[0])[0].split(",")
    assert set(extras) <= project["project"]["optional-dependencies"].keys()
    python = re.findall(r"python:(3\.\d+)", instructions("FROM")[0])[0]
    assert f"Programming Language :: Python :: {python}" in project["project"]["classifiers"]
