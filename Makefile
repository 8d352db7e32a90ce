# One environment for everything: .venv, made by the first command that needs it.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
RESULTS := results/quickstart

.PHONY: help quickstart test test-slow lint docs gfootball clean

help:
	@echo "make quickstart  train lmac_qmix on LBF for a few minutes and draw its curve"
	@echo "make test        the fast tests"
	@echo "make test-slow   all tests, those that take minutes too, and the share of lines that they run"
	@echo "make lint        ruff and mypy"
	@echo "make docs        the site of all pages, build/site/index.html"
	@echo "make gfootball   builds Google Research Football from source (Debian 12, about 15 minutes)"

$(VENV)/.ready: setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $@

quickstart: $(VENV)/.ready
	$(BIN)/python src/main.py --config=lmac_qmix --env-config=lbf with t_max=100000 test_interval=20000 \
		local_results_path=$(RESULTS)
	$(BIN)/epymarl-lmac plot $(RESULTS)/lmac_qmix_* --out $(RESULTS)

# Files are shared out among processes, one a core and four at most; the tests of a file stay together.
test: $(VENV)/.ready
	$(BIN)/python -m pytest -n auto --maxprocesses=4 --dist=loadfile

test-slow: $(VENV)/.ready
	$(BIN)/python -m pytest -m "slow or not slow" --cov --cov-report=term

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy epymarl_lmac src protocol_gen benchmarks

$(VENV)/.docs-ready: $(VENV)/.ready
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[docs]"
	touch $@

# Reads every page anew (-E), so that a warning of an unchanged page fails the build as well (-W).
docs: $(VENV)/.docs-ready
	$(BIN)/python -m sphinx -E -W --keep-going -q -b html -d build/doctrees -c docs . build/site
	@echo "build/site/index.html"

# Google Research Football and this project in an environment of their own: the engine needs old gym and numpy.
FOOTBALL := .venv-football
FOOTBALL_BIN := $(CURDIR)/$(FOOTBALL)/bin
FOOTBALL_DEBS := cmake build-essential python3-dev libgl1-mesa-dev libsdl2-dev libsdl2-image-dev libsdl2-ttf-dev \
	libsdl2-gfx-dev libboost-all-dev
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

gfootball: $(FOOTBALL)/.ready

# Debian 12: its Boost is built for Python 3.11. The engine's build script calls python3 and psutil by the PATH.
$(FOOTBALL)/.ready: setup.py
	$(SUDO) apt-get update
	$(SUDO) apt-get install -y --no-install-recommends $(FOOTBALL_DEBS)
	python3.11 -m venv $(FOOTBALL)
	$(FOOTBALL_BIN)/python -m pip install -q "setuptools==65.5.0" "wheel<0.40" psutil
	$(FOOTBALL_BIN)/python -m pip install -q "gym==0.23.1" "numpy<2" six absl-py opencv-python-headless
	PATH="$(FOOTBALL_BIN):$$PATH" $(FOOTBALL_BIN)/python -m pip wheel --no-build-isolation --no-deps \
		--no-binary gfootball -w $(FOOTBALL)/wheels gfootball==2.10.2
	$(FOOTBALL_BIN)/python -m pip install -q --no-deps $(FOOTBALL)/wheels/gfootball-2.10.2-*.whl
	$(FOOTBALL_BIN)/python -m pip install -q "numpy<2" -e ".[test]"
	touch $@

clean:
	rm -rf $(FOOTBALL) $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
