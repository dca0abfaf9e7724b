# Every target does its own set-up. Nothing but Python >= 3.11 and make is needed.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help setup demo test check protos protos-check format docs lock notebook bench bench-plots bench-system bench-lock prove up

help:  ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## everything a newcomer needs, into .venv

# Installed from the lock file only, then ourselves without dependencies: what runs is what was locked. Sources are built
# as wheels, since scripts that an older pip installs from them do not start in a folder with a space in its name.
$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; say make PYTHON=/path/to/python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --use-pep517 --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(READY)

demo: $(READY)  ## publish, train, save, serve, verify: in local mode, on simulated customers
	$(BIN)/featurestore demo

test: $(READY)  ## all tests
	$(BIN)/pytest -q -m "not slow"

check: $(READY) protos-check  ## lint, types, layers, drift
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/buf lint protos

format: $(READY)  ## put the code into its one format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)  ## write the pages that are made from the code
	$(BIN)/python -m featurestore.host.settings > docs/settings.md

LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--prerelease=if-necessary-or-explicit --quiet --custom-compile-command "make lock"

lock: $(READY)  ## resolve the dependencies anew into the lock files
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/$(LOCK) pyproject.toml --extra dev -o requirements.lock
	printf 'faker\nsetuptools\n' | $(BIN)/$(LOCK) pyproject.toml - --extra server -c requirements.lock -o requirements-server.lock

bench: $(READY)  ## measure against floors, baselines and Feast, as ratios, into docs/benchmarks; PARTS="reads peers" for some
	$(BIN)/python -m benchmarks $(PARTS)

bench-plots: $(READY)  ## draw the last figures again
	$(BIN)/python -m benchmarks.drawing

bench-system:  ## what the benchmarks want of Debian: a C client, and Feast's online store (as root)
	apt-get update && apt-get install --yes --no-install-recommends redis-server nghttp2-client

bench-lock: $(READY)  ## resolve Feast's dependencies anew into its lock file
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/$(subst make lock,make bench-lock,$(LOCK)) benchmarks/feast/requirements.in -o benchmarks/feast/requirements.lock

notebook: $(READY)  ## run examples/flights.ipynb anew and keep what it shows
	$(BIN)/python -m tests.support.notebooks

prove: $(READY)  ## the long proofs: crashes, memory, replay, deep random tests
	$(BIN)/pytest -q -m slow --timeout 3600

up:  ## run it with Docker: mongo, catalog, realtime, extraction, gateway
	docker compose up --build --wait

PROTOS := $(shell find protos -name '*.proto' | sort)

protos: $(READY)  ## generate featurestore/api from protos/
	find featurestore/api -mindepth 1 -maxdepth 1 -type d -exec rm -r {} +
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -I protos --python_out=. --grpc_python_out=. --mypy_out=quiet:. --mypy_grpc_out=quiet:. $(PROTOS)
	find featurestore/api -type d -exec touch {}/__init__.py \;

# Compares with what is on disk, not with git, so that it also speaks before a commit.
protos-check: $(READY)
	cp -r featurestore/api .venv/api-before
	$(MAKE) --no-print-directory protos >/dev/null
	diff -r -x __pycache__ .venv/api-before featurestore/api; found=$$?; rm -r .venv/api-before; \
	test $$found = 0 || { echo "featurestore/api was not what protos/ says; it is regenerated now: commit it" >&2; exit 1; }
