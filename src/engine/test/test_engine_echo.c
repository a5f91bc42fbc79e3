/* The echo engine: what it says, its pace, credit, cancelling, stop strings, whole characters,
 * continuing elsewhere. */
#include "engine/test/recorder.h"

#define MS 1000000u

struct bench {
    struct recorder r;
    struct asy_engine *e;
    uint64_t now_ns;
};

static void bench_init(struct bench *b, struct asy_engine_echo_config config) {
    *b = (struct bench){.now_ns = 5000 * (uint64_t)MS};
    CHECK_OK(asy_engine_echo_new(&b->e, &config, &recorder_events, &b->r));
    asy_engine_poll(b->e, b->now_ns);
    CHECK_U64(b->r.ups, 1);
}

static void bench_done(struct bench *b) {
    asy_engine_free(b->e);
    recorder_done(&b->r);
}

/* Polls until nothing is due any more. */
static void settle(struct bench *b) {
    for (int i = 0; i < 100000 && asy_engine_next_ns(b->e) <= b->now_ns; i++) {
        asy_engine_poll(b->e, b->now_ns);
    }
    CHECK(asy_engine_next_ns(b->e) > b->now_ns);
}

static const struct asy_engine_echo_config unpaced = {.slots = 8, .repeats = 1};
static const char hello[] =
    "[{\"role\":\"system\",\"content\":\"be kind\"},{\"role\":\"user\",\"content\":\"Hello, "
    "w\\u00f6rld \\ud83d\\ude00!\"}]";
static const char hello_text[] = "Hello, w\xc3\xb6rld \xf0\x9f\x98\x80!";

static struct recorded *run_one(struct bench *b, const struct asy_engine_job *job) {
    CHECK_OK(asy_engine_submit(b->e, job, NULL));
    settle(b);
    struct recorded *got = recorder_job(&b->r, job->key);
    CHECK(got != NULL && got->ended);
    return got;
}

static void test_answer(void) {
    struct bench b;
    bench_init(&b, unpaced);
    struct asy_engine_job job = plain_job(7, hello);
    struct recorded *got = run_one(&b, &job);
    CHECK_STR(asy_buf_cstr(&got->text), hello_text);
    CHECK(got->finish == ASY_ENGINE_STOP);
    CHECK_U64(got->count, (sizeof hello_text - 1 + 2) / 3 + 1); /* and the end token */
    CHECK_U64(got->ids[got->count - 1], 0);
    CHECK_U64(got->ids[0], 3u << 24 | 'H' << 16 | 'e' << 8 | 'l');

    /* ids and text say the same, and so do two runs, also when one comes as text parts */
    struct asy_buf text;
    asy_buf_init(&text, 1000);
    CHECK_OK(asy_engine_echo_text(&text, got->ids, got->count));
    CHECK_STR(asy_buf_cstr(&text), hello_text);
    job.messages = asy_bytes_cstr(
        "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"Hello, w\\u00f6\"},"
        "{\"type\":\"text\",\"text\":\"rld \\ud83d\\ude00!\"}]}]");
    struct recorded *again = run_one(&b, &job);
    CHECK_U64(again->count, got->count);
    CHECK_MEM(again->ids, got->ids, got->count * sizeof *got->ids);

    /* the prompt as ids: its whole text is said */
    struct asy_engine_job by_ids = plain_job(8, NULL);
    by_ids.prompt_ids = got->ids;
    by_ids.prompt_count = got->count - 1;
    CHECK_STR(asy_buf_cstr(&run_one(&b, &by_ids)->text), hello_text);
    asy_buf_done(&text);
    bench_done(&b);
}

