# One environment for everything: .venv, made by the first command that needs it.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
RESULTS := results/quickstart

.PHONY: help quickstart test test-slow lint clean

help:
	@echo "make quickstart  train lmac_qmix on LBF for a few minutes and draw its curve"
	@echo "make test        the fast tests"
	@echo "make test-slow   the tests that take minutes"
	@echo "make lint        ruff and mypy"

$(VENV)/.ready: setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $@

quickstart: $(VENV)/.ready
	$(BIN)/python src/main.py --config=lmac_qmix --env-config=lbf with t_max=100000 test_interval=20000 \
		local_results_path=$(RESULTS)
	$(BIN)/epymarl-lmac plot $(RESULTS)/lmac_qmix_* --out $(RESULTS)

test: $(VENV)/.ready
	$(BIN)/python -m pytest

test-slow: $(VENV)/.ready
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy epymarl_lmac src protocol_gen benchmarks

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
