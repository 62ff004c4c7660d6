# Every target does its set-up on a fresh machine. `make quick` leaves the slow tests out; `make pi` adds the engine of private
# inference, without which its tests are skipped; `make check-gpu` says in two minutes how things stand on a GPU.
PYTHON ?= python3
PI_PYTHON ?= $(PYTHON)
DATASET ?= digits
MODEL ?= resnet8
DATA_ROOT ?= data

WORKERS ?= 2
# A file's tests stay together, for they share runs and networks.
PYTEST = .venv/bin/python -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: demo quick test lint check-gpu pi clean

demo: .venv/installed
	.venv/bin/python demo.py --dataset $(DATASET) --model $(MODEL) --data_root $(DATA_ROOT)

quick: .venv/installed-dev
	$(PYTEST) -m "not slow" --durations=0 --durations-min=2

test: .venv/installed-dev lint
	$(PYTEST)

lint: .venv/installed-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports --no-logo --no-cache
	.venv/bin/mypy

check-gpu: .venv/installed-dev
	@.venv/bin/python -m benchmarks.check_gpu

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: requirements.txt | .venv/bin/python
	.venv/bin/python -m pip install -q -r requirements.txt
	touch $@

.venv/installed-dev: requirements-dev.txt requirements-attacks.txt requirements-export.txt .venv/installed
	.venv/bin/python -m pip install -q -r requirements-dev.txt
	touch $@

pi: .venv-pi/installed

.venv-pi/installed: requirements-pi.txt
	@$(PI_PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 10), (3, 11)))' || \
		{ echo "error: the engine needs Python 3.10 or 3.11; name one: make pi PI_PYTHON=python3.11" >&2; exit 2; }
	$(PI_PYTHON) -m venv .venv-pi
	.venv-pi/bin/python -m pip install -q -r requirements-pi.txt
	touch $@

clean:
	rm -rf .venv .venv-pi
