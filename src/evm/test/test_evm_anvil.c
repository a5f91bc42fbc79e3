/* Sending, waiting, replacing, re-organisations and restarts on a real chain. */
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "evm/test/chain.h"

#define MANY 300u

static struct chain c;
static struct user alice, bob;

static struct asy_evm_intent payment(const struct user *to, asy_u128 wei) {
    return (struct asy_evm_intent){.to = &to->acc.addr, .value_wei = wei};
}

static asy_u128 balance(const struct user *u) {
    asy_u128 wei = 0;
    MUST(asy_evm_get_balance(c.evm, &wei, &u->acc.addr, &why));
    return wei;
}

static void mine(uint64_t count) { MUST(asy_evm_anvil_mine(c.evm, count, &why)); }

static void test_reading(void) {
    uint64_t id, number;
    size_t len;
    struct asy_evm_block latest, safe, genesis, none;
    struct asy_evm_fees fees;
    struct asy_evm_receipt receipt;
    struct asy_hash nothing = {{1}};
    bool known;
    MUST(asy_evm_get_chain_id(c.evm, &id, &why));
    CHECK_U64(id, 31337);
    mine(3);
    MUST(asy_evm_get_block_number(c.evm, &number, &why));
    CHECK_U64(number, 3);
    MUST(asy_evm_get_block_tag(c.evm, &latest, ASY_EVM_LATEST, &why));
    CHECK(latest.number == 3 && latest.base_fee_wei > 0 && latest.gas_limit == 60000000);
    MUST(asy_evm_get_block_tag(c.evm, &safe, ASY_EVM_FINALIZED, &why));
    CHECK_U64(safe.number, 0);
    MUST(asy_evm_get_block(c.evm, &genesis, 2, &why));
    CHECK(asy_hash_eq(&genesis.hash, &latest.parent));
    CHECK_ERR(asy_evm_get_block(c.evm, &none, 4, &why), ASY_ERR_NOT_FOUND);
    MUST(asy_evm_get_code_len(c.evm, &len, &alice.acc.addr, &why));
    CHECK_U64(len, 0);
    MUST(asy_evm_suggest_fees(c.evm, &fees, &why));
    CHECK(fees.max_wei > fees.tip_wei);
    CHECK_ERR(asy_evm_get_receipt(c.evm, &receipt, NULL, &nothing, &why), ASY_ERR_NOT_FOUND);
    MUST(asy_evm_tx_known(c.evm, &known, &nothing, &why));
    CHECK(!known);
}

static void test_payment(void) {
    struct asy_evm_receipt r;
    struct asy_evm_intent intent = payment(&bob, 12345);
    struct asy_evm_submit_options options = {.confirmations = 1, .deadline_ns = in_s(30)};
    asy_u128 before = balance(&alice), bobs = balance(&bob);
    MUST(asy_evm_anvil_automine(c.evm, &why));
    MUST(asy_evm_submit(&alice.acc, c.evm, &r, NULL, &intent, &options, &why));
    CHECK(r.ok && r.gas_used == 21000 && asy_addr_is_zero(&r.contract));
    CHECK(balance(&bob) == bobs + 12345);
    CHECK(balance(&alice) == before - 12345 - r.gas_price_wei * r.gas_used);
    intent.value_wei = balance(&alice) + 1;
    CHECK(asy_evm_submit(&alice.acc, c.evm, &r, NULL, &intent, &options, &why) != ASY_OK);
    intent = payment(&bob, 1);
    intent.gas = ASY_MAX_TX_GAS + 1;
    CHECK_ERR(asy_evm_submit(&alice.acc, c.evm, &r, NULL, &intent, &options, &why), ASY_ERR_RANGE);
    alice.acc.max_fee_wei = 1;
    intent.gas = 0;
    CHECK_ERR(asy_evm_submit(&alice.acc, c.evm, &r, NULL, &intent, &options, &why), ASY_ERR_CREDIT);
    alice.acc.max_fee_wei = 0;
    MUST(asy_evm_anvil_interval(c.evm, 0, &why));
}

