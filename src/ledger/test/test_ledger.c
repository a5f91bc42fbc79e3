/* The ledger, rule by rule, each time also as it comes back from the file. */
#include "ledger/test/rig.h"

#include "codec/codec.h"

static void begin(void) {
    rig_begin();
    for (unsigned i = 0; i < RIG_NODES; i++) {
        rig_restart_numbering(i);
    }
}

/* ---- small values, accounts, keys, caps ------------------------------------------------------ */

static void test_values(void) {
    begin();
    struct asy_buf b;
    asy_buf_init(&b, 100);
    CHECK_ERR(asy_ledger_get(rig_ledger, "cursor", &b), ASY_ERR_NOT_FOUND);
    CHECK_OK(asy_ledger_put(rig_ledger, "cursor", ASY_STR("one")));
    CHECK_OK(asy_ledger_put(rig_ledger, "cursor", ASY_STR("two")));
    CHECK_OK(asy_ledger_put(rig_ledger, "empty", ASY_STR("")));
    CHECK(asy_ledger_dirty(rig_ledger));
    rig_reopen();
    CHECK(!asy_ledger_dirty(rig_ledger));
    CHECK_OK(asy_ledger_get(rig_ledger, "cursor", &b));
    CHECK_STR(asy_buf_cstr(&b), "two");
    asy_buf_clear(&b);
    CHECK_OK(asy_ledger_get(rig_ledger, "empty", &b));
    CHECK_U64(b.n, 0);
    asy_buf_done(&b);
    rig_end();
}

static void count_account(void *arg, struct asy_account *a) {
    (void)a;
    ++*(int *)arg;
}

static void test_accounts_and_keys(void) {
    begin();
    struct asy_account *a = rig_account(1), *b = rig_account(2);
    CHECK(a != b && rig_account(1) == a);
    struct asy_addr nobody = rig_addr('r', 77);
    CHECK(asy_ledger_find_account(rig_ledger, &nobody) == NULL);
    CHECK(asy_ledger_lane_account(rig_ledger, 1) == NULL);
    uint64_t created = a->created_ms;
    char keys[3][ASY_KEY_TEXT];
    uint64_t ids[3];
    CHECK_OK(asy_ledger_issue_key(rig_ledger, keys[0], &ids[0], a, ASY_STR("first")));
    CHECK_OK(asy_ledger_issue_key(rig_ledger, keys[1], &ids[1], a, ASY_STR("")));
    CHECK_OK(asy_ledger_issue_key(rig_ledger, keys[2], &ids[2], b, ASY_STR("b")));
    CHECK(ids[0] < ids[1] && ids[1] < ids[2]);
    CHECK_U64(strlen(keys[0]), ASY_KEY_TEXT - 1);
    CHECK(strncmp(keys[0], "sk-assay-", 9) == 0 && strcmp(keys[0], keys[1]) != 0);
    CHECK_OK(asy_ledger_revoke_key(rig_ledger, ids[1]));
    CHECK_ERR(asy_ledger_revoke_key(rig_ledger, ids[1]), ASY_ERR_NOT_FOUND);
    CHECK_ERR(asy_ledger_revoke_key(rig_ledger, 99), ASY_ERR_NOT_FOUND);
    for (int round = 0; round < 2; round++) {
        CHECK(asy_ledger_find_key(rig_ledger, asy_bytes_cstr(keys[0])) == rig_account(1));
        CHECK(asy_ledger_find_key(rig_ledger, asy_bytes_cstr(keys[1])) == NULL);
        CHECK(asy_ledger_find_key(rig_ledger, asy_bytes_cstr(keys[2])) == rig_account(2));
        CHECK(asy_ledger_find_key(rig_ledger, asy_bytes_of(keys[0], ASY_KEY_TEXT - 2)) == NULL);
        CHECK(asy_ledger_find_key(rig_ledger, ASY_STR("")) == NULL);
        rig_reopen();
    }
    int accounts = 0;
    asy_ledger_each_account(rig_ledger, count_account, &accounts);
    CHECK_U64(accounts, 2);
    CHECK_U64(rig_account(1)->created_ms, created);
    char later[ASY_KEY_TEXT];
    uint64_t id;
    CHECK_OK(asy_ledger_issue_key(rig_ledger, later, &id, rig_account(1), ASY_STR("")));
    CHECK(id > ids[2]); /* numbers are not used again */
    /* the file holds no key */
    rig_commit();
    FILE *f = fopen(rig_path, "rb");
    static char content[1 << 20];
    size_t n = f != NULL ? fread(content, 1, sizeof content, f) : 0;
    CHECK(n > 0 && memmem(content, n, keys[0] + 9, 43) == NULL);
    if (f != NULL) {
        (void)fclose(f); /* read only */
    }
    rig_end();
}

static void test_caps(void) {
    begin();
    struct asy_account *a = rig_account(1);
    struct asy_sig sig = {{9}};
    struct asy_cap cap = rig_cap(a, 5);
    CHECK(!a->has_cap);
    CHECK_OK(asy_ledger_set_cap(rig_ledger, a, &cap, &sig));
    CHECK_ERR(asy_ledger_set_cap(rig_ledger, a, &cap, &sig), ASY_ERR_CONFLICT);
    cap.nonce = 4;
    CHECK_ERR(asy_ledger_set_cap(rig_ledger, a, &cap, &sig), ASY_ERR_CONFLICT);
    struct asy_lane_facts facts = {.lane = 3, .cap_open = true, .funded = 1000};
    CHECK_OK(asy_ledger_set_lane(rig_ledger, a, &facts));
    CHECK(a->cap_open);
    cap.nonce = 6;
    CHECK_OK(asy_ledger_set_cap(rig_ledger, a, &cap, &sig));
    CHECK(!a->cap_open); /* the new one is not on chain yet */
    rig_reopen();
    a = rig_account(1);
    struct asy_hash h;
    asy_object_hash(&h, ASY_OBJ_CAP, &cap);
    CHECK(a->has_cap && a->cap.nonce == 6 && asy_hash_eq(&a->cap_hash, &h) && !a->cap_open);
    CHECK_MEM(&a->cap_sig, &sig, sizeof sig);
    CHECK(a->lane == 3 && a->funded == 1000);
    CHECK(asy_ledger_lane_account(rig_ledger, 3) == a);
    rig_end();
}

/* ---- lanes ----------------------------------------------------------------------------------- */

static void test_lane(void) {
    begin();
    struct asy_account *a = rig_funded(0, 500);
    CHECK(asy_ledger_headroom(a) == 500 && a->free == 7);
    BALANCED();
    rig_funded(0, 500); /* again: nothing happens */
    rig_funded(0, 900); /* a pull */
    CHECK(asy_ledger_headroom(a) == 900);
    BALANCED();
    rig_funded(0, 700); /* taken back by a re-organisation */
    CHECK(asy_ledger_headroom(a) == 700);
    BALANCED();
    rig_reopen();
    a = rig_account(0);
    CHECK(a->funded == 700 && a->lane == 1 && a->cap_open);
    BALANCED();
    /* a lane that holds less than it owes has no headroom, not a huge one */
    struct asy_node_book *n = rig_node(0);
    struct asy_terms t = rig_issue(a, n);
    CHECK(asy_ledger_headroom(a) == 700 - WORST);
    rig_funded(0, 100);
    CHECK(asy_ledger_headroom(a) == 0);
    CHECK_ERR(rig_try_issue(&t, a, n), ASY_ERR_CREDIT);
    rig_end();
}

/* A lane was closed, and the requester opened another: a receipt of the old one must not be taken
 * for one of the new. */
static void test_next_lane(void) {
    begin();
    struct asy_account *a = rig_funded(0, 5000);
    struct asy_node_book *n = rig_node(0);
    struct asy_terms old_paid = rig_issue(a, n), old_open = rig_issue(a, n),
                     old_unsigned = rig_issue(a, n), old_void = rig_issue(a, n);
    rig_pay_signed(0, &old_paid, 5);
    CHECK(asy_ledger_unposted(rig_ledger) == 1 && asy_ledger_unposted_pay(rig_ledger) == 22);
    (void)rig_pay(0, &old_unsigned, 6);
    struct asy_lane_facts facts = {.lane = 9, .cap_open = true, .funded = 2000};
    MUST(asy_ledger_set_lane(rig_ledger, a, &facts));
    CHECK(a->lane == 9 && a->lane_seq == 0 && a->paid == 0 && a->reserved == 0 &&
          asy_ledger_headroom(a) == 2000);
    CHECK(asy_ledger_unposted(rig_ledger) == 0 && asy_ledger_unposted_pay(rig_ledger) == 0);
    CHECK(asy_ledger_lane_account(rig_ledger, 1) == NULL &&
          asy_ledger_lane_account(rig_ledger, 9) == a);
    BALANCED();
    struct asy_terms fresh0 = rig_issue(a, n), fresh1 = rig_issue(a, n);
    CHECK_U64(fresh1.lane_seq, old_open.lane_seq);
    rig_pay_signed(0, &old_open, 7); /* the node is owed, and the new lane knows nothing of it */
    MUST(asy_ledger_void(rig_ledger, &old_void, ASY_STR("late")));
    CHECK(a->paid == 0 && a->reserved == 2 * WORST && n->owed == 22 + 25 + 28);
    BALANCED();
    rig_pay_signed(0, &fresh1, 1);
    rig_pay_signed(0, &fresh0, 2);
    CHECK(asy_ledger_unposted(rig_ledger) == 2);
    BALANCED();
    rig_reopen();
    a = rig_account(0);
    CHECK(a->paid == 10 + 13 && asy_ledger_unposted(rig_ledger) == 2);
    BALANCED();
    /* a re-organisation brings the old one back for a while */
    facts.lane = 1;
    facts.funded = 5000;
    MUST(asy_ledger_set_lane(rig_ledger, a, &facts));
    CHECK(a->lane_seq == 4 && a->paid == 22 + 28 + 25);
    BALANCED();
    facts.lane = 9;
    facts.funded = 2500;
    MUST(asy_ledger_set_lane(rig_ledger, a, &facts));
    CHECK(a->lane_seq == 2 && a->funded == 2500);
    BALANCED();
    rig_end();
}

/* ---- tickets --------------------------------------------------------------------------------- */

static void test_issue(void) {
    begin();
    struct asy_account *a = rig_account(0);
    struct asy_node_book *n = rig_node(0);
    struct asy_terms t;
    CHECK_ERR(rig_try_issue(&t, a, n), ASY_ERR_STATE); /* no lane */
    a = rig_funded(0, 20000);
    t = rig_issue(a, n);
    CHECK(t.lane_seq == 0 && t.link_seq == 0 && asy_hash_eq(&t.cap, &a->cap_hash));
    t = rig_issue(a, rig_node(1));
    CHECK(t.lane_seq == 1 && t.link_seq == 0);
    t = rig_issue(a, n);
    CHECK(t.lane_seq == 2 && t.link_seq == 1 && a->reserved == 3 * WORST);

    struct asy_ticket_note note = {.model = ASY_STR("m")};
    struct asy_terms bent = rig_terms(a, n);
    bent.price_out = 1001; /* above the cap */
    CHECK_ERR(asy_ledger_issue(rig_ledger, a, n, &bent, &note, &rig_why), ASY_ERR_RANGE);
    bent = rig_terms(a, n);
    bent.gateway = rig_addr('g', 1); /* not the cap's */
    CHECK_ERR(asy_ledger_issue(rig_ledger, a, n, &bent, &note, &rig_why), ASY_ERR_MISMATCH);
    bent = rig_terms(a, n);
    bent.deadline = bent.issued_at + 601;
    CHECK_ERR(asy_ledger_issue(rig_ledger, a, n, &bent, &note, &rig_why), ASY_ERR_RANGE);
    bent = rig_terms(a, n);
    bent.issued_at = 4000000001u; /* the cap has ended */
    bent.deadline = bent.issued_at + 1;
    CHECK_ERR(asy_ledger_issue(rig_ledger, a, n, &bent, &note, &rig_why), ASY_ERR_STATE);
    bent = rig_terms(a, n);
    bent.max_out = UINT64_MAX;
    CHECK_ERR(asy_ledger_issue(rig_ledger, a, n, &bent, &note, &rig_why), ASY_ERR_CREDIT);
    CHECK(a->lane_seq == 3 && n->link_seq == 2 &&
          a->reserved == 3 * WORST); /* nothing of these stayed */

    /* a lane that closes: the last ticket is one that can still be settled */
    struct asy_lane_facts facts = {.lane = 1, .cap_open = true, .funded = 20000, .free = 7};
    facts.closes_at = rig_env.wall_ms / 1000 + 600 + ASY_LEDGER_CLOSE_LAG_S;
    MUST(asy_ledger_set_lane(rig_ledger, a, &facts));
    (void)rig_issue(a, n);
    rig_env.wall_ms += 1000;
    CHECK_ERR(rig_try_issue(&t, a, n), ASY_ERR_STATE);
    facts.closes_at = 0;
    facts.cap_open = false; /* revoked */
    MUST(asy_ledger_set_lane(rig_ledger, a, &facts));
    CHECK_ERR(rig_try_issue(&t, a, n), ASY_ERR_STATE);
    rig_reopen();
    a = rig_account(0);
    CHECK(a->lane_seq == 4 && a->reserved == 4 * WORST && rig_node(0)->link_seq == 3);
    BALANCED();
    rig_end();
}

/* Fifty reservations that together exceed the lane: exactly those that fit pass, to the pico. */
static void test_headroom(void) {
    begin();
    struct asy_account *a = rig_funded(0, 30 * WORST - 1);
    struct asy_node_book *n = rig_node(0);
    struct asy_terms t[50];
    int passed = 0;
    for (int i = 0; i < 50; i++) {
        struct asy_terms one;
        enum asy_err err = rig_try_issue(&one, a, n);
        CHECK(err == (i < 29 ? ASY_OK : ASY_ERR_CREDIT));
        if (err == ASY_OK) {
            t[passed++] = one;
        }
    }
    CHECK_U64(passed, 29);
    CHECK(asy_ledger_headroom(a) == WORST - 1);
    rig_funded(0, 30 * WORST); /* one pico more: one ticket more */
    t[passed++] = rig_issue(a, n);
    CHECK(asy_ledger_headroom(a) == 0);
    BALANCED();
    /* what is not used comes back: 330 - (3 * 2 + 1 + 30) */
    rig_pay_signed(0, &t[3], 10);
    CHECK(asy_ledger_headroom(a) == WORST - 37);
    struct asy_terms extra;
    CHECK_ERR(rig_try_issue(&extra, a, n), ASY_ERR_CREDIT);
    MUST(asy_ledger_void(rig_ledger, &t[4], ASY_STR("refused")));
    extra = rig_issue(a, n);
    CHECK(asy_ledger_headroom(a) == WORST - 37);
    BALANCED();
    rig_reopen();
    CHECK(asy_ledger_headroom(rig_account(0)) == WORST - 37);
    BALANCED();
    rig_end();
}

static void test_pay_and_void(void) {
    begin();
    struct asy_account *a = rig_funded(0, 100 * WORST);
    struct asy_node_book *n = rig_node(0);
    struct asy_terms t = rig_issue(a, n), other = rig_issue(a, n);
    struct asy_hash prompt = {{1}};
    struct asy_receipt r = rig_receipt(&t, MAX_OUT), bent = r;
    struct asy_terms changed = t;
    changed.max_out++;
    CHECK_ERR(asy_ledger_pay(rig_ledger, &changed, &r, &prompt, 0),
              ASY_ERR_NOT_FOUND); /* not the terms that were issued */
    changed = t;
    changed.link_seq = 5;
    CHECK_ERR(asy_ledger_pay(rig_ledger, &changed, &r, &prompt, 0), ASY_ERR_NOT_FOUND);
    changed.link_seq = UINT64_MAX;
    CHECK_ERR(asy_ledger_pay(rig_ledger, &changed, &r, &prompt, 0), ASY_ERR_NOT_FOUND);
    changed = t;
    changed.node = rig_addr('n', 55);
    CHECK_ERR(asy_ledger_void(rig_ledger, &changed, ASY_STR("")), ASY_ERR_NOT_FOUND);
    bent.amount = WORST + 1;
    CHECK_ERR(asy_ledger_pay(rig_ledger, &t, &bent, &prompt, 0), ASY_ERR_RANGE);
    CHECK(a->paid == 0 && a->reserved == 2 * WORST);

    uint64_t item = rig_item(0, &r);
    CHECK_OK(asy_ledger_pay(rig_ledger, &t, &r, &prompt, item));
    CHECK(a->paid == r.amount && a->reserved == WORST && n->owed == 0); /* owed once it is signed */
    CHECK_OK(asy_ledger_pay(rig_ledger, &t, &r, &prompt, item));        /* sent again */
    CHECK(a->paid == r.amount);
    bent = rig_receipt(&t, 1);
    CHECK_ERR(asy_ledger_pay(rig_ledger, &t, &bent, &prompt, item + 1), ASY_ERR_STATE);
    CHECK_OK(asy_ledger_void(rig_ledger, &t, ASY_STR("late"))); /* paid stays paid */
    BALANCED();
    CHECK_OK(asy_ledger_void(rig_ledger, &other, ASY_STR("node died")));
    CHECK_OK(asy_ledger_void(rig_ledger, &other, ASY_STR("again")));
    bent = rig_receipt(&other, 1);
    CHECK_ERR(asy_ledger_pay(rig_ledger, &other, &bent, &prompt, item + 1), ASY_ERR_STATE);
    CHECK(a->reserved == 0);
    rig_sign(0);
    CHECK(n->owed == r.amount);
    BALANCED();
    rig_reopen();
    a = rig_account(0);
    CHECK(a->paid == r.amount && a->reserved == 0 && rig_node(0)->owed == r.amount);
    BALANCED();
    rig_end();
}

/* closed_below: the first ticket of the link that is still open, whatever the order of ends. */
static void test_closed_below(void) {
    begin();
    struct asy_account *a = rig_funded(0, 100 * WORST);
    struct asy_node_book *n = rig_node(0);
    struct asy_terms t[5];
    for (int i = 0; i < 5; i++) {
        t[i] = rig_issue(a, n);
    }
    rig_pay_signed(0, &t[1], 1);
    CHECK_U64(n->closed_below, 0);
    MUST(asy_ledger_void(rig_ledger, &t[0], ASY_STR("")));
    CHECK_U64(n->closed_below, 2);
    rig_pay_signed(0, &t[4], 1);
    rig_pay_signed(0, &t[3], 1);
    rig_reopen();
    n = rig_node(0);
    CHECK_U64(n->closed_below, 2);
    rig_pay_signed(0, &t[2], 1);
    CHECK_U64(n->closed_below, 5);
    (void)rig_issue(rig_account(0), n);
    CHECK_U64(n->closed_below, 5);
    BALANCED();
    rig_end();
}

static void test_expire(void) {
    begin();
    struct asy_account *a = rig_funded(0, 100 * WORST), *b = rig_funded(1, 100 * WORST);
    struct asy_node_book *n = rig_node(0);
    uint64_t start_s = rig_env.wall_ms / 1000, count;
    struct asy_terms t0 = rig_issue(a, n);
    rig_env.wall_ms += 100000;
    struct asy_terms t1 = rig_issue(a, n), t2 = rig_issue(b, n);
    (void)t0;
    (void)t1;
    CHECK_OK(asy_ledger_expire(rig_ledger, &count, start_s + 610, 10));
    CHECK_U64(count, 0); /* the deadline itself is not behind */
    CHECK_OK(asy_ledger_expire(rig_ledger, &count, start_s + 611, 10));
    CHECK_U64(count, 1);
    CHECK(a->reserved == WORST && b->reserved == WORST);
    CHECK_OK(asy_ledger_expire(rig_ledger, &count, start_s + 611, 10));
    CHECK_U64(count, 0);
    rig_pay_signed(0, &t2, 1);
    CHECK_OK(asy_ledger_expire(rig_ledger, &count, start_s + 10000, 0));
    CHECK_U64(count, 1);
    CHECK(a->reserved == 0 && b->paid == 10);
    CHECK_OK(asy_ledger_expire(rig_ledger, &count, 0, 5)); /* the clock may be anywhere */
    BALANCED();
    rig_reopen();
    BALANCED();
    rig_end();
}

/* A receipt that its node never signs holds its lane back until its deadline, and is then worth
 * nothing. */
static void test_unsigned(void) {
    begin();
    struct asy_account *a = rig_funded(0, 100 * WORST);
    struct asy_node_book *n = rig_node(0), *m = rig_node(1);
    struct asy_terms t0 = rig_issue(a, n), t1 = rig_issue(a, m), t2 = rig_issue(a, n);
    uint64_t count;
    (void)rig_pay(0, &t0, 5);
    rig_pay_signed(1, &t1, 6);
    CHECK(n->owed == 0 && m->owed == 25 && a->paid == 22 + 25);
    CHECK_U64(asy_ledger_unposted(rig_ledger), 0); /* t0 is in the way */
    CHECK_U64(rig_batch(true).entry_count, 0);
    BALANCED();
    for (int round = 0; round < 2; round++) {
        CHECK_OK(asy_ledger_expire(rig_ledger, &count, t0.deadline, 0));
        CHECK_U64(count, 0);
        rig_reopen();
        BALANCED();
    }
    a = rig_account(0);
    struct asy_usage u;
    CHECK_OK(asy_ledger_usage(rig_ledger, &u, a, 0));
    CHECK(u.jobs == 2 && u.spent == 47);
    rig_env.wall_ms += 24 * 3600 * 1000; /* the day's sums are those of the day it ended */
    CHECK_OK(asy_ledger_expire(rig_ledger, &count, t0.deadline + 1, 0));
    CHECK_U64(count, 2); /* t2 was open; t0 unsigned */
    CHECK(a->paid == 25 && rig_node(0)->owed == 0);
    CHECK_OK(asy_ledger_usage(rig_ledger, &u, a, 0));
    CHECK(u.jobs == 1 && u.spent == 25 && u.in_tokens == 4 && u.out_tokens == 6);
    CHECK_U64(asy_ledger_unposted(rig_ledger), 3);
    BALANCED();
    /* the node comes back and signs it after all: it has its place, and is worth nothing */
    struct asy_receipt late = rig_receipt(&t0, 5);
    struct asy_hash prompt = {{5}}, h;
    CHECK_ERR(asy_ledger_pay(rig_ledger, &t0, &late, &prompt, 0), ASY_ERR_STATE);
    asy_object_hash(&h, ASY_OBJ_RECEIPT, &late);
    CHECK_OK(asy_ledger_refuse_item(rig_ledger, rig_node(0), 0, &h));
    rig_sign(0);
    CHECK(rig_node(0)->owed == 0);
    struct asy_batch b = rig_batch(true);
    CHECK(b.jobs == 3 && b.debited == 25);
    BALANCED();
    rig_reopen();
    BALANCED();
    (void)t2;
    rig_end();
}

/* A node gives the place of a receipt to another one before it signs: what it signed counts, the
 * first is never settled. */
static void test_item_given_away(void) {
    begin();
    struct asy_account *a = rig_funded(0, 100 * WORST);
    struct asy_node_book *n = rig_node(0);
    struct asy_terms t0 = rig_issue(a, n), t1 = rig_issue(a, n);
    uint64_t count;
    struct asy_hash prompt = {{5}};
    (void)rig_pay(0, &t0, 5);
    rig_restart_numbering(0); /* the link breaks; the node says something else now */
    struct asy_receipt r = rig_receipt(&t1, 9);
    CHECK_U64(rig_item(0, &r), 0);
    CHECK_OK(asy_ledger_pay(rig_ledger, &t1, &r, &prompt, 0));
    rig_sign(0);
    CHECK(n->owed == r.amount);
    CHECK_U64(asy_ledger_unposted(rig_ledger), 0);
    BALANCED();
    rig_reopen();
    BALANCED();
    CHECK_OK(asy_ledger_expire(rig_ledger, &count, t0.deadline + 1, 0));
    CHECK_U64(count, 1);
    n = rig_node(0);
    CHECK(n->owed == r.amount && rig_account(0)->paid == r.amount);
    CHECK_U64(asy_ledger_unposted(rig_ledger), 2);
    BALANCED();
    struct asy_receipt_proof p;
    struct asy_hash h;
    asy_object_hash(&h, ASY_OBJ_RECEIPT, &r);
    CHECK_OK(asy_ledger_receipt_proof(rig_ledger, &p, &n->addr, 0));
    CHECK_OK(asy_checkpoint_verify(&p.checkpoint.root, &h, p.position, p.checkpoint.count, p.path,
                                   p.path_count));
    /* one receipt in two places is paid once */
    struct asy_terms t2 = rig_issue(rig_account(0), n);
    struct asy_receipt twice = rig_receipt(&t2, 2);
    for (uint64_t item = 1; item <= 2; item++) {
        CHECK_U64(rig_item(0, &twice), item);
        CHECK_OK(asy_ledger_pay(rig_ledger, &t2, &twice, &prompt, item));
    }
    rig_sign(0);
    CHECK(n->owed == r.amount + twice.amount);
    BALANCED();
    rig_end();
}

/* ---- reading --------------------------------------------------------------------------------- */

struct list {
    uint64_t link_seqs[32];
    uint32_t count;
    struct asy_ticket last;
    char model[32], request_id[32], error[64];
};
static void add_to_list(void *arg, const struct asy_ticket *t) {
    struct list *l = arg;
    ASY_ASSERT(l->count < ASY_COUNT(l->link_seqs));
    l->link_seqs[l->count++] = t->terms.link_seq;
    l->last = *t;
    (void)snprintf(l->model, sizeof l->model, "%.*s", (int)t->model.n, t->model.p);
    (void)snprintf(l->request_id, sizeof l->request_id, "%.*s", (int)t->request_id.n,
                   t->request_id.p);
    (void)snprintf(l->error, sizeof l->error, "%.*s", (int)t->error.n, t->error.p);
}

