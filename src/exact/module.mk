DEPS := base crypto sample
# The specification as code must not depend on what a compiler makes of it, but its loops may be vectorised.
CFLAGS_EXTRA := -O3
