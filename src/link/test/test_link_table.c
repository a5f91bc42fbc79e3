/* Every state x every event, at both ends: what docs/protocol/link.md's tables say, cell by cell.
 */
#include "link/test/raw.h"

/* What a cell does. For frames:
 *   HANDLED  OK, a handler ran or the state moved
 *   DROPPED  OK, no handler, counted in link_frames_dropped_total
 *   IGNORED  OK, no handler, not counted
 *   PEER     the link ends, counted in link_violations_total
 *   ENDS     the link ends for a reason that is no violation
 * For own calls:
 *   SENT     OK, a frame left
 *   QUIET    OK, no frame left
 *   STATE, NOT_FOUND, TIMEOUT   as said
 *   BUG      forbidden to the program: asserted, not tried here */
enum outcome {
    HANDLED,
    DROPPED,
    IGNORED,
    PEER,
    ENDS,
    SENT,
    QUIET,
    STATE,
    NOT_FOUND,
    TIMEOUT,
    BUG,
    OTHER
};
static const char *const outcome_names[] = {"HANDLED",   "DROPPED", "IGNORED", "PEER",
                                            "ENDS",      "SENT",    "QUIET",   "STATE",
                                            "NOT_FOUND", "TIMEOUT", "BUG",     "other"};

/* States of a link and, once it is live, of the job that the event names. */
enum state { WAITING, GREETED, GREETING = GREETED, NONE, OFFERED, RUNNING, ENDING, STATES };
static const char *const state_names[] = {"waiting",     "greeted",     "live, job unknown",
                                          "job offered", "job running", "job ending"};

struct cell {
    enum outcome outcome;
    enum state next; /* not looked at when the link has ended */
};
struct row {
    const char *event;
    struct cell cell[STATES];
};

enum {
    JOB = 1
}; /* linkSeq of the job in question; ticket 0 is of an earlier connection, its receipt item 0 */

static uint64_t handled(const struct rig *r) {
    return r->accepts + r->rejects + r->fails + r->token_frames + r->dones + r->resent +
           r->statuses + r->cancels + r->credits + r->batches + r->drains + r->acks +
           r->ticket_checkpoints + r->g.nodes.count;
}

/* ---- the gateway's end ----------------------------------------------------------------------- */

