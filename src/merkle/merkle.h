/*~ merkle: the three trees of settlement, built, opened and checked.
 *
 *   sum tree     one debit entry of a lane: leaf i is the ticket laneSeq = first + i; every node
 *                carries the sum below it
 *   checkpoint   what one side of a link signed: struct hashes in order
 *   batch        the entries of one settle transaction, as OpenZeppelin's MerkleProof checks them
 *
 * All are the formats of the settlement contracts (SumTree, Wire, Vault), bit for bit. Pure, no
 * allocation: a tree is an array that the caller provides, level by level from the leaves, the root
 * last. asy_*_tree_len says how long it must be; *_build fills all but the leaves; then *_path
 * opens any leaf. Where only the root is wanted, asy_sum_stream takes leaves one at a time in O(log
 * n) memory.
 *
 * Paths run from the leaf upwards and hold only nodes that exist: empty places and promoted nodes
 * are known from index and count, so a path of the wrong length never passes.
 */
#ifndef ASY_MERKLE_MERKLE_H
#define ASY_MERKLE_MERKLE_H

#include "base/base.h"

/* ---- sum tree of an entry (settlement format, section 1.3) ----------------------------------- */

/* sum: pico-units, below 2^96. The empty node, in every place from count on, is all zero. */
struct asy_sum_node {
    struct asy_hash hash;
    asy_u128 sum;
};
#define ASY_SUM_PATH_MAX 12u /* nodes: log2(ASY_MAX_ENTRY_LEAVES) */

/* keccak256(0x00 || u64 lane_seq || u96 amount || receipt). An unpaid ticket has amount 0 and a
 * zero receipt hash.
 * errors: RANGE amount is 2^96 or more */
ASY_MUST_USE enum asy_err asy_sum_leaf(struct asy_sum_node *ret_leaf, uint64_t lane_seq,
                                       asy_u128 amount, const struct asy_hash *receipt);
/* keccak256(0x01 || left.hash || u96 left.sum || right.hash || u96 right.sum), sums added. ret may
 * be left or right.
 * errors: RANGE a sum is 2^96 or more; OVERFLOW their total is */
ASY_MUST_USE enum asy_err asy_sum_join(struct asy_sum_node *ret, const struct asy_sum_node *left,
                                       const struct asy_sum_node *right);

/* Nodes that a tree over count leaves needs; 0 when count is not in [1, ASY_MAX_ENTRY_LEAVES]. At
 * most 2 * count + 12. */
size_t asy_sum_tree_len(uint32_t count);
/* asy_sum_tree_build fills nodes[count] up to the root from the leaves in nodes[0, count).
 * in-out: nodes: asy_sum_tree_len(count) of them
 * errors: RANGE bad count; OVERFLOW the leaves' total is 2^96 or more */
ASY_MUST_USE enum asy_err asy_sum_tree_build(struct asy_sum_node *nodes, uint32_t count);
/* The root of a built tree: hash = `tree` of the entry, sum = spent - before. */
struct asy_sum_node asy_sum_tree_root(const struct asy_sum_node *nodes, uint32_t count);
/* errors: RANGE index not below count, or bad count */
ASY_MUST_USE enum asy_err asy_sum_tree_path(struct asy_sum_node ret_path[ASY_SUM_PATH_MAX],
                                            uint32_t *ret_path_count,
                                            const struct asy_sum_node *nodes, uint32_t count,
                                            uint32_t index);
/* asy_sum_climb computes the root from one node.
 * in:     at: node number `index` of level `level`; leaves are level 0
 *         count: leaves of the whole tree
 *         path: from asy_sum_tree_path
 * errors: RANGE bad count, a node that covers only places >= count, or a sum of 2^96 or more;
 *         MISMATCH path too short or too long; OVERFLOW */
ASY_MUST_USE enum asy_err asy_sum_climb(struct asy_sum_node *ret_root,
                                        const struct asy_sum_node *at, uint32_t index,
                                        uint32_t level, uint32_t count,
                                        const struct asy_sum_node *path, uint32_t path_count);
/* errors: as asy_sum_climb; MISMATCH also when the computed hash or sum is not root's */
ASY_MUST_USE enum asy_err asy_sum_verify(const struct asy_sum_node *root,
                                         const struct asy_sum_node *leaf, uint32_t index,
                                         uint32_t count, const struct asy_sum_node *path,
                                         uint32_t path_count);

/* Root of an aligned chunk of 2^level leaves, of which the first n are given (n >= 1; the last
 * chunk of a tree may be short): what an opening hands to the contract piece by piece. leaves is
 * overwritten.
 * errors: RANGE n is 0 or above 2^level, or level above ASY_SUM_PATH_MAX; OVERFLOW */
ASY_MUST_USE enum asy_err asy_sum_chunk(struct asy_sum_node *ret_node, struct asy_sum_node *leaves,
                                        uint32_t n, uint32_t level);

