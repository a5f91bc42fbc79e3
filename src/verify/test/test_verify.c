/* True documents pass every check; every single change of one fails a check that has the name it
 * should, or is refused when the document is read. */
#include "base/test.h"

#include "verify/test/bundle.h"

/* ---- walking a document ---------------------------------------------------------------------- */

/* The keys on the way to a place in a JSON text, without array indices: "segments.terms.jobId". */
struct walk {
    struct asy_bytes text;
    size_t pos;
    char path[200];
    void (*on_scalar)(struct walk *walk, size_t from, size_t to); /* the token, quotes included */
    void (*on_key)(struct walk *walk, size_t from, size_t to);
    void *arg;
};

static size_t token_end(const struct walk *walk, size_t from) {
    size_t i = from;
    if (walk->text.p[from] == '"') {
        for (i++; walk->text.p[i] != '"'; i++) {
            i += walk->text.p[i] == '\\';
        }
        return i + 1;
    }
    while (i < walk->text.n && strchr(",]}", walk->text.p[i]) == NULL) {
        i++;
    }
    return i;
}

static void walk_value(struct walk *walk) {
    const uint8_t *p = walk->text.p;
    if (p[walk->pos] == '{' || p[walk->pos] == '[') {
        bool object = p[walk->pos] == '{';
        walk->pos++;
        while (p[walk->pos] != '}' && p[walk->pos] != ']') {
            size_t len = strlen(walk->path);
            if (object) {
                size_t end = token_end(walk, walk->pos);
                (void)snprintf(walk->path + len, sizeof walk->path - len, "%s%.*s",
                               len != 0 ? "." : "", (int)(end - walk->pos - 2),
                               (const char *)p + walk->pos + 1);
                walk->on_key(walk, walk->pos, end);
                walk->pos = end + 1;
            }
            walk_value(walk);
            walk->path[len] = '\0';
            walk->pos += p[walk->pos] == ',';
        }
        walk->pos++;
        return;
    }
    size_t end = token_end(walk, walk->pos);
    walk->on_scalar(walk, walk->pos, end);
    walk->pos = end;
}

/* ---- changes --------------------------------------------------------------------------------- */

/* Which checks may catch a change of a member, by the end of its path; the first row that fits
 * counts. NULL: no check can, because nothing in the document binds it. */
struct expect {
    const char *suffix;
    const char *labels; /* "receipt place": one of them must fail */
};
static const struct expect expectations[] = {
    {"object", "-"},
    {"id", "job"},
    {"domain.chainId", "domain"},
    {"domain.verifyingContract", "domain"},
    {"status", "status"},
    {"terms.jobId", "job receipt"}, /* of a bundle; of a lane */
    {"terms.segment", "receipt job"},
    {"terms.requester", "receipt"},
    {"terms.gateway", "receipt"},
    {"terms.node", "receipt"},
    {"terms.cap", "receipt"},
    {"terms.laneSeq", "receipt"},
    {"terms.linkSeq", "receipt"},
    {"terms.model", "receipt"},
    {"terms.request", "receipt"},
    {"terms.sampling", "receipt"},
    {"terms.maxIn", "receipt"},
    {"terms.maxOut", "receipt"},
    {"terms.priceIn", "receipt"},
    {"terms.priceCached", "receipt"},
    {"terms.priceOut", "receipt"},
    {"terms.tier", "receipt"},
    {"terms.issuedAt", "receipt"},
    {"terms.deadline", "receipt"},
    {"receipt.terms", "receipt"},
    {"receipt.inTokens", "receipt"},
    {"receipt.cachedTokens", "receipt"},
    {"receipt.outTokens", "receipt"},
    {"receipt.output", "place"},
    {"receipt.finish", "place receipt"},
    {"receipt.firstMs", "place"},
    {"receipt.lastMs", "place"},
    {"receipt.amount", "receipt"},
    {"promptDigest", NULL},
    {"sampling.settings", "sampling"},
    {"sampling.seed", "sampling"},
    {"sampling.stops", "sampling"},
    {"sampling.judge", "sampling"},
    {"sampling.contract", "sampling"},
    {"sampling.replay", "sampling"},
    {"record.request", "record"},
    {"record.bias", "record"},
    {"record.prior", "record"},
    {"record.output", "record"},
    {"checkpoint.body.root", "signature"},
    {"checkpoint.body.kind", "signature"},
    {"checkpoint.body.signer", "signature"},
    {"checkpoint.body.peer", "signature"},
    {"checkpoint.body.number", "signature"},
    {"checkpoint.body.first", "signature"},
    {"checkpoint.body.count", "signature"},
    {"checkpoint.signature", "signature"},
    {"checkpoint.position", "place"},
    {"checkpoint.path", "place"},
    {"number", NULL},
    {"tx", NULL},
    {"block", NULL},
    {"confirmed", NULL},
    {"final", NULL},
    {"root", "entry"},
    {"entry.lane", "entry"},
    {"entry.count", "entry"},
    {"entry.first", "entry"},
    {"entry.before", "entry"},
    {"entry.spent", "entry"},
    {"entry.tree", "entry"},
    {"settlement.path", "entry"},
    {"path", "entry"}, /* of a lane */
    {"settlement.leaf", "leaf"},
    {"leafPath.hash", "leaf"},
    {"leafPath.sum", "leaf"},
    {"leaves.laneSeq", "leaf"},
    {"leaves.amount", "leaf"},
    {"leaves.receiptHash", "leaf"},
};