/* clang-format off */
#define ENDED {PEER, NONE}
static const struct row gw_table[] = {
    /*                         greeting            none                offered              running              ending */
    {"Challenge",       {{0}, ENDED,              ENDED,              ENDED,               ENDED,               ENDED}},
    {"Welcome",         {{0}, ENDED,              ENDED,              ENDED,               ENDED,               ENDED}},
    {"Offer",           {{0}, ENDED,              ENDED,              ENDED,               ENDED,               ENDED}},
    {"Cancel",          {{0}, ENDED,              ENDED,              ENDED,               ENDED,               ENDED}},
    {"Credit",          {{0}, ENDED,              ENDED,              ENDED,               ENDED,               ENDED}},
    {"Ack",             {{0}, ENDED,              ENDED,              ENDED,               ENDED,               ENDED}},
    {"BatchProof",      {{0}, ENDED,              ENDED,              ENDED,               ENDED,               ENDED}},
    {"Drain",           {{0}, ENDED,              ENDED,              ENDED,               ENDED,               ENDED}},
    {"Hello",           {{0}, {HANDLED, NONE},    ENDED,              ENDED,               ENDED,               ENDED}},
    {"Status",          {{0}, ENDED,              {HANDLED, NONE},    {HANDLED, OFFERED},  {HANDLED, RUNNING},  {HANDLED, ENDING}}},
    {"Accept",          {{0}, ENDED,              {DROPPED, NONE},    {HANDLED, RUNNING},  ENDED,               {IGNORED, ENDING}}},
    {"Reject",          {{0}, ENDED,              {DROPPED, NONE},    {HANDLED, NONE},     ENDED,               {HANDLED, NONE}}},
    {"Tokens",          {{0}, ENDED,              {DROPPED, NONE},    ENDED,               {HANDLED, RUNNING},  {IGNORED, ENDING}}},
    {"Tokens, gap",     {{0}, ENDED,              {DROPPED, NONE},    ENDED,               ENDED,               {IGNORED, ENDING}}},
    {"Tokens, credit",  {{0}, ENDED,              {DROPPED, NONE},    ENDED,               ENDED,               {IGNORED, ENDING}}},
    {"Done",            {{0}, ENDED,              {DROPPED, NONE},    ENDED,               {HANDLED, NONE},     {HANDLED, NONE}}},
    {"Done, item",      {{0}, ENDED,              {DROPPED, NONE},    ENDED,               ENDED,               ENDED}},
    {"Done again",      {{0}, ENDED,              {HANDLED, NONE},    {HANDLED, OFFERED},  {HANDLED, RUNNING},  {HANDLED, ENDING}}},
    {"Done again, live",{{0}, ENDED,              {HANDLED, NONE},    ENDED,               ENDED,               ENDED}},
    {"Error, job",      {{0}, ENDED,              {DROPPED, NONE},    {HANDLED, NONE},     {HANDLED, NONE},     {HANDLED, NONE}}},
    {"Error, link",     {{0}, ENDED,              {ENDS, NONE},       {ENDS, NONE},        {ENDS, NONE},        {ENDS, NONE}}},
    {"Checkpoint",      {{0}, ENDED,              {HANDLED, NONE},    {HANDLED, OFFERED},  {HANDLED, RUNNING},  {HANDLED, ENDING}}},
    {"Checkpoint, bad", {{0}, ENDED,              ENDED,              ENDED,               ENDED,               ENDED}},
    {"unknown body",    {{0}, ENDED,              {IGNORED, NONE},    {IGNORED, OFFERED},  {IGNORED, RUNNING},  {IGNORED, ENDING}}},
    {"garbage",         {{0}, ENDED,              ENDED,              ENDED,               ENDED,               ENDED}},
    /* own calls */
    {"offer()",         {{0}, {STATE, GREETING},  {SENT, NONE},       {SENT, OFFERED},     {SENT, RUNNING},     {SENT, ENDING}}},
    {"cancel()",        {{0}, {NOT_FOUND, GREETING}, {NOT_FOUND, NONE}, {SENT, ENDING},    {SENT, ENDING},      {QUIET, ENDING}}},
    {"credit()",        {{0}, {NOT_FOUND, GREETING}, {NOT_FOUND, NONE}, {SENT, OFFERED},   {SENT, RUNNING},     {QUIET, ENDING}}},
    {"forget()",        {{0}, {NOT_FOUND, GREETING}, {NOT_FOUND, NONE}, {QUIET, OFFERED},  {QUIET, RUNNING},    {QUIET, ENDING}}},
    {"ack()",           {{0}, {QUIET, GREETING},  {SENT, NONE},       {SENT, OFFERED},     {SENT, RUNNING},     {SENT, ENDING}}},
    {"batch_proof()",   {{0}, {QUIET, GREETING},  {SENT, NONE},       {SENT, OFFERED},     {SENT, RUNNING},     {SENT, ENDING}}},
    {"drain()",         {{0}, {QUIET, GREETING},  {SENT, NONE},       {SENT, OFFERED},     {SENT, RUNNING},     {SENT, ENDING}}},
    {"resend()",        {{0}, {BUG, GREETING},    {SENT, NONE},       {SENT, OFFERED},     {SENT, RUNNING},     {SENT, ENDING}}},
    {"adopt()",         {{0}, {BUG, GREETING},    {QUIET, NONE},      {BUG, OFFERED},      {BUG, RUNNING},      {BUG, ENDING}}},
    {"tick(), early",   {{0}, {QUIET, GREETING},  {QUIET, NONE},      {QUIET, OFFERED},    {QUIET, RUNNING},    {QUIET, ENDING}}},
    {"tick(), due",     {{0}, {TIMEOUT, GREETING},{SENT, NONE},       {SENT, OFFERED},     {SENT, RUNNING},     {SENT, ENDING}}},
};
/* clang-format on */

/* A live link whose node has sent the receipt of ticket 0 again, unsigned, so that its checkpoint
 * is due; the job as the state says. A checkpoint of tickets has just left, and one ticket waits
 * for the next. */
