.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
NODE := clients/typescript/node_modules/.package-lock.json

# Install exactly the locked versions; `pip check` finds what the lock lacks.
install = $(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r $< && \
  { report="$$($(BIN)/python -m pip check)" || \
    { echo "$$report"; echo "Remove $(VENV) and try again."; exit 1; }; } && touch $@

# pytest keeps the tests as it rewrote them for its messages; to do so again takes seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run test test-sqlite test-postgresql quick check bench schema client requirements

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile

run: $(VENV)/installed .env ## Serve on HOST and PORT (127.0.0.1, 8000), with demo data
	@exec $(BIN)/python manage.py serve --demo --host "$(HOST)" --port "$(PORT)"

test: $(VENV)/complete ## Run all tests, on SQLite and on PostgreSQL at the same time
	@$(MAKE) -j2 test-sqlite test-postgresql

test-sqlite: $(VENV)/complete $(NODE)
	$(BIN)/python -m pytest -n auto --dist loadgroup

test-postgresql: $(VENV)/complete
	$(BIN)/python -m tests.postgres $(BIN)/python -m pytest -n auto --dist loadgroup

quick: $(VENV)/complete ## Run the tests that start no server, browser or other program, on SQLite
	$(BIN)/python -m pytest -n auto --dist loadgroup -m "not slow" $(TESTS)

check: $(VENV)/complete ## Format, lint, types, imports, migrations, settings, documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy .
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/python -m tests.production makemigrations --check --dry-run
	$(BIN)/python -m tests.production check --deploy --fail-level WARNING
	$(BIN)/python -m pytest -q tests/config/test_docs.py

bench: $(VENV)/complete $(VENV)/peers ## Compare the update call with other versions of it (ARGS="--rounds 1 --seconds 1")
	$(BIN)/python -W ignore:XDG_RUNTIME_DIR -m benchmarks $(ARGS)

schema: $(VENV)/complete ## Write the OpenAPI document to docs/openapi/ after a change of the API
	$(BIN)/python -m tests.openapi_changes

client: $(VENV)/complete $(NODE) ## Generate the clients from docs/openapi/, and compile them (needs npm)
	cd clients/typescript && npm run --silent generate && npm run --silent example
	cd clients/python && PATH="$(CURDIR)/$(BIN):$$PATH" openapi-python-client generate --overwrite \
	  --fail-on-warning --config generator.yaml --meta none --output-path stripe_connections_client \
	  --path "$$(ls ../../docs/openapi/*.json | sort -V | tail -1)"
	$(BIN)/python -m compileall -q clients/python

requirements: $(VENV)/complete ## Compile the pinned requirements from the .in files
	cd requirements && export UV_CUSTOM_COMPILE_COMMAND="make requirements" && \
	  compile="../$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-strip-extras --upgrade" && \
	  $$compile production.in -o production.txt && \
	  $$compile all.in -c production.txt -o ../requirements.txt && \
	  $$compile ../benchmarks/peers/requirements.in -c ../requirements.txt -o ../benchmarks/peers/requirements.txt

.env: | $(VENV)/installed
	@$(BIN)/python -m config.dotenv $@

# The stamps are written last, so that an interrupted installation continues.
$(VENV)/installed: requirements/production.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Installing into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(install)

$(VENV)/complete: requirements.txt $(VENV)/installed
	@echo "Installing what the tests and checks need ..."
	@$(install)

# Without npm, the tests of the TypeScript client are skipped.
$(NODE): clients/typescript/package-lock.json
	@! command -v npm >/dev/null || \
	  { cd clients/typescript && npm ci --silent --no-audit --no-fund && touch node_modules/.package-lock.json; }

# If this fails, the benchmark leaves FastAPI out and says so.
$(VENV)/peers: benchmarks/peers/requirements.txt $(VENV)/complete
	@echo "Installing FastAPI for the benchmark ..."
	-@$(install)
