DEPS := base crypto exact engine
LIBS := -lm
# The same file on every machine: products and sums are rounded one by one, as IEEE 754 says.
CFLAGS_EXTRA := -O3 -ffp-contract=off
ifneq ($(LLAMA_LIB),)
$(B)/test/test_convert_models: | $(B)/lib/assay-llama.so
endif