static struct rig *gw_rig(enum state state) {
    struct rig *r = asy_alloc(sizeof *r);
    r->g.terms[0] = rig_terms(r, 0);
    r->g.ticket_count = 1;
    if (state == GREETING) {
        rig_connect(r);
        rig_commit_gw(r);
        CHECK_OK(rig_deliver_node(r)); /* the node's hello waits in pending_gw */
        return r;
    }
    r->n.seen[0] = true;
    r->jobs[0] = (struct rig_job){.state = RIG_RUNNING, .terms = r->g.terms[0]};
    rig_make_receipt(r, 0, 0, ASY_FINISH_LINK, false);
    rig_connect(r);
    rig_settle_frames(r);
    CHECK_U64(r->resent, 1);
    rig_env.mono_ns += 1000000000u;
    CHECK_OK(asy_link_gw_tick(r->gw)); /* ticket 0, adopted */
    if (state != NONE) {
        rig_offer(r, 4);
    } else { /* a job that has ended, so that the ticket that waits is the same in all states */
        rig_offer(r, 4);
        rig_settle_frames(r);
        CHECK_OK(asy_link_node_reject(r->node, JOB, ASY_REJECT_BUSY, "", "busy"));
    }
    rig_settle_frames(r);
    if (state == RUNNING || state == ENDING) {
        rig_accept(r, JOB);
        rig_settle_frames(r);
    }
    if (state == ENDING) {
        CHECK_OK(asy_link_gw_cancel(r->gw, JOB, 0, ASY_CANCEL_CLIENT));
    }
    rig_commit_gw(r);
    frames_clear(&r->to_node);
    return r;
}

/* Where is the job now? Tokens tell: each state takes them in its own way. Uses the link up. */
static enum state gw_probe(struct rig *r) {
    if (!asy_link_gw_live(r->gw)) {
        return GREETING;
    }
    uint64_t dropped = asy_metric_get(ASY_M_link_frames_dropped_total), seen = r->token_frames;
    enum asy_err err =
        asy_link_gw_recv(r->gw, raw_tokens(JOB, r->relayed[JOB], 1, ASY_STR("x")), &rig_why);
    if (err != ASY_OK) {
        return OFFERED;
    }
    if (r->token_frames != seen) {
        return RUNNING;
    }
    return asy_metric_get(ASY_M_link_frames_dropped_total) != dropped ? NONE : ENDING;
}

static enum asy_err gw_frame(struct rig *r, enum state state, const char *event, bool *ret_known) {
    static const uint8_t unknown[] = {0xa2, 0x06, 0x02, 0x08, 0x01}; /* field 100 of Frame */
    struct asy_receipt receipt =
        rig_receipt(&r->g.terms[state == GREETING ? 0 : JOB], 0, ASY_FINISH_STOP);
    struct asy_terms elsewhere = rig_terms(r, 0);
    struct asy_ack ack = {.gateway = rig_gw_addr, .node = rig_node_addrs[0]};
    struct asy_sig sig = {{0}};
    Assay__Link__Challenge challenge = ASSAY__LINK__CHALLENGE__INIT;
    Assay__Link__Welcome welcome = ASSAY__LINK__WELCOME__INIT;
    Assay__Link__Drain drain = ASSAY__LINK__DRAIN__INIT;
    Assay__Link__Hello hello = ASSAY__LINK__HELLO__INIT;
    Assay__Link__Status status = ASSAY__LINK__STATUS__INIT;
    Assay__Link__Error error = ASSAY__LINK__ERROR__INIT;
    struct asy_bytes f = {0};
    *ret_known = true;
#define IS(name) (strcmp(event, name) == 0)
    if (IS("Challenge")) {
        f = raw_pack(ASSAY__LINK__FRAME__BODY_CHALLENGE, &challenge);
    } else if (IS("Welcome")) {
        f = raw_pack(ASSAY__LINK__FRAME__BODY_WELCOME, &welcome);
    } else if (IS("Offer")) {
        f = raw_offer(&elsewhere, &rig_cap, ASY_STR("settings"), 0, ASY_STR(""), 1);
    } else if (IS("Cancel")) {
        f = raw_job(ASSAY__LINK__FRAME__BODY_CANCEL, JOB);
    } else if (IS("Credit")) {
        f = raw_job(ASSAY__LINK__FRAME__BODY_CREDIT, JOB);
    } else if (IS("Ack")) {
        f = raw_ack(&ack, &sig);
    } else if (IS("BatchProof")) {
        f = raw_batch(32);
    } else if (IS("Drain")) {
        f = raw_pack(ASSAY__LINK__FRAME__BODY_DRAIN, &drain);
    } else if (IS("Hello")) {
        if (state == GREETING) { /* the node's own, made for this challenge */
            rig_commit_node(r);
            return rig_deliver_gw(r);
        }
        f = raw_pack(ASSAY__LINK__FRAME__BODY_HELLO, &hello);
    } else if (IS("Status")) {
        f = raw_pack(ASSAY__LINK__FRAME__BODY_STATUS, &status);
    } else if (IS("Accept")) {
        f = raw_job(ASSAY__LINK__FRAME__BODY_ACCEPT, JOB);
    } else if (IS("Reject")) {
        f = raw_job(ASSAY__LINK__FRAME__BODY_REJECT, JOB);
    } else if (IS("Tokens")) {
        f = raw_tokens(JOB, 0, 2, ASY_STR("ab"));
    } else if (IS("Tokens, gap")) {
        f = raw_tokens(JOB, 1, 2, ASY_STR("ab"));
    } else if (IS("Tokens, credit")) {
        f = raw_tokens(JOB, 0, 5, ASY_STR("ab"));
    } else if (IS("Done")) {
        f = raw_done(JOB, &receipt, 1, NULL);
    } else if (IS("Done, item")) {
        f = raw_done(JOB, &receipt, 2, NULL);
    } else if (IS("Done again")) { /* the program pays ticket 0 once; its item is another */
        r->g.tickets[0].paid = false;
        receipt = rig_receipt(&r->g.terms[0], 0, ASY_FINISH_LINK);
        f = raw_done(0, &receipt, 1, &r->g.terms[0]);
    } else if (IS("Done again, live")) {
        f = raw_done(JOB, &receipt, 1, &r->g.terms[state == GREETING ? 0 : JOB]);
    } else if (IS("Error, job")) {
        f = raw_job(ASSAY__LINK__FRAME__BODY_ERROR, JOB);
    } else if (IS("Error, link")) {
        error.text = link_text("shutting down");
        f = raw_pack(ASSAY__LINK__FRAME__BODY_ERROR, &error);
    } else if (IS("Checkpoint") || IS("Checkpoint, bad")) {
        struct asy_hash item = {{0}};
        if (IS("Checkpoint") && state != GREETING) {
            item = r->g.items[0];
        }
        struct asy_checkpoint c = raw_signed(&sig, rig_node_signers[0], &rig_gw_addr, &item, 1, 0,
                                             0, ASY_CHECKPOINT_RECEIPTS);
        f = raw_checkpoint(&c, &sig, NULL, 0);
    } else if (IS("unknown body")) {
        f = asy_bytes_of(unknown, sizeof unknown);
    } else if (IS("garbage")) {
        f = ASY_STR("\xff\xff\xff");
    } else {
        *ret_known = false;
        return ASY_OK;
    }
    return asy_link_gw_recv(r->gw, f, &rig_why);
}

