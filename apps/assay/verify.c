/* verify.c: `assay verify`: a receipt or a settled lane, checked offline, against a chain, and by
 * computing the answer again. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "money/money.h"
#include "replay_priv.h"

enum { LOG_MEMORY = 1u << 20 }; /* bytes for the logs of one transaction */

/* ---- the chain ------------------------------------------------------------------------------- */

struct chain {
    struct asy_evm *evm;
    struct asy_domain domain;
    bool separator_fits; /* the contract's own domain is the one that we computed */
};

static enum asy_err chain_open(struct chain *ret, const char *rpc, const struct asy_addr *vault,
                               struct asy_why *why) {
    uint64_t chain_id;
    struct asy_hash separator;
    ASY_TRY(asy_evm_new(&ret->evm, rpc, NULL, why));
    ASY_TRY(asy_evm_get_chain_id(ret->evm, &chain_id, why));
    ASY_TRY(asy_evm_vault_domain(ret->evm, &separator, vault, why));
    asy_domain_init(&ret->domain, chain_id, vault);
    ret->separator_fits = asy_hash_eq(&separator, &ret->domain.separator);
    return ASY_OK;
}

/* TX. errors: of the endpoint */
static enum asy_err check_tx(struct chain *c, const struct asy_verify_settlement *s,
                             const struct asy_addr *gateway, struct asy_verify_findings *f,
                             struct asy_why *why) {
    struct asy_arena arena;
    struct asy_evm_receipt r;
    struct asy_evm_event e;
    bool posted = false;
    asy_arena_init(&arena, LOG_MEMORY);
    enum asy_err err = asy_evm_get_receipt(c->evm, &r, &arena, &s->tx, why);
    for (size_t i = 0; err == ASY_OK && i < r.logs.count; i++) {
        posted = posted || (asy_addr_eq(&r.logs.items[i].address, &c->domain.vault) &&
                            asy_evm_event_decode(&e, &r.logs.items[i]) == ASY_OK &&
                            e.type == ASY_EVM_EVENT_SETTLED && e.number == s->number &&
                            asy_addr_eq(&e.gateway, gateway) && asy_hash_eq(&e.hash, &s->root));
    }
    if (err == ASY_ERR_NOT_FOUND) {
        asy_verify_add(f, ASY_VERIFY_TX, ASY_VERIFY_ABSENT,
                       "the endpoint does not know it; some forget old ones");
        err = ASY_OK;
    } else if (err == ASY_OK && (!r.ok || !posted)) {
        asy_verify_add(f, ASY_VERIFY_TX, ASY_VERIFY_FAILED, "it did not post this batch");
    } else if (err == ASY_OK && r.block_number != s->block) {
        asy_verify_add(f, ASY_VERIFY_TX, ASY_VERIFY_FAILED, "it is in block %llu, not in %llu",
                       (unsigned long long)r.block_number, (unsigned long long)s->block);
    } else if (err == ASY_OK) {
        asy_verify_add(f, ASY_VERIFY_TX, ASY_VERIFY_PASSED, "it posted the batch in block %llu",
                       (unsigned long long)s->block);
    }
    asy_arena_done(&arena);
    return err;
}

/* CHAIN, and TX where a transaction is named. errors: of the endpoint */
static enum asy_err check_chain(struct chain *c, const struct asy_verify_settlement *s,
                                const struct asy_terms *terms, struct asy_verify_findings *f,
                                struct asy_why *why) {
    const struct asy_verify_finding *said = asy_verify_get(f, ASY_VERIFY_CHAIN);
    struct asy_evm_batch batch;
    struct asy_evm_lane lane;
    unsigned long long number = s->number;
    if (said != NULL && said->state == ASY_VERIFY_FAILED) {
        return ASY_OK; /* the document contradicts itself already */
    }
    ASY_TRY(asy_evm_vault_batch(c->evm, &batch, &c->domain.vault, &terms->gateway, s->number, why));
    if (batch.at_s == 0) {
        asy_verify_add(f, ASY_VERIFY_CHAIN, s->confirmed ? ASY_VERIFY_FAILED : ASY_VERIFY_ABSENT,
                       "batch %llu is not on chain%s", number, s->confirmed ? "" : " yet");
        return ASY_OK;
    }
    ASY_TRY(
        asy_evm_vault_lane(c->evm, &lane, &c->domain.vault, &terms->gateway, s->entry.lane, why));
    if (!asy_hash_eq(&batch.root, &s->root)) {
        asy_verify_add(f, ASY_VERIFY_CHAIN, ASY_VERIFY_FAILED,
                       "batch %llu has another root on chain", number);
    } else if (!asy_addr_eq(&lane.owner, &terms->requester)) {
        asy_verify_add(f, ASY_VERIFY_CHAIN, ASY_VERIFY_FAILED,
                       "lane %u belongs to another requester", s->entry.lane);
    } else {
        asy_verify_add(f, ASY_VERIFY_CHAIN, ASY_VERIFY_PASSED,
                       "batch %llu has this root; the lane is the requester's", number);
    }
    return s->confirmed ? check_tx(c, s, &terms->gateway, f, why) : ASY_OK;
}