static void test_reading(void) {
    begin();
    struct asy_account *a = rig_funded(0, 100 * WORST);
    struct asy_node_book *n = rig_node(0);
    struct asy_terms t[6];
    for (int i = 0; i < 6; i++) {
        t[i] = rig_issue(a, n);
    }
    rig_env.wall_ms += 250;
    rig_pay_signed(0, &t[2], 3);
    MUST(asy_ledger_void(rig_ledger, &t[3], ASY_STR("node died")));
    struct list l = {.count = 0};
    CHECK_OK(asy_ledger_ticket_by_link(rig_ledger, n, 2, add_to_list, &l));
    struct asy_hash got, want;
    asy_object_hash(&got, ASY_OBJ_TERMS, &l.last.terms);
    asy_object_hash(&want, ASY_OBJ_TERMS, &t[2]);
    CHECK(asy_hash_eq(&got, &want) && l.last.state == ASY_TICKET_PAID && l.last.has_receipt &&
          l.last.receipt.out_tokens == 3);
    CHECK(l.last.lane == 1 && l.last.item == 0 && l.last.ended_ms == l.last.issued_ms + 250 &&
          l.last.prompt_digest.b[0] == 5);
    CHECK_STR(l.model, "test-model");
    CHECK_STR(l.request_id, "req_1");
    CHECK_STR(l.error, "");
    CHECK_OK(asy_ledger_ticket_by_link(rig_ledger, n, 3, add_to_list, &l));
    CHECK(l.last.state == ASY_TICKET_VOID && !l.last.has_receipt);
    CHECK_STR(l.error, "node died");
    CHECK_ERR(asy_ledger_ticket_by_link(rig_ledger, n, 6, add_to_list, &l), ASY_ERR_NOT_FOUND);

    l.count = 0;
    CHECK_OK(asy_ledger_open_tickets(rig_ledger, n, add_to_list, &l));
    CHECK(l.count == 4 && l.link_seqs[0] == 0 && l.link_seqs[3] == 5);
    CHECK(l.last.state == ASY_TICKET_OPEN && l.last.ended_ms == 0);
    l.count = 0;
    CHECK_OK(asy_ledger_tickets_of_account(rig_ledger, a, UINT64_MAX, 4, add_to_list, &l));
    CHECK(l.count == 4 && l.link_seqs[0] == 5 && l.link_seqs[3] == 2);
    l.count = 0;
    CHECK_OK(asy_ledger_tickets_of_account(rig_ledger, a, 2, 4, add_to_list, &l));
    CHECK(l.count == 2 && l.link_seqs[0] == 1);
    uint32_t count = 9;
    l.count = 0;
    CHECK_OK(asy_ledger_tickets_of_job(rig_ledger, &count, &t[1].job_id, add_to_list, &l));
    CHECK(count == 1 && l.link_seqs[0] == 1);
    struct asy_hash nobody = {{0}};
    CHECK_OK(asy_ledger_tickets_of_job(rig_ledger, &count, &nobody, add_to_list, &l));
    CHECK_U64(count, 0);

    /* two segments of one job, in order */
    struct asy_terms seg = rig_terms(a, rig_node(1));
    struct asy_ticket_note note = {.model = ASY_STR("m"), .request_id = ASY_STR("r")};
    seg.job_id = t[1].job_id;
    seg.segment = 1;
    MUST(asy_ledger_issue(rig_ledger, a, rig_node(1), &seg, &note, &rig_why));
    l.count = 0;
    CHECK_OK(asy_ledger_tickets_of_job(rig_ledger, &count, &t[1].job_id, add_to_list, &l));
    CHECK(count == 2 && l.last.terms.segment == 1);

    struct asy_hash hashes[3];
    CHECK_OK(asy_ledger_ticket_hashes(rig_ledger, n, 2, 3, hashes));
    CHECK(asy_hash_eq(&hashes[0], &want));
    CHECK_ERR(asy_ledger_ticket_hashes(rig_ledger, n, 4, 3, hashes), ASY_ERR_NOT_FOUND);
    BALANCED();
    rig_end();
}

static void test_usage(void) {
    begin();
    const uint64_t day = 24 * 3600 * 1000;
    rig_env.wall_ms = 20000 * day + 5;
    struct asy_account *a = rig_funded(0, 100 * WORST);
    struct asy_node_book *n = rig_node(0);
    struct asy_usage u;
    CHECK_OK(asy_ledger_usage(rig_ledger, &u, a, 0));
    CHECK(u.jobs == 0 && u.spent == 0);
    for (int d = 0; d < 3; d++) {
        for (int i = 0; i <= d; i++) {
            struct asy_terms t = rig_issue(rig_account(0), rig_node(0));
            rig_pay_signed(0, &t, 10);
            if (i == 1) {
                rig_reopen(); /* in the midst of a day */
            }
        }
        rig_env.wall_ms += day;
    }
    a = rig_account(0);
    CHECK_OK(asy_ledger_usage(rig_ledger, &u, a, 0));
    CHECK(u.jobs == 6 && u.in_tokens == 24 && u.out_tokens == 60 && u.spent == 6 * 37);
    CHECK_OK(asy_ledger_usage(rig_ledger, &u, a, 20001 * day));
    CHECK_U64(u.jobs, 5);
    CHECK_OK(asy_ledger_usage(rig_ledger, &u, a, 20002 * day + day - 1)); /* whole days */
    CHECK_U64(u.jobs, 3);
    CHECK_OK(asy_ledger_usage(rig_ledger, &u, a, UINT64_MAX));
    CHECK_U64(u.jobs, 0);
    (void)n;
    rig_end();
}

static void test_audit(void) {
    begin();
    struct asy_buf b;
    asy_buf_init(&b, 100);
    CHECK_ERR(asy_ledger_get_audit(rig_ledger, &b, 7, 0), ASY_ERR_NOT_FOUND);
    CHECK_OK(asy_ledger_put_audit(rig_ledger, 7, 0, ASY_STR("zero")));
    CHECK_OK(asy_ledger_put_audit(rig_ledger, 8, 1, ASY_STR("another lane's")));
    CHECK_OK(asy_ledger_put_audit(rig_ledger, 7, 1, ASY_STR("one")));
    CHECK_OK(asy_ledger_put_audit(rig_ledger, 7, 1, ASY_STR("ONE")));
    rig_reopen();
    CHECK_OK(asy_ledger_get_audit(rig_ledger, &b, 7, 1));
    CHECK_STR(asy_buf_cstr(&b), "ONE");
    asy_buf_done(&b);
    rig_end();
}

/* ---- checkpoints ----------------------------------------------------------------------------- */

struct cps {
    uint64_t numbers[16];
    uint32_t count;
};
static void add_cp(void *arg, const struct asy_checkpoint *c, const struct asy_sig *sig) {
    struct cps *s = arg;
    (void)sig;
    s->numbers[s->count++] = c->number;
}

