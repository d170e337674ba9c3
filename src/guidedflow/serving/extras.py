"""Packages that only a part of the users need."""

from collections.abc import Iterator
from contextlib import contextmanager

from guidedflow.errors import InputError


@contextmanager
def needing(what: str, extra: str) -> Iterator[None]:
    """A context in which a package that is not installed is an `InputError` that names the extra to install."""
    try:
        yield
    except ImportError as error:
        missing = error.name or str(error)
        raise InputError(
            f"{what} needs the package {missing}: install it by pip install 'guidedflow[{extra}]'."
        ) from error
