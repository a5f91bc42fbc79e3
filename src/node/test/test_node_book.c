/* The node's book: what goes in comes out, in order, also after the file was closed and opened;
 * several gateways do not mix; what was not committed is gone. */
#include <unistd.h>

#include "base/test.h"
#include "node/node_priv.h"

static char dir[] = "/tmp/assay-test-book-XXXXXX";
static char path[64];
static struct book *book;
static struct asy_why why;

static void open_book(void) { CHECK_OK(book_open(&book, path, asy_env_system(), &why)); }
static void reopen(void) {
    CHECK_OK(book_commit(book, &why));
    CHECK(!book_dirty(book));
    book_close(book);
    open_book();
}

static struct asy_terms terms_of(const struct asy_addr *gateway, uint64_t link_seq) {
    struct asy_terms t;
    asy_test_fill(&t, sizeof t);
    t.gateway = *gateway;
    t.link_seq = link_seq;
    return t;
}

static struct asy_receipt receipt_of(const struct asy_terms *terms, asy_u128 amount) {
    struct asy_receipt r;
    asy_test_fill(&r, sizeof r);
    asy_object_hash(&r.terms, ASY_OBJ_TERMS, terms);
    r.amount = amount;
    return r;
}

static struct asy_checkpoint checkpoint_of(uint8_t kind, uint64_t number, uint64_t first,
                                           uint32_t count) {
    struct asy_checkpoint c;
    asy_test_fill(&c, sizeof c);
    c.kind = kind;
    c.number = number;
    c.first = first;
    c.count = count;
    return c;
}

/* What a listing gives, to be compared with what was put in. */
enum { ITEMS = 20 };
static struct asy_terms terms[ITEMS];
static struct asy_receipt receipts[ITEMS];
static struct asy_hash prompts[ITEMS];
static struct asy_sig sigs[ITEMS];
static struct asy_checkpoint checkpoints[ITEMS];
static uint64_t next_item, listed;

static bool same(enum asy_object type, const void *a, const void *b) {
    uint8_t x[ASY_TERMS_LEN], y[ASY_TERMS_LEN]; /* the largest */
    ASY_ASSERT(asy_object_len(type) <= sizeof x);
    asy_object_encode(x, type, a);
    asy_object_encode(y, type, b);
    return memcmp(x, y, asy_object_len(type)) == 0;
}

static void on_receipt(void *arg, const struct asy_terms *t, const struct asy_receipt *r,
                       const struct asy_hash *prompt, uint64_t item) {
    CHECK(arg == &listed);
    CHECK_U64(item, next_item);
    CHECK(item < ITEMS && same(ASY_OBJ_TERMS, t, &terms[item]) &&
          same(ASY_OBJ_RECEIPT, r, &receipts[item]) && asy_hash_eq(prompt, &prompts[item]));
    next_item++;
    listed++;
}

static void list_receipts(uint64_t from, uint64_t to, uint64_t want) {
    next_item = from;
    listed = 0;
    CHECK_OK(book_receipts(book, &terms[0].gateway, from, to, on_receipt, &listed));
    CHECK_U64(listed, want);
}

static void on_checkpoint(void *arg, const struct asy_checkpoint *c, const struct asy_sig *sig) {
    CHECK(arg == &listed);
    CHECK_U64(c->number, next_item);
    CHECK(same(ASY_OBJ_CHECKPOINT, c, &checkpoints[c->number]));
    CHECK_MEM(sig, &sigs[c->number], sizeof *sig);
    next_item++;
    listed++;
}

static void list_checkpoints(uint64_t from_item, uint64_t first_number, uint64_t want) {
    next_item = first_number;
    listed = 0;
    CHECK_OK(book_checkpoints(book, &terms[0].gateway, from_item, on_checkpoint, &listed));
    CHECK_U64(listed, want);
}

