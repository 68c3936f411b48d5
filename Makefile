# Setup, checks, tests and generated files. `make` alone lists the targets.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# The checks of `make test`, two at a time; a failed one does not stop the others.
CHECKS := check-format lint suite types imports script-types

# Processes that run tests: one more than cores, since some tests wait for a browser or a process.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
PYTEST := $(BIN)/pytest -n $(WORKERS) --dist worksteal

# Bytecode is kept, also where the environment forbids it: many processes read the same modules.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup digits test test-slow $(CHECKS) docs format artifacts results picture attribution-benchmark engine-benchmark benchmarks clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-21s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: .venv/dev.stamp ## create .venv with all development tools

digits: .venv/run.stamp ## fetch MNIST, train a classifier, evaluate it: runs/quick
	$(BIN)/clearhead train quick --out runs/quick

test: .venv/dev.stamp node_modules/.stamp ## all checks and tests but the slow ones: format, lint, types, imports
	@$(MAKE) --no-print-directory --keep-going --jobs 2 $(CHECKS)

check-format: .venv/dev.stamp ## check the format of all files
	$(BIN)/ruff format --check --diff .

lint: .venv/dev.stamp ## check ruff's rules
	$(BIN)/ruff check .

types: .venv/dev.stamp ## check the types of everything but the tests: mypy, strict
	$(BIN)/mypy src benchmarks docs

imports: .venv/dev.stamp ## check that modules import from lower layers and their own package only
	$(BIN)/lint-imports

script-types: node_modules/.stamp ## check the types of the pages' sources: tsc
	@if [ -x node_modules/.bin/tsc ]; then node_modules/.bin/tsc --project .; \
	else echo "no npm here: the pages' sources are not type-checked"; test -z "$$CI"; fi

suite: .venv/dev.stamp node_modules/.stamp ## run the tests that are not marked slow
	$(PYTEST) -m "not slow"

test-slow: .venv/dev.stamp node_modules/.stamp ## run the tests marked slow and the examples of the docs, check the types of tests
	$(PYTEST) -m slow
	$(BIN)/mypy
	@$(MAKE) --no-print-directory docs

docs: .venv/dev.stamp ## build docs/_build/html, executing all examples; warnings are errors
	$(BIN)/sphinx-build --fresh-env --fail-on-warning --quiet --jobs 2 -d docs/_build/doctrees docs docs/_build/html

format: .venv/dev.stamp ## format all files and fix what ruff can fix
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

SHIPPED := src/clearhead/models/shipped
# runs/NAME: the mean of three runs of digits_rollout with these options
define average
for seed in 0 1 2; do \
  $(BIN)/clearhead train digits_rollout $(2) --seed $$seed --out runs/$(1)-$$seed || exit; \
done
$(BIN)/python -m clearhead.training.averaging runs/$(1)-0 runs/$(1)-1 runs/$(1)-2 --out runs/$(1)
endef

artifacts: .venv/run.stamp ## train the shipped models again: a few hours
	$(BIN)/clearhead train digits --out runs/digits
	$(BIN)/clearhead train digits_finish --start runs/digits --out runs/digits_finish
	$(BIN)/clearhead train teacher --out runs/teacher
	$(BIN)/clearhead train digits_distil --start runs/digits_finish --out runs/digits_distil
	cp $(addprefix runs/digits_distil/,config.json model.safetensors metrics.json) $(SHIPPED)/digits-distilled/
	$(call average,digits_rollout,--start digits-distilled)
	$(call average,digits_last,--start runs/digits_rollout --teachers digits-distilled --epochs 4 --average 0.995)
	$(call average,digits_touching,--start runs/digits_last --teachers digits-distilled runs/digits_last --epochs 6 \
	  --average 0.998 --rollout-weight 4 --non-digits 0.18)
	$(BIN)/python -m clearhead.training.averaging runs/digits_touching runs/digits_last --out runs/digits_mean
	cp $(addprefix runs/digits_mean/,config.json model.safetensors metrics.json) $(SHIPPED)/digits/
	cp runs/digits_mean/predictions.png docs/digits.png
	$(BIN)/clearhead train sentences_causal --out runs/sentences_causal
	$(BIN)/clearhead train sentences --start runs/sentences_causal --out runs/sentences
	cp $(addprefix runs/sentences_causal/,config.json model.safetensors metrics.json) $(SHIPPED)/sentences-causal/
	cp $(addprefix runs/sentences/,config.json model.safetensors metrics.json) $(SHIPPED)/sentences/
	$(BIN)/python -m clearhead.microscope.shipped

PUBLISHED := runs/published
results: .venv/run.stamp ## run all studies again, write docs/results.md: over an hour
	$(BIN)/clearhead study run --all --budget full --first-seed 3000 --out $(PUBLISHED)
	$(BIN)/clearhead study report --results $(PUBLISHED) --out $(PUBLISHED).html \
		--markdown docs/results.md --json > docs/results/trials.json
	gzip -9nf docs/results/trials.json

picture: .venv/dev.stamp ## make the pictures of the microscope for README and lessons again
	$(BIN)/python docs/microscope_picture.py
	$(BIN)/python -m docs.learn.pictures

SEED := 0
attribution-benchmark: .venv/dev.stamp ## attribution methods against exact values: docs/attribution.md, over an hour
	$(BIN)/python benchmarks/attribution.py --seed $(SEED)

engine-benchmark: .venv/dev.stamp ## engines and libraries compared: docs/engines.md, about 10 minutes on an idle machine
	$(BIN)/python -m benchmarks.engines

benchmarks: .venv/dev.stamp ## run all other benchmarks
	@set -e; for name in $(filter-out _% attribution engines,$(basename $(notdir $(wildcard benchmarks/*.py)))); do \
	  echo "== $$name"; $(BIN)/python -m "benchmarks.$$name"; done

clean: ## remove caches and built documentation; keeps .venv and runs
	rm -rf docs/_build build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp file marks which dependencies .venv has: those of the program, or all.
.venv/run.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing Clearhead into .venv: PyTorch alone is a download of some hundred MB ..."
	@$(PIP) -e .
	@touch $@

.venv/dev.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing Clearhead and its development tools into .venv: a download of some hundred MB ..."
	@$(PIP) -e '.[dev]'
	@touch .venv/run.stamp $@

# npm packages to type-check, test and build the pages; the package contains the built bundles.
node_modules/.stamp: package.json
	@if command -v npm >/dev/null; then npm install --no-audit --no-fund --silent || test -z "$$CI"; fi
	@mkdir -p node_modules && touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Clearhead needs Python 3.11 or newer; $(PYTHON) is" \
	    "$$($(PYTHON) --version 2>/dev/null || echo missing). Name another: make PYTHON=python3.12" >&2; \
	  exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }
