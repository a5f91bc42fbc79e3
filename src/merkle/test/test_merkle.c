/* Properties of the three trees: every leaf of every size can be proved, and nothing else can. */
#include "base/test.h"
#include "crypto/crypto.h"
#include "merkle/merkle.h"

#define SIZES 300

/* building overwrites what lies behind the leaves, so these keep them for the next size */
static struct asy_sum_node sum_leaves[ASY_MAX_ENTRY_LEAVES],
    sum_nodes[2 * ASY_MAX_ENTRY_LEAVES + 12];
static struct asy_hash hash_leaves[ASY_MAX_BATCH_JOBS], hash_nodes[2 * ASY_MAX_BATCH_JOBS + 14];

static void random_leaves(uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        struct asy_hash receipt;
        asy_test_fill(receipt.b, sizeof receipt.b);
        CHECK_OK(asy_sum_leaf(&sum_leaves[i], i, asy_test_random(), &receipt));
    }
}

static void build_sum(uint32_t count) {
    memcpy(sum_nodes, sum_leaves, count * sizeof sum_nodes[0]);
    CHECK_OK(asy_sum_tree_build(sum_nodes, count));
}

/* The definition, straight: a node of `level` that begins at leaf `start`; everything at or past
 * count is empty. */
static struct asy_sum_node plain_node(uint32_t start, uint32_t level, uint32_t count) {
    if (start >= count) {
        return (struct asy_sum_node){{{0}}, 0};
    }
    if (level == 0) {
        return sum_leaves[start];
    }
    const struct asy_sum_node l = plain_node(start, level - 1, count);
    const struct asy_sum_node r = plain_node(start + (1u << (level - 1)), level - 1, count);
    struct asy_sum_node node;
    CHECK_OK(asy_sum_join(&node, &l, &r));
    return node;
}

static bool same(const struct asy_sum_node *a, const struct asy_sum_node *b) {
    return asy_hash_eq(&a->hash, &b->hash) && a->sum == b->sum;
}

static void sum_sizes(void) {
    struct asy_sum_stream stream;
    random_leaves(SIZES);
    asy_sum_stream_init(&stream);
    for (uint32_t count = 1; count <= SIZES; count++) {
        uint32_t depth = 0;
        while ((1u << depth) < count) {
            depth++;
        }
        build_sum(count);
        const struct asy_sum_node root = asy_sum_tree_root(sum_nodes, count),
                                  want = plain_node(0, depth, count);
        CHECK(same(&root, &want));
        for (uint32_t index = 0; index < count; index++) {
            struct asy_sum_node path[ASY_SUM_PATH_MAX + 1];
            uint32_t n;
            CHECK_OK(asy_sum_tree_path(path, &n, sum_nodes, count, index));
            CHECK(n <= depth);
            CHECK_OK(asy_sum_verify(&root, &sum_nodes[index], index, count, path, n));
            if (count > 40 && asy_test_random() % 16 != 0) {
                continue; /* the refusals below: all places of small trees, some of large ones */
            }
            /* another place is never justified by this leaf and path */
            const uint32_t other = (uint32_t)(asy_test_random() % (count + 1));
            if (other != index) {
                CHECK(asy_sum_verify(&root, &sum_nodes[index], other, count, path, n) != ASY_OK);
            }
            /* nor with a wrong length of path */
            path[n] = (struct asy_sum_node){{{0}}, 0};
            CHECK_ERR(asy_sum_verify(&root, &sum_nodes[index], index, count, path, n + 1),
                      ASY_ERR_MISMATCH);
            if (n > 0) {
                CHECK_ERR(asy_sum_verify(&root, &sum_nodes[index], index, count, path, n - 1),
                          ASY_ERR_MISMATCH);
                /* nor with any change of it */
                struct asy_sum_node *bad = &path[asy_test_random() % n];
                const struct asy_sum_node good = *bad;
                bad->hash.b[asy_test_random() % 32] ^= 1;
                CHECK_ERR(asy_sum_verify(&root, &sum_nodes[index], index, count, path, n),
                          ASY_ERR_MISMATCH);
                *bad = good;
                bad->sum++;
                CHECK_ERR(asy_sum_verify(&root, &sum_nodes[index], index, count, path, n),
                          ASY_ERR_MISMATCH);
                *bad = good;
            }
            /* nor a changed leaf, nor a root that claims another sum */
            struct asy_sum_node bad = sum_nodes[index], claim = root;
            bad.sum ^= 1;
            CHECK(asy_sum_verify(&root, &bad, index, count, path, n) != ASY_OK);
            claim.sum++;
            CHECK_ERR(asy_sum_verify(&claim, &sum_nodes[index], index, count, path, n),
                      ASY_ERR_MISMATCH);
        }
        struct asy_sum_node streamed;
        CHECK_OK(asy_sum_stream_add(&stream, &sum_leaves[count - 1]));
        CHECK_OK(asy_sum_stream_root(&stream, &streamed));
        CHECK(same(&streamed, &root));
    }
}

/* Chunks of every size, and the climb from them, as an opening does it. */
static void sum_chunks(void) {
    for (int round = 0; round < 60; round++) {
        const uint32_t count = 1 + (uint32_t)(asy_test_random() % SIZES),
                       level = (uint32_t)(asy_test_random() % 10);
        random_leaves(count);
        build_sum(count);
        const struct asy_sum_node root = asy_sum_tree_root(sum_nodes, count);
        for (uint32_t index = 0; (index << level) < count; index++) {
            struct asy_sum_node leaves[1 << 9], node, got;
            const uint32_t start = index << level;
            const uint32_t n = count - start < 1u << level ? count - start : 1u << level;
            memcpy(leaves, sum_nodes + start, n * sizeof leaves[0]);
            CHECK_OK(asy_sum_chunk(&node, leaves, n, level));
            const struct asy_sum_node want = plain_node(start, level, count);
            CHECK(same(&node, &want));
            /* the path above the chunk is the end of the path of its first leaf: the part within
             * has `inside` nodes */
            struct asy_sum_node path[ASY_SUM_PATH_MAX];
            uint32_t path_n, inside = 0;
            CHECK_OK(asy_sum_tree_path(path, &path_n, sum_nodes, count, start));
            for (uint32_t k = 0; k < level && (1u << k) < count; k++) {
                inside += start + (1u << k) < count;
            }
            if ((1u << level) >= 2 * count) {
                continue; /* larger than the tree: no node of it */
            }
            if ((1u << level) < count || level == 0) {
                CHECK_OK(asy_sum_climb(&got, &node, index, level, count, path + inside,
                                       path_n - inside));
                CHECK(same(&got, &root));
            } else {
                CHECK(same(&node, &root));
            }
        }
    }
    struct asy_sum_node node;
    CHECK_ERR(asy_sum_chunk(&node, sum_nodes, 0, 1), ASY_ERR_RANGE);
    CHECK_ERR(asy_sum_chunk(&node, sum_nodes, 3, 1), ASY_ERR_RANGE);
    CHECK_ERR(asy_sum_chunk(&node, sum_nodes, 1, ASY_SUM_PATH_MAX + 1), ASY_ERR_RANGE);
}

/* Money hidden in the padding makes the last leaf unprovable: a forged root over one leaf more
 * cannot be opened with the true count. */
static void padding(void) {
    random_leaves(4);
    build_sum(4);
    const struct asy_sum_node forged = asy_sum_tree_root(sum_nodes, 4);
    struct asy_sum_node path[ASY_SUM_PATH_MAX];
    uint32_t n;
    CHECK_OK(asy_sum_tree_path(path, &n, sum_nodes, 4, 2));
    CHECK_OK(asy_sum_verify(&forged, &sum_nodes[2], 2, 4, path, n));
    CHECK_ERR(asy_sum_verify(&forged, &sum_nodes[2], 2, 3, path, n), ASY_ERR_MISMATCH);
    CHECK_ERR(asy_sum_verify(&forged, &sum_nodes[2], 2, 3, path + 1, n - 1), ASY_ERR_MISMATCH);
}

