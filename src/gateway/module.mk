DEPS := base crypto codec money merkle net store evm sample job signer chain link match ledger api config
