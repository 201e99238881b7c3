# What a contributor types. Everything runs in .venv; `make setup` makes it.
.PHONY: setup test test-all lint format
PYTHON ?= python3

setup:  ## a virtual environment with the suite (editable), its tests and its linters
	$(PYTHON) -m venv .venv
	.venv/bin/pip install -q -e ".[dev]"

test:  ## the tests of a few minutes: no SLURM, no browser, nothing slow
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -q -m "not slow and not slurm and not browser and not wheel"

test-all:  ## everything that this machine can run; what it lacks is skipped and named
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest

lint:  ## formatter, linter and type checker, as CI runs them
	bash .ci/run lint

format:  ## puts the tree in the one format
	.venv/bin/ruff check --fix-only -q .
	.venv/bin/ruff format .
