DEPS := base crypto sample exact