static const char *labels_for(bool *ret_known, const char *path) {
    for (size_t i = 0; i < ASY_COUNT(expectations); i++) {
        const char *s = expectations[i].suffix;
        size_t len = strlen(s), n = strlen(path);
        if (n >= len && strcmp(path + n - len, s) == 0 && (n == len || path[n - len - 1] == '.')) {
            *ret_known = true;
            return expectations[i].labels;
        }
    }
    *ret_known = false;
    return NULL;
}

struct changes {
    const struct asy_domain *expected;
    bool lane, recorded;
    uint32_t tried, refused, caught, unbound;
    struct asy_buf copy;
    struct asy_verify_report *report;
    struct asy_verify_lane_report *lane_report;
};

static bool any_failed(const struct asy_verify_findings *f, const char *labels) {
    for (uint32_t i = 0; i < f->count; i++) {
        const char *label = asy_verify_label(f->items[i].check);
        if (f->items[i].state == ASY_VERIFY_FAILED && strstr(labels, label) != NULL) {
            CHECK(f->items[i].text[0] != '\0');
            return true;
        }
    }
    return false;
}

/* Reads the changed document. refused: it must not even be readable. */
static void judge(struct changes *c, const char *path, const char *how, bool must_refuse) {
    struct asy_why why = {{0}, {0}};
    struct asy_bytes doc = asy_buf_bytes(&c->copy);
    enum asy_err err = c->lane ? asy_verify_lane(c->lane_report, doc, c->expected, &why)
                               : asy_verify_receipt(c->report, NULL, doc, c->expected, &why);
    bool known, good = c->lane ? c->lane_report->good : c->report->good, named = false;
    const char *labels = labels_for(&known, path);
    if (c->recorded && strcmp(path, "segments.promptDigest") == 0) {
        labels = "record"; /* the ids bind it */
    }
    c->tried++;
    if (err != ASY_OK) {
        c->refused++;
        CHECK(why.text[0] != '\0');
        return;
    }
    if (!must_refuse && known && labels == NULL) {
        c->unbound++;
        return;
    }
    if (labels != NULL && !good) {
        named = any_failed(c->lane ? &c->lane_report->findings : &c->report->findings, labels);
        for (uint32_t i = 0; !c->lane && i < c->report->segment_count; i++) {
            named = named || any_failed(&c->report->segments[i].findings, labels);
        }
    }
    c->caught += named;
    if (must_refuse || !named) {
        asy_test_failures++;
        fprintf(stderr, "%s of %s: %s\n", how, path,
                must_refuse ? "was read"
                : known     ? "no fitting check failed"
                            : "unknown member");
    }
}

static void replace(struct changes *c, struct asy_bytes text, size_t from, size_t to,
                    const char *by) {
    asy_buf_clear(&c->copy);
    CHECK_OK(asy_buf_add(&c->copy, text.p, from));
    CHECK_OK(asy_buf_add_str(&c->copy, by));
    CHECK_OK(asy_buf_add(&c->copy, text.p + to, text.n - to));
}

/* One bit of one digit at a time; text and numbers stay well-formed. */
static void change_scalar(struct walk *walk, size_t from, size_t to) {
    struct changes *c = walk->arg;
    struct asy_bytes text = walk->text;
    bool quoted = text.p[from] == '"';
    bool hex = quoted && to - from > 4 && text.p[from + 2] == 'x';
    size_t first = from + (quoted ? 1 : 0) + (hex ? 2 : 0), last = to - (quoted ? 2 : 1);
    if (text.p[from] == 't' || text.p[from] == 'f') {
        replace(c, text, from, to, text.p[from] == 't' ? "false" : "true");
        judge(c, walk->path, "negation", false);
    } else if (hex || (text.p[first] >= '0' && text.p[first] <= '9')) {
        for (size_t i = first; i <= last; i += hex ? 1 + (to - from) / 8 : 1) {
            asy_buf_clear(&c->copy);
            CHECK_OK(asy_buf_add_bytes(&c->copy, text));
            uint8_t *digit = &c->copy.p[i];
            *digit = *digit == '9' ? '8' : *digit == 'f' ? 'e' : *digit == '0' ? '1' : *digit + 1;
            if (*digit == ':') {
                *digit = 'a';
            }
            judge(c, walk->path, "another digit", false);
        }
        if (hex) { /* the last digit: v of a signature, the lowest bits of a hash */
            asy_buf_clear(&c->copy);
            CHECK_OK(asy_buf_add_bytes(&c->copy, text));
            c->copy.p[last] = c->copy.p[last] == 'c' ? 'b' : 'c';
            judge(c, walk->path, "another last digit", false);
            replace(c, text, first, first + 1, "g");
            judge(c, walk->path, "a letter", true);
            replace(c, text, last, last + 1, "");
            judge(c, walk->path, "a missing digit", true);
        } else {
            replace(c, text, first, first, "1");
            judge(c, walk->path, "a larger number", false);
            replace(c, text, first, first, "0");
            judge(c, walk->path, "a leading zero", true);
            if (text.p[first] != '0') { /* -0 is 0 */
                replace(c, text, first, first, "-");
                judge(c, walk->path, "a minus", true);
            }
            replace(c, text, last + 1, last + 1, ".5");
            judge(c, walk->path, "a fraction", true);
            replace(c, text, first, last + 1, "340282366920938463463374607431768211456");
            judge(c, walk->path, "2^128", true);
        }
    } else if (quoted) {
        replace(c, text, from, to, "\"running\"");
        judge(c, walk->path, "another word", false);
        bool any_text = strstr(walk->path, "sampling.stops") != NULL ||
                        strstr(walk->path, "record.request") != NULL;
        replace(c, text, from, to, "\"xyz\"");
        judge(c, walk->path, "an unknown word", !any_text);
    }
    replace(c, text, from, to, "{}");
    judge(c, walk->path, "another type", true);
    replace(c, text, from, to, quoted ? "7" : "\"7\"");
    judge(c, walk->path, "another type", true);
}

