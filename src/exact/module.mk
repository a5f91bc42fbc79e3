DEPS := base crypto sample
# for the vector tests, which read JSON; the library itself needs nothing
PKGS := jansson
# The specification as code must not depend on what a compiler makes of it, but its loops may be vectorised.
# EXACT_OPT=-O0 shows it (bench/equality).
EXACT_OPT ?= -O3
CFLAGS_EXTRA := $(EXACT_OPT)

# Kernels: those of this machine's family are built, each with its own instructions; kernels.c asks the processor.
exact_arch := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine)))
ifeq ($(exact_arch),x86_64)
SKIP := ops_neon.c
$(B)/src/exact/ops_avx2.o: exact_CFLAGS += -mavx2
$(B)/src/exact/ops_avx512.o: exact_CFLAGS += -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512cd -mavx512vnni \
                                             -mprefer-vector-width=512
else ifneq ($(filter aarch64 arm64,$(exact_arch)),)
SKIP := ops_avx2.c ops_avx512.c
# scheduled before registers are given out, gcc 12 keeps a fifth of the sums in memory
$(B)/src/exact/ops_neon.o: exact_CFLAGS += -march=armv8.2-a+dotprod \
                                           $(if $(findstring clang,$(CC)),,-fno-schedule-insns)
else
SKIP := ops_avx2.c ops_avx512.c ops_neon.c
endif
