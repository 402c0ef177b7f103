# make run | test | test-slow | smoke | check | docs | notebooks | bench. The first call, or one after a changed
# dependency, sets up .venv.
# make run ARGS="--dataset ml-1m"        passes arguments on
# make run PYTHON=python3.13             sets up .venv with another Python (3.10 to 3.14), used from then on
# make run TORCH="torch==2.9.1"          installs this torch, not that of constraints.txt; also takes a wheel's URL

PYTHON ?= $(or $(shell sed 's/.*/"&"/' .venv/python 2>/dev/null),python3)
VERSION := $(shell { $(PYTHON) -c "import sys; sys.stdout.write('%d.%d' % sys.version_info[:2])"; } 2>/dev/null)
BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
READY := .venv/ready-$(VERSION)
# Plain torch on Linux is a CUDA build of several GB. Without a GPU we install the CPU build, from pip's configured
# links or from PyTorch's own page.
CPU := $(if $(shell command -v nvidia-smi 2>/dev/null),,$(filter Linux,$(shell uname -s)))
CPU_PAGE := https://download.pytorch.org/whl/cpu/torch/
ARGS ?= --dataset ml-100k

.PHONY: run test test-slow smoke check format docs notebooks bench clean

run: $(READY)
	$(BIN)/python run_recbole_autorec.py $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS_TEST)

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow -rs $(ARGS_TEST)

# Each command once, and the id tests: what another Python or library version would break first.
smoke: SHORT = --dataset ml-100k --epochs 2 --show_progress False
smoke: $(READY)
	rm -rf .venv/smoke
	$(BIN)/python run_recbole_autorec.py $(SHORT) --saved False
	$(BIN)/python -m recbole_autorec compare $(SHORT) --saved False --models IAutoRec,Bias,NeuMF --repeats 2 --output .venv/smoke/compare
	$(BIN)/python -m recbole_autorec tune $(SHORT) --saved False --max_evals 2 --output .venv/smoke/tune
	$(BIN)/python -m recbole_autorec tune $(SHORT) --saved False --max_evals 2 --engine ray --output .venv/smoke/ray
	echo "learning_rate loguniform -7,-4" >.venv/smoke/NeuMF.hyper
	$(BIN)/python -m recbole_autorec tune $(SHORT) --saved False --max_evals 1 --engine ray --model NeuMF \
	  --space .venv/smoke/NeuMF.hyper --output .venv/smoke/ray-NeuMF
	$(BIN)/python -m recbole_autorec convert --input dataset/tiny/tiny.inter --name mine --data_path .venv/smoke
	$(BIN)/python -m recbole_autorec --dataset mine --data_path .venv/smoke --seed 1 --epochs 2 --refit True \
	  --checkpoint_dir .venv/smoke/saved
	$(BIN)/python -m recbole_autorec predict --checkpoint .venv/smoke/saved/*.pth --input dataset/tiny/tiny.inter \
	  --output .venv/smoke/predictions.csv
	$(BIN)/python -m recbole_autorec export --checkpoint .venv/smoke/saved/*.pth --output .venv/smoke/model.pth
	$(BIN)/python -m recbole_autorec recommend --checkpoint .venv/smoke/model.pth --users all
	$(BIN)/python -m pytest -q tests/test_ids.py

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Runs the notebooks in examples/ and writes their outputs into them.
notebooks: $(READY)
	$(BIN)/python -m tests.test_notebooks

# From docs/ and the docstrings, into site/. Search needs a server: python -m http.server --directory site
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

bench: $(READY)
	$(BIN)/python benchmarks/guard.py

clean:
	rm -rf .venv build dist site *.egg-info

# editable_mode=compat (pip >= 22.1) puts the checkout on the path; otherwise, run from the folder above a checkout, its
# folder would hide the package.
$(READY): PIP = $(BIN)/python -m pip --disable-pip-version-check install --quiet --quiet
$(READY): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c "" 2>/dev/null || { echo "error: '$(PYTHON)' does not run here; name a Python 3.10 to 3.14: \
	make run PYTHON=/path/to/python3"; exit 2; }
	@$(PYTHON) -c "import recbole_autorec"
	@base=$$($(PYTHON) -c "import sys; sys.stdout.write(getattr(sys, '_base_executable', sys.executable).replace(chr(92), '/'))") && \
	  rm -rf .venv && \
	  "$$base" -m venv .venv && echo "$$base" >.venv/python
	@echo "setting up .venv with Python $(VERSION), once"
	@grep -v '$(if $(TORCH),^torch==,^#)' constraints.txt >.venv/constraints.txt
	@$(PIP) 'pip>=22.1'
	@$(if $(CPU),$(PIP) -c .venv/constraints.txt '$(or $(TORCH),torch)' --no-deps --no-index --find-links $(CPU_PAGE) \
	  --retries 1 2>/dev/null || echo "found no CPU build of torch for Python $(VERSION); installing the CUDA build (several GB)")
	@$(PIP) -c .venv/constraints.txt '$(or $(TORCH),torch)'
	@$(PIP) -c .venv/constraints.txt -e '.[test,check,tune,docs]' --config-settings editable_mode=compat
	@touch $@
