# The commands of the README. `make run` and `make test` set up what they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN := runs/quickstart

.PHONY: run test lint smoke doctest bench clean

$(VENV)/installed: pyproject.toml requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -r requirements.txt -e '.[dev]'
	touch $@

run: $(VENV)/installed  ## prune with NTK-SAP and train on the embedded digits, then write the report
	$(BIN)/python -m experiments.run --config configs/ntksap_resnet20.py:digits --workdir $(RUN)
	$(BIN)/python -m experiments.report $(RUN)

test: $(VENV)/installed  ## every test that a CPU can run, and the documented examples
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(VENV)/installed  ## the speed table of the docs
	$(BIN)/python -m benchmarks.scores
