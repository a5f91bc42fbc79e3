/* Logs of the declared events with any topics and data: event, topic count, topics, data. After a
 * first byte 0xff: revert data. */
#include "evm/evm.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    if (n < 2) {
        return 0;
    }
    if (p[0] == 0xff) {
        char text[64];
        asy_evm_revert_text(text, sizeof text, asy_bytes_of(p + 1, n - 1));
        ASY_ASSERT(memchr(text, 0, sizeof text) != NULL);
        return 0;
    }
    struct asy_evm_log log = {.topic_count = p[1] % 5};
    size_t pos = 2;
    asy_evm_event_topic(&log.topics[0], (enum asy_evm_event_type)(p[0] % ASY_EVM_EVENT_COUNT));
    for (size_t i = 1; i < log.topic_count && n - pos >= 32; i++, pos += 32) {
        memcpy(log.topics[i].b, p + pos, 32);
    }
    log.data = asy_bytes_of(p + pos, n - pos);
    struct asy_evm_event event;
    if (asy_evm_event_decode(&event, &log) == ASY_OK) {
        ASY_ASSERT(event.type == (enum asy_evm_event_type)(p[0] % ASY_EVM_EVENT_COUNT));
        ASY_ASSERT(event.text.n <= log.data.n && event.text2.n <= log.data.n);
    }
    return 0;
}