static void test_receipts(void) {
    struct asy_addr gateway, other;
    struct book_totals t;
    asy_u128 owed = 0;
    asy_test_fill(&gateway, sizeof gateway);
    asy_test_fill(&other, sizeof other);
    CHECK_OK(book_totals(book, &t, &gateway));
    CHECK(t.items == 0 && t.items_signed == 0 && t.checkpoint_next == 0 && t.tickets_have == 0 &&
          t.owed == 0 && !t.has_ack);

    for (uint64_t i = 0; i < ITEMS; i++) {
        terms[i] = terms_of(&gateway, 100 - i); /* receipts come in another order than tickets */
        receipts[i] = receipt_of(&terms[i], ((asy_u128)asy_test_random() << 32) + i);
        asy_test_fill(&prompts[i], sizeof prompts[i]);
        CHECK_OK(book_add_ticket(book, &terms[i]));
        CHECK_OK(book_add_receipt(book, &terms[i], &receipts[i], &prompts[i], i));
        owed += receipts[i].amount;
    }
    CHECK_ERR(book_add_ticket(book, &terms[3]), ASY_ERR_CONFLICT); /* its place is taken */

    /* another gateway's, in between */
    struct asy_terms foreign = terms_of(&other, 100);
    struct asy_receipt foreign_receipt = receipt_of(&foreign, 7);
    CHECK_OK(book_add_ticket(book, &foreign));
    CHECK_OK(book_add_receipt(book, &foreign, &foreign_receipt, &prompts[0], 0));

    for (int round = 0; round < 2; round++) {
        CHECK_OK(book_totals(book, &t, &gateway));
        CHECK(t.items == ITEMS && t.owed == owed && t.items_signed == 0);
        CHECK_OK(book_totals(book, &t, &other));
        CHECK(t.items == 1 && t.owed == 7);
        list_receipts(0, ITEMS, ITEMS);
        list_receipts(5, 9, 4);
        list_receipts(ITEMS - 1, 1000, 1);
        list_receipts(ITEMS, 1000, 0);
        reopen();
    }
}

static void test_checkpoints(void) {
    const struct asy_addr *gateway = &terms[0].gateway;
    struct book_totals t;
    static const uint32_t counts[] = {4, 1, 7};
    uint64_t first = 0;
    for (uint32_t i = 0; i < ASY_COUNT(counts); i++) {
        checkpoints[i] = checkpoint_of(ASY_CHECKPOINT_RECEIPTS, i, first, counts[i]);
        asy_test_fill(&sigs[i], sizeof sigs[i]);
        CHECK_OK(book_add_checkpoint(book, gateway, &checkpoints[i], &sigs[i]));
        first += counts[i];
    }
    struct asy_checkpoint tickets = checkpoint_of(ASY_CHECKPOINT_TICKETS, 0, 0, 9);
    CHECK_OK(book_add_checkpoint(book, gateway, &tickets, &sigs[0]));
    CHECK_OK(book_add_checkpoint(book, gateway, &tickets, &sigs[0])); /* sent again */
    for (int round = 0; round < 2; round++) {
        CHECK_OK(book_totals(book, &t, gateway));
        CHECK(t.items == ITEMS && t.items_signed == 12 && t.checkpoint_next == 3 &&
              t.tickets_have == 9);
        list_checkpoints(0, 0, 3);
        list_checkpoints(4, 1, 2);
        list_checkpoints(12, 3, 0);
        reopen();
    }
}

static void test_acks(void) {
    const struct asy_addr *gateway = &terms[0].gateway;
    struct asy_ack ack;
    struct book_totals t;
    for (uint64_t cum = 5; cum <= 6; cum++) {
        asy_test_fill(&ack, sizeof ack);
        ack.gateway = *gateway;
        ack.cum = cum;
        CHECK_OK(book_set_ack(book, &ack, &sigs[cum - 5]));
        reopen();
        CHECK_OK(book_totals(book, &t, gateway));
        CHECK(t.has_ack && same(ASY_OBJ_ACK, &t.ack, &ack));
        CHECK_MEM(&t.ack_sig, &sigs[cum - 5], sizeof t.ack_sig);
    }
}

static void test_uncommitted(void) {
    struct asy_terms late = terms_of(&terms[0].gateway, 200);
    struct asy_receipt receipt = receipt_of(&late, 1);
    struct book_totals t;
    CHECK_OK(book_add_receipt(book, &late, &receipt, &prompts[0], ITEMS));
    CHECK(book_dirty(book));
    book_close(book); /* as a crash would */
    open_book();
    CHECK_OK(book_totals(book, &t, &terms[0].gateway));
    CHECK_U64(t.items, ITEMS);
}

int main(void) {
    if (mkdtemp(dir) == NULL) {
        return 1;
    }
    (void)snprintf(path, sizeof path, "%s/node.db", dir);
    open_book();
    test_receipts();
    test_checkpoints();
    test_acks();
    test_uncommitted();
    book_close(book);
    static const char *const tails[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < ASY_COUNT(tails); i++) {
        char file[80];
        (void)snprintf(file, sizeof file, "%s%s", path, tails[i]);
        (void)unlink(file);
    }
    CHECK(rmdir(dir) == 0);
    return asy_test_end();
}