static enum asy_err gw_call(struct rig *r, enum state state, const char *event) {
    struct asy_hash zero = {{0}};
    if (IS("offer()")) {
        if (state == GREETING) {
            struct asy_terms t = rig_terms(r, 0);
            struct asy_link_offer o = rig_offer_of(&t, 1);
            return asy_link_gw_offer(r->gw, &o, r);
        }
        rig_offer(r, 4);
        return ASY_OK;
    }
    if (IS("cancel()")) {
        return asy_link_gw_cancel(r->gw, JOB, 0, ASY_CANCEL_TIMEOUT);
    }
    if (IS("credit()")) {
        return asy_link_gw_credit(r->gw, JOB, 1);
    }
    if (IS("forget()")) {
        return asy_link_gw_forget(r->gw, JOB);
    }
    if (IS("ack()")) {
        struct asy_ack ack = {.gateway = rig_gw_addr, .node = rig_node_addrs[0]};
        struct asy_sig sig = {{0}};
        asy_link_gw_ack(r->gw, &ack, &sig);
    } else if (IS("batch_proof()")) {
        asy_link_gw_batch_proof(r->gw, 1, &zero, &zero, 9, 1);
    } else if (IS("drain()")) {
        asy_link_gw_drain(r->gw, 5);
    } else if (IS("resend()")) {
        asy_link_gw_resend_checkpoint(r->gw, &r->g.own.at[0].c, &r->g.own.at[0].sig, &zero);
    } else if (IS("adopt()")) {
        asy_link_gw_adopt_unsigned(r->gw, &zero);
    } else if (IS("tick(), early")) {
        return asy_link_gw_tick(r->gw);
    } else if (IS("tick(), due")) {
        rig_env.mono_ns = asy_link_gw_deadline(r->gw);
        return asy_link_gw_tick(r->gw);
    } else {
        CHECK(0 && "an event that this test does not know");
    }
    return ASY_OK;
}

