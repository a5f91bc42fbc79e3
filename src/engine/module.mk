DEPS := base crypto codec net sample exact
PKGS := libprotobuf-c
LIBS := -ldl
PROTOS := engine

# The plugin with llama.cpp in it, which only worker processes load. LLAMA_LIB, LLAMA_INC and LLAMA_COMMON_INC come from
# .deps/paths.mk, or from the command line for an own build of llama.cpp. No sanitizers: the library has none.
ifeq ($(LLAMA_LIB),)
$(info engine: no libllama here: the llama engine is left out, its tests skip)
else
engine_llama_libs := $(wildcard $(LLAMA_LIB)/libllama.*so $(LLAMA_LIB)/libllama-common.so \
                                $(LLAMA_LIB)/libggml.*so $(LLAMA_LIB)/libggml-base.so)
engine_llama_obj  := $(patsubst %,$(B)/src/engine/llama/%.o,llama backend library prompt render)

CFLAGS_EXTRA := -isystem $(LLAMA_INC)
$(filter-out %/render.o,$(engine_llama_obj)): $(B)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(filter-out -fPIE -fsanitize% -fno-sanitize%,$(ASYFLAGS)) -fPIC -isystem $(LLAMA_INC) $(OPT) -MMD -MP -c $< -o $@
$(B)/src/engine/llama/render.o: src/engine/llama/render.cc
	@mkdir -p $(@D)
	$(call say,CXX,$<)
	$(Q)$(CXX) -std=c++17 -Isrc -isystem $(LLAMA_COMMON_INC) -isystem $(LLAMA_INC) -fvisibility=hidden -fPIC -Wall -Wextra \
	    $(WERROR) $(OPT) -MMD -MP -c $< -o $@
$(B)/lib/assay-llama.so: $(engine_llama_obj)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CXX) -shared $^ $(engine_llama_libs) -Wl,-z,defs -Wl,-z,relro,-z,now \
	    -Wl,-rpath,'$$ORIGIN/$(shell realpath -m --relative-to=$(B)/lib $(LLAMA_LIB))' -o $@
all: $(B)/lib/assay-llama.so
$(B)/test/test_engine_llama: | $(B)/lib/assay-llama.so
endif
