/* crypto_priv.h: shared inside the folder only. */
#ifndef ASY_CRYPTO_CRYPTO_PRIV_H
#define ASY_CRYPTO_CRYPTO_PRIV_H

#include "crypto/crypto.h"

/* Lets libsodium choose its fastest code for this CPU; cheap after the first call. */
void asy_crypto_sodium(void);

#endif
