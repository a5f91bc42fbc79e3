DEPS := base crypto sample
# for the vector tests, which read JSON; the library itself needs nothing
PKGS := jansson
# The specification as code must not depend on what a compiler makes of it, but its loops may be vectorised.
CFLAGS_EXTRA := -O3
