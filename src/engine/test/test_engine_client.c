/* The parent's side of a worker: its states, what it believes of a worker and what not, restarts.
 * No process, no clock. */
#include "engine/frame_priv.h"
#include "engine/test/recorder.h"

#define MS 1000000u

static struct recorder r;
static struct asy_engine *e;
static uint64_t now_ns;
static struct asy_buf frames; /* what the worker says next */

static void say(Assay__Engine__FromWorker *message) {
    CHECK_OK(asy_engine_frame_add(&frames, &message->base));
}

static void say_ready(uint32_t slots) {
    Assay__Engine__Ready ready;
    assay__engine__ready__init(&ready);
    ready.vocab_count = 1000;
    ready.context = 512;
    ready.context_train = 2048;
    ready.slots = slots;
    ready.backend = "CPU test";
    Assay__Engine__FromWorker message;
    assay__engine__from_worker__init(&message);
    message.body_case = ASSAY__ENGINE__FROM_WORKER__BODY_READY;
    message.ready = &ready;
    say(&message);
}

static void say_prompt(uint64_t key) {
    uint32_t ids[] = {5, 6, 7};
    Assay__Engine__Prompt prompt;
    assay__engine__prompt__init(&prompt);
    prompt.key = key;
    prompt.ids = ids;
    prompt.n_ids = 3;
    Assay__Engine__FromWorker message;
    assay__engine__from_worker__init(&message);
    message.body_case = ASSAY__ENGINE__FROM_WORKER__BODY_PROMPT;
    message.prompt = &prompt;
    say(&message);
}

static void say_tokens(uint64_t key, uint32_t first, size_t count, uint32_t id, const char *text) {
    uint32_t ids[64];
    for (size_t i = 0; i < count; i++) {
        ids[i] = id;
    }
    Assay__Engine__Tokens tokens;
    assay__engine__tokens__init(&tokens);
    tokens.key = key;
    tokens.first = first;
    tokens.ids = ids;
    tokens.n_ids = count;
    tokens.text = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)text, .len = strlen(text)};
    Assay__Engine__FromWorker message;
    assay__engine__from_worker__init(&message);
    message.body_case = ASSAY__ENGINE__FROM_WORKER__BODY_TOKENS;
    message.tokens = &tokens;
    say(&message);
}

static void say_done(uint64_t key, uint32_t finish, int32_t err) {
    Assay__Engine__Done done;
    assay__engine__done__init(&done);
    done.key = key;
    done.finish = finish;
    done.err = err;
    done.why = err != 0 ? "because" : "";
    Assay__Engine__FromWorker message;
    assay__engine__from_worker__init(&message);
    message.body_case = ASSAY__ENGINE__FROM_WORKER__BODY_DONE;
    message.done = &done;
    say(&message);
}

static void say_fatal(void) {
    Assay__Engine__Fatal fatal;
    assay__engine__fatal__init(&fatal);
    fatal.why = "no such model";
    Assay__Engine__FromWorker message;
    assay__engine__from_worker__init(&message);
    message.body_case = ASSAY__ENGINE__FROM_WORKER__BODY_FATAL;
    message.fatal = &fatal;
    say(&message);
}

/* Hands over what was said, in pieces of random size. */
static void hear(void) {
    size_t at = 0;
    while (at < frames.n) {
        size_t len = 1 + asy_test_random() % 40;
        len = len < frames.n - at ? len : frames.n - at;
        asy_engine_input(e, now_ns, asy_bytes_of(frames.p + at, len));
        at += len;
    }
    asy_buf_clear(&frames);
}

static bool broken(void) { return asy_engine_wish(e, now_ns) == ASY_ENGINE_WISH_KILL; }

/* The next message for the worker, or NULL. */
static Assay__Engine__ToWorker *take(void) {
    struct asy_bytes content;
    size_t len;
    if (asy_engine_frame_next(&content, &len, asy_engine_output(e)) != ASY_OK) {
        return NULL;
    }
    Assay__Engine__ToWorker *message = assay__engine__to_worker__unpack(NULL, content.n, content.p);
    CHECK(message != NULL);
    asy_engine_output_taken(e, len);
    return message;
}

