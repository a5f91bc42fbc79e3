DEPS := base crypto
PKGS := jansson
