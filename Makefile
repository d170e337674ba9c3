# make setup | metaworld | demo | test | test-slow | check | format | docs | dist | dist-fresh | bench | clean
# PYTHON=/path/to/python chooses the interpreter for the virtual environment; WORKERS=N the test processes.

.DEFAULT_GOAL := help
.PHONY: help setup metaworld demo test test-slow check format docs dist dist-fresh bench clean

# A command by that name may exist and still not run (version managers), or come without venv, so each is tried.
RUNS := import sys, venv, ensurepip; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3,$(shell $(p) -c '$(RUNS)' >/dev/null 2>&1 && echo $(p))))
UNSUPPORTED = guidedflow needs Python 3.11 or 3.12 with venv, found $(or $(PYTHON),neither); install one, or name one by make setup PYTHON=/path/to/python3.11
WORKERS ?= 2
BIN := .venv/bin
READY := .venv/.ready

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: $(READY)  ## make .venv and install the pinned dependencies

$(READY): pyproject.toml constraints.txt
	@$(BIN)/python -c '$(RUNS)' 2>/dev/null || { test -n "$(PYTHON)" && $(PYTHON) -c '$(RUNS)' 2>/dev/null; } || \
	  { echo "$(UNSUPPORTED)" >&2; exit 1; }
	@$(BIN)/python -c '$(RUNS)' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

metaworld:  ## make .venv-metaworld, which has MetaWorld and OGBench with the MuJoCo 3.3.0 that MetaWorld requires
	@test -n "$(PYTHON)" && $(PYTHON) -c '$(RUNS)' 2>/dev/null || { echo "$(UNSUPPORTED)" >&2; exit 1; }
	mkdir -p build && grep -vE '^(mujoco|mujoco-core|mujoco-studio|dm_control)==' constraints.txt > build/constraints-metaworld.txt
	$(PYTHON) -m venv .venv-metaworld
	.venv-metaworld/bin/python -m pip install --quiet --disable-pip-version-check \
	  --constraint build/constraints-metaworld.txt --editable '.[metaworld,ogbench]' pytest pytest-timeout hypothesis beartype h5py

demo: $(READY)  ## collect, train, evaluate: the table and the picture of the README
	$(BIN)/guidedflow demo

test: $(READY)  ## the tests that take seconds
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not slow"

test-slow: $(READY)  ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

check: $(READY)  ## format, lint, types, layers
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## write the format and the fixes that are safe
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: $(READY)  ## the documentation as a site in build/site, without a network; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict --site-dir build/site

dist: $(READY)  ## wheel and sdist in dist/, checked, and the wheel tried with nothing but what it needs; no network
	rm -rf dist build/empty
	$(BIN)/python -m build --no-isolation --outdir dist
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python tests/empty_environment.py dist/*.whl build/empty
	cd build && empty/bin/python -I ../tests/smoke.py

dist-fresh: dist  ## the same wheel with all that it needs from the registry
	rm -rf build/empty
	$(BIN)/python -m venv build/empty
	build/empty/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt dist/*.whl
	cd build && empty/bin/python ../tests/smoke.py

bench: $(READY)  ## every speed claim, beside the floor that it is measured against
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script; done

clean:  ## remove what the other commands made, but no run and no dataset
	rm -rf .venv .venv-metaworld .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +
