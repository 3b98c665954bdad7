# make demo   see it work
# make test   run the tests, with pytest and with trial
# make lint   formatting, types, the rules of who imports whom

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: all demo test pytest trial lint format dist rabbitmq clean
all: test lint

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# One stamp for each set of packages, so that the demo installs little.
$(VENV)/installed-%: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

demo: rabbitmq $(VENV)/installed-demo
	$(BIN)/python examples/demo.py $(ARGS)

test: pytest trial

pytest: rabbitmq $(VENV)/installed-dev
	$(BIN)/python -m pytest $(ARGS)

trial: rabbitmq $(VENV)/installed-dev
	$(BIN)/trial quebert

lint: $(VENV)/installed-dev
	$(BIN)/ruff check --config .ci/ruff.toml .
	$(BIN)/ruff format --config .ci/ruff.toml --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/installed-dev
	$(BIN)/ruff check --config .ci/ruff.toml --fix .
	$(BIN)/ruff format --config .ci/ruff.toml .

dist: $(VENV)/installed-dev
	rm -rf dist
	$(BIN)/python -m build --quiet

# Installed where we may; else the command that does it is printed.
rabbitmq:
	@sh .ci/rabbitmq

clean:
	rm -rf $(VENV) build dist *.egg-info _trial_temp*
