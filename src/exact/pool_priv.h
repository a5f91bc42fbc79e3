/* pool_priv.h: threads that compute pieces of one job together.
 *
 * The caller's thread takes pieces, too, and waits only for pieces that a helper has really begun:
 * a helper that the system does not let run costs nothing. Each thread begins with a run of
 * neighbouring pieces of its own, the same in every job of so many pieces. Between jobs helpers
 * look for work for some microseconds, then sleep.
 */
#ifndef ASY_EXACT_POOL_PRIV_H
#define ASY_EXACT_POOL_PRIV_H

#include "base/base.h"

/* thread: which of the pool's threads computes, in [0, threads); 0 is the caller. */
typedef void (*pool_fn)(void *arg, uint32_t piece, uint32_t thread);

struct pool;
/* threads: with the caller's; in [1, 64]. NULL: the system gives no more threads. */
struct pool *pool_new(uint32_t threads);
void pool_free(struct pool *pool); /* NULL is fine */
/* Computes pieces [0, count), each once; count < 2^20. Returns when all are done. */
void pool_run(struct pool *pool, pool_fn fn, void *arg, uint32_t count);

#endif
