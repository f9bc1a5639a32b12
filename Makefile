# The front door: `make demo` and `make test` set up what they need, then do it. `make help` lists the rest.
#
# Everything that is made lies in .venv/ and build/ (and the compiled modules beside the Python files), so
# that `make clean` brings back a fresh checkout. Stamp files keep a second run quick: .venv/stamp-deps
# belongs to the dependencies, .venv/stamp-build to the native code.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
PY := $(VENV)/bin/python
PYTEST := $(PY) -m pytest -rfEs
BENCH := $(PYTEST) bench --benchmark-only --benchmark-disable-gc --benchmark-sort=name \
	--benchmark-columns=min,median,iqr,rounds -p no:cacheprovider
NATIVE := $(shell find native -name '*.[ch]' -o -name '*.py' | sort)
TYPED := zoned $(if $(wildcard zonefs/*.py),zonefs) docs/gen bench/ratios.py
# Extra arguments for pytest: make test ARGS='-k report -x'
ARGS ?=

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --------------------------------------------------------------------------------------------- set-up

$(VENV)/stamp-deps: pyproject.toml setup.py .ci/setup .ci/packages
	@.ci/setup $(VENV)
	@touch $@

$(VENV)/stamp-build: $(VENV)/stamp-deps $(NATIVE)
	@echo "building the native modules"
	@$(PY) setup.py -q build_ext --inplace --force
	@touch $@

.PHONY: build
build: $(VENV)/stamp-build

# ----------------------------------------------------------------------------------------- everyday

.PHONY: help demo test test-asan test-long test-kernel test-kernel-long test-packaging lint format bench bench-compare bench-validate docs docs-validation fuzz tsan lib install-lib clean dist

demo: build ## Set up, then do the real job on a real disk image (under a minute)
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" docs/demo.sh

test: build ## Set up, then run the whole suite that needs no kernel of its own
	@.ci/packages fio shells zonetools
	@$(PYTEST) $(if $(ZONED_LIBZBC)$(ZONED_FIO_SOURCE),,-m "not suite") $(ARGS)

test-asan: build ## The same suite under AddressSanitizer and UndefinedBehaviorSanitizer
	@.ci/test-asan $(VENV) $(ARGS)

test-long: build ## The long proofs: 200,000 model steps, 200 kills, every cut and flipped byte
	@ZONED_LONG=1 $(PYTEST) -m "not packaging" $(ARGS)

test-kernel: build ## Ask a real Linux 6.12 kernel in a virtual machine (downloads it once)
	@.ci/packages kernel
	@$(PYTEST) tests/kernel -m kernel $(ARGS)

test-kernel-long: build ## The same, and tools, file systems and suites of others on an exported disk in it (an hour)
	@.ci/packages kernel kernel-long
	@ZONED_LONG=1 $(PYTEST) tests/kernel -m kernel $(ARGS)

test-packaging: build ## Build wheel and source archive, try both in empty environments (needs an index)
	@$(PYTEST) -m packaging $(ARGS)

lint: build ## ruff, mypy --strict, and gcc and clang with all warnings as errors
	@$(PY) -m ruff check --output-format concise .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy --strict $(TYPED)
	@.ci/lint-native $(VENV)

format: build ## Let ruff and clang-format lay out and tidy the code
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .
	@find native tests -name '*.[ch]' | xargs $(VENV)/bin/clang-format -i

docs: build ## Write the generated pages of docs/ anew
	@$(PY) docs/gen/pages.py

docs-validation: build ## Measure the drive models, and write docs/validation.md anew (minutes)
	@$(PY) bench/validate.py --page | tail -n 1

# ------------------------------------------------------------------------------------- now and then

bench: build ## Benchmarks (saved under .benchmarks/), then the ratios table
	@$(BENCH) --benchmark-autosave $(ARGS)
	@$(PY) bench/ratios.py

bench-compare: build ## Benchmarks against the last run that `make bench` saved
	@ls .benchmarks/*/*.json >/dev/null 2>&1 || \
		{ echo "there is no saved run to compare with: make bench saves one under .benchmarks/" >&2; exit 1; }
	@$(BENCH) --benchmark-compare $(ARGS)

bench-validate: build ## The drive models against published measurements: a table
	@$(PY) bench/validate.py $(ARGS)

fuzz: build ## libFuzzer on the image parser and on command streams (FUZZ_SECONDS=600 each)
	@.ci/fuzz

tsan: ## ThreadSanitizer (and ASan) on a multi-threaded stress of the C core
	@.ci/tsan

lib: ## libzoned.a and libzoned.so in build/lib, for C programs
	@$(MAKE) -s -C native all

install-lib: ## Install libzoned, its headers and zoned.pc: PREFIX=/usr/local, DESTDIR=
	@$(MAKE) -s -C native install $(if $(PREFIX),PREFIX="$$(realpath -m -- "$$PREFIX")")

dist: build ## A wheel and a source archive in dist/
	@rm -rf dist
	@$(PY) -m build --outdir dist .

clean: ## Remove everything that make has made, .venv too
	@rm -rf $(VENV) build dist demo *.egg-info .benchmarks .hypothesis .pytest_cache .mypy_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@find zoned zonefs native tests -name '*.so' -delete
	@rm -f zoned/_native.pyi zonefs/_fuse.pyi
	@find native tests -name '*.o' -delete
	@rm -f local-*-verify.state
