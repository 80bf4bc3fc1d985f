# The commands of this project. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
VENV := .venv
PY := $(VENV)/bin/python
BACKEND ?=

.PHONY: help install demo test interop bench lint fmt types check lock docs clean

help: ## list the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## create .venv from the hash-locked dependencies

$(VENV)/.installed: requirements-dev.lock pyproject.toml deploy/bootstrap.sh
	@deploy/bootstrap.sh $(VENV) requirements-dev.lock

demo: install ## from nothing to a governed, audited model call (BACKEND=http://host:8000/v1 for a real server)
	@$(PY) deploy/demo/demo.py $(if $(BACKEND),--backend "$(BACKEND)")

test: install ## the tests, without anything that is not a Python package
	@$(PY) -m pytest -m "not interop" -n auto --dist loadfile --cov --cov-report=term:skip-covered

interop: install ## the tests against programs that are not Python packages; installs what they need
	@deploy/interop.sh
	@$(PY) -m pytest -m interop

bench: install ## the benchmarks, with the peers they compare against; installs what they need
	@bench/run.sh

lint: install
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/lint-imports

fmt: install
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

types: install
	@$(VENV)/bin/mypy

check: lint types ## ruff, import rules and mypy --strict

lock: ## renew the locked dependencies (needs network)
	@$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --upgrade pyproject.toml -o requirements.lock
	@$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --upgrade pyproject.toml --group dev -o requirements-dev.lock

clean: ## remove what the build and the demo wrote
	@rm -rf $(VENV) .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* dist
