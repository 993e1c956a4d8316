# make demo [VIDEO=clip.mp4]   reconstruct a clip (a generated one without VIDEO)
# make test                    lint, types and tests
# make bench                   the whole job on generated captures, in passes of the rasterizer, against this machine's last row of history
# make audit                   bill of materials, licences of the core, known vulnerabilities
# All make the environment in .venv first; nothing else has to be there than Python >= 3.11 (and a C++ compiler for speed).

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OUT ?= out/$(if $(VIDEO),$(basename $(notdir $(VIDEO))),demo)
WORKERS ?= 2
HISTORY ?= benchmarks/history.jsonl
TORCH := torch==2.13.0
BUILD_INPUTS := pyproject.toml CMakeLists.txt $(wildcard src/fourfold/kernels/*.cpp src/fourfold/kernels/*.h)

.PHONY: demo test bench audit environment kernels clean

demo: $(STAMP)
ifdef VIDEO
	$(BIN)/fourfold reconstruct "$(VIDEO)" -o "$(OUT)"
else
	$(BIN)/fourfold demo -o "$(OUT)"
endif

test: $(STAMP)
	$(BIN)/ruff check src tests benchmarks examples .ci
	$(BIN)/ruff format --check src tests benchmarks examples .ci
	$(BIN)/pyright --pythonpath $(BIN)/python
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS)

bench: $(STAMP)
	$(BIN)/fourfold bench pipeline --history $(HISTORY)

audit: $(STAMP)
	$(BIN)/python .ci/supply_chain.py

environment: $(STAMP)

$(BIN)/python:
	@python=; \
	for name in python3.13 python3.12 python3.11 python3; do \
	  if $$name -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$name; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "fourfold needs Python 3.11 or newer with its venv module, and none was found on PATH: install it (for example python3.11 and python3.11-venv) and run make again." >&2; \
	  exit 1; \
	fi; \
	$$python -m venv $(VENV)

# torch comes first and alone: it is by far the largest download, and a change of ours never fetches it again.
# The build tools stay in the environment too, so that a changed kernel is compiled alone and not the rest with it.
$(VENV)/.torch: | $(BIN)/python
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet "scikit-build-core>=0.10" cmake ninja
	@touch $@

$(STAMP): $(BUILD_INPUTS) $(VENV)/.torch
	@command -v $${CXX:-g++} >/dev/null || command -v clang++ >/dev/null || echo "note: no C++ compiler (g++ or clang++) was found: fourfold will run on its slow reference." >&2
	$(BIN)/python -m pip install --quiet --no-build-isolation -e ".[dev]"
	@touch $@

# For work on the kernels without a new install: builds into src/fourfold/kernels/lib with the cmake on PATH.
kernels:
	cmake -S . -B build/kernels -DCMAKE_BUILD_TYPE=Release >/dev/null
	cmake --build build/kernels --parallel

clean:
	rm -rf $(VENV) build
