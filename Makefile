# make run | test | test-slow | check | bench. Each sets up .venv first, once; a changed dependency sets it up again.
# make run ARGS="--dataset ml-1m --data_path=..." passes arguments on.

PYTHON ?= $(shell command -v python3.11)
BIN := .venv/bin
READY := .venv/ready
TORCH := torch==2.13.0
ARGS ?= --dataset ml-100k

.PHONY: run test test-slow check format bench clean

run: $(READY)
	$(BIN)/python run_recbole_autorec.py $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest $(ARGS_TEST)

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow -rs $(ARGS_TEST)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	$(BIN)/python benchmarks/guard.py

clean:
	rm -rf .venv build dist *.egg-info

# Plain torch on Linux is a CUDA build of gigabytes: without a card the CPU build is installed, from wherever pip is
# set up to look, else from PyTorch's own page.
# editable_mode=compat puts the checkout on the path: beside a checkout, its folder would hide the package otherwise.
$(READY): setup.cfg pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "recbole_autorec sets up its environment with Python 3.11; \
	install one, or name it: make run PYTHON=/path/to/python3.11"; exit 1; }
	rm -rf .venv
	$(PYTHON) -m venv .venv
	@if [ "$$(uname -s)-$$(uname -m)" = Linux-x86_64 ] && ! command -v nvidia-smi >/dev/null; then \
	  $(BIN)/pip install --quiet -c constraints.txt '$(TORCH)+cpu' 2>/dev/null || \
	  $(BIN)/pip install --quiet -c constraints.txt '$(TORCH)+cpu' --find-links https://download.pytorch.org/whl/cpu/torch/; \
	else \
	  $(BIN)/pip install --quiet -c constraints.txt '$(TORCH)'; \
	fi
	$(BIN)/pip install --quiet -c constraints.txt -e '.[test,check,tune]' --config-settings editable_mode=compat
	@touch $@