static void test_limits(void) {
    struct bench b;
    bench_init(&b, (struct asy_engine_echo_config){.slots = 2, .context = 40, .repeats = 0});
    struct asy_why why;
    struct asy_engine_job job = plain_job(1, "[{\"role\":\"u\",\"content\":\"abc\"}]");
    job.max_tokens = 5;
    struct recorded *got = run_one(&b, &job);
    CHECK(got->finish == ASY_ENGINE_LENGTH);
    CHECK_STR(asy_buf_cstr(&got->text), "abcabcabcabcabc");

    job.max_tokens = 100; /* 2 prompt tokens leave 38 of the context */
    got = run_one(&b, &job);
    CHECK(got->finish == ASY_ENGINE_LENGTH);
    CHECK_U64(got->count, 38);
    static uint32_t prompt[40];
    for (size_t i = 0; i < ASY_COUNT(prompt); i++) {
        prompt[i] = 3u << 24 | 0x616263;
    }
    job.prompt_ids = prompt;
    job.prompt_count = 40;
    got = run_one(&b, &job);
    CHECK(got->finish == ASY_ENGINE_FAILED && got->err == ASY_ERR_RANGE &&
          strstr(got->why, "context of 40") != NULL);
    job.prompt_ids = NULL;
    job.prompt_count = 0;

    job.messages = ASY_STR("[{\"role\":\"u\"}]");
    CHECK(run_one(&b, &job)->err == ASY_ERR_MISSING);
    job.messages = ASY_STR("[{\"role\":\"u\",\"content\":3}]");
    CHECK(run_one(&b, &job)->err == ASY_ERR_TYPE);
    job.messages = ASY_STR("{}");
    CHECK(run_one(&b, &job)->err == ASY_ERR_TYPE);
    job.messages = ASY_STR("nonsense");
    CHECK(run_one(&b, &job)->err == ASY_ERR_SYNTAX);

    job = plain_job(1, "[{\"role\":\"u\",\"content\":\"abc\"}]");
    job.max_tokens = 0;
    CHECK_ERR(asy_engine_submit(b.e, &job, &why), ASY_ERR_RANGE);
    CHECK_STR(why.param, "max_tokens");
    job.max_tokens = ASY_MAX_TOKENS + 1;
    CHECK_ERR(asy_engine_submit(b.e, &job, &why), ASY_ERR_RANGE);
    job.max_tokens = 3;
    job.prior_count = 3;
    CHECK_ERR(asy_engine_submit(b.e, &job, &why), ASY_ERR_RANGE);
    job.prior_count = 0;
    struct asy_bytes empty = {0};
    job.stops = &empty;
    job.stop_count = 1;
    CHECK_ERR(asy_engine_submit(b.e, &job, &why), ASY_ERR_RANGE);
    CHECK_STR(why.param, "stop");
    job.stop_count = 0;
    job.messages = (struct asy_bytes){0};
    CHECK_ERR(asy_engine_submit(b.e, &job, &why), ASY_ERR_MISSING);
    job.messages = (struct asy_bytes){(const uint8_t *)hello, ASY_MAX_ENGINE_FRAME};
    CHECK_ERR(asy_engine_submit(b.e, &job, &why), ASY_ERR_TOO_LONG);
    job.messages = asy_bytes_cstr(hello);
    job.sampling.top_p_ppm = 1000001;
    CHECK_ERR(asy_engine_submit(b.e, &job, &why), ASY_ERR_RANGE);
    job.sampling = ASY_SAMPLE_SETTINGS_DEFAULT;
    job.sampling.presence_penalty_milli = 2001;
    CHECK_ERR(asy_engine_submit(b.e, &job, &why), ASY_ERR_RANGE);
    CHECK_STR(why.param, "presence_penalty");
    job.sampling = ASY_SAMPLE_SETTINGS_DEFAULT;
    job.sampling.logit_bias.b[0] = 1;
    CHECK_ERR(asy_engine_submit(b.e, &job, &why), ASY_ERR_MISMATCH);
    const struct asy_sample_bias unsorted[] = {{5, 1}, {4, 1}};
    job.bias = unsorted;
    job.bias_count = 2;
    CHECK_ERR(asy_engine_submit(b.e, &job, &why), ASY_ERR_RANGE);
    CHECK_STR(why.param, "logit_bias");
    job.bias_count = 1; /* good settings, which echo does not use */
    job.sampling.frequency_penalty_milli = 2000;
    got = run_one(&b, &job);
    CHECK(got->count == 3 && memcmp(got->text.p, "Hello, ", 7) == 0);
    job.bias_count = 0;
    job.sampling = ASY_SAMPLE_SETTINGS_DEFAULT;

    /* two slots, one key each */
    job = plain_job(1, "[{\"role\":\"u\",\"content\":\"abc\"}]");
    job.max_tokens = 20;
    job.credit = 0;
    CHECK_OK(asy_engine_submit(b.e, &job, NULL));
    CHECK_ERR(asy_engine_submit(b.e, &job, NULL), ASY_ERR_DUPLICATE);
    CHECK_U64(asy_engine_free_slots(b.e), 1);
    job.key = 2;
    CHECK_OK(asy_engine_submit(b.e, &job, NULL));
    job.key = 3;
    CHECK_ERR(asy_engine_submit(b.e, &job, NULL), ASY_ERR_FULL);
    settle(&b);
    CHECK_U64(b.r.used, 2);
    CHECK_U64(b.r.slots, 2);
    bench_done(&b); /* with jobs running */
}

