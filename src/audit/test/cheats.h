/* cheats.h: answers to eight prompts, made honestly in one way or another, or not honestly at all:
 * for the test and the benchmark of what a replay sees. Everything is seeded, so each of them comes
 * out the same every time (but for what llama.cpp gives, which depends on the machine).
 */
#ifndef ASY_AUDIT_TEST_CHEATS_H
#define ASY_AUDIT_TEST_CHEATS_H

#include "audit/audit.h"

#include "base/test.h"

#define CHEAT_PROMPTS 8u
#define CHEAT_PROMPT  64u  /* tokens that a text is cut to */
#define CHEAT_CHAT    128u /* that a chat may have */
#define CHEAT_OUTPUT  256u
#define CHEAT_CONTEXT (CHEAT_CHAT + CHEAT_OUTPUT)
#define CHEAT_ROWS    512u /* of one step, at most */

static const char *const cheat_texts[CHEAT_PROMPTS] = {
    "The lighthouse had been dark for eleven years when the new keeper came. She brought two "
    "trunks, a grey cat and a letter from the harbour office that nobody in the village had been "
    "told about. For the first week she did nothing but carry water up the stairs and scrub the "
    "glass. On the eighth evening, as the fishing boats were turning home, a light went on at the "
    "top of the tower, and the old men on the quay",
    "Glaciers are often called rivers of ice, but they move in two ways that no river does. The "
    "ice "
    "near the surface is brittle and breaks into crevasses, while the ice below it, under the "
    "weight of everything above, deforms slowly like very stiff dough. Where there is water "
    "between the ice and the rock, the whole glacier also slides. Measurements in the Alps show "
    "that the speed changes with the season, because",
    "def read_table(path, separator=\",\"):\n    \"\"\"Reads a table of numbers; the first line "
    "holds "
    "the names of the columns.\"\"\"\n    rows = []\n    with open(path) as f:\n        names = "
    "f.readline().strip().split(separator)\n        for number, line in enumerate(f, 2):\n         "
    "   "
    "cells = line.strip().split(separator)\n            if len(cells) != len(names):\n",
    "Dear Mrs. Okafor,\n\nThank you for your letter of 3 March about the noise from the building "
    "site in Mill Street. We have spoken with the contractor, who has agreed that no machines will "
    "run before eight in the morning or after six in the evening, and never on Sundays. We are "
    "sorry that this was not made clear from the beginning. If it should happen again, please",
    "Leek and potato soup\n\nYou need: three large leeks, four potatoes, one onion, fifty grams of "
    "butter, one litre of vegetable stock, a little cream, salt, pepper and nutmeg.\n\n1. Wash the "
    "leeks well, since there is often sand between the leaves, and cut them into thin rings.\n2. "
    "Melt the butter in a large pot and cook the onion gently until it is soft.\n3.",
    "\"You can't be serious,\" said Martin, putting down the map. \"That pass has been closed "
    "since "
    "October.\"\n\n\"Closed to cars,\" said Ines. \"Not to us.\"\n\nHe looked at her boots, then "
    "at "
    "the snow on the window sill, then at the clock above the stove. It was ten past four. In an "
    "hour and a half it would be dark. \"And if the hut is locked?\"\n\n",
    "Question: A train leaves the city at 9:15 and travels 180 kilometres at an average speed of "
    "72 "
    "kilometres per hour. It then waits for 20 minutes before it returns at 90 kilometres per "
    "hour. "
    "At what time is it back in the city?\n\nAnswer: The first part of the journey takes 180 / 72 "
    "= "
    "2.5 hours, so the train arrives at",
    "The history of the printing press in the region begins with a quarrel. In 1478 two brothers, "
    "both goldsmiths, bought a used press from a bankrupt workshop on the other side of the river "
    "and could not agree on what to print. The elder wanted prayer books, which sold well; the "
    "younger wanted almanacs, which sold better. For a year they printed nothing at all. What",
};
static const char *const cheat_chats[CHEAT_PROMPTS] = {
    "What causes the tides, and why are there two of them a day?",
    "Write a short story about a dog that learns to open doors.",
    "Explain the difference between a virus and a bacterium to a ten-year-old.",
    "Give me five tips for sleeping better.",
    "Write a Python function that returns the n-th Fibonacci number, and explain it.",
    "What should I see in Rome if I have only one day?",
    "Summarise the plot of Romeo and Juliet.",
    "How does a bicycle stay upright?",
};

