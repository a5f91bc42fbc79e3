/* Bodies of JSON-RPC responses, and what their results are read as. */
#include "evm/evm_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    struct asy_json *doc;
    const struct asy_json *result;
    struct asy_evm_failure failure = {0};
    struct asy_why why;
    if (evm_response_parse(&doc, &result, &failure, asy_bytes_of(p, n), 1, &why) != ASY_OK) {
        ASY_ASSERT(memchr(failure.message, 0, sizeof failure.message) != NULL &&
                   failure.data_len <= sizeof failure.data);
        return 0;
    }
    struct asy_evm_block block;
    struct asy_evm_receipt receipt;
    struct asy_evm_logs logs;
    struct asy_arena arena;
    asy_arena_init(&arena, 1u << 20);
    (void)!evm_block_parse(&block, result, &why);
    (void)!evm_receipt_parse(&receipt, &arena, result, &why);
    if (evm_logs_parse(&logs, &arena, result, &why) == ASY_OK) {
        for (size_t i = 0; i < logs.count; i++) {
            struct asy_evm_event event;
            ASY_ASSERT(logs.items[i].topic_count <= 4);
            (void)!asy_evm_event_decode(&event, &logs.items[i]);
        }
    }
    asy_arena_done(&arena);
    asy_json_free(doc);
    return 0;
}
