# The one entry point, for people, hooks and CI alike. `make` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SHELL := bash
.SHELLFLAGS := -o pipefail -c
# Of pip's hundreds of lines, one for each package and each large download. Errors come on stderr, whole.
define install
@echo "installing $(1)"
@PYTHONUNBUFFERED=1 $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off $(2) | awk ' \
	/^ *(Collecting|Processing) / { sub(".*/", "", $$2); print "  " $$2; fflush() } \
	/^ *Downloading .* (MB|GB)\)/ { print "    downloading", $$3, $$4; fflush() } \
	/^Installing collected packages/ { print "  unpacking"; fflush() }'
endef

MODELS ?= models
RECORD ?= mine
DEFAULT_NAME = $(if $(MIDI),mine,$(or $(CONFIG),chorales))
# The Windows Subsystem for Linux sets the variable NAME to the name of the computer.
ifeq ($(origin NAME) $(if $(WSL_DISTRO_NAME),wsl),environment wsl)
NAME := $(DEFAULT_NAME)
endif
NAME ?= $(DEFAULT_NAME)
# A word of the shell, whatever stands in it: a folder may be called "my songs".
quoted = '$(subst ','\'',$(1))'
# Of a training: MIDI NAME CONFIG EPOCHS PATIENCE THREADS DEVICE SET="table.key=value ..." REPLACE
TRAIN_OPTIONS = $(if $(CONFIG),--config $(call quoted,$(CONFIG))) $(if $(DEVICE),--device $(call quoted,$(DEVICE))) \
	$(if $(THREADS),--threads $(call quoted,$(THREADS))) $(if $(EPOCHS),--set $(call quoted,training.epochs=$(EPOCHS))) \
	$(if $(PATIENCE),--set $(call quoted,training.patience=$(PATIENCE))) \
	$(foreach change,$(SET),--set $(call quoted,$(change))) $(if $(REPLACE),--replace)
COMPILE := CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --strip-extras \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test serve train export proto lint format gate quality study cards bench record figures reproduce lock setup image-test clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 13

$(VENV)/base:
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "Fantasia needs Python 3.11 or later with its venv module (Debian: apt install python3-venv)"; exit 1; }
	@echo "making the environment $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# What serving and calling takes: neither torch nor music21.
$(VENV)/served: $(VENV)/base requirements/demo.txt pyproject.toml clients/python/pyproject.toml
	$(call install,what serving and calling need (100 MB),-r requirements/demo.txt)
	$(call install,Fantasia itself,--no-deps -e . -e clients/python)
	@touch $@

# Everything: training, tests, linters.
$(VENV)/developed: $(VENV)/served requirements/torch.in requirements/dev.txt
	$(call install,PyTorch (200 MB; gigabytes with CUDA),-r requirements/torch.in)
	$(call install,what training and testing need (400 MB; some minutes),-r requirements/dev.txt)
	@touch $@

setup: $(VENV)/developed  ## install everything into .venv
	@echo "everything is in $(VENV); next: make demo, make test, or make train MIDI=folder"

demo: $(VENV)/served  ## serve the shipped model, generate out/demo.mid and out/demo.png, stop
	@$(BIN)/python tools/demo.py

test: $(VENV)/developed lint  ## lint, then every test
	$(BIN)/pytest --numprocesses auto --dist loadfile

serve: $(VENV)/served  ## serve models/ on localhost:50051
	$(BIN)/python -m server --models $(call quoted,$(MODELS))

train: $(VENV)/developed  ## train CONFIG, or on your scores in MIDI (a folder), and export models/NAME; goes on where it stopped
	@$(BIN)/python -m training pipeline $(if $(MIDI),$(call quoted,$(MIDI))) --name $(call quoted,$(NAME)) \
		--models $(call quoted,$(MODELS)) $(TRAIN_OPTIONS)

export: $(VENV)/developed  ## write models/NAME from what a training has reached, finished or not
	@$(BIN)/python -m training export $(call quoted,runs/$(NAME)) --out $(call quoted,$(MODELS)/$(NAME))

