/* replay.c: jobs computed again: `assay verify --replay`, and the model for it. */
#include "replay_priv.h"

#include <sched.h>
#include <stdio.h>

/* ---- options --------------------------------------------------------------------------------- */

int replay_option(struct replay_options *o, const char *command, int option) {
    switch (option) {
    case REPLAY_OPT_MODEL:
        o->model = optarg;
        return 0;
    case REPLAY_OPT_MANIFEST:
        o->manifest = optarg;
        return 0;
    case REPLAY_OPT_NAME:
        o->name = optarg;
        return 0;
    case REPLAY_OPT_LICENCE:
        o->licence = optarg;
        return 0;
    case REPLAY_OPT_KERNEL:
        if (asy_exact_kernel_parse(&o->kernel, asy_bytes_cstr(optarg)) != ASY_OK) {
            return client_usage(command, "there is no kernel `%s`", optarg);
        }
        return asy_exact_kernel_runs(o->kernel) || o->kernel == ASY_EXACT_AUTO
                   ? 0
                   : client_usage(command, "the kernel %s does not run on this machine", optarg);
    case REPLAY_OPT_THREADS:
        return exact_number(&o->threads, command, "--threads", optarg, 1, 64);
    default:
        return -1;
    }
}

int replay_options_check(struct replay_options *o, const char *command, bool named) {
    if (o->model == NULL) {
        return client_usage(command, "it takes the model, --model FILE; `assay models convert` "
                                     "makes one of a GGUF file");
    }
    if (o->manifest != NULL && o->name != NULL) {
        return client_usage(command, "--manifest or --name, not both");
    }
    if (named && o->manifest == NULL && o->name == NULL) {
        return client_usage(command, "say which model that is: by its --name in the market, or by "
                                     "its --manifest");
    }
    if (o->manifest != NULL && o->licence != NULL) {
        return client_usage(command, "--licence goes with --name: a manifest has its own");
    }
    o->licence = o->licence != NULL ? o->licence : "Apache-2.0";
    if (o->threads == 0) {
        cpu_set_t cpus;
        int count = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
        o->threads = count > 128 ? 64 : count > 1 ? (uint32_t)count / 2 : 1;
    }
    return 0;
}

/* ---- the model ------------------------------------------------------------------------------- */

static enum asy_err chat(void *self, uint32_t **ret_ids, size_t *ret_count,
                         struct asy_bytes messages, uint64_t time, struct asy_why *why) {
    return asy_llama_chat(self, ret_ids, ret_count, messages, time, why);
}
static bool is_end(void *self, uint32_t id) { return asy_llama_vocab_end(self, id); }
static size_t piece(void *self, char ret[ASY_ENGINE_PIECE_MAX], uint32_t id) {
    return asy_llama_piece(self, ret, ASY_ENGINE_PIECE_MAX, id);
}

static enum asy_err read_manifest(struct replay_model *m, struct asy_why *why) {
    const struct replay_options *o = m->o;
    if (o->manifest == NULL) {
        return app_manifest(&m->manifest, &m->gguf, o->model, o->name, o->licence, why);
    }
    struct asy_buf text;
    asy_buf_init(&text, ASY_MAX_MANIFEST);
    enum asy_err err = app_read_file(&text, o->manifest, false, why);
    if (err == ASY_OK) {
        err = asy_manifest_parse(&m->manifest, asy_buf_bytes(&text), why);
    }
    asy_buf_done(&text);
    return err;
}

static enum asy_err read_vocabulary(struct replay_model *m, struct asy_why *why) {
    const struct asy_exact_info *info = asy_exact_model_info(m->exact.model);
    ASY_TRY(exact_llama(&m->llama, why));
    ASY_TRY(asy_llama_vocab_new(&m->llama_vocab, m->llama, info->vocabulary, why));
    m->vocab = (struct asy_audit_vocab){
        .self = m->llama_vocab, .chat = chat, .is_end = is_end, .piece = piece};
    return asy_llama_vocab_count(m->llama_vocab) == info->vocab
               ? ASY_OK
               : asy_why_set(why, ASY_ERR_MISMATCH, NULL, "its vocabulary does not fit it");
}

