#include "crypto/crypto.h"
#include "merkle/merkle_priv.h"

#define U96_MAX ((((asy_u128)1) << 96) - 1)

static_assert(ASY_MAX_ENTRY_LEAVES == 1u << ASY_SUM_PATH_MAX,
              "a path is as long as the tree is deep");

static const struct asy_sum_node empty = {{{0}}, 0};

static void put_u96(uint8_t *p, asy_u128 v) {
    asy_be32_put(p, (uint32_t)(v >> 64));
    asy_be64_put(p + 4, (uint64_t)v);
}

enum asy_err asy_sum_leaf(struct asy_sum_node *ret_leaf, uint64_t lane_seq, asy_u128 amount,
                          const struct asy_hash *receipt) {
    if (amount > U96_MAX) {
        return ASY_ERR_RANGE;
    }
    uint8_t in[1 + 8 + 12 + 32] = {0x00};
    asy_be64_put(in + 1, lane_seq);
    put_u96(in + 9, amount);
    memcpy(in + 21, receipt->b, 32);
    asy_keccak256(&ret_leaf->hash, asy_bytes_of(in, sizeof in));
    ret_leaf->sum = amount;
    return ASY_OK;
}

enum asy_err asy_sum_join(struct asy_sum_node *ret, const struct asy_sum_node *left,
                          const struct asy_sum_node *right) {
    if (left->sum > U96_MAX || right->sum > U96_MAX) {
        return ASY_ERR_RANGE;
    }
    const asy_u128 sum = left->sum + right->sum;
    if (sum > U96_MAX) {
        return ASY_ERR_OVERFLOW;
    }
    uint8_t in[1 + 32 + 12 + 32 + 12] = {0x01};
    memcpy(in + 1, left->hash.b, 32);
    put_u96(in + 33, left->sum);
    memcpy(in + 45, right->hash.b, 32);
    put_u96(in + 77, right->sum);
    asy_keccak256(&ret->hash, asy_bytes_of(in, sizeof in));
    ret->sum = sum;
    return ASY_OK;
}

static bool bad_count(uint32_t count) { return count == 0 || count > ASY_MAX_ENTRY_LEAVES; }

size_t asy_sum_tree_len(uint32_t count) { return bad_count(count) ? 0 : asy_tree_len(count); }

enum asy_err asy_sum_tree_build(struct asy_sum_node *nodes, uint32_t count) {
    if (bad_count(count)) {
        return ASY_ERR_RANGE;
    }
    for (struct asy_sum_node *level = nodes; count > 1;) {
        struct asy_sum_node *above = level + count;
        for (uint32_t i = 0; i < count; i += 2) {
            ASY_TRY(asy_sum_join(&above[i / 2], &level[i], i + 1 < count ? &level[i + 1] : &empty));
        }
        level = above;
        count = (count + 1) / 2;
    }
    return ASY_OK;
}

struct asy_sum_node asy_sum_tree_root(const struct asy_sum_node *nodes, uint32_t count) {
    ASY_ASSERT(!bad_count(count));
    return nodes[asy_tree_len(count) - 1];
}

enum asy_err asy_sum_tree_path(struct asy_sum_node ret_path[ASY_SUM_PATH_MAX],
                               uint32_t *ret_path_count, const struct asy_sum_node *nodes,
                               uint32_t count, uint32_t index) {
    if (bad_count(count) || index >= count) {
        return ASY_ERR_RANGE;
    }
    uint32_t used = 0;
    while (count > 1) {
        const uint32_t other = index ^ 1;
        if (other < count) {
            ret_path[used++] = nodes[other];
        }
        nodes += count;
        count = (count + 1) / 2;
        index /= 2;
    }
    *ret_path_count = used;
    return ASY_OK;
}

enum asy_err asy_sum_climb(struct asy_sum_node *ret_root, const struct asy_sum_node *at,
                           uint32_t index, uint32_t level, uint32_t count,
                           const struct asy_sum_node *path, uint32_t path_count) {
    if (bad_count(count) || level > ASY_SUM_PATH_MAX || ((uint64_t)index << level) >= count ||
        at->sum > U96_MAX) {
        return ASY_ERR_RANGE;
    }
    struct asy_sum_node node = *at;
    uint32_t used = 0;
    for (; (1u << level) < count; level++) {
        const bool right = (index & 1) == 1;
        const struct asy_sum_node *other = &empty;
        if (right || ((uint64_t)(index + 1) << level) < count) {
            if (used == path_count) {
                return ASY_ERR_MISMATCH;
            }
            other = &path[used++];
        }
        ASY_TRY(right ? asy_sum_join(&node, other, &node) : asy_sum_join(&node, &node, other));
        index /= 2;
    }
    if (used != path_count) {
        return ASY_ERR_MISMATCH;
    }
    *ret_root = node;
    return ASY_OK;
}

enum asy_err asy_sum_verify(const struct asy_sum_node *root, const struct asy_sum_node *leaf,
                            uint32_t index, uint32_t count, const struct asy_sum_node *path,
                            uint32_t path_count) {
    struct asy_sum_node computed;
    ASY_TRY(asy_sum_climb(&computed, leaf, index, 0, count, path, path_count));
    return asy_hash_eq(&computed.hash, &root->hash) && computed.sum == root->sum ? ASY_OK
                                                                                 : ASY_ERR_MISMATCH;
}

enum asy_err asy_sum_chunk(struct asy_sum_node *ret_node, struct asy_sum_node *leaves, uint32_t n,
                           uint32_t level) {
    if (level > ASY_SUM_PATH_MAX || n == 0 || n > 1u << level) {
        return ASY_ERR_RANGE;
    }
    for (; level > 0; level--) {
        for (uint32_t i = 0; i < n; i += 2) {
            ASY_TRY(asy_sum_join(&leaves[i / 2], &leaves[i], i + 1 < n ? &leaves[i + 1] : &empty));
        }
        n = (n + 1) / 2;
    }
    *ret_node = leaves[0];
    return ASY_OK;
}

void asy_sum_stream_init(struct asy_sum_stream *s) { memset(s, 0, sizeof *s); }

enum asy_err asy_sum_stream_add(struct asy_sum_stream *s, const struct asy_sum_node *leaf) {
    if (s->count == ASY_MAX_ENTRY_LEAVES) {
        return ASY_ERR_FULL;
    }
    /* as adding 1 to a binary number: full peaks below the first free place carry into it */
    struct asy_sum_node node = *leaf;
    uint32_t level = 0;
    for (; (s->count >> level & 1) == 1; level++) {
        ASY_TRY(asy_sum_join(&node, &s->peak[level], &node));
    }
    s->peak[level] = node;
    s->count++;
    return ASY_OK;
}

enum asy_err asy_sum_stream_root(const struct asy_sum_stream *s, struct asy_sum_node *ret_root) {
    if (s->count == 0) {
        return ASY_ERR_MISSING;
    }
    struct asy_sum_node node = empty;
    bool started = false; /* whether node covers any leaf yet */
    uint32_t level = 0;
    for (; (1u << level) < s->count; level++) {
        const bool peak = (s->count >> level & 1) == 1;
        if (peak) {
            ASY_TRY(asy_sum_join(&node, &s->peak[level], &node));
        } else if (started) {
            ASY_TRY(asy_sum_join(&node, &node, &empty));
        }
        started = started || peak;
    }
    *ret_root = started ? node : s->peak[level];
    return ASY_OK;
}
