# `make run` and `make test` need python 3.11 to 3.14 and make; everything else they fetch.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

# Of the words on make's own command line these are variables; another one is a typing error,
# and without this line `make run MONTHS=2021-01` would load the sample.
KNOWN := ARGS BACKUP DATASET MONTH NAME PYTHON SHELL SOURCE YES
UNKNOWN := $(filter-out $(KNOWN),$(foreach name,$(.VARIABLES),$(if \
	$(filter command,$(firstword $(origin $(name)))),$(name))))
$(if $(UNKNOWN),$(error $(firstword $(UNKNOWN)) is not a variable of this Makefile: write one of $(KNOWN)))

# They reach a recipe in its environment, as they are: neither make nor the shell expands them.
override DATASET := $(value DATASET)
override MONTH := $(value MONTH)
override NAME := $(value NAME)
override SOURCE := $(value SOURCE)
override BACKUP := $(value BACKUP)
export BACKUP DATASET MONTH NAME SOURCE
ASKED := $${DATASET:+--datasets="$$DATASET"} $${MONTH:+--months="$$MONTH"} $${SOURCE:+--source="$$SOURCE"}

.DEFAULT_GOAL := help
.PHONY: help run plan serve worker test test-fast bench audit lint format up psql analyst docs down lock clean \
	archive backup restore delete-data

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /make \1	/p' Makefile | expand -t 16

run: $(INSTALLED)  ## load a month and build the models: DATASET=green, MONTH=2021-01, SOURCE=path-or-url, or a sample
	@exec $(BIN)/taxi run $(ASKED) $(ARGS)

plan: $(INSTALLED)  ## show what a run would fetch, and load nothing: MONTH=2009-01..latest, SOURCE=...
	@exec $(BIN)/taxi plan $(ASKED) $(ARGS)

serve: $(INSTALLED)  ## start a Prefect server, the deployments and a worker: http://127.0.0.1:4200
	@$(BIN)/taxi serve

worker: $(INSTALLED)  ## start one more worker, here or on another machine, in the foreground: ARGS="--limit 8"
	@exec $(BIN)/taxi worker $(ARGS)

test: $(INSTALLED)  ## run every test, in three processes: much of it is waiting
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

test-fast: $(INSTALLED)  ## run the tests that need neither a Prefect server nor minutes
	@$(BIN)/python -m pytest -m "not slow" $(ARGS)

bench: $(INSTALLED)  ## measure it against psql, pandas, polars, dlt, ADBC and DuckDB: half an hour, or a part: ARGS=parquet
	@$(PYTHON) -m venv data/bench/peers
	@data/bench/peers/bin/python -m pip install --quiet --disable-pip-version-check \
		-r benchmarks/requirements.txt
	@$(BIN)/python benchmarks/bench.py $(ARGS)

audit: $(INSTALLED)  ## look the locked packages up in the databases of known vulnerabilities
	@$(BIN)/uv tool run pip-audit --require-hashes --disable-pip --requirement requirements.lock

lint: $(INSTALLED)  ## check style and types of Python, and the style of SQL
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/sqlfluff lint --disable-progress-bar dbt_project/models dbt_project/tests dbt_project/analyses

format: $(INSTALLED)  ## put Python and SQL into that style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/sqlfluff fix --disable-progress-bar dbt_project/models dbt_project/tests dbt_project/analyses

up: $(INSTALLED)  ## start PostgreSQL, if none answers
	@$(BIN)/taxi up

psql: $(INSTALLED)  ## open psql on the warehouse
	@$(BIN)/taxi psql $(ARGS)

analyst: $(INSTALLED)  ## make a login that only reads the marts: NAME=anna
	@$(BIN)/taxi analyst "$$NAME" $(ARGS)

docs: $(INSTALLED)  ## build the models' documentation and show it at http://localhost:8081
	@exec $(BIN)/taxi docs

down: $(INSTALLED)  ## stop what `make serve` and `make run` started
	@$(BIN)/taxi down

lock: $(INSTALLED)  ## pin the newest versions that pyproject.toml allows
	@$(BIN)/uv pip compile --quiet --universal --upgrade --generate-hashes --no-emit-index-url \
		--custom-compile-command "make lock" --group dev --output-file requirements.lock \
		pyproject.toml

clean: down  ## delete what can be made again: the environment, downloads, dbt's output
	rm -rf .venv data/bench dbt_project/target dbt_project/logs \
		"$${TAXI_DATA:-data}/downloads" "$${TAXI_DATA:-data}/dbt" "$${TAXI_DATA:-data}/docs" \
		.pytest_cache .ruff_cache .mypy_cache .hypothesis

archive: $(INSTALLED)  ## let raw months go, each to a Parquet file in data/archive: DATASET=green, MONTH=2013-08..2019-12
	@exec $(BIN)/taxi archive $(ASKED) $(ARGS)

backup: $(INSTALLED)  ## back up the embedded warehouse to data/backups
	@exec $(BIN)/taxi backup

restore: $(INSTALLED)  ## restore the newest backup into an empty warehouse, or BACKUP=folder
	@exec $(BIN)/taxi restore $${BACKUP:+"$$BACKUP"}

delete-data: $(INSTALLED)  ## delete the embedded warehouse with all its months: asks, or YES=1
	@$(BIN)/taxi delete-data $(if $(filter 1 yes,$(YES)),--yes)

# The lock file names every package's version and hashes. uv installs it in seconds, pip in minutes.
# The .pth file puts the project on the path of every Python program of the environment, dbt too,
# and has it begin with flows/environment.py.
$(INSTALLED): requirements.lock tools/taxi
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 15) \
		else f"python 3.11 to 3.14 is needed, not {sys.version.split()[0]}: set PYTHON=...")'
	@$(PYTHON) -m venv --clear .venv
	@echo "Installing the locked packages into .venv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		"$$(sed -n 's/^\(uv==[^ ]*\).*/\1/p' requirements.lock)"
	@$(BIN)/uv pip sync --quiet --require-hashes --compile-bytecode --python $(BIN)/python \
		requirements.lock
	@printf '%s\n' ../../../.. 'import flows.environment' \
		> "$$(echo .venv/lib/python3.*/site-packages)/project.pth"
	@install tools/taxi $(BIN)/taxi
	@touch $(INSTALLED)
