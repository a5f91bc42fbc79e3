# make            build everything: build/assay
# make check      install what is missing, build, run every test; ends with "N passed, N failed, N skipped"
# make run        start a whole market on this machine and keep it up
# make demo       the same, and exit after the first settlement
# make bench      print the benchmarks
# make model      convert the default model for the exact engine: build/models/
# make fuzz       every fuzz target for FUZZ_SECS seconds (needs clang)
#
# V=1 shows the commands. CC=clang-14 and SAN=address,undefined or SAN=thread build into folders of their own.
CC      := $(if $(filter default,$(origin CC)),gcc,$(CC))
SAN     ?=
BUILD   ?= build
WERROR  ?= -Werror
comma   := ,
V       ?= 0
Q       := $(if $(filter 1,$(V)),,@)
say      = $(if $(filter 1,$(V)),,@printf '  %-5s %s\n' '$(1)' '$(2)')
JOBS    ?= $(shell nproc 2>/dev/null || echo 2)
B       := $(BUILD)/$(CC)$(if $(SAN),-$(subst $(comma),-,$(SAN)))

WARN := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wswitch-enum \
        -Wvla -Wformat=2 -Wcast-qual $(WERROR)
OPT  ?= -O2 -g
HARDEN := $(if $(SAN),,-D_FORTIFY_SOURCE=2 -fstack-protector-strong)
ASYFLAGS = -std=c17 -D_GNU_SOURCE -I. -Isrc -isystem $(B)/gen -fvisibility=hidden -fno-strict-aliasing -fPIE \
           -pthread $(WARN) $(HARDEN) $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer)
LDALL = -pthread -pie -Wl,-z,relro,-z,now $(if $(SAN),-fsanitize=$(SAN))

.DELETE_ON_ERROR:
.SECONDARY:
.SECONDEXPANSION:
.PHONY: all check run demo bench fuzz clean layers lint format setup-run setup-check unit
all:

-include .deps/paths.mk

# One module = one folder = one static library. module.mk names DEPS (modules), PKGS (pkg-config), LIBS
# (linker flags), PROTOS (schema/<name>.proto it owns), SKIP (sources that are not for this machine).
MODULES := $(patsubst src/%/module.mk,%,$(wildcard src/*/module.mk))
APPS    := $(patsubst apps/%/module.mk,%,$(wildcard apps/*/module.mk))
define read
DEPS :=
PKGS :=
LIBS :=
PROTOS :=
SKIP :=
CFLAGS_EXTRA :=
include $(2)/module.mk
$(1)_DEPS := $$(DEPS)
$(1)_PKGS := $$(PKGS)
$(1)_LIBS := $$(LIBS)
$(1)_PROTOS := $$(PROTOS)
$(1)_SKIP := $$(SKIP)
$(1)_CFLAGS := $$(CFLAGS_EXTRA)
endef
$(foreach m,$(MODULES),$(eval $(call read,$(m),src/$(m))))
$(foreach a,$(APPS),$(eval $(call read,app_$(a),apps/$(a))))

uniq    = $(if $(1),$(firstword $(1)) $(call uniq,$(filter-out $(firstword $(1)),$(1))))
closure = $(1) $(foreach d,$($(1)_DEPS),$(call closure,$(d)))
mods    = $(call uniq,$(foreach m,$(1),$(call closure,$(m))))
archives = $(patsubst %,$(B)/lib/%.a,$(filter-out app_%,$(1)))
pkgs    = $(call uniq,$(foreach m,$(1),$($(m)_PKGS)))
pkglibs = $(if $(strip $(call pkgs,$(1))),$$$$(pkg-config --libs $(call pkgs,$(1)))) $(foreach m,$(1),$($(m)_LIBS))
# the libraries of modules $(1): group, so that their order does not matter
link    = -Wl,--start-group $(call archives,$(1)) -Wl,--end-group $(call pkglibs,$(1))

PROTO_H := $(foreach m,$(MODULES),$(patsubst %,$(B)/gen/schema/%.pb-c.h,$($(m)_PROTOS)))
$(B)/gen/schema/%.pb-c.c $(B)/gen/schema/%.pb-c.h: schema/%.proto
	@mkdir -p $(B)/gen
	$(call say,PROTO,$<)
	$(Q)protoc-c --c_out=$(B)/gen $<
$(B)/gen/%.pb-c.o: $(B)/gen/%.pb-c.c
	$(call say,CC,$<)
	$(Q)$(CC) $(filter-out -Werror -Wcast-qual -Wconversion,$(ASYFLAGS)) $(OPT) -c $< -o $@

