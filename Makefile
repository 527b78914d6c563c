# `make run` and `make test` need Python 3.11+, make and the package registries, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: run test faults lint bench scale load notebooks lambdas image clean

run: $(VENV)/.local
	$(BIN)/consumidor up --demo

test: $(VENV)/.test lint
	$(BIN)/pytest

# Half an hour or more: the long set of what is in tests/faults and of the leak scan. What it finds goes to benchmarks/results/faults.json;
# `python -m tests.faults.table` then draws the README's tables, `python -m benchmarks.figures` writes its figures.
faults: $(VENV)/.test
	FAULT_RESULTS=$(CURDIR)/benchmarks/results/faults.json FAULT_PEOPLE=10003 FAULT_CPFS=10000 FAULT_KIDS=100000 FAULT_EXAMPLES=5000 \
	  FAULT_HTTP_EXAMPLES=300 FAULT_SCHEDULES=5000 FAULT_OUTAGE_SECONDS=20 FAULT_REQUESTS=5000 FAULT_KILLS=5 \
	  $(BIN)/pytest tests/faults tests/e2e/test_leaks.py --ignore tests/faults/test_table.py --timeout 3600

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

# About an hour, two thirds of it for a million people; benchmarks/RESULTS.md. Some only: make bench ONLY="score worker".
bench: $(VENV)/.local $(VENV)/.test
	$(if $(ONLY),,$(MAKE) scale)
	$(BIN)/python -m benchmarks.ratios $(ONLY)
	$(if $(ONLY),,$(BIN)/python -m benchmarks.profiles)
	$(BIN)/python -m benchmarks.figures

# What more people and more threads cost: 10,000, 100,000 and 1,000,000 people in one run, 11 GB in TMPDIR. Fewer: make scale SIZES=10000,100000.
scale: $(VENV)/.local $(VENV)/.test
	$(BIN)/python -m benchmarks.scale $(if $(SIZES),--sizes $(SIZES),--million)
	$(BIN)/python -m benchmarks.simulation

# 60 s on a stack of its own. On another: make load ARGS="--home .local", ARGS="--api URL --token-url URL --client-id ID" (see the file).
load: $(VENV)/.local $(VENV)/.test
	$(BIN)/python -m benchmarks.load $(ARGS)

# Against the stack that `make run` serves, or that of CONSUMIDOR_HOME; keeps the outputs. Some only: make notebooks ONLY="03_people_path".
notebooks: $(VENV)/.local $(VENV)/.test
	$(BIN)/python notebooks/execute.py $(ONLY)

lambdas: $(VENV)/.local
	$(BIN)/python infra_pulumi/lambdas.py $(if $(ARCH),--arch $(ARCH))

# Needs Docker and a login to the stack's repository; prints how the stack is told of what was pushed (infra_pulumi/README.md).
TAG ?= $(shell git rev-parse --short=12 HEAD)
image:
	@test -n "$(REPOSITORY)" || { echo 'make image REPOSITORY="$$(pulumi -C infra_pulumi stack output repository)"'; exit 2; }
	@mkdir -p build
	@for target in service extraction; do \
	  docker buildx build --platform linux/arm64 --provenance=false --target $$target --tag $(REPOSITORY):$$target-$(TAG) \
	    --metadata-file build/$$target.json --push . || exit 1; \
	done
	@$(PYTHON) -c 'import json; digest = lambda target: json.load(open(f"build/{target}.json"))["containerimage.digest"]; \
	  print("pulumi -C infra_pulumi config set imageDigest", digest("service")); \
	  print("pulumi -C infra_pulumi config set extractionImageDigest", digest("extraction"))'

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
