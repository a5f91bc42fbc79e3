DEPS := base crypto codec money sample
