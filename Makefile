# Needs Python 3.11 or newer, make and git, nothing else. `make` alone lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done
LOCKER := $(VENV)-lock
PLUGINS := $(VENV)/plugins
SCENARIOS := $(VENV)/scenarios
PLAYS := order-fulfilment image-processing user-signup report
BESIDE := PYTHONPATH=$(CURDIR)/$(PLUGINS):$(CURDIR)/$(SCENARIOS)
TEMPORAL_VERSION := v1.5.1 # the last that `go install` can build
TEMPORAL := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/flowctl-temporal/$(strip $(TEMPORAL_VERSION))/temporal
# A file's tests stay together, for what they share; the long ones are among the first that there are.
AT_ONCE := -n auto --dist loadfile --no-loadscope-reorder
PIP_INSTALL := python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help setup plugins scenarios dashboard pictures test lint format types temporal scenarios-on-temporal demo bench peers lock clean $(PLAYS:%=scenario-%) $(PLAYS:%=tests-of-%)

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile

define require_python
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "flowctl needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo missing)." >&2; \
	  echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
endef

setup: $(STAMP) ## create .venv from the hashed lock, with flowctl in it, editable

# Runs again only when what it installs from has changed. The stamp is written last, so an interrupted
# setup is repeated, and an environment that was left without pip is made anew.
$(STAMP): requirements/dev.lock pyproject.toml
	$(require_python)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/$(PIP_INSTALL) --require-hashes -r requirements/dev.lock
	$(BIN)/$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

# The packages under plugins/, built and installed as anybody would, but beside the environment: flowctl's own
# tests are about an installation without them.
plugins: $(PLUGINS)/.built ## build the packages under plugins/ and install them into .venv/plugins

$(PLUGINS)/.built: $(STAMP) $(wildcard plugins/*/*.py plugins/*/*.toml plugins/*/*.md)
	rm -rf $(PLUGINS)
	$(BIN)/$(PIP_INSTALL) --no-deps --no-build-isolation --target $(PLUGINS) $(wildcard ./plugins/flowctl-*)
	@touch $@

# What the scenarios among the examples need, likewise beside the environment.
scenarios: plugins $(SCENARIOS)/.built ## install what the scenarios of examples/ need; play one: make scenario-report

$(SCENARIOS)/.built: $(STAMP) requirements/scenarios.lock
	rm -rf $(SCENARIOS)
	$(BIN)/$(PIP_INSTALL) --require-hashes --target $(SCENARIOS) -r requirements/scenarios.lock
	@touch $@

# On Temporal: make scenario-report DB=temporal://localhost:7233
$(PLAYS:%=scenario-%): scenario-%: scenarios
	@$(BESIDE) SCENARIO_DB=$(DB) $(BIN)/python examples/$*/play_*.py

dashboard: ## build the dashboard into the package, with its types checked; needs npm
	cd dashboard && npm install --omit-lockfile-registry-resolved --no-audit --no-fund && npm run build

pictures: setup ## take the pictures of docs/dashboard.md anew; needs Chromium
	$(BIN)/python -m benchmarks.pictures

test: setup lint types plugins scenarios ## all that must hold: lint, format, types, tests, those of plugins and scenarios included
	$(BIN)/python -m pytest -q $(AT_ONCE)
	PYTHONPATH=$(CURDIR)/$(PLUGINS) $(BIN)/python -m pytest -q plugins
	$(MAKE) --no-print-directory -j2 $(PLAYS:%=tests-of-%)

# Two at a time: most of what they do is to start processes.
$(PLAYS:%=tests-of-%): tests-of-%: scenarios
	$(BESIDE) $(BIN)/python -m pytest -q examples/$*

scenarios-on-temporal: scenarios $(TEMPORAL) ## the tests of the scenarios, all of them on Temporal
	SCENARIOS_ON=temporal FLOWCTL_TEMPORAL=$(TEMPORAL) FLOWCTL_TEMPORAL_REQUIRED=1 \
	  $(MAKE) --no-print-directory -j2 $(PLAYS:%=tests-of-%)

lint: setup ## check rules and format
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

format: setup ## mend what can be mended by machine
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

types: setup ## mypy, strict
	$(BIN)/python -m mypy

temporal: $(TEMPORAL) ## build Temporal's development server with Go, once (three minutes), and print where it is
	@echo $(TEMPORAL)

$(TEMPORAL):
	@command -v go >/dev/null || { echo "Temporal's server is built with Go, which is not here." >&2; exit 1; }
	GOBIN=$(@D) go install github.com/temporalio/cli/cmd/temporal@$(strip $(TEMPORAL_VERSION)) >&2

demo: setup ## an order that completes, then one whose shipping fails and is undone
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash examples/demo.sh

bench: setup ## flowctl beside the limits of bare SQLite, and beside DBOS, which is installed elsewhere for it
	$(BIN)/python -m benchmarks

peers: setup ## the same work done by Restate, Temporal and Prefect: who cannot be installed here is left out
	FLOWCTL_TEMPORAL=$(TEMPORAL) $(BIN)/python -m benchmarks.others

lock: ## resolve the dependencies anew (uv does it, in an environment that is thrown away)
	$(require_python)
	$(PYTHON) -m venv --clear $(LOCKER)
	$(LOCKER)/bin/$(PIP_INSTALL) uv
	$(call resolve,runtime,,pyproject.toml)
	$(call resolve,dev,--extra dev,pyproject.toml)
	$(call resolve,scenarios,--constraint requirements/dev.lock,requirements/scenarios.in)
	$(call resolve,dbos,,requirements/dbos.in)
	$(call resolve,prefect,,requirements/prefect.in)
	$(call resolve,schemathesis,,requirements/schemathesis.in)
	rm -rf $(LOCKER)

# The lock names versions and hashes, never an index: whoever installs decides where packages come from.
define resolve
$(LOCKER)/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(2) -o requirements/$(1).lock $(3)
endef

clean: ## remove what was built or cached, the environment included
	rm -rf $(VENV) $(LOCKER) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
