/* follower.c: the table of evm.h, section "follower", as code. */
#include "evm/evm.h"

#define CURSOR_VERSION 1u
#define CURSOR_HEAD                                                                                \
    32u /* version u32, depth u32, count u32, zero u32, next u64, final u64; then the hashes,      \
           oldest first */

/* ---- the ring of known hashes: of blocks next - count .. next - 1 ---- */

static struct asy_hash *hash_at(struct asy_evm_follower *f, uint32_t i) {
    return &f->hashes[(f->first + i) % (ASY_EVM_MAX_DEPTH + 1)];
}

static bool is_tip(struct asy_evm_follower *f, const struct asy_hash *hash) {
    return asy_hash_eq(hash_at(f, f->count - 1), hash);
}

static void push_hash(struct asy_evm_follower *f, const struct asy_hash *hash) {
    if (f->count == f->depth + 1) {
        f->first = (f->first + 1) % (ASY_EVM_MAX_DEPTH + 1);
        f->count--;
    }
    *hash_at(f, f->count++) = *hash;
    f->next++;
}

/* ---- events ---- */

static enum asy_err emit(struct asy_evm_follower *f, enum asy_evm_follow_kind kind,
                         const struct asy_evm_log *log, uint64_t number,
                         const struct asy_hash *hash) {
    struct asy_evm_follow_event event = {.kind = kind, .log = log, .number = number};
    if (hash != NULL) {
        event.hash = *hash;
    }
    return f->on_event(f->arg, &event);
}

/* Only where the tip was just seen to be of the chain: a stale tip under a far head would make
 * blocks of a dead fork final. */
static enum asy_err emit_final(struct asy_evm_follower *f) {
    if (f->next == 0 || f->head < f->depth) {
        return ASY_OK;
    }
    uint64_t to = f->head - f->depth < f->next - 1 ? f->head - f->depth : f->next - 1;
    if (to < f->final) {
        return ASY_OK;
    }
    f->final = to + 1;
    return emit(f, ASY_EVM_FOLLOW_FINAL, NULL, to, NULL);
}

static void next_step(struct asy_evm_follower *f) {
    f->walking_back = false;
    if (f->next > f->head) {
        f->state = ASY_EVM_FOLLOWER_IDLE;
    } else if (f->head - f->next >= f->depth) {
        f->state = ASY_EVM_FOLLOWER_RANGE;
    } else {
        f->state = ASY_EVM_FOLLOWER_BLOCK;
    }
}

/* Position and finality move before the BLOCK event, so that a cursor saved by it is past the
 * block. */
static enum asy_err apply(struct asy_evm_follower *f, const struct asy_evm_logs *logs) {
    for (size_t i = 0; i < logs->count; i++) {
        ASY_TRY(emit(f, ASY_EVM_FOLLOW_APPLY, &logs->items[i], logs->items[i].block_number,
                     &logs->items[i].block_hash));
    }
    if (f->fetched.number != f->next) { /* a range: hashes before it are not neighbours of its end,
                                           and all of it is final */
        f->count = 0;
        f->first = 0;
        f->next = f->fetched.number;
    }
    push_hash(f, &f->fetched.hash);
    next_step(f);
    ASY_TRY(emit_final(f));
    return emit(f, ASY_EVM_FOLLOW_BLOCK, NULL, f->fetched.number, &f->fetched.hash);
}

/* The tip is not of the chain any more. The window always reaches down to a final block, or to the
 * very first one: so a window that runs empty means that nothing is applied. */
static enum asy_err revert_tip(struct asy_evm_follower *f) {
    uint64_t number = f->next - 1;
    if (!f->walking_back) {
        f->walking_back = true;
        asy_metric_add(ASY_M_chain_reorgs_total, 1);
    }
    if (number < f->final) {
        f->state = ASY_EVM_FOLLOWER_LOST;
        return emit(f, ASY_EVM_FOLLOW_LOST, NULL, f->next - f->count, NULL);
    }
    struct asy_hash hash = *hash_at(f, f->count - 1);
    f->count--;
    f->next--;
    if (f->count > 0) {
        f->state = ASY_EVM_FOLLOWER_TIP;
    } else {
        next_step(f);
    }
    return emit(f, ASY_EVM_FOLLOW_REVERT, NULL, number, &hash);
}

/* ---- steps ---- */

/* The end of a far range: below all that may still be taken back. */
static uint64_t range_end(const struct asy_evm_follower *f) {
    uint64_t end = f->head - f->depth;
    return end - f->next >= ASY_MAX_LOG_RANGE ? f->next + ASY_MAX_LOG_RANGE - 1 : end;
}