/* Signed one after the other without waiting: all land, in order. */
static void test_many(void) {
    static struct asy_evm_signed txs[MANY];
    struct asy_evm_intent intent = payment(&bob, 1);
    struct asy_hash hash;
    struct asy_evm_receipt r;
    asy_u128 before = balance(&bob);
    intent.gas = 21000;
    uint64_t first = 0;
    for (size_t i = 0; i < MANY; i++) {
        MUST(asy_evm_sign(&alice.acc, c.evm, &txs[i], &intent, &why));
        MUST(asy_evm_send_stored(c.evm, &hash, asy_buf_bytes(&txs[i].raw), &why));
        CHECK(asy_hash_eq(&hash, &txs[i].hash));
        CHECK_U64(txs[i].nonce, txs[0].nonce + i);
    }
    mine(1);
    for (size_t i = 0; i < MANY; i++) {
        MUST(asy_evm_wait_receipt(c.evm, &r, NULL, &txs[i].hash, 1, in_s(30), &why));
        first = i == 0 ? r.block_number : first;
        CHECK(r.ok && r.block_number == first);
        asy_evm_signed_done(&txs[i]);
    }
    CHECK(balance(&bob) == before + MANY);
}

static void test_send_again(void) {
    struct asy_evm_signed tx, other;
    struct asy_evm_intent intent = payment(&bob, 7);
    struct asy_hash hash;
    struct asy_evm_receipt r;
    struct user twin = alice; /* the same key, unaware of the first */
    MUST(asy_evm_sign(&alice.acc, c.evm, &tx, &intent, &why));
    MUST(asy_evm_sign(&twin.acc, c.evm, &other, &intent, &why));
    asy_evm_signed_done(&other);
    twin = alice;
    twin.acc.next_nonce--;
    intent.value_wei = 8;
    MUST(asy_evm_sign(&twin.acc, c.evm, &other, &intent, &why));
    CHECK_U64(other.nonce, tx.nonce);
    MUST(asy_evm_send_stored(c.evm, &hash, asy_buf_bytes(&tx.raw), &why));
    MUST(asy_evm_send_stored(c.evm, &hash, asy_buf_bytes(&tx.raw), &why)); /* waits already */
    CHECK_ERR(asy_evm_send_stored(c.evm, &hash, asy_buf_bytes(&other.raw), &why), ASY_ERR_CONFLICT);
    CHECK_ERR(asy_evm_wait_receipt(c.evm, &r, NULL, &tx.hash, 1, 0, &why), ASY_ERR_TIMEOUT);
    mine(1);
    MUST(asy_evm_send_stored(c.evm, &hash, asy_buf_bytes(&tx.raw), &why)); /* mined already */
    CHECK_ERR(asy_evm_send_stored(c.evm, &hash, asy_buf_bytes(&other.raw), &why), ASY_ERR_CONFLICT);
    CHECK_ERR(asy_evm_send_stored(c.evm, &hash, ASY_STR("\x02nonsense"), &why), ASY_ERR_SYNTAX);
    MUST(asy_evm_wait_receipt(c.evm, &r, NULL, &tx.hash, 1, in_s(30), &why));
    /* Two more blocks make three confirmations. */
    CHECK_ERR(asy_evm_wait_receipt(c.evm, &r, NULL, &tx.hash, 3, 0, &why), ASY_ERR_TIMEOUT);
    mine(2);
    MUST(asy_evm_wait_receipt(c.evm, &r, NULL, &tx.hash, 3, in_s(30), &why));
    asy_evm_signed_done(&tx);
    asy_evm_signed_done(&other);
}

/* Somebody else used the nonce: the next one is taken. And a nonce that was given back is used
 * again. */
