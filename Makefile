# make demo   train a classifier on a small data set, from nothing but Python and (if there is one) a C++ compiler
# make test   linters, types and tests
# make fuzz   read files that were changed at random, for five minutes (FUZZ=… for other options, see fuzz/README.md)
# make clean  remove what the two have built
#
# PYTHON names the interpreter (3.11 or newer) that makes the virtual environments: make test PYTHON=python3.12

PYTHON ?= python3
JOBS ?= 2

DEMO := .venv-demo
TEST := .venv-test
DEMO_MODEL := build/demo/digits-model

BUILD_INPUTS := pyproject.toml CMakeLists.txt $(wildcard native/*.cpp native/*.hpp)
PACKAGE_FILES := $(shell find src/crosshead -name '*.py' -o -name '*.pyi')
PIP_OPTIONS := --quiet --disable-pip-version-check

.PHONY: demo test lint types tests fuzz clean help
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# make/make/p' Makefile

demo: $(DEMO)/.installed
	@mkdir -p build/demo
	@$(DEMO)/bin/crosshead --version
	$(DEMO)/bin/crosshead fit digits --scale maxabs --test 0.2 --output $(DEMO_MODEL)

test: lint types tests

lint: $(TEST)/.installed
	$(TEST)/bin/ruff check
	$(TEST)/bin/ruff format --check

types: $(TEST)/.installed
	$(TEST)/bin/mypy

tests: $(TEST)/.installed
	$(TEST)/bin/python -m pytest -n $(JOBS)

fuzz: $(TEST)/.installed
	$(TEST)/bin/python -m fuzz $(FUZZ)

# The demo is a plain installation, so it is renewed when any file of the package changes; the tests run an editable
# one, which sees changes by itself unless they are to what is compiled.
$(DEMO)/.installed: $(BUILD_INPUTS) $(PACKAGE_FILES) README.md LICENSE | $(DEMO)/bin/python
	@echo "installing crosshead into $(DEMO); the first time this compiles, and takes a while"
	@$(DEMO)/bin/python -m pip install $(PIP_OPTIONS) .
	@touch $@

$(TEST)/.installed: $(BUILD_INPUTS) | $(TEST)/bin/python
	@echo "installing crosshead and its tests' tools into $(TEST); the first time this compiles, and takes a while"
	@$(TEST)/bin/python -m pip install $(PIP_OPTIONS) --editable '.[test]'
	@touch $@

$(DEMO)/bin/python $(TEST)/bin/python: .venv-%/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "crosshead needs Python 3.11 or newer: make PYTHON=python3.11")'
	@$(PYTHON) -m venv .venv-$*

clean:
	rm -rf $(DEMO) $(TEST) build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests fuzz -name __pycache__ -type d -prune -exec rm -rf {} +
