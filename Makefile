# Every target sets up what it lacks first; all are safe to repeat. `make` alone lists them.
#   VENV=DIR       the virtual environment to make and use (.venv); SYSTEMS_VENV the one for `make test-systems`
#   PYTHON=FILE    the Python 3.11-3.13 to make it with
#   JOBS=N         how many processes share the tests (3)
#   KEEP=1         leave the demo's deployment running
VENV ?= .venv
SYSTEMS_VENV ?= .venv-systems
export VENV SYSTEMS_VENV
PY := $(VENV)/bin/python
PYTEST := $(PY) -m pytest
# Most of a test's time is waiting, for machines or for a clock: more processes than cores.
JOBS ?= 3
PARALLEL := --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder
ifdef PYTHON
export PYTHON
endif

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-engine test-slow test-systems test-real molecule bench bench-commands bench-clusters lint format clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

demo: ## the whole program on this machine, end to end (a few minutes)
	@scripts/bootstrap demo
	@$(PY) scripts/demo

test: ## all tests but the slow ones and the ones over other people's servers
	@scripts/bootstrap test
	@$(PYTEST) $(PARALLEL) -m "not slow and not systems and not real"

test-fast: ## the tests that need no container engine
	@scripts/bootstrap lint
	@$(PYTEST) $(PARALLEL) -m "not slow and not engine and not systems and not real"

test-engine: ## the tests that need a container engine
	@scripts/bootstrap test
	@$(PYTEST) -m "engine and not slow"

test-slow: ## the slow tests, emulated boards among them
	@scripts/bootstrap slow
	@$(PYTEST) -m slow

test-systems: ## the tests against other people's servers and parsers, in an environment of their own (1.5 GB)
	@scripts/bootstrap systems
	@$(PYTEST) -m systems

test-real: ## the plays with a real K3s (K3S_BINARY=FILE), on real boards (INVENTORY=FILE), or both
	@scripts/test-real

molecule: ## the scenarios of playbooks/molecule, on simulated Raspberry Pis
	@scripts/bootstrap test
	@$(PYTEST) -m slow tests/integration/test_molecule.py

bench: bench-commands bench-clusters ## both benches

bench-commands: ## how long commands and many machines of clouds take, beside yardsticks (OpenStack: `scripts/bootstrap systems`)
	@scripts/bootstrap lint
	@$(PY) scripts/bench

bench-clusters: ## how long the K3s plays take over 1, 3, 6 and 12 simulated Pis (minutes; K3S_ANSIBLE=folder compares)
	@scripts/bootstrap test
	@$(PY) scripts/bench_k3s.py

lint: ## style, types, import layers, Ansible, YAML, shell, Terraform
	@scripts/bootstrap lint
	@scripts/lint

format: ## rewrite the Python files in the project's style
	@scripts/bootstrap lint
	@$(PY) -m ruff check --fix --select I .
	@$(PY) -m ruff format .

clean: ## remove what the build, the tests and lint left (never a deployment, never the environment)
	@rm -rf dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find orchestrator tests examples scripts -name __pycache__ -type d -prune -exec rm -rf {} +
