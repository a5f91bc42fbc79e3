/* The trees against the vectors that the contracts check too. */
#include <jansson.h>

#include "base/test.h"
#include "crypto/crypto.h"
#include "merkle/merkle.h"

static json_t *load(const char *path) {
    json_error_t e;
    json_t *root = json_load_file(path, 0, &e);
    if (root == NULL) {
        fprintf(stderr, "%s: %s\n", path, e.text);
        exit(1);
    }
    return root;
}

static const char *text(const json_t *object, const char *key) {
    const char *s = json_string_value(json_object_get(object, key));
    ASY_ASSERT(s != NULL);
    return s;
}

static uint32_t number(const json_t *object, const char *key) {
    const json_t *v = json_object_get(object, key);
    ASY_ASSERT(json_is_integer(v));
    return (uint32_t)json_integer_value(v);
}

static asy_u128 decimal(const json_t *object, const char *key) {
    asy_u128 v = 0;
    for (const char *s = text(object, key); *s != '\0'; s++) {
        v = v * 10 + (unsigned)(*s - '0');
    }
    return v;
}

static struct asy_hash hash_of(const char *hex) {
    struct asy_hash h = {{0}};
    ASY_ASSERT(strlen(hex) == 66);
    for (size_t i = 0; i < 64; i++) {
        const char c = hex[2 + i];
        h.b[i / 2] = (uint8_t)(h.b[i / 2] << 4 | (c <= '9' ? c - '0' : c - 'a' + 10));
    }
    return h;
}

static struct asy_hash hash(const json_t *object, const char *key) {
    return hash_of(text(object, key));
}

static void check_hash(struct asy_hash got, struct asy_hash want) {
    CHECK(asy_hash_eq(&got, &want));
}

static uint32_t list(const json_t *array, struct asy_hash *ret) {
    for (size_t i = 0; i < json_array_size(array); i++) {
        ret[i] = hash_of(json_string_value(json_array_get(array, i)));
    }
    return (uint32_t)json_array_size(array);
}

static struct asy_sum_node leaf_of(const json_t *leaf) {
    struct asy_sum_node node;
    const struct asy_hash receipt = hash(leaf, "receipt");
    CHECK_OK(
        asy_sum_leaf(&node, (uint64_t)decimal(leaf, "laneSeq"), decimal(leaf, "amount"), &receipt));
    return node;
}

static void sum_trees(void) {
    json_t *file = load("contracts/vectors/sumtree.json");
    const json_t *trees = json_object_get(file, "trees");
    size_t paths_seen = 0;
    for (size_t t = 0; t < json_array_size(trees); t++) {
        static struct asy_sum_node nodes[2 * 64 + 12];
        const json_t *tree = json_array_get(trees, t), *leaves = json_object_get(tree, "leaves");
        const uint32_t count = number(tree, "count");
        CHECK(count == json_array_size(leaves) && asy_sum_tree_len(count) <= ASY_COUNT(nodes));
        for (uint32_t i = 0; i < count; i++) {
            nodes[i] = leaf_of(json_array_get(leaves, i));
            check_hash(nodes[i].hash, hash(json_array_get(leaves, i), "hash"));
        }
        CHECK_OK(asy_sum_tree_build(nodes, count));
        const struct asy_sum_node root = asy_sum_tree_root(nodes, count);
        const json_t *want_root = json_object_get(tree, "root"),
                     *paths = json_object_get(tree, "paths");
        check_hash(root.hash, hash(want_root, "hash"));
        CHECK(root.sum == decimal(want_root, "sum"));
        for (size_t p = 0; p < json_array_size(paths); p++) {
            const json_t *want = json_object_get(json_array_get(paths, p), "path");
            const uint32_t index = number(json_array_get(paths, p), "index");
            struct asy_sum_node path[ASY_SUM_PATH_MAX];
            uint32_t n;
            CHECK_OK(asy_sum_tree_path(path, &n, nodes, count, index));
            CHECK_U64(n, json_array_size(want));
            for (uint32_t i = 0; i < n; i++) {
                check_hash(path[i].hash, hash(json_array_get(want, i), "hash"));
                CHECK(path[i].sum == decimal(json_array_get(want, i), "sum"));
            }
            CHECK_OK(asy_sum_verify(&root, &nodes[index], index, count, path, n));
            paths_seen++;
        }
    }
    CHECK(paths_seen >= 52);
    const json_t *largest = json_object_get(file, "largest");
    check_hash(leaf_of(largest).hash, hash(json_object_get(largest, "root"), "hash"));
    json_decref(file);
}

