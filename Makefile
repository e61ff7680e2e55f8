# One entry for everything. `make help` lists the targets; each sets up what it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers
STAMP := $(VENV)/.installed
WORKERS ?= 2
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install run demo test check bench bench-quick bench-big bench-peers fuzz soak docs \
	lock clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

install: $(STAMP) ## Create .venv with chronicled in it, from requirements.lock

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		"Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

run: install ## Start the daemon on ./data (ARGS="--listen 127.0.0.1:9000" adds options)
	$(BIN)/chronicled serve $(ARGS)

demo: install ## Feed a day of sample jobs and show what can be asked (ONCE=1 ends by itself)
	$(BIN)/chronicled demo $(if $(filter 1,$(ONCE)),--once) $(ARGS)

test: install ## Run every test (ARGS="-k name" selects)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

check: install ## Lint, types, import contract, tidy tree, docs that fit the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_tidy.py tests/test_imports.py tests/test_docs.py

bench: install ## Measure everything, side by side with limits and peers (ARGS="--only intake")
	$(BIN)/python -m benchmarks $(ARGS)

bench-quick: install ## The same, smaller, in about two minutes
	$(BIN)/python -m benchmarks --quick $(ARGS)

bench-big: install ## The same with a log of ten million events (10 GB, long at first)
	$(BIN)/python -m benchmarks --big $(ARGS)

bench-peers: $(PEERS)/.installed ## Create .venv-peers with the peers that are written in Python

$(PEERS)/.installed: benchmarks/peers-requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet -r benchmarks/peers-requirements.txt
	@touch $@

fuzz: $(VENV)/.fuzz ## Fuzz every reader for SECONDS each (TARGET=name,... picks; REPLAY=FILE)
	$(BIN)/python tests/fuzz $(if $(TARGET),--target $(TARGET)) $(if $(SEED),--seed $(SEED)) \
		$(if $(REPLAY),--replay $(REPLAY),--seconds $(or $(SECONDS),600)) $(ARGS)

$(VENV)/.fuzz: $(STAMP)
	$(BIN)/python -m pip install --quiet "$$(sed -n 's/^ *"\(atheris[^;"]*\).*/\1/p' pyproject.toml)"
	@touch $@

soak: install ## Load a daemon for MINUTES (30) at half its peak; nothing is lost, memory is flat
	$(BIN)/python -m benchmarks.soak --minutes $(or $(MINUTES),30) $(ARGS)

docs: install ## Renew the reference in docs/events.md from the catalog
	$(BIN)/python tests/event_reference.py

lock: ## Renew requirements.lock, with uv in a throw-away venv
	scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && $(PYTHON) -m venv "$$scratch" && \
	"$$scratch/bin/pip" install --quiet uv && \
	{ sed -n '/^#/p;/^#/!q' requirements.lock; "$$scratch/bin/uv" pip compile pyproject.toml \
		--extra dev --universal --python-version 3.11 --generate-hashes --no-header --quiet; \
	} > "$$scratch/lock" && mv "$$scratch/lock" requirements.lock

clean: ## Remove the venvs, caches and demo data (never ./data)
	rm -rf $(VENV) $(PEERS) .demo .fuzz build dist *.egg-info \
		.mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