static enum asy_err on_head(struct asy_evm_follower *f, const struct asy_evm_block *head) {
    uint64_t tip = f->next - 1; /* only used where count > 0 */
    f->head = head->number;
    if (f->count == 0) {
        next_step(f);
    } else if (head->number > tip) {
        /* A far range does not look at the parent of its first block, so the tip is looked at
         * first. */
        f->state =
            head->number - f->next >= f->depth ? ASY_EVM_FOLLOWER_TIP : ASY_EVM_FOLLOWER_BLOCK;
    } else if (tip - head->number >= f->count) {
        f->state = ASY_EVM_FOLLOWER_IDLE; /* lags further behind than we can tell */
    } else if (asy_hash_eq(hash_at(f, f->count - 1 - (uint32_t)(tip - head->number)),
                           &head->hash)) {
        f->state = ASY_EVM_FOLLOWER_IDLE; /* nothing new, or an endpoint that lags */
        return emit_final(f);
    } else {
        f->state = ASY_EVM_FOLLOWER_TIP;
    }
    return ASY_OK;
}

static enum asy_err on_tip(struct asy_evm_follower *f, const struct asy_evm_block *block) {
    if (block == NULL && f->head >= f->next - 1) {
        f->state = ASY_EVM_FOLLOWER_IDLE; /* it showed us a longer chain before: several endpoints
                                             behind one name */
    } else if (block == NULL || !is_tip(f, &block->hash)) {
        return revert_tip(f);
    } else {
        next_step(f);
        return emit_final(f);
    }
    return ASY_OK;
}

static enum asy_err on_next(struct asy_evm_follower *f, const struct asy_evm_block *block) {
    if (block == NULL) {
        f->state = ASY_EVM_FOLLOWER_IDLE; /* the chain became shorter since we saw its head: look
                                             again later */
    } else if (f->count > 0 && !is_tip(f, &block->parent)) {
        f->state = ASY_EVM_FOLLOWER_TIP;
    } else {
        f->fetched = *block;
        f->state = ASY_EVM_FOLLOWER_LOGS;
    }
    return ASY_OK;
}

static enum asy_err on_range(struct asy_evm_follower *f, const struct asy_evm_block *block) {
    if (block == NULL) {
        f->state = ASY_EVM_FOLLOWER_IDLE;
        return ASY_OK;
    }
    f->fetched = *block;
    f->state = ASY_EVM_FOLLOWER_RANGE_LOGS;
    return ASY_OK;
}

void asy_evm_follower_init(struct asy_evm_follower *f, uint64_t start, uint32_t depth,
                           asy_evm_follow_fn on_event, void *arg) {
    ASY_ASSERT(depth >= 1 && depth <= ASY_EVM_MAX_DEPTH);
    *f = (struct asy_evm_follower){.state = ASY_EVM_FOLLOWER_IDLE,
                                   .depth = depth,
                                   .on_event = on_event,
                                   .arg = arg,
                                   .next = start,
                                   .final = start};
}

void asy_evm_follower_poll(struct asy_evm_follower *f) {
    if (f->state == ASY_EVM_FOLLOWER_IDLE) {
        f->state = ASY_EVM_FOLLOWER_HEAD;
    }
}

void asy_evm_follower_want(const struct asy_evm_follower *f, struct asy_evm_want *ret_want) {
    *ret_want = (struct asy_evm_want){.kind = ASY_EVM_WANT_NOTHING};
    switch (f->state) {
    case ASY_EVM_FOLLOWER_IDLE:
    case ASY_EVM_FOLLOWER_LOST:
        break;
    case ASY_EVM_FOLLOWER_HEAD:
        ret_want->kind = ASY_EVM_WANT_HEAD;
        break;
    case ASY_EVM_FOLLOWER_TIP:
        *ret_want = (struct asy_evm_want){.kind = ASY_EVM_WANT_BLOCK, .number = f->next - 1};
        break;
    case ASY_EVM_FOLLOWER_BLOCK:
        *ret_want = (struct asy_evm_want){.kind = ASY_EVM_WANT_BLOCK, .number = f->next};
        break;
    case ASY_EVM_FOLLOWER_LOGS:
        *ret_want = (struct asy_evm_want){.kind = ASY_EVM_WANT_LOGS,
                                          .number = f->fetched.number,
                                          .to = f->fetched.number,
                                          .hash = f->fetched.hash};
        break;
    case ASY_EVM_FOLLOWER_RANGE:
        *ret_want = (struct asy_evm_want){.kind = ASY_EVM_WANT_BLOCK, .number = range_end(f)};
        break;
    case ASY_EVM_FOLLOWER_RANGE_LOGS:
        *ret_want = (struct asy_evm_want){
            .kind = ASY_EVM_WANT_RANGE, .number = f->next, .to = f->fetched.number};
        break;
    }
}

