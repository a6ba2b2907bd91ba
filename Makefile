# `make demo` and `make test` are all a newcomer needs; each sets up .venv by itself.

PYTHON ?= python3
# For `make bench`: where docs-train.txt.xz and docs-val.txt.xz lie, the traces, and the scores.
DATA   ?= ../shared/data/corpus
TRACES ?= ../shared/data/traces
SCORES ?= ../shared/data/evaluate
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/ready
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# Every package, for the API reference.
PAGES  := $(sort $(subst /,.,$(patsubst src/%/__init__.py,%,$(wildcard src/triskele/__init__.py src/triskele/*/__init__.py src/triskele/*/*/__init__.py))))

.PHONY: demo test check slow lint format docs serving-table bench bench-full clean

demo: $(READY)
	$(BIN)/triskele demo --out demo

test: check

check: lint
	$(BIN)/pytest

# What takes minutes: the demo end to end, the loop's rate of false publications.
slow: $(READY)
	$(BIN)/pytest -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The API reference, from docstrings, into build/docs.
docs: $(READY)
	$(BIN)/python -m pdoc --docformat numpy --no-show-source --template-directory docs/reference \
	  --output-directory build/docs $(foreach page,$(PAGES),$(page) '!$(page)[.]')

# The table of the KVRouting paper, simulated again with its constants.
serving-table: $(READY)
	$(BIN)/python -m benchmarks.claims.serving_table --published

bench: $(READY)
	$(BIN)/pytest benchmarks/micro --benchmark-only
	$(BIN)/python -m benchmarks.claims.spectral_accuracy
	$(BIN)/python -m benchmarks.claims.optimizer_step
	$(BIN)/python -m benchmarks.claims.steps_to_target --data $(DATA)
	$(BIN)/python -m benchmarks.claims.eviction --data $(TRACES)
	$(BIN)/python -m benchmarks.claims.decision_cost
	$(BIN)/python -m benchmarks.claims.serving_table --data $(TRACES)
	$(BIN)/python -m benchmarks.claims.ablation --data $(TRACES)
	$(BIN)/python -m benchmarks.claims.simulator_scale
	$(BIN)/python -m benchmarks.claims.ranking_gain --data $(SCORES)
	$(BIN)/python -m benchmarks.claims.fit_speed --data $(SCORES)
	$(BIN)/python -m benchmarks.claims.recovery
	$(BIN)/python -m benchmarks.claims.alignment --data $(SCORES)
	$(BIN)/python -m benchmarks.claims.http_stacks
	$(BIN)/python -m benchmarks.claims.gateway_overhead
	$(BIN)/python -m benchmarks.claims.real_latency
	$(BIN)/python -m benchmarks.claims.chaos
	$(BIN)/python -m benchmarks.claims.bad_input
	$(BIN)/python -m benchmarks.claims.quality_cost --data $(SCORES)
	$(BIN)/python -m benchmarks.claims.joint --data $(SCORES)
	$(BIN)/python -m benchmarks.claims.closed_loop --data $(SCORES)

# The forms that are recorded; each takes minutes, all of them hours.
bench-full: $(READY)
	$(BIN)/python -m benchmarks.claims.spectral_accuracy --full
	$(BIN)/python -m benchmarks.claims.optimizer_step --full
	$(BIN)/python -m benchmarks.claims.steps_to_target --data $(DATA) --full
	$(BIN)/python -m benchmarks.claims.eviction --data $(TRACES) --full
	$(BIN)/python -m benchmarks.claims.decision_cost --full
	$(BIN)/python -m benchmarks.claims.serving_table --data $(TRACES) --full
	$(BIN)/python -m benchmarks.claims.ablation --data $(TRACES) --full
	$(BIN)/python -m benchmarks.claims.simulator_scale --full
	$(BIN)/python -m benchmarks.claims.ranking_gain --data $(SCORES) --full
	$(BIN)/python -m benchmarks.claims.fit_speed --data $(SCORES) --full
	$(BIN)/python -m benchmarks.claims.recovery --full
	$(BIN)/python -m benchmarks.claims.alignment --data $(SCORES) --full
	$(BIN)/python -m benchmarks.claims.http_stacks --full
	$(BIN)/python -m benchmarks.claims.gateway_overhead --full
	$(BIN)/python -m benchmarks.claims.real_latency --full
	$(BIN)/python -m benchmarks.claims.chaos --full
	$(BIN)/python -m benchmarks.claims.bad_input --full
	$(BIN)/python -m benchmarks.claims.quality_cost --data $(SCORES) --full
	$(BIN)/python -m benchmarks.claims.joint --data $(SCORES) --full
	$(BIN)/python -m benchmarks.claims.closed_loop --data $(SCORES) --full
	$(BIN)/python -m benchmarks.table --write

clean:
	rm -rf $(VENV) demo

# torch goes first and alone: the pinned version resolves to the CPU build where one is offered.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("triskele needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(PIP) torch
	$(PIP) --editable ".[collect,embed,engine]" --group dev
	touch $@
