/* Stored transactions: what decodes encodes to the same bytes. */
#include "evm/evm.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    struct asy_evm_tx tx;
    struct asy_sig sig;
    if (asy_evm_tx_decode(&tx, &sig, asy_bytes_of(p, n)) == ASY_OK) {
        struct asy_buf again;
        asy_buf_init(&again, n);
        enum asy_err err = asy_evm_tx_encode(&again, &tx, &sig);
        ASY_ASSERT(err == ASY_OK && asy_bytes_eq(asy_buf_bytes(&again), asy_bytes_of(p, n)));
        asy_buf_done(&again);
    }
    return 0;
}
