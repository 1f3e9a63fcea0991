# make up: set up, build, start the platform.  make test: set up and run every test.  make help: the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
COMMANDS := constellation nova comet corona nebula aurora zenith orbit
NATIVE := $(shell find native -name '*.[ch]' -o -name Makefile -o -name '*.py' | grep -v '^native/build/')

.PHONY: help setup build native lint type test test-runtimes test-native asan coverage simulate fuzz bench runtimes-bench leaks clones h2spec audit-api fmt proto lock up down clean clean-room peers

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/dev.stamp ## system packages where they may be installed, Python packages, tools of the developers

$(BIN)/python:
	tools/setup.sh $(PYTHON)
	$(PYTHON) -m venv $(VENV)

# The lock pins what was tested; the packages come from the index once and from the venv ever after.
$(VENV)/run.stamp: $(BIN)/python requirements.lock
	$(PIP) install -r requirements.lock
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp requirements-dev.lock
	$(PIP) install -r requirements-dev.lock
	@touch $@

$(VENV)/native.stamp: $(VENV)/run.stamp pyproject.toml setup.py $(NATIVE)
	tools/setup.sh $(PYTHON)
	$(PIP) install --no-build-isolation --no-deps -e .
	@touch $@

build: $(VENV)/native.stamp ## the C core and bin/nova bin/comet ... bin/constellation
	@mkdir -p bin
	@for name in $(COMMANDS); do \
	    printf '#!/bin/sh\nexec "$$(dirname "$$(readlink -f "$$0")")/../$(BIN)/%s" "$$@"\n' $$name > bin/$$name; \
	    chmod +x bin/$$name; \
	done

native: build ## the C core alone

lint: setup ## style, formatting, import contracts
	$(BIN)/ruff check src tests bench tools native/build_core.py setup.py
	$(BIN)/ruff format --check src tests bench tools native/build_core.py setup.py
	$(BIN)/lint-imports

type: setup build ## strict types
	$(BIN)/mypy

test: setup build ## every test; TESTS=path narrows
	$(BIN)/python $(if $(TESTS),-m pytest -q $(TESTS),tools/run_tests.py)

test-runtimes: setup build ## every language in every situation; one that is missing fails (RUNTIMES=lua,perl narrows)
	RUNTIMES=$(or $(RUNTIMES),all) $(BIN)/python -m pytest -q tests/runtimes

test-native: build ## unit tests of the C core
	$(MAKE) -C native -j$(shell nproc) test

asan: build ## the same under AddressSanitizer and UndefinedBehaviorSanitizer, and what has threads under ThreadSanitizer
	$(MAKE) -C native asan tsan

coverage: build ## lines of each parser that its unit tests reach; below 95 % it fails
	$(MAKE) -C native coverage

simulate: build ## the instance table under SEEDS (1,000,000) seeded histories of faults; then bugs planted for it to find
	$(MAKE) -C native simulate $(if $(SEEDS),SEEDS=$(SEEDS))
	$(MAKE) -C native plants

fuzz: build ## fuzz every parser for FUZZ_SECONDS (20) each
	$(MAKE) -C native -j$(shell nproc) fuzz FUZZ_SECONDS=$(or $(FUZZ_SECONDS),20)

audit-api: setup build ## the API against its OpenAPI document: EXAMPLES (50) made-up requests for each operation
	API_EXAMPLES=$(or $(EXAMPLES),50) $(BIN)/python -m pytest -q tests/acceptance/test_openapi.py

bench: build ## warm and cold calls against a running platform
	$(BIN)/python bench/invoke.py --connections 1 --duration 10
	$(BIN)/python bench/invoke.py --connections 32 --duration 10
	$(BIN)/python bench/cold.py --samples 50
	$(BIN)/python bench/sandboxes.py --rest 0.05
	$(BIN)/python bench/sandboxes.py --lanes 8 --count 10000
	$(BIN)/python bench/memory.py --seconds 60
	$(BIN)/python bench/burst.py
	$(BIN)/python bench/overload.py
	$(BIN)/python bench/hops.py

runtimes-bench: build ## warm and cold calls, deploys and memory of every language that is here (RUNTIMES=lua,perl narrows; QUICK=1: six minutes)
	$(BIN)/python bench/runtimes.py $(if $(RUNTIMES),--runtimes $(RUNTIMES)) $(if $(QUICK),--quick)

peers: build ## the same hello function here and on other servers, in one run (PEERS='--duration S --samples N')
	$(BIN)/python bench/peers.py $(PEERS)

leaks: build ## make 10,000 instances and kill comet 200 times: what is left behind? (LEAKS='--cycles N --kills N')
	$(BIN)/python bench/leaks.py $(LEAKS)

clones: setup build ## ten thousand clones of one zygote, and of a nursery with numpy used: does any draw what another drew?
	$(PIP) install numpy
	CLONES=10000 $(BIN)/python -m pytest -q tests/security/test_clones.py

# A Go module; it lives below build/ and is no part of the platform.
build/bin/h2spec:
	@mkdir -p build/bin
	GOBIN=$(CURDIR)/build/bin GOPATH=$(CURDIR)/build/go GOFLAGS=-modcacherw go install github.com/summerwind/h2spec/cmd/h2spec@latest

h2spec: setup build build/bin/h2spec ## conformance of comet's port with HTTP/2 (needs go)
	$(BIN)/python -m pytest -q tests/integration/grpc/test_h2spec.py

fmt: setup ## format the Python code
	$(BIN)/ruff check --fix-only -q src tests bench tools native/build_core.py setup.py
	$(BIN)/ruff format -q src tests bench tools native/build_core.py setup.py

proto: setup ## generate src/constellation/wire/gen
	proto/generate.sh

lock: $(BIN)/python ## pin the newest packages that pyproject.toml allows
	PYTHON=$(BIN)/python tools/lock.sh

up: build ## start the platform and leave hello-python answering on localhost:9000
	bin/constellation up --detach

down: ## stop it
	bin/constellation down

clean: ## all that was built; the state directory stays
	rm -rf $(VENV) bin build native/build src/constellation/native/libexec
	find . -name '*.so' -path './src/*' -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

clean-room: ## prove make up and make test in a fresh Debian root (as root; needs debootstrap)
	tools/clean-room.sh