static void change_key(struct walk *walk, size_t from, size_t to) {
    struct changes *c = walk->arg;
    replace(c, walk->text, from, to, "\"other\"");
    judge(c, walk->path, "another key", true);
    replace(c, walk->text, from, from, "\"other\":0,");
    judge(c, walk->path, "an unknown member", true);
    char twice[80];
    (void)snprintf(twice, sizeof twice, "%.*s:0,", (int)(to - from),
                   (const char *)walk->text.p + from);
    replace(c, walk->text, from, from, twice);
    judge(c, walk->path, "a member twice", true);
}

/* EIP-55 checksums would hide every change of an address: all digits in lower case. Keys have no
 * X. */
static void lower_hex(struct asy_buf *doc) {
    for (size_t i = 0; i + 1 < doc->n; i++) {
        if (doc->p[i] == '0' && doc->p[i + 1] == 'x') {
            for (i += 2; doc->p[i] != '"'; i++) {
                doc->p[i] |= doc->p[i] >= 'A' && doc->p[i] <= 'F' ? 0x20 : 0;
            }
        }
    }
}

static void change_all(struct asy_buf *doc, const struct asy_domain *expected, bool lane,
                       bool recorded) {
    struct changes c = {.expected = expected,
                        .lane = lane,
                        .recorded = recorded,
                        .report = asy_alloc(sizeof *c.report),
                        .lane_report = asy_alloc(sizeof *c.lane_report)};
    asy_buf_init(&c.copy, doc->n + 1024);
    lower_hex(doc);
    struct walk walk = {
        .text = asy_buf_bytes(doc), .on_scalar = change_scalar, .on_key = change_key, .arg = &c};
    walk_value(&walk);
    CHECK_U64(walk.pos, doc->n);
    printf("%s: %u changes, %u refused, %u caught by a check, %u of members that nothing binds\n",
           lane ? "lane" : "receipt", c.tried, c.refused, c.caught, c.unbound);
    CHECK(c.caught > 200 && c.refused > 200);
    asy_buf_done(&c.copy);
    asy_free(c.report);
    asy_free(c.lane_report);
}

/* ---- cases ----------------------------------------------------------------------------------- */

static void check_states(const struct asy_verify_findings *f, const char *want) {
    char got[ASY_VERIFY_COUNT * 2 + 1] = "";
    for (uint32_t i = 0; i < f->count; i++) {
        got[i] = "-+!"[f->items[i].state];
        CHECK(i == 0 || f->items[i].check > f->items[i - 1].check);
        CHECK(asy_verify_meaning(f->items[i].check)[0] != '\0');
    }
    CHECK_STR(got, want);
}

static void test_true_documents(void) {
    struct asy_verify_report *r = asy_alloc(sizeof *r);
    struct asy_verify_lane_report *l = asy_alloc(sizeof *l);
    struct asy_buf doc;
    asy_buf_init(&doc, 8u << 20);
    /* sizes around powers of two, and the single leaf, which has no path */
    static const uint32_t counts[] = {1, 2, 3, 7, 8, 9, 33, 300};
    for (size_t k = 0; k < ASY_COUNT(counts); k++) {
        struct asy_why why = {{0}, {0}};
        struct bundle_world *w =
            bundle_new(counts[k], 1 + (uint32_t)k * 5, counts[k] > 256 ? 256 : 3);
        asy_u128 sum = 0;
        for (uint32_t i = 0; i < w->count; i++) {
            asy_buf_clear(&doc);
            bundle_write(&doc, w, i, 1);
            CHECK_OK(asy_verify_receipt(r, NULL, asy_buf_bytes(&doc), &w->domain, &why));
            CHECK(r->good);
            check_states(&r->findings, "++");
            check_states(&r->segments[0].findings, w->tickets[i].paid ? "++++++++-" : "+--+++-");
            CHECK(r->amount == w->tickets[i].receipt.amount);
            CHECK_U64(r->segments[0].settlement.number, 17);
            sum += r->amount;
            w->recorded =
                i % 2 == 0; /* a second segment alone does not show what it went on with */
            asy_buf_clear(&doc);
            bundle_write(&doc, w, i, 1);
            CHECK_OK(asy_verify_receipt(r, NULL, asy_buf_bytes(&doc), &w->domain, &why));
            CHECK(r->good && !r->segments[0].has_record);
            const char *recorded = w->tickets[i].paid ? "+++++++++--" : "+---+++-";
            check_states(&r->segments[0].findings, w->recorded          ? recorded
                                                   : w->tickets[i].paid ? "++++++++-"
                                                                        : "+--+++-");
            w->recorded = false;
        }
        asy_buf_clear(&doc);
        bundle_write_lane(&doc, w);
        CHECK_OK(asy_verify_lane(l, asy_buf_bytes(&doc), NULL, &why));
        CHECK(l->good);
        check_states(&l->findings, "-++++++"
                                   "+-");
        CHECK_U64(l->leaf_count, w->count);
        CHECK_U64(l->paid, l->signed_count);
        CHECK(l->amount == sum);
        CHECK(l->settlement.entry.spent - l->settlement.entry.before == sum);
        asy_free(w);
    }
    asy_buf_done(&doc);
    asy_free(r);
    asy_free(l);
}