struct cheat_rig {
    const struct asy_exact_model *model; /* the honest one */
    struct asy_exact *judge;
    struct asy_llama_vocab *vocab;
    uint32_t vocab_count;
    uint32_t prompt[CHEAT_PROMPTS][CHEAT_CHAT], prompt_count[CHEAT_PROMPTS];
    bool chat;        /* an answer ends at an end token; the continuation of a text goes on */
    uint8_t round;    /* of seeds */
    uint32_t outputs; /* tokens of an answer, at most CHEAT_OUTPUT */
    struct asy_sample_settings sampling;
    void *workspace;
    int32_t *logits[2]; /* [CHEAT_PROMPTS][vocab_count]: of who answers; of the honest model */
};

struct cheat_answers {
    uint32_t ids[CHEAT_PROMPTS][CHEAT_OUTPUT], count[CHEAT_PROMPTS];
};

/* How to answer; all zero but for one of the first two: honestly. */
struct cheat {
    struct asy_exact *x; /* at least CHEAT_PROMPTS slots, and the context above */
    struct asy_llama_model *floats;
    struct asy_exact *honest; /* needed where some tokens are */

    bool other_seed, other_prompt; /* the prompt: one token of it, the sixth */
    uint32_t as_temperature_milli; /* 0: the right one */
    uint32_t honest_first;         /* so many tokens come from the honest model, */
    uint32_t honest_every;         /* and of the others all but each n-th; 0: none */

    /* Ways to compute, none of which changes anything. */
    bool crowd; /* as many other sequences in between; needs twice the slots */
    bool moves; /* entries come from another slot's prefix, and are saved and restored; the same */
};

static enum asy_err cheat_executor(struct asy_exact **ret_x, const struct asy_exact_model *model,
                                   enum asy_exact_kernel kernel, uint32_t threads, uint32_t rows) {
    struct asy_exact_config c = {.kernel = kernel,
                                 .threads = threads,
                                 .slots = 2 * CHEAT_PROMPTS,
                                 .context = CHEAT_CONTEXT,
                                 .rows = rows,
                                 .logits_rows = rows < 64 ? rows : 64};
    return asy_exact_new(ret_x, model, &c, NULL);
}

/* ---- prompts ---- */

static void cheat_prompts(struct cheat_rig *r, bool chat) {
    r->chat = chat;
    for (uint32_t p = 0; p < CHEAT_PROMPTS; p++) {
        uint32_t *ids = NULL;
        size_t count = 0;
        if (chat) {
            char messages[512];
            int n = snprintf(messages, sizeof messages, "[{\"role\":\"user\",\"content\":\"%s\"}]",
                             cheat_chats[p]);
            CHECK_OK(
                asy_llama_chat(r->vocab, &ids, &count, asy_bytes_of(messages, (size_t)n), 0, NULL));
            CHECK(count >= 8 && count <= CHEAT_CHAT);
        } else {
            CHECK_OK(asy_llama_tokenize(r->vocab, &ids, &count, asy_bytes_cstr(cheat_texts[p])));
            CHECK(count >= CHEAT_PROMPT);
            count = CHEAT_PROMPT;
        }
        memcpy(r->prompt[p], ids, count * sizeof *ids);
        r->prompt_count[p] = (uint32_t)count;
        asy_free(ids);
    }
}

/* What the engine is given: token n of sequence p. */
static uint32_t cheat_token(const struct cheat_rig *r, const struct cheat *c,
                            const struct cheat_answers *a, uint32_t p, uint32_t n) {
    if (n >= r->prompt_count[p]) {
        return a->ids[p][n - r->prompt_count[p]];
    }
    return c->other_prompt && n == 5 ? r->prompt[p][n] ^ 1 : r->prompt[p][n];
}

static void cheat_rig_init(struct cheat_rig *r, const struct asy_exact_model *model,
                           struct asy_llama_vocab *vocab, struct asy_exact *judge) {
    *r = (struct cheat_rig){.model = model, .vocab = vocab, .judge = judge};
    r->vocab_count = asy_exact_model_info(model)->vocab;
    r->workspace = asy_alloc(asy_sample_workspace_len(r->vocab_count));
    r->logits[0] = asy_alloc(CHEAT_PROMPTS * r->vocab_count * sizeof(int32_t));
    r->logits[1] = asy_alloc(CHEAT_PROMPTS * r->vocab_count * sizeof(int32_t));
    r->sampling = ASY_SAMPLE_SETTINGS_DEFAULT;
    r->sampling.temperature_milli = 800;
    cheat_prompts(r, false);
}
static void cheat_rig_done(struct cheat_rig *r) {
    asy_free(r->workspace);
    asy_free(r->logits[0]);
    asy_free(r->logits[1]);
}

