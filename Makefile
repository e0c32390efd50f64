# Thin names for commands a person could type. Needs git, make, python3 (3.11 or newer) and its venv module; nothing else.
BIN := .venv/bin
PYTHON ?= python3

.PHONY: setup demo test test-slow fuzz kills soak lint bench clean

setup: .venv/ready

# torch and torchvision in one go: the resolver must take the pair that fits. A second call finds the stamp and installs nothing.
.venv/ready: pyproject.toml
	$(PYTHON) -c "import sys; sys.exit('latentdrive needs Python 3.11 or newer, this is ' + sys.version.split()[0] + ': make PYTHON=python3.12 ...') if sys.version_info < (3, 11) else None"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[test]"
	touch $@

demo: setup
	$(BIN)/latentdrive demo

test: lint
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

test-slow: setup
	$(BIN)/python -m pytest -m slow

fuzz: setup
	$(BIN)/python -m pytest -m slow -s tests/fuzz

kills: setup
	$(BIN)/python -m tests.kills

soak: setup
	$(BIN)/python -m tests.soak

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: setup
	$(BIN)/python tools/bench_data.py
	$(BIN)/python tools/bench_codebook.py
	$(BIN)/python tools/bench_pdms.py
	$(BIN)/python tools/bench_planners.py

clean:
	rm -rf .venv build dist
