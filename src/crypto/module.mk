DEPS := base
PKGS := libsodium libsecp256k1 libcrypto
