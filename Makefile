# The commands of the README. `make run` and `make test` set up what they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN := runs/quickstart

.PHONY: run test lint smoke doctest bench clean

# What the main job needs, in the tested versions.
$(VENV)/installed: pyproject.toml requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c requirements.txt -e .
	touch $@

# All that is tested besides: analytic kernels, TensorFlow Datasets, linters.
$(VENV)/complete: $(VENV)/installed
	$(BIN)/pip install --quiet -r requirements.txt -e '.[dev]'
	touch $@

run: $(VENV)/installed  ## prune with NTK-SAP and train on the embedded digits, then write the report
	$(BIN)/python -m experiments.run --config configs/ntksap_resnet20.py:digits --workdir $(RUN)
	$(BIN)/python -m experiments.report $(RUN)

test: $(VENV)/complete  ## every test that a CPU can run, and the documented examples
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/complete
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(VENV)/complete  ## the speed table of the docs
	$(BIN)/python -m benchmarks.scores
