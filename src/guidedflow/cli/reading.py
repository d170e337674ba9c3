"""Arguments into a command, and the command-line library's complaints into one sentence.

This module does not know which commands there are.
"""

import contextlib
import io
import itertools
import re
from collections.abc import Sequence
from typing import Any

import tyro

from guidedflow.algorithms import ALGORITHMS
from guidedflow.errors import InputError, did_you_mean
from guidedflow.studies import STUDIES

WORDS = frozenset(
    {"train", "evaluate", "sweep", "tune", "report", "plot", "data", "tasks", "demo", "study", "export", "serve"}
    | {"explain", "collect", "download", "list", "show", "validate", "convert", "clean", "split"}
    | {*ALGORITHMS, *STUDIES}
)
"""What may stand before the first flag."""


def read(commands: Any, arguments: list[str], defaults: Any = None) -> Any:
    """The one of `commands` that the arguments name, what is not typed as in `defaults`; else an `InputError`."""
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            return tyro.cli(
                commands,
                prog="guidedflow",
                description="Offline reinforcement learning with flow policies, guided by value.",
                args=arguments or ["--help"],
                default=tyro.MISSING_NONPROP if defaults is None else defaults,
                config=(tyro.conf.CascadeSubcommandArgs, tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
            )
    except SystemExit as leave:
        if leave.code in (0, None):
            raise
        raise InputError(_sentence(told.getvalue(), arguments)) from None


def _sentence(box: str, arguments: Sequence[str]) -> str:
    """The command-line library's box of lines, as one sentence."""
    inside = [line.strip("│| ") for line in box.splitlines()[1:-1]]
    text = " ".join(line for line in inside if line.strip("─-+"))
    words = itertools.takewhile(WORDS.__contains__, arguments)
    command = " ".join(["guidedflow", *words])
    if unknown := re.search(r"Unrecognized (?:or misplaced )?options: (\S+?)(,|\s|$)", text):
        word = unknown[1]
        known = re.findall(r"Available subcommands: ([\w, ]+?) For full", text)
        known = known[0].split(", ") if known else re.findall(r"(--[\w-]+)[ ,]", text.partition("Perhaps you meant")[2])
        elsewhere = re.search(rf"Perhaps you meant.*? {re.escape(word)}[ ,].*? in (guidedflow [\w ]+?) --help", text)
        if elsewhere:
            return f"{word!r} is an argument of '{elsewhere[1]}', not of '{command}'; see '{command} --help'."
        hint = did_you_mean(word, known) or (f"; expected one of {', '.join(known)}" if "Available" in text else "")
        return f"unknown argument {word!r}{hint}; see '{command} --help'."
    if missing := re.search(r"Missing from [^:]*: (.*?) For full", text):
        flags = re.findall(r"(?<![\w-])--?[a-z][\w-]*|\b[A-Z]{2,}\b", missing[1])
        return f"missing argument {flags[0] if flags else missing[1]}; see '{command} --help'."
    told = text.partition(" Argument helptext")[0].partition(" For full helptext")[0].rstrip(".")
    return f"{told}; see '{command} --help'."
