# Sluice: one file builds everything. `make help` lists what there is to do.
#
# Every flavour (plain, asan, fuzz) has its own tree under build/, so they never disturb one another. Each room is one
# static library: a symbol that crosses a border the wrong way is a link error, and tests/lint/layers.py says which line.

CC        ?= gcc
CLANG     ?= clang
PYTHON    ?= python3
BUILD     := build
Q         := $(if $(V),,@)
PKGS           := libuv rdkafka hiredis libcurl libmicrohttpd jansson yaml-0.1 libcrypto

WARN := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wwrite-strings \
        -Wcast-qual -Wvla -Wundef -Wformat=2 -Wswitch-enum -Wconversion -Wno-sign-conversion -Wnull-dereference
GCCWARN := -Wduplicated-cond -Wlogical-op
CPPFLAGS += -D_POSIX_C_SOURCE=200809L -D_DEFAULT_SOURCE -I. -MMD -MP
BASEFLAGS := -std=c17 -g $(WARN) -fno-omit-frame-pointer -fno-common

FLAGS_plain := $(GCCWARN) -O2 -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
FLAGS_asan  := $(GCCWARN) -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -Wno-null-dereference
FLAGS_fuzz  := -O1 -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all -Wno-null-dereference -Wno-string-conversion
LINK_plain  := -pie -Wl,-z,relro,-z,now
LINK_asan   := -fsanitize=address,undefined
LINK_fuzz   := -fsanitize=address,undefined,fuzzer
CC_plain := $(CC)
CC_asan  := $(CC)
CC_fuzz  := $(CLANG)

LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -ljq -lm -lpthread
INCS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)

ROOMS := base io schemas producer consumer gateway
DIR_base := common/base
DIR_io := common/io
DIR_schemas := schemas
DIR_producer := producer
DIR_consumer := consumer
DIR_gateway := gateway
srcs = $(sort $(filter-out %/main.c,$(wildcard $(1)/*.c $(1)/*/*.c $(1)/*/*/*.c)))

