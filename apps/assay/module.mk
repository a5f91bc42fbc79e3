DEPS := base crypto codec money merkle net store evm sample exact audit engine convert model job signer chain link match ledger api config gateway node verify
PKGS := libcurl
