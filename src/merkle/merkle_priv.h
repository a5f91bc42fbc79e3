/* merkle_priv.h: shared inside the folder only. */
#ifndef ASY_MERKLE_MERKLE_PRIV_H
#define ASY_MERKLE_MERKLE_PRIV_H

#include "merkle/merkle.h"

/* Nodes over all levels of a tree in which the level above one of n nodes has (n + 1) / 2; count
 * >= 1. */
static inline size_t asy_tree_len(uint32_t count) {
    size_t len = count;
    while (count > 1) {
        count = (count + 1) / 2;
        len += count;
    }
    return len;
}

#endif
