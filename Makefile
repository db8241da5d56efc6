.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
BIN := .venv/bin

.PHONY: help run test check bench schema client requirements

help: ## Say what can be made
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile

run: .venv/installed .env ## Serve on HOST and PORT (127.0.0.1, 8000), with demo data
	@exec $(BIN)/python manage.py serve --demo --host "$(HOST)" --port "$(PORT)"

test: .venv/installed ## Run all tests, on SQLite and on PostgreSQL
	$(BIN)/python -m pytest -n auto --dist loadgroup
	$(BIN)/python -m tests.postgres $(BIN)/python -m pytest -n auto --dist loadgroup

check: .venv/installed ## Format, lint, types, migrations, settings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy .
	$(BIN)/python -m tests.production makemigrations --check --dry-run
	$(BIN)/python -m tests.production check --deploy --fail-level WARNING
	$(BIN)/python -m pytest -q tests/config/test_docs.py

bench: .venv/installed ## Measure the update call beside a floor and a textbook version (ARGS="--rounds 1 --seconds 1")
	$(BIN)/python -W ignore:XDG_RUNTIME_DIR -m benchmarks $(ARGS)

schema: .venv/installed ## Keep the description of the API, after a change of it, in docs/openapi/
	$(BIN)/python -m tests.production spectacular --format openapi-json --validate --fail-on-warn | \
	  $(BIN)/python -m tests.openapi_changes

client: ## Generate the TypeScript client from docs/openapi/, and compile it (needs npm)
	cd clients/typescript && npm ci --silent && npm run --silent generate && npm run --silent build

requirements: .venv/installed ## Compile the pinned requirements from the .in files
	cd requirements && export UV_CUSTOM_COMPILE_COMMAND="make requirements" && \
	  compile="../$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade" && \
	  $$compile production.in -o production.txt && \
	  $$compile all.in -c production.txt -o ../requirements.txt

.env: | .venv/installed
	@$(BIN)/python -m config.dotenv $@

# The stamp is written last, so that an interrupted installation is taken up again.
.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Making the virtual environment .venv ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements.txt
	@touch $@