static void test_not_there_yet(void) {
    struct bundle_world *w = bundle_new(8, 4, 3);
    struct asy_verify_report *r = asy_alloc(sizeof *r);
    struct asy_buf doc;
    asy_buf_init(&doc, 1u << 20);
    w->settled = w->is_signed = false;
    bundle_write(&doc, w, 2, 2); /* a job of two segments */
    CHECK_OK(asy_verify_receipt(r, NULL, asy_buf_bytes(&doc), NULL, NULL));
    CHECK(r->good);
    check_states(&r->findings, "-+");
    check_states(&r->segments[0].findings, "+++--");
    CHECK(!r->segments[0].has_checkpoint && !r->segments[0].has_settlement);
    CHECK_U64(r->segment_count, 2);
    CHECK_U64(r->out_tokens, w->tickets[2].receipt.out_tokens + w->tickets[3].receipt.out_tokens);
    enum asy_verify_kind kind;
    CHECK_OK(asy_verify_kind(&kind, asy_buf_bytes(&doc), NULL));
    CHECK(kind == ASY_VERIFY_KIND_RECEIPT);
    struct asy_verify_lane_report *l = asy_alloc(sizeof *l);
    struct asy_why why;
    CHECK_ERR(asy_verify_lane(l, asy_buf_bytes(&doc), NULL, &why), ASY_ERR_UNSUPPORTED);
    asy_buf_clear(&doc);
    w->settled = true;
    bundle_write_lane(&doc, w);
    CHECK_OK(asy_verify_kind(&kind, asy_buf_bytes(&doc), NULL));
    CHECK(kind == ASY_VERIFY_KIND_LANE);
    CHECK_OK(asy_verify_lane(l, asy_buf_bytes(&doc), &w->domain, NULL));
    check_states(&l->findings, "+++--+++-");
    CHECK(l->good);
    asy_free(l);
    asy_buf_done(&doc);
    asy_free(r);
    asy_free(w);
}

/* Documents that are whole, but lie as a whole. */
static enum asy_verify_state state_of(const struct asy_verify_findings *f,
                                      enum asy_verify_check check) {
    const struct asy_verify_finding *found = asy_verify_get(f, check);
    return found != NULL ? found->state : ASY_VERIFY_ABSENT;
}

static void test_lies(void) {
    struct asy_verify_report *r = asy_alloc(sizeof *r);
    struct asy_verify_lane_report *l = asy_alloc(sizeof *l);
    struct asy_buf doc;
    asy_buf_init(&doc, 1u << 20);

    /* an inflated receipt in a consistent tree: the node never signed it */
    struct bundle_world *w = bundle_new(8, 4, 3);
    w->tickets[1].receipt.out_tokens += 50;
    w->tickets[1].receipt.amount += 50 * w->tickets[1].terms.price_out;
    bundle_write(&doc, w, 1, 1);
    CHECK_OK(asy_verify_receipt(r, NULL, asy_buf_bytes(&doc), NULL, NULL));
    CHECK(!r->good);
    check_states(&r->segments[0].findings, "++++!!+-"); /* no sum without the leaf */
    asy_free(w);

    /* an entry that debits more than its leaves, in a batch that has exactly this entry */
    w = bundle_new(8, 1, 3);
    w->entries[0].spent += 1;
    asy_entry_hash(&w->batch[0], &w->entries[0]);
    asy_buf_clear(&doc);
    bundle_write(&doc, w, 1, 1);
    CHECK_OK(asy_verify_receipt(r, NULL, asy_buf_bytes(&doc), NULL, NULL));
    check_states(&r->segments[0].findings, "++++++!+-");
    asy_buf_clear(&doc);
    bundle_write_lane(&doc, w);
    CHECK_OK(asy_verify_lane(l, asy_buf_bytes(&doc), NULL, NULL));
    check_states(&l->findings, "-+++++!+-");
    /* and one that gives money back */
    w->entries[0].spent = 0;
    asy_entry_hash(&w->batch[0], &w->entries[0]);
    asy_buf_clear(&doc);
    bundle_write_lane(&doc, w);
    CHECK_OK(asy_verify_lane(l, asy_buf_bytes(&doc), NULL, NULL));
    check_states(&l->findings, "-+++++!+-");
    asy_free(w);

    /* a leaf left out, two leaves swapped, a leaf of another requester */
    w = bundle_new(8, 1, 3);
    w->count = 7;
    asy_buf_clear(&doc);
    bundle_write_lane(&doc, w);
    CHECK_OK(asy_verify_lane(l, asy_buf_bytes(&doc), NULL, NULL));
    CHECK(!l->good && state_of(&l->findings, ASY_VERIFY_LEAF) == ASY_VERIFY_FAILED);
    w->count = 8;
    struct bundle_ticket swap = w->tickets[2];
    w->tickets[2] = w->tickets[3];
    w->tickets[3] = swap;
    asy_buf_clear(&doc);
    bundle_write_lane(&doc, w);
    CHECK_OK(asy_verify_lane(l, asy_buf_bytes(&doc), NULL, NULL));
    CHECK(state_of(&l->findings, ASY_VERIFY_LEAF) == ASY_VERIFY_FAILED);
    w->tickets[3].terms.requester.b[0] ^= 1;
    asy_buf_clear(&doc);
    bundle_write_lane(&doc, w);
    CHECK_OK(asy_verify_lane(l, asy_buf_bytes(&doc), NULL, NULL));
    CHECK(state_of(&l->findings, ASY_VERIFY_JOB) == ASY_VERIFY_FAILED);
    CHECK(state_of(&l->findings, ASY_VERIFY_RECEIPT) == ASY_VERIFY_FAILED);
    asy_free(w);

    /* segments of two jobs in one bundle; the same segment twice; another chain */
    w = bundle_new(8, 1, 3);
    asy_buf_clear(&doc);
    bundle_write(&doc, w, 1, 2);
    CHECK_OK(asy_verify_receipt(r, NULL, asy_buf_bytes(&doc), NULL, NULL));
    CHECK(state_of(&r->findings, ASY_VERIFY_JOB) == ASY_VERIFY_FAILED);
    w->tickets[1] = w->tickets[0];
    asy_buf_clear(&doc);
    bundle_write(&doc, w, 0, 2);
    CHECK_OK(asy_verify_receipt(r, NULL, asy_buf_bytes(&doc), NULL, NULL));
    CHECK(state_of(&r->findings, ASY_VERIFY_JOB) == ASY_VERIFY_FAILED);
    struct asy_domain other;
    asy_domain_init(&other, w->domain.chain_id + 1, &w->domain.vault);
    asy_buf_clear(&doc);
    bundle_write(&doc, w, 0, 1);
    CHECK_OK(asy_verify_receipt(r, NULL, asy_buf_bytes(&doc), &other, NULL));
    CHECK(!r->good && state_of(&r->findings, ASY_VERIFY_DOMAIN) == ASY_VERIFY_FAILED);
    asy_free(w);
    asy_buf_done(&doc);
    asy_free(r);
    asy_free(l);
}

