# Tests, benches and lint. Included by the Makefile; tests/README.md is the page.
UNIT_BINS := $(foreach t,$(UNIT_TESTS),$(BUILD)/asan/tests/unit/$(t))
VENV      := $(BUILD)/venv
SUITE     := $(BUILD)/jsonschema-suite
PHASES    ?=
SEEDS     ?= 2000
SEED      ?=

.PHONY: test test-deps unit-bins bench bench-pacing bench-bins chaos sim pacesim
test-deps: $(VENV)/.ready $(BUILD)/node/.ready $(SUITE)/.ready ## install what the tests need (Debian packages, a venv, node modules)
	@sh tests/stack/deps.sh test

$(VENV)/.ready: tests/requirements.txt
	@sh tests/stack/deps.sh test
	/usr/bin/python3 -m venv $(VENV)
	$(VENV)/bin/pip install -q -r tests/requirements.txt
	@touch $@

$(BUILD)/node/.ready: tests/e2e/node/package.json
	@sh tests/stack/deps.sh test
	@mkdir -p $(BUILD)/node
	cp tests/e2e/node/package*.json $(BUILD)/node/
	cd $(BUILD)/node && npm ci --silent --no-audit --no-fund
	@touch $@

# The official JSON Schema test suite travels in the source package of PyPI's jsonschema; nothing of it is kept in the repository.
$(SUITE)/.ready: $(VENV)/.ready
	$(VENV)/bin/pip download -q --no-deps --no-binary jsonschema -d $(BUILD)/suite jsonschema==4.25.1
	@mkdir -p $(SUITE)
	tar xzf $(BUILD)/suite/jsonschema-4.25.1.tar.gz -C $(SUITE) --strip-components=2 jsonschema-4.25.1/json/tests/draft2020-12
	@touch $@

unit-bins: $(UNIT_BINS)

test: test-deps ## everything: lint, units, golden, fuzz, simulation, end to end, chaos (PHASES="unit e2e" for some)
	@$(MAKE) --no-print-directory -j2 plain asan unit-bins fuzz $(BUILD)/plain/bin/sim $(BUILD)/plain/bin/pacesim
	@$(VENV)/bin/python -m tests.run $(PHASES)

sim: $(BUILD)/asan/bin/sim ## one seed of the simulation, told in full: SEED=n (SEEDS=n for many)
	@$(BUILD)/asan/bin/sim $(if $(SEED),--seed $(SEED) --trace,--seeds $(SEEDS))

pacesim: $(BUILD)/plain/bin/pacesim ## the simulation of pacing: named plays with their figures; SEED=n: one world, told in full
	@$(BUILD)/plain/bin/pacesim $(if $(SEED),--seed $(SEED) --trace,--named)

chaos: test-deps plain ## the chaos run alone (RUNS=1)
	@$(VENV)/bin/python -m tests.chaos $(if $(RUNS),--runs $(RUNS))

BENCH_BINS := $(patsubst tests/bench/%.c,$(BUILD)/plain/tests/bench/%,$(wildcard tests/bench/*.c))
bench-bins: $(BENCH_BINS)

bench: test-deps plain bench-bins ## the bench table, and build/bench.json (ROWS="ingest idle" for some)
	@ROWS="$(ROWS)" $(VENV)/bin/python -m tests.bench

bench-pacing: test-deps plain bench-bins ## pacing's promises as figures, and build/bench-pacing.json (ROWS=steady MINUTES=2)
	@ROWS="$(ROWS)" $(VENV)/bin/python -m tests.bench.pace

lint: ## layers, style, formatting of JSON, static analysis
	@$(PYTHON) tests/lint/layers.py
	@$(PYTHON) tests/lint/style.py
	@cppcheck --quiet --error-exitcode=1 --enable=warning,portability --inline-suppr --std=c11 -I. \
	  --suppressions-list=tests/lint/cppcheck.txt -j2 common schemas producer consumer gateway
