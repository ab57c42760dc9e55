# make demo   one night of a simulated organisation, from nothing to the published dataset
# make ui     the same in Dagster's web page
# make test   the tests        make check   format, lint, types, borders
# make fuzz   slow tests, then random nights judged by an oracle (SECONDS=300 SEED=1)
# make bench  speed against the floor, in one run        make clean
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(not (3,11) <= sys.version_info[:2] < (3,14))' 2>/dev/null && { command -v $$p; break; }; done)
export CUSTODY_HOME ?= .custody
export DO_NOT_TRACK := 1

.PHONY: help demo ui test check check-sql coverage fuzz rounds mutants format bench docs screenshots clean
help:
	@sed -n 's/^# //p' $(MAKEFILE_LIST) | head -5

# uv if there is one, else pip fetches it into the environment; plain pip where uv has no wheel.
define install
@echo "==> $(2) (once)"
@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed and was not found; set PYTHON=/path/to/python3" >&2; exit 1; }
@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV) || { echo "could not create $(VENV): is the venv module installed?" >&2; exit 1; }
@if uv="$$(command -v uv)" || { $(BIN)/python -m pip install --quiet --disable-pip-version-check uv 2>/dev/null && uv=$(BIN)/uv; }; then \
	"$$uv" pip install --quiet --python $(BIN)/python --compile-bytecode --constraint constraints.txt --editable '$(1)' \
	|| $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '$(1)'; \
else $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '$(1)'; fi
@touch $@
endef

$(VENV)/installed: pyproject.toml constraints.txt
	$(call install,.[demo],Setting up $(VENV): the pipeline and a local S3 server)

$(VENV)/installed-dev: pyproject.toml constraints.txt
	$(call install,.[dev],Setting up $(VENV): the pipeline with its test tools)
	@touch $(VENV)/installed

$(VENV)/installed-bench: pyproject.toml constraints.txt
	$(call install,.[bench],Setting up $(VENV): the pipeline with its test and load tools)
	@touch $(VENV)/installed $(VENV)/installed-dev

$(VENV)/installed-fuzz: pyproject.toml constraints.txt
	$(call install,.[fuzz],Setting up $(VENV): the pipeline with its test tools and a fuzzer)
	@touch $(VENV)/installed $(VENV)/installed-dev

demo: $(VENV)/installed
	@echo "==> One night of a simulated organisation: collect, join, explain, seal, publish"
	@$(BIN)/custody demo

ui: $(VENV)/installed
	@echo "==> Dagster on http://127.0.0.1:3000 (Ctrl-C stops it and everything it started)"
	@$(BIN)/custody ui

# The tests of a file share what they start. Compiled modules are kept, as tests start many processes.
PYTEST_OPTIONS ?= --numprocesses auto --dist loadfile --no-loadscope-reorder
test: $(VENV)/installed-dev
	@echo "==> Tests"
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest $(PYTEST_OPTIONS)

# Every file below sql/ is parsed as it stands.
check-sql: $(VENV)/installed-dev
	@$(BIN)/sqlfluff lint --disable-progress-bar sql

check: $(VENV)/installed-dev check-sql
	@echo "==> Format, lint, types"
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@echo "==> Import borders"
	@$(BIN)/lint-imports --no-logo

# The tests, with a report of the lines that none of them runs.
coverage: PYTEST_OPTIONS += --cov --cov-report=term:skip-covered
coverage: test

SECONDS ?= 300
SEED ?= 1
fuzz: $(VENV)/installed-dev
	@echo "==> Slow tests, then random nights for $(SECONDS) seconds"
	@$(BIN)/python -m pytest $(PYTEST_OPTIONS) -m slow
	@$(BIN)/python -m custody_pipeline_tests.oracle --seconds $(SECONDS) --seed-from $(SEED)

ROUNDS ?= 100
rounds: $(VENV)/installed-dev
	@$(BIN)/python -m custody_pipeline_tests.publish.rounds --rounds $(ROUNDS) --seed $(SEED)

format: $(VENV)/installed-dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .
	@$(BIN)/sqlfluff fix --processes 2 --disable-progress-bar sql

bench: $(VENV)/installed-bench
	@$(BIN)/python -m bench

mutants: $(VENV)/installed-fuzz
	@echo "==> Mutants of everything that is verified, then bytes for the parsers for $(SECONDS) seconds"
	@$(BIN)/python -m custody_pipeline_tests.evidence.mutants
	@$(BIN)/python -m custody_pipeline_tests.evidence.fuzz_parsers --seconds $(SECONDS)

docs: $(VENV)/installed-dev
	@$(BIN)/custody dictionary > docs/data-dictionary.md
	@$(BIN)/custody env --markdown > docs/settings.md
	@$(BIN)/python docs/notebook.py
	@$(BIN)/python -m bench.record

# From a home of `custody demo --nights 7`.
screenshots: $(VENV)/installed-dev
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[browser]'
	@$(BIN)/python docs/screenshots.py $(CUSTODY_HOME)

clean:
	rm -rf $(VENV) .coverage .custody .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