static void test_checkpoints(void) {
    begin();
    struct asy_account *a = rig_funded(0, 1000 * WORST);
    struct asy_node_book *n = rig_node(0);
    struct asy_receipt_proof p;
    struct asy_hash hashes[12];
    for (int i = 0; i < 12; i++) { /* items 0-4, 5, 6-11; one of them refused */
        struct asy_terms t = rig_issue(a, n);
        struct asy_receipt r = rig_receipt(&t, (uint64_t)i);
        uint64_t item = rig_item(0, &r);
        asy_object_hash(&hashes[i], ASY_OBJ_RECEIPT, &r);
        struct asy_hash prompt = {{0}};
        if (i == 3) {
            MUST(asy_ledger_void(rig_ledger, &t, ASY_STR("inflated")));
            CHECK_OK(asy_ledger_refuse_item(rig_ledger, n, item, &hashes[i]));
        } else {
            MUST(asy_ledger_pay(rig_ledger, &t, &r, &prompt, item));
        }
        CHECK_ERR(asy_ledger_receipt_proof(rig_ledger, &p, &n->addr, item), ASY_ERR_NOT_FOUND);
        if (i == 4 || i == 5 || i == 11) {
            rig_sign(0);
        }
    }
    for (int round = 0; round < 2; round++) {
        n = rig_node(0);
        CHECK(n->receipts_have == 12 && n->receipt_checkpoint_next == 3 && n->tickets_signed == 0);
        for (uint64_t i = 0; i < 12; i++) {
            CHECK_OK(asy_ledger_receipt_proof(rig_ledger, &p, &n->addr, i));
            CHECK_U64(p.checkpoint.first + p.position, i);
            CHECK_OK(asy_checkpoint_verify(&p.checkpoint.root, &hashes[i], p.position,
                                           p.checkpoint.count, p.path, p.path_count));
        }
        CHECK_ERR(asy_ledger_receipt_proof(rig_ledger, &p, &n->addr, 12), ASY_ERR_NOT_FOUND);
        struct asy_addr nobody = rig_addr('n', 66);
        CHECK_ERR(asy_ledger_receipt_proof(rig_ledger, &p, &nobody, 0), ASY_ERR_NOT_FOUND);
        static const struct {
            uint64_t from;
            uint32_t count;
        } cases[] = {{0, 3}, {4, 3}, {5, 2}, {6, 1}, {11, 1}, {12, 0}, {100, 0}};
        for (size_t i = 0; i < ASY_COUNT(cases); i++) {
            struct cps s = {.count = 0};
            CHECK_OK(asy_ledger_checkpoints_from(rig_ledger, n, ASY_CHECKPOINT_RECEIPTS,
                                                 cases[i].from, add_cp, &s));
            CHECK_U64(s.count, cases[i].count);
            CHECK(s.count == 0 || s.numbers[0] == 3 - cases[i].count);
        }
        struct cps s = {.count = 0};
        CHECK_OK(asy_ledger_checkpoints_from(rig_ledger, n, ASY_CHECKPOINT_TICKETS, 0, add_cp, &s));
        CHECK_U64(s.count, 0);
        rig_reopen();
    }
    /* the gateway's own, beside them */
    struct asy_checkpoint own = {
        .kind = ASY_CHECKPOINT_TICKETS, .number = 0, .first = 0, .count = 12};
    struct asy_sig sig = {{0}};
    n = rig_node(0);
    CHECK_OK(asy_ledger_add_checkpoint(rig_ledger, n, &own, &sig));
    CHECK_ERR(asy_ledger_add_checkpoint(rig_ledger, n, &own, &sig), ASY_ERR_CONFLICT);
    struct asy_ack ack = {
        .gateway = rig_addr('g', 0), .node = n->addr, .cum = 77, .up_to = 12, .pay_by = 5};
    sig.b[0] = 3;
    CHECK_OK(asy_ledger_set_ack(rig_ledger, n, &ack, &sig));
    rig_reopen();
    n = rig_node(0);
    CHECK(n->tickets_signed == 12 && n->ticket_checkpoint_next == 1 && n->receipts_have == 12);
    CHECK(n->has_ack && n->ack.cum == 77 && n->ack.up_to == 12 && n->ack_sig.b[0] == 3);
    BALANCED();
    rig_end();
}

/* ---- batches --------------------------------------------------------------------------------- */

static void count_node(void *arg, struct asy_node_book *n) {
    (void)n;
    ++*(int *)arg;
}

static void test_batch(void) {
    begin();
    struct asy_account *a = rig_funded(0, 100 * WORST), *b = rig_funded(1, 100 * WORST);
    struct asy_node_book *n = rig_node(0), *m = rig_node(1);
    MUST(asy_ledger_set_link(rig_ledger, n, 11, 0));
    struct asy_terms a0 = rig_issue(a, n), a1 = rig_issue(a, m), a2 = rig_issue(a, n),
                     b0 = rig_issue(b, m);
    CHECK_U64(rig_batch(true).entry_count, 0);
    CHECK_U64(asy_ledger_batch_count(rig_ledger), 0); /* nothing to settle writes nothing */
    rig_pay_signed(1, &a1, 1);
    CHECK_U64(asy_ledger_unposted(rig_ledger), 0); /* a0 is open before it */
    MUST(asy_ledger_void(rig_ledger, &b0, ASY_STR("")));
    CHECK_U64(asy_ledger_unposted(rig_ledger), 1);
    CHECK(asy_ledger_unposted_pay(rig_ledger) == 0);
    rig_pay_signed(0, &a0, 2);
    CHECK_U64(asy_ledger_unposted(rig_ledger), 3);
    CHECK(asy_ledger_unposted_pay(rig_ledger) == 10 + 13);

    struct asy_batch x = rig_batch(true);
    CHECK(x.number == 0 && x.jobs == 3 && x.entry_count == 2 && x.debited == 23);
    CHECK(x.credit_count == 1 && x.credited == 13); /* m has no link on chain yet */
    BALANCED();
    struct asy_arena arena;
    asy_arena_init(&arena, 1 << 20);
    for (int round = 0; round < 2; round++) {
        struct asy_entry *e;
        struct asy_batch_credit *c;
        uint32_t count;
        CHECK_OK(asy_ledger_batch_entries(rig_ledger, &arena, &e, &count, 0));
        CHECK(count == 2 && e[0].lane == 1 && e[0].first == 0 && e[0].count == 2 &&
              e[0].before == 0 && e[0].spent == 23);
        CHECK(e[1].lane == 2 && e[1].count == 1 && e[1].spent == 0);
        /* the trees, computed anew from receipts */
        struct asy_sum_node leaves[8];
        struct asy_receipt r0 = rig_receipt(&a0, 2), r1 = rig_receipt(&a1, 1);
        struct asy_hash h0, h1, zero = {{0}}, nodes[8];
        asy_object_hash(&h0, ASY_OBJ_RECEIPT, &r0);
        asy_object_hash(&h1, ASY_OBJ_RECEIPT, &r1);
        CHECK_OK(asy_sum_leaf(&leaves[0], 0, 13, &h0));
        CHECK_OK(asy_sum_leaf(&leaves[1], 1, 10, &h1));
        CHECK_OK(asy_sum_tree_build(leaves, 2));
        struct asy_sum_node root = asy_sum_tree_root(leaves, 2);
        CHECK(asy_hash_eq(&root.hash, &e[0].tree) && root.sum == 23);
        CHECK_OK(asy_sum_leaf(&leaves[0], 0, 0, &zero));
        CHECK_OK(asy_sum_tree_build(leaves, 1));
        root = asy_sum_tree_root(leaves, 1);
        CHECK(asy_hash_eq(&root.hash, &e[1].tree));
        asy_entry_hash(&nodes[0], &e[0]);
        asy_entry_hash(&nodes[1], &e[1]);
        CHECK_OK(asy_batch_tree_build(nodes, 2));
        struct asy_hash batch_root = asy_batch_tree_root(nodes, 2);
        CHECK_OK(asy_ledger_get_batch(rig_ledger, &x, 0));
        CHECK(asy_hash_eq(&x.root, &batch_root));
        CHECK_OK(asy_ledger_batch_credits(rig_ledger, &arena, &c, &count, 0));
        CHECK(count == 1 && c[0].link == 11 && c[0].cum == 13 && c[0].node_id == n->id);
        uint64_t number;
        uint32_t index;
        struct asy_entry found;
        CHECK_OK(asy_ledger_find_entry(rig_ledger, &number, &index, &found, 1, 1));
        CHECK(number == 0 && index == 0 && found.spent == 23);
        CHECK_ERR(asy_ledger_find_entry(rig_ledger, &number, &index, &found, 1, 2),
                  ASY_ERR_NOT_FOUND);
        CHECK_ERR(asy_ledger_find_entry(rig_ledger, &number, &index, &found, 7, 0),
                  ASY_ERR_NOT_FOUND);
        rig_reopen();
        n = rig_node(0);
        m = rig_node(1);
    }
    asy_arena_done(&arena);
    CHECK_ERR(asy_ledger_get_batch(rig_ledger, &x, 1), ASY_ERR_NOT_FOUND);

    /* the link of m comes later: a batch of credits alone, without root or jobs */
    CHECK_U64(asy_ledger_unposted(rig_ledger), 0);
    CHECK(asy_ledger_unposted_pay(rig_ledger) == 10);
    CHECK_U64(rig_batch(false).entry_count, 0);
    MUST(asy_ledger_set_link(rig_ledger, m, 12, 0));
    x = rig_batch(true);
    CHECK(x.number == 1 && x.jobs == 0 && x.entry_count == 0 && x.credit_count == 1 &&
          x.credited == 10 && x.debited == 0);
    CHECK(asy_hash_is_zero(&x.root) && asy_ledger_unposted_pay(rig_ledger) == 0);
    rig_reopen();
    BALANCED();
    rig_pay_signed(0, &a2, 0);
    x = rig_batch(false);
    CHECK(x.number == 2 && x.credit_count == 0 && x.debited == 7);
    CHECK(asy_ledger_unposted_pay(rig_ledger) ==
          7); /* debited, to be credited with a later batch */
    CHECK_U64(rig_batch(false).entry_count, 0);
    CHECK_U64(asy_ledger_batch_count(rig_ledger), 3);
    BALANCED();
    int nodes = 0;
    asy_ledger_each_node(rig_ledger, count_node, &nodes);
    CHECK_U64(nodes, RIG_NODES);
    rig_end();
}

