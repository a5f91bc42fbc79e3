DEPS := base crypto sample exact engine job
ifneq ($(LLAMA_LIB),)
$(B)/test/test_audit_detection: | $(B)/lib/assay-llama.so
endif
