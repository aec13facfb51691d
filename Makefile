# Everything a person or a CI needs. `make help` lists it.
# A bare machine has python3.11 (or newer), pip, git and make; uv is used where it is present.

PYTHON ?= $(or $(shell command -v python3.11),$(shell command -v python3))
VENV   ?= .venv
PY     := $(VENV)/bin/python
UV     := $(shell command -v uv)
ONLY   ?=
CODE   := gojob_redis sdk tests bench examples

# Where the environment forbids Python to keep what it compiled, each process would compile the product anew.
export PYTHONDONTWRITEBYTECODE :=

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help install demo up console-world test check format docs bench figures-world faults faults-short attack mutants model lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

install: $(VENV)/.dev ## Install everything, tools included, into .venv

demo: $(VENV)/.run ## Start a whole system, break it on purpose, and show that nothing was lost (90 s); MODE=cluster or sentinel
	@$(PY) -m examples.demo $(if $(MODE),--mode $(MODE))

up: $(VENV)/.run ## Start the same system and keep it until Ctrl-C
	@$(PY) -m examples.demo --stay $(if $(MODE),--mode $(MODE))

console-world: $(VENV)/.run ## Show a large world until Ctrl-C: 100,000 triggers, 1,000,000 tasks in 60 days, 5,000 workers; SCALE=0.01 for less
	@$(PY) -m examples.world --scale $(or $(SCALE),1)

test: $(VENV)/.dev ## Run the tests, four files at a time; ARGS='-n 0 tests/lua/test_fire.py' for one alone
	@$(PY) -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(VENV)/.dev ## Style, types, layers, spelling, generated documents, vulnerable versions
	@$(PY) -m ruff format --check $(CODE)
	@$(PY) -m ruff check $(CODE)
	@$(PY) -m mypy -p gojob_redis -p gojob_sdk -p tests -p bench -p examples
	@$(VENV)/bin/lint-imports
	@$(VENV)/bin/codespell
	@mkdir -p build/docs && $(PY) -m gojob_redis.ops.documents --into build/docs
	@for name in $(GENERATED); do \
	  diff -u docs/$$name.md build/docs/$$name.md || { echo "docs/$$name.md is old: run make docs"; exit 1; }; \
	done
	@$(PY) -m gojob_redis.ops.policies | diff -u $(SDK_POLICIES) - \
	  || { echo "$(SDK_POLICIES) is old: run make docs"; exit 1; }
	@$(VERBS) | diff -u gojob_redis/domain/verbs.py - || { echo "domain/verbs.py is old: run make docs"; exit 1; }
	@$(PY) -m bench.table --check
	@$(PY) -m tests.tools.vulnerabilities requirements.lock

format: $(VENV)/.dev ## Put the code into its form
	@$(PY) -m ruff format $(CODE)
	@$(PY) -m ruff check --fix $(CODE)

GENERATED := keys states limits permissions policies api events
SDK_POLICIES := sdk/gojob_sdk/policies.py

VERBS = $(PY) -m gojob_redis.ops.verbs | $(PY) -m ruff format --stdin-filename gojob_redis/domain/verbs.py -

docs: $(VENV)/.dev ## Write the generated documents, and the typed calls of the scripts
	@$(PY) -m gojob_redis.ops.documents --into docs
	@$(PY) -m gojob_redis.ops.policies > $(SDK_POLICIES)
	@mkdir -p build && $(VERBS) > build/verbs.py && mv build/verbs.py gojob_redis/domain/verbs.py
	@$(PY) -m bench.table

bench: $(VENV)/.dev ## Measure, ours and others side by side (40 min); ONLY=drain asks one question, ARGS=--small just tries
	@$(PY) -m bench $(ONLY) $(ARGS)

figures-world: $(VENV)/.dev ## Measure searches and overviews in the large world, and what another app notices (15 min); SCALE=0.1 for less
	@$(PY) -m bench.world --scale $(or $(SCALE),1) $(ARGS)

faults: $(VENV)/.dev ## Break everything on purpose and judge it (build/faults.json); ONLY=1,8 chooses rows
	@$(PY) -m tests.faults $(if $(ONLY),--only $(ONLY)) $(ARGS)

faults-short: $(VENV)/.dev ## The same with smaller numbers, and fewer rows (5 min); CI runs those that hardly look at the clock
	@$(PY) -m tests.faults --short $(if $(ONLY),--only $(ONLY)) $(ARGS)

attack: $(VENV)/.dev ## Attack a real system and judge what came of it (build/attack.json, 5 min); ONLY=C1,H2 chooses, ARGS=--short for CI
	@$(PY) -m tests.attacks $(if $(ONLY),--only $(ONLY)) $(ARGS)

mutants: $(VENV)/.dev ## Delete the guards of the Lua scripts one by one; fails below 95 % noticed (20 min); ONLY=report.lua
	@$(PY) -m tests.tools.mutants $(if $(ONLY),--only $(ONLY)) $(ARGS)

model: $(VENV)/.dev ## Walk the small model's long way against the real scripts (10 min); GOJOB_MODEL_EXAMPLES=2000
	@GOJOB_MODEL_EXAMPLES=$${GOJOB_MODEL_EXAMPLES:-1000} $(PY) -m pytest tests/model $(ARGS)

clean: ## Remove what was built; .venv stays
	@rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# ---- installing: once, and again when what is needed changed -------------------------------------------------------

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gojob-redis needs Python 3.11 or newer: make PYTHON=...")'
	@echo "installing into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)

INSTALL = $(if $(UV),$(UV) pip install --quiet --python $(PY),$(PY) -m pip install --quiet --disable-pip-version-check)

# The versions are those of the lock, in CI and everywhere; `make install LOCK=` takes the newest that pyproject.toml allows.
LOCK    ?= requirements.lock
LOCKED   = $(if $(LOCK),-c $(LOCK))

$(VENV)/.run: pyproject.toml sdk/pyproject.toml requirements.lock | $(PY)
	@$(INSTALL) $(LOCKED) -e sdk -e .
	@touch $@

$(VENV)/.dev: pyproject.toml sdk/pyproject.toml requirements.lock | $(PY)
	@$(INSTALL) $(LOCKED) -e sdk -e '.[dev]'
	@touch $@ $(VENV)/.run

lock: | $(PY) ## Renew requirements.lock: the newest versions that pyproject.toml allows; install and test them after it
	@mkdir -p build
	@$(PY) -m pip install --quiet --disable-pip-version-check --dry-run --ignore-installed --report build/lock.json \
	  -e sdk -e '.[dev]'
	@$(PY) -m tests.tools.lock build/lock.json > requirements.lock
