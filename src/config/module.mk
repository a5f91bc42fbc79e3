DEPS := base money
PKGS := inih