static void test_batch_states(void) {
    begin();
    struct asy_account *a = rig_funded(0, 100 * WORST);
    struct asy_node_book *n = rig_node(0);
    MUST(asy_ledger_set_link(rig_ledger, n, 4, 0));
    struct asy_batch b;
    for (int i = 0; i < 3; i++) {
        struct asy_terms t = rig_issue(a, n);
        rig_pay_signed(0, &t, 1);
        (void)rig_batch(true);
    }
    struct asy_hash tx = {{7}};
    struct asy_buf raw;
    asy_buf_init(&raw, 100);
    CHECK_ERR(asy_ledger_batch_raw(rig_ledger, &raw, 0), ASY_ERR_NOT_FOUND);
    CHECK_ERR(asy_ledger_batch_raw(rig_ledger, &raw, 9), ASY_ERR_NOT_FOUND);
    CHECK_ERR(asy_ledger_set_batch_tx(rig_ledger, 9, &tx, ASY_STR("raw")), ASY_ERR_NOT_FOUND);
    CHECK_ERR(asy_ledger_set_batch_state(rig_ledger, 9, ASY_BATCH_SENT, 0), ASY_ERR_NOT_FOUND);
    CHECK_OK(asy_ledger_oldest_batch(rig_ledger, &b, ASY_BATCH_BUILT));
    CHECK_U64(b.number, 0);
    CHECK_OK(asy_ledger_set_batch_tx(rig_ledger, 0, &tx, ASY_STR("first")));
    CHECK_OK(asy_ledger_set_batch_tx(rig_ledger, 0, &tx, ASY_STR("raw"))); /* at a higher fee */
    rig_reopen();
    CHECK_OK(asy_ledger_batch_raw(rig_ledger, &raw, 0));
    CHECK_STR(asy_buf_cstr(&raw), "raw");
    CHECK_OK(asy_ledger_oldest_batch(rig_ledger, &b, ASY_BATCH_BUILT));
    CHECK_U64(b.number, 1);
    CHECK_OK(asy_ledger_oldest_batch(rig_ledger, &b, ASY_BATCH_SENT));
    CHECK(b.number == 0 && b.state == ASY_BATCH_SENT && asy_hash_eq(&b.tx, &tx));

    n = rig_node(0);
    CHECK(n->credited == 0 && n->posted == 30);
    CHECK_OK(asy_ledger_set_batch_state(rig_ledger, 0, ASY_BATCH_CONFIRMED, 50));
    CHECK(n->credited == 10);
    CHECK_OK(asy_ledger_set_batch_state(rig_ledger, 0, ASY_BATCH_SENT,
                                        0)); /* a re-organisation, and again */
    CHECK_OK(asy_ledger_set_batch_state(rig_ledger, 0, ASY_BATCH_CONFIRMED, 51));
    CHECK(n->credited == 10);
    BALANCED();
    /* the chain was looked at before the confirmation was: nothing is counted twice, nothing is
     * missing */
    CHECK_OK(asy_ledger_set_link(rig_ledger, n, 4, 20));
    BALANCED();
    CHECK_OK(asy_ledger_set_batch_state(rig_ledger, 1, ASY_BATCH_CONFIRMED, 52));
    CHECK(n->credited == 20);
    BALANCED();
    CHECK_OK(asy_ledger_set_link(rig_ledger, n, 4, 10)); /* a re-organisation */
    CHECK_OK(asy_ledger_set_link(rig_ledger, n, 4, 20));
    BALANCED();
    CHECK_OK(asy_ledger_set_batch_state(rig_ledger, 0, ASY_BATCH_FINAL, 51));
    CHECK_OK(asy_ledger_oldest_batch(rig_ledger, &b, ASY_BATCH_CONFIRMED));
    CHECK(b.number == 1 && b.block == 52);
    CHECK_OK(asy_ledger_set_batch_state(rig_ledger, 1, ASY_BATCH_FINAL, 52));
    CHECK_OK(asy_ledger_set_batch_state(rig_ledger, 2, ASY_BATCH_FINAL, 53)); /* all at once */
    CHECK(n->credited == 30);
    CHECK_ERR(asy_ledger_oldest_batch(rig_ledger, &b, ASY_BATCH_CONFIRMED), ASY_ERR_NOT_FOUND);
    rig_reopen();
    CHECK(rig_node(0)->credited == 30);
    BALANCED();
    asy_buf_done(&raw);
    rig_end();
}