static void check_separator(const struct chain *c, struct asy_verify_findings *f) {
    if (!c->separator_fits) {
        asy_verify_add(f, ASY_VERIFY_DOMAIN, ASY_VERIFY_FAILED,
                       "the contract at this address signs under another domain");
    }
}

/* ---- printing -------------------------------------------------------------------------------- */

static bool utf8_terminal(void) {
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < ASY_COUNT(names); i++) {
        const char *v = getenv(names[i]);
        if (v != NULL && v[0] != '\0') {
            return strcasestr(v, "UTF-8") != NULL || strcasestr(v, "UTF8") != NULL;
        }
    }
    return false;
}

static const char *state_name(enum asy_verify_state state) {
    switch (state) {
    case ASY_VERIFY_ABSENT:
        return "absent";
    case ASY_VERIFY_PASSED:
        return "passed";
    case ASY_VERIFY_FAILED:
        return "failed";
    }
    return "";
}

static const char *state_sign(enum asy_verify_state state, bool utf8) {
    switch (state) {
    case ASY_VERIFY_ABSENT:
        return utf8 ? "\u2013" : "-   ";
    case ASY_VERIFY_PASSED:
        return utf8 ? "\u2713" : "ok  ";
    case ASY_VERIFY_FAILED:
        return utf8 ? "\u2717" : "FAIL";
    }
    return "";
}

/* How a document is looked at. */
struct task {
    const char *name; /* of the command */
    const struct asy_domain *expected;
    struct chain *chain;              /* NULL: offline */
    const struct replay_model *model; /* NULL: nothing is computed again */
    uint32_t context;
    bool count_all, json;
};

struct tally {
    bool utf8;
    unsigned passed, failed, absent;
};

static void print_findings(struct tally *t, const struct asy_verify_findings *f) {
    for (uint32_t i = 0; i < f->count; i++) {
        const struct asy_verify_finding *x = &f->items[i];
        t->passed += x->state == ASY_VERIFY_PASSED;
        t->failed += x->state == ASY_VERIFY_FAILED;
        t->absent += x->state == ASY_VERIFY_ABSENT;
        printf("  %s %-9s  %s\n", state_sign(x->state, t->utf8), asy_verify_label(x->check),
               x->text);
        if (x->state == ASY_VERIFY_FAILED) {
            printf("  %s %-9s  it must be so that: %s\n", t->utf8 ? " " : "    ", "",
                   asy_verify_meaning(x->check));
        }
    }
}

static void print_end(const struct tally *t) {
    if (t->failed != 0) {
        printf("NOT GOOD: %u failed, %u passed, %u had nothing to check\n", t->failed, t->passed,
               t->absent);
    } else {
        printf("good: %u passed, %u had nothing to check\n", t->passed, t->absent);
    }
}

static void print_replay(const struct task *task, const struct asy_verify_report *r,
                         const struct replay *replay) {
    for (uint32_t i = 0; i < r->segment_count; i++) {
        const struct replay_segment *s = &replay->segments[i];
        if (s->state == REPLAY_DONE && s->r.tokens.verdict == ASY_AUDIT_WRONG) {
            replay_print_wrong(task->model, &s->r);
        }
    }
    if (replay->proved && r->good) {
        printf("proved: %llu tokens are those of the model, computed again in %.2f s\n",
               (unsigned long long)replay->tokens, replay->seconds);
    } else if (r->good) {
        printf("NOT PROVED: there is a segment that could not be computed again\n");
    }
}

