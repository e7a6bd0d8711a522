.DEFAULT_GOAL := help
# Every target that needs an environment makes its own in $(VENV) the first time.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

# Where `make demo` puts its results.
DEMO ?= demo

.PHONY: help demo benchmark benchmark-engines test lint types formulas docs wheel-test clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python >= 3.11 is needed (PYTHON=path/to/python3.11 make ...)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	@touch $@

demo: $(VENV)/.installed ## predict the best momentum, train against it, and draw both (minutes)
	$(BIN)/sde-momentum validate matrix-sensing --profile quick --out $(DEMO) --resume

test: $(VENV)/.installed ## the whole test suite, a file at a time on each of two processes, each with one thread of BLAS
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.installed ## ruff, and import-linter: imports go down the floors only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.installed ## mypy
	$(BIN)/mypy

formulas: $(VENV)/.installed ## regenerate sde_momentum/theory/formulas.py from the derivations
	$(BIN)/python -m derivations

docs: .venv-docs/.installed ## the documentation site, its examples run, every warning an error: docs/_build/html/index.html (minutes)
	MPLBACKEND=agg .venv-docs/bin/python -m sphinx -b html -E -W --keep-going docs docs/_build/html

.venv-docs/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

wheel-test: ## build wheel and source distribution, try both in new environments (minutes, two gigabytes while it runs)
	$(PYTHON) tests/distribution.py

clean: ## remove the environments and the site
	rm -rf $(VENV) .venv-docs docs/_build docs/examples docs/tutorials_run

benchmark: $(VENV)/.installed ## speed as ratios: against torch.optim.SGD, kernels by hand, the machine's own limits
	$(BIN)/python benchmarks/simulator_vs_torch.py
	$(BIN)/python benchmarks/symbolic_vs_handwritten.py
	$(BIN)/python benchmarks/drift_diffusion.py
	$(BIN)/python benchmarks/engine_limits.py
	$(BIN)/python benchmarks/stacked_networks.py

benchmark-engines: ## this library and its peers side by side, in an environment of their own (a quiet machine, long)
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt -e .
	.venv-peers/bin/python benchmarks/engines.py
