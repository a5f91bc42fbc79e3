DEPS := base crypto codec job
