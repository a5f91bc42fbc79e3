DEPS := base crypto codec money merkle sample job api