/* ---- steps ---- */

struct cheat_batch {
    struct asy_exact *x;
    int32_t *logits;
    uint32_t vocab, count;
    struct asy_exact_row rows[CHEAT_ROWS];
};

static void cheat_flush(struct cheat_batch *b) {
    const int32_t *logits = NULL;
    uint32_t wanted = 0;
    if (b->count == 0) {
        return;
    }
    CHECK_OK(asy_exact_step(b->x, &logits, b->rows, b->count));
    for (uint32_t i = 0; i < b->count; i++) {
        if (b->rows[i].logits) {
            memcpy(b->logits + (size_t)b->rows[i].slot * b->vocab,
                   logits + wanted++ * (size_t)asy_exact_logits_stride(asy_exact_model_of(b->x)),
                   b->vocab * sizeof *logits);
        }
    }
    b->count = 0;
}
static void cheat_row(struct cheat_batch *b, struct asy_exact_row row) {
    b->rows[b->count++] = row;
    if (b->count == asy_exact_config_of(b->x)->rows) {
        cheat_flush(b);
    }
}

static void cheat_move(struct asy_exact *x, uint32_t slot, uint32_t count) {
    uint64_t len = asy_exact_save_len(asy_exact_model_of(x), count);
    uint8_t *save = asy_alloc(len);
    uint32_t got = 0;
    const int32_t *logits;
    CHECK_OK(asy_exact_save(x, save, slot, count));
    for (uint32_t pos = 0; pos < 4; pos++) { /* another sequence has the slot meanwhile */
        struct asy_exact_row row = {77 + pos, slot, pos, false};
        CHECK_OK(asy_exact_step(x, &logits, &row, 1));
    }
    CHECK_OK(asy_exact_restore(x, slot, asy_bytes_of(save, len), &got));
    CHECK_U64(got, count);
    asy_free(save);
}

/* The logits that choose output token n of every answer that has got so far. */
static void cheat_step(const struct cheat_rig *r, const struct cheat *c, struct asy_exact *x,
                       const struct cheat_answers *a, uint32_t n, int32_t *ret_logits) {
    struct cheat_batch b = {.x = x, .logits = ret_logits, .vocab = r->vocab_count};
    for (uint32_t p = 0; p < CHEAT_PROMPTS; p++) {
        uint32_t end = r->prompt_count[p] + n, at = n == 0 ? 0 : end - 1, half = end / 2;
        if (a->count[p] != n) {
            continue;
        }
        if (c->moves && n % 16 == 0) {
            uint32_t other = CHEAT_PROMPTS + p;
            for (uint32_t pos = at; pos < half; pos++) {
                cheat_row(&b,
                          (struct asy_exact_row){cheat_token(r, c, a, p, pos), other, pos, false});
            }
            cheat_flush(&b);
            if (n == 0) {
                CHECK_OK(asy_exact_copy(x, p, other, half));
                at = half;
            }
            cheat_move(x, p, at);
        }
        for (uint32_t pos = at; pos < end; pos++) {
            if (c->crowd) {
                cheat_row(
                    &b, (struct asy_exact_row){1000 + 13 * pos + p, CHEAT_PROMPTS + p, pos, false});
            }
            cheat_row(&b,
                      (struct asy_exact_row){cheat_token(r, c, a, p, pos), p, pos, pos + 1 == end});
        }
    }
    cheat_flush(&b);
}

static void cheat_seed(const struct cheat_rig *r, uint32_t p, bool other,
                       uint8_t ret_seed[ASY_SAMPLE_SEED_LEN]) {
    memset(ret_seed, 0, ASY_SAMPLE_SEED_LEN);
    ret_seed[0] = (uint8_t)p;
    ret_seed[1] = r->round;
    ret_seed[2] = other;
}

static void cheat_choose(const struct cheat_rig *r, const struct cheat *c, bool honest, uint32_t p,
                         const int32_t *logits, struct cheat_answers *a) {
    struct asy_sample_settings s = r->sampling;
    uint8_t seed[ASY_SAMPLE_SEED_LEN];
    uint32_t n = a->count[p], id = 0;
    if (!honest && c->as_temperature_milli != 0) {
        s.temperature_milli = c->as_temperature_milli;
    }
    cheat_seed(r, p, !honest && c->other_seed, seed);
    CHECK_OK(asy_sample_token(&id, NULL, r->workspace, logits, r->vocab_count, &s, seed, n));
    a->ids[p][n] = id;
    a->count[p] = n + 1;
}