enum asy_err asy_evm_follower_on_block(struct asy_evm_follower *f,
                                       const struct asy_evm_block *block) {
    struct asy_evm_want want;
    asy_evm_follower_want(f, &want);
    if (want.kind == ASY_EVM_WANT_BLOCK && block != NULL && block->number != want.number) {
        return ASY_ERR_MISMATCH;
    }
    switch (f->state) {
    case ASY_EVM_FOLLOWER_HEAD:
        return block == NULL ? ASY_ERR_PEER : on_head(f, block);
    case ASY_EVM_FOLLOWER_TIP:
        return on_tip(f, block);
    case ASY_EVM_FOLLOWER_BLOCK:
        return on_next(f, block);
    case ASY_EVM_FOLLOWER_RANGE:
        return on_range(f, block);
    case ASY_EVM_FOLLOWER_IDLE:
    case ASY_EVM_FOLLOWER_LOGS:
    case ASY_EVM_FOLLOWER_RANGE_LOGS:
    case ASY_EVM_FOLLOWER_LOST:
        break;
    }
    return ASY_ERR_STATE;
}

/* Ascending, within the blocks that were asked for, and of the chain whose header was seen. */
static bool logs_fit(const struct asy_evm_follower *f, const struct asy_evm_logs *logs) {
    for (size_t i = 0; i < logs->count; i++) {
        const struct asy_evm_log *log = &logs->items[i], *before = i > 0 ? log - 1 : NULL;
        if (log->block_number < f->next || log->block_number > f->fetched.number ||
            (log->block_number == f->fetched.number &&
             !asy_hash_eq(&log->block_hash, &f->fetched.hash))) {
            return false;
        }
        if (before != NULL &&
            (before->block_number > log->block_number ||
             (before->block_number == log->block_number && before->index >= log->index))) {
            return false;
        }
    }
    return true;
}

enum asy_err asy_evm_follower_on_logs(struct asy_evm_follower *f, const struct asy_evm_logs *logs) {
    if (f->state != ASY_EVM_FOLLOWER_LOGS && f->state != ASY_EVM_FOLLOWER_RANGE_LOGS) {
        return ASY_ERR_STATE;
    }
    if (logs == NULL) {
        f->state = ASY_EVM_FOLLOWER_IDLE;
        return ASY_OK;
    }
    if (!logs_fit(f, logs)) {
        f->state = ASY_EVM_FOLLOWER_IDLE;
        return ASY_ERR_MISMATCH;
    }
    return apply(f, logs);
}

/* ---- cursor ---- */

enum asy_err asy_evm_follower_save(const struct asy_evm_follower *f, struct asy_buf *buf) {
    uint8_t *p;
    size_t len = CURSOR_HEAD + 32u * f->count;
    ASY_TRY(asy_buf_reserve(buf, &p, len));
    memset(p, 0, CURSOR_HEAD);
    asy_le32_put(p, CURSOR_VERSION);
    asy_le32_put(p + 4, f->depth);
    asy_le32_put(p + 8, f->count);
    asy_le64_put(p + 16, f->next);
    asy_le64_put(p + 24, f->final);
    for (uint32_t i = 0; i < f->count; i++) {
        memcpy(p + CURSOR_HEAD + 32u * i, f->hashes[(f->first + i) % (ASY_EVM_MAX_DEPTH + 1)].b,
               32);
    }
    asy_buf_grow(buf, len);
    return ASY_OK;
}

enum asy_err asy_evm_follower_load(struct asy_evm_follower *f, struct asy_bytes cursor,
                                   asy_evm_follow_fn on_event, void *arg) {
    if (cursor.n < CURSOR_HEAD) {
        return ASY_ERR_SYNTAX;
    }
    if (asy_le32_get(cursor.p) != CURSOR_VERSION) {
        return ASY_ERR_VERSION;
    }
    uint32_t depth = asy_le32_get(cursor.p + 4), count = asy_le32_get(cursor.p + 8);
    uint64_t next = asy_le64_get(cursor.p + 16), final = asy_le64_get(cursor.p + 24);
    if (depth == 0 || depth > ASY_EVM_MAX_DEPTH || count > depth + 1 ||
        cursor.n != CURSOR_HEAD + 32u * count || count > next || final > next ||
        (count > 0 && final < next - count) || (count == 0 && final != next)) {
        return ASY_ERR_SYNTAX;
    }
    asy_evm_follower_init(f, next, depth, on_event, arg);
    f->final = final;
    f->count = count;
    for (uint32_t i = 0; i < count; i++) {
        memcpy(f->hashes[i].b, cursor.p + CURSOR_HEAD + 32u * i, 32);
    }
    return ASY_OK;
}