static void checkpoints(void) {
    json_t *file = load("contracts/vectors/checkpoint.json");
    const json_t *trees = json_object_get(file, "trees");
    size_t paths_seen = 0;
    for (size_t t = 0; t < json_array_size(trees); t++) {
        static struct asy_hash nodes[2 * ASY_MAX_CHECKPOINT + 8];
        const json_t *tree = json_array_get(trees, t), *paths = json_object_get(tree, "paths");
        const uint32_t count = number(tree, "count");
        for (uint32_t i = 0; i < count; i++) {
            char item[24];
            snprintf(item, sizeof item, "item %u", i);
            asy_keccak256(&nodes[i], asy_bytes_cstr(item));
        }
        CHECK_OK(asy_checkpoint_tree_build(nodes, count));
        const struct asy_hash root = asy_checkpoint_tree_root(nodes, count);
        check_hash(root, hash(tree, "root"));
        for (size_t p = 0; p < json_array_size(paths); p++) {
            const json_t *want = json_array_get(paths, p);
            const uint32_t index = number(want, "index");
            struct asy_hash path[ASY_CHECKPOINT_PATH_MAX], want_path[ASY_CHECKPOINT_PATH_MAX];
            uint32_t n;
            CHECK_OK(asy_checkpoint_tree_path(path, &n, nodes, count, index));
            CHECK_U64(n, list(json_object_get(want, "path"), want_path));
            CHECK(n == 0 || memcmp(path, want_path, n * sizeof path[0]) == 0);
            check_hash(nodes[index], hash(want, "leaf"));
            CHECK_OK(asy_checkpoint_verify(&root, &nodes[index], index, count, path, n));
            paths_seen++;
        }
    }
    CHECK(paths_seen >= 60);
    json_decref(file);
}

static void batches(void) {
    json_t *file = load("contracts/vectors/batch.json");
    const json_t *all = json_object_get(file, "batches");
    CHECK(json_array_size(all) >= 2);
    for (size_t b = 0; b < json_array_size(all); b++) {
        static struct asy_hash nodes[2 * 64 + 14];
        const json_t *batch = json_array_get(all, b), *entries = json_object_get(batch, "entries");
        const uint32_t count = (uint32_t)json_array_size(entries);
        for (uint32_t i = 0; i < count; i++) {
            const json_t *e = json_array_get(entries, i), *leaves = json_object_get(e, "leaves");
            const struct asy_entry entry = {
                number(e, "lane"),    number(e, "count"),  (uint64_t)decimal(e, "first"),
                decimal(e, "before"), decimal(e, "spent"), hash(e, "tree")};
            asy_entry_hash(&nodes[i], &entry);
            check_hash(nodes[i], hash(e, "hash"));
            struct asy_sum_stream s;
            struct asy_sum_node root;
            asy_sum_stream_init(&s);
            for (size_t k = 0; k < json_array_size(leaves); k++) {
                const struct asy_sum_node leaf = leaf_of(json_array_get(leaves, k));
                CHECK_OK(asy_sum_stream_add(&s, &leaf));
            }
            CHECK_OK(asy_sum_stream_root(&s, &root));
            check_hash(root.hash, entry.tree);
            CHECK(root.sum == entry.spent - entry.before);
        }
        CHECK_OK(asy_batch_tree_build(nodes, count));
        const struct asy_hash root = asy_batch_tree_root(nodes, count);
        check_hash(root, hash(batch, "root"));
        for (uint32_t i = 0; i < count; i++) {
            struct asy_hash path[ASY_BATCH_PATH_MAX], want[ASY_BATCH_PATH_MAX];
            uint32_t n;
            CHECK_OK(asy_batch_tree_path(path, &n, nodes, count, i));
            CHECK_U64(n, list(json_object_get(json_array_get(entries, i), "path"), want));
            CHECK(n == 0 || memcmp(path, want, n * sizeof path[0]) == 0);
            CHECK_OK(asy_batch_verify(&root, &nodes[i], path, n));
        }
    }
    json_decref(file);
}

int main(void) {
    sum_trees();
    checkpoints();
    batches();
    return asy_test_end();
}
