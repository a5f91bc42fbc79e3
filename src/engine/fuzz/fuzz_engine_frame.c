/* Anything at all as the output of a worker: frames, messages, and the state machine behind
 * them. */
#include "engine/engine.h"

static void on_up(void *arg, const struct asy_engine_model *model) {
    (void)model;
    struct asy_engine *e = *(struct asy_engine **)arg;
    for (uint64_t key = 1; key <= 2; key++) {
        struct asy_engine_job job = {.key = key,
                                     .messages = ASY_STR("[]"),
                                     .sampling = ASY_SAMPLE_SETTINGS_DEFAULT,
                                     .max_tokens = 8,
                                     .credit = 4};
        if (asy_engine_submit(e, &job, NULL) == ASY_OK && key == 2) {
            asy_engine_cancel(e, key);
        }
    }
}

static void on_tokens(void *arg, uint64_t key, const struct asy_engine_tokens *tokens) {
    ASY_ASSERT(key == 1 && tokens->count > 0 && tokens->count <= 8 && asy_utf8_valid(tokens->text));
    asy_engine_credit(*(struct asy_engine **)arg, key, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    static const struct asy_engine_events events = {.on_up = on_up, .on_tokens = on_tokens};
    static const struct asy_engine_worker_config config = {
        .program = "p", .model_path = "m", .slots = 3, .context = 64, .batch = 64};
    struct asy_engine *e;
    if (asy_engine_worker_new(&e, &config, &events, &e, NULL) != ASY_OK) {
        return 0;
    }
    asy_engine_attach(e, 1);
    asy_engine_input(e, 2, asy_bytes_of(data, len / 2));
    asy_engine_input(e, 3, asy_bytes_of(data + len / 2, len - len / 2));
    asy_engine_poll(e, 4);
    asy_engine_detach(e, 5, "end");
    ASY_ASSERT(asy_engine_used(e) == 0);
    asy_engine_free(e);
    return 0;
}
