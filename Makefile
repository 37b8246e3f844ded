# Every target sets up what it lacks first; all are safe to repeat. `make` alone lists them.
#   VENV=DIR       the virtual environment to make and use (.venv)
#   PYTHON=FILE    the Python 3.11-3.13 to make it with
#   KEEP=1         leave the demo's deployment running
VENV ?= .venv
export VENV
PY := $(VENV)/bin/python
PYTEST := $(PY) -m pytest
ifdef PYTHON
export PYTHON
endif

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-engine test-slow lint format clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

demo: ## the whole program on this machine, end to end (a few minutes)
	@scripts/bootstrap demo
	@$(PY) scripts/demo

test: ## all tests but the slow ones
	@scripts/bootstrap test
	@$(PYTEST) -m "not slow"

test-fast: ## the tests that need no container engine
	@scripts/bootstrap lint
	@$(PYTEST) -m "not slow and not engine"

test-engine: ## the tests that need a container engine
	@scripts/bootstrap test
	@$(PYTEST) -m "engine and not slow"

test-slow: ## the slow tests
	@scripts/bootstrap test
	@$(PYTEST) -m slow

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
