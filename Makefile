PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: setup demo test test-fast test-long test-conformance test-containers soak check format protos checkpoints bench

setup: $(VENV)/.ready  ## make .venv with the kofn command in it
$(VENV)/.ready: pyproject.toml requirements/worker.txt requirements/rest.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

demo: setup  ## a straggler and a killed worker, beaten: one table and one plot
	kofn demo

test: setup  ## the default suite: under ten minutes on two cores
	pytest -q -n 2 -m 'not long and not heavy and not containers'

test-long: setup  ## whole clusters that take long: ten minutes more
	pytest -q -n 2 -m long

test-conformance: setup  ## six clients that others wrote; the first run installs 800 MB of them
	pytest -q -m conformance

test-fast: setup  ## pure and in-process tests only: some minutes
	pytest -q -n 2 -m 'not long and not cluster and not conformance and not containers'

test-containers: setup  ## images, compose and the Docker launcher; needs a Docker engine
	docker compose build --quiet
	pytest -q -m containers

soak: setup  ## a minute of mixed load under random chaos: nothing lost, twice or wrong
	python -m bench soak

check: setup  ## format, lint, types, arrows, generated files
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	python protos/generate.py --check
	cog --check README.md docs/learned-codes.md docs/liars.md docs/split-lagrange.md docs/aicc.md \
	  docs/soak.md bench/README.md docs/operations.md docs/coin.md docs/coin-live.md \
	  docs/coded-training.md docs/containers.md docs/polydot.md docs/adaptive.md docs/sweeps.md

format: setup
	ruff format .
	ruff check --fix .

protos: setup  ## regenerate kofn/wire/*_pb2*
	python protos/generate.py

FASHION := --base fashion-mnist-lenet --epochs 20
VARIED := --set shift_pixels=1 --set flip=true
DIGITS := --base digits-lenet --epochs 200 --set patience=200 --set batch_size=32 \
  --set learning_rate=0.01
SHIPPED := --store models/shipped

checkpoints: setup  ## train again what is shipped in models/shipped: half an hour on two cores
	rm -rf models/shipped
	kofn train base $(SHIPPED) --dataset digits --network lenet
	kofn train base $(SHIPPED) --dataset fashion-mnist --network lenet --epochs 20 $(VARIED)
	for k in 2 4; do \
	  kofn train student $(SHIPPED) --k $$k $(DIGITS) && \
	  kofn train student $(SHIPPED) --k $$k $(FASHION) $(VARIED) && \
	  for base in "$(DIGITS)" "$(FASHION)"; do \
	    kofn train parity $(SHIPPED) --k $$k --encoder sum $$base && \
	    kofn train parity $(SHIPPED) --k $$k --encoder mosaic --answers each $$base || exit 1; \
	  done || exit 1; done
	kofn train learned $(SHIPPED) --k 2 $(DIGITS)
	kofn train learned $(SHIPPED) --k 4 $(DIGITS)
	kofn train lagrange $(SHIPPED) --base digits-lenet --n 5,6,8,10 --epochs 1000 \
	  --set batch_size=64 --set patience=1000 --set turned=0.25
	kofn train lagrange $(SHIPPED) --base fashion-mnist-lenet --n 5,6,8 --epochs 16 \
	  --set turned=0.25 $(VARIED)

bench: setup
	python -m bench overhead
