# Two commands do everything on a fresh machine with Python 3.11 or newer: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready-$(shell cat requirements.lock pyproject.toml | cksum | cut -d' ' -f1)

.PHONY: help setup demo test test-page test-integrations ship torture fuzz check format lint types layers site lock clean

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## Make the virtual environment from the lock file

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("importer needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	rm -f $(VENV)/.ready-*
	touch $@

demo: $(READY) ## Send the sample data to a sandbox: killed, resumed, proved
	$(BIN)/importer demo

test: $(READY) ## All tests but those in a browser
	$(BIN)/python -m pytest -n 2

test-page: $(READY) ## The page of `importer report` in a real Chromium, which must be there
	$(BIN)/python -m pytest tests_page -o pythonpath=tests

ship: $(READY) ## Build wheel and sdist, install each into a clean environment, try both out
	PYTHON=$(BIN)/python .ci/ship

SCHEDULERS ?= airflow dagster prefect
test-integrations: $(READY) ## Real runs under real schedulers (SCHEDULERS), each in an environment of its own: some minutes
	PYTHON=$(BIN)/python .ci/integrations $(SCHEDULERS)

MINUTES ?= 30
SEED ?= 1
torture: $(READY) ## Kills, errors, power cuts and simulation for MINUTES (30) from SEED (1); prints the fault table
	$(BIN)/python benchmarks/torture.py --minutes $(MINUTES) --seed $(SEED)

bench: $(READY) ## How fast it is beside others, on this machine: some minutes
	$(BIN)/python benchmarks/speed/bench.py --save

bench-full: $(READY) ## The same with ten million rows, dlt's default form, and the memory of up to thirty: an hour or two
	$(BIN)/python benchmarks/speed/bench.py --full --save

fuzz: $(READY) ## Broken lists of every kind, read for MINUTES (30) from SEED (1)
	$(BIN)/python benchmarks/fuzz.py --minutes $(MINUTES) --seed $(SEED)

check: format lint types layers site test-page test ## What decides: format, lint, types, import layers, the pages, tests

format: $(READY)
	$(BIN)/ruff format --check .

lint: $(READY)
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

layers: $(READY)
	$(BIN)/lint-imports

site: $(READY) ## The pages of docs/ as a site, in build/site; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

LOCKED := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11
lock: $(READY) ## Bring the lock file up to date; the schedulers' extras are not in it
	$(BIN)/python -m pip install --quiet uv
	$(LOCKED) --group dev --output-file requirements.lock pyproject.toml $$($(BIN)/python -c 'import tomllib; \
		extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; \
		print(*(f"--extra={name}" for name in extras if name not in "$(SCHEDULERS)".split()))')

lock-integrations: $(READY) ## Bring the schedulers' lock files up to date
	$(BIN)/python -m pip install --quiet uv
	for name in $(SCHEDULERS); do $(LOCKED) --group integrations --extra sandbox --extra report --extra $$name \
		$$(ls tests_integrations/$$name.constraints 2>/dev/null | sed 's/^/--constraints=/') \
		--output-file tests_integrations/$$name.lock pyproject.toml || exit 1; done

clean: ## Remove what was made
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .import_linter_cache .hypothesis
