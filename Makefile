# Two commands on a fresh machine: `make demo` runs the main job, `make test` checks everything.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-oldest

demo: .venv/installed
	$(BIN)/drnn train digits --overwrite
	$(BIN)/drnn train digits-static --overwrite
	$(BIN)/drnn compare runs/digits runs/digits-static --json runs/compare.json
	$(BIN)/drnn analyze runs/digits --course_epochs 4

test: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2

# Networks, inference, export and weights with the oldest torch, onnxruntime and timm they are meant for, in an
# environment of its own.
test-oldest: .venv-oldest/installed
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest -q -n 2 tests/core tests/models tests/inference tests/budgets tests/prediction tests/export tests/weights

.venv-oldest/installed: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-oldest.txt -e '.[dev]'
	touch $@

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11 to 3.13 is needed; set PYTHON=python3.12, for example")'
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[plot]'
	touch $@

.venv/installed-dev: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@ .venv/installed
