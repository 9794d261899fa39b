# Two commands: `make demo` shows the product, `make test` proves it. Both make .venv first and need nothing else.
PYTHON ?= python3
BIN := .venv/bin
# One process a core, one thread each: on small tensors two processes do twice what two threads do.
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-all lint clean
.DEFAULT_GOAL := demo

# torch goes first: with it installed, no other package pulls another build of it.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo 'harness needs Python 3.11, 3.12 or 3.13; name one: make demo PYTHON=python3.12' >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(INSTALL) torch
	$(INSTALL) --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(INSTALL) --editable '.[dev]'
	touch $@

demo: .venv/installed
	$(BIN)/python -m harness cycle --model tiny --data 'demo:cubes?n=400&seed=1' --test-data 'demo:cubes?n=200&seed=2' \
		--grow 50,100,200,400 --runs runs --reports reports

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(TESTS) -m 'not slow and not gpu'
	@echo 'left out: tests marked slow (make test-all) and gpu (they need a CUDA device)'

test-all: lint
	$(TESTS)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info build dist