static void sum_limits(void) {
    const asy_u128 top = (((asy_u128)1) << 96) - 1;
    const struct asy_hash receipt = {{1}};
    struct asy_sum_node a, b, r = {{{9}}, 9}, before = r;
    CHECK_OK(asy_sum_leaf(&a, UINT64_MAX, top, &receipt));
    CHECK_ERR(asy_sum_leaf(&b, 0, top + 1, &receipt), ASY_ERR_RANGE);
    CHECK_OK(asy_sum_leaf(&b, 0, 1, &receipt));
    CHECK_ERR(asy_sum_join(&r, &a, &b), ASY_ERR_OVERFLOW);
    CHECK_ERR(asy_sum_join(&r, &b, &a), ASY_ERR_OVERFLOW);
    b.sum = top + 1;
    CHECK_ERR(asy_sum_join(&r, &b, &(struct asy_sum_node){{{0}}, 0}), ASY_ERR_RANGE);
    b.sum = ~(asy_u128)0;
    CHECK_ERR(asy_sum_join(&r, &(struct asy_sum_node){{{0}}, 0}, &b), ASY_ERR_RANGE);
    CHECK(same(&r, &before));
    b.sum = 0;
    CHECK_OK(asy_sum_join(&r, &a, &b));

    sum_nodes[0] = a;
    CHECK_OK(asy_sum_leaf(&sum_nodes[1], 0, 1, &receipt));
    CHECK_ERR(asy_sum_tree_build(sum_nodes, 2), ASY_ERR_OVERFLOW);
    struct asy_sum_stream s;
    asy_sum_stream_init(&s);
    CHECK_ERR(asy_sum_stream_root(&s, &r), ASY_ERR_MISSING);
    CHECK_OK(asy_sum_stream_add(&s, &sum_nodes[0]));
    CHECK_ERR(asy_sum_stream_add(&s, &sum_nodes[1]), ASY_ERR_OVERFLOW);
    CHECK_U64(s.count, 1);

    CHECK_U64(asy_sum_tree_len(0), 0);
    CHECK_U64(asy_sum_tree_len(1), 1);
    CHECK_U64(asy_sum_tree_len(5), 5 + 3 + 2 + 1);
    CHECK_U64(asy_sum_tree_len(ASY_MAX_ENTRY_LEAVES), 2 * ASY_MAX_ENTRY_LEAVES - 1);
    CHECK_U64(asy_sum_tree_len(ASY_MAX_ENTRY_LEAVES + 1), 0);
    for (uint32_t count = 1; count <= ASY_MAX_ENTRY_LEAVES; count++) {
        CHECK(asy_sum_tree_len(count) <= 2 * (size_t)count + 12);
    }
    CHECK_ERR(asy_sum_tree_build(sum_nodes, 0), ASY_ERR_RANGE);
    CHECK_ERR(asy_sum_tree_build(sum_nodes, ASY_MAX_ENTRY_LEAVES + 1), ASY_ERR_RANGE);
    uint32_t n;
    struct asy_sum_node path[ASY_SUM_PATH_MAX];
    CHECK_ERR(asy_sum_tree_path(path, &n, sum_nodes, 2, 2), ASY_ERR_RANGE);
    CHECK_ERR(asy_sum_climb(&r, &a, 2, 0, 2, path, 0), ASY_ERR_RANGE);
    b.sum = top + 1;
    CHECK_ERR(asy_sum_climb(&r, &b, 0, 0, 1, path, 0), ASY_ERR_RANGE);
    CHECK_ERR(asy_sum_climb(&r, &a, 1, 1, 2, path, 0), ASY_ERR_RANGE);
    CHECK_ERR(asy_sum_climb(&r, &a, UINT32_MAX, ASY_SUM_PATH_MAX, 2, path, 0), ASY_ERR_RANGE);
    CHECK_ERR(asy_sum_climb(&r, &a, 0, 32, 2, path, 0), ASY_ERR_RANGE);
}

/* The largest entry: full paths at both ends, and the stream is full after it. */
static void sum_largest(void) {
    struct asy_sum_stream s;
    random_leaves(ASY_MAX_ENTRY_LEAVES);
    asy_sum_stream_init(&s);
    for (uint32_t i = 0; i < ASY_MAX_ENTRY_LEAVES; i++) {
        CHECK_OK(asy_sum_stream_add(&s, &sum_leaves[i]));
    }
    CHECK_ERR(asy_sum_stream_add(&s, &sum_nodes[0]), ASY_ERR_FULL);
    build_sum(ASY_MAX_ENTRY_LEAVES);
    struct asy_sum_node root = asy_sum_tree_root(sum_nodes, ASY_MAX_ENTRY_LEAVES), streamed,
                        path[ASY_SUM_PATH_MAX];
    CHECK_OK(asy_sum_stream_root(&s, &streamed));
    CHECK(same(&root, &streamed));
    const uint32_t ends[] = {0, ASY_MAX_ENTRY_LEAVES - 1};
    for (size_t i = 0; i < 2; i++) {
        uint32_t n;
        CHECK_OK(asy_sum_tree_path(path, &n, sum_nodes, ASY_MAX_ENTRY_LEAVES, ends[i]));
        CHECK_U64(n, ASY_SUM_PATH_MAX);
        CHECK_OK(
            asy_sum_verify(&root, &sum_nodes[ends[i]], ends[i], ASY_MAX_ENTRY_LEAVES, path, n));
    }
}