static void print_report(const struct asy_verify_report *r) {
    struct tally t = {.utf8 = utf8_terminal()};
    char id[ASY_HASH_TEXT], usd[ASY_USD_STR], node[ASY_ADDR_STR];
    asy_hash_format(id, &r->job_id);
    asy_usd_format(usd, (struct asy_usd){r->amount});
    printf("receipt of job %s\n%llu tokens in, %llu out: %s USD\n", id,
           (unsigned long long)r->in_tokens, (unsigned long long)r->out_tokens, usd);
    print_findings(&t, &r->findings);
    for (uint32_t i = 0; i < r->segment_count; i++) {
        asy_addr_format(node, &r->segments[i].terms.node);
        printf("segment %u, node %s\n", r->segments[i].terms.segment, node);
        print_findings(&t, &r->segments[i].findings);
    }
    print_end(&t);
}

static void print_lane(const struct asy_verify_lane_report *r) {
    struct tally t = {.utf8 = utf8_terminal()};
    char usd[ASY_USD_STR], requester[ASY_ADDR_STR], gateway[ASY_ADDR_STR];
    asy_usd_format(usd, (struct asy_usd){r->amount});
    asy_addr_format(requester, &r->requester);
    asy_addr_format(gateway, &r->gateway);
    printf("lane %u in batch %llu: %u jobs, %u of them paid\n"
           "requester %s, gateway %s\n%llu tokens in, %llu out: %s USD\n",
           r->settlement.entry.lane, (unsigned long long)r->settlement.number, r->leaf_count,
           r->paid, requester, gateway, (unsigned long long)r->in_tokens,
           (unsigned long long)r->out_tokens, usd);
    print_findings(&t, &r->findings);
    print_end(&t);
}

static void write_findings(struct asy_jw *w, const struct asy_verify_findings *f) {
    asy_jw_kv_array(w, "checks");
    for (uint32_t i = 0; i < f->count; i++) {
        asy_jw_object(w);
        asy_jw_kv_cstr(w, "check", asy_verify_label(f->items[i].check));
        asy_jw_kv_cstr(w, "state", state_name(f->items[i].state));
        asy_jw_kv_cstr(w, "text", f->items[i].text);
        asy_jw_end(w);
    }
    asy_jw_end(w);
}

static void write_settlement(struct asy_jw *w, const struct asy_verify_settlement *s) {
    asy_jw_kv_object(w, "settlement");
    asy_jw_kv_u64(w, "number", s->number);
    asy_jw_kv_u64(w, "lane", s->entry.lane);
    asy_jw_kv_hash(w, "root", &s->root);
    asy_jw_kv_hash(w, "tx", &s->tx);
    asy_jw_kv_u64(w, "block", s->block);
    asy_jw_end(w);
}

static void write_head(struct asy_jw *w, bool good, const char *document,
                       const struct asy_domain *domain, uint64_t in_tokens, uint64_t out_tokens,
                       asy_u128 amount) {
    char usd[ASY_USD_STR];
    asy_usd_format(usd, (struct asy_usd){amount});
    asy_jw_object(w);
    asy_jw_kv_cstr(w, "object", "verification");
    asy_jw_kv_bool(w, "good", good);
    asy_jw_kv_cstr(w, "document", document);
    asy_jw_kv_u64(w, "chain_id", domain->chain_id);
    asy_jw_kv_addr(w, "vault", &domain->vault);
    asy_jw_kv_u64(w, "prompt_tokens", in_tokens);
    asy_jw_kv_u64(w, "completion_tokens", out_tokens);
    asy_jw_kv_cstr(w, "amount", usd);
}

/* replay: NULL where none was asked for. */
static void write_report(struct asy_jw *w, const struct asy_verify_report *r,
                         const struct task *task, const struct replay *replay) {
    write_head(w, r->good, "receipt", &r->domain, r->in_tokens, r->out_tokens, r->amount);
    asy_jw_kv_hash(w, "job_id", &r->job_id);
    if (replay != NULL) {
        asy_jw_kv_bool(w, "proved", replay->proved && r->good);
        asy_jw_key(w, "seconds");
        asy_jw_f64(w, replay->seconds);
    }
    write_findings(w, &r->findings);
    asy_jw_kv_array(w, "segments");
    for (uint32_t i = 0; i < r->segment_count; i++) {
        const struct asy_verify_segment *s = &r->segments[i];
        asy_jw_object(w);
        asy_jw_kv_u64(w, "segment", s->terms.segment);
        asy_jw_kv_addr(w, "node", &s->terms.node);
        write_findings(w, &s->findings);
        if (s->has_settlement) {
            write_settlement(w, &s->settlement);
        }
        if (replay != NULL) {
            replay_write(w, task->model, &replay->segments[i]);
        }
        asy_jw_end(w);
    }
    asy_jw_end(w);
    asy_jw_end(w);
}

