DEPS := base crypto money
