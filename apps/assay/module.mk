DEPS := base crypto codec money merkle net store evm sample exact engine convert model job signer chain link match ledger api config gateway node verify
PKGS := libcurl
