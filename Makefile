# What people do every day. `make` alone says what there is.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.driftline-setup
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet
NOT_INSTALLED := "setup: the packages could not be installed, for the reason above; check the network, or name a mirror in PIP_INDEX_URL, and run it again"
TOGETHER := --numprocesses auto --maxprocesses 4 --dist loadgroup --no-loadscope-reorder
export PYTHONUNBUFFERED = 1

.DEFAULT_GOAL := help
.PHONY: help setup demo bench chaos test lint format schemas reference up down clean lock

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /  make \1|/' | column -t -s '|'

setup: $(STAMP)  ## a virtual environment in .venv with everything, from hash-locked lists

$(STAMP): requirements/build.txt requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Driftline needs Python >= 3.11; set PYTHON=/path/to/python")'
	@echo "setting up .venv (a minute or two, once)"
	@$(PYTHON) -m venv .venv || { echo "no venv module: install python3-venv, or set PYTHON" >&2; exit 1; }
	@$(PIP) --progress-bar on --require-hashes -r requirements/build.txt -r requirements/dev.txt || { echo $(NOT_INSTALLED) >&2; exit 1; }
	@$(PIP) --no-deps --no-build-isolation -e . || { echo $(NOT_INSTALLED) >&2; exit 1; }
	@touch $@

test: setup  ## every test: fast ones first, then those with a real Kafka and Redis
	$(BIN)/python -m pytest $(TOGETHER) -m "not integration"
	$(BIN)/python -m pytest $(TOGETHER) -m integration

lint: setup  ## style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup  ## put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schemas: setup  ## write schemas/ from the typed events
	$(BIN)/python -m driftline.events.schemas

reference: setup  ## write docs/reference from the code
	$(BIN)/python -m driftline.reference

bench: setup  ## every figure of docs/performance.md measured on this machine (about half an hour)
	$(BIN)/python -m benchmarks all

chaos: setup  ## every fault of docs/reliability.md at full size (about 50 minutes); only=NAME for one of them
	$(BIN)/python -m tests.chaos $(only)

demo: setup  ## eight months of real flights through the whole loop
	$(BIN)/python -m examples.flights.demo

up: setup  ## Kafka, Redis and the workers on this machine
	$(BIN)/driftline up

down: setup  ## stop them
	$(BIN)/driftline down

clean:  ## remove the environment, caches and local state (stops what runs)
	@if [ -x $(BIN)/driftline ]; then $(BIN)/driftline down; fi
	rm -rf .venv .driftline .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist

lock:  ## lock the dependencies anew (needs uv); the lists hold hashes and no addresses
	uv pip compile -q pyproject.toml --extra dev --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header --universal --python-version 3.11 -o requirements/dev.txt
	printf 'hatchling>=1.27\nsetuptools>=70\nwheel\neditables\n' | uv pip compile -q - --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header --universal --python-version 3.11 -o requirements/build.txt