static void test_credit_and_cancel(void) {
    struct bench b;
    bench_init(&b, unpaced);
    struct asy_engine_job job = plain_job(1, hello), other = plain_job(2, hello);
    job.credit = 0;
    CHECK_OK(asy_engine_submit(b.e, &job, NULL));
    settle(&b);
    struct recorded *got = recorder_job(&b.r, 1);
    CHECK(got != NULL && got->prompt_seen && got->count == 0);
    CHECK_U64(asy_engine_next_ns(b.e), UINT64_MAX);
    CHECK(run_one(&b, &other)->finish == ASY_ENGINE_STOP); /* a paused job holds up nobody */

    asy_engine_credit(b.e, 1, 2);
    settle(&b);
    CHECK_U64(got->count, 2);
    CHECK_STR(asy_buf_cstr(&got->text), "Hello,");
    asy_engine_credit(b.e, 1, 1); /* " w" and half of the next character: held back, but paid for */
    settle(&b);
    CHECK_U64(got->count, 2);
    asy_engine_credit(b.e, 1, 1);
    settle(&b);
    CHECK_U64(got->count, 4);
    CHECK_STR(asy_buf_cstr(&got->text), "Hello, w\xc3\xb6rl");

    asy_engine_credit(b.e, 1, 100);
    asy_engine_cancel(b.e, 1);
    asy_engine_cancel(b.e, 99); /* never heard of */
    asy_engine_credit(b.e, 99, 1);
    settle(&b);
    CHECK(got->ended && got->finish == ASY_ENGINE_CANCELLED);
    CHECK_U64(got->count, 4);
    CHECK_U64(asy_engine_used(b.e), 0);
    CHECK_U64(b.r.used, 0);

    job.credit = 1; /* grants do not overflow */
    CHECK_OK(asy_engine_submit(b.e, &job, NULL));
    asy_engine_credit(b.e, 1, UINT32_MAX);
    asy_engine_credit(b.e, 1, UINT32_MAX);
    settle(&b);
    CHECK_STR(asy_buf_cstr(&recorder_job(&b.r, 1)->text), hello_text);
    bench_done(&b);
}

static void test_stops(void) {
    struct bench b;
    bench_init(&b, unpaced);
    static const struct {
        const char *stop, *text;
        bool found;
    } cases[] = {
        {"wor", "Hello, w\xc3\xb6rld \xf0\x9f\x98\x80!", false},
        {"w\xc3\xb6r", "Hello, ", true},
        {"lo", "Hel", true},
        {"H", "", true},
        {"\xf0\x9f\x98\x80", "Hello, w\xc3\xb6rld ", true},
        {"!!", "Hello, w\xc3\xb6rld \xf0\x9f\x98\x80!",
         false}, /* a partial stop at the end is text after all */
        {"!", "Hello, w\xc3\xb6rld \xf0\x9f\x98\x80", true},
    };
    for (size_t i = 0; i < ASY_COUNT(cases); i++) {
        struct asy_bytes stops[] = {ASY_STR("never"), asy_bytes_cstr(cases[i].stop)};
        struct asy_engine_job job = plain_job(i, hello);
        job.stops = stops;
        job.stop_count = 2;
        struct recorded *got = run_one(&b, &job);
        CHECK_STR(asy_buf_cstr(&got->text), cases[i].text);
        CHECK(got->finish == ASY_ENGINE_STOP);
        struct asy_buf said;
        asy_buf_init(&said, 1000);
        CHECK_OK(asy_engine_echo_text(&said, got->ids, got->count));
        /* the ids go up to the one that completed the stop string */
        CHECK((strstr(asy_buf_cstr(&said), cases[i].stop) != NULL) == cases[i].found);
        CHECK(!cases[i].found || said.n < strlen(cases[i].text) + strlen(cases[i].stop) + 3);
        asy_buf_done(&said);
    }
    bench_done(&b);
}