static void write_lane(struct asy_jw *w, const struct asy_verify_lane_report *r) {
    write_head(w, r->good, "lane_entry", &r->domain, r->in_tokens, r->out_tokens, r->amount);
    asy_jw_kv_addr(w, "requester", &r->requester);
    asy_jw_kv_addr(w, "gateway", &r->gateway);
    asy_jw_kv_u64(w, "leaves", r->leaf_count);
    asy_jw_kv_u64(w, "paid", r->paid);
    asy_jw_kv_u64(w, "signed", r->signed_count);
    write_settlement(w, &r->settlement);
    write_findings(w, &r->findings);
    asy_jw_end(w);
}

/* ---- the command ----------------------------------------------------------------------------- */

static enum asy_err check_on_chain(struct asy_verify_report *r, struct chain *chain,
                                   struct asy_why *why) {
    check_separator(chain, &r->findings);
    for (uint32_t i = 0; i < r->segment_count; i++) {
        struct asy_verify_segment *s = &r->segments[i];
        if (s->has_settlement) {
            ASY_TRY(check_chain(chain, &s->settlement, &s->terms, &s->findings, why));
        }
    }
    return ASY_OK;
}

static void judge(struct asy_verify_report *r) {
    r->good = asy_verify_good(&r->findings);
    for (uint32_t i = 0; i < r->segment_count; i++) {
        r->good = r->good && asy_verify_good(&r->segments[i].findings);
    }
}

/* The exit status: 0 all is right; 1 something is not; 2 what was to be proved could not be. */
static int status_of(bool good, const struct replay *replay) {
    return !good ? 1 : replay == NULL || replay->proved ? 0 : 2;
}

static enum asy_err receipt(const struct task *task, struct asy_bytes document, struct asy_jw *json,
                            int *ret_status, struct asy_why *why) {
    struct asy_verify_report *r = asy_alloc(sizeof *r); /* large */
    struct replay *replay = task->model != NULL ? asy_alloc(sizeof *replay) : NULL;
    struct asy_arena arena;
    asy_arena_init(&arena, ASY_VERIFY_MAX_RECORDS);
    enum asy_err err =
        asy_verify_receipt(r, replay != NULL ? &arena : NULL, document, task->expected, why);
    if (err == ASY_OK && task->chain != NULL) {
        err = check_on_chain(r, task->chain, why);
    }
    if (err == ASY_OK && replay != NULL) {
        replay_run(replay, r, task->model, task->context, task->count_all);
    }
    if (err == ASY_OK) {
        judge(r);
        *ret_status = status_of(r->good, replay);
    }
    if (err == ASY_OK && task->json) {
        write_report(json, r, task, replay);
    } else if (err == ASY_OK) {
        print_report(r);
        if (replay != NULL) {
            print_replay(task, r, replay);
        }
    }
    asy_arena_done(&arena);
    asy_free(replay);
    asy_free(r);
    return err;
}

static enum asy_err lane(const struct task *task, struct asy_bytes document, struct asy_jw *json,
                         int *ret_status, struct asy_why *why) {
    struct asy_verify_lane_report r;
    if (task->model != NULL) {
        return asy_why_set(why, ASY_ERR_UNSUPPORTED, NULL,
                           "a lane has no records of its jobs; --replay takes a receipt");
    }
    ASY_TRY(asy_verify_lane(&r, document, task->expected, why));
    if (task->chain != NULL) {
        const struct asy_terms terms = {.requester = r.requester, .gateway = r.gateway};
        check_separator(task->chain, &r.findings);
        ASY_TRY(check_chain(task->chain, &r.settlement, &terms, &r.findings, why));
        r.good = asy_verify_good(&r.findings);
    }
    *ret_status = status_of(r.good, NULL);
    if (task->json) {
        write_lane(json, &r);
    } else {
        print_lane(&r);
    }
    return ASY_OK;
}

