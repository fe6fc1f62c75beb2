# The project's commands; `make help` lists them.

SHELL := /bin/bash
SUPPORTED := import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info < (3, 14))

# The first Python that really runs (a version manager's shim may not) and is 3.10-3.13.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.10; do \
  "$$python" -c '$(SUPPORTED)' >/dev/null 2>&1 && echo "$$python" && break; done)
RUN := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup environment test demo docs lint format

help:  ## list these commands
	@grep -E '^[a-z]+: .*##' Makefile | sed -E 's/^([a-z]+):[^#]*## */  make \1\t/' | expand -t 16

setup: python  ## build or mend the environment in .venv (PYTHON=... names another Python)
	@"$(PYTHON)" tools/setup_env.py

test: environment  ## set up if needed, then run the tests that are not marked slow
	@$(RUN) -m pytest

demo: environment  ## set up if needed, then the whole story on drawn scenes, in ten minutes
	@$(RUN) tools/demo.py

docs: environment  ## set up if needed, then build the documentation into docs/_build/html
	@$(RUN) -m sphinx -W --keep-going -q docs docs/_build/html && echo "docs/_build/html/index.html"

lint: environment  ## check style and formatting
	@$(RUN) -m ruff check && $(RUN) -m ruff format --check

format: environment  ## mend style and formatting where ruff can
	@$(RUN) -m ruff check --fix && $(RUN) -m ruff format

environment: python
	@"$(PYTHON)" tools/setup_env.py --if-needed

.PHONY: python
python:
	@"$(PYTHON)" -c '$(SUPPORTED)' >/dev/null 2>&1 || { echo 'setup failed: no Python 3.10-3.13 with venv' \
	  'found: install one (Debian, Ubuntu: apt install python3-venv) or name it:' \
	  'make setup PYTHON=/path/to/python3.11' >&2; exit 1; }
