PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: setup demo test test-fast check format protos bench

setup: $(VENV)/.ready  ## make .venv with the kofn command in it
$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

demo: setup  ## a straggler and a killed worker, beaten: one table and one plot
	kofn demo

test: setup  ## the default suite: under ten minutes on two cores
	pytest -q

test-fast: setup  ## pure and in-process tests only: under a minute
	pytest -q -n 2 -m 'not cluster and not conformance and not containers'

check: setup  ## format, lint, types, arrows, generated files
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	python protos/generate.py --check
	cog --check README.md

format: setup
	ruff format .
	ruff check --fix .

protos: setup  ## regenerate kofn/wire/*_pb2*
	python protos/generate.py

bench: setup
	python -m bench overhead
