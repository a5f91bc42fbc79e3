DEPS := base
# for the vector tests, which read JSON; the library itself needs nothing
PKGS := jansson
# the loops over the vocabulary are written to be vectorised
CFLAGS_EXTRA := -O3