static enum outcome judge(enum asy_err err, bool frame, uint64_t dropped, uint64_t violations,
                          bool ran, bool sent) {
    if (frame && err != ASY_OK) {
        return violations != 0 ? PEER : ENDS;
    }
    if (!frame && err != ASY_OK) {
        return err == ASY_ERR_STATE       ? STATE
               : err == ASY_ERR_NOT_FOUND ? NOT_FOUND
               : err == ASY_ERR_TIMEOUT   ? TIMEOUT
                                          : OTHER;
    }
    if (!frame) {
        return sent ? SENT : QUIET;
    }
    return dropped != 0 ? DROPPED : ran ? HANDLED : IGNORED;
}

static void complain(const char *end, const struct row *row, enum state state, enum outcome got,
                     enum state next) {
    asy_test_failures++;
    fprintf(stderr, "%s, %s, %s: %s then \"%s\", wanted %s then \"%s\" (%s)\n", end,
            state_names[state], row->event, outcome_names[got], state_names[next],
            outcome_names[row->cell[state].outcome], state_names[row->cell[state].next],
            rig_why.text);
}

static void test_gw(void) {
    for (size_t i = 0; i < ASY_COUNT(gw_table); i++) {
        for (enum state state = GREETING; state < STATES; state = (enum state)(state + 1)) {
            const struct row *row = &gw_table[i];
            const struct cell want = row->cell[state];
            if (want.outcome == BUG) {
                continue;
            }
            struct rig *r = gw_rig(state);
            uint64_t dropped = asy_metric_get(ASY_M_link_frames_dropped_total);
            uint64_t violations = asy_metric_get(ASY_M_link_violations_total);
            uint64_t ran = handled(r);
            bool was_live = asy_link_gw_live(r->gw), frame;
            rig_why = (struct asy_why){{0}, {0}};
            enum asy_err err = gw_frame(r, state, row->event, &frame);
            if (!frame) {
                err = gw_call(r, state, row->event);
            }
            enum outcome got =
                judge(err, frame, asy_metric_get(ASY_M_link_frames_dropped_total) - dropped,
                      asy_metric_get(ASY_M_link_violations_total) - violations,
                      handled(r) != ran || asy_link_gw_live(r->gw) != was_live,
                      r->pending_node.count != 0);
            bool ended = got == PEER || got == ENDS;
            if (got == ENDS) { /* the reason is the peer's own words */
                CHECK_ERR(err, ASY_ERR_PEER);
            }
            enum state next = ended ? want.next : gw_probe(r);
            if (got != want.outcome || next != want.next) {
                complain("gateway", row, state, got, next);
            }
            rig_free(r);
        }
    }
}

/* ---- the node's end -------------------------------------------------------------------------- */