static void drop(Assay__Engine__ToWorker *message) {
    assay__engine__to_worker__free_unpacked(message, NULL);
}

static void start(void) {
    struct asy_engine_worker_config config = {.program = "bin/assay",
                                              .model_path = "m.gguf",
                                              .slots = 3,
                                              .context = 512,
                                              .batch = 64,
                                              .threads = 1,
                                              .start_ms = 5000};
    now_ns = 1000 * (uint64_t)MS;
    asy_buf_init(&frames, ASY_ENGINE_QUEUE);
    CHECK_OK(asy_engine_worker_new(&e, &config, &recorder_events, &r, NULL));
}

static void up(void) {
    CHECK(asy_engine_wish(e, now_ns) == ASY_ENGINE_WISH_SPAWN);
    asy_engine_attach(e, now_ns);
    say_ready(3);
    hear();
    asy_engine_poll(e, now_ns);
    CHECK(!broken());
}

static void finish(void) {
    asy_engine_free(e);
    asy_buf_done(&frames);
    recorder_done(&r);
}

static void submit(uint64_t key) {
    struct asy_engine_job job = plain_job(key, "[]");
    job.credit = 4;
    job.max_tokens = 10;
    CHECK_OK(asy_engine_submit(e, &job, NULL));
    asy_engine_poll(e, now_ns);
}

/* ---- the order of a life ---- */

static void test_arguments(void) {
    start();
    static const char *const want[] = {"bin/assay", "engine-worker",
                                       "--plugin",  "bin/../lib/assay-llama.so",
                                       "--model",   "m.gguf",
                                       "--slots",   "3",
                                       "--context", "512",
                                       "--batch",   "64",
                                       "--threads", "1",
                                       NULL};
    const char *const *argv = asy_engine_worker_argv(e);
    for (size_t i = 0; i < ASY_COUNT(want); i++) {
        CHECK(want[i] == NULL ? argv[i] == NULL : argv[i] != NULL && strcmp(argv[i], want[i]) == 0);
    }
    struct asy_engine_worker_config bad[] = {
        {.program = "a", .model_path = "m", .slots = 0, .context = 512, .batch = 64},
        {.program = "a",
         .model_path = "m",
         .slots = ASY_MAX_SLOTS + 1,
         .context = 512,
         .batch = 512},
        {.program = "a", .model_path = "m", .slots = 4, .context = 63, .batch = 64},
        {.program = "a", .model_path = "m", .slots = 4, .context = 512, .batch = 3},
        {.program = "a", .slots = 4, .context = 512, .batch = 64},
    };
    struct asy_engine *other;
    for (size_t i = 0; i < ASY_COUNT(bad); i++) {
        struct asy_why why;
        CHECK(asy_engine_worker_new(&other, &bad[i], &recorder_events, &r, &why) != ASY_OK);
        CHECK(why.param[0] != '\0');
    }
    finish();
}

