# The local stack: `make run` and what it needs. Included by the Makefile; tests/stack/README.md is its page.
# Standard output carries the one line `ready: URL`; everything else goes to standard error.
CONFIG  ?=
PORT    ?=
WORKERS ?= 2
STATE   ?= .run
FRESH   ?=
FLAVOUR ?= plain
STACK_BIN ?= # a folder with gateway and consumer, used instead of building them
STACK_PYTHON ?= /usr/bin/python3

.PHONY: deps run run-part
deps: ## install the missing Debian packages (as root; otherwise says which)
	@sh tests/stack/deps.sh

run: deps ## start Kafka, Redis, a provider, gateway and workers: CONFIG= PORT= WORKERS=2 STATE=.run FRESH=1
	@$(if $(STACK_BIN),,$(MAKE) --no-print-directory $(FLAVOUR) >&2)
	@exec $(STACK_PYTHON) -m tests.stack up --state "$(STATE)" --workers "$(WORKERS)" --flavour "$(FLAVOUR)" \
	  $(if $(STACK_BIN),--bin "$(STACK_BIN)") $(if $(CONFIG),--config "$(CONFIG)") $(if $(PORT),--port "$(PORT)") \
	  $(if $(filter-out 0 no,$(FRESH)),--fresh)

run-part: ## start one part of the running stack again, or one more: PART=consumer-2 (STATE=.run)
	@test -n "$(PART)" || { echo "which part? make run-part PART=consumer-2" >&2; exit 2; }
	@exec $(STACK_PYTHON) -m tests.stack part --state "$(STATE)" "$(PART)"
