DEPS := base crypto codec money merkle store job
