"""The page: every string of a run is text and nothing else, nothing is loaded, and a browser shows it."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from made_runs import TASK, made

from guidedflow.cli import main
from guidedflow.results import html, report
from guidedflow.runs.gather import gather

ATTACKS = [
    f"{before}{payload}"
    for before in ("", "\">", "'>", "</td>", "</svg>", "-->", "]]>", "</title></style></script>", "$x_1$ \\", "_")
    for payload in (
        "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "{{ 7 * 7 }}{% raw %}", "&lt;&#60;b&gt;",
        "\" onmouseover=\"alert(1)\" style=\"x",
    )
]  # fmt: skip
"""Fifty strings that would break out of an attribute, an element, a comment, a template or a formula."""


class Tags(HTMLParser):
    """Elements and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.attributes |= {name for name, _ in attrs}
        self.links += [str(value) for name, value in attrs if name in ("href", "src", "action", "xlink:href", "data")]


def attacked(folder: Path, attacks: list[str]) -> str:
    for number, attack in enumerate(attacks):
        made(
            folder / f"{number} {attack.replace('/', '÷')}", attack, f"{number} {attack}", seeds=(0,), policy=attack,
            episodes=2, curve=(1,) if number == 0 else (),
            config={"command": [attack], "versions": {"device": attack, attack: attack}, "commit": attack, "x": attack},
        )  # fmt: skip
    return html.page(report.make(gather([folder]).records, None, attacks))


def test_no_string_of_a_run_becomes_markup(tmp_path: Path) -> None:
    plain = Tags(attacked(tmp_path / "plain", [f"name{number}" for number in range(len(ATTACKS))]))
    page = attacked(tmp_path / "attacks", ATTACKS)
    found = Tags(page)
    assert len(ATTACKS) == 50
    assert found.tags == plain.tags
    assert found.attributes == plain.attributes
    assert found.tags["script"] == 1
    assert not any(name.startswith("on") for name in found.attributes)
    assert all(link.startswith(("#", "data:image/png;base64,")) or link == "data:," for link in found.links)
    assert "49" not in re.findall(r"<h2>\d+ .*?(\d+)</h2>", page)  # no template was run


def test_the_policy_allows_the_one_script_of_the_page_alone(tmp_path: Path) -> None:
    page = html.page(report.make(gather([made(tmp_path / "run")]).records))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; ")
    assert "script-src 'sha256-" in policy[1]
    assert "unsafe-eval" not in policy[1]


WIDTHS = (1280, 390)
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with every kind of section, with names that are long and hostile."""
    folder = tmp_path_factory.mktemp("browser")
    for task in (1, 2, 3):
        name = TASK.format(task)
        made(folder / f"gfp-{task}", task=name, rate=0.9, curve=(500, 1000), alpha=1.0, temperature=1e-3)
        made(folder / f"fql-{task}", "fql", name, rate=0.7 - 0.2 * task, seeds=(0, 1), curve=(500, 1000), alpha=3.0)
    for alpha in (1.0, 3.0):
        for temperature in (1e-3, 1e-2):
            made(
                folder / f"t{alpha}{temperature}",
                seeds=(100,),
                source="selection",
                alpha=alpha,
                temperature=temperature,
            )
    made(folder / ("long" * 50), "bc", "own <script>alert(1)</script> " + "x" * 150, policy="flow", curve=(1000,))
    out = folder / "report.html"
    main(["report", str(folder), "-o", str(out)])
    return out


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = next(
        (path for path in map(Path, ("/usr/bin/chromium", "/usr/bin/google-chrome")) if path.exists()), None
    )
    if chromium is None:
        pytest.skip("no Chromium is installed")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(chromium), args=list(ARGUMENTS))
        yield opened
        opened.close()


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_a_browser_shows_sorts_and_filters_the_page(width: int, browser: Any, page_file: Path) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(page_file.as_uri())

    assert page.evaluate("document.documentElement.scrollWidth") == width  # tables scroll, the page does not
    assert all(url.startswith(("file:", "data:")) for url in requests)

    table = page.locator("section", has=page.locator("h2", has_text=re.compile(f"^{TASK.format(1)}$"))).locator("table")
    head = table.first.locator("thead th").nth(1)
    means = table.first.locator("tbody tr td:nth-child(2)")

    def numbers() -> list[float]:
        return [float(value) for value in means.evaluate_all("cells => cells.map(cell => cell.dataset.v)")]

    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert numbers() == sorted(numbers())
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert numbers() == sorted(numbers(), reverse=True)
    intervals = table.first.locator("tbody tr td:nth-child(3)")
    table.first.locator("thead th").nth(2).locator("button").click()
    values = intervals.evaluate_all("cells => cells.map(cell => cell.dataset.v)")
    assert "" in values
    assert values == [*sorted(filter(None, values), key=float), *[""] * values.count("")]  # what is missing stands last

    page.locator("#filter").fill("fql task2")
    shown = page.locator("tbody tr:not([hidden])")
    assert shown.count() > 0
    assert all("fql" in text.lower() for text in shown.all_inner_texts())
    assert page.locator("#count").inner_text().endswith("rows")
    page.locator("#filter").fill("")
    assert page.locator("tbody tr[hidden]").count() == 0

    smallest = page.evaluate(
        "Math.min(...[...document.querySelectorAll('figure svg')].map(e => e.clientWidth / innerWidth))"
    )
    assert smallest > (0.3 if width == 1280 else 0.8)
    assert complaints == []
    page.close()


@pytest.mark.slow
def test_the_page_prints_with_its_commands(browser: Any, page_file: Path, tmp_path: Path) -> None:
    page = browser.new_page()
    page.goto(page_file.as_uri())
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 718, "height": 1000})  # of A4 within margins of 1 cm, in CSS pixels
    assert page.evaluate("document.documentElement.scrollWidth") == 718
    assert not page.locator("#filter").is_visible()
    page.pdf(path=str(tmp_path / "report.pdf"), format="A4", print_background=True)
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    page.close()
