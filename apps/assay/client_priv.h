/* client_priv.h: HTTP to a gateway, and what the commands of a client share: options, errors,
 * printing. */
#ifndef ASY_ASSAY_CLIENT_PRIV_H
#define ASY_ASSAY_CLIENT_PRIV_H

#include <getopt.h>

#include "base/base.h"
#include "codec/codec.h"
#include "job/job.h"

/* ---- HTTP ------------------------------------------------------------------------------------ */

struct client_response {
    int status;
    struct asy_buf body;    /* empty when the chunks went to on_chunk */
    char request_id[80];    /* x-request-id; "" when there was none */
    char job_id[80];        /* x-assay-job-id; likewise */
    uint32_t retry_after_s; /* Retry-After in seconds; 0: none */
};
/* Frees the body. */
void client_response_done(struct client_response *response);

/* Takes a piece of a 200's body as it comes in; an error ends the exchange and is returned. */
typedef enum asy_err (*client_chunk_fn)(void *arg, struct asy_bytes chunk);

/* client_fetch makes one HTTP exchange.
 * in:     url: http or https, whole. Loopback is never reached through a proxy
 *         bearer: sent as `Authorization: Bearer ...`; NULL: none
 *         body: JSON; empty: none is sent
 *         on_chunk: NULL collects the body in ret->body (at most ASY_MAX_RESPONSE). Otherwise the
 *         body of a 200 goes there, with arg; that of any other status is collected
 * out:    ret: written always; client_response_done it after OK. OK means that an HTTP answer
 *         came in whole, whatever its status
 * errors: SYNTAX the URL; CLOSED no connection, or it broke; TIMEOUT nothing came for 120 s;
 *         TOO_LONG the body; CANCELLED by client_cancel; or of on_chunk */
ASY_MUST_USE enum asy_err client_fetch(struct client_response *ret, const char *method,
                                       const char *url, const char *bearer, struct asy_bytes body,
                                       client_chunk_fn on_chunk, void *arg,
                                       struct asy_why *reterr_why);
/* Ends the running exchange, within a second, and all later ones. For signal handlers too. */
void client_cancel(void);
bool client_cancelled(void);

/* ---- options --------------------------------------------------------------------------------- */

/* Values of long options; those of a command's own begin at OPT_OWN. */
enum { OPT_BASE_URL = 256, OPT_KEY_FILE, OPT_JSON, OPT_HELP, OPT_BAD, OPT_OWN };
#define CLIENT_OPTION_HELP                                                                         \
    {"help", no_argument, NULL, OPT_HELP}, { NULL, 0, NULL, 0 }
#define CLIENT_OPTIONS                                                                             \
    {"base-url", required_argument, NULL, OPT_BASE_URL},                                           \
        {"api-key-file", required_argument, NULL, OPT_KEY_FILE},                                   \
        {"json", no_argument, NULL, OPT_JSON}, CLIENT_OPTION_HELP

/* The next option, as getopt_long; -1 behind the last: then argv[optind...] are the other words.
 * OPT_HELP: help was printed, exit with 0. OPT_BAD: what is wrong was printed, exit with 2.
 * name: of the command, for messages; shorts: as getopt's, without `h` */
int client_option(int argc, char **argv, const char *name, const char *help, const char *shorts,
                  const struct option *options);
/* Says what is wrong with the command line, and returns 2. */
int client_usage(const char *name, const char *fmt, ...) ASY_PRINTF(2, 3);

/* ---- a gateway ------------------------------------------------------------------------------- */

#define CLIENT_BASE_URL "http://127.0.0.1:8080/v1"
/* The lines of a help text about the options above. */
#define CLIENT_HELP                                                                                \
    "  --base-url URL       the gateway; default ASSAY_BASE_URL, else " CLIENT_BASE_URL "\n"       \
    "  --api-key-file FILE  file with your API key; default the key in ASSAY_API_KEY\n"            \
    "  --json               print the document as the gateway sent it\n"

struct client {
    const char *name;                /* of the command */
    const char *base_url, *key_file; /* as given; NULL: the environment */
    bool json;                       /* print documents as they came */
    bool mid_line;                   /* standard output stands in the middle of a line */
    char root[ASY_MAX_URL];          /* base URL without /v1 */
    struct asy_buf key;              /* bearer token; empty: none */
};
/* Takes one of CLIENT_OPTIONS; false when it is another. */
bool client_common(struct client *c, int option);
/* Finds base URL and key after the options were read. key_is_needed: without one it is an error.
 * Errors are printed. client_done always. */
bool client_open(struct client *c, bool key_is_needed);
void client_done(struct client *c);
/* client_get and client_post return true for a 200; otherwise they print what is wrong and what to
 * do about it. path: "/v1/jobs". client_response_done after true. */
bool client_get(struct client *c, struct client_response *ret, const char *path);
bool client_post(struct client *c, struct client_response *ret, const char *path,
                 struct asy_bytes body);
/* The same for any method; on_chunk and arg as client_fetch has them. */
bool client_exchange(struct client *c, struct client_response *ret, const char *method,
                     const char *path, struct asy_bytes body, client_chunk_fn on_chunk, void *arg);
/* Reads the document of a 200. False, and printed, when it is none; else asy_json_free. */
bool client_parse(struct client *c, struct asy_json **ret_doc, const struct client_response *r);
/* Prints the message of an OpenAI error document, and what can be done about it. */
void client_error(struct client *c, int status, uint32_t retry_after_s, struct asy_bytes body);

/* ---- printing -------------------------------------------------------------------------------- */

/* The string under key, or "-": control characters, which could steer a terminal, become `?`. */
const char *client_text(char *ret_text, size_t cap, const struct asy_json *obj, const char *key);
/* The number under key; 0 where there is none. */
uint64_t client_number(const struct asy_json *obj, const char *key);
/* An answer that was cut off ends its line, so that what is said next has one of its own. */
void client_end_line(struct client *c);
/* Text to standard output; control characters but line ends and tabs become `?` on a terminal. */
void client_print(struct asy_bytes text);
/* A document as it came, and a line end. */
void client_print_json(struct asy_bytes json);

/* ---- verify.c -------------------------------------------------------------------------------- */

/* Checks a receipt bundle or lane document and prints what it found, for people or as JSON. Returns
 * the exit status: 0 nothing failed, 1 something did, 2 it cannot be read.
 * expected: the domain that it must be for; NULL takes the document's */
int verify_print(const char *name, struct asy_bytes document, const struct asy_domain *expected,
                 bool json);

#endif