define module
$(1)_OBJ := $(patsubst %.c,$(B)/%.o,$(filter-out $($(1)_SKIP:%=src/$(1)/%),$(wildcard src/$(1)/*.c))) $(patsubst %,$(B)/gen/schema/%.pb-c.o,$($(1)_PROTOS))
$(B)/lib/$(1).a: $$($(1)_OBJ)
	@mkdir -p $$(@D); rm -f $$@
	$(Q)$(AR) rcs $$@ $$^
endef
$(foreach m,$(MODULES),$(eval $(call module,$(m))))

# an object may include any generated header, so these are made first
$(B)/%.o: %.c | $(PROTO_H)
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(ASYFLAGS) $(OPT) $($(word 2,$(subst /, ,$<))_CFLAGS) -MMD -MP -c $< -o $@

# ---- programs
define app
$(B)/bin/$(1): $(patsubst %.c,$(B)/%.o,$(wildcard apps/$(1)/*.c)) $(call archives,$(call mods,app_$(1)))
	@mkdir -p $$(@D)
	$$(call say,LINK,$$@)
	$(Q)$(CC) $(LDALL) $$(filter %.o,$$^) $(call link,$(call mods,app_$(1))) -o $$@
endef
$(foreach a,$(APPS),$(eval $(call app,$(a))))
APPBIN := $(APPS:%=$(B)/bin/%)
all: $(APPBIN) $(MODULES:%=$(B)/lib/%.a)
	@$(if $(filter assay,$(APPS)),ln -sfn $(patsubst $(BUILD)/%,%,$(B))/bin/assay $(BUILD)/assay)

# ---- models of the exact engine, made once for all compilers: the default one, and for the tests gemma
MODEL_EXACT :=
MODELS_EXACT :=
ifneq ($(and $(MODEL_GGUF),$(LLAMA_LIB),$(filter assay,$(APPS))),)
MODEL_EXACT := $(BUILD)/models/$(basename $(notdir $(MODEL_GGUF))).exact
MODELS_EXACT := $(MODEL_EXACT) $(patsubst %.gguf,$(BUILD)/models/%.exact,$(notdir $(wildcard $(dir $(MODEL_GGUF))gemma-3-270m-q4_k_m.gguf)))
$(BUILD)/models/%.exact: $(dir $(MODEL_GGUF))%.gguf $(wildcard src/convert/*.[ch] src/exact/file.c src/exact/rows.c) | $(B)/bin/assay $(B)/lib/assay-llama.so
	@mkdir -p $(@D)
	$(call say,MODEL,$@)
	$(Q)$(B)/bin/assay models convert $< $@ >$@.log
endif
model: $(MODEL_EXACT)
	@:
.PHONY: model

# ---- unit tests: one program each
TESTS := $(wildcard src/*/test/test_*.c)
define test
$(B)/test/$(notdir $(1:.c=)): $(B)/$(1:.c=.o) $(call archives,$(call mods,$(word 2,$(subst /, ,$(1)))))
	@mkdir -p $$(@D)
	$$(call say,LINK,$$@)
	$(Q)$(CC) $(LDALL) $$(filter %.o,$$^) $(call link,$(call mods,$(word 2,$(subst /, ,$(1))))) -o $$@
endef
$(foreach t,$(TESTS),$(eval $(call test,$(t))))
TESTBIN := $(patsubst %.c,$(B)/test/%,$(notdir $(TESTS)))

# ---- fuzz targets: replayed over their corpus with any compiler, run by clang with `make fuzz`
FUZZ := $(wildcard src/*/fuzz/fuzz_*.c)
define fuzzer
$(B)/test/replay_$(patsubst fuzz_%,%,$(notdir $(1:.c=))): $(B)/$(1:.c=.o) $(B)/tools/fuzz_replay.o $(call archives,$(call mods,$(word 2,$(subst /, ,$(1)))))
	@mkdir -p $$(@D)
	$$(call say,LINK,$$@)
	$(Q)$(CC) $(LDALL) $$(filter %.o,$$^) $(call link,$(call mods,$(word 2,$(subst /, ,$(1))))) -o $$@
$(B)/fuzz/$(notdir $(1:.c=)): $(B)/$(1:.c=.o) $(call archives,$(call mods,$(word 2,$(subst /, ,$(1)))))
	@mkdir -p $$(@D)
	$$(call say,LINK,$$@)
	$(Q)$(CC) $(LDALL) -fsanitize=fuzzer $$(filter %.o,$$^) $(call link,$(call mods,$(word 2,$(subst /, ,$(1))))) -o $$@
endef
$(foreach f,$(FUZZ),$(eval $(call fuzzer,$(f))))
REPLAYBIN := $(foreach f,$(FUZZ),$(B)/test/replay_$(patsubst fuzz_%,%,$(notdir $(f:.c=))))
FUZZBIN   := $(foreach f,$(FUZZ),$(B)/fuzz/$(notdir $(f:.c=)))

unit: $(TESTBIN) $(REPLAYBIN)
	@tools/run-tests --build $(B) $(TESTBIN) $(REPLAYBIN)

check:
	@tools/setup check
	@$(MAKE) --no-print-directory -j$(JOBS) check-built
	@$(MAKE) --no-print-directory check-installed
.PHONY: check-built check-installed
check-built: all $(TESTBIN) $(REPLAYBIN) $(MODELS_EXACT)
check-installed: all $(TESTBIN) $(REPLAYBIN)
	@tools/run-tests --build $(B) tools/layers tools/lint $(TESTBIN) $(REPLAYBIN) \
	    $(if $(SAN),,contracts/tools/test.sh) $(sort $(wildcard tests/test_*))

run: setup-run
	@$(MAKE) --no-print-directory -j$(JOBS) all model
	@exec $(BUILD)/assay up
demo: setup-run
	@$(MAKE) --no-print-directory -j$(JOBS) all model
	@exec $(BUILD)/assay up --demo
setup-run: ; @tools/setup run
setup-check: ; @tools/setup check
bench: setup-check
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@bench/run

layers: ; @tools/layers
lint: ; @tools/lint
format: ; @clang-format-14 -i $(shell git ls-files '*.c' '*.h')

FUZZ_SECS ?= 10
fuzz:
	@$(MAKE) --no-print-directory CC=clang-14 SAN=fuzzer-no-link,address,undefined fuzz-run
.PHONY: fuzz-run
fuzz-run: $(FUZZBIN)
	@for f in $(FUZZ); do n=$$(basename $$f .c); d=$$(dirname $$f)/corpus/$${n#fuzz_}; mkdir -p $(B)/corpus/$$n; \
	  echo "fuzz $$n"; $(B)/fuzz/$$n -max_total_time=$(FUZZ_SECS) -print_final_stats=0 $(B)/corpus/$$n $$d 2>&1 | tail -2; done

clean: ; rm -rf $(BUILD)

-include $(shell find $(B) -name '*.d' 2>/dev/null)