/* Ceilings: leaves of an entry, jobs, entries and credits of a batch; nobody waits for ever. */
static void test_batch_limits(void) {
    begin();
    struct asy_node_book *n = rig_node(0);
    struct asy_batch b;
    struct asy_terms t;
    struct asy_account *a = rig_funded(0, (asy_u128)10000 * WORST);
    for (unsigned i = 0; i < ASY_MAX_ENTRY_LEAVES + 3; i++) {
        t = rig_issue(a, n);
        (void)rig_pay(0, &t, 1);
    }
    rig_sign(0);
    CHECK_U64(asy_ledger_unposted(rig_ledger), ASY_MAX_ENTRY_LEAVES);
    CHECK(asy_ledger_lane_full(rig_ledger));
    rig_commit();
    b = rig_batch(false);
    CHECK(b.jobs == ASY_MAX_ENTRY_LEAVES && b.entry_count == 1);
    CHECK(!asy_ledger_lane_full(rig_ledger));
    CHECK_U64(asy_ledger_unposted(rig_ledger), 3);
    CHECK_U64(rig_batch(false).jobs, 3);
    BALANCED();

    /* three lanes of 4, a batch of 5 jobs: one lane each time, and each has its turn though the
     * first always has more */
    uint64_t turns[4] = {0};
    for (unsigned lane = 0; lane < 3; lane++) {
        (void)rig_funded(lane, (asy_u128)10000 * WORST);
    }
    for (int round = 0; round < 6; round++) {
        for (unsigned lane = 0; lane < 3; lane++) {
            for (int i = 0; i < 4 && (round == 0 || lane == 0); i++) {
                t = rig_issue(rig_account(lane), n);
                rig_pay_signed(0, &t, 1);
            }
        }
        uint64_t number = asy_ledger_batch_count(rig_ledger);
        MUST(asy_ledger_build_batch(rig_ledger, &b, number, 5, 450, 450, false));
        CHECK(b.jobs > 0 && b.jobs <= 5);
        struct asy_arena arena;
        struct asy_entry *e;
        uint32_t count;
        asy_arena_init(&arena, 1 << 20);
        MUST(asy_ledger_batch_entries(rig_ledger, &arena, &e, &count, number));
        for (uint32_t i = 0; i < count; i++) {
            turns[e[i].lane]++;
        }
        asy_arena_done(&arena);
        BALANCED();
    }
    CHECK(turns[1] >= 1 && turns[2] == 1 && turns[3] == 1);
    /* lane 1 has more than 5 by now: it is cut, to the end */
    while (asy_ledger_unposted(rig_ledger) != 0) {
        MUST(asy_ledger_build_batch(rig_ledger, &b, asy_ledger_batch_count(rig_ledger), 5, 450, 450,
                                    false));
        CHECK(b.jobs > 0 && b.jobs <= 5);
        BALANCED();
    }
    /* entries */
    for (unsigned lane = 0; lane < 3; lane++) {
        t = rig_issue(rig_account(lane), n);
        rig_pay_signed(0, &t, 1);
    }
    MUST(asy_ledger_build_batch(rig_ledger, &b, asy_ledger_batch_count(rig_ledger), 100, 2, 450,
                                false));
    CHECK(b.entry_count == 2 && b.jobs == 2);
    MUST(asy_ledger_build_batch(rig_ledger, &b, asy_ledger_batch_count(rig_ledger), 100, 2, 450,
                                false));
    CHECK(b.entry_count == 1);
    rig_reopen();
    BALANCED();
    rig_end();
}

static void test_credit_limits(void) {
    begin();
    struct asy_account *a = rig_funded(0, 1000 * WORST);
    for (unsigned i = 0; i < 5; i++) {
        MUST(asy_ledger_set_link(rig_ledger, rig_node(i), 20 + i, 0));
    }
    uint64_t credited[5] = {0};
    for (int round = 0; round < 10; round++) {
        for (unsigned i = 0; i < 5; i++) { /* all of them earn all the time */
            struct asy_terms t = rig_issue(a, rig_node(i));
            rig_pay_signed(i, &t, 1);
        }
        struct asy_batch b;
        MUST(asy_ledger_build_batch(rig_ledger, &b, asy_ledger_batch_count(rig_ledger), 1000, 450,
                                    2, true));
        CHECK_U64(b.credit_count, 2);
        for (unsigned i = 0; i < 5; i++) {
            credited[i] += rig_node(i)->posted == rig_node(i)->batched;
        }
    }
    for (unsigned i = 0; i < 5; i++) {
        CHECK_U64(credited[i], 4); /* each has its turn */
    }
    BALANCED();
    rig_end();
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* What was not committed is gone, in whole turns; what was is there. */
static void test_turns(void) {
    begin();
    struct asy_account *a = rig_funded(0, 100 * WORST);
    struct asy_terms t = rig_issue(a, rig_node(0));
    rig_commit();
    CHECK(!asy_ledger_dirty(rig_ledger));
    rig_pay_signed(0, &t, 4);
    (void)rig_issue(a, rig_node(0));
    CHECK(asy_ledger_dirty(rig_ledger));
    asy_ledger_close(rig_ledger);
    rig_open();
    a = rig_account(0);
    CHECK(a->paid == 0 && a->lane_seq == 1 && a->reserved == WORST &&
          rig_node(0)->receipts_have == 0);
    BALANCED();
    rig_end();
}

static void test_not_a_ledger(void) {
    begin();
    rig_commit();
    asy_ledger_close(rig_ledger);
    rig_remove();
    FILE *f = fopen(rig_path, "wb");
    CHECK(f != NULL && fputs("this is not a database, but long enough to look at", f) >= 0 &&
          fclose(f) == 0);
    struct asy_ledger *l;
    CHECK(asy_ledger_open(&l, rig_path, &rig_env.env, ASY_STORE_SYNC_NORMAL, &rig_why) != ASY_OK);
    CHECK(rig_why.text[0] != '\0');
    rig_remove();
    asy_ledger_close(NULL);
}

int main(void) {
    test_values();
    test_accounts_and_keys();
    test_caps();
    test_lane();
    test_next_lane();
    test_issue();
    test_headroom();
    test_pay_and_void();
    test_closed_below();
    test_expire();
    test_unsigned();
    test_item_given_away();
    test_reading();
    test_usage();
    test_audit();
    test_checkpoints();
    test_batch();
    test_batch_states();
    test_batch_limits();
    test_credit_limits();
    test_turns();
    test_not_a_ledger();
    return asy_test_end();
}