static void test_jobs(void) {
    start();
    struct asy_engine_job job = plain_job(1, "[]");
    CHECK_ERR(asy_engine_submit(e, &job, NULL), ASY_ERR_AGAIN);
    up();
    CHECK_U64(r.ups, 1);
    CHECK_U64(r.model.vocab_count, 1000);
    CHECK_STR(r.model.backend, "CPU test");
    CHECK_U64(asy_engine_free_slots(e), 3);
    CHECK_U64(asy_engine_next_ns(e), UINT64_MAX);

    uint32_t prior[] = {8, 9};
    struct asy_bytes stops[] = {ASY_STR("one"), ASY_STR("two")};
    job = plain_job(1, "[{}]");
    job.prior_ids = prior;
    job.prior_count = 2;
    job.stops = stops;
    job.stop_count = 2;
    job.max_tokens = 10;
    job.credit = 4;
    job.seed[31] = 77;
    job.sampling = (struct asy_sample_settings){
        .temperature_milli = 700,
        .top_k = 40,
        .top_p_ppm = 900000,
        .min_p_ppm = 50000,
        .presence_penalty_milli = -1,
        .frequency_penalty_milli = 2000,
        .repeat_penalty_milli = 1100,
        .logit_bias = {{1}},
    };
    struct asy_sample_bias bias[] = {{0, -100000}, {999, 5}, {1000, 5}};
    struct asy_why why = {{0}, {0}};
    CHECK_ERR(asy_engine_submit(e, &job, &why), ASY_ERR_MISMATCH);
    CHECK_STR(why.param, "logit_bias");
    job.bias = bias;
    job.bias_count = 3; /* there are 1000 ids */
    CHECK_ERR(asy_engine_submit(e, &job, &why), ASY_ERR_RANGE);
    CHECK_STR(why.param, "logit_bias");
    CHECK_STR(why.text, "'logit_bias' names token 1000; this model has tokens 0 to 999");
    job.bias_count = 2;
    CHECK_OK(asy_engine_submit(e, &job, NULL));
    CHECK_ERR(asy_engine_submit(e, &job, NULL), ASY_ERR_DUPLICATE);
    Assay__Engine__ToWorker *message = take();
    CHECK(message != NULL && message->body_case == ASSAY__ENGINE__TO_WORKER__BODY_SUBMIT);
    const Assay__Engine__Submit *s = message->submit;
    CHECK(s->key == 1 && s->messages.len == 4 && s->n_prompt == 0 && s->n_prior == 2 &&
          s->prior[1] == 9);
    uint8_t settings[ASY_SAMPLE_SETTINGS_LEN], pairs[2 * ASY_SAMPLE_BIAS_LEN];
    asy_sample_settings_encode(settings, &job.sampling);
    asy_sample_bias_encode(pairs, bias, 2);
    CHECK(s->settings.len == sizeof settings && s->bias.len == sizeof pairs);
    CHECK_MEM(s->settings.data, settings, sizeof settings);
    CHECK_MEM(s->bias.data, pairs, sizeof pairs);
    CHECK(s->seed.len == 32 && s->seed.data[31] == 77 && s->max_tokens == 10 && s->credit == 4);
    CHECK(s->n_stops == 2 && s->stops[1].len == 3 && memcmp(s->stops[1].data, "two", 3) == 0);
    drop(message);

    asy_engine_poll(e, now_ns);
    CHECK_U64(r.used, 1);
    say_prompt(1);
    say_tokens(1, 2, 3, 500, "abc");
    hear();
    struct recorded *got = recorder_job(&r, 1);
    CHECK(got != NULL && got->prompt_count == 3 && got->count == 3 && got->first == 2);
    asy_engine_credit(e, 1, 5);
    message = take();
    CHECK(message != NULL && message->body_case == ASSAY__ENGINE__TO_WORKER__BODY_CREDIT &&
          message->credit->tokens == 5);
    drop(message);
    say_tokens(1, 5, 5, 500, "\xc3\xa9");
    say_done(1, ASY_ENGINE_LENGTH, 0);
    hear();
    CHECK(!broken() && got->ended && got->finish == ASY_ENGINE_LENGTH && got->count == 8);
    CHECK_STR(asy_buf_cstr(&got->text), "abc\xc3\xa9");
    CHECK_U64(r.used, 0);

    /* what a cancelled job still says is not passed on, however it ended over there */
    submit(2);
    drop(take());
    asy_engine_cancel(e, 2);
    asy_engine_cancel(e, 2);
    message = take();
    CHECK(message != NULL && message->body_case == ASSAY__ENGINE__TO_WORKER__BODY_CANCEL &&
          message->cancel->key == 2);
    drop(message);
    CHECK(take() == NULL);
    say_prompt(2);
    say_tokens(2, 0, 1, 500, "late");
    say_done(2, ASY_ENGINE_STOP, 0);
    hear();
    got = recorder_job(&r, 2);
    CHECK(!broken() && got->ended && got->finish == ASY_ENGINE_CANCELLED && got->count == 0);

    /* three slots */
    submit(3);
    submit(4);
    submit(5);
    job.key = 6;
    CHECK_ERR(asy_engine_submit(e, &job, NULL), ASY_ERR_FULL);
    say_done(4, ASY_ENGINE_FAILED, ASY_ERR_RANGE);
    hear();
    CHECK(recorder_job(&r, 4)->err == ASY_ERR_RANGE);
    CHECK_STR(recorder_job(&r, 4)->why, "because");
    CHECK_OK(asy_engine_submit(e, &job, NULL));
    finish();
}

