PYTHON ?= python3
JOBS ?= 2
PIP = .venv/bin/python -m pip install --quiet --constraint constraints.txt

.PHONY: demo test check install dev
.DEFAULT_GOAL := demo

demo: install  ## install, compare Reptile with Gradient Agreement on sine waves, draw the result
	.venv/bin/python -m metaccord demo --out demo

test: dev  ## install and run the tests, two files at a time
	.venv/bin/python -m pytest --numprocesses $(JOBS) --dist loadfile

check: dev  ## lint and types
	.venv/bin/ruff format --check src tests benchmarks experiments reliability docs
	.venv/bin/ruff check src tests benchmarks experiments reliability docs
	.venv/bin/mypy

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
