DEPS := base crypto sample exact engine job
