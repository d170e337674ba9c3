"""What the pages say is so: numbers, excerpts, commands, links, layers."""

import ast
import inspect
import itertools
import re
import shlex
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

import guidedflow
from guidedflow import algorithms, cli, recipes
from guidedflow.algorithms import ALGORITHMS
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.cli.named import is_name
from guidedflow.flows.guidance import GUIDANCE
from guidedflow.settings import to_plain

ROOT = Path(__file__).parents[1]
REPOSITORY = "https://github.com/guidedflow/guidedflow/blob/main/"
"""Links out of the docs are absolute, so that they work on the site."""
DOCS = ROOT / "docs"
SOURCE = Path(algorithms.__file__).parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


def contradictions() -> list[str]:
    """A line of Markdown for each contradiction, with the environments that it concerns."""
    environments: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for algorithm in recipes.methods():
        for task in recipes.tasks():
            found = [recipes.published(algorithm, task)]
            if algorithm == "gfp" and recipes.score("gfp-awr", task.name):
                found.append(recipes.awr(algorithm, task))
            for recipe in found:
                name = algorithm if recipe.name == "published" else f"{algorithm}, {recipe.name}"
                for each in recipe.contradictions:
                    used, other = recipes.in_words(each.used), recipes.in_words(each.other)
                    key = (name, each.setting, used, other, each.source, each.why)
                    if task.environment not in environments[key]:
                        environments[key].append(task.environment)
    return [
        f"| {name} | {', '.join(where)} | {setting} | {used} | {other} | {source} | {why} |"
        for (name, setting, used, other, source, why), where in sorted(environments.items())
    ]


def test_the_page_on_recipes_has_every_contradiction_and_no_other() -> None:
    page = (DOCS / "recipes.md").read_text()
    section = page.partition("## Contradictions between settings")[2].partition("\n## ")[0]
    assert [line for line in section.splitlines() if line.startswith("| ")][1:] == contradictions()


ALGORITHM_PAGES = sorted((DOCS / "algorithms").glob("*.md"))


def meanings(name: str) -> dict[str, str]:
    """The settings of an algorithm, and what their docstrings say."""
    bases = [cls for cls in reversed(ALGORITHMS[name].__mro__) if cls.__module__.startswith("guidedflow.algorithms.")]
    told: dict[str, str] = {}
    for cls in bases:
        told |= documented(Path(inspect.getfile(cls)).read_text(), cls)
    return told


def documented(code: str, cls: type) -> dict[str, str]:
    """The fields of a class of settings, and the docstring below each."""
    tree = ast.parse(code)
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == cls.__name__)
    return {
        field.target.id: told.value.value
        for field, told in itertools.pairwise(body.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(told, ast.Expr) and isinstance(told.value, ast.Constant)
    }


def source(name: str) -> str:
    return (SOURCE / f"{name}.py").read_text()


def published(name: str) -> list[Mapping[str, Any]]:
    """The settings that somebody printed, a task each; none for an algorithm without recipes."""
    if name not in recipes.methods():
        return []
    found = (recipes.published(name, task) for task in recipes.tasks())
    return [recipe.settings for recipe in found if recipe.source]


def settings(name: str) -> list[str]:
    """A line of Markdown for each setting: default, what was published with it where recipes know, meaning."""
    rows, told, lines = published(name), meanings(name), []
    for setting, default in to_plain(ALGORITHMS[name]()).items():
        found = [row[setting] for row in rows if setting in row]
        column = f" {spread(found) if found else '-'} |" if rows else ""
        words = "[as published](../critics.md)" if isinstance(default, dict) else recipes.in_words(default)
        lines.append(f"| `{setting.replace('_', '-')}` | {words} |{column} {told[setting]} |")
    return lines


def families(name: str, *columns: str) -> list[str]:
    """A line of Markdown for each family of a suite, with what was published for it, if anything was."""
    grouped: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for task in recipes.tasks():
        recipe = recipes.published(name, task)
        if recipe.source:
            grouped[task.suite, task.family].append(recipe.settings)
    return [
        f"| {suite} | {family} | {' | '.join(spread(found[column] for found in every) for column in columns)} |"
        for (suite, family), every in grouped.items()
    ]


def spread(values: Iterable[Any]) -> str:
    """Numbers as a range, words as a list."""
    found = [*dict.fromkeys(tuple(value) if isinstance(value, list) else value for value in values)]
    if isinstance(found[0], tuple):
        return ", ".join(recipes.in_words(list(value)) for value in found)
    found = sorted(found)
    if len(found) > 1 and not isinstance(found[0], str):
        found = [found[0], found[-1]]
        return " to ".join(map(recipes.in_words, found))
    return ", ".join(map(recipes.in_words, found))


def table(page: str, heading: str) -> list[str]:
    """The rows of the first table under a heading."""
    lines = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0].splitlines()
    return [line for line in lines if line.startswith("| ")][1:]


