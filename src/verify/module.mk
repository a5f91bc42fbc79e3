DEPS := base crypto codec money merkle job