/* `sampling`: true for every kind of settings; a document that lies about who could judge, that has
 * none, or none any more. */
static void test_sampling(void) {
    struct bundle_world *w = bundle_new(8, 1, 3);
    struct asy_verify_report *r = asy_alloc(sizeof *r);
    struct asy_buf doc, changed;
    struct asy_why why;
    asy_buf_init(&doc, 1u << 20);
    asy_buf_init(&changed, 1u << 20);
    static const struct {
        uint32_t ticket;
        const char *from, *to;
        enum asy_verify_state state;
        bool unreadable;
    } cases[] = {
        {0, "\"judge\":\"contract\"", "\"judge\":\"contract\"", ASY_VERIFY_PASSED, false},
        {2, "\"judge\":\"replay\"", "\"judge\":\"replay\"", ASY_VERIFY_PASSED, false},
        {5, "[\"greedy\"]", "[\"greedy\"]", ASY_VERIFY_PASSED, false},
        {2, "\"judge\":\"replay\"", "\"judge\":\"contract\"", ASY_VERIFY_FAILED, false},
        {2, "[\"top_p\",\"frequency_penalty\"]", "[\"top_p\"]", ASY_VERIFY_FAILED, false},
        {2, "[\"top_p\",\"frequency_penalty\"]", "[]", ASY_VERIFY_FAILED, false},
        {2, "[\"temperature\",\"logit_bias\"]", "[\"temperature\",\"logit_bias\",\"top_p\"]",
         ASY_VERIFY_FAILED, false},
        {2, "[\"top_p\",\"frequency_penalty\"]", "[\"frequency_penalty\",\"top_p\"]",
         ASY_VERIFY_ABSENT, true},
        {2, "[\"stop\"]", "[]", ASY_VERIFY_FAILED, false},
        {2, "[\"stop\"]", "[\"\"]", ASY_VERIFY_ABSENT, true},
        {2, "[\"stop\"]", "[1]", ASY_VERIFY_ABSENT, true},
        {2, "[\"stop\"]", "[\"a\",\"b\",\"c\",\"d\",\"e\"]", ASY_VERIFY_ABSENT, true},
    };
    for (size_t i = 0; i < ASY_COUNT(cases); i++) {
        asy_buf_clear(&doc);
        asy_buf_clear(&changed);
        bundle_write(&doc, w, cases[i].ticket, 1);
        const char *text = asy_buf_cstr(&doc), *at = strstr(text, cases[i].from);
        ASY_ASSERT(at != NULL);
        CHECK_OK(asy_buf_add(&changed, text, (size_t)(at - text)));
        CHECK_OK(asy_buf_add_str(&changed, cases[i].to));
        CHECK_OK(asy_buf_add_str(&changed, at + strlen(cases[i].from)));
        enum asy_err err = asy_verify_receipt(r, NULL, asy_buf_bytes(&changed), &w->domain, &why);
        CHECK((err != ASY_OK) == cases[i].unreadable);
        if (err == ASY_OK) {
            CHECK(state_of(&r->segments[0].findings, ASY_VERIFY_SAMPLING) == cases[i].state);
            CHECK(r->good == (cases[i].state == ASY_VERIFY_PASSED));
        } else {
            CHECK(strstr(why.param, "segments[0].sampling.") == why.param);
        }
    }
    asy_buf_clear(&doc); /* unpaid: null */
    bundle_write(&doc, w, 4, 1);
    CHECK_OK(asy_verify_receipt(r, NULL, asy_buf_bytes(&doc), &w->domain, &why));
    const struct asy_verify_finding *f =
        asy_verify_get(&r->segments[0].findings, ASY_VERIFY_SAMPLING);
    CHECK(r->good && f != NULL && f->state == ASY_VERIFY_ABSENT);
    asy_buf_clear(&changed); /* not there: an earlier gateway's */
    const char *text = asy_buf_cstr(&doc), *at = strstr(text, "\"sampling\":null,");
    ASY_ASSERT(at != NULL);
    CHECK_OK(asy_buf_add(&changed, text, (size_t)(at - text)));
    CHECK_OK(asy_buf_add_str(&changed, at + strlen("\"sampling\":null,")));
    CHECK_OK(asy_verify_receipt(r, NULL, asy_buf_bytes(&changed), &w->domain, &why));
    CHECK(r->good && asy_verify_get(&r->segments[0].findings, ASY_VERIFY_SAMPLING) == NULL);
    asy_buf_done(&changed);
    asy_buf_done(&doc);
    asy_free(r);
    asy_free(w);
}