static void test_taken_nonce(void) {
    struct asy_evm_signed tx;
    struct asy_evm_intent intent = payment(&bob, 9);
    struct asy_evm_submit_options options = {.confirmations = 1, .deadline_ns = in_s(30)};
    struct asy_evm_receipt r;
    struct user twin = alice;
    twin.acc.sign_arg = &alice.key;
    MUST(asy_evm_anvil_automine(c.evm, &why));
    MUST(asy_evm_submit(&twin.acc, c.evm, &r, NULL, &intent, &options, &why));
    MUST(asy_evm_submit(&alice.acc, c.evm, &r, NULL, &intent, &options, &why));
    CHECK_U64(alice.acc.next_nonce, twin.acc.next_nonce + 1);
    MUST(asy_evm_sign(&alice.acc, c.evm, &tx, &intent, &why));
    uint64_t nonce = tx.nonce;
    asy_evm_unsign(&alice.acc, &tx);
    MUST(asy_evm_sign(&alice.acc, c.evm, &tx, &intent, &why));
    CHECK_U64(tx.nonce, nonce);
    asy_evm_unsign(&alice.acc, &tx);
    MUST(asy_evm_anvil_interval(c.evm, 0, &why));
}

/* Nothing is mined until the third version is about to be sent: the second one is then in the
 * block. */
struct versions {
    size_t count;
    struct asy_hash hashes[16];
    struct asy_evm_fees fees[16];
};
static enum asy_err keep_version(void *arg, const struct asy_evm_signed *signed_tx) {
    struct versions *v = arg;
    struct asy_evm_tx tx;
    struct asy_sig sig;
    CHECK_OK(asy_evm_tx_decode(&tx, &sig, asy_buf_bytes(&signed_tx->raw)));
    v->hashes[v->count] = signed_tx->hash;
    v->fees[v->count++] = tx.fees;
    if (v->count == 3) {
        struct asy_evm *other;
        MUST(asy_evm_new(&other, c.anvil.url, NULL, &why));
        MUST(asy_evm_anvil_mine(other, 1, &why));
        asy_evm_free(other);
    }
    return ASY_OK;
}

static void test_stuck(void) {
    struct versions v = {0};
    struct asy_evm_intent intent = payment(&bob, 10);
    struct asy_evm_submit_options options = {.confirmations = 1,
                                             .stuck_ms = 40,
                                             .deadline_ns = in_s(60),
                                             .store = keep_version,
                                             .store_arg = &v};
    struct asy_evm_receipt r;
    asy_u128 before = balance(&bob);
    MUST(asy_evm_submit(&alice.acc, c.evm, &r, NULL, &intent, &options, &why));
    CHECK_U64(v.count, 3);
    CHECK(asy_hash_eq(&r.tx_hash, &v.hashes[1]));
    for (size_t i = 1; i < v.count; i++) {
        CHECK(v.fees[i].tip_wei * 8 >= v.fees[i - 1].tip_wei * 9 &&
              v.fees[i].max_wei * 8 >= v.fees[i - 1].max_wei * 9);
    }
    CHECK(balance(&bob) == before + 10);
}

static enum asy_err refuse_to_store(void *arg, const struct asy_evm_signed *tx) {
    (void)arg;
    (void)tx;
    return ASY_ERR_STORE;
}

static void test_store_fails(void) {
    uint64_t before, after;
    struct asy_evm_intent intent = payment(&bob, 11);
    struct asy_evm_submit_options options = {
        .confirmations = 1, .deadline_ns = in_s(30), .store = refuse_to_store};
    struct asy_evm_receipt r;
    MUST(asy_evm_get_nonce(c.evm, &before, &alice.acc.addr, true, &why));
    CHECK_ERR(asy_evm_submit(&alice.acc, c.evm, &r, NULL, &intent, &options, &why), ASY_ERR_STORE);
    MUST(asy_evm_get_nonce(c.evm, &after, &alice.acc.addr, true, &why));
    CHECK_U64(after, before); /* nothing was sent */
}

