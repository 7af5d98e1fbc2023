# make paper: everything that is needed, then the PDF and its companion.   make test: everything that tests need, then lint, types, tests.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$python && break; done)

# Of the thousands of modules that come along most are never imported: one that is, is compiled then, and kept so.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt

# what DVC runs is this environment's python
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: checked paper quick plan bench docs site release test soak mutants reproduce organisms clean distclean help

help:
	@grep -E '^#' Makefile | head -1
	@echo 'make reproduce: run every stage again but the training of the organisms, and what is asked on its way.  make organisms: those.'
	@echo 'make quick: the verdict on every model of the study in minutes, with wider intervals.'
	@echo 'make plan: what the study needs here, before it is run.  make bench: the benchmark table.'
	@echo 'make docs: docs/result-files.md, from the tables as the code declares them, and docs/reruns.md, from dvc.yaml.  make site: the documentation as a site, in build/site.'
	@echo 'make release: an archive of all of it in dist, for Zenodo or the like.'
	@echo 'make soak: kill stages of a small study at random moments, and see that nothing is lost, in about half an hour.'
	@echo 'make mutants: change lines of what the numbers go through, one at a time, and see which changes no test notices.'
	@echo 'make clean: delete caches and unfinished work.  make distclean: also the virtual environment.'

# What `make paper` measures anew: the organism, some minutes' work on any processor. Other models are taken as committed,
# where nothing that they depend on has changed; `make reproduce` measures them too.
STUDIED := $(shell sed -n 's/^  models: \[\(.*\)\].*/\1/p' params.yaml | tr ',' ' ')
ANEW ?= $(filter organism,$(STUDIED))
STAGES = $$($(BIN)/dvc stage list --name-only)
# The stages that train, and those that read what only a training leaves.
OF_TRAINING = ^train\|^curve
REPRO = $(BIN)/python scripts/quicker_dvc.py repro
# So many stages at a time, as far as none reads what another writes. A GPU has memory for one model alone.
LANES ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo 1 || echo 2)
REPRO_IN_LANES = $(BIN)/python -m scripts.lanes $(LANES) repro

# Before DVC, and a shell with what it lists, are given a key of params.yaml.
checked: $(VENV)/.installed
	@$(BIN)/python stages/check.py

paper: checked .dvc/config.local
	@bash scripts/install-tex
	@echo 'measured anew: $(or $(ANEW),nothing); all other models as committed'
	$(REPRO) --force --single-item check download $$(for model in $(ANEW); do echo "$(STAGES)" | tr ' ' '\n' | grep "@$$model$$" | grep -v '^train'; done)
	$(REPRO) --allow-missing || { echo 'What a change reruns needs files that only a whole run makes: $(BIN)/dvc repro makes them.'; exit 1; }

plan: $(VENV)/.installed
	$(BIN)/python stages/plan.py --gpus 1 --gpus 8 --gpus 64 $(MODELS)

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks.run

docs: $(VENV)/.installed
	$(BIN)/python stages/document_tables.py
	$(BIN)/python stages/document_reruns.py

site: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

release: $(VENV)/.installed-dev checked .dvc/config.local
	@bash scripts/install-tex
	$(REPRO) --allow-missing
	$(BIN)/python stages/release.py

test: $(VENV)/.installed-dev
	@bash scripts/install-tex
	@bash scripts/install-chromium
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@echo 'types are checked while the tests run'; $(BIN)/mypy & types=$$!; \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder; \
	tests=$$?; wait $$types && exit $$tests

soak: $(VENV)/.installed-dev
	@bash scripts/install-tex
	$(BIN)/python -m tests.soak --kills 50

mutants: $(VENV)/.installed-dev
	$(PIP) --editable '.[mutants]'
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.mutants

quick: checked
	$(REPRO) --quiet download
	@$(BIN)/python stages/quick.py

reproduce: checked .dvc/config.local
	@bash scripts/install-tex
	$(REPRO) check fetch
	$(BIN)/python stages/plan.py
	rm -rf .work/committed && mkdir -p .work && cp -r results .work/committed
	$(REPRO_IN_LANES) --force --single-item $$(echo "$(STAGES)" | tr ' ' '\n' | grep -v '$(OF_TRAINING)\|^fetch')
	$(BIN)/introspection compare .work/committed

organisms: checked .dvc/config.local
	$(REPRO) check
	$(REPRO_IN_LANES) --force --single-item $$(echo "$(STAGES)" | tr ' ' '\n' | grep '$(OF_TRAINING)')

clean:
	rm -rf .work paper/build/tex paper/build/companion .pytest_cache .mypy_cache .ruff_cache .hypothesis build src/*.egg-info
	find src stages tests benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
	rm -f $(VENV)/.installed $(VENV)/.installed-dev .dvc/tmp/rwlock

distclean: clean
	rm -rf $(VENV)

$(VENV)/bin/python:
	@test -n '$(PYTHON)' || { echo 'Python 3.11, 3.12 or 3.13 is needed: install one, or make PYTHON=/its/path'; exit 1; }
	$(PYTHON) -m venv $(VENV) || { echo 'the venv module is missing: on Debian, apt-get install python3-venv'; exit 1; }

# repeng without its dependencies, since it asks for numpy 1: pyproject.toml says why that does not matter and lists the rest
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable .
	$(PIP) --no-deps repeng
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --editable '.[dev]'
	@touch $@

# An unpacked archive has no git: tell DVC so.
.dvc/config.local:
	@test -e .git && touch $@ || printf '[core]\n    no_scm = true\n' > $@