def test_there_is_a_page_for_every_algorithm_and_the_readme_leads_to_it() -> None:
    assert {page.stem for page in ALGORITHM_PAGES} == set(ALGORITHMS)
    readme = (ROOT / "README.md").read_text()
    for name in ALGORITHMS:
        assert f"(docs/algorithms/{name}.md)" in readme
        assert f"(src/guidedflow/algorithms/{name}.py)" in readme


@pytest.mark.parametrize("path", ALGORITHM_PAGES, ids=lambda path: path.stem)
def test_settings_on_a_page_are_those_of_the_code_and_of_the_recipes(path: Path) -> None:
    assert table(path.read_text(), "Settings") == settings(path.stem)


def test_the_page_on_critics_has_every_ingredient() -> None:
    told = documented((SOURCE / "parts" / "ensemble.py").read_text(), Ensemble)
    rows = [
        f"| `{name.replace('_', '-')}` | {recipes.in_words(default)} | {told[name]} |"
        for name, default in to_plain(Ensemble()).items()
    ]
    assert table((DOCS / "critics.md").read_text(), "Settings") == rows


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("fql", ("alpha", "aggregate")),
        ("gfp", ("alpha", "temperature", "target", "reference")),
        ("ifql", ("expectile", "candidates")),
        ("iql", ("alpha", "expectile")),
        ("rebrac", ("alpha_actor", "alpha_critic", "aggregate")),
    ],
)
def test_the_ranges_of_families_are_those_of_the_recipes(name: str, columns: tuple[str, ...]) -> None:
    assert table((DOCS / "algorithms" / f"{name}.md").read_text(), "Choosing") == families(name, *columns)


@pytest.mark.parametrize("path", ALGORITHM_PAGES, ids=lambda path: path.stem)
def test_code_on_a_page_is_in_a_file_that_it_links_to(path: Path) -> None:
    """Line by line, in order and without gaps, whatever the indentation."""
    page = path.read_text()
    linked = [(ROOT / link).read_text() for link in re.findall(rf"\]\({REPOSITORY}(src/[^)]+\.py)\)", page)]
    assert source(path.stem) in linked
    code = ["\n" + "\n".join(line.strip() for line in file.splitlines()) + "\n" for file in linked]
    excerpts = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert excerpts
    for excerpt in excerpts:
        wanted = "\n" + "\n".join(line.strip() for line in excerpt.splitlines()) + "\n"
        assert any(wanted in file for file in code), excerpt


