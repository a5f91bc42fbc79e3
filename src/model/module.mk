DEPS := base crypto codec engine
PKGS := libcurl
