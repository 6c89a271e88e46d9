# Everything runs from the virtual environment in .venv, which the first target that needs it makes from the lock file.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help

.PHONY: help
help: ## What can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(STAMP): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null 2>&1 || { echo "$(PYTHON) is not here; install Python 3.11 with venv (Debian: apt-get install python3.11-venv), or say make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Making the virtual environment in $(VENV) (once, about a minute) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --require-hashes --requirement requirements.lock
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

.PHONY: setup
setup: $(STAMP) ## Make the virtual environment from the lock file

.PHONY: demo
demo: $(STAMP) ## Run a clinic's day through the whole pipeline on the embedded stack
	@$(BIN)/luxe demo

# Processes that the tests are spread over (tests/spreading.py); 0: all in one, with the names of files as they go.
WORKERS ?= 2

.PHONY: test
test: $(STAMP) ## Run all tests (starts and stops every service it needs)
	@$(BIN)/pytest -n $(WORKERS)

.PHONY: check
check: $(STAMP) ## Lint, format, types, layers, contracts, generated files
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/luxe schemas check

.PHONY: chaos
chaos: $(STAMP) ## The long form of the kill-and-pause tests (about 30 minutes)
	@LUXE_CHAOS=full $(BIN)/pytest tests/chaos --timeout 3600 -s

.PHONY: hammer
hammer: $(STAMP) ## Opt-outs and events hammered together, Postgres away for a minute: the long form (about 8 minutes)
	@LUXE_CHAOS=full $(BIN)/pytest tests/integration/hammer --timeout 3600 -s

.PHONY: fuzz
fuzz: $(STAMP) ## The long form of the API's fuzzing, over 10,000 requests (about 5 minutes)
	@LUXE_FUZZ_CASES=500 $(BIN)/pytest tests/integration/api/test_fuzz.py --timeout 3600 -s

.PHONY: bench
bench: $(STAMP) ## All benchmarks: prints the table, writes build/bench.json
	@$(BIN)/python -m tests.bench

.PHONY: lock
lock: $(STAMP) ## Write requirements.lock anew from pyproject.toml
	@$(BIN)/pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --all-extras --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --output-file requirements.lock pyproject.toml

.PHONY: clean
clean: ## Remove what was built; the local stack's state stays (luxe down --wipe removes it)
	@rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
