/*~ signer: the only code that touches an identity key while the programs run.
 *
 * It signs typed, recognised messages and nothing else: the EIP-712 objects of job.h that its role
 * may sign, the link's hello and welcome, a node's encryption key, and EIP-1559 transactions for
 * its own chain. A caller that was taken over can therefore still ask for those, but can neither
 * read the key nor sign anything else with it.
 *
 * Two implementations behind one interface. `local` holds the key in this process: tools and tests.
 * `process` is a child with the key, reached over a socket pair: gateway and node, which parse
 * strangers' bytes. What may be signed is decided beside the key, by the same code in both.
 *
 * Calls block for the answer (tens of microseconds) and may come from any thread; one is served at
 * a time. When the child dies, every call gives CLOSED: the key is gone, and the program has to be
 * started again.
 */
#ifndef ASY_SIGNER_H
#define ASY_SIGNER_H

#include "base/base.h"
#include "crypto/crypto.h"
#include "job/job.h"

struct asy_signer;

/* Which objects may be signed, where the object names this signer's address in the field told:
 *
 *     role       objects                                          messages
 *     gateway    checkpoints over tickets (signer), Acks (gateway)    welcome
 *     node       checkpoints over receipts (signer)                   hello, encryption key
 *     requester  caps (requester), vouchers (any: only those of the key that the cap names count)
 *
 * Nobody signs Terms or Receipts alone. All sign transactions. */
enum asy_signer_role { ASY_SIGNER_GATEWAY = 1, ASY_SIGNER_NODE = 2, ASY_SIGNER_REQUESTER = 3 };

/* Messages that are not EIP-712: keccak256(domain string || body) is signed. */
enum asy_signer_message {
    ASY_SIGNER_HELLO,   /* "assay/hello/1": node */
    ASY_SIGNER_WELCOME, /* "assay/welcome/1": gateway */
    ASY_SIGNER_X25519,  /* "assay/x25519/1": node */
};
/* The digest that is signed, for whoever verifies. */
void asy_signer_message_digest(struct asy_hash *ret_digest, enum asy_signer_message message,
                               struct asy_bytes body);

/* A signer in this process. Copies the key to memory that is locked, left out of core dumps and
 * empty in forked children; asy_signer_free wipes it. errors: RANGE not a key */
ASY_MUST_USE enum asy_err asy_signer_new_local(struct asy_signer **ret_signer,
                                               enum asy_signer_role role,
                                               const struct asy_seckey *key);

/* A signer in a child process of its own, forked here: call it on the main thread, before the
 * program opens sockets or starts others. The child closes all other descriptors but standard
 * error, ignores SIGINT, SIGTERM and SIGHUP, cannot be traced or dumped, and exits when the
 * parent's end closes or the thread that made it is gone. It holds what the parent's memory held at
 * this moment; the caller wipes its copy of the key afterwards. errors: RANGE not a key; IO */
ASY_MUST_USE enum asy_err asy_signer_new_process(struct asy_signer **ret_signer,
                                                 enum asy_signer_role role,
                                                 const struct asy_seckey *key);
/* Ends the child, if any, and reaps it. No call may be running. NULL is fine. */
void asy_signer_free(struct asy_signer *signer);

/* Whose signatures they are. */
struct asy_addr asy_signer_addr(const struct asy_signer *signer);

/* The domain of the deployment, once it is known: its chain id and vault (the separator is computed
 * anew). Objects cannot be signed before; it is set once.
 * errors: STATE it is set already; CLOSED the child is gone, here and below */
ASY_MUST_USE enum asy_err asy_signer_set_domain(struct asy_signer *signer,
                                                const struct asy_domain *domain);

/* object: the struct that belongs to type.
 * errors: FORBIDDEN not for this role, or it names another address; STATE no domain yet; CLOSED */
ASY_MUST_USE enum asy_err asy_signer_sign_object(struct asy_signer *signer, struct asy_sig *ret_sig,
                                                 enum asy_object type, const void *object);
/* errors: FORBIDDEN not for this role; TOO_LONG body above ASY_MAX_SIGN; CLOSED */
ASY_MUST_USE enum asy_err asy_signer_sign_message(struct asy_signer *signer,
                                                  struct asy_sig *ret_sig,
                                                  enum asy_signer_message message,
                                                  struct asy_bytes body);
/* unsigned_tx: 0x02 || rlp([chain id, nonce, tip, fee, gas, to, value, data, access list]), the
 * access list empty; before the domain is set, for any chain.
 * errors: SYNTAX not such a transaction; MISMATCH another chain than the domain's; TOO_LONG above
 *         ASY_MAX_SIGN; CLOSED */
ASY_MUST_USE enum asy_err asy_signer_sign_tx(struct asy_signer *signer, struct asy_sig *ret_sig,
                                             struct asy_bytes unsigned_tx);

#endif