static bool cheat_ended(const struct cheat_rig *r, const struct cheat_answers *a, uint32_t p) {
    return r->chat && a->count[p] != 0 && asy_llama_vocab_end(r->vocab, a->ids[p][a->count[p] - 1]);
}

/* ---- answers ---- */

static void cheat_by_exact(struct cheat_rig *r, const struct cheat *c, struct cheat_answers *a) {
    const struct cheat honest = {0};
    for (uint32_t n = 0; n < r->outputs; n++) {
        bool is_honest = n < c->honest_first || (c->honest_every != 0 && n % c->honest_every != 0);
        struct cheat_answers live = *a;
        for (uint32_t p = 0; p < CHEAT_PROMPTS; p++) { /* an ended one computes no more */
            live.count[p] = cheat_ended(r, a, p) ? UINT32_MAX : a->count[p];
        }
        cheat_step(r, c, c->x, &live, n, r->logits[0]);
        if (c->honest_every != 0 || n < c->honest_first) { /* needs its entries all along */
            cheat_step(r, &honest, c->honest, &live, n, r->logits[1]);
        }
        for (uint32_t p = 0; p < CHEAT_PROMPTS; p++) {
            if (live.count[p] == n) {
                cheat_choose(r, c, is_honest, p, r->logits[is_honest] + p * (size_t)r->vocab_count,
                             a);
            }
        }
    }
}

static void cheat_by_floats(struct cheat_rig *r, const struct cheat *c, struct cheat_answers *a) {
    for (uint32_t p = 0; p < CHEAT_PROMPTS; p++) {
        for (uint32_t n = 0; n < r->outputs && !cheat_ended(r, a, p); n++) {
            uint32_t ids[CHEAT_CHAT], end = r->prompt_count[p] + n, at = n == 0 ? 0 : end - 1;
            const float *logits = NULL;
            for (uint32_t pos = at; pos < end; pos++) {
                ids[pos - at] = cheat_token(r, c, a, p, pos);
            }
            CHECK_OK(asy_llama_model_step(c->floats, &logits, ids, at, end - at, NULL));
            CHECK_OK(asy_sample_logits_from_float(
                r->logits[0], logits + (end - at - 1) * (size_t)r->vocab_count, r->vocab_count));
            cheat_choose(r, c, false, p, r->logits[0], a);
        }
    }
}

/* cheat_answer answers all prompts. */
static void cheat_answer(struct cheat_rig *r, const struct cheat *c, struct cheat_answers *ret) {
    memset(ret, 0, sizeof *ret);
    if (c->floats != NULL) {
        cheat_by_floats(r, c, ret);
    } else {
        cheat_by_exact(r, c, ret);
    }
}

/* No model at all: behind `first` right tokens (at least one) these again and again, or the answer
 * to another prompt. */
__attribute__((unused)) static void cheat_without_model(const struct cheat_answers *honest,
                                                        uint32_t first, bool repeat,
                                                        struct cheat_answers *ret) {
    *ret = *honest;
    for (uint32_t p = 0; p < CHEAT_PROMPTS; p++) {
        uint32_t other = (p + 1) % CHEAT_PROMPTS;
        for (uint32_t n = first; n < ret->count[p]; n++) {
            ret->ids[p][n] = repeat ? ret->ids[p][n - first]
                                    : honest->ids[other][(n - first) % honest->count[other]];
        }
    }
}

/* ---- judging ---- */

/* The judge's view of answer p: its first wrong token (the answer's length when there is none), and
 * with ret_wrong the number of them. */
static uint32_t cheat_judge(struct cheat_rig *r, const struct cheat_answers *a, uint32_t p,
                            uint32_t *ret_wrong) {
    struct asy_audit_exact_job job = {.prompt = r->prompt[p],
                                      .prompt_count = r->prompt_count[p],
                                      .output = a->ids[p],
                                      .output_count = a->count[p],
                                      .sampling = r->sampling};
    struct asy_audit_exact got = {0};
    cheat_seed(r, p, false, job.seed);
    CHECK_OK(
        asy_audit_exact(&got, ret_wrong, r->judge, 0, &job, ret_wrong == NULL, NULL, NULL, NULL));
    if (got.verdict == ASY_AUDIT_PROVED) {
        CHECK_U64(got.checked, a->count[p]);
        return a->count[p];
    }
    CHECK(got.verdict == ASY_AUDIT_WRONG && got.margin > 0 && got.claimed == a->ids[p][got.first]);
    return got.first;
}

#endif
