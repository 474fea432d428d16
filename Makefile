# make demo, make test and make check each do all the set-up that they need (the virtual environment, uv, the packages).
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.alacena-installed
BENCHMARKS := feeding epochs building starting near_pairs growth

.PHONY: help setup demo test explore bench bench-quick check lint types docs lock clean
.DEFAULT_GOAL := help

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## the virtual environment with everything in it

# uv is taken where there is one, else installed into the virtual environment itself.
$(STAMP): pyproject.toml requirements.lock
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@command -v uv >/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	PATH="$$PATH:$(CURDIR)/$(BIN)" uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.lock
	PATH="$$PATH:$(CURDIR)/$(BIN)" uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps -e .
	@touch $@

demo: setup ## draw a small data set, run everything on it, open the report it names
	$(BIN)/python cli.py demo

test: setup ## the tests
	$(BIN)/python -m pytest

explore: setup ## the laws among the tests with new examples, twenty times as many
	HYPOTHESIS_PROFILE=explore $(BIN)/python -m pytest -m hypothesis

bench: setup ## every benchmark, a quarter of an hour on two quiet cores; on photographs that lie beside the project
	for each in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$each || exit 1; done

bench-quick: setup ## the same in two minutes, with fewer rounds and rows
	for each in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$each --quick || exit 1; done

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/pyright

check: lint types test ## lint, types and tests: what CI runs

docs: setup ## write docs/cli.md again from the commands
	$(BIN)/python docs/write_cli.py

lock: ## pin the versions again, without naming a registry
	uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-annotate --no-header --group dev --all-extras pyproject.toml -o requirements.lock

clean: ## remove what was built (never a store)
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