/* Whatever a worker may not say gets it killed, and its jobs fail. */
static void test_lies(void) {
    for (int i = 0;; i++) {
        start();
        up();
        submit(1);
        say_prompt(1);
        say_tokens(1, 0, 1, 500, "x");
        hear();
        CHECK(!broken());
        bool last = false;
        switch (i) {
        case 0:
            say_ready(3);
            break;
        case 1:
            say_prompt(1);
            break; /* twice */
        case 2:
            say_prompt(9);
            break; /* no such job */
        case 3:
            say_tokens(9, 0, 1, 500, "x");
            break;
        case 4:
            say_tokens(1, 0, 1, 500, "x");
            break; /* a position twice */
        case 5:
            say_tokens(1, 2, 1, 500, "x");
            break; /* a gap */
        case 6:
            say_tokens(1, 1, 4, 500, "x");
            break; /* more than was granted */
        case 7:
            say_tokens(1, 1, 1, 1000, "x");
            break; /* no such token */
        case 8:
            say_tokens(1, 1, 1, 500, "\xc3");
            break; /* half a character */
        case 9:
            say_tokens(1, 1, 0, 500, "x");
            break;
        case 10:
            say_done(1, ASY_ENGINE_CANCELLED, 0);
            break; /* nobody asked */
        case 11:
            say_done(1, 0, 0);
            break;
        case 12:
            say_done(1, 99, 0);
            break;
        case 13:
            say_done(1, ASY_ENGINE_FAILED, 0);
            break;
        case 14:
            say_done(1, ASY_ENGINE_STOP, ASY_ERR_RANGE);
            break;
        case 15:
            say_done(9, ASY_ENGINE_STOP, 0);
            break;
        case 16:
            say_fatal();
            break;
        case 17: { /* more than all that max_tokens allows, although it was granted */
            asy_engine_credit(e, 1, 100);
            say_tokens(1, 1, 10, 500, "x");
            break;
        }
        case 18:
            say_done(1, ASY_ENGINE_FAILED, 12345);
            break; /* no such error */
        case 19:
            CHECK_OK(asy_buf_add(&frames, "\xff\xff\xff\x7f", 4));
            break; /* too long */
        case 20:
            CHECK_OK(asy_buf_add(&frames, "\3\0\0\0\xff\xff\xff", 7));
            break;
        case 21:
            CHECK_OK(asy_buf_add(&frames, "\0\0\0\0", 4));
            break; /* an empty message */
        default:
            last = true;
            break;
        }
        hear();
        CHECK(broken() == !last);
        if (!last) {
            say_tokens(1, 1, 1, 500, "x"); /* nothing more is heard of it */
            hear();
            CHECK_U64(recorder_job(&r, 1)->count, 1);
            asy_engine_detach(e, now_ns, "killed");
            CHECK(recorder_job(&r, 1)->err == ASY_ERR_CLOSED);
            CHECK(r.downs == 1 && strcmp(r.down, "killed") != 0); /* the reason is the lie */
        }
        finish();
        if (last) {
            CHECK_U64(i, 22);
            break;
        }
    }
}

static void test_first_words(void) {
    start(); /* nothing but Ready, with the slots that were asked for, can come first */
    asy_engine_attach(e, now_ns);
    say_prompt(1);
    hear();
    CHECK(broken());
    asy_engine_detach(e, now_ns, "killed");
    now_ns = asy_engine_next_ns(e);
    asy_engine_attach(e, now_ns);
    say_ready(2);
    hear();
    CHECK(broken() && r.ups == 0);
    finish();
}

