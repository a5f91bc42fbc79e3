DEPS := base
PKGS := sqlite3
