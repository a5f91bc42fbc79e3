/* Random walks: whatever a gateway does, and wherever it is closed and opened again, the books
 * balance, memory and file agree, and what was not committed has not happened. */
#include "ledger/test/walk.h"

enum { WALKS = 12, STEPS = 400 };

int main(void) {
    uint64_t tickets = 0, batches = 0;
    for (int walk = 0; walk < WALKS && asy_test_failures == 0; walk++) {
        rig_begin();
        walk_resume();
        rig_commit();
        struct asy_hash committed = walk_digest();
        for (int i = 0; i < STEPS && asy_test_failures == 0; i++) {
            walk_step();
            if (walk_below(6) == 0) {
                rig_commit();
                committed = walk_digest();
            }
            if (walk_below(60) == 0) {
                bool whole = walk_below(2) == 0;
                if (whole) {
                    rig_commit();
                    committed = walk_digest();
                }
                asy_ledger_close(rig_ledger); /* else: the turn is lost */
                rig_open();
                struct asy_hash now = walk_digest();
                CHECK(asy_hash_eq(&now, &committed));
                BALANCED();
                walk_resume();
                rig_commit();
                committed = walk_digest();
            }
            if (i % 40 == 0) {
                BALANCED();
            }
        }
        BALANCED();
        for (unsigned i = 0; i < WALK_ACCOUNTS; i++) {
            tickets += rig_account(i)->lane_seq;
        }
        batches += asy_ledger_batch_count(rig_ledger);
        rig_end();
    }
    CHECK(tickets > 20 * WALKS && batches > WALKS); /* the walks do get somewhere */
    return asy_test_end();
}