# For each bundle of MODELS: its name, and the corpus it came from, prepared where it is not there yet.
EACH_BUNDLE = for manifest in $(call quoted,$(MODELS))/*/manifest.json; do bundle=$${manifest%/manifest.json}; name=$${bundle\#\#*/}; \
	test -e "data/$$name.npz" || $(BIN)/python -m training prepare "$$name" --out "data/$$name.npz" || exit 1;

gate: $(VENV)/developed  ## judge every bundle on its test pieces; fails where one misses its thresholds
	@missed=0; $(EACH_BUNDLE) \
		$(BIN)/python -m training evaluate "$$bundle" --corpus "data/$$name.npz" --split test --gate || missed=1; \
		done; exit $$missed

quality: $(VENV)/developed  ## judge the bundles that have changed, and write docs/quality.md with its figures
	@$(EACH_BUNDLE) $(BIN)/python -m training.judge current "$$bundle" || \
		$(BIN)/python -m training evaluate "$$bundle" --corpus "data/$$name.npz" --split test --samples 1000 --sweep \
			--record "training/judge/results/$$name.json" || exit 1; \
		done
	$(BIN)/python -m training.judge render docs/quality.md

study: $(VENV)/developed  ## train the chorales' recipe with one thing left out at a time, and write docs/study.md
	@test -e data/chorales.npz || $(BIN)/python -m training prepare chorales --out data/chorales.npz
	$(BIN)/python -m training study --corpus data/chorales.npz

cards: $(VENV)/developed  ## write every bundle's model card, with its samples
	@for manifest in $(call quoted,$(MODELS))/*/manifest.json; do \
		$(BIN)/python -m training card "$${manifest%/manifest.json}" || exit 1; done

proto: $(VENV)/developed  ## generate the stubs from proto/
	$(BIN)/python proto/generate.py

lint: $(VENV)/developed  ## format check, ruff, mypy, import contract
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/developed  ## format the code, fix what can be fixed
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .

bench: $(VENV)/developed  ## engine and service against a bare decode loop, other servers, load and growth: every ratio and its goal
	$(BIN)/python -m bench

record: $(VENV)/developed  ## the same for longer, then 100,000 requests in a crowd, as RECORD; writes docs/performance.md
	$(BIN)/python -m bench --seconds 900 --soak-tokens 1000000 --record $(call quoted,$(RECORD))
	$(BIN)/python -m bench.churn --record $(call quoted,$(RECORD))
	$(BIN)/python -m bench --render docs/performance.md

figures: demo $(VENV)/developed  ## regenerate the piano roll, the drawing of the network, the curves of the original
	mkdir -p docs/images
	cp out/demo.png docs/images/piano-roll.png
	$(BIN)/python -m training draw $(call quoted,$(MODELS)/chorales) --out docs/images/lstm.png
	$(BIN)/python -m training reproduce

reproduce: $(VENV)/developed  ## the original experiment on the MIDI files in MIDI (a folder); goes on where it stopped
	@test -n $(call quoted,$(MIDI)) || { echo "make reproduce MIDI=folder: which folder of MIDI files?"; exit 1; }
	$(BIN)/python -m training reproduce $(call quoted,$(MIDI))

lock: $(VENV)/base  ## resolve the locked requirements anew
	$(call install,pip-tools,pip-tools)
	$(COMPILE) --generate-hashes -o requirements/server.txt pyproject.toml
	$(COMPILE) -o requirements/demo.txt -c requirements/server.txt --extra plot pyproject.toml clients/python/pyproject.toml
	$(COMPILE) -o requirements/dev.txt -c requirements/demo.txt --extra training --extra dev --extra plot --extra bench \
		--unsafe-package torch requirements/torch.in pyproject.toml clients/python/pyproject.toml

image-test: $(VENV)/developed  ## build the container image and run it for real (root, Debian)
	deploy/test_image.sh

clean:  ## remove what was built, the environment included
	rm -rf $(VENV) out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
