# One entry for everything. `make help` lists the targets; each sets up what it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers
STAMP := $(VENV)/.installed
WORKERS ?= 2
ARGS ?=
CASES ?= 20000
SEED ?=

.DEFAULT_GOAL := help
.PHONY: help install run demo test check bench bench-quick bench-big bench-peers docs lock clean
.PHONY: sim sim-long sim-mutants kill-loop faults-long fuzz-api fuzz soak

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

# Hundreds of daemons and commands are started; none of them is to compile the program anew.
test check: export PYTHONDONTWRITEBYTECODE :=

test: install ## Run every test (ARGS="-k name" selects)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

check: install ## Lint, types, import contract, tidy tree, docs that fit the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -n $(WORKERS) \
		tests/test_tidy.py tests/test_imports.py tests/test_docs.py

fuzz-api: install ## Ask a daemon for CASES things its OpenAPI document describes (SEED=1 repeats)
	CHRONICLED_FUZZ_CASES=$(CASES) CHRONICLED_FUZZ_SEED=$(SEED) \
		$(BIN)/python -m pytest -q tests/fuzz/test_openapi.py $(ARGS)

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

sim: install ## Simulate faults (SEED=1 or 1-20, STEPS=500; the same seed is the same run)
	$(BIN)/python tests/simulation $(or $(SEED),1-10) --steps $(or $(STEPS),500) --jobs $(WORKERS)

sim-long: install ## Simulate 2,000 seeds and 20 that nobody has tried, of 500 steps, about an hour
	$(BIN)/python tests/simulation 1-2000 --random 20 --steps 500 --jobs $(WORKERS)

sim-mutants: install ## Plant bugs, and see that each is found within 200 seeds
	$(BIN)/python tests/simulation 1-200 --steps 500 --jobs $(WORKERS) --mutants

kill-loop: install ## Kill the daemon under load KILLS=200 times on a log of EVENTS=1000000
	KILL_LOOP_KILLS=$(or $(KILLS),200) KILL_LOOP_EVENTS=$(or $(EVENTS),1000000) \
		KILL_LOOP_SEED=$(SEED) $(BIN)/python -m pytest -q -s tests/faults/test_kill_loop.py $(ARGS)

faults-long: install ## The tests with real faults in their long form
	CHRONICLED_FAULTS=long $(BIN)/python -m pytest tests/faults $(ARGS)

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