static void test_record(void) {
    struct bundle_world *w = bundle_new(12, 1, 3);
    struct asy_verify_report *r = asy_alloc(sizeof *r);
    struct asy_arena arena;
    struct asy_buf doc, changed;
    struct asy_why why;
    asy_buf_init(&doc, 1u << 20);
    asy_buf_init(&changed, 1u << 20);
    asy_arena_init(&arena, ASY_VERIFY_MAX_RECORDS);
    w->recorded = true;
    static const struct {
        uint32_t ticket; /* the job's first; both segments are shown */
        const char *from, *to;
        enum asy_verify_state state;
        const char *text; /* in what was found, or in the member at fault when it is unreadable */
    } cases[] = {
        {2, "\"prior\":[]", "\"prior\":[]", ASY_VERIFY_PASSED, "7 output ids"},
        {0, "\"prior\":[]", "\"prior\":[]", ASY_VERIFY_PASSED, "5 output ids"},
        {2, "{\\\"messages", "{ \\\"messages", ASY_VERIFY_FAILED, "request"},
        {2, "user", "system", ASY_VERIFY_FAILED, "request"},
        {2, "job\\\\\\\" 1", "job\\\\\\\" 2", ASY_VERIFY_FAILED, "request"},
        {2, "\"bias\":\"0x00000007fffe7960", "\"bias\":\"0x", ASY_VERIFY_FAILED, "bias"},
        {0, "\"bias\":\"0x\"", "\"bias\":\"0x00000007fffe7960\"", ASY_VERIFY_FAILED, "bias"},
        {2, "\"bias\":\"0x0", "\"bias\":\"0x", ASY_VERIFY_ABSENT, "segments[0].record.bias"},
        {2, "\"prior\":[]", "\"prior\":[1]", ASY_VERIFY_FAILED, "more than earlier"},
        {2, "\"output\":[2,1002", "\"output\":[2,1003", ASY_VERIFY_FAILED, "output ids"},
        {2, "\"output\":[2,1002", "\"output\":[1002,2", ASY_VERIFY_FAILED, "output ids"},
        {2, "\"output\":[2,1002", "\"output\":[2,2,1002", ASY_VERIFY_FAILED, "another number"},
        {2, "\"output\":[2,1002", "\"output\":[1002", ASY_VERIFY_FAILED, "another number"},
        {2, "\"output\":[2,", "\"output\":[4294967296,", ASY_VERIFY_ABSENT,
         "segments[0].record.output[0]"},
        {2, "\"output\":[2,1002,", "\"output\":[2,-1,", ASY_VERIFY_ABSENT,
         "segments[0].record.output[1]"},
        {2, "\"output\":[2,1002,", "\"output\":[2,\"1002\",", ASY_VERIFY_ABSENT,
         "segments[0].record.output[1]"},
        {2, "\"output\":[", "\"other\":[", ASY_VERIFY_ABSENT, "segments[0].record.other"},
        {2, "\"prior\":[],", "", ASY_VERIFY_ABSENT, "segments[0].record.prior"},
        {2, "\"request\":\"", "\"request\":7,\"x\":\"", ASY_VERIFY_ABSENT, "segments[0].record.x"},
    };
    for (size_t i = 0; i < ASY_COUNT(cases); i++) {
        asy_buf_clear(&doc);
        asy_buf_clear(&changed);
        asy_arena_reset(&arena);
        bundle_write(&doc, w, cases[i].ticket, 2);
        const char *text = asy_buf_cstr(&doc), *at = strstr(text, "\"record\":{");
        at = strstr(at, cases[i].from);
        ASY_ASSERT(at != NULL);
        CHECK_OK(asy_buf_add(&changed, text, (size_t)(at - text)));
        CHECK_OK(asy_buf_add_str(&changed, cases[i].to));
        CHECK_OK(asy_buf_add_str(&changed, at + strlen(cases[i].from)));
        enum asy_err err = asy_verify_receipt(r, &arena, asy_buf_bytes(&changed), NULL, &why);
        CHECK((err != ASY_OK) == (cases[i].state == ASY_VERIFY_ABSENT));
        const char *said = why.param;
        if (err == ASY_OK) {
            const struct asy_verify_finding *f =
                asy_verify_get(&r->segments[0].findings, ASY_VERIFY_RECORD);
            CHECK(f->state == cases[i].state && r->good == (f->state == ASY_VERIFY_PASSED));
            CHECK(f->state == ASY_VERIFY_PASSED || asy_verify_good(&r->findings));
            said = f->text;
        }
        if (strstr(said, cases[i].text) == NULL) {
            fprintf(stderr, "case %zu: %s\n", i, said);
        }
        CHECK(strstr(said, cases[i].text) != NULL);
    }

    /* what a replay gets */
    uint32_t ids[20];
    asy_buf_clear(&doc);
    bundle_write(&doc, w, 2, 2);
    CHECK_OK(asy_verify_receipt(r, &arena, asy_buf_bytes(&doc), NULL, &why));
    asy_buf_clear(&doc); /* it is the arena's */
    const struct asy_audit_record *a = &r->segments[1].record;
    CHECK(r->segments[0].has_record && r->segments[1].has_record && a->prior_count == 7);
    CHECK_U64(a->count, bundle_ids(ids, 3));
    CHECK(memcmp(a->ids, ids, a->count * sizeof *ids) == 0);
    CHECK_U64(bundle_ids(ids, 2), a->prior_count);
    CHECK(memcmp(a->prior, ids, a->prior_count * sizeof *ids) == 0);
    CHECK(asy_bytes_eq(a->bias, bundle_bias(2)) && a->settings.n == ASY_SAMPLE_SETTINGS_LEN);
    CHECK(a->stop_count == 1 && asy_bytes_eq(a->stops[0], ASY_STR("stop")));
    CHECK(asy_bytes_eq(a->messages, ASY_STR("{\"messages\":[{\"content\":\"\\\"job\\\" "
                                            "1\\n\",\"role\":\"user\"}]}")));

    /* prior ids that are not those before; an unpaid segment gave none that are known; a record
     * that an earlier segment has lost; the arena's end */
    bundle_write(&doc, w, 2, 2);
    char *prior = strstr((char *)doc.p, "\"prior\":[2,");
    ASY_ASSERT(prior != NULL);
    prior[9] = '3';
    CHECK_OK(asy_verify_receipt(r, NULL, asy_buf_bytes(&doc), NULL, &why));
    CHECK(state_of(&r->segments[0].findings, ASY_VERIFY_RECORD) == ASY_VERIFY_PASSED);
    CHECK(state_of(&r->segments[1].findings, ASY_VERIFY_RECORD) == ASY_VERIFY_FAILED);
    asy_buf_clear(&doc);
    bundle_write(&doc, w, 4, 2);
    CHECK_OK(asy_verify_receipt(r, NULL, asy_buf_bytes(&doc), NULL, &why));
    check_states(&r->segments[0].findings, "+---+++-");
    check_states(&r->segments[1].findings, "+++++++++--");
    asy_buf_clear(&doc);
    bundle_write(&doc, w, 3, 1);
    char *object = strstr((char *)doc.p, "\"record\":{");
    CHECK_OK(asy_verify_receipt(r, NULL, asy_buf_bytes(&doc), NULL, &why));
    CHECK(object != NULL && state_of(&r->segments[0].findings, ASY_VERIFY_RECORD) ==
                                ASY_VERIFY_FAILED); /* nothing was before it, as far as one sees */
    asy_buf_clear(&doc);
    w->recorded = false;
    bundle_write(&doc, w, 2, 1);
    w->recorded = true;
    doc.n -= 2; /* of the list and the document */
    CHECK_OK(asy_buf_add_str(&doc, ","));
    asy_buf_clear(&changed);
    struct asy_jw jw;
    asy_jw_init(&jw, &changed);
    bundle_put_segment(&jw, w, 3);
    CHECK_OK(asy_jw_finish(&jw));
    CHECK_OK(asy_buf_add_bytes(&doc, asy_buf_bytes(&changed)));
    CHECK_OK(asy_buf_add_str(&doc, "]}"));
    CHECK_OK(asy_verify_receipt(r, NULL, asy_buf_bytes(&doc), NULL, &why));
    CHECK(r->good);
    check_states(&r->segments[1].findings, "+++-+++++--");
    prior = strstr((char *)doc.p, "\"prior\":[2,"); /* the receipt knows better */
    ASY_ASSERT(prior != NULL);
    prior[9] = '3';
    CHECK_OK(asy_verify_receipt(r, NULL, asy_buf_bytes(&doc), NULL, &why));
    CHECK(state_of(&r->segments[1].findings, ASY_VERIFY_RECORD) == ASY_VERIFY_FAILED);
    prior[9] = '2';
    struct asy_arena small;
    asy_arena_init(&small, 64);
    CHECK_ERR(asy_verify_receipt(r, &small, asy_buf_bytes(&doc), NULL, &why), ASY_ERR_TOO_LONG);
    asy_arena_done(&small);

    /* a receipt of a broken link covers a part of what was relayed */
    w->tickets[0].receipt.finish = ASY_FINISH_LINK;
    uint64_t all = w->tickets[0].receipt.out_tokens;
    struct asy_hash prompt = bundle_hash("prompt", 0);
    for (uint64_t n = 0; n <= all + 1; n++) {
        w->tickets[0].receipt.out_tokens = n;
        ids[bundle_ids(ids, 0)] = 9;
        const struct asy_output output = {.prompt = prompt,
                                          .prompt_count = (uint32_t)w->tickets[0].receipt.in_tokens,
                                          .ids = ids,
                                          .count = (uint32_t)n};
        asy_output_digest(&w->tickets[0].receipt.output, &output);
        asy_buf_clear(&doc);
        bundle_write(&doc, w, 0, 1);
        CHECK_OK(asy_verify_receipt(r, NULL, asy_buf_bytes(&doc), NULL, &why));
        CHECK(state_of(&r->segments[0].findings, ASY_VERIFY_RECORD) ==
              (n <= all ? ASY_VERIFY_PASSED : ASY_VERIFY_FAILED));
    }
    asy_arena_done(&arena);
    asy_buf_done(&changed);
    asy_buf_done(&doc);
    asy_free(r);
    asy_free(w);
}

