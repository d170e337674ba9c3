"""Axes, colours and files of all pictures.

Text from runs is drawn as it is: never as mathematics, never hidden. This module does not know what is drawn.
"""

import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from guidedflow.errors import InputError

COLORS = ("#4477AA", "#EE6677", "#228833", "#AA3377", "#CCBB44", "#66CCEE", "#BBBBBB")
"""Of Paul Tol's bright scheme, which colour-blind readers can tell apart."""

STYLES = ("-", "--", ":", "-.")

FORMATS = (".png", ".svg", ".pdf")


def axes(xlabel: str, ylabel: str, title: str, size: tuple[float, float] = (5.6, 3.6)) -> tuple[Any, Any]:
    """A figure with one pair of axes, light and without a box."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=150, layout="constrained")
    drawn = figure.subplots()
    drawn.set(xlabel=as_is(xlabel), ylabel=as_is(ylabel), title=as_is(title))
    drawn.title.set_fontsize(10)
    drawn.grid(alpha=0.25)
    drawn.spines[["top", "right"]].set_visible(False)
    return figure, drawn


def style(index: int) -> dict[str, Any]:
    """Colour and dash of the line with this number; no two of the first 28 are alike."""
    return {"color": COLORS[index % len(COLORS)], "ls": STYLES[index // len(COLORS) % len(STYLES)]}


def legend(drawn: Any) -> None:
    """The legend, below the axes where it is long."""
    handles, names = drawn.get_legend_handles_labels()
    if not names:
        return
    if len(names) > 3 or max(map(len, names)) > 30:
        drawn.figure.legend(handles, names, frameon=False, loc="outside lower left", fontsize=8, ncols=1)
    else:
        drawn.legend(handles, names, frameon=False, loc="best", fontsize=8)


def as_is(text: object) -> str:
    """Text from runs, so that matplotlib draws it as it stands, on one line of at most 90 characters."""
    told = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+", " ", str(text))
    told = told if len(told) <= 90 else f"{told[:60]}…{told[-29:]}"
    told = told.replace("\\", "∖").replace("$", r"\$")
    return f"\u2009{told}" if told.startswith("_") else told


def save(figure: Any, out: Path) -> Path:
    """Write a picture as the suffix of its path says; the same numbers give the same bytes.

    Raises `InputError` for a suffix other than .png, .svg and .pdf, and where the disk refuses.
    """
    out = check_format(Path(out))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(_bytes(figure, out.suffix.lower()[1:], "guidedflow"))
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}.") from error
    return out


def check_format(out: Path) -> Path:
    """The path of a picture as it is; raises `InputError` for a suffix other than .png, .svg and .pdf."""
    if out.suffix.lower() not in FORMATS:
        raise InputError(f"A picture is a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file, but {out} is not.")
    return out


def svg(figure: Any, salt: str) -> str:
    """A picture as an SVG element, for a page; `salt` keeps the names inside apart from those of other pictures."""
    text = _bytes(figure, "svg", salt).decode()
    element = text[text.index("<svg") :]
    head, rest = element.split(">", 1)  # the page decides on the size
    width = figure.get_size_inches()[0]
    return re.sub(r' (width|height)="[^"]*"', "", head) + f' style="max-width: {6.5 * width:.1f}rem">' + rest


_METADATA: Mapping[str, Mapping[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def _bytes(figure: Any, kind: str, salt: str) -> bytes:
    import matplotlib

    file = io.BytesIO()
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": salt, "pdf.fonttype": 42, "font.family": ["DejaVu Sans"]}
    with matplotlib.rc_context(settings), _any_glyph():
        figure.savefig(file, format=kind, dpi=300, metadata=dict(_METADATA[kind]))
    return file.getvalue()


@contextmanager
def _any_glyph() -> Iterator[None]:
    """Names may have letters that the font lacks."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield
