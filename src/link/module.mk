DEPS := base crypto codec merkle job signer
PKGS := libprotobuf-c
PROTOS := link
# protobuf-c's INIT macros drop a const, which clang says at every use of them
CFLAGS_EXTRA := -Wno-cast-qual