/* A block is replaced: the receipt is gone, and the same bytes bring it back. */
static void test_reorg(void) {
    struct asy_evm_signed tx;
    struct asy_evm_intent intent = payment(&bob, 12);
    struct asy_hash hash;
    struct asy_evm_receipt r, again;
    MUST(asy_evm_sign(&alice.acc, c.evm, &tx, &intent, &why));
    MUST(asy_evm_send_stored(c.evm, &hash, asy_buf_bytes(&tx.raw), &why));
    mine(1);
    MUST(asy_evm_wait_receipt(c.evm, &r, NULL, &hash, 1, in_s(30), &why));
    mine(1);
    MUST(asy_evm_anvil_reorg(c.evm, 2, &why));
    CHECK_ERR(asy_evm_get_receipt(c.evm, &again, NULL, &hash, &why), ASY_ERR_NOT_FOUND);
    MUST(asy_evm_send_stored(c.evm, &hash, asy_buf_bytes(&tx.raw), &why));
    mine(1);
    MUST(asy_evm_wait_receipt(c.evm, &again, NULL, &hash, 1, in_s(30), &why));
    CHECK(!asy_hash_eq(&r.block_hash, &again.block_hash));
    asy_evm_signed_done(&tx);
}

static void *cancel_soon(void *arg) {
    asy_evm_cancel(arg);
    return NULL;
}

static void test_cancel(void) {
    struct asy_evm *evm;
    pthread_t thread;
    struct asy_hash nothing = {{2}};
    struct asy_evm_receipt r;
    uint64_t number;
    MUST(asy_evm_new(&evm, c.anvil.url, NULL, &why));
    CHECK(pthread_create(&thread, NULL, cancel_soon, evm) == 0);
    CHECK_ERR(asy_evm_wait_receipt(evm, &r, NULL, &nothing, 1, in_s(3600), &why),
              ASY_ERR_CANCELLED);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_ERR(asy_evm_get_block_number(evm, &number, &why), ASY_ERR_CANCELLED);
    asy_evm_free(evm);
}

/* The clock was moved ahead a day; stopped, started: same chain, and time goes on. */
static void test_restart(void) {
    struct asy_evm_block before, after, next;
    struct asy_evm_signed tx;
    struct asy_evm_intent intent = payment(&bob, 13);
    struct asy_hash hash;
    struct asy_evm_receipt r;
    struct asy_evm_anvil second;
    MUST(asy_evm_get_block_tag(c.evm, &before, ASY_EVM_LATEST, &why));
    MUST(asy_evm_anvil_set_next_time(c.evm, before.time_s + 86400, &why));
    MUST(asy_evm_sign(&alice.acc, c.evm, &tx, &intent, &why));
    MUST(asy_evm_send_stored(c.evm, &hash, asy_buf_bytes(&tx.raw), &why));
    mine(1);
    MUST(asy_evm_wait_receipt(c.evm, &r, NULL, &hash, 1, in_s(30), &why));
    MUST(asy_evm_get_block_tag(c.evm, &before, ASY_EVM_LATEST, &why));
    asy_u128 bobs = balance(&bob);
    CHECK_ERR(asy_evm_anvil_start(&second, NULL, &c.options, 0, &why),
              ASY_ERR_CONFLICT); /* one anvil per state */
    chain_down(&c);
    chain_up(&c);
    MUST(asy_evm_get_block_tag(c.evm, &after, ASY_EVM_LATEST, &why));
    CHECK(asy_hash_eq(&before.hash, &after.hash));
    CHECK(balance(&bob) == bobs);
    MUST(asy_evm_wait_receipt(c.evm, &r, NULL, &hash, 1, in_s(30), &why));
    mine(1);
    MUST(asy_evm_get_block_tag(c.evm, &next, ASY_EVM_LATEST, &why));
    CHECK(next.number == after.number + 1 && next.time_s > after.time_s);
    asy_evm_signed_done(&tx);
}

