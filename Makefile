# The first call builds .venv, whichever target it names; later calls find it ready.
#   PYTHON=python3.12   the interpreter that makes the environment
#   VENV=.venv-3.12     where it is made
#   ARGS="-k line -x"   goes to the command behind run, test and bench

PYTHON ?= python3
VENV   ?= .venv
EXTRAS ?= dev
ARGS   ?=

BIN      := $(VENV)/bin
PIP      := $(BIN)/python -m pip --quiet --disable-pip-version-check
READY    := $(VENV)/.ready
PROJECTS := pyproject.toml plugins/webitel/pyproject.toml plugins/dummy/pyproject.toml docs/examples/cti-esl/pyproject.toml

USABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))

.DEFAULT_GOAL := help
.PHONY: help setup run test check format bench docs

help:
	@echo "make run      play one call from end to end, on a simulated PBX"
	@echo "make test     run the tests"
	@echo "make check    lint, types, import walls"
	@echo "make bench    measure how fast, how small, and what outages cost"
	@echo "make docs     build the documentation into docs/_build"
	@echo "make format   let ruff set the code"
	@echo "make setup    only make the environment ($(VENV))"

setup: $(READY)

run: $(READY)
	@$(BIN)/cti demo $(ARGS)

test: $(READY)
	@$(BIN)/python -m pytest $(ARGS)

check: $(READY)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check || { echo "'make format' sets them." >&2; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(READY)
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format

bench: $(READY)
	@$(BIN)/python -m tests.benchmarks $(or $(ARGS),all)

docs: $(READY)
	@$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

# The build back end comes first because the projects are built without isolation: so it is pinned like everything else.
$(READY): $(PROJECTS) constraints.txt
	@$(BIN)/python -c '$(USABLE)' 2>/dev/null || { \
	  $(PYTHON) -c '$(USABLE)' 2>/dev/null || { \
	    echo "cti-framework needs Python 3.11 or later, with venv; '$(PYTHON)' is: $$($(PYTHON) --version 2>&1 | head -n 1)" >&2; \
	    echo "Name another: make setup PYTHON=/path/to/python3.12" >&2; exit 1; }; \
	  echo "Making $(VENV) with $$($(PYTHON) --version); this is done once." && $(PYTHON) -m venv --clear $(VENV); }
	@$(PIP) install --constraint constraints.txt hatchling editables
	@$(PIP) install --constraint constraints.txt --no-build-isolation \
	  --editable ".[$(EXTRAS)]" --editable plugins/webitel --editable plugins/dummy --editable docs/examples/cti-esl
	@touch $@
