"""`guidedflow serve`: which policies are served, to whom, and within which limits.

This module does not know how a request is answered.
"""

import logging
import os
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from guidedflow.cli.steering import Steering
from guidedflow.errors import InputError
from guidedflow.runs.trained import Trained
from guidedflow.serving.extras import needing
from guidedflow.serving.sources import ExportSource, RunSource, Source, is_export
from guidedflow.settings import check_ranges


@dataclass(frozen=True)
class Serve:
    """Serve policies of runs or exports over a websocket, as openpi's clients speak it."""

    path: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]")]
    """Folders of runs or exports, each as PATH or NAME=PATH; the first is what a request gets that names none."""
    steering: Steering
    policy: tuple[str, ...] = ()
    """Policies of a single run, each under its name, the first by default; by default the main one."""
    host: str = "127.0.0.1"
    """Address to listen on; another one than this machine's own needs a token."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    token_file: Path | None = None
    """File with the token that clients must send."""
    batch: int = 1
    """Most requests in one call, a power of two; pays on accelerators, and on a CPU from 8 waiting on."""
    queue: int = 64
    """Requests that may wait; others are refused as busy."""
    deadline: float = 10.0
    """Seconds after which a request is refused; it may ask for less."""
    connections: int = 256
    """Clients at once."""
    reload: float = 2.0
    """Seconds between looks for a newer checkpoint or export; 0 never looks."""
    server_seed: int = 0
    """Chooses the keys of requests that name no seed."""
    record: Path | None = None
    """File, ending in .npz, that observations and actions are recorded into, for `guidedflow data`."""
    log_requests: bool = False
    """Print a line of JSON on standard error for each request."""

    def run(self) -> None:
        if not self.path:
            raise InputError("missing argument RUN; see 'guidedflow serve --help'.")
        self.steering.check()
        check_ranges(
            self, port=(0, 65535), batch=(1, 1024), queue=(1, 100_000), deadline=(1e-3, 3600), reload=(0, 3600),
            connections=(1, 100_000), server_seed=(0, 2**31 - 1),
        )  # fmt: skip
        if self.batch & (self.batch - 1):
            raise InputError(f"--batch must be a power of two, but is {self.batch}.")
        with needing("guidedflow serve", "serve"):
            from guidedflow.serving.server import Limits, Server
        _log_to_standard_error()
        limits = Limits(
            queue=self.queue, batch=self.batch, deadline=self.deadline, reload=self.reload, connections=self.connections
        )
        server = Server(
            self._sources(),
            host=self.host, port=self.port, token=self._token(), limits=limits, seed=self.server_seed,
            record=self.record, log_requests=self.log_requests,
        )  # fmt: skip
        server.run()
        if server.stuck:  # a call that takes longer than the server may take to stop
            os._exit(0)

    def _token(self) -> str | None:
        """The contents of the token file. Raises `InputError` for one that cannot be read, or is too short."""
        if self.token_file is None:
            return None
        try:
            token = self.token_file.expanduser().read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"--token-file {self.token_file} cannot be read: {error}.") from None
        if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
            raise InputError(
                f"--token-file {self.token_file} must hold at least 16 printable characters without spaces; make one "
                "by: python -c 'import secrets; print(secrets.token_urlsafe())'."
            )
        return token

    def _sources(self) -> dict[str, Source]:
        """What is served, by name."""
        sources: dict[str, Source] = {}
        for word in self.path:
            name, _, place = word.rpartition("=")
            path = Path(place)
            if is_export(path):
                self._refuse_steering(path)
                found: dict[str, Source] = {name or _stem(path): ExportSource(path)}
            else:
                found = self._of_run(name, path)
            for each, source in found.items():
                if each in sources:
                    raise InputError(f"Two policies would be served as {each!r}; name them by NAME=PATH.")
                sources[each] = source
        return sources

    def _of_run(self, name: str, path: Path) -> dict[str, Source]:
        """The named policies of a run, under the name given or their own."""
        trained = Trained.open(path, self.steering.step)
        asked = [self.steering.name(trained, policy) for policy in self.policy or (None,)]
        if name and len(asked) > 1:
            raise InputError(f"{name}={path} names one policy, but --policy names {len(asked)}; name one.")
        steering = self.steering
        return {
            name or (policy if len(self.path) == 1 else _stem(path)): RunSource(
                path, partial(steering.policy, name=policy), steering.step, steering.parts, steering.candidates
            )
            for policy in asked
        }

    def _refuse_steering(self, path: Path) -> None:
        """Raise `InputError` for a flag that an export cannot follow."""
        changed = [field.name for field in fields(Steering) if getattr(self.steering, field.name) != field.default]
        changed += ["policy"] if self.policy else []
        if changed:
            flag = changed[0].replace("_", "-")
            raise InputError(
                f"{path} is an export, which acts as it was written; leave --{flag} out, or serve its run."
            )


def _stem(path: Path) -> str:
    return path.expanduser().resolve().name


def _log_to_standard_error() -> None:
    """Show what the server says; of connections that break it says nothing."""
    ours = logging.getLogger("guidedflow")
    if not ours.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    logging.getLogger("guidedflow.serving.server.websockets").setLevel(logging.CRITICAL)
