/* The two trees of plain hashes. They have the same shape, the last node of an odd level moving
 * up, and differ in how two hashes join. */
#include "crypto/crypto.h"
#include "merkle/merkle_priv.h"

static_assert(ASY_MAX_CHECKPOINT == 1u << ASY_CHECKPOINT_PATH_MAX,
              "a path is as long as the tree is deep");
static_assert(ASY_MAX_BATCH_JOBS <= 1u << ASY_BATCH_PATH_MAX,
              "a path is as long as the tree is deep");

typedef void join_fn(struct asy_hash *ret, const struct asy_hash *left,
                     const struct asy_hash *right);

static void join_ordered(struct asy_hash *ret, const struct asy_hash *left,
                         const struct asy_hash *right) {
    uint8_t in[1 + 32 + 32] = {0x01};
    memcpy(in + 1, left->b, 32);
    memcpy(in + 33, right->b, 32);
    asy_keccak256(ret, asy_bytes_of(in, sizeof in));
}

static void join_sorted(struct asy_hash *ret, const struct asy_hash *left,
                        const struct asy_hash *right) {
    const bool swap = memcmp(left->b, right->b, 32) > 0;
    uint8_t in[32 + 32];
    memcpy(in, swap ? right->b : left->b, 32);
    memcpy(in + 32, swap ? left->b : right->b, 32);
    asy_keccak256(ret, asy_bytes_of(in, sizeof in));
}

static void build(struct asy_hash *nodes, uint32_t count, join_fn *join) {
    for (struct asy_hash *level = nodes; count > 1;) {
        struct asy_hash *above = level + count;
        for (uint32_t i = 0; i < count; i += 2) {
            if (i + 1 < count) {
                join(&above[i / 2], &level[i], &level[i + 1]);
            } else {
                above[i / 2] = level[i];
            }
        }
        level = above;
        count = (count + 1) / 2;
    }
}

static uint32_t collect(struct asy_hash *ret_path, const struct asy_hash *nodes, uint32_t count,
                        uint32_t index) {
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
    return used;
}

/* ---- checkpoint ------------------------------------------------------------------------------ */

static bool bad_checkpoint(uint32_t count) { return count == 0 || count > ASY_MAX_CHECKPOINT; }

size_t asy_checkpoint_tree_len(uint32_t count) {
    return bad_checkpoint(count) ? 0 : asy_tree_len(count);
}

enum asy_err asy_checkpoint_tree_build(struct asy_hash *nodes, uint32_t count) {
    if (bad_checkpoint(count)) {
        return ASY_ERR_RANGE;
    }
    build(nodes, count, join_ordered);
    return ASY_OK;
}

struct asy_hash asy_checkpoint_tree_root(const struct asy_hash *nodes, uint32_t count) {
    ASY_ASSERT(!bad_checkpoint(count));
    return nodes[asy_tree_len(count) - 1];
}

enum asy_err asy_checkpoint_tree_path(struct asy_hash ret_path[ASY_CHECKPOINT_PATH_MAX],
                                      uint32_t *ret_path_count, const struct asy_hash *nodes,
                                      uint32_t count, uint32_t index) {
    if (bad_checkpoint(count) || index >= count) {
        return ASY_ERR_RANGE;
    }
    *ret_path_count = collect(ret_path, nodes, count, index);
    return ASY_OK;
}

enum asy_err asy_checkpoint_climb(struct asy_hash *ret_root, const struct asy_hash *leaf,
                                  uint32_t index, uint32_t count, const struct asy_hash *path,
                                  uint32_t path_count) {
    if (bad_checkpoint(count) || index >= count) {
        return ASY_ERR_RANGE;
    }
    struct asy_hash node = *leaf;
    uint32_t used = 0;
    for (; count > 1; count = (count + 1) / 2) {
        const uint32_t other = index ^ 1;
        if (other < count) {
            if (used == path_count) {
                return ASY_ERR_MISMATCH;
            }
            if (other < index) {
                join_ordered(&node, &path[used], &node);
            } else {
                join_ordered(&node, &node, &path[used]);
            }
            used++;
        }
        index /= 2;
    }
    if (used != path_count) {
        return ASY_ERR_MISMATCH;
    }
    *ret_root = node;
    return ASY_OK;
}

enum asy_err asy_checkpoint_verify(const struct asy_hash *root, const struct asy_hash *leaf,
                                   uint32_t index, uint32_t count, const struct asy_hash *path,
                                   uint32_t path_count) {
    struct asy_hash computed;
    ASY_TRY(asy_checkpoint_climb(&computed, leaf, index, count, path, path_count));
    return asy_hash_eq(&computed, root) ? ASY_OK : ASY_ERR_MISMATCH;
}

/* ---- batch ----------------------------------------------------------------------------------- */

void asy_entry_hash(struct asy_hash *ret_hash, const struct asy_entry *entry) {
    uint8_t words[6][32] = {{0}};
    asy_be32_put(words[0] + 28, entry->lane);
    asy_be32_put(words[1] + 28, entry->count);
    asy_be64_put(words[2] + 24, entry->first);
    asy_be128_put(words[3] + 16, entry->before);
    asy_be128_put(words[4] + 16, entry->spent);
    memcpy(words[5], entry->tree.b, 32);
    asy_keccak256(ret_hash, asy_bytes_of(words, sizeof words));
}

static bool bad_batch(uint32_t count) { return count == 0 || count > ASY_MAX_BATCH_JOBS; }

size_t asy_batch_tree_len(uint32_t count) { return bad_batch(count) ? 0 : asy_tree_len(count); }

enum asy_err asy_batch_tree_build(struct asy_hash *nodes, uint32_t count) {
    if (bad_batch(count)) {
        return ASY_ERR_RANGE;
    }
    build(nodes, count, join_sorted);
    return ASY_OK;
}

struct asy_hash asy_batch_tree_root(const struct asy_hash *nodes, uint32_t count) {
    ASY_ASSERT(!bad_batch(count));
    return nodes[asy_tree_len(count) - 1];
}

enum asy_err asy_batch_tree_path(struct asy_hash ret_path[ASY_BATCH_PATH_MAX],
                                 uint32_t *ret_path_count, const struct asy_hash *nodes,
                                 uint32_t count, uint32_t index) {
    if (bad_batch(count) || index >= count) {
        return ASY_ERR_RANGE;
    }
    *ret_path_count = collect(ret_path, nodes, count, index);
    return ASY_OK;
}

enum asy_err asy_batch_verify(const struct asy_hash *root, const struct asy_hash *leaf,
                              const struct asy_hash *path, uint32_t path_count) {
    if (path_count > ASY_BATCH_PATH_MAX) {
        return ASY_ERR_MISMATCH;
    }
    struct asy_hash node = *leaf;
    for (uint32_t i = 0; i < path_count; i++) {
        join_sorted(&node, &node, &path[i]);
    }
    return asy_hash_eq(&node, root) ? ASY_OK : ASY_ERR_MISMATCH;
}