/* Leaves one at a time, in order. Copying the struct forks it; root may be asked for at any count
 * >= 1 and changes nothing. */
struct asy_sum_stream {
    /* peak[k]: root of the 2^k leaves that bit k of count stands for */
    struct asy_sum_node peak[ASY_SUM_PATH_MAX + 1];
    uint32_t count;
};
void asy_sum_stream_init(struct asy_sum_stream *s);
/* errors: FULL ASY_MAX_ENTRY_LEAVES are in; RANGE, OVERFLOW as asy_sum_join; on failure nothing was
 *         added */
ASY_MUST_USE enum asy_err asy_sum_stream_add(struct asy_sum_stream *s,
                                             const struct asy_sum_node *leaf);
/* errors: MISSING no leaf was added; OVERFLOW */
ASY_MUST_USE enum asy_err asy_sum_stream_root(const struct asy_sum_stream *s,
                                              struct asy_sum_node *ret_root);

/* ---- checkpoint (section 1.2) ---------------------------------------------------------------- */

/* Leaves are struct hashes; inner = keccak256(0x01 || left || right); the last node of an odd
 * level moves up unhashed. */
#define ASY_CHECKPOINT_PATH_MAX 8u /* hashes: log2(ASY_MAX_CHECKPOINT) */

/* Hashes that a tree over count leaves needs; 0 when count is not in [1, ASY_MAX_CHECKPOINT]. At
 * most 2 * count + 8. */
size_t asy_checkpoint_tree_len(uint32_t count);
/* errors: RANGE bad count */
ASY_MUST_USE enum asy_err asy_checkpoint_tree_build(struct asy_hash *nodes, uint32_t count);
struct asy_hash asy_checkpoint_tree_root(const struct asy_hash *nodes, uint32_t count);
/* errors: RANGE index not below count, or bad count */
ASY_MUST_USE enum asy_err
asy_checkpoint_tree_path(struct asy_hash ret_path[ASY_CHECKPOINT_PATH_MAX],
                         uint32_t *ret_path_count, const struct asy_hash *nodes, uint32_t count,
                         uint32_t index);
/* errors: RANGE index not below count, or bad count; MISMATCH path too short or too long */
ASY_MUST_USE enum asy_err asy_checkpoint_climb(struct asy_hash *ret_root,
                                               const struct asy_hash *leaf, uint32_t index,
                                               uint32_t count, const struct asy_hash *path,
                                               uint32_t path_count);
/* errors: as asy_checkpoint_climb; MISMATCH also when the computed root is not root */
ASY_MUST_USE enum asy_err asy_checkpoint_verify(const struct asy_hash *root,
                                                const struct asy_hash *leaf, uint32_t index,
                                                uint32_t count, const struct asy_hash *path,
                                                uint32_t path_count);

/* ---- batch (section 1.4) --------------------------------------------------------------------- */

/* Leaves are entry hashes in calldata order; inner = keccak256(min || max) of the two; the last
 * node of an odd level moves up. */
#define ASY_BATCH_PATH_MAX 14u /* hashes: ceil(log2(ASY_MAX_BATCH_JOBS)) */

/* One lane's debit in a batch. before, spent: the lane's running total before and after,
 * pico-units, below 2^96; tree: sum tree's root. */
struct asy_entry {
    uint32_t lane;
    uint32_t count;
    uint64_t first; /* laneSeq of leaf 0 */
    asy_u128 before;
    asy_u128 spent;
    struct asy_hash tree;
};
/* keccak256 of the six fields as 32-byte words. */
void asy_entry_hash(struct asy_hash *ret_hash, const struct asy_entry *entry);

/* Hashes that a tree over count entries needs; 0 when count is not in [1, ASY_MAX_BATCH_JOBS]. At
 * most 2 * count + 14. */
size_t asy_batch_tree_len(uint32_t count);
/* errors: RANGE bad count */
ASY_MUST_USE enum asy_err asy_batch_tree_build(struct asy_hash *nodes, uint32_t count);
struct asy_hash asy_batch_tree_root(const struct asy_hash *nodes, uint32_t count);
/* errors: RANGE index not below count, or bad count */
ASY_MUST_USE enum asy_err asy_batch_tree_path(struct asy_hash ret_path[ASY_BATCH_PATH_MAX],
                                              uint32_t *ret_path_count,
                                              const struct asy_hash *nodes, uint32_t count,
                                              uint32_t index);
/* Whether leaf is under root, by the contract's rule: pairs are sorted, so neither index nor count
 * enters; an inner node is no entry, because an entry's preimage is 192 bytes and a node's is 64.
 * errors: MISMATCH it is not, or path_count is above ASY_BATCH_PATH_MAX */
ASY_MUST_USE enum asy_err asy_batch_verify(const struct asy_hash *root, const struct asy_hash *leaf,
                                           const struct asy_hash *path, uint32_t path_count);

#endif
