# Two commands on a fresh machine: `make demo` runs the main job, `make test` checks everything.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-oldest gpu gpu-tests gpu-bench gpu-table1

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

# All but training, analysis and experiments with the oldest torch, onnxruntime and timm they are meant for, in an
# environment of its own.
test-oldest: .venv-oldest/installed
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest -q -n 2 tests/core tests/models tests/inference tests/budgets tests/prediction tests/export tests/weights

# What a GPU is for, with a PYTHON that has torch and the packages of pyproject.toml; nothing is installed. `make -k gpu` goes
# on where something fails. Each set of rows of Table 1 has MINUTES, and goes on where it was when it is called again.
MINUTES ?= 60
DATA ?= data
DRNN := PYTHONPATH=src $(PYTHON) -m drnn

gpu: gpu-tests gpu-bench gpu-table1

gpu-tests:
	PYTHONPATH=src OMP_NUM_THREADS=2 $(PYTHON) -m pytest -m gpu -q -p no:cacheprovider

gpu-bench:
	$(DRNN) bench inference --device cuda --threads [1] --batch_sizes [1,64,256,1024] \
	  --forms [plain,optimised,masked,compiled,captured] --json benchmarks/results/inference_gpu.json

gpu-table1:  # two controls first: they tell what sharing weights and what gates cost
	$(DRNN) reproduce table1 --recipe paper --rows resnet16 --data_root $(DATA) --budget_minutes $(MINUTES)
	$(DRNN) reproduce table1 --recipe paper --rows dr_resnet16 --gate open --data_root $(DATA) --budget_minutes $(MINUTES)
	$(DRNN) reproduce table1 --recipe paper --seeds 0,1,2 --data_root $(DATA) --budget_minutes $(MINUTES)
	$(DRNN) reproduce table1 --recipe modern --rows resnet20,dr_resnet16,resnet110,dr_resnet74 --data_root $(DATA) --budget_minutes $(MINUTES)

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
