/*~ chain: one worker thread that talks to the chain, so that the loop never waits for it.
 *
 * Tasks run one after the other on the thread, with blocking calls of evm.h; what they found is
 * handed back on the loop. A task owns nothing of the loop's: it works on its own struct, which
 * belongs to the thread from asy_chain_post until its `done` is called.
 */
#ifndef ASY_CHAIN_H
#define ASY_CHAIN_H

#include "base/base.h"
#include "evm/evm.h"
#include "net/net.h"
#include "signer/signer.h"

struct asy_chain;

/* On the thread. evm and account are the worker's. */
typedef enum asy_err (*asy_chain_task_fn)(void *task, struct asy_evm *evm,
                                          struct asy_evm_account *account, struct asy_why *why);
/* On the loop, once for every task: with the task's error, or CANCELLED if it never ran. */
typedef void (*asy_chain_done_fn)(void *task, enum asy_err err, const struct asy_why *why);

/* Starts the thread. loop and signer are kept, and freed after it. Checks nothing yet. errors:
 * SYNTAX a bad url; IO no thread */
ASY_MUST_USE enum asy_err asy_chain_new(struct asy_chain **ret_chain, struct asy_loop *loop,
                                        const char *url, uint64_t chain_id,
                                        struct asy_signer *signer, struct asy_why *reterr_why);
/* Queues a task; tasks keep their order. */
void asy_chain_post(struct asy_chain *chain, asy_chain_task_fn run, asy_chain_done_fn done,
                    void *task);
/* Tasks queued or running. */
uint32_t asy_chain_waiting(const struct asy_chain *chain);
/* Cancels the running call, joins the thread, and calls `done` of everything left, here; no
 * callback comes afterwards. Not from inside a `done`. What a `done` posts now gets CANCELLED
 * without having run. */
void asy_chain_free(struct asy_chain *chain);

/* Signs for an account of evm.h: the callback of asy_evm_account_init, with the signer as argument.
 */
enum asy_err asy_chain_sign(void *signer, struct asy_sig *ret_sig, struct asy_bytes unsigned_tx);

#endif