/* What is said of a replay that nobody did yet. */
static void test_replay_is_offered(void) {
    struct bundle_world *w = bundle_new(2, 1, 3);
    struct asy_verify_report *r = asy_alloc(sizeof *r);
    struct asy_buf doc;
    asy_buf_init(&doc, 1u << 20);
    static const struct {
        uint8_t tier;
        bool recorded;
        const char *text; /* NULL: nothing */
    } cases[] = {
        {ASY_TIER_AUDITED, false, NULL},
        {ASY_TIER_FORMAT, true, "tier `format`"},
        {ASY_TIER_AUDITED, true, "tier `audited`"},
        {ASY_TIER_EXACT, false, "receipt ID --record"},
        {ASY_TIER_EXACT, true, "verify --replay"},
        {ASY_TIER_TEE, true, "tier `tee`"},
        {9, true, "tier `unknown`"},
    };
    for (size_t i = 0; i < ASY_COUNT(cases); i++) {
        w->tickets[0].terms.tier = cases[i].tier;
        w->recorded = cases[i].recorded;
        asy_buf_clear(&doc);
        bundle_write(&doc, w, 0, 1);
        CHECK_OK(asy_verify_receipt(r, NULL, asy_buf_bytes(&doc), NULL, NULL));
        const struct asy_verify_finding *f =
            asy_verify_get(&r->segments[0].findings, ASY_VERIFY_REPLAY);
        CHECK((f == NULL) == (cases[i].text == NULL));
        CHECK(f == NULL ||
              (f->state == ASY_VERIFY_ABSENT && strstr(f->text, cases[i].text) != NULL));
    }
    asy_buf_done(&doc);
    asy_free(r);
    asy_free(w);
}