def commands() -> list[Any]:
    """Every command line of the pages: of the blocks, those that begin with the program's name."""
    found = {}
    for path in PAGES:
        for block in re.findall(r"^```\w*\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True) if line.startswith("guidedflow ") else []
                if words:
                    found[" ".join(words[1:])] = pytest.param(words[1:], id=f"{path.stem}: {' '.join(words[1:])}")
    return list(found.values())


@pytest.mark.parametrize("words", commands())
def test_a_command_on_a_page_is_understood(words: list[str]) -> None:
    """Read as the program reads it, recipe included, and not run; no flag is idle.

    An algorithm of the user's own is read as one of here, and a run that goes on has to be there, so it is left out.
    """
    if cli.resuming.asks(words):
        return
    if words[0] == "train" and is_name(words[1]):
        words = ["train", "gfp", *words[2:]]
    command = cli.parsed(words)
    if isinstance(command, cli.Train):
        command.refuse_idle()


def sentences() -> str:
    """All text of the package's source, literals that Python joins joined."""
    files = [file.read_text() for file in Path(guidedflow.__file__).parent.rglob("*.py")]
    return re.sub(r'"\s+f?"', "", "\n".join(files))


def test_errors_on_the_page_of_errors_are_those_of_the_program() -> None:
    """`...` in a heading stands for what depends on the input, and so do the braces of the program."""
    known, headings = sentences(), re.findall(r"^### `(.+)`$", (DOCS / "faq.md").read_text(), re.MULTILINE)
    assert len(headings) > 15
    for part in (part.strip() for heading in headings for part in heading.split(" ... ")):
        assert part in known, part


API = {
    name: page
    for page in sorted((DOCS / "api").glob("*.md"))
    for name in re.findall(r"^::: guidedflow\.(\w+)$", page.read_text(), re.MULTILINE)
    if name != "types"  # a module, for authors of algorithms
}
"""Public names, and the page of each."""


def test_every_public_name_is_on_a_page_of_the_api() -> None:
    assert sorted(API) == sorted(name for name in guidedflow.__all__ if name != "__version__")


@pytest.mark.parametrize("name", sorted(API))
def test_a_public_name_and_its_public_members_have_a_docstring(name: str) -> None:
    """Of a class also its methods and properties, unless they are those of a contract or of another package."""
    found = getattr(guidedflow, name)
    assert found.__doc__, name
    if isinstance(found, type):
        own = {key: value for key, value in vars(found).items() if not key.startswith("_")}
        members = {key: value for key, value in own.items() if inspect.isfunction(value) or isinstance(value, property)}
        without = [key for key, value in members.items() if not value.__doc__]
        inherited = {"init", "update", "policies", "demand"}
        inherited |= {key for base in found.__mro__[1:] for key in vars(base)}
        assert not set(without) - inherited, without


def test_every_page_of_the_docs_is_on_the_site() -> None:
    listed = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text())
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


def test_excerpts_of_worked_examples_are_of_the_examples() -> None:
    code = "\n".join(
        (ROOT / "examples" / file).read_text() for file in ("own_algorithm.py", "own_guidance.py", "reach.py")
    )
    for page in ("own-algorithm", "own-guidance", "own-environment"):
        first = re.findall(r"```python\n(.*?)```", (DOCS / f"{page}.md").read_text(), re.DOTALL)[0]
        assert first.strip() in code, page


def test_no_example_is_longer_than_a_page() -> None:
    for example in (ROOT / "examples").glob("*.py"):
        text = example.read_text()
        assert "\n# %%" in text, f"{example.name} has no cell"
        assert text.count("\n") < 60, example.name


def test_no_link_of_the_readme_is_relative_on_a_registry_page() -> None:
    hook = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["metadata"]["hooks"][
        "fancy-pypi-readme"
    ]
    page = (ROOT / "README.md").read_text()
    for each in hook["substitutions"]:
        page = re.sub(each["pattern"], each["replacement"], page)
    targets = re.findall(r"\]\(([^)\s]+)\)", page)
    assert all(target.startswith("https://") for target in targets)
    assert any(target.endswith("main/docs/images/steering.png") for target in targets)


def test_the_readme_is_short_and_counts_right() -> None:
    readme = (ROOT / "README.md").read_text()
    assert readme.count("\n") < 200
    rows = [row.split("|") for row in table(readme, "Methods") if "/algorithms/" in row]
    assert len(rows) == len(ALGORITHMS)
    agree = sum("published code" in row[6] for row in rows)
    numbers = {17: "seventeen", 18: "eighteen", 19: "nineteen", 20: "twenty", 21: "twenty-one"}
    said = (
        f"All {numbers[len(rows)]}" if agree == len(rows) else f"{numbers[agree].capitalize()} of {numbers[len(rows)]}"
    )
    assert f"{said} methods agree with their published code" in readme


def test_enough_commands_are_found() -> None:
    every = [parameter.values[0] for parameter in commands()]
    assert {"train", "evaluate", "data", "tasks"} <= {words[0] for words in every}
    assert any("--select-weight" in words for words in every)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        file, _, heading = target.partition("#")
        file = str(ROOT / file.removeprefix(REPOSITORY)) if file.startswith(REPOSITORY) else file
        if ":" in file:  # of the web
            continue
        assert (path.parent / file).exists(), target
        if DOCS in path.parents:
            inside = DOCS in (path.parent / file).resolve().parents or target.startswith(REPOSITORY)
            assert inside, f"{target} would break on the site; begin it with {REPOSITORY}"
        if heading:
            headings = re.findall(r"^#+ (.*)$", (path.parent / file).read_text(), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}, target


GUIDANCE_PAGE = (DOCS / "guidance.md").read_text()


def test_the_page_on_guidance_has_every_kind() -> None:
    named = re.findall(r"`(\w+)`", " ".join(row.split("|")[1] for row in table(GUIDANCE_PAGE, "What can be asked for")))
    assert sorted(named) == sorted([*GUIDANCE, "conditional"])


def test_the_sentences_on_the_page_on_guidance_are_those_of_the_code() -> None:
    files = [file.read_text() for file in Path(guidedflow.__file__).parent.rglob("*.py")]
    rows = table(GUIDANCE_PAGE, "What is refused, and why")
    assert rows
    for row in rows:
        sentence = row.split("|")[2].strip(" `")
        assert any(sentence in file for file in files), sentence


def test_python_on_the_page_on_guidance_fits_the_library() -> None:
    """Every imported name exists, and every call of one, or of a method of `Trained`, has parameters that it takes."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDANCE_PAGE, re.DOTALL)
    imports = "\n".join(line for block in blocks for line in block.splitlines() if line.startswith("from guidedflow"))
    samplers = [row.split("|")[2].strip(" `") for row in table(GUIDANCE_PAGE, "In Python")]
    known: dict[str, Any] = {}
    called = set()
    for node in ast.walk(ast.parse("\n".join([imports, *blocks, *samplers]))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("guidedflow"):
            module = __import__(node.module, fromlist=["_"])
            known |= {name.name: getattr(module, name.name) for name in node.names}
    known |= {name: getattr(guidedflow, name) for name in ("JacobianGradient", "NoisyGradient", "RolloutGradient")}
    methods = {name: getattr(guidedflow.Trained, name) for name in ("steered", "evaluate")}
    for node in ast.walk(ast.parse("\n".join([*blocks, *samplers]))):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        function, own = (methods[name], [None]) if name in methods else (known.get(name), [])
        if function is not None:
            inspect.signature(function).bind(*own, *node.args, **{word.arg: None for word in node.keywords})
            called.add(name)
    assert {"Sampler", "RolloutGradient", "by_dataset", "steered", "evaluate", "load_policy"} <= called


@pytest.mark.parametrize(
    ("page", "heading"), [("docs/architecture.md", "Rooms"), ("CONTRIBUTING.md", "How the house is built")]
)
def test_the_layers_on_a_page_are_those_that_are_checked(page: str, heading: str) -> None:
    block = (ROOT / page).read_text().partition(f"\n## {heading}\n")[2].split("```")[1]
    told = [re.split(r" [|:] ", re.split(r"  +", line)[0]) for line in block.splitlines() if line]
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["id"] == "layers")
    assert told == [re.split(r" [|:] ", layer) for layer in layers]