bool replay_model_open(struct replay_model *m, const struct replay_options *o,
                       const char *command) {
    struct asy_why why = {{0}, {0}};
    *m = (struct replay_model){.o = o};
    enum asy_err err = exact_model_open(&m->exact, o->model, &why);
    if (err == ASY_ERR_SYNTAX || err == ASY_ERR_UNSUPPORTED) {
        (void)app_fail(command, err, &why);
        fprintf(stderr,
                "  %s is no model of the exact engine; `assay models convert IN.gguf OUT` makes "
                "one.\n",
                o->model);
        return false;
    }
    if (err == ASY_OK) {
        err = asy_gguf_of_exact(&m->gguf, m->exact.model, m->exact.file, &why);
    }
    if (err == ASY_OK && (o->manifest != NULL || o->name != NULL)) {
        err = read_manifest(m, &why);
        if (err == ASY_OK) {
            asy_manifest_digest(&m->digest, &m->manifest);
        }
    }
    if (err == ASY_OK) {
        err = read_vocabulary(m, &why);
    }
    if (err != ASY_OK) {
        (void)app_fail(command, err, &why);
    }
    return err == ASY_OK;
}

void replay_model_close(struct replay_model *m) {
    asy_llama_vocab_free(m->llama_vocab);
    asy_llama_free(m->llama);
    exact_model_close(&m->exact);
}

bool replay_model_check(const struct replay_model *m, const struct asy_terms *terms,
                        struct asy_verify_findings *f) {
    struct asy_why why = {{0}, {0}};
    char ours[ASY_HASH_TEXT], theirs[ASY_HASH_TEXT], file[ASY_HASH_TEXT];
    bool given = m->o->manifest != NULL, named = asy_hash_eq(&m->digest, &terms->model);
    asy_hash_format(ours, &m->digest);
    asy_hash_format(theirs, &terms->model);
    asy_hash_format(file, &m->gguf.sha256);
    enum asy_verify_state state = ASY_VERIFY_FAILED;
    if (!named && given) {
        asy_verify_add(f, ASY_VERIFY_MODEL, state,
                       "the terms name manifest %.18s.., this manifest is %.18s..", theirs, ours);
    } else if (!named) {
        asy_verify_add(f, ASY_VERIFY_MODEL, state,
                       "the terms name manifest %.14s.., this file under this name, file name and "
                       "licence is %.14s..: one of the four is another",
                       theirs, ours);
    } else if (asy_manifest_verify(&m->manifest, &m->gguf, &why) != ASY_OK) {
        asy_verify_add(f, ASY_VERIFY_MODEL, state,
                       "the manifest is that of the terms, the file is not its: `%s` differs",
                       why.param);
    } else {
        asy_verify_add(f, ASY_VERIFY_MODEL, ASY_VERIFY_PASSED, "%.60s, file %.18s..",
                       m->manifest.name, file);
        return true;
    }
    return false;
}

/* How many bytes at p are one character to be shown as it is; 0: none are. */
static size_t shown_len(const uint8_t *p, size_t n) {
    for (size_t len = 1; len <= 4 && len <= n; len++) {
        if (asy_utf8_valid(asy_bytes_of(p, len))) {
            bool control = p[0] < ' ' || p[0] == 0x7f || (p[0] == 0xc2 && p[1] < 0xa0);
            return control || p[0] == '"' || p[0] == '\\' ? 0 : len;
        }
    }
    return 0;
}

const char *replay_token_text(char ret[REPLAY_TEXT], const struct replay_model *m, uint32_t id) {
    char text[ASY_ENGINE_PIECE_MAX];
    enum { ROOM = 8 }; /* for one more piece of it, the dots and the zero byte */
    size_t len =
        id < m->gguf.vocab_count ? asy_llama_piece(m->llama_vocab, text, sizeof text, id) : 0;
    size_t n = 0, at = 0;
    const uint8_t *p = (const uint8_t *)text;
    while (at < len && n + ROOM < REPLAY_TEXT) {
        size_t whole = shown_len(p + at, len - at);
        if (whole != 0) {
            memcpy(ret + n, p + at, whole);
            n += whole;
        } else if (p[at] == '\n' || p[at] == '"' || p[at] == '\\') {
            ret[n++] = '\\';
            ret[n++] = p[at] == '\n' ? 'n' : (char)p[at];
        } else {
            n += (size_t)snprintf(ret + n, 5, "\\x%02x", p[at]);
        }
        at += whole != 0 ? whole : 1;
    }
    (void)snprintf(ret + n, REPLAY_TEXT - n, "%s", at < len ? ".." : "");
    return ret;
}

/* ---- a segment ------------------------------------------------------------------------------- */

static double nats(int64_t units) { return (double)units / 65536; }

static void progress(void *arg, uint32_t done, uint32_t count) {
    (void)arg;
    exact_progress(NULL, "computing again", done, count);
}

