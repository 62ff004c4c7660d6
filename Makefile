# `make demo` and `make test` do all the set-up on a fresh machine.
PYTHON ?= python3
DATASET ?= digits
MODEL ?= resnet8
DATA_ROOT ?= data

.PHONY: demo test lint clean

demo: .venv/installed
	.venv/bin/python demo.py --dataset $(DATASET) --model $(MODEL) --data_root $(DATA_ROOT)

test: .venv/installed-dev lint
	.venv/bin/python -m pytest -q

lint: .venv/installed-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: requirements.txt | .venv/bin/python
	.venv/bin/python -m pip install -q -r requirements.txt
	touch $@

.venv/installed-dev: requirements-dev.txt requirements-attacks.txt requirements-export.txt .venv/installed
	.venv/bin/python -m pip install -q -r requirements-dev.txt
	touch $@

clean:
	rm -rf .venv