static void test_restart(void) {
    start();
    uint64_t pause_ms = 100;
    for (int i = 0; i < 10; i++) { /* it dies while it loads, or soon after */
        CHECK(asy_engine_wish(e, now_ns) == ASY_ENGINE_WISH_SPAWN);
        asy_engine_attach(e, now_ns);
        CHECK(asy_engine_wish(e, now_ns) == ASY_ENGINE_WISH_NOTHING);
        if (i % 2 == 1) {
            say_ready(3);
            hear();
        }
        asy_engine_detach(e, now_ns, "gone");
        CHECK(asy_engine_wish(e, now_ns) == ASY_ENGINE_WISH_NOTHING);
        CHECK_U64(asy_engine_next_ns(e), now_ns + pause_ms * MS);
        now_ns += pause_ms * MS - 1;
        CHECK(asy_engine_wish(e, now_ns) == ASY_ENGINE_WISH_NOTHING);
        now_ns++;
        pause_ms = pause_ms * 2 > 10000 ? 10000 : pause_ms * 2;
    }
    CHECK_U64(r.downs, 10);
    CHECK_STR(r.down, "gone");
    up(); /* one that stayed up clears the record */
    submit(1);
    now_ns += 60000 * (uint64_t)MS;
    asy_engine_detach(e, now_ns, "gone");
    CHECK(recorder_job(&r, 1)->finish == ASY_ENGINE_FAILED &&
          recorder_job(&r, 1)->err == ASY_ERR_CLOSED);
    CHECK_U64(asy_engine_next_ns(e), now_ns + 100 * MS);
    CHECK_U64(asy_engine_output(e).n, 0); /* what the dead one did not read is not for the next */
    now_ns += 100 * MS;
    up();
    submit(1);
    asy_engine_cancel(e, 1);
    asy_engine_detach(e, now_ns, "gone");
    CHECK(recorder_job(&r, 1)->finish == ASY_ENGINE_CANCELLED);
    finish();

    start(); /* spawning itself may fail */
    asy_engine_detach(e, now_ns, "no such program");
    CHECK_STR(r.down, "no such program");
    CHECK_U64(asy_engine_next_ns(e), now_ns + 100 * MS);
    finish();
}

static void test_deadlines(void) {
    start();
    asy_engine_attach(e, now_ns);
    CHECK_U64(asy_engine_next_ns(e), now_ns + 5000 * (uint64_t)MS);
    now_ns = asy_engine_next_ns(e);
    asy_engine_poll(e, now_ns);
    CHECK(broken());
    asy_engine_detach(e, now_ns, "killed");
    CHECK(strstr(r.down, "5000 ms") != NULL);
    now_ns = asy_engine_next_ns(e);
    up();

    now_ns += 1000000 * (uint64_t)MS; /* idle: silence is fine */
    asy_engine_poll(e, now_ns);
    CHECK_U64(asy_engine_next_ns(e), UINT64_MAX);
    submit(1);
    drop(take());
    CHECK(take() == NULL && !broken());
    CHECK_U64(asy_engine_next_ns(e), now_ns + 10000 * (uint64_t)MS);
    now_ns = asy_engine_next_ns(e);
    asy_engine_poll(e, now_ns);
    Assay__Engine__ToWorker *ping = take();
    CHECK(ping != NULL && ping->body_case == ASSAY__ENGINE__TO_WORKER__BODY_PING);
    drop(ping);
    asy_engine_poll(e, now_ns);
    CHECK(take() == NULL); /* once */
    say_prompt(1);         /* a sign of life */
    hear();
    CHECK_U64(asy_engine_next_ns(e), now_ns + 10000 * (uint64_t)MS);
    now_ns = asy_engine_next_ns(e);
    asy_engine_poll(e, now_ns);
    drop(take());
    CHECK_U64(asy_engine_next_ns(e), now_ns + 20000 * (uint64_t)MS);
    now_ns = asy_engine_next_ns(e);
    asy_engine_poll(e, now_ns);
    CHECK(broken());
    asy_engine_detach(e, now_ns, "killed");
    CHECK(recorder_job(&r, 1)->err == ASY_ERR_CLOSED && strstr(r.down, "not answered") != NULL);
    finish();
}

int main(void) {
    test_arguments();
    test_jobs();
    test_lies();
    test_first_words();
    test_restart();
    test_deadlines();
    return asy_test_end();
}
