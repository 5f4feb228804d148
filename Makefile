PYTHON ?= python3
TORCH ?= torch==2.13.0
LEARN2LEARN := learn2learn==0.2.0
PYTEST_FLAGS ?= -q -n 2 --dist loadscope
BIN := .venv/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
STAMP := .venv/installed.stamp

.PHONY: install test lint types notebooks docs demo clean
.DEFAULT_GOAL := install

install: $(STAMP)
	@:

# torch comes first and pinned, so that a CPU wheel at hand satisfies it. learn2learn comes last and
# without its dependencies, one of which (qpth) no longer builds; its C extension needs a compiler.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		f"Python 3.11 or newer is needed, got {sys.version.split()[0]}: use make PYTHON=...")'
	@echo "creating .venv"
	@$(PYTHON) -m venv .venv
	@$(PIP) install --upgrade pip
	@echo "installing $(TORCH)"
	@$(PIP) install "$(TORCH)"
	@echo "installing metagnn and its dependencies"
	@$(PIP) install --editable ".[test,docs]"
	@echo "installing $(LEARN2LEARN)"
	@$(PIP) install --no-deps -C--build-option=build_ext "$(LEARN2LEARN)"
	@touch $@

# One thread: under load, two threads of one process spend their time waiting for each other.
test: install
	@OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_FLAGS)

lint: install
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@echo "lint: clean"

types: install
	@.ci/types

notebooks: install
	@if ls notebooks/*.ipynb >/dev/null 2>&1; \
	then OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --nbmake notebooks/*.ipynb; \
	else echo "notebooks: none"; fi

docs: install
	@$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build
	@echo "docs: docs/_build/index.html"

demo: install
	@OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/metagnn demo --out demo

clean:
	@rm -rf .venv build dist demo docs/_build docs/api docs/results *.egg-info
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "clean"
