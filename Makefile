# `make run` and `make test` need Python 3.11+, make and the package registries, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: run test lint bench load notebooks lambdas image clean

run: $(VENV)/.local
	$(BIN)/consumidor up --demo

test: $(VENV)/.test lint
	$(BIN)/pytest

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "consumidor needs Python 3.11 or newer; name one with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

# One stamp per set of extras: a changed pyproject or constraints file installs again, an unchanged one costs nothing.
$(VENV)/.%: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) --editable '.[$(if $(filter local,$*),local,local,$*)]'
	@touch $@

lambdas: $(VENV)/.local
	$(BIN)/python infra_pulumi/lambdas.py $(if $(ARCH),--arch $(ARCH)) $(if $(RUNTIME),--python $(RUNTIME))

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