static int verify(const struct task *task, struct asy_bytes document) {
    struct asy_why why = {{0}, {0}};
    struct asy_buf buf;
    struct asy_jw w;
    enum asy_verify_kind kind;
    int status = 2;
    asy_buf_init(&buf, ASY_MAX_RESPONSE);
    asy_jw_init(&w, &buf);
    enum asy_err err = asy_verify_kind(&kind, document, &why);
    if (err == ASY_OK) {
        err = (kind == ASY_VERIFY_KIND_LANE ? lane : receipt)(task, document, &w, &status, &why);
    }
    if (err == ASY_OK && task->json) {
        err = asy_jw_finish(&w);
        client_print_json(asy_buf_bytes(&buf));
    }
    asy_buf_done(&buf);
    if (err != ASY_OK) {
        (void)app_fail(task->name, err, &why);
        return 2;
    }
    return status;
}

int verify_print(const char *name, struct asy_bytes document, const struct asy_domain *expected,
                 bool json) {
    const struct task task = {.name = name, .expected = expected, .json = json};
    return verify(&task, document);
}

struct options {
    const char *rpc, *vault, *chain_id;
    bool json, replay, count_all;
    uint32_t context;
    struct replay_options model;
};

/* The document against the chain that the options name, and by the model, if one is given. */
static int run_on(const struct options *o, struct task *task, const struct asy_addr *vault,
                  uint64_t chain_id, struct asy_bytes document) {
    struct asy_why why = {{0}, {0}};
    struct asy_domain expected;
    struct chain chain = {0};
    int rc = 2;
    enum asy_err err = o->rpc != NULL ? chain_open(&chain, o->rpc, vault, &why) : ASY_OK;
    if (err != ASY_OK) {
        (void)app_fail(task->name, err, &why);
    } else if (o->rpc != NULL && chain_id != 0 && chain_id != chain.domain.chain_id) {
        rc = client_usage(task->name, "the endpoint is of chain %llu, not of %s",
                          (unsigned long long)chain.domain.chain_id, o->chain_id);
    } else {
        if (o->vault != NULL) {
            asy_domain_init(&expected, o->rpc != NULL ? chain.domain.chain_id : chain_id, vault);
            task->expected = &expected;
        }
        task->chain = o->rpc != NULL ? &chain : NULL;
        rc = verify(task, document);
    }
    asy_evm_free(chain.evm);
    return rc;
}

static int run(const char *name, const struct options *o, const char *path) {
    struct asy_why why = {{0}, {0}};
    struct asy_addr vault = {{0}};
    struct replay_model model = {0};
    uint64_t chain_id = 0;
    if ((o->vault == NULL) != (o->rpc == NULL && o->chain_id == NULL)) {
        return client_usage(name, "--vault goes with --rpc or --chain-id, and they with it");
    }
    if (o->vault != NULL && asy_addr_parse(&vault, asy_bytes_cstr(o->vault)) != ASY_OK) {
        return client_usage(name, "--vault takes an address: 0x and 40 hex digits");
    }
    if (o->chain_id != NULL && asy_bytes_to_u64(&chain_id, asy_bytes_cstr(o->chain_id)) != ASY_OK) {
        return client_usage(name, "--chain-id takes a whole number");
    }
    struct asy_buf document;
    asy_buf_init(&document, ASY_VERIFY_MAX_DOC);
    struct task task = {.name = name,
                        .context = o->context,
                        .count_all = o->count_all,
                        .json = o->json,
                        .model = o->replay ? &model : NULL};
    int rc = 2;
    enum asy_err err = app_read_file(&document, path, false, &why);
    if (err != ASY_OK) {
        (void)app_fail(name, err, &why);
    } else if (!o->replay || replay_model_open(&model, &o->model, name)) {
        rc = run_on(o, &task, &vault, chain_id, asy_buf_bytes(&document));
    }
    replay_model_close(&model);
    asy_buf_done(&document);
    return rc;
}

