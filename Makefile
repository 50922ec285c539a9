# Everything here works on a fresh clone with nothing but Python 3.11 or newer, make and a C compiler.
# tools/environment.py makes .venv, installs and builds; it does nothing when nothing changed.

# The first interpreter that is new enough; PYTHON=python3.12 names another.
CANDIDATES = python3 python3.13 python3.12 python3.11 python3.14 python3.15
NEW_ENOUGH = import sys; sys.exit(sys.version_info < (3, 11))
ifndef PYTHON
PYTHON := $(shell for p in $(CANDIDATES); do "$$p" -c '$(NEW_ENOUGH)' 2>/dev/null && echo "$$p" && break; done)
endif
ARGS ?=
BIN = .venv/bin

# LOOPWATCH_SANITIZE=address,undefined make test: the address sanitizer has to be there before the interpreter.
ifneq (,$(findstring address,$(LOOPWATCH_SANITIZE)))
PRELOAD = ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD="$(shell cc -print-file-name=libasan.so)"
endif

help:
	@echo "make demo    set up, run the demo app under loopwatch with traffic, print the report"
	@echo "make test    set up, run all tests                (ARGS='-k name' goes to pytest)"
	@echo "make lint    ruff, mypy --strict, cython-lint, clang-format"
	@echo "make bench   overhead, accuracy, cost of a sample, idle, scale   (ARGS='accuracy --quick')"
	@echo "make clean   remove .venv and everything built"
	@echo
	@echo "PYTHON=python3.12 make test  takes another interpreter; .ci/run tests all that are here."

demo: .venv-demo
	@$(BIN)/python -m examples.demo $(ARGS)

test: .venv-test
	@echo "· tests"
	@$(PRELOAD) $(BIN)/python -m pytest -q $(ARGS)

bench: .venv-bench
	@$(BIN)/python -m benchmarks $(ARGS)

# Four checks, so that `make -k lint` tells all that is wrong.
lint: lint-ruff lint-mypy lint-cython lint-c

lint-ruff: .venv-dev
	@echo "· ruff"
	@$(BIN)/ruff check -q .
	@$(BIN)/ruff format -q --check .

lint-mypy: .venv-dev
	@echo "· mypy"
	@$(BIN)/mypy --no-error-summary

lint-cython: .venv-dev
	@echo "· cython-lint"
	@PATH="$(BIN):$$PATH" cython-lint src

lint-c: .venv-dev
	@echo "· clang-format"
	@find csrc tests -name '*.[ch]' -exec $(BIN)/clang-format --dry-run -Werror {} +

clean:
	rm -rf .venv .nox build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -f src/loopwatch/_core.c src/loopwatch/*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Not files: environment.py itself knows what is up to date.
.venv-%: python
	@$(PYTHON) tools/environment.py $*

python:
	@if [ -z "$(PYTHON)" ]; then \
	  echo "make: no Python 3.11 or newer found: install one, or name it: make PYTHON=/path/to/python3 …" >&2; exit 2; fi
	@"$(PYTHON)" -c '' 2>/dev/null || { echo "make: $(PYTHON) does not run" >&2; exit 2; }
	@"$(PYTHON)" -c '$(NEW_ENOUGH)' || { echo "make: $(PYTHON) is too old: loopwatch needs 3.11 or newer" >&2; exit 2; }

.PHONY: help demo test bench lint lint-ruff lint-mypy lint-cython lint-c clean python
.PRECIOUS: .venv-%
