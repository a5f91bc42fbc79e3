DEPS := base
PKGS := libuv openssl
LIBS := -lwslay