/* clang-format off */
static const struct row node_table[] = {
    /*                    waiting              greeted             none                offered              running */
    {"Challenge",       {{HANDLED, GREETED},  ENDED,              ENDED,              ENDED,               ENDED}},
    {"Welcome",         {ENDED,               {HANDLED, NONE},    ENDED,              ENDED,               ENDED}},
    {"Offer",           {ENDED,               ENDED,              {HANDLED, NONE},    {HANDLED, OFFERED},  {HANDLED, RUNNING}}},
    {"Offer, gap",      {ENDED,               ENDED,              ENDED,              ENDED,               ENDED}},
    {"Cancel",          {ENDED,               ENDED,              {DROPPED, NONE},    {HANDLED, OFFERED},  {HANDLED, RUNNING}}},
    {"Credit",          {ENDED,               ENDED,              {DROPPED, NONE},    {HANDLED, OFFERED},  {HANDLED, RUNNING}}},
    {"Ack",             {ENDED,               ENDED,              {HANDLED, NONE},    {HANDLED, OFFERED},  {HANDLED, RUNNING}}},
    {"Ack, bad",        {ENDED,               ENDED,              ENDED,              ENDED,               ENDED}},
    {"BatchProof",      {ENDED,               ENDED,              {HANDLED, NONE},    {HANDLED, OFFERED},  {HANDLED, RUNNING}}},
    {"Drain",           {ENDED,               ENDED,              {HANDLED, NONE},    {HANDLED, OFFERED},  {HANDLED, RUNNING}}},
    {"Checkpoint",      {ENDED,               ENDED,              {HANDLED, NONE},    {HANDLED, OFFERED},  {HANDLED, RUNNING}}},
    {"Checkpoint, bad", {ENDED,               ENDED,              ENDED,              ENDED,               ENDED}},
    {"Hello",           {ENDED,               ENDED,              ENDED,              ENDED,               ENDED}},
    {"Status",          {ENDED,               ENDED,              ENDED,              ENDED,               ENDED}},
    {"Accept",          {ENDED,               ENDED,              ENDED,              ENDED,               ENDED}},
    {"Reject",          {ENDED,               ENDED,              ENDED,              ENDED,               ENDED}},
    {"Tokens",          {ENDED,               ENDED,              ENDED,              ENDED,               ENDED}},
    {"Done",            {ENDED,               ENDED,              ENDED,              ENDED,               ENDED}},
    {"Error, job",      {ENDED,               ENDED,              ENDED,              ENDED,               ENDED}},
    {"unknown body",    {ENDED,               ENDED,              {IGNORED, NONE},    {IGNORED, OFFERED},  {IGNORED, RUNNING}}},
    {"garbage",         {ENDED,               ENDED,              ENDED,              ENDED,               ENDED}},
    /* own calls */
    {"accept()",        {{NOT_FOUND, WAITING}, {NOT_FOUND, GREETED}, {NOT_FOUND, NONE}, {SENT, RUNNING},   {STATE, RUNNING}}},
    {"reject()",        {{NOT_FOUND, WAITING}, {NOT_FOUND, GREETED}, {NOT_FOUND, NONE}, {SENT, NONE},      {STATE, RUNNING}}},
    {"tokens()",        {{NOT_FOUND, WAITING}, {NOT_FOUND, GREETED}, {NOT_FOUND, NONE}, {STATE, OFFERED},  {SENT, RUNNING}}},
    {"done()",          {{NOT_FOUND, WAITING}, {NOT_FOUND, GREETED}, {NOT_FOUND, NONE}, {STATE, OFFERED},  {SENT, NONE}}},
    {"fail()",          {{NOT_FOUND, WAITING}, {NOT_FOUND, GREETED}, {NOT_FOUND, NONE}, {SENT, NONE},      {SENT, NONE}}},
    {"taken()",         {{NOT_FOUND, WAITING}, {NOT_FOUND, GREETED}, {NOT_FOUND, NONE}, {QUIET, OFFERED},  {QUIET, RUNNING}}},
    {"status()",        {{QUIET, WAITING},    {QUIET, GREETED},   {SENT, NONE},       {SENT, OFFERED},     {SENT, RUNNING}}},
    {"resend()",        {{BUG, WAITING},      {BUG, GREETED},     {SENT, NONE},       {SENT, OFFERED},     {SENT, RUNNING}}},
    {"adopt()",         {{BUG, WAITING},      {BUG, GREETED},     {QUIET, NONE},      {QUIET, OFFERED},    {QUIET, RUNNING}}},
    {"tick(), early",   {{QUIET, WAITING},    {QUIET, GREETED},   {QUIET, NONE},      {QUIET, OFFERED},    {QUIET, RUNNING}}},
    {"tick(), due",     {{TIMEOUT, WAITING},  {TIMEOUT, GREETED}, {SENT, NONE},       {SENT, OFFERED},     {SENT, RUNNING}}},
};
/* clang-format on */

/* Ticket 1 is the job in question and waits for a checkpoint; a receipt (of ticket 0) waits for the
 * node's. */
static struct rig *node_rig(enum state state) {
    struct rig *r = asy_alloc(sizeof *r);
    rig_connect(r);
    if (state == WAITING) {
        rig_commit_gw(r);
        return r; /* the challenge waits in to_node */
    }
    if (state == GREETED) {
        rig_commit_gw(r);
        CHECK_OK(rig_deliver_node(r));
        rig_commit_node(r);
        CHECK_OK(rig_deliver_gw(r));
        rig_commit_gw(r);
        return r; /* the welcome waits in to_node */
    }
    rig_settle_frames(r);
    rig_env.mono_ns += 1000000000u;
    rig_offer(r, 4);
    CHECK_OK(asy_link_gw_tick(r->gw));
    rig_settle_frames(r);
    rig_accept(r, 0);
    rig_done(r, 0);
    CHECK_OK(asy_link_node_tick(r->node)); /* its signature has just left */
    rig_offer(r, 4);
    rig_settle_frames(r);
    rig_accept(r, JOB);
    rig_done(r, JOB); /* this one waits for the next */
    uint64_t job = rig_offer(r, 4);
    CHECK_U64(job, JOB + 1);
    rig_settle_frames(r);
    if (state == NONE) {
        CHECK_OK(asy_link_node_reject(r->node, job, ASY_REJECT_BUSY, "", "busy"));
    } else if (state == RUNNING) {
        rig_accept(r, job);
    }
    rig_commit_node(r);
    frames_clear(&r->to_gw);
    return r;
}
enum { NODE_JOB = JOB + 1 };

