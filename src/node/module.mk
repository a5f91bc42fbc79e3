DEPS := base crypto codec money net store evm sample engine job signer chain link api config