static const char *cause_text(enum asy_audit_cause cause) {
    switch (cause) {
    case ASY_AUDIT_CAUSE_NONE:
        return "nothing";
    case ASY_AUDIT_CAUSE_TOKEN:
        return "an end token";
    case ASY_AUDIT_CAUSE_STRING:
        return "a stop string";
    case ASY_AUDIT_CAUSE_MAX_OUT:
        return "max_out";
    case ASY_AUDIT_CAUSE_CONTEXT:
        return "the end of the context";
    }
    return "";
}

static const char *finish_text(uint8_t finish) {
    switch ((enum asy_finish)finish) {
    case ASY_FINISH_STOP:
        return "stop";
    case ASY_FINISH_LENGTH:
        return "length";
    case ASY_FINISH_CANCELLED:
        return "cancelled";
    case ASY_FINISH_LINK:
        return "link";
    }
    return "unknown";
}

static void tell_finish(struct asy_verify_findings *f, const struct asy_verify_segment *s,
                        const struct asy_audit_end *e) {
    const char *finish = finish_text(s->receipt.finish), *cause = cause_text(e->cause);
    unsigned long long count = s->receipt.out_tokens, max = s->terms.max_out;
    switch (e->verdict) {
    case ASY_AUDIT_END_RIGHT:
        if (e->cause == ASY_AUDIT_CAUSE_NONE) {
            asy_verify_add(f, ASY_VERIFY_FINISH, ASY_VERIFY_PASSED, "%s, before any end", finish);
        } else {
            asy_verify_add(f, ASY_VERIFY_FINISH, ASY_VERIFY_PASSED, "%s, by %s", finish, cause);
        }
        return;
    case ASY_AUDIT_END_EARLY:
        if (s->receipt.finish == ASY_FINISH_LENGTH) {
            asy_verify_add(f, ASY_VERIFY_FINISH, ASY_VERIFY_FAILED,
                           "length, but %llu tokens are neither max_out (%llu) nor the end of the "
                           "context (a node may have less: --context)",
                           count, max);
        } else {
            asy_verify_add(f, ASY_VERIFY_FINISH, ASY_VERIFY_FAILED,
                           "stop, but neither an end token nor a stop string stands at its end");
        }
        return;
    case ASY_AUDIT_END_LATE:
        asy_verify_add(f, ASY_VERIFY_FINISH, ASY_VERIFY_FAILED,
                       "it went on behind %s at position %u", cause, e->at);
        return;
    case ASY_AUDIT_END_OTHER:
        asy_verify_add(f, ASY_VERIFY_FINISH, ASY_VERIFY_FAILED,
                       "length, but what ended it is %s at position %u", cause, e->at);
        return;
    }
}

static void tell_tokens(struct asy_verify_findings *f, const struct asy_audit_replay *r) {
    const struct asy_audit_exact *t = &r->tokens;
    char margin[64] = "which the settings exclude";
    if (t->verdict == ASY_AUDIT_PROVED && t->least_lead == ASY_SAMPLE_OUTSIDE) {
        asy_verify_add(f, ASY_VERIFY_REPLAY, ASY_VERIFY_PASSED, "%u tokens, all right", t->checked);
        return;
    }
    if (t->verdict == ASY_AUDIT_PROVED) {
        asy_verify_add(f, ASY_VERIFY_REPLAY, ASY_VERIFY_PASSED,
                       "%u tokens, all right; the closest call was %.4f nats", t->checked,
                       nats(t->least_lead));
        return;
    }
    if (t->margin != ASY_SAMPLE_OUTSIDE) {
        (void)snprintf(margin, sizeof margin, "%.4f nats below the right one", nats(t->margin));
    }
    if (t->right == UINT32_MAX) {
        asy_verify_add(f, ASY_VERIFY_REPLAY, ASY_VERIFY_FAILED,
                       "position %u: no token is possible under the bias, and %u was given",
                       t->first, t->claimed);
        return;
    }
    asy_verify_add(f, ASY_VERIFY_REPLAY, ASY_VERIFY_FAILED,
                   "position %u: token %u, %s, %u; %u of %u compared are wrong", t->first,
                   t->claimed, margin, t->right, r->wrong, t->checked);
}

static bool passed(const struct asy_verify_findings *f, enum asy_verify_check check) {
    const struct asy_verify_finding *found = asy_verify_get(f, check);
    return found != NULL && found->state == ASY_VERIFY_PASSED;
}

