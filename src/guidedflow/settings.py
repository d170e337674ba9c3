"""Settings: frozen dataclasses whose numbers can be traced, and choices that are functions.

A float setting is a leaf of the pytree, so one compiled update serves every value of it, and a sweep over values is a
`jax.vmap`. All else (sizes, counts, choices) is static structure. This module does not know what is set, nor who
reads it.
"""

import dataclasses
import enum
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeVar, dataclass_transform

import jax
import numpy as np

from guidedflow.errors import InputError, did_you_mean

T = TypeVar("T")

AUTO = "auto"
"""What stands in the place of a number that is found while training."""

Automatic = float | Literal["auto"]
"""The type of a setting that is a number, or is found while training; only the number is a leaf."""


def is_auto(value: Any) -> bool:
    """Whether a setting is found while training; a traced number cannot be compared with a word."""
    return isinstance(value, str) and value == AUTO


@dataclass_transform(frozen_default=True)
def hyperparameters(cls: type[T]) -> type[T]:
    """Class decorator: a frozen dataclass and a pytree; float fields and nested settings are its leaves.

    It is checked by `check_settings` where it has no `__post_init__` of its own.
    """
    if not hasattr(cls, "__post_init__"):
        cls.__post_init__ = check_settings  # type: ignore[attr-defined]
    frozen = dataclasses.dataclass(frozen=True)(cls)
    hints = typing.get_type_hints(frozen)
    names = [field.name for field in dataclasses.fields(frozen)]  # type: ignore[arg-type]
    traced = [name for name in names if _is_traced(hints[name])]
    static = [name for name in names if name not in traced]

    def flatten(settings: T) -> tuple[list[tuple[Any, Any]], tuple[tuple[str, Any], ...]]:
        fixed = [name for name in traced if _is_structure(getattr(settings, name))]
        leaves = [(jax.tree_util.GetAttrKey(name), getattr(settings, name)) for name in traced if name not in fixed]
        return leaves, tuple((name, getattr(settings, name)) for name in [*static, *fixed])

    def unflatten(structure: tuple[tuple[str, Any], ...], leaves: Iterable[Any]) -> T:
        settings = object.__new__(frozen)  # past the constructor, whose types a tracer does not have
        fixed = dict(structure)
        for name, value in fixed.items():
            object.__setattr__(settings, name, value)
        for name, value in zip([name for name in traced if name not in fixed], leaves, strict=True):
            object.__setattr__(settings, name, value)
        return settings

    jax.tree_util.register_pytree_with_keys(frozen, flatten, unflatten)
    return frozen


def _is_traced(hint: Any) -> bool:
    """Floats, nested settings, and unions or protocols of these hold numbers; everything else is structure."""
    if hint is float or dataclasses.is_dataclass(hint) or getattr(hint, "_is_protocol", False):
        return True
    return any(_is_traced(part) for part in _parts(hint))


def _is_structure(value: Any) -> bool:
    """Whether a value is structure although its field may hold numbers: a function of the user's own, or a word."""
    return isinstance(value, str) or (callable(value) and jax.tree_util.all_leaves([value]))


def check_ranges(settings: Any, **ranges: tuple[float, float]) -> None:
    """Raises `InputError` for a setting outside its range, ends included; what is traced cannot be checked."""
    for name, (low, high) in ranges.items():
        value = getattr(settings, name)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int | float | np.number) and not (low <= number <= high and math.isfinite(number)):
                expected = f"at least {low}" if high == math.inf else f"between {low} and {high}"
                expected += " and finite" if number == math.inf else ""
                raise InputError(f"{name.replace('_', '-')} must be {expected}, but is {number}.")


RANGES = {
    "alpha": (0, math.inf),
    "alpha_actor": (0, math.inf),
    "alpha_critic": (0, math.inf),
    "candidates": (1, math.inf),
    "diffusion_steps": (1, math.inf),
    "distance": (0, math.inf),
    "effective_share": (0, 1),
    "expectile": (0, 1),
    "flow_steps": (1, math.inf),
    "hidden": (1, math.inf),
    "goal_size": (0, math.inf),
    "kappa": (0, math.inf),
    "kappa_b": (0, 1),
    "kappa_d": (0, 1),
    "learning_rate": (0, math.inf),
    "ratio": (1, math.inf),
    "tau": (0, 1),
    "temperature": (0, math.inf),
    "weight": (0, math.inf),
}
"""Ranges of the settings that mean the same in every algorithm."""


