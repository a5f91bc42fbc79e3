/* Random schedules of calls, frames, time, breaks and crashes, with one or two nodes: when all has
 * come to rest, both sides hold the same tickets, the same receipts under the same signatures, and
 * the same totals. */
#include "link/test/rig.h"

enum { SCHEDULES = 60, STEPS = 500 };

static uint64_t below(uint64_t n) { return asy_test_random() % n; }

/* A job of the wanted state, at random; UINT64_MAX if there is none. */
static uint64_t pick(const struct rig *r, enum rig_node_job state) {
    uint64_t from = below(RIG_ITEMS);
    for (uint64_t i = 0; i < RIG_ITEMS; i++) {
        uint64_t job = (from + i) % RIG_ITEMS;
        if (r->jobs[job].state == state) {
            return job;
        }
    }
    return UINT64_MAX;
}

static void gateway_acts(struct rig *r) {
    if (r->gw == NULL || !asy_link_gw_live(r->gw)) {
        return;
    }
    uint64_t job = r->g.ticket_count == 0 ? 0 : below(r->g.ticket_count);
    switch (below(6)) {
    case 0:
    case 1:
        if (r->g.ticket_count < RIG_ITEMS - 200) {
            rig_offer(r, (uint32_t)below(12));
        }
        return;
    case 2: { /* cuts a job, when it still holds it */
        uint32_t keep = (uint32_t)below(r->relayed[job] + 1);
        enum asy_err err = rig_cancel(r, job, keep, ASY_CANCEL_CLIENT);
        CHECK(err == ASY_OK || err == ASY_ERR_NOT_FOUND);
        return;
    }
    case 3:
    case 4: {
        enum asy_err err = asy_link_gw_credit(r->gw, job, 1 + (uint32_t)below(20));
        CHECK(err == ASY_OK || err == ASY_ERR_NOT_FOUND);
        return;
    }
    default: {
        enum asy_err err = asy_link_gw_forget(r->gw, job);
        CHECK(err == ASY_OK || err == ASY_ERR_NOT_FOUND);
    }
    }
}

static void node_acts(struct rig *r) {
    if (r->node == NULL || !asy_link_node_live(r->node)) {
        return;
    }
    uint64_t offered = pick(r, RIG_OFFERED), job = pick(r, RIG_RUNNING);
    switch (below(8)) {
    case 0:
    case 1:
        if (offered != UINT64_MAX) {
            rig_accept(r, offered);
        }
        return;
    case 2:
        if (offered != UINT64_MAX && below(3) == 0) {
            CHECK_OK(asy_link_node_reject(r->node, offered, ASY_REJECT_BUSY, "", "busy"));
            rig_gone(r, offered);
        }
        return;
    case 3:
    case 4:
    case 5:
        if (job != UINT64_MAX && r->jobs[job].credit != 0 && !r->jobs[job].cancelled &&
            r->jobs[job].sent < 300) {
            rig_send_tokens(r, job,
                            1 + (uint32_t)below(r->jobs[job].credit < 9 ? r->jobs[job].credit : 9));
        }
        return;
    case 6:
        if (job != UINT64_MAX) {
            rig_done(r, job);
        }
        return;
    default:
        if (job != UINT64_MAX && below(4) == 0) {
            CHECK_OK(asy_link_node_fail(r->node, job, ASY_ERR_PEER, "worker died"));
            rig_gone(r, job);
        }
    }
}

/* The link breaks. Who lives on keeps what it has done; who crashes, what it had committed. */
static void cut_link(struct rig *r) {
    bool gw_crashes = below(3) == 0, node_crashes = below(3) == 0;
    if (gw_crashes) {
        r->g = r->g_committed;
    }
    if (node_crashes) {
        r->n = r->n_committed;
    } else if (r->node !=
               NULL) { /* it ends its jobs: a receipt for what was surely taken, or nothing */
        for (uint64_t job = 0; job < RIG_ITEMS; job++) {
            uint32_t taken;
            if (r->jobs[job].state == RIG_RUNNING && below(2) == 0) {
                CHECK_OK(asy_link_node_taken(r->node, job, &taken));
                CHECK(taken <= r->jobs[job].sent);
                rig_make_receipt(r, job, taken, ASY_FINISH_LINK, false);
            }
        }
    }
    r->g_committed = r->g;
    r->n_committed = r->n;
    rig_disconnect(r);
}