int cmd_verify(int argc, char **argv) {
    static const char help[] =
        "usage: assay verify [FILE | -] [--rpc URL --vault ADDR] [--json]\n"
        "       assay verify FILE --replay --model MODEL --name NAME [...]\n\n"
        "Checks what a gateway says about a job, without trusting it: a receipt (assay receipt ID\n"
        "-o FILE), or a lane's whole part of a batch (GET /v1/settlement/NUMBER/lanes/LANE).\n"
        "Standard input where no FILE is named.\n\n"
        "The receipt must fit its terms, the node must have signed it, it must be a leaf of the\n"
        "lane's debit with exactly its amount, and the debit must be in the batch. Whether that\n"
        "batch is on chain, only the chain can tell:\n\n"
        "  --rpc URL            JSON-RPC endpoint of the chain: compare root, transaction and\n"
        "                       owner of the lane with what is there\n"
        "  --vault ADDR         the market's Vault, from a source that you trust; with it, the\n"
        "                       signatures must be for this vault\n"
        "  --chain-id N         with --vault, but without --rpc: the signatures must be for this\n"
        "                       chain\n"
        "  --json               print the result as JSON\n\n"
        "Whether the answer came from the model, computing it again can tell: at every position\n"
        "of an answer of tier `exact` only one token is right. It takes the receipt with the\n"
        "job's record, and the model file:\n\n"
        "    assay receipt ID --record -o job.json\n"
        "    assay models convert IN.gguf MODEL\n"
        "    assay verify job.json --replay --model MODEL --name NAME\n\n"
        "  --replay             compute it again: all of it is proved, or the first wrong token\n"
        "                       and the right one are shown\n" REPLAY_HELP
        "  --context N          the nodes' context, where that is less than the manifest's: an\n"
        "                       answer may end where it is full\n"
        "  --all                go on behind the first wrong token, and count them\n\n"
        "Exit status: 0 every check that had something to check passed, and with --replay, all\n"
        "that was paid is proved; 1 a check failed; 2 the document cannot be read or not be\n"
        "replayed, the endpoint does not answer, or the usage is wrong.\n";
    enum {
        OPT_RPC = REPLAY_OPT_OWN,
        OPT_VAULT,
        OPT_CHAIN_ID,
        OPT_REPLAY,
        OPT_CONTEXT,
        OPT_ALL,
    };
    static const struct option options[] = {{"rpc", required_argument, NULL, OPT_RPC},
                                            {"vault", required_argument, NULL, OPT_VAULT},
                                            {"chain-id", required_argument, NULL, OPT_CHAIN_ID},
                                            {"replay", no_argument, NULL, OPT_REPLAY},
                                            {"context", required_argument, NULL, OPT_CONTEXT},
                                            {"all", no_argument, NULL, OPT_ALL},
                                            REPLAY_OPTIONS,
                                            {"json", no_argument, NULL, OPT_JSON},
                                            CLIENT_OPTION_HELP};
    struct options o = {0};
    bool about_replay = false; /* an option that means nothing without --replay */
    for (int i; (i = client_option(argc, argv, argv[0], help, "", options)) != -1;) {
        int rc = 0;
        about_replay = about_replay || i == OPT_CONTEXT || i == OPT_ALL ||
                       (i >= REPLAY_OPT_MODEL && i < REPLAY_OPT_OWN);
        switch (i) {
        case OPT_RPC:
            o.rpc = optarg;
            break;
        case OPT_VAULT:
            o.vault = optarg;
            break;
        case OPT_CHAIN_ID:
            o.chain_id = optarg;
            break;
        case OPT_REPLAY:
            o.replay = true;
            break;
        case OPT_CONTEXT:
            rc = exact_number(&o.context, argv[0], "--context", optarg, 1, 1u << 30);
            break;
        case OPT_ALL:
            o.count_all = true;
            break;
        case OPT_JSON:
            o.json = true;
            break;
        default:
            rc = replay_option(&o.model, argv[0], i);
        }
        if (rc != 0) {
            return i == OPT_HELP ? 0 : 2;
        }
    }
    if (argc - optind > 1) {
        return client_usage(argv[0], "one document at a time");
    }
    if (about_replay && !o.replay) {
        return client_usage(argv[0], "a model is for --replay");
    }
    if (o.replay && replay_options_check(&o.model, argv[0], true) != 0) {
        return 2;
    }
    const char *path = optind < argc ? argv[optind] : "-";
    return run(argv[0], &o, strcmp(path, "-") == 0 ? "/dev/stdin" : path);
}
