# make design: set up, measure this machine, design a network for a target throughput, measure it
# make test:   set up, lint, type-check and test
# make zoo:    set up, make the networks of SPEC in the folder OUT, with a report (docs/zoo.md)
# make gpu-results: everything that is published about an NVIDIA GPU, in pieces (docs/gpu.md)
#
# PYTHON: the interpreter to start from. TORCH: what pip installs as PyTorch; on a machine without a GPU
# the CPU build is much smaller, e.g. TORCH="torch==2.13.0 --index-url <PyTorch's index of CPU builds>".
# WORKERS: processes that the tests are spread over.
PYTHON ?= python3
TORCH ?= torch
VENV ?= .venv
SPACE ?= r18
THROUGHPUT ?= 60
WORKERS ?= 2
SPEC ?= examples/cpu.yaml
OUT ?= $(if $(filter zoo,$(MAKECMDGOALS)),zoo,quickstart)
# gpu-results only. WHEELS: a folder of wheels, installed without an index beside the packages of PYTHON, for a machine
# without internet. PIECES: how many pieces to do before giving back the prompt; GPU_OPTIONS: see docs/gpu.md.
WHEELS ?=
PIECES ?= 20
GPU_OPTIONS ?=
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: design zoo test lint setup browser gpu-results clean
.DELETE_ON_ERROR:

design: $(VENV)/.design
	@echo "== 1/4 latency table of this machine for $(SPACE): ONNX Runtime, one thread (a few minutes; resumable)"
	$(BIN)/deepmad table build $(SPACE) -o $(OUT)/table.sqlite
	@echo "== 2/4 design for $(THROUGHPUT) images/s, measure, correct, design again"
	$(BIN)/deepmad design $(SPACE) --throughput $(THROUGHPUT)/s --table $(OUT)/table.sqlite --measure \
	  --time-limit 20 -o $(OUT)/solution.json
	@echo "== 3/4 export"
	$(BIN)/deepmad export $(OUT)/solution.json --to onnx -o $(OUT)/network.onnx
	@echo "== 4/4 time the exported file"
	@code=0; $(BIN)/deepmad measure $(OUT)/network.onnx --throughput $(THROUGHPUT)/s || code=$$?; \
	  [ $$code -le 1 ] || exit $$code; echo $$code > $(OUT)/.missed
	@{ echo "command: make design SPACE=$(SPACE) THROUGHPUT=$(THROUGHPUT)"; echo "date: $$(date -u +%Y-%m-%dT%H:%M:%SZ)"; \
	  echo "commit: $$(git rev-parse HEAD 2>/dev/null || echo unknown)"; $(BIN)/deepmad doctor; } > $(OUT)/conditions.txt
	@echo "== done$$([ $$(cat $(OUT)/.missed) = 0 ] || echo ', but the exported file missed $(THROUGHPUT)/s just now:' \
	  'the machine is slower than in the rounds above'): $(OUT)/ holds table.sqlite, solution.json, network.onnx, conditions.txt"
	@rm $(OUT)/.missed

zoo: $(VENV)/.zoo
	@code=0; $(BIN)/deepmad zoo $(SPEC) -o $(OUT) || code=$$?; [ $$code -le 1 ] || exit $$code; \
	  echo "== done$$([ $$code = 0 ] || echo ', but not all targets are met'): open $(OUT)/report.html in a browser"

ifeq ($(WHEELS),)
GPU_READY := $(VENV)/.gpu
GPU_PYTHON := $(BIN)/python
else
GPU_READY := build/wheels/.installed
GPU_PYTHON := PYTHONPATH="$(CURDIR):$(CURDIR)/build/wheels" $(PYTHON)
endif

# A piece ends by itself with code 75; one that hangs is killed, and the next one goes on.
gpu-results: $(GPU_READY)
	@piece=0; while [ $$piece -lt $(PIECES) ]; do \
	  piece=$$((piece + 1)); echo "== piece $$piece"; code=0; \
	  timeout --foreground -k 10 570 env $(GPU_PYTHON) -m benchmarks.gpu_results $(GPU_OPTIONS) || code=$$?; \
	  case $$code in 0) exit 0;; 75|124|137) ;; *) exit $$code;; esac; \
	done; echo "make: $(PIECES) piece(s) done; run the same command again to go on" >&2; exit 75

build/wheels/.installed: $(wildcard $(WHEELS)/*.whl)
	$(PYTHON) -m pip --disable-pip-version-check install --no-index --no-deps --upgrade --target build/wheels $(WHEELS)/*.whl
	@touch $@

test: $(VENV)/.test browser lint
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

setup: $(VENV)/.test

# The tests look at a zoo's report in a real browser. It is installed where that can be done, else said to be missing.
browser:
	@command -v chromium || command -v chromium-browser || command -v google-chrome || { \
	  echo "== Chromium, for the tests of the report"; \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -q && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends chromium fonts-liberation; \
	} || echo "make: no Chromium: the tests that look at the report are skipped; install it (Debian: apt-get install chromium fonts-liberation)" >&2

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "make: $(PYTHON) is missing or older than 3.11; install it (Debian: apt-get install python3) or set PYTHON" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "make: $(PYTHON) has no venv; install it (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@echo "== virtual environment in $(VENV)"
	$(PYTHON) -m venv $(VENV)

# The pin on torch is for the default only: who asks for another PyTorch gets it, and the rest as pinned.
$(VENV)/constraints.txt: constraints.txt | $(VENV)/bin/python
	@if [ "$(TORCH)" = torch ]; then cp constraints.txt $@; else grep -v '^torch\(vision\)\?==' constraints.txt > $@; fi

$(VENV)/.design: pyproject.toml $(VENV)/constraints.txt
	@echo "== PyTorch, then deepmad and what it needs (minutes the first time)"
	$(PIP) install --progress-bar on -c $(VENV)/constraints.txt $(TORCH)
	$(PIP) install --progress-bar on -c $(VENV)/constraints.txt -e .
	@touch $@

$(VENV)/.zoo: $(VENV)/.design
	@echo "== what a zoo's report and its references need"
	$(PIP) install --progress-bar on -c $(VENV)/constraints.txt -e '.[timm,report]'
	@touch $@

$(VENV)/.test: $(VENV)/.design
	@echo "== what the tests need"
	$(PIP) install --progress-bar on -c $(VENV)/constraints.txt -e '.[dev,timm,report,benchmarks,openvino,tensorrt-rtx,ray]'
	@touch $@

$(VENV)/.gpu: $(VENV)/.design
	@echo "== what the results of a GPU need"
	$(PIP) install --progress-bar on -c $(VENV)/constraints.txt -e '.[timm,benchmarks,tensorrt-rtx]'
	@$(PIP) install --progress-bar on -c $(VENV)/constraints.txt -e '.[tensorrt]' || \
	  echo "make: Torch-TensorRT cannot be installed here; the results will say so" >&2
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
