# Weft: the habits of its developers. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
# The system's Python is preferred: a lab without root runs it as an ordinary user, who may not see root's own.
PYTHON ?= $(shell for p in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)

# Tests run in this many processes: what most of them do is wait.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(WORKERS)

.PHONY: help setup demo test test-fast soak lint bench docs deb clean system-packages

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/.done  ## make .venv with weft and its development tools

$(VENV)/.done: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { .ci/system-packages python; }
	@p="$(PYTHON)"; test -n "$$p" || p=/usr/bin/python3; test -x $(BIN)/python || "$$p" -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@$(BIN)/python -m compileall -q src
	@touch $@

system-packages:
	@.ci/system-packages test

demo: setup  ## three hosts, two tenants with the same addresses, real packets; no root needed; under a minute
	@$(BIN)/weft demo

test: setup system-packages  ## everything; as root on Debian it installs what it needs, elsewhere it says what it cannot run
	@$(PYTEST) tests

test-fast: setup  ## what needs no system package and no root; 25 s on two idle cores, some more the first time
	@$(PYTEST) tests -m 'not system and not thorough'

soak: setup system-packages  ## ten minutes of mixed load on the user-space VTEP, as root; `make test` has one minute of it
	@WEFT_SOAK=600 $(BIN)/python -m pytest -s tests/l2/user/test_user_soak.py

lint: setup  ## ruff, mypy --strict, the layer law
	@$(BIN)/ruff check src tests bench
	@$(BIN)/ruff format --check src tests bench
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache 2>&1 | tail -n 3; exit $${PIPESTATUS[0]}

bench: setup  ## figures for docs/benchmarks.md: ratios against a peer in the same run
	@.ci/system-packages bench
	@$(BIN)/python -m bench

docs: setup  ## check that the docs tell the truth: every command shown is run
	@$(BIN)/python -m pytest tests/cli/test_docs.py tests/model/test_file_docs.py tests/test_operate.py tests/test_tree.py

deb: setup  ## a wheel and a Debian package that bundles its environment, in dist/
	@packaging/build-deb $(BIN)/python dist

clean:  ## remove what setup and tests made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist src/*.egg-info
