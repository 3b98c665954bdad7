# make demo   see it work
# make test   run the tests, with pytest and with trial; some are about RabbitMQ
# make test-long   run those that take long: clusters, mediators that are killed 24 times
# make pytest ARGS="-n0 quebert/test/test_task.py"   run some of them, in one process
# make test-rabbitmq VERSIONS="4.0 4.3"   those that touch a broker, on these RabbitMQs
# make test-oldest   the tests with the oldest releases that setup.cfg allows
# make test-clients   test suites of other AMQP clients, on the embedded broker
# make test-google   Google's own clients of Cloud Tasks, on a server of ours
# make fuzz MINUTES=10 TARGETS="url wire"   look for inputs that do harm
# make packages   install what make dist builds, and see whether it brings all it should
# make audit  ask for known holes in what quebert needs
# make lint   formatting, types, the rules of who imports whom, what bandit knows
# make docs   the documentation, with the API reference, into .docs
# make bench  what a task costs, beside other dispatchers
# make flat, profile, processes, consume, brokers: more of that, see bench/README.rst

PYTHON ?= python3
# Tests start hundreds of processes: each would compile what it imports, again.
unexport PYTHONDONTWRITEBYTECODE
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
VERSIONS ?= 3.10 4.0 4.3
# Processes that run tests, or fuzzers, side by side.  Most tests wait rather than work,
# so there are more processes than cores; but each starts a RabbitMQ of its own.
JOBS ?= 4
# For each target of the fuzzers; all of them unless some are named.
MINUTES ?= 0.5
TARGETS ?=

.PHONY: all demo test pytest trial lint format dist rabbitmq clean
.PHONY: test-long test-rabbitmq test-oldest test-clients test-google
.PHONY: fuzz audit docs packages
.PHONY: bench flat processes consume brokers profile
all: test lint

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# One stamp for each set of packages, so that the demo installs little.
$(VENV)/installed-%: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

# Libraries for Node that tests use, where there is a Node; those that this file names.
$(VENV)/node_modules: Makefile | $(VENV)/bin/python
	@mkdir -p $@
	@if command -v npm >/dev/null; then \
	    npm install --silent --no-audit --no-fund --prefix $(VENV) standardwebhooks@1 express@5 \
	        axe-core@4 typescript@5 \
	    || echo "no library for Node is there: nothing is tested with them"; fi
	@touch $@

demo: $(VENV)/installed-demo
	$(BIN)/python examples/demo.py $(ARGS)

test: ARGS = -m "not long"
test: pytest trial

test-long: ARGS = -m long
test-long: pytest

pytest: rabbitmq $(VENV)/installed-dev $(VENV)/node_modules
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

# Two processes, since each needs seconds to load all tests.  pytest has tried the
# properties with all their examples; trial tries each with a few.
trial: $(VENV)/installed-dev $(VENV)/node_modules
	QUEBERT_TEST_EXAMPLES=10 $(BIN)/trial --jobs 2 quebert

test-rabbitmq: $(VENV)/installed-dev
	@bash .ci/test-rabbitmq $(BIN)/python '$(VERSIONS)' -n $(JOBS) --dist worksteal $(ARGS)

# The oldest releases have an environment of their own.
.venv-oldest/installed: setup.cfg .ci/oldest
	$(PYTHON) -m venv .venv-oldest
	$(PYTHON) .ci/oldest >.venv-oldest/constraints.txt
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check \
	    --constraint .venv-oldest/constraints.txt --editable '.[test]'
	@touch $@

test-oldest: rabbitmq .venv-oldest/installed
	.venv-oldest/bin/python -m pytest $(ARGS)

# The clients have an environment of their own: .ci/clients installs them there.
.venv-clients/installed: setup.cfg
	$(PYTHON) -m venv .venv-clients
	.venv-clients/bin/python -m pip install --quiet --disable-pip-version-check \
	    --editable .
	@touch $@

test-clients: .venv-clients/installed
	.venv-clients/bin/python .ci/clients $(ARGS)

# Google's clients, too: the one for Python, and the one for Node if there is a Node.
.venv-google/installed: Makefile
	$(PYTHON) -m venv .venv-google
	.venv-google/bin/python -m pip install --quiet --disable-pip-version-check \
	    'google-cloud-tasks >= 2.26' pyjwt
	@if command -v npm >/dev/null; then \
	    npm install --silent --no-audit --no-fund --prefix .venv-google \
	        @google-cloud/tasks@6 \
	    || echo "the client for Node is not there: nothing is tested with it"; fi
	@touch $@

test-google: $(VENV)/installed-dev .venv-google/installed
	$(BIN)/python -m pytest -m clients $(ARGS)

# What they find is in the folder .fuzz.
fuzz: $(VENV)/installed-dev
	$(BIN)/python -m quebert.test.fuzz --jobs $(JOBS) --minutes $(MINUTES) \
	    $(TARGETS)

audit: $(VENV)/installed-dev
	$(BIN)/python .ci/audit

lint: $(VENV)/installed-dev
	$(BIN)/ruff check --config .ci/ruff.toml .
	$(BIN)/ruff format --config .ci/ruff.toml --check .
	$(BIN)/mypy
	cd bench && MYPYPATH=.. ../$(BIN)/mypy --config-file ../setup.cfg *.py
	$(BIN)/lint-imports
	$(BIN)/bandit --ini setup.cfg --quiet --recursive quebert

# Warnings are errors.  What is there goes first: pydoctor leaves old pages.
docs: $(VENV)/installed-dev
	rm -rf .docs
	PYTHONPATH=docs/_ext $(BIN)/pydoctor
	$(BIN)/sphinx-build --fail-on-warning --keep-going --nitpicky --quiet \
	    -d .docs/.doctrees docs .docs
	$(BIN)/python .ci/links .docs

format: $(VENV)/installed-dev
	$(BIN)/ruff check --config .ci/ruff.toml --fix .
	$(BIN)/ruff format --config .ci/ruff.toml .

# The peers have versions of their own, and so an environment of their own.
PEERS = bench/peers/install bench/peers/node/package.json \
    bench/peers/node/worker.js bench/peers/go/worker.go
.venv-bench/installed: bench/requirements.txt setup.cfg $(PEERS)
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check \
	    --requirement bench/requirements.txt --editable '.[fast]'
	@sh bench/peers/install .venv-bench
	@touch $@

bench: rabbitmq .venv-bench/installed
	.venv-bench/bin/python bench/race.py $(ARGS)

flat processes consume brokers: rabbitmq .venv-bench/installed
	.venv-bench/bin/python bench/$@.py $(ARGS)

profile: rabbitmq .venv-bench/installed
	.venv-bench/bin/python bench/anatomy.py $(ARGS)

dist: $(VENV)/installed-dev
	rm -rf dist
	$(BIN)/python -m build --quiet

packages: dist
	sh .ci/packages

# Installed where we may; else the command that does it is printed.
rabbitmq:
	@sh .ci/rabbitmq

clean:
	rm -rf $(VENV) .venv-bench .venv-oldest .venv-clients .venv-google .docs build dist *.egg-info _trial_temp*