/* Whether there is what it takes; where not, REPLAY says so. */
static bool can_replay(struct asy_verify_segment *s) {
    struct asy_verify_findings *f = &s->findings;
    if (s->terms.tier != ASY_TIER_EXACT || !s->has_record) {
        if (asy_verify_get(f, ASY_VERIFY_REPLAY) == NULL) {
            asy_verify_add(f, ASY_VERIFY_REPLAY, ASY_VERIFY_ABSENT,
                           "not of tier `exact`: it cannot be replayed to the bit");
        }
        return false;
    }
    static const enum asy_verify_check needed[] = {ASY_VERIFY_RECEIPT, ASY_VERIFY_SAMPLING,
                                                   ASY_VERIFY_RECORD};
    for (size_t i = 0; i < ASY_COUNT(needed); i++) {
        if (!passed(f, needed[i])) {
            asy_verify_add(f, ASY_VERIFY_REPLAY, ASY_VERIFY_ABSENT,
                           "not done: it rests on what `%s` did not pass",
                           asy_verify_label(needed[i]));
            return false;
        }
    }
    return true;
}

static void replay_one(struct replay_segment *ret, struct asy_verify_segment *s,
                       const struct replay_model *m, const struct asy_audit_replay_config *config) {
    struct asy_verify_findings *f = &s->findings;
    struct asy_why why = {{0}, {0}};
    const struct asy_audit_segment segment = {&s->terms, &s->receipt, &s->prompt_digest,
                                              &s->record};
    ret->state = REPLAY_SKIPPED;
    if (!can_replay(s)) {
        return;
    }
    if (!replay_model_check(m, &s->terms, f)) {
        asy_verify_add(f, ASY_VERIFY_REPLAY, ASY_VERIFY_ABSENT, "not done: the model is another");
        return;
    }
    enum asy_err err = asy_audit_replay(&ret->r, &segment, config, &why);
    exact_progress_end();
    if (err != ASY_OK) {
        ret->state = REPLAY_REFUSED;
        asy_verify_add(f, ASY_VERIFY_REPLAY, ASY_VERIFY_FAILED,
                       "this model cannot have served it: "
                       "%.110s",
                       why.text[0] != '\0' ? why.text : asy_err_text(err));
        return;
    }
    ret->state = REPLAY_DONE;
    if (!ret->r.prompt_is_signed) {
        asy_verify_add(f, ASY_VERIFY_PROMPT, ASY_VERIFY_FAILED,
                       "the request makes %u tokens; the node signed for %llu, or for others",
                       ret->r.prompt_count, (unsigned long long)s->receipt.in_tokens);
        asy_verify_add(f, ASY_VERIFY_REPLAY, ASY_VERIFY_ABSENT, "not done: the prompt is another");
        return;
    }
    asy_verify_add(f, ASY_VERIFY_PROMPT, ASY_VERIFY_PASSED, "%u tokens, as the request makes them",
                   ret->r.prompt_count);
    tell_tokens(f, &ret->r);
    tell_finish(f, s, &ret->r.end);
}

void replay_run(struct replay *ret, struct asy_verify_report *report, const struct replay_model *m,
                uint32_t context, bool count_all) {
    uint64_t begin = asy_env_mono_ns(asy_env_system());
    const struct asy_audit_replay_config config = {.model = m->exact.model,
                                                   .vocab = &m->vocab,
                                                   .kernel = m->o->kernel,
                                                   .threads = m->o->threads,
                                                   .context =
                                                       context != 0 ? context : m->manifest.context,
                                                   .count_all = count_all,
                                                   .progress = progress};
    uint32_t paid = 0, proved = 0;
    *ret = (struct replay){0};
    for (uint32_t i = 0; i < report->segment_count; i++) {
        struct asy_verify_segment *s = &report->segments[i];
        struct replay_segment *to = &ret->segments[i];
        if (!s->has_receipt) {
            continue;
        }
        paid++;
        replay_one(to, s, m, &config);
        ret->tokens += to->r.tokens.checked;
        proved += to->state == REPLAY_DONE && to->r.tokens.verdict == ASY_AUDIT_PROVED &&
                  to->r.end.verdict == ASY_AUDIT_END_RIGHT;
    }
    ret->proved = paid != 0 && proved == paid;
    ret->seconds = (double)(asy_env_mono_ns(asy_env_system()) - begin) / 1e9;
}

/* ---- printing -------------------------------------------------------------------------------- */

