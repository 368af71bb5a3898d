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
# on where something fails. Each set of rows of Table 1 has MINUTES, and goes on where it was when it is called again. BENCH and
# PLACES say where results go; a PYTHONPATH that is set is kept.
MINUTES ?= 60
DATA ?= data
BENCH ?= benchmarks/results/inference_gpu.json
PLACES ?= --runs runs/cifar10 --results results/cifar10
RESNET110 ?= runs/cifar10/paper-1.0-clip/resnet110-0
SOURCES := PYTHONPATH=src$(if $(PYTHONPATH),:$(PYTHONPATH))
DRNN := $(SOURCES) $(PYTHON) -m drnn
TABLE1 = $(DRNN) reproduce table1 $(PLACES) --data_root $(DATA) --budget_minutes $(MINUTES)

gpu: gpu-tests gpu-bench gpu-table1

gpu-tests:
	$(SOURCES) OMP_NUM_THREADS=2 $(PYTHON) -m pytest -m gpu -q -p no:cacheprovider --continue-on-collection-errors

gpu-bench:  # torch.compile last: nothing is known of it there
	$(DRNN) bench inference --device cuda --threads [1] --batch_sizes [1,64,256,1024] --renew \
	  --forms [optimised,masked,captured,plain,compiled] --json $(BENCH)

# Two controls first: they tell what sharing weights and what gates cost. Then the deepest pair with gradients limited, without
# which gates of deep networks close (docs/training.md), both once more from the static one's weights, and what else may give
# back what gates cost (docs/log.md).
gpu-table1:
	$(TABLE1) --recipe paper --rows resnet16
	$(TABLE1) --recipe paper --rows dr_resnet16 --gate open
	$(TABLE1) --recipe paper --rows resnet110,dr_resnet74 --clip_norm 1
	$(TABLE1) --recipe paper --rows dr_resnet74,resnet110 --epochs 100 --clip_norm 1 --initial_weights $(RESNET110)
	$(TABLE1) --recipe paper --rows dr_resnet74 --zero_init_loops true
	$(TABLE1) --recipe paper --rows dr_resnet16 --every_loop_weight 1
	$(TABLE1) --recipe paper --rows dr_resnet16 --epochs 100 --initial_weights checkpoints/resnet20_cifar-paper
	$(TABLE1) --recipe paper --seeds 0,1,2
	$(TABLE1) --recipe modern --rows resnet20,dr_resnet16,resnet110,dr_resnet74

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
