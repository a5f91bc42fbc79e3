/* feed.h: what both targets share. An input is a byte (odd: begin live, even: in the handshake) and
 * then records: 0..5   u16 length, frame   the peer sends this 6      number              time
 * passes, then a tick 7      number              the program does one of its things The two ends'
 * keys, time and randomness are always the same, so that a signed frame of the corpus stays valid.
 */
#ifndef ASY_LINK_FUZZ_FEED_H
#define ASY_LINK_FUZZ_FEED_H

#include "link/test/rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct feed {
    const uint8_t *p;
    size_t n;
};
static uint8_t feed_u8(struct feed *f) {
    if (f->n == 0) {
        return 0;
    }
    f->n--;
    return *f->p++;
}
static struct asy_bytes feed_frame(struct feed *f) {
    size_t want = feed_u8(f);
    want |= (size_t)feed_u8(f) << 8;
    want = want < f->n ? want : f->n;
    struct asy_bytes frame = {f->p, want};
    f->p += want;
    f->n -= want;
    return frame;
}

/* Reads all of what a handler was given, so that a sanitizer sees views that end too late. */
static uint64_t feed_sink;
static void feed_look(const void *p, size_t len) {
    for (size_t i = 0; i < len; i++) {
        feed_sink += ((const uint8_t *)p)[i];
    }
}

static void feed_begin(void) {
    static bool begun;
    if (!begun) {
        begun = true;
        rig_hello_default();
        rig_begin();
        (void)atexit(rig_end);
    }
    asy_test_env_init(&rig_env);
    asy_test_state = asy_test_seed_value = 1;
}

#endif
