DEPS := base crypto codec money
PKGS := libcurl
# artifacts.c takes the compiled contracts in by .incbin, which the compiler's dependency files do not tell
$(B)/src/evm/artifacts.o: $(wildcard contracts/artifacts/*.json)