POSITIVE: Mapping[str, str] = {
    "distance": "no alpha holds an actor so near",
    "effective_share": "no temperature leaves so few",
    "learning_rate": "nothing would be learned",
}
"""Settings that may not be at the lower end of their range, and why."""


def check_settings(settings: Any, **ranges: tuple[float, float]) -> None:
    """Raises `InputError` for a setting of another type, or outside its range: those given, and those of `RANGES`.

    A list in the place of a tuple, and the name of a choice in the place of its member, are accepted and replaced.
    """
    for name, hint in _hints(type(settings)).items():
        value = getattr(settings, name)
        if (meant := _meant(hint, value)) is not value:
            object.__setattr__(settings, name, meant)
    check_types(settings)
    known = {name: limits for name, limits in RANGES.items() if name in _hints(type(settings))}
    check_ranges(settings, **known | ranges)
    for name, reason in POSITIVE.items():
        if name in known and isinstance(value := getattr(settings, name), int | float) and value == 0:
            raise InputError(f"{name.replace('_', '-')} must be greater than 0, but is {value}; {reason}.")
    if empty := [name for name in known if isinstance(value := getattr(settings, name), tuple) and not value]:
        raise InputError(f"{empty[0].replace('_', '-')} must have at least one number, but is empty.")


def check_types(settings: Any) -> None:
    """Raises `InputError` for a setting that is not of the type its field names; a float may be traced, or an array."""
    hints = _hints(type(settings))
    _check_types({name: getattr(settings, name) for name in hints}, hints)


def _check_types(values: Mapping[str, Any], hints: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if not _fits(value, hints[name]):
            raise InputError(f"{name.replace('_', '-')} must be {_called(hints[name])}, but is {value!r}.")


def _hints(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _meant(hint: Any, value: Any) -> Any:
    """What a value stands for: a tuple for a list, a choice for its name; itself for all else."""
    parts = _parts(hint) or (hint,)
    if isinstance(value, list) and (inner := next((p for p in parts if typing.get_origin(p) is tuple), None)):
        return tuple(_meant(typing.get_args(inner)[0], item) for item in value)
    if isinstance(value, str) and str not in parts:
        choices = [part for part in parts if isinstance(part, type) and issubclass(part, Choice)]
        return next((choice[value] for choice in choices if value in choice.__members__), value)
    return value


def _fits(value: Any, hint: Any) -> bool:
    if _parts(hint):
        return any(_fits(value, part) for part in _parts(hint))
    if typing.get_origin(hint) is typing.Literal:
        return value in typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_fits(item, typing.get_args(hint)[0]) for item in value)
    if hint is float:
        return isinstance(value, int | float | np.number | np.ndarray | jax.Array) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int | np.integer) and not isinstance(value, bool)
    if _is_callable(hint):
        return callable(value)
    return isinstance(value, hint) and not isinstance(value, type)


def _called(hint: Any) -> str:
    """A type in words."""
    if hint == Automatic:
        return f"a number or {AUTO}"
    if _parts(hint):
        return " or ".join(dict.fromkeys(_called(part) for part in _parts(hint)))
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(map(repr, typing.get_args(hint)))
    if typing.get_origin(hint) is tuple:
        return f"a tuple, each of it {_called(typing.get_args(hint)[0])}"
    if _is_callable(hint):
        return "a function"
    if hasattr(hint, "array_type"):  # a number that a compiled program traces
        return "a number"
    if issubclass(hint, Choice):
        return f"one of {', '.join(f'{hint.__name__}.{name}' for name in hint.__members__)}"
    named = {int: "a whole number", float: "a number", bool: "True or False", str: "text", types.NoneType: "None"}
    return named.get(hint, f"a {hint.__name__}, made with its settings")