UNIT_TESTS := $(basename $(notdir $(wildcard tests/unit/test_*.c)))
SIM_SRC    := $(filter-out tests/sim/pace_%.c,$(wildcard tests/sim/*.c))
PACESIM_SRC := $(wildcard tests/sim/pace_*.c) tests/sim/world.c tests/sim/sim_options.c $(wildcard tests/sim/model_redis*.c)
FUZZERS    := $(basename $(notdir $(wildcard tests/fuzz/fuzz_*.c)))
LUA_CFLAGS = $(shell pkg-config --cflags lua5.1 2>/dev/null)
LUA_LIBS   = $(shell pkg-config --libs lua5.1 2>/dev/null)

.DEFAULT_GOAL := plain
.PHONY: plain asan fuzz clean help lint format
.SECONDARY:

# --- embedded files: schemas/redis/*.lua and schemas/openapi.json become byte arrays; a folder in schemas/redis is one file,
# of its parts in the order of their names (schemas/redis/x/*.lua is found as schemas/redis/x.lua) ------------------------------
EMBED := $(BUILD)/gen/embed.c
EMBED_SRC := $(sort $(wildcard schemas/redis/*.lua schemas/openapi.json) $(patsubst %/,%,$(wildcard schemas/redis/*/)))
$(EMBED): $(EMBED_SRC) $(wildcard schemas/redis/*/*.lua) schemas/embed.sh
	@mkdir -p $(@D)
	@sh schemas/embed.sh $(EMBED_SRC) > $@.tmp && mv $@.tmp $@

# --- one flavour -------------------------------------------------------------------------------------------------
define flavour
$(BUILD)/$(1)/%.o: %.c
	@mkdir -p $$(@D)
	@printf '  %-4s %s\n' CC $$@
	$$(Q)$$(CC_$(1)) $$(CPPFLAGS) $$(INCS) $$(BASEFLAGS) $$(FLAGS_$(1)) $$(CFLAGS) -c $$< -o $$@
$(BUILD)/$(1)/embed.o: $(EMBED)
	@mkdir -p $$(@D)
	@printf '  %-4s %s\n' CC $$@
	$$(Q)$$(CC_$(1)) -I. $$(BASEFLAGS) $$(FLAGS_$(1)) -c $$< -o $$@
$(foreach r,$(ROOMS),$(eval OBJ_$(1)_$(r) := $$(patsubst %.c,$(BUILD)/$(1)/%.o,$$(call srcs,$$(DIR_$(r))))))
$(foreach r,$(filter-out schemas,$(ROOMS)),$(BUILD)/$(1)/lib$(r).a: $$(OBJ_$(1)_$(r))
	@rm -f $$@
	$$(Q)ar rcs $$@ $$^
)
$(BUILD)/$(1)/libschemas.a: $$(OBJ_$(1)_schemas) $(BUILD)/$(1)/embed.o
	@rm -f $$@
	$$(Q)ar rcs $$@ $$^
$(BUILD)/$(1)/bin/gateway: $(BUILD)/$(1)/gateway/main.o $(foreach r,gateway producer schemas io base,$(BUILD)/$(1)/lib$(r).a)
$(BUILD)/$(1)/bin/consumer: $(BUILD)/$(1)/consumer/main.o $(foreach r,consumer producer schemas io base,$(BUILD)/$(1)/lib$(r).a)
$(BUILD)/$(1)/bin/sluice: $(BUILD)/$(1)/producer/main.o $(foreach r,producer schemas io base,$(BUILD)/$(1)/lib$(r).a)
$(BUILD)/$(1)/bin/%:
	@mkdir -p $$(@D)
	@printf '  %-4s %s\n' LINK $$@
	$$(Q)$$(CC_$(1)) $$(LINK_$(1)) -o $$@ $$^ $$(LDFLAGS) $$(LIBS)
$(BUILD)/$(1)/tests/unit/%: $(BUILD)/$(1)/tests/unit/%.o $(foreach r,gateway consumer producer schemas io base,$(BUILD)/$(1)/lib$(r).a)
	@printf '  %-4s %s\n' LINK $$@
	$$(Q)$$(CC_$(1)) $$(LINK_$(1)) -o $$@ $$^ $$(LDFLAGS) -lcmocka $$(LIBS)
$(BUILD)/$(1)/tests/sim/%.o: tests/sim/%.c
	@mkdir -p $$(@D)
	@printf '  %-4s %s\n' CC $$@
	$$(Q)$$(CC_$(1)) $$(CPPFLAGS) $$(INCS) $$(LUA_CFLAGS) $$(BASEFLAGS) $$(FLAGS_$(1)) $$(CFLAGS) -c $$< -o $$@
$(BUILD)/$(1)/bin/pacesim: $$(patsubst %.c,$(BUILD)/$(1)/%.o,$(PACESIM_SRC)) $(foreach r,consumer producer schemas io base,$(BUILD)/$(1)/lib$(r).a)
	@mkdir -p $$(@D)
	@printf '  %-4s %s\n' LINK $$@
	$$(Q)$$(CC_$(1)) $$(LINK_$(1)) -o $$@ $$^ $$(LDFLAGS) $$(LUA_LIBS) $$(LIBS)
$(BUILD)/$(1)/bin/sim: $$(patsubst %.c,$(BUILD)/$(1)/%.o,$(SIM_SRC)) $(foreach r,gateway consumer producer schemas io base,$(BUILD)/$(1)/lib$(r).a)
	@mkdir -p $$(@D)
	@printf '  %-4s %s\n' LINK $$@
	$$(Q)$$(CC_$(1)) $$(LINK_$(1)) -o $$@ $$^ $$(LDFLAGS) $$(LUA_LIBS) $$(LIBS)
$(BUILD)/$(1)/tests/bench/%: $(BUILD)/$(1)/tests/bench/%.o $(foreach r,gateway consumer producer schemas io base,$(BUILD)/$(1)/lib$(r).a)
	@printf '  %-4s %s\n' LINK $$@
	$$(Q)$$(CC_$(1)) $$(LINK_$(1)) -o $$@ $$^ $$(LDFLAGS) $$(LIBS)
$(BUILD)/$(1)/tests/fuzz/%: $(BUILD)/$(1)/tests/fuzz/%.o $(foreach r,gateway consumer producer schemas io base,$(BUILD)/$(1)/lib$(r).a)
	@printf '  %-4s %s\n' LINK $$@
	$$(Q)$$(CC_$(1)) $$(LINK_$(1)) -o $$@ $$^ $$(LDFLAGS) $$(LIBS)
-include $$(wildcard $(BUILD)/$(1)/*/*.d $(BUILD)/$(1)/*/*/*.d $(BUILD)/$(1)/*/*/*/*.d)
endef
$(foreach f,plain asan fuzz,$(eval $(call flavour,$(f))))

BINS := gateway consumer sluice
plain: $(foreach b,$(BINS),$(BUILD)/plain/bin/$(b)) ## build the three programs (the default)
asan: $(foreach b,$(BINS),$(BUILD)/asan/bin/$(b)) ## the same under AddressSanitizer and UBSan
fuzz: $(foreach f,$(FUZZERS),$(BUILD)/fuzz/tests/fuzz/$(f)) ## build the fuzz targets (clang, libFuzzer)

-include tests/stack/stack.mk
-include tests/tests.mk

format: ## rewrite the sources in the house format
	clang-format -i $$(git ls-files '*.c' '*.h')

clean: ## remove what was built (not the state of `make run`)
	rm -rf $(BUILD)/plain $(BUILD)/asan $(BUILD)/fuzz $(BUILD)/gen

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | awk -F'\t' '{printf "  %-14s %s\n", $$1, $$2}'