/* A crash in the middle of writing the state: the copy of the last start is used, and said so. */
static void test_cut_state(void) {
    struct stat st;
    bool restored = false;
    chain_down(&c);
    chain_up(&c); /* the copy is made here */
    uint64_t number, after;
    MUST(asy_evm_get_block_number(c.evm, &number, &why));
    chain_down(&c);
    CHECK(stat(c.state, &st) == 0 && truncate(c.state, st.st_size - 10) == 0);
    MUST(asy_evm_anvil_start(&c.anvil, &restored, &c.options, in_s(30), &why));
    CHECK(restored);
    MUST(asy_evm_new(&c.evm, c.anvil.url, NULL, &why));
    MUST(asy_evm_get_block_number(c.evm, &after, &why));
    CHECK_U64(after, number);
}

/* The program that started the chain is killed: the chain saves its state and goes, and the next
 * start finds all of it. */
static void test_killed_parent(void) {
    int ends[2];
    uint64_t number = 0, after;
    chain_down(&c);
    CHECK(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        chain_up(&c);
        mine(5);
        MUST(asy_evm_get_block_number(c.evm, &number, &why));
        if (write(ends[1], &number, sizeof number) != (ssize_t)sizeof number) {
            _exit(1);
        }
        (void)pause();
        _exit(1);
    }
    CHECK(read(ends[0], &number, sizeof number) == (ssize_t)sizeof number);
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
    chain_up(&c); /* waits for the old one through the lock */
    MUST(asy_evm_get_block_number(c.evm, &after, &why));
    CHECK_U64(after, number);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

/* Interval mining, and a process that dies by itself is noticed. */
static void test_interval_and_death(void) {
    struct asy_evm_anvil_options options = {.bin = c.options.bin, .chain_id = 7, .block_time_s = 1};
    struct asy_evm_anvil anvil;
    struct asy_evm *evm;
    uint64_t number = 0;
    MUST(asy_evm_anvil_start(&anvil, NULL, &options, in_s(30), &why));
    MUST(asy_evm_new(&evm, anvil.url, NULL, &why));
    while (number == 0) { /* bounded by the runner's limit */
        MUST(asy_evm_get_block_number(evm, &number, &why));
        MUST(asy_evm_pause(evm, 20));
    }
    CHECK(asy_evm_anvil_alive(&anvil));
    CHECK(kill(anvil.pid, SIGKILL) == 0);
    while (asy_evm_anvil_alive(&anvil)) {
        MUST(asy_evm_pause(evm, 1));
    }
    asy_evm_free(evm);
    MUST(asy_evm_new(&evm, anvil.url, &(struct asy_evm_options){.timeout_ms = 1000, .retries = 1},
                     &why));
    CHECK_ERR(asy_evm_get_block_number(evm, &number, &why), ASY_ERR_CHAIN);
    CHECK_ERR(asy_evm_wait_up(evm, 0, &why), ASY_ERR_TIMEOUT);
    asy_evm_free(evm);
    options.bin = "/nonexistent/anvil";
    CHECK_ERR(asy_evm_anvil_start(&anvil, NULL, &options, in_s(30), &why), ASY_ERR_NOT_FOUND);
    options.bin = "/bin/false";
    CHECK_ERR(asy_evm_anvil_start(&anvil, NULL, &options, in_s(30), &why), ASY_ERR_CHAIN);
}

int main(void) {
    const char *bin = anvil_path();
    if (bin == NULL) {
        return asy_test_skip("anvil is not installed (tools/setup check installs it)");
    }
    chain_begin(&c, bin);
    user_init(&alice, c.evm, 0x11);
    user_init(&bob, c.evm, 0x22);
    test_reading();
    test_payment();
    test_many();
    test_send_again();
    test_taken_nonce();
    test_stuck();
    test_store_fails();
    test_reorg();
    test_cancel();
    test_restart();
    test_cut_state();
    test_killed_parent();
    test_interval_and_death();
    chain_end(&c);
    return asy_test_end();
}
