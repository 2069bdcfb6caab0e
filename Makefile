PYTHON ?= python3
JOBS ?= 2
PIP = .venv/bin/python -m pip install --quiet --constraint constraints.txt

.PHONY: demo test long check docs install dev
.DEFAULT_GOAL := demo

demo: install  ## install, compare Reptile with Gradient Agreement on sine waves, draw the result
	.venv/bin/python -m metaccord demo --out demo

test: dev  ## install and run the tests, two at a time
	.venv/bin/python -m pytest -m "not long" --numprocesses $(JOBS) --dist worksteal

long: dev  ## the tests that make test leaves out
	.venv/bin/python -m pytest -m long

check: dev  ## lint and types
	.venv/bin/ruff format --check src tests benchmarks experiments reliability docs examples
	.venv/bin/ruff check src tests benchmarks experiments reliability docs examples
	.venv/bin/mypy

docs: dev  ## install and build the site, build/site/index.html; warnings are errors
	OMP_NUM_THREADS=1 .venv/bin/python docs/site/build.py

install: .venv/installed
dev: .venv/developed

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable .
	touch $@

.venv/developed: .venv/installed
	$(PIP) --editable '.[dev]'
	touch $@