static void print_token(const struct replay_model *m, const char *what, uint32_t id) {
    char text[REPLAY_TEXT];
    bool end = asy_llama_vocab_end(m->llama_vocab, id);
    printf("  %-6s %8u  \"%s\"%s", what, id, replay_token_text(text, m, id),
           end ? ", an end token" : "");
}

void replay_print_wrong(const struct replay_model *m, const struct asy_audit_replay *r) {
    const struct asy_audit_exact *t = &r->tokens;
    printf("first wrong token: position %u of the answer\n", t->first);
    print_token(m, "given", t->claimed);
    if (t->margin == ASY_SAMPLE_OUTSIDE) {
        printf(", which the settings exclude\n");
    } else {
        printf(", %.4f nats below\n", nats(t->margin));
    }
    if (t->right == UINT32_MAX) {
        printf("  right         -  no token is possible under the bias\n");
    } else {
        print_token(m, "right", t->right);
        printf("\n");
    }
}

static const char *cause_word(enum asy_audit_cause cause) {
    switch (cause) {
    case ASY_AUDIT_CAUSE_NONE:
        return "none";
    case ASY_AUDIT_CAUSE_TOKEN:
        return "end_token";
    case ASY_AUDIT_CAUSE_STRING:
        return "stop_string";
    case ASY_AUDIT_CAUSE_MAX_OUT:
        return "max_out";
    case ASY_AUDIT_CAUSE_CONTEXT:
        return "context";
    }
    return "";
}

static const char *end_word(enum asy_audit_end_verdict verdict) {
    switch (verdict) {
    case ASY_AUDIT_END_RIGHT:
        return "right";
    case ASY_AUDIT_END_EARLY:
        return "early";
    case ASY_AUDIT_END_LATE:
        return "late";
    case ASY_AUDIT_END_OTHER:
        return "other";
    }
    return "";
}

static void write_nats(struct asy_jw *w, const char *key, int64_t units) {
    asy_jw_key(w, key);
    if (units == ASY_SAMPLE_OUTSIDE) {
        asy_jw_null(w);
    } else {
        asy_jw_f64(w, nats(units));
    }
}

static void write_token(struct asy_jw *w, const char *key, const struct replay_model *m,
                        uint32_t id) {
    char text[REPLAY_TEXT];
    if (id == UINT32_MAX) {
        asy_jw_kv_null(w, key);
        return;
    }
    asy_jw_kv_object(w, key);
    asy_jw_kv_u64(w, "id", id);
    asy_jw_kv_cstr(w, "text", replay_token_text(text, m, id));
    asy_jw_kv_bool(w, "end", asy_llama_vocab_end(m->llama_vocab, id));
    asy_jw_end(w);
}

static const char *verdict_word(const struct replay_segment *s) {
    switch (s->state) {
    case REPLAY_NOTHING:
    case REPLAY_SKIPPED:
        return "not_replayed";
    case REPLAY_REFUSED:
        return "wrong";
    case REPLAY_DONE:
        return s->r.tokens.verdict == ASY_AUDIT_PROVED ? "proved" : "wrong";
    }
    return "";
}

void replay_write(struct asy_jw *w, const struct replay_model *m, const struct replay_segment *s) {
    const struct asy_audit_exact *t = &s->r.tokens;
    asy_jw_kv_object(w, "replay");
    asy_jw_kv_cstr(w, "verdict", verdict_word(s));
    if (s->state == REPLAY_DONE) {
        asy_jw_kv_u64(w, "prompt_tokens", s->r.prompt_count);
        asy_jw_kv_hash(w, "prompt_digest", &s->r.prompt_digest);
    }
    if (s->state == REPLAY_DONE && s->r.prompt_is_signed) {
        asy_jw_kv_u64(w, "compared", t->checked);
        asy_jw_kv_u64(w, "wrong", s->r.wrong);
        write_nats(w, "closest_nats", t->least_lead);
        asy_jw_key(w, "first_wrong");
        if (t->verdict == ASY_AUDIT_PROVED) {
            asy_jw_null(w);
        } else {
            asy_jw_object(w);
            asy_jw_kv_u64(w, "position", t->first);
            write_token(w, "given", m, t->claimed);
            write_token(w, "right", m, t->right);
            write_nats(w, "margin_nats", t->margin);
            asy_jw_end(w);
        }
        asy_jw_kv_object(w, "end");
        asy_jw_kv_cstr(w, "verdict", end_word(s->r.end.verdict));
        asy_jw_kv_cstr(w, "cause", cause_word(s->r.end.cause));
        asy_jw_end(w);
    }
    asy_jw_end(w);
}