static void checkpoint_sizes(void) {
    asy_test_fill(hash_leaves, ASY_MAX_CHECKPOINT * sizeof hash_leaves[0]);
    for (uint32_t count = 1; count <= ASY_MAX_CHECKPOINT; count++) {
        memcpy(hash_nodes, hash_leaves, count * sizeof hash_nodes[0]);
        CHECK_OK(asy_checkpoint_tree_build(hash_nodes, count));
        const struct asy_hash root = asy_checkpoint_tree_root(hash_nodes, count);
        for (uint32_t index = 0; index < count; index++) {
            struct asy_hash path[ASY_CHECKPOINT_PATH_MAX + 1] = {{{0}}};
            uint32_t n;
            CHECK_OK(asy_checkpoint_tree_path(path, &n, hash_nodes, count, index));
            CHECK_OK(asy_checkpoint_verify(&root, &hash_nodes[index], index, count, path, n));
            if (count > 40 && asy_test_random() % 16 != 0) {
                continue;
            }
            const uint32_t other = (uint32_t)(asy_test_random() % (count + 1));
            if (other != index) {
                CHECK(asy_checkpoint_verify(&root, &hash_nodes[index], other, count, path, n) !=
                      ASY_OK);
            }
            CHECK_ERR(asy_checkpoint_verify(&root, &hash_nodes[index], index, count, path, n + 1),
                      ASY_ERR_MISMATCH);
            if (n > 0) {
                CHECK_ERR(
                    asy_checkpoint_verify(&root, &hash_nodes[index], index, count, path, n - 1),
                    ASY_ERR_MISMATCH);
                path[asy_test_random() % n].b[asy_test_random() % 32] ^= 4;
                CHECK_ERR(asy_checkpoint_verify(&root, &hash_nodes[index], index, count, path, n),
                          ASY_ERR_MISMATCH);
            }
        }
    }
    struct asy_hash path[ASY_CHECKPOINT_PATH_MAX], root;
    uint32_t n;
    CHECK_U64(asy_checkpoint_tree_len(0), 0);
    CHECK_U64(asy_checkpoint_tree_len(ASY_MAX_CHECKPOINT + 1), 0);
    CHECK_ERR(asy_checkpoint_tree_build(hash_nodes, ASY_MAX_CHECKPOINT + 1), ASY_ERR_RANGE);
    CHECK_ERR(asy_checkpoint_tree_path(path, &n, hash_nodes, 3, 3), ASY_ERR_RANGE);
    CHECK_ERR(asy_checkpoint_climb(&root, hash_nodes, 0, ASY_MAX_CHECKPOINT + 1, path, 0),
              ASY_ERR_RANGE);
    CHECK_ERR(asy_checkpoint_climb(&root, hash_nodes, 0, 0, path, 0), ASY_ERR_RANGE);
}

static void batch_sizes(void) {
    asy_test_fill(hash_leaves, sizeof hash_leaves);
    for (uint32_t count = 1; count <= ASY_MAX_BATCH_JOBS; count += count < SIZES ? 1 : 4850) {
        memcpy(hash_nodes, hash_leaves, count * sizeof hash_nodes[0]);
        CHECK_OK(asy_batch_tree_build(hash_nodes, count));
        CHECK(asy_batch_tree_len(count) <= 2 * (size_t)count + 14);
        const struct asy_hash root = asy_batch_tree_root(hash_nodes, count);
        for (uint32_t index = 0; index < count; index += count < SIZES ? 1 : 97) {
            struct asy_hash path[ASY_BATCH_PATH_MAX];
            uint32_t n;
            CHECK_OK(asy_batch_tree_path(path, &n, hash_nodes, count, index));
            CHECK_OK(asy_batch_verify(&root, &hash_nodes[index], path, n));
            if (n > 0 && (count <= 40 || asy_test_random() % 16 == 0)) {
                CHECK_ERR(asy_batch_verify(&root, &hash_nodes[index], path, n - 1),
                          ASY_ERR_MISMATCH);
                CHECK_ERR(asy_batch_verify(&root, &hash_nodes[(index + 1) % count], path, n),
                          ASY_ERR_MISMATCH);
                path[asy_test_random() % n].b[asy_test_random() % 32] ^= 4;
                CHECK_ERR(asy_batch_verify(&root, &hash_nodes[index], path, n), ASY_ERR_MISMATCH);
            }
        }
    }
    struct asy_hash path[ASY_BATCH_PATH_MAX + 1] = {{{0}}};
    uint32_t n;
    CHECK_U64(asy_batch_tree_len(0), 0);
    CHECK_U64(asy_batch_tree_len(ASY_MAX_BATCH_JOBS + 1), 0);
    CHECK_ERR(asy_batch_tree_build(hash_nodes, 0), ASY_ERR_RANGE);
    CHECK_ERR(asy_batch_tree_path(path, &n, hash_nodes, 3, 3), ASY_ERR_RANGE);
    /* a path that fits, but is longer than any batch's */
    struct asy_hash root = {{1}};
    for (uint32_t i = 0; i <= ASY_BATCH_PATH_MAX; i++) {
        uint8_t pair[64] = {0}; /* the zero hash of the path is the smaller one */
        memcpy(pair + 32, root.b, 32);
        asy_keccak256(&root, asy_bytes_of(pair, sizeof pair));
    }
    const struct asy_hash leaf = {{1}};
    CHECK_ERR(asy_batch_verify(&root, &leaf, path, ASY_BATCH_PATH_MAX + 1), ASY_ERR_MISMATCH);
}

int main(void) {
    sum_sizes();
    sum_chunks();
    padding();
    sum_limits();
    sum_largest();
    checkpoint_sizes();
    batch_sizes();
    return asy_test_end();
}
