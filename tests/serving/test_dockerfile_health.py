"""The health check of the Dockerfile, run as Docker would, against a server that is ready and against none."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from serving_helpers import Known, listening

DOCKERFILE = Path(__file__).parents[2] / "Dockerfile"

pytestmark = pytest.mark.skipif(not DOCKERFILE.exists(), reason="an sdist has no Dockerfile")


def checked(port: int) -> int:
    """The exit status of the health check, at another port and with all the time that it needs."""
    lines = DOCKERFILE.read_text().replace("\\\n", " ").splitlines()
    words = json.loads(next(line for line in lines if line.startswith("HEALTHCHECK")).partition("CMD ")[2])
    assert words[0] == "python"
    code = words[2].replace(":8000", f":{port}").replace("timeout=2", "timeout=60")
    assert f":{port}/readyz" in code
    return subprocess.run([sys.executable, words[1], code], capture_output=True, timeout=120).returncode


def test_the_health_check_is_answered_by_a_server_that_is_ready() -> None:
    with listening({"policy": Known()}, token="secret") as server:  # the container's server has a token
        assert checked(server.port) == 0
        port = server.port
    assert checked(port) != 0
