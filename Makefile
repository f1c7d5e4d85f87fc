# The first command on a new machine may be any of these: each sets up .venv by itself (python3, make, a network).
PYTHON ?= python3
NAME ?= depth
ARGS ?=
# The published studies, and with how many seeds each they take at most 90 minutes on two cores.
PUBLISHED := baseline keras_mlp dropout early_stopping nielsen optimizers layers cnn
SEEDS := 3
SEEDS_cnn := 1
VENV := .venv
RUN := $(VENV)/bin/python
# Compiled once, in 15 s: where Python writes no bytecode, every start would compile torch and MLflow anew, for seconds.
UV := UV_COMPILE_BYTECODE=1 $(VENV)/bin/uv

.DEFAULT_GOAL := help
.PHONY: help study studies report ui bench gpu test soak check lock clean

help: ## show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1|/' | awk -F'|' '{ printf "  make %-8s %s\n", $$1, $$2 }'

study: $(VENV)/synced ## run or continue a study: make study NAME=depth ARGS="--trials 2 --epochs 3"
	@$(RUN) -m harness run studies/$(NAME) $(ARGS)

studies: $(VENV)/synced ## run or continue the published studies, all eight: make studies SEEDS=5 SEEDS_cnn=3
	@$(foreach name,$(PUBLISHED),$(RUN) -m harness run studies/$(name) --seeds $(or $(SEEDS_$(name)),$(SEEDS)) $(ARGS) &&) true

report: $(VENV)/synced ## write the report of a study from its journal, at any time: make report NAME=depth
	@$(RUN) -m harness report studies/$(NAME) $(ARGS)

ui: $(VENV)/synced ## browse the runs in MLflow's UI on 127.0.0.1: make ui ARGS="--port 5001"
	@$(RUN) -m harness ui $(ARGS)

bench: $(VENV)/bench ## compare with other ways of doing the same: make bench ARGS="--works digits --rounds 1"
	@$(RUN) -m harness bench $(ARGS)

gpu: $(VENV)/synced ## what only a GPU can tell, into reports/bench/gpu-*.md: make gpu ARGS="--name h200 --parts steps"
	@$(RUN) -m harness.bench.gpu $(ARGS)

test: $(VENV)/synced ## run the tests: make test ARGS="-k stack"
	@$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

soak: $(VENV)/soak ## the long tests, an hour, into reports/soak.md; some of them: make soak ARGS="-k kills"
	@$(RUN) -m pytest -m soak -n 2 --dist worksteal $(ARGS)

check: $(VENV)/synced ## lint, format and type checks
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

lock: $(VENV)/made ## refresh requirements.lock to the newest versions that pyproject.toml allows
	@$(UV) pip compile --quiet --universal --upgrade --no-emit-index-url --python-version 3.11 --extra dev \
		--custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

clean: ## remove the environment and all caches; studies, journals, runs and reports stay
	@rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "harness needs Python 3.11 or newer; make PYTHON=python3.12 ...")'
	@echo "setting up $(VENV) (about a minute, once)"
	@$(PYTHON) -m venv $(VENV)
	@$(RUN) -m pip install --quiet --disable-pip-version-check uv
	@touch $@

$(VENV)/bench: $(VENV)/synced
	@$(UV) pip install --quiet --python $(RUN) --constraint requirements.lock --editable '.[bench]'
	@touch $@

$(VENV)/soak: $(VENV)/synced
	@$(UV) pip install --quiet --python $(RUN) --constraint requirements.lock --editable '.[soak]'
	@touch $@

$(VENV)/synced: requirements.lock pyproject.toml | $(VENV)/made
	@$(UV) pip sync --quiet --python $(RUN) requirements.lock
	@$(UV) pip install --quiet --python $(RUN) --no-deps --editable .
	@touch $@
