# Each target does its own set-up, and nothing that is done already.
#   make bench SAMPLER=zigzag MODEL=sdxl [BENCH=pickapic] [SEEDS=0-3] [GPUS=8] [TINY=1] [ARGS='--limit 50']
VENV   ?= .venv
PYTHON ?= python3
BIN    := $(VENV)/bin

.PHONY: bench test test-long check certify report docs notebook pictures train-shapes train-shapes-edm clean
.DEFAULT_GOAL := bench

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed: make PYTHON=python3.11" if sys.version_info < (3, 10) else 0)'
	@echo "Installing into $(VENV): torch, diffusers and the rest, some GB; this takes minutes, once."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --progress-bar off --editable . | grep --line-buffered -E '^(Collecting|Installing|Successfully)' | cut -c1-100
	@$(BIN)/harness --help > /dev/null
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing the test tools into $(VENV)."
	@$(BIN)/python -m pip install --progress-bar off --editable '.[dev]' | grep --line-buffered -E '^(Collecting|Installing|Successfully)' | cut -c1-100
	@$(BIN)/python -m pytest --version > /dev/null
	@touch $@

bench: $(VENV)/.installed
	@$(BIN)/harness bench $(if $(SAMPLER),'$(SAMPLER)') $(if $(MODEL),--model '$(MODEL)') $(if $(BENCH),--bench '$(BENCH)') $(if $(SEEDS),--seeds '$(SEEDS)') $(if $(GPUS),--workers $(GPUS)) $(if $(TINY),--tiny) $(ARGS)

test: $(VENV)/.installed-dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 $(ARGS)

# What starts and kills processes, machines and buckets: ten minutes on two cores.
test-long: $(VENV)/.installed-dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m long $(ARGS)

check: $(VENV)/.installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/test_layering.py

certify: $(VENV)/.installed-dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests -m golden --certificate=refs/certified.json

report: $(VENV)/.installed
	@$(BIN)/harness report '$(RUN)'

docs: $(VENV)/.installed
	@$(BIN)/python -m harness.cli.reference

notebook: $(VENV)/.installed-dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m docs.run_notebook

# The README's pictures and the tables that they show, from a run made anew.
pictures: $(VENV)/.installed-dev
	@OMP_NUM_THREADS=1 $(BIN)/python docs/pictures/draw.py $(ARGS)

train-shapes: $(VENV)/.installed
	@OMP_NUM_THREADS=1 $(BIN)/python -m harness.training.shapes $(ARGS)

train-shapes-edm: $(VENV)/.installed
	@OMP_NUM_THREADS=1 $(BIN)/python -m harness.training.shapes_edm $(ARGS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
