# Needs Python >= 3.11 and make; everything else goes into .venv, and the system's Python is left alone.
PYTHON ?= python3
MODEL ?= organism
WORKERS ?= 2

BIN := .venv/bin
READY := .venv/.ready

# A core for each worker: a second thread of a BLAS has none to run on, and spins while the others work (a file of probes
# took 23 seconds of processor time, and 3 with one thread).
test test-all nested hypotheses mutants calibration stability plugins faults-caught: export OMP_NUM_THREADS ?= 1
test test-all nested hypotheses mutants calibration stability plugins faults-caught: export MKL_NUM_THREADS ?= 1
# A C++ compiler runs for a second for each of some 400 kernels, most of them of tiny models that are trained. What holds
# of compiled code asks for it (the fixture `compiling`); all else is compiled in `make test-all`.
test mutants: export MLX_DISABLE_COMPILE ?= 1
# Without bytecode on disk, every process compiles the package anew, and pytest also rewrites its asserts.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup hypotheses mutants test test-all nested faults-caught kernels lint docs architectures configurations calibration device stability claims faults fuzz plugins parity peers bench bench-suite clean

help: ## say what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## make .venv and install the package with what its tests need

hypotheses: $(READY) ## test the published claims on MODEL (default: organism)
	@case "$(MODEL)" in smollm2) $(BIN)/lazarus models fetch smollm2;; esac
	@echo "testing the claims in hypotheses/ on $(MODEL)"
	@$(BIN)/python -m pytest hypotheses/ --model "$(MODEL)" -n $(WORKERS) --dist loadfile

test: $(READY) ## run the package's own tests: those not marked slow, nested or long, benchmarks left out
	@echo "running the tests in tests/"
	@$(BIN)/python -m pytest tests/ --benchmark-skip -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-all: $(READY) ## run the slow tests too: whole sweeps, more seeds, suites within the suite (an hour and more)
	@echo "running the tests in tests/, the slow ones too"
	@$(BIN)/python -m pytest tests/ -m "not long" --benchmark-skip -n $(WORKERS) --dist loadfile --no-loadscope-reorder

nested: $(READY) ## run suites within the suite: the claims on an untrained model and on mutants, and all examples of documents and docstrings
	@echo "running suites within the suite: the claims on an untrained model and on mutants, the documents' examples, the demo"
	@$(BIN)/python -m pytest tests/ -m "nested and not slow" --benchmark-skip -n $(WORKERS) --dist loadfile --no-loadscope-reorder

faults-caught: $(READY) ## put ten faults into copies of the package, and say which test of `make test` catches each
	@$(BIN)/python -m tests.mutants.run

# The claims that took the organism under five seconds, without those that train or compare models.
MUTANT_CLAIMS ?= answer-crystallises-late answer-probable-before-the-end answer-read-from-subject \
	arithmetic-apart-in-embeddings chat-form-readable-early copying-head-exists days-lie-on-a-circle \
	duplicate-token-head-exists entropy-neurons-act-through-norm equals-sign-asks-for-number facts-in-the-lens \
	facts-not-yet-on-top heads-sink-into-first-token induction-head-exists middle-block-can-go \
	middle-neighbours-can-swap months-lie-on-a-circle operand-in-embeddings previous-token-head-exists \
	product-readout-is-a-lookup suppressing-head-exists

mutants: $(READY) ## change MODEL inside in a hundred ways, and count how often its claims notice (an hour)
	@$(BIN)/lazarus mutants -m "$(MODEL)" $(MUTANT_CLAIMS:%=--claim %) --choose 5 --workers $(WORKERS) --results reports/mutants.json

kernels: $(READY) ## run tests and hypotheses under each instruction set of MKL, an OpenBLAS and none (hours)
	@$(BIN)/python -m tests.kernels.run --workers $(WORKERS)

lint: $(READY) ## check style, format and types
	@echo "checking style, format and types"
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/mypy tests/typing/public_names.py

docs: $(READY) ## write the pages of commands, API, coverage, guide and notebook anew (installs Jupyter's runner first)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	@$(BIN)/python tests/docs/command_pages.py
	@$(BIN)/python tests/docs/api_page.py
	@$(BIN)/python tests/docs/console_blocks.py guide causal_claims
	@$(BIN)/python tests/docs/notebook.py
	@$(BIN)/python tests/docs/seed_coverage.py

architectures: $(READY) ## write docs/architectures.md: what hooks reach in every architecture of mlx-lm
	@$(BIN)/python -m tests.architectures.report

configurations: $(READY) ## check hooks on the configurations that mlx-lm tests its own models with (downloads its sources)
	@$(BIN)/python tests/architectures/own_configurations.py

calibration: $(READY) ## count false alarms on 200 draws of every kind of claim, and write docs/power.md
	@$(BIN)/python -m pytest tests/calibration -m long -rP -n $(WORKERS)
	@$(BIN)/python tests/calibration/power.py

device: $(READY) ## check hooks, precision and speed on the GPU at hand, and write docs/device.md
	@$(BIN)/python -m tests.device.run

stability: $(READY) ## run the hypotheses with the seeds 0 to 9 and count the verdicts that turn (hours)
	@$(BIN)/python tests/stability/stability.py --model "$(MODEL)" --workers $(WORKERS)

claims: $(READY) ## write docs/claims.md: every claim, what was published, and its verdict here
	@$(BIN)/python tests/hypotheses/table.py

faults: $(READY) ## kill commands at random moments, fill disks, and write docs/reliability.md (an hour)
	@$(BIN)/python -m tests.faults.run

fuzz: $(READY) ## feed damaged files to every reader for a minute, and all hostile inputs (installs atheris first)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[fuzz]"
	@$(BIN)/python tests/fuzz/atheris_readers.py -max_total_time=60
	@$(BIN)/python -m pytest tests/fuzz -m long

plugins: $(READY) ## run the same claims with other pytest plugins (installs them first)
	@echo "running claims with other pytest plugins"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[plugins]"
	@PLUGINS=installed $(BIN)/python -m pytest tests/plugin/test_matrix.py -m "not long" -n $(WORKERS)

parity: $(READY) ## compare every family with transformers, and adapters with peft (installs torch first)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[parity]"
	@$(BIN)/python -m pytest tests/parity tests/organisms/test_bundled.py -m "not long"

peers: $(READY) ## compare the time of forwards and sweeps with other libraries (installs them first; half an hour)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[peers]"
	@$(BIN)/python tests/benchmarks/peers.py

bench: $(READY) ## time hooks and collection
	@echo "running the benchmarks in tests/benchmarks"
	@$(BIN)/python -m pytest tests/benchmarks --benchmark-only --benchmark-columns=median,iqr,rounds -m "not slow"

bench-suite: $(READY) ## time the whole of hypotheses/
	@echo "timing hypotheses/ as a whole"
	@$(BIN)/python -m pytest tests/benchmarks --benchmark-only --benchmark-columns=median,iqr,rounds -m slow

clean: ## remove .venv and everything else that was made here
	@echo "removing .venv, caches and build output"
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "error: PYTHON=$(PYTHON) is missing or older than 3.11; name another, as in: make PYTHON=python3.12" >&2; \
		exit 1; }
	@test -x $(BIN)/python || { echo "making .venv with $(PYTHON)"; $(PYTHON) -m venv .venv; }
	@echo "installing lazarus_probe and what its tests need into .venv (minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@