def _is_callable(hint: Any) -> bool:
    """Whether a field takes any function: `Callable[...]`, or a protocol that values cannot be checked against."""
    unchecked = getattr(hint, "_is_protocol", False) and not getattr(hint, "_is_runtime_protocol", False)
    return unchecked or hint is Callable or typing.get_origin(hint) is Callable


def _parts(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a union; none for other types."""
    union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    return typing.get_args(hint) if union else ()


class Choice(enum.Enum):
    """A setting whose values are named functions: members are `enum.member(function)`, and are called as such."""

    def __call__(self, *args: Any) -> Any:
        return self.value(*args)


def to_plain(settings: Any) -> Any:
    """Settings as JSON's own types: a dataclass becomes a dictionary, a choice and a function their names.

    Raises `InputError` for a value that no file can hold.
    """
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        return {field.name: to_plain(getattr(settings, field.name)) for field in dataclasses.fields(settings)}
    if isinstance(settings, Choice):
        return settings.name
    if isinstance(settings, tuple):
        return [to_plain(item) for item in settings]
    if isinstance(settings, np.generic | np.ndarray | jax.Array):
        if settings.ndim:
            raise InputError(f"A setting must be one number to be written down, but is {settings.tolist()}.")
        return settings.item()
    if isinstance(settings, types.FunctionType | types.BuiltinFunctionType | type):
        return f"{settings.__module__}:{settings.__qualname__}"
    if not isinstance(settings, str | int | float | list | dict | types.NoneType):
        raise InputError(
            f"A setting must be a number, text, a Choice or a function to be written down, but is {settings!r}."
        )
    return settings


def defaults_of(cls: type) -> dict[str, Any]:
    """The defaults of a class of settings, as `to_plain` writes them, of the settings that have one."""
    fields = [field for field in dataclasses.fields(cls) if field.default is not dataclasses.MISSING]
    return {field.name: to_plain(field.default) for field in fields}


def from_plain(cls: type[T], plain: Mapping[str, Any]) -> T:
    """The settings of class `cls` that `to_plain` wrote; an unknown name, choice or type is an `InputError`."""
    hints = _hints(cls)
    for name in plain:
        if name not in hints:
            raise InputError(f"{cls.__name__} has no setting {name!r}{did_you_mean(name, hints)}.")
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if field.name not in plain and field.default is field.default_factory is dataclasses.MISSING:
            raise InputError(f"{cls.__name__} must have the setting {field.name!r}.")
    defaults = {field.name: field.default for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    values = {
        name: _function(cls, name, value, defaults[name])
        if _is_callable(hints[name])
        else _restore(hints[name], value, f"{cls.__name__}.{name}")
        for name, value in plain.items()
    }
    _check_types(values, hints)
    return cls(**values)


def _function(cls: type, name: str, recorded: Any, default: Any) -> Any:
    """The default of a field, if it is the function that was recorded: nothing is imported because a file names it."""
    if default is dataclasses.MISSING or to_plain(default) != recorded:
        raise InputError(
            f"{cls.__name__}.{name} was {recorded!r}, which is not its default, and a function is never imported "
            f"because a file names it; give the algorithm as it was trained, {cls.__name__}({name}=...)."
        )
    return default


def _restore(hint: Any, value: Any, where: str) -> Any:
    choice = next((part for part in _parts(hint) if isinstance(part, type) and issubclass(part, Choice)), None)
    if choice is not None and isinstance(value, str):
        return _restore(choice, value, where)
    if isinstance(hint, type) and issubclass(hint, Choice):
        if not isinstance(value, str) or value not in hint.__members__:
            raise InputError(f"{where} is {value!r}; expected one of {', '.join(hint.__members__)}.")
        return hint[value]
    if isinstance(value, Mapping):
        inner: Any = next(filter(dataclasses.is_dataclass, _parts(hint) or (hint,)), None)
        return value if inner is None else from_plain(inner, value)
    if isinstance(value, list):
        listed = next((part for part in _parts(hint) or (hint,) if typing.get_origin(part) is tuple), None)
        return value if listed is None else tuple(_restore(typing.get_args(listed)[0], item, where) for item in value)
    if (hint is float or hint == Automatic) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value
