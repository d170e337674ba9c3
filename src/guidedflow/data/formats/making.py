"""How the data in a file were made, kept in the file itself: which recipe, which noise, which mixture.

An npz archive has the record as the comment of its zip directory, an HDF5 file as the attribute `made`. Columns stay
those of the suite, so other programs read the file as before. This module does not know what is in a record.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from guidedflow.errors import InputError

ATTRIBUTE = "made"
"""The attribute of an HDF5 file that holds its record."""

_LONGEST = 65_535
"""Bytes of the longest comment of a zip archive."""


def write(path: Path, record: Mapping[str, Any]) -> None:
    """Add a record, JSON's own types, to a complete npz or HDF5 file. Raises `InputError` for one that is too long."""
    text = json.dumps(record, allow_nan=False)
    if zipfile.is_zipfile(path):
        if len(text) > _LONGEST:
            raise InputError(f"the record of {path} has {len(text):,} bytes, and at most {_LONGEST:,} fit in the file.")
        with zipfile.ZipFile(path, "a") as archive:
            archive.comment = text.encode()
    else:
        import h5py

        with h5py.File(path, "r+") as file:
            file.attrs[ATTRIBUTE] = text


def read(path: Path) -> dict[str, Any] | None:
    """The record in a file; None where there is none, in a folder, and where what is there is no record."""
    try:
        if not path.is_file():
            return None
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                text = archive.comment.decode()
        else:
            import h5py

            with h5py.File(path, "r") as file:
                text = str(file.attrs.get(ATTRIBUTE, ""))
        found = json.loads(text) if text else None
    except (ImportError, OSError, ValueError, zipfile.BadZipFile):
        return None
    return found if isinstance(found, dict) else None
