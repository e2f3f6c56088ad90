# Two commands need nothing but Python 3.11+ and pip: `make demo` and `make test`. They set up .venv themselves.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

ifneq ($(wildcard ../shared/data),)
export SEMIVOX_DATA ?= $(abspath ../shared/data)
endif

.PHONY: demo test test-all check bench docs clean

demo: $(READY)
	$(BIN)/semivox demo demo-output

test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow" --durations=15

test-all: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal --durations=30

check: $(READY)
	$(BIN)/ruff check src tests benchmarks docs/scripts
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)
	$(BIN)/python benchmarks/speed.py --quick --check

docs: $(READY)
	$(BIN)/mkdocs build --strict

$(READY): pyproject.toml constraints.txt
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --editable ".[dev]"
	touch $(READY)

clean:
	rm -rf .venv build dist site demo-output
