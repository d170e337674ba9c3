"""One page from a report: a single file without network access, in which every string is escaped.

Tables sort and filter by a small inline script; a content security policy allows that script alone, by its hash.
"""

import base64
import hashlib
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from guidedflow.results import canvas
from guidedflow.results.report import Report
from guidedflow.results.sections import Section

_TEMPLATES = files("guidedflow.results") / "templates"


def page(report: Report) -> str:
    """The page; equal reports give equal bytes."""
    script, style = (_TEMPLATES.joinpath(name).read_text(encoding="utf-8") for name in ("report.js", "report.css"))
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_TEMPLATES.joinpath("report.html").read_text(encoding="utf-8"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    sections = [*report.scores, *report.background]
    return template.render(
        report=report,
        sections=[_plain(section, number) for number, section in enumerate(sections)],
        script=Markup(script),
        style=Markup(style),
        digest=digest,
    )


def _plain(section: Section, number: int) -> dict[str, Any]:
    """A section with its pictures drawn; names inside a picture start with the number of section and picture."""
    pictures = [
        {"svg": Markup(canvas.svg(picture.draw(), f"{number}-{index}")), "caption": picture.caption}
        for index, picture in enumerate(section.pictures)
    ]
    return {"section": section, "anchor": f"section-{number}", "pictures": pictures}
