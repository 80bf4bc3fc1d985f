# The commands of this project. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
VENV := .venv
PY := $(VENV)/bin/python
BACKEND ?=
# tests/conftest.py puts those modules first that take the longest; each is run by one process.
MODULES := --dist loadfile --no-loadscope-reorder

.PHONY: help install demo test interop bench lint fmt types check lock docs clean

help: ## list the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## create .venv from the hash-locked dependencies

$(VENV)/.installed: requirements-dev.lock pyproject.toml deploy/bootstrap.sh
	@deploy/bootstrap.sh $(VENV) requirements-dev.lock

demo: install ## a governed, audited model call (BACKEND=http://host:8000/v1; SECRETS=vault: its key from OpenBao)
	@$(PY) deploy/demo/demo.py $(if $(BACKEND),--backend "$(BACKEND)") $(if $(SECRETS),--secrets "$(SECRETS)")

test: install ## the tests, without anything that is not a Python package
	@$(PY) -m pytest tests/unit -m "not interop" -n auto --dist loadfile --cov --cov-report=term:skip-covered
	@# These wait for the processes that they start more than they compute: more at once than there are cores (of two).
	@$(PY) -m pytest --ignore=tests/unit -m "not interop" -n 3 $(MODULES)

interop: install ## the tests against programs that are not Python packages; installs what they need
	@deploy/interop.sh
	@$(PY) -m pytest -m interop -n auto $(MODULES)

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

check: install ## ruff, import rules and mypy --strict
	@$(MAKE) --no-print-directory -j 2 --output-sync=target lint types

lock: ## renew the locked dependencies (needs network)
	@$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-strip-extras \
		--no-header --upgrade pyproject.toml -o requirements.lock
	@$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-strip-extras \
		--no-header --upgrade pyproject.toml --group dev -o requirements-dev.lock

clean: ## remove what the build and the demo wrote
	@rm -rf $(VENV) .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* dist
