/* Input: u32 index, u32 level, u32 count (big endian), then nodes of 32 hash bytes and u128 sum;
 * the first is the start, the rest the path. A climb that succeeds has added up every node given,
 * and one node less or more does not succeed. */
#include "merkle/merkle.h"

#define NODE 48u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    struct asy_sum_node node[ASY_SUM_PATH_MAX + 3] = {{{{0}}, 0}}, root;
    if (len < 12 + NODE) {
        return 0;
    }
    const uint32_t index = asy_be32_get(data), level = asy_be32_get(data + 4),
                   count = asy_be32_get(data + 8);
    const size_t given =
        (len - 12) / NODE < ASY_SUM_PATH_MAX + 2 ? (len - 12) / NODE : ASY_SUM_PATH_MAX + 2;
    asy_u128 sum = 0;
    for (size_t i = 0; i < given; i++) {
        memcpy(node[i].hash.b, data + 12 + i * NODE, 32);
        node[i].sum = asy_be128_get(data + 12 + i * NODE + 32);
        sum += node[i].sum;
    }
    const uint32_t n = (uint32_t)given - 1;
    if (asy_sum_climb(&root, &node[0], index, level, count, node + 1, n) != ASY_OK) {
        return 0;
    }
    ASY_ASSERT(n <= ASY_SUM_PATH_MAX && root.sum == sum);
    ASY_ASSERT(asy_sum_climb(&root, &node[0], index, level, count, node + 1, n + 1) ==
               ASY_ERR_MISMATCH);
    ASY_ASSERT(n == 0 || asy_sum_climb(&root, &node[0], index, level, count, node + 1, n - 1) ==
                             ASY_ERR_MISMATCH);
    return 0;
}