static enum state node_probe(struct rig *r) {
    if (!asy_link_node_live(r->node)) { /* only one of the two takes a challenge */
        struct rig *other = asy_alloc(sizeof *other);
        other->gw = rig_gw_new(other);
        struct asy_bytes f;
        bool there = frames_pop(&other->pending_node, &f);
        ASY_ASSERT(there);
        enum state s = asy_link_node_recv(r->node, f, &rig_why) == ASY_OK ? WAITING : GREETED;
        asy_free((void *)(uintptr_t)f.p);
        rig_free(other);
        return s;
    }
    uint32_t id = 1;
    enum asy_err err = asy_link_node_tokens(r->node, NODE_JOB, &id, 1, ASY_STR("x"));
    return err == ASY_OK ? RUNNING : err == ASY_ERR_STATE ? OFFERED : NONE;
}

static enum asy_err node_frame(struct rig *r, enum state state, const char *event,
                               bool *ret_known) {
    static const uint8_t unknown[] = {0xa2, 0x06, 0x02, 0x08, 0x01};
    struct asy_terms t = rig_terms(r, r->g.ticket_count);
    struct asy_receipt receipt = rig_receipt(&t, 0, ASY_FINISH_STOP);
    struct asy_ack ack = {.gateway = rig_gw_addr, .node = rig_node_addrs[0], .cum = 1000000};
    struct asy_sig sig = {{0}};
    Assay__Link__Challenge challenge = ASSAY__LINK__CHALLENGE__INIT;
    Assay__Link__Welcome welcome = ASSAY__LINK__WELCOME__INIT;
    Assay__Link__Drain drain = ASSAY__LINK__DRAIN__INIT;
    Assay__Link__Hello hello = ASSAY__LINK__HELLO__INIT;
    Assay__Link__Status status = ASSAY__LINK__STATUS__INIT;
    struct asy_bytes f = {0};
    *ret_known = true;
    if ((IS("Challenge") && state == WAITING) || (IS("Welcome") && state == GREETED)) {
        return rig_deliver_node(r);
    }
    if (IS("Challenge")) {
        f = raw_pack(ASSAY__LINK__FRAME__BODY_CHALLENGE, &challenge);
    } else if (IS("Welcome")) {
        f = raw_pack(ASSAY__LINK__FRAME__BODY_WELCOME, &welcome);
    } else if (IS("Offer")) {
        f = raw_offer(&t, &rig_cap, ASY_STR("settings"), 0, ASY_STR(""), 1);
    } else if (IS("Offer, gap")) {
        t.link_seq++;
        f = raw_offer(&t, &rig_cap, ASY_STR("settings"), 0, ASY_STR(""), 1);
    } else if (IS("Cancel")) {
        f = raw_job(ASSAY__LINK__FRAME__BODY_CANCEL, NODE_JOB);
    } else if (IS("Credit")) {
        f = raw_job(ASSAY__LINK__FRAME__BODY_CREDIT, NODE_JOB);
    } else if (IS("Ack") || IS("Ack, bad")) {
        if (IS("Ack")) {
            CHECK_OK(asy_signer_sign_object(rig_gw_signer, &sig, ASY_OBJ_ACK, &ack));
        }
        f = raw_ack(&ack, &sig);
    } else if (IS("BatchProof")) {
        f = raw_batch(32);
    } else if (IS("Drain")) {
        f = raw_pack(ASSAY__LINK__FRAME__BODY_DRAIN, &drain);
    } else if (IS("Checkpoint") || IS("Checkpoint, bad")) {
        struct asy_hash items[2] = {{{0}}, {{0}}};
        if (IS("Checkpoint") && state >= NONE) {
            memcpy(items, &r->n.tickets[JOB], sizeof items);
        }
        struct asy_checkpoint c = raw_signed(&sig, rig_gw_signer, &rig_node_addrs[0], items, 2, 1,
                                             1, ASY_CHECKPOINT_TICKETS);
        f = raw_checkpoint(&c, &sig, NULL, 0);
    } else if (IS("Hello")) {
        f = raw_pack(ASSAY__LINK__FRAME__BODY_HELLO, &hello);
    } else if (IS("Status")) {
        f = raw_pack(ASSAY__LINK__FRAME__BODY_STATUS, &status);
    } else if (IS("Accept")) {
        f = raw_job(ASSAY__LINK__FRAME__BODY_ACCEPT, NODE_JOB);
    } else if (IS("Reject")) {
        f = raw_job(ASSAY__LINK__FRAME__BODY_REJECT, NODE_JOB);
    } else if (IS("Tokens")) {
        f = raw_tokens(NODE_JOB, 0, 1, ASY_STR("x"));
    } else if (IS("Done")) {
        f = raw_done(NODE_JOB, &receipt, 0, NULL);
    } else if (IS("Error, job")) {
        f = raw_job(ASSAY__LINK__FRAME__BODY_ERROR, NODE_JOB);
    } else if (IS("unknown body")) {
        f = asy_bytes_of(unknown, sizeof unknown);
    } else if (IS("garbage")) {
        f = ASY_STR("\xff\xff\xff");
    } else {
        *ret_known = false;
        return ASY_OK;
    }
    return asy_link_node_recv(r->node, f, &rig_why);
}

