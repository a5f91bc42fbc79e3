DEPS := base crypto evm net job signer