/* Wherever an event ended, another engine goes on from there, and the two together say the same. */
static void test_continue(void) {
    struct bench b;
    bench_init(&b, unpaced);
    struct asy_engine_job job = plain_job(1, hello);
    struct recorded *whole = run_one(&b, &job);
    for (uint32_t keep = 1; keep < whole->count; keep++) {
        struct asy_engine_job first = plain_job(100, hello), second = plain_job(200, hello);
        first.credit = keep;
        CHECK_OK(asy_engine_submit(b.e, &first, NULL));
        settle(&b);
        asy_engine_cancel(b.e, 100);
        settle(&b);
        struct recorded *begun = recorder_job(&b.r, 100);
        second.prior_ids = begun->ids;
        second.prior_count = begun->count;
        struct recorded *rest = run_one(&b, &second);
        CHECK_U64(rest->first, begun->count);
        CHECK_U64(begun->count + rest->count, whole->count);
        CHECK_MEM(rest->ids, whole->ids + begun->count, rest->count * sizeof *rest->ids);
        CHECK_OK(asy_buf_add_bytes(&begun->text, asy_buf_bytes(&rest->text)));
        CHECK_STR(asy_buf_cstr(&begun->text), hello_text);
        recorder_done(&b.r);
        whole = run_one(&b, &job);
    }
    bench_done(&b);
}

static void test_pace(void) {
    struct bench b;
    bench_init(&b, (struct asy_engine_echo_config){
                       .slots = 1, .repeats = 0, .tokens_per_s = 50, .first_token_ms = 200});
    struct asy_engine_job job = plain_job(1, "[{\"role\":\"u\",\"content\":\"abc\"}]");
    job.max_tokens = 10;
    CHECK_OK(asy_engine_submit(b.e, &job, NULL));
    settle(&b);
    struct recorded *got = recorder_job(&b.r, 1);
    uint64_t begun_ns = b.now_ns;
    for (uint32_t i = 0; i < 10; i++) {
        CHECK_U64(got->count, i);
        CHECK_U64(asy_engine_next_ns(b.e), begun_ns + (200 + 20 * i) * (uint64_t)MS);
        b.now_ns = asy_engine_next_ns(b.e);
        settle(&b);
    }
    CHECK(got->ended && got->finish == ASY_ENGINE_LENGTH);
    CHECK_U64(asy_engine_next_ns(b.e), UINT64_MAX);

    /* a late poll catches up; a very late one does not flood */
    CHECK_OK(asy_engine_submit(b.e, &job, NULL));
    settle(&b);
    got = recorder_job(&b.r, 1);
    b.now_ns += (200 + 60) * (uint64_t)MS;
    settle(&b);
    CHECK_U64(got->count, 4);
    b.now_ns += 100000 * (uint64_t)MS;
    settle(&b);
    CHECK_U64(got->count, 5 + 1); /* the one that was due, and the first of the new pace */
    bench_done(&b);
}

/* Callbacks may start and end jobs. */
static void resubmit(struct recorder *r, struct recorded *job) {
    if (job != NULL && job->ended && r->job_count < 20) {
        struct bench *b = r->hook_arg;
        struct asy_engine_job next = plain_job(job->key, hello);
        CHECK_OK(asy_engine_submit(b->e, &next, NULL));
    } else if (job != NULL && !job->ended && job->key == 5 && r->job_count >= 10) {
        asy_engine_cancel(((struct bench *)r->hook_arg)->e, 5);
    }
}

static void test_callbacks(void) {
    struct bench b;
    bench_init(&b, unpaced);
    b.r.hook = resubmit;
    b.r.hook_arg = &b;
    for (uint64_t key = 1; key <= 6; key++) {
        struct asy_engine_job job = plain_job(key, hello);
        CHECK_OK(asy_engine_submit(b.e, &job, NULL));
    }
    settle(&b);
    size_t cancelled = 0;
    for (size_t i = 0; i < b.r.job_count; i++) {
        CHECK(b.r.job[i].ended);
        cancelled += b.r.job[i].finish == ASY_ENGINE_CANCELLED;
        CHECK(b.r.job[i].finish == ASY_ENGINE_CANCELLED ||
              strcmp(asy_buf_cstr(&b.r.job[i].text), hello_text) == 0);
    }
    CHECK(b.r.job_count >= 20 && cancelled > 0);
    CHECK_U64(asy_engine_used(b.e), 0);
    bench_done(&b);
}

int main(void) {
    test_answer();
    test_limits();
    test_credit_and_cancel();
    test_stops();
    test_continue();
    test_pace();
    test_callbacks();
    return asy_test_end();
}