static enum asy_err node_call(struct rig *r, const char *event) {
    uint32_t ids[2] = {0, 1}, taken;
    uint64_t item;
    struct asy_hash zero = {{0}};
    if (IS("accept()")) {
        return asy_link_node_accept(r->node, NODE_JOB);
    }
    if (IS("reject()")) {
        return asy_link_node_reject(r->node, NODE_JOB, ASY_REJECT_PRICE, "", "too cheap");
    }
    if (IS("tokens()")) {
        return asy_link_node_tokens(r->node, NODE_JOB, ids, 2, ASY_STR("ab"));
    }
    if (IS("done()")) {
        struct asy_terms t = rig_terms(r, NODE_JOB);
        struct asy_receipt receipt = rig_receipt(&t, 0, ASY_FINISH_STOP);
        return asy_link_node_done(r->node, &item, NODE_JOB, &receipt, &zero);
    }
    if (IS("fail()")) {
        return asy_link_node_fail(r->node, NODE_JOB, ASY_ERR_PEER, "the worker died");
    }
    if (IS("taken()")) {
        return asy_link_node_taken(r->node, NODE_JOB, &taken);
    }
    if (IS("status()")) {
        struct asy_link_status s = {.slots = 4};
        asy_link_node_status(r->node, &s);
    } else if (IS("resend()")) {
        asy_link_node_resend_checkpoint(r->node, &r->n.own.at[0].c, &r->n.own.at[0].sig);
    } else if (IS("adopt()")) {
        asy_link_node_adopt_unsigned(r->node, &zero);
    } else if (IS("tick(), early")) {
        return asy_link_node_tick(r->node);
    } else if (IS("tick(), due")) {
        rig_env.mono_ns = asy_link_node_deadline(r->node);
        return asy_link_node_tick(r->node);
    } else {
        CHECK(0 && "an event that this test does not know");
    }
    return ASY_OK;
}

static void test_node(void) {
    for (size_t i = 0; i < ASY_COUNT(node_table); i++) {
        for (enum state state = WAITING; state < ENDING;
             state = (enum state)(state +
                                  1)) { /* a node's job has no such state: its program ends it */
            const struct row *row = &node_table[i];
            const struct cell want = row->cell[state];
            if (want.outcome == BUG) {
                continue;
            }
            struct rig *r = node_rig(state);
            uint64_t dropped = asy_metric_get(ASY_M_link_frames_dropped_total);
            uint64_t violations = asy_metric_get(ASY_M_link_violations_total);
            uint64_t ran = handled(r), jobs = asy_link_node_jobs(r->node);
            bool was_live = asy_link_node_live(r->node), frame;
            size_t pending = r->pending_gw.count;
            rig_why = (struct asy_why){{0}, {0}};
            enum asy_err err = node_frame(r, state, row->event, &frame);
            if (!frame) {
                err = node_call(r, row->event);
            }
            bool ran_now = handled(r) != ran || asy_link_node_live(r->node) != was_live ||
                           asy_link_node_jobs(r->node) != jobs ||
                           (frame && r->pending_gw.count != pending);
            enum outcome got =
                judge(err, frame, asy_metric_get(ASY_M_link_frames_dropped_total) - dropped,
                      asy_metric_get(ASY_M_link_violations_total) - violations, ran_now,
                      r->pending_gw.count != pending);
            enum state next = got == PEER || got == ENDS ? want.next : node_probe(r);
            if (got != want.outcome || next != want.next) {
                complain("node", row, state, got, next);
            }
            rig_free(r);
        }
    }
}

int main(void) {
    rig_hello_default();
    rig_begin();
    test_gw();
    test_node();
    rig_end();
    return asy_test_end();
}
