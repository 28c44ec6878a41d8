# Everything here needs Python 3.11 or newer with venv; the tests also Java 17 and Maven for a real broker.
#   make demo ARGS="--duration 60"     make test ARGS="-k settings"     make PYTHON=python3.12 setup

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
OUT := .cache/evaluate
ARGS ?=

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Named after what was installed, so that it is done again when that changes, and only then.
STAMP := $(VENV)/.installed-$(firstword $(shell cat requirements.lock pyproject.toml | cksum))

.PHONY: help setup venv demo test lint fmt bench evaluate profile docs lock clean clean-all

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Install everything into .venv, from the lock, with hashes checked (others do it when needed)

venv: setup

$(STAMP):
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else \
	  "$(PYTHON) is Python %d.%d, and 3.11 or newer is needed. Name another: make PYTHON=python3.12 ..." % v[:2])'
	@echo "installing into $(VENV), once; a few minutes the first time" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@rm -f $(VENV)/.installed-*
	@touch $@

demo: $(STAMP) ## Run everything on this machine and print alerts as they come (ARGS="--duration 60")
	@$(BIN)/extraction-detector demo $(ARGS)

test: $(STAMP) ## Run the tests, on a real Kafka where one can be had (ARGS="-k settings")
	@$(BIN)/python -m pytest $(ARGS)

lint: $(STAMP) ## Check style, formatting and types; changes nothing
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

fmt: $(STAMP) ## Put style and formatting right, as far as that goes by itself
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(STAMP) ## Measure speed, latency and state size, as ratios to a floor of the same run
	@$(BIN)/python -m benchmarks $(ARGS)

ifdef DATA
evaluate: $(STAMP) ## Measure detection (DATA=directory of prompt files: every source left out once; else built in)
	@$(BIN)/python -m benchmarks.detection --prompts "$(DATA)" --out $(OUT) $(ARGS)
else
evaluate: $(STAMP)
	@mkdir -p $(OUT)
	@$(BIN)/extraction-detector simulate --out $(OUT)/events.jsonl.gz --labels $(OUT)/labels.csv
	@$(BIN)/extraction-detector evaluate $(OUT)/events.jsonl.gz --labels $(OUT)/labels.csv $(ARGS)
endif

profile: $(STAMP) ## Make the reference population anew (DATA=directory of prompt files; else built in)
	@$(BIN)/python -m benchmarks.profile $(if $(DATA),--prompts "$(DATA)") $(ARGS)

docs: $(STAMP) ## Write docs/configuration.md, docs/metrics.md and generated files of deploy/ from the code
	@$(BIN)/python -m streams.reference docs
	@$(BIN)/python -m deploy

lock: $(STAMP) ## Resolve the dependencies anew into requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --extra dev pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --constraint requirements.lock --extra image pyproject.toml -o deploy/requirements.lock

clean: ## Remove caches and build products
	@rm -rf .pytest_cache .ruff_cache .mypy_cache .hypothesis build dist *.egg-info $(OUT)
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

clean-all: clean ## Remove also .venv and what tests have downloaded
	@rm -rf $(VENV) .cache tests/kafka/target
