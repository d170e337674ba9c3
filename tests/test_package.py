"""What holds for the package as a whole: its names, what its import costs, and what its source never does."""

import ast
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import guidedflow

SOURCE = Path(guidedflow.__file__).parent


@pytest.mark.parametrize("name", guidedflow.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert name in dir(guidedflow)
    assert getattr(guidedflow, name) is not None


def test_type_checkers_see_the_same_names() -> None:
    """The imports under TYPE_CHECKING and the table that serves them at run time are one list."""
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    guarded = {
        alias.name: statement.module
        for block in ast.walk(tree)
        if isinstance(block, ast.If)
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert guarded == {name: f"guidedflow.{home}" for name, home in guidedflow._HOME.items()}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Samplr'"):
        _ = guidedflow.Samplr


@pytest.mark.parametrize(
    "module", ["guidedflow", "guidedflow.__main__", "guidedflow.environments.vector", "guidedflow.environments"]
)
def test_a_simulator_process_never_imports_jax(module: str) -> None:
    """Workers are spawned: whatever these modules import is paid for once a process, and JAX would take seconds."""
    script = f"import sys, {module}; print(*sorted({{'jax', 'equinox', 'optax', 'tyro'}} & set(sys.modules)))"
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == ""


def test_no_device_is_taken_before_a_command_runs() -> None:
    """XLA reads its settings, such as those of `--deterministic`, when the first device is taken."""
    script = "import guidedflow.cli.train, guidedflow.cli.catalogue, guidedflow.algorithms, guidedflow.studies.demo"
    nowhere = {**os.environ, "JAX_PLATFORMS": "nowhere"}  # so that taking a device is an error
    subprocess.run([sys.executable, "-c", script], env=nowhere, check=True)


def forbidden(tree: ast.AST) -> Iterator[str]:
    """What would let a file that is read run code, or unpickle."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                imported = [alias.name for alias in names]
            case ast.ImportFrom(module=str(origin)):
                imported = [origin]
            case ast.Call(func=ast.Name(id="eval" | "exec" as name)):
                yield name
                continue
            case ast.keyword(arg="allow_pickle", value=value) if not (
                isinstance(value, ast.Constant) and value.value is False
            ):
                yield "allow_pickle"
                continue
            case _:
                continue
        yield from (name for name in imported if name.split(".")[0] in {"pickle", "cloudpickle", "dill", "marshal"})


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_source_file_unpickles_or_evaluates(path: Path) -> None:
    assert list(forbidden(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle", ["pickle"]),
        ("from cloudpickle import loads", ["cloudpickle"]),
        ("np.load(path, allow_pickle=True)", ["allow_pickle"]),
        ("np.load(path, allow_pickle=flag)", ["allow_pickle"]),
        ("np.load(path, allow_pickle=False)", []),
        ("eval('1')", ["eval"]),
        ("network.eval()", []),
    ],
)
def test_the_check_above_finds_what_it_looks_for(source: str, found: list[str]) -> None:
    assert list(forbidden(ast.parse(source))) == found


def test_every_module_can_be_imported_alone() -> None:
    """No module needs another one to be imported first."""
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        importlib.import_module(".".join(part for part in parts if part != "__init__"))
