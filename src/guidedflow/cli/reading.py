"""Arguments into a command, and the command-line library's complaints into one sentence.

This module does not know which commands there are.
"""

import contextlib
import io
import itertools
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from guidedflow.algorithms import ALGORITHMS
from guidedflow.errors import InputError, did_you_mean
from guidedflow.settings import AUTO, Automatic, is_auto
from guidedflow.studies import STUDIES

WORDS = frozenset(
    {
        "train",
        "evaluate",
        "finetune",
        "sweep",
        "tune",
        "report",
        "plot",
        "data",
        "tasks",
        "demo",
        "study",
        "export",
        "serve",
    }
    | {"explain", "collect", "download", "list", "show", "validate", "convert", "clean", "split"}
    | {*ALGORITHMS, *STUDIES}
)
"""What may stand before the first flag."""


SYNONYMS = {
    "--batch": "--batch-size",
    "--data": "--dataset",
    "--dataset-path": "--dataset",
    "--env-name": "--task",
    "--epochs": "--steps",
    "--gamma": "--discount",
    "--iterations": "--steps",
    "--layers": "--hidden",
    "--lr": "--learning-rate",
    "--n-steps": "--horizon",
    "--num-seeds": "--seeds",
    "--num-steps": "--steps",
    "--max-steps": "--steps",
    "--output": "--out",
    "--save-interval": "--checkpoint-interval",
    "--width": "--hidden",
}
"""What other programs call a flag, and what it is called here."""

LANGUAGE = ConstructorRegistry()
"""How numbers may be typed: `1e4` and `10_000` as a count, `64,64` and `64 64` as sizes."""


@LANGUAGE.primitive_rule
def _number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    parsers: dict[Any, Callable[[str], Any]] = {int: _whole, float: _real}
    parse = parsers.get(info.type)
    if parse is None:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT" if info.type is int else "FLOAT",
        instance_from_str=lambda words: parse(words[0]),
        is_instance=lambda value: isinstance(value, info.type if info.type is int else int | float),
        str_from_instance=lambda value: [str(value)],
    )


@LANGUAGE.primitive_rule
def _automatic(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    if info.type != Automatic:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="FLOAT|auto",
        instance_from_str=lambda words: AUTO if words[0] == AUTO else _real(words[0], " or auto"),
        is_instance=lambda value: isinstance(value, int | float) or is_auto(value),
        str_from_instance=lambda value: [str(value)],
    )


@LANGUAGE.primitive_rule
def _numbers(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    kinds: dict[Any, tuple[str, Callable[[str], Any]]] = {
        tuple[int, ...]: ("INT", _whole),
        tuple[float, ...]: ("FLOAT", _real),
    }
    if info.type not in kinds:
        return None
    name, parse = kinds[info.type]
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=f"[{name} [{name} ...]]",
        instance_from_str=lambda words: tuple(parse(part) for word in words for part in _split(word)),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda values: [str(value) for value in values],
    )


def _split(word: str) -> list[str]:
    """The numbers of one word: `64,64`, also as Python prints them."""
    return [part for part in re.split(r"[,\s]+", word.strip("[]()")) if part] or [word]


def _real(word: str, others: str = "") -> float:
    try:
        return float(word)
    except ValueError:
        raise ValueError(f"must be a number{others}, but is {word!r}") from None


def _whole(word: str) -> int:
    with contextlib.suppress(ValueError):
        return int(word)
    number = math.nan
    with contextlib.suppress(ValueError):
        number = float(word)
    if not math.isfinite(number) or number != int(number):
        raise ValueError(f"must be a whole number, but is {word!r}")
    return int(number)


def read(commands: Any, arguments: list[str], defaults: Any = None, prog: str = "guidedflow") -> Any:
    """The one of `commands` that the arguments name, what is not typed as in `defaults`; else an `InputError`."""
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            return tyro.cli(
                commands,
                prog=prog,
                description="Offline reinforcement learning with flow policies, guided by value.",
                args=arguments or ["--help"],
                registry=LANGUAGE,
                default=tyro.MISSING_NONPROP if defaults is None else defaults,
                config=(tyro.conf.CascadeSubcommandArgs, tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
            )
    except SystemExit as leave:
        if leave.code in (0, None):
            raise
        raise InputError(_sentence(told.getvalue(), arguments, prog)) from None


def _sentence(box: str, arguments: Sequence[str], prog: str) -> str:
    """The command-line library's box of lines, as one sentence."""
    inside = [line.strip("│| ") for line in box.splitlines()[1:-1]]
    text = " ".join(line for line in inside if line.strip("─-+"))
    words = itertools.takewhile(WORDS.__contains__, arguments)
    command = " ".join([prog, *words])
    if unknown := re.search(r"Unrecognized (?:or misplaced )?options: (\S+?)(,|\s|$)", text):
        word = unknown[1]
        known = re.findall(r"Available subcommands: ([\w, ]+?) For full", text)
        known = known[0].split(", ") if known else re.findall(r"(--[\w-]+)[ ,]", text.partition("Perhaps you meant")[2])
        elsewhere = re.search(rf"Perhaps you meant.*? {re.escape(word)}[ ,].*? in (guidedflow [\w ]+?) --help", text)
        if word in SYNONYMS and (SYNONYMS[word] in text or command.startswith("guidedflow train")):
            return f"unknown argument {word!r} (did you mean {SYNONYMS[word]!r}?); see '{command} --help'."
        if elsewhere:
            return f"{word!r} is an argument of '{elsewhere[1]}', not of '{command}'; see '{command} --help'."
        hint = did_you_mean(word, known) or (f"; expected one of {', '.join(known)}" if "Available" in text else "")
        kind = "command" if word == arguments[0] and not word.startswith("-") else "argument"
        if arguments[:2] == ["train", word] and not word.startswith("-"):
            kind = "algorithm"
        return f"unknown {kind} {word!r}{hint}; see '{command} --help'."
    if missing := re.search(r"Missing from [^:]*: (.*?) For full", text):
        flags = re.findall(r"(?<![\w-])--?[a-z][\w-]*|\b[A-Z]{2,}\b", missing[1])
        return f"missing argument {flags[0] if flags else missing[1]}; see '{command} --help'."
    told = text.partition(" Argument helptext")[0].partition(" For full helptext")[0].rstrip(".")
    told = re.sub(r"^Error parsing (-\S+): must", r"\1 must", told)
    return f"{told}; see '{command} --help'."
