DEPS := base crypto codec money