static void step(struct rig *r) {
    if (r->gw == NULL) {
        if (below(3) == 0) {
            rig_connect(r);
        }
        return;
    }
    enum asy_err err = ASY_OK;
    switch (below(20)) {
    case 0:
    case 1:
    case 2:
    case 3:
        gateway_acts(r);
        break;
    case 4:
    case 5:
    case 6:
    case 7:
        node_acts(r);
        break;
    case 8:
    case 9:
        rig_commit_gw(r);
        break;
    case 10:
    case 11:
        rig_commit_node(r);
        break;
    case 12:
    case 13:
    case 14:
        err = rig_deliver_gw(r);
        break;
    case 15:
    case 16:
    case 17:
        err = rig_deliver_node(r);
        break;
    case 18:
        rig_tick(r, below(80));
        break;
    default:
        if (below(8) == 0) {
            cut_link(r);
        }
    }
    if (err != ASY_OK) {
        fprintf(stderr, "two honest ends, and yet: %s\n", rig_why.text);
        CHECK(err == ASY_OK);
        cut_link(r);
    }
}

static void check_agreement(const struct rig *r) {
    CHECK_U64(rig_items_of(&r->g.own), r->g.ticket_count);
    CHECK_U64(rig_items_of(&r->n.gateways), r->g.ticket_count);
    CHECK_U64(rig_items_of(&r->n.own), r->n.item_count);
    CHECK_U64(rig_items_of(&r->g.nodes), r->n.item_count);
    CHECK_U64(r->g.item_count, r->n.item_count);
    CHECK_U64(r->g.own.count, r->n.gateways.count);
    CHECK_U64(r->g.nodes.count, r->n.own.count);
    for (uint32_t i = 0; i < r->g.own.count && i < r->n.gateways.count; i++) {
        CHECK_MEM(&r->g.own.at[i].sig, &r->n.gateways.at[i].sig, 65);
    }
    for (uint32_t i = 0; i < r->g.nodes.count && i < r->n.own.count; i++) {
        CHECK_MEM(&r->g.nodes.at[i].sig, &r->n.own.at[i].sig, 65);
    }
    for (uint64_t i = 0; i < r->g.ticket_count; i++) { /* what the node saw is what was issued */
        struct asy_hash h;
        asy_object_hash(&h, ASY_OBJ_TERMS, &r->g.terms[i]);
        CHECK(!r->n.seen[i] || asy_hash_eq(&h, &r->n.tickets[i]));
    }
    asy_u128 owed = 0;
    for (uint64_t i = 0; i < r->n.item_count; i++) {
        struct asy_hash h;
        asy_object_hash(&h, ASY_OBJ_RECEIPT, &r->n.items[i].receipt);
        CHECK(asy_hash_eq(&h, &r->g.items[i]));
        uint64_t job = r->n.items[i].terms.link_seq;
        if (!r->g.tickets[job].cut) {
            CHECK(r->g.tickets[job].paid && r->g.tickets[job].item == i);
        }
        /* a cut one is paid by the first receipt over no more than was kept */
        bool fits =
            !r->g.tickets[job].cut || r->n.items[i].receipt.out_tokens <= r->g.tickets[job].keep;
        CHECK(!fits || (r->g.tickets[job].paid && r->g.tickets[job].item <= i));
        owed += fits && r->g.tickets[job].item == i ? r->n.items[i].receipt.amount : 0;
    }
    CHECK(r->g.owed == owed && r->g.owed <= r->n.owed);
    CHECK(r->n.item_count == 0 || (r->n.has_ack && r->n.ack.cum == r->g.owed));
}

int main(void) {
    rig_hello_default();
    rig_begin();
    uint64_t jobs = 0, resent = 0, late = 0;
    for (int i = 0; i < SCHEDULES && asy_test_failures == 0; i++) {
        unsigned nodes = 1 + (unsigned)below(2);
        struct rig *r[2];
        for (unsigned n = 0; n < nodes; n++) {
            r[n] = asy_alloc(sizeof *r[n]);
            r[n]->who = n;
        }
        for (int s = 0; s < STEPS; s++) {
            step(r[below(nodes)]);
        }
        for (unsigned n = 0; n < nodes; n++) { /* now nothing breaks any more */
            if (r[n]->gw != NULL && below(2) == 0) {
                cut_link(r[n]);
            }
            if (r[n]->gw == NULL) {
                rig_connect(r[n]);
            }
            for (int k = 0; k < 3; k++) {
                rig_settle_frames(r[n]);
                rig_tick(r[n], 100);
            }
            rig_settle_frames(r[n]);
            check_agreement(r[n]);
            jobs += r[n]->n.item_count;
            resent += r[n]->resent;
            late += r[n]->late_cancels;
            rig_free(r[n]);
        }
    }
    CHECK(jobs > SCHEDULES && resent > 0 && late > 0); /* the walks do get somewhere */
    rig_end();
    return asy_test_end();
}