static void test_every_change(void) {
    struct bundle_world *w = bundle_new(7, 5, 3);
    struct asy_buf doc;
    asy_buf_init(&doc, 1u << 20);
    bundle_write(&doc, w, 2, 2); /* both paid */
    change_all(&doc, &w->domain, false, false);
    asy_buf_clear(&doc);
    w->recorded = true;
    bundle_write(&doc, w, 2, 2);
    change_all(&doc, &w->domain, false, true);
    asy_free(w);
    w = bundle_new(3, 5, 2);
    asy_buf_clear(&doc);
    bundle_write_lane(&doc, w);
    change_all(&doc, &w->domain, true, false);
    asy_buf_done(&doc);
    asy_free(w);
}

static void test_limits(void) {
    struct bundle_world *w = bundle_new(1, 1, 1);
    struct asy_verify_report *r = asy_alloc(sizeof *r);
    struct asy_buf doc;
    struct asy_why why;
    asy_buf_init(&doc, 1u << 20);
    struct asy_jw jw;
    for (uint32_t n = ASY_VERIFY_MAX_SEGMENTS; n <= ASY_VERIFY_MAX_SEGMENTS + 1; n++) {
        asy_buf_clear(&doc);
        asy_jw_init(&jw, &doc);
        asy_jw_object(&jw);
        asy_jw_kv_cstr(&jw, "object", "receipt");
        asy_jw_kv_hash(&jw, "id", &w->tickets[0].terms.job_id);
        bundle_put_domain(&jw, w);
        asy_jw_kv_array(&jw, "segments");
        for (uint32_t i = 0; i < n; i++) {
            w->tickets[0].terms.segment = i;
            bundle_put_segment(&jw, w, 0);
        }
        asy_jw_end(&jw);
        asy_jw_end(&jw);
        CHECK_OK(asy_jw_finish(&jw));
        CHECK_ERR(asy_verify_receipt(r, NULL, asy_buf_bytes(&doc), NULL, &why),
                  n <= ASY_VERIFY_MAX_SEGMENTS ? ASY_OK : ASY_ERR_RANGE);
    }
    CHECK_STR(why.param, "segments");
    CHECK_ERR(asy_verify_receipt(r, NULL, ASY_STR("[]"), NULL, &why), ASY_ERR_TYPE);
    CHECK_ERR(asy_verify_receipt(r, NULL, ASY_STR("{"), NULL, &why), ASY_ERR_SYNTAX);
    CHECK_ERR(asy_verify_receipt(r, NULL, (struct asy_bytes){0}, NULL, &why), ASY_ERR_SYNTAX);
    CHECK_ERR(asy_verify_receipt(r, NULL, ASY_STR("{\"object\":\"batch\"}"), NULL, &why),
              ASY_ERR_UNSUPPORTED);
    static const uint8_t one;
    CHECK_ERR(asy_verify_receipt(r, NULL, asy_bytes_of(&one, ASY_VERIFY_MAX_DOC + 1), NULL, &why),
              ASY_ERR_TOO_LONG); /* refused before a byte is read */
    asy_buf_done(&doc);
    asy_free(r);
    asy_free(w);
}

int main(void) {
    test_true_documents();
    test_not_there_yet();
    test_lies();
    test_sampling();
    test_record();
    test_replay_is_offered();
    test_every_change();
    test_limits();
    return asy_test_end();
}
