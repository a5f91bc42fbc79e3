/* assay_priv.h: the subcommands of the one binary. Each gets its own name as argv[0] and returns
 * the exit status: 0 done, 1 failed, 2 wrong usage. */
#ifndef ASSAY_PRIV_H
#define ASSAY_PRIV_H

#include "base/base.h"
#include "config/config.h"
#include "crypto/crypto.h"
#include "evm/evm.h"
#include "net/net.h"
#include "signer/signer.h"

int cmd_up(int argc, char **argv);
int cmd_gateway(int argc, char **argv);
int cmd_node(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_chat(int argc, char **argv);
int cmd_models(int argc, char **argv);
int cmd_nodes(int argc, char **argv);
int cmd_jobs(int argc, char **argv);
int cmd_job(int argc, char **argv);
int cmd_receipt(int argc, char **argv);
int cmd_credit(int argc, char **argv);
int cmd_usage(int argc, char **argv);
int cmd_admin(int argc, char **argv);
int cmd_wallet(int argc, char **argv);
int cmd_exact(int argc, char **argv);

/* ---- keys.c: what the programs share about keys and files ------------------------------------ */

/* Reads a file of at most max_len bytes; a line end behind a password or token is cut when trim is
 * set. errors: NOT_FOUND, IO, TOO_LONG */
ASY_MUST_USE enum asy_err app_read_file(struct asy_buf *buf, const char *path, bool trim,
                                        struct asy_why *why);
/* Writes a file atomically, mode 0600. errors: IO */
ASY_MUST_USE enum asy_err app_write_file(const char *path, struct asy_bytes in,
                                         struct asy_why *why);
/* Opens a key file with the password in another file. errors: as asy_keyfile_load and
 * asy_keyfile_open */
ASY_MUST_USE enum asy_err app_load_key(struct asy_secret *ret_secret, const char *key_path,
                                       const char *password_path, struct asy_why *why);
/* The market of an addresses file. errors: as app_read_file and asy_evm_market_parse */
ASY_MUST_USE enum asy_err app_load_market(struct asy_evm_market *ret_market, const char *path,
                                          struct asy_why *why);
/* Loads the key and puts it into a signer process with the market's domain. Call before threads and
 * sockets. */
ASY_MUST_USE enum asy_err app_start_signer(struct asy_signer **ret_signer,
                                           enum asy_signer_role role, const char *key_path,
                                           const char *password_path,
                                           const struct asy_evm_market *market,
                                           struct asy_why *why);
/* Keeps this folder for this process until it ends: two programs with one database would sell the
 * same sequence numbers. Call after the signer was forked. errors: IO; CONFLICT it is taken */
ASY_MUST_USE enum asy_err app_lock_folder(const char *path, struct asy_why *why);
/* The real path of this program; static storage. */
const char *app_self(void);
/* Tells whoever started this program that it is ready: one line of JSON on the descriptor, then
 * closed. fd < 0: nobody. */
void app_ready(int fd, const char *fmt, ...) ASY_PRINTF(2, 3);
/* Reads a command's settings from flags, environment and file. NULL when there is nothing to run:
 * --help was printed (ret_help), or an error. The settings' strings live until asy_config_free. */
struct asy_config *app_settings(const char *name, const char *what,
                                const struct asy_config_item *items, size_t count, void *settings,
                                int argc, char **argv, bool *ret_help);
/* Runs the loop until SIGINT or SIGTERM asks for an orderly end, which `shutdown` brings about
 * within ten seconds; a second signal ends it at once. errors: RANGE */
typedef void (*app_shutdown_fn)(void *object, uint64_t deadline_ns, asy_loop_cb done, void *arg);
ASY_MUST_USE enum asy_err app_run(struct asy_loop *loop, app_shutdown_fn shutdown, void *object,
                                  struct asy_why *why);
/* The manifest of a model file that asy_gguf_read read from path, as every node here makes it.
 * errors: as asy_manifest_from_gguf */
struct asy_gguf;
struct asy_manifest;
ASY_MUST_USE enum asy_err app_manifest(struct asy_manifest *ret_m, const struct asy_gguf *gguf,
                                       const char *path, const char *name, const char *licence,
                                       struct asy_why *why);
/* Prints "assay NAME: what (ERR)" on standard error; returns 1. */
int app_fail(const char *name, enum asy_err err, const struct asy_why *why);

#endif
