/* signer_priv.h: shared inside src/signer: the key with its rules, and the requests it answers. */
#ifndef ASY_SIGNER_PRIV_H
#define ASY_SIGNER_PRIV_H

#include <sys/types.h>

#include "signer/signer.h"

/* A request is one kind byte and what belongs to it:
 *     OBJECT   type byte, canonical form
 *     MESSAGE  message byte, body
 *     TX       unsigned transaction
 *     DOMAIN   chain id (u64), vault (20 bytes)
 * On the socket u32 length stands before it. The answer is the error code as i32 and a signature,
 * all zero unless the code is OK. Numbers are big-endian. A length of zero or above the maximum
 * ends the child: nothing after it could be understood. */
enum signer_request {
    SIGNER_REQUEST_OBJECT = 1,
    SIGNER_REQUEST_MESSAGE = 2,
    SIGNER_REQUEST_TX = 3,
    SIGNER_REQUEST_DOMAIN = 4,
};
#define SIGNER_HEAD       2u /* bytes at most before what is signed */
#define SIGNER_MAX_LEN    (SIGNER_HEAD + ASY_MAX_SIGN)
#define SIGNER_ANSWER_LEN (4u + sizeof(struct asy_sig))

/* ---- policy.c: beside the key ---- */

struct signer_core;
/* errors: RANGE not a key, IO no memory page */
enum asy_err signer_core_new(struct signer_core **ret_core, enum asy_signer_role role,
                             const struct asy_seckey *key);
void signer_core_free(struct signer_core *core); /* wipes */
const struct asy_addr *signer_core_addr(const struct signer_core *core);
/* Does what a request asks for, if the rules allow it. ret_sig is set by all but DOMAIN.
 * errors: SYNTAX, VERSION not a request; else as the functions of signer.h */
enum asy_err signer_core_answer(struct signer_core *core, struct asy_sig *ret_sig,
                                struct asy_bytes request);

/* ---- process.c: the child and the way to it ---- */

/* Serves requests from fd until its other end closes; returns the exit status: 0 at an end between
 * two requests, 1 otherwise. */
int signer_serve(int fd, struct signer_core *core);
/* errors: IO */
enum asy_err signer_spawn(int *ret_fd, pid_t *ret_pid, enum asy_signer_role role,
                          const struct asy_seckey *key);
/* Sends a request (frame: with its length) and waits for the answer. errors: CLOSED; else what the
 * child answered */
enum asy_err signer_exchange(int fd, struct asy_sig *ret_sig, struct asy_bytes frame);

/* The child's process id, 0 for a local signer: tests kill it. */
pid_t signer_child(const struct asy_signer *signer);

#endif
