/* limits.h: every ceiling of Assay, one line each, with its unit and its reason.
 * A number that bounds what a stranger can make us hold stands here and nowhere else. */
#ifndef ASY_BASE_LIMITS_H
#define ASY_BASE_LIMITS_H

/* client side (HTTP) */
#define ASY_MAX_HTTP_HEADERS (16u * 1024u)         /* bytes; a payment header is 2 KB */
#define ASY_MAX_HTTP_BODY    (5u * 1024u * 1024u)  /* bytes of a request body; 413 above */
#define ASY_MAX_HTTP_CONNS   4096u                 /* open client connections of one gateway */
#define ASY_MAX_RESPONSE     (16u * 1024u * 1024u) /* bytes of one unstreamed response body */
#define ASY_MAX_JSON_DEPTH   32u                   /* nesting; deeper is an attack on the stack */
#define ASY_MAX_MESSAGES     256u                  /* messages of a chat request */
#define ASY_MAX_PROMPT       (1024u * 1024u)       /* bytes of text over all messages */
#define ASY_MAX_TOKENS       32768u                /* output tokens one request may ask for */
#define ASY_MAX_STOPS        4u                    /* stop strings, as in the OpenAI API */
#define ASY_MAX_STOP_LEN     256u                  /* bytes of one stop string */
#define ASY_MAX_BIAS         300u                  /* ids with a logit bias, as in the OpenAI API */
#define ASY_MAX_MATCH_LIST   64u                   /* addresses in one list of a request */
#define ASY_MAX_USER_LEN     256u                  /* bytes of the `user` field */
#define ASY_MAX_STREAM_QUEUE (256u * 1024u) /* bytes waiting for a reader; no credit above half */
#define ASY_MAX_PAGE         200u           /* rows of a listing */

/* gateway-node link (WebSocket) */
#define ASY_MAX_FRAME       (2u * 1024u * 1024u) /* bytes of one frame: the largest request */
#define ASY_MAX_NODES       4096u                /* nodes connected to one gateway */
#define ASY_MAX_NODE_MODELS 64u                  /* models one node offers */
#define ASY_MAX_JOBS        16384u               /* jobs in flight at one gateway */
#define ASY_MAX_LINK_QUEUE  (8u * 1024u * 1024u) /* bytes waiting for one node; closed above */
#define ASY_MAX_NAME        128u                 /* bytes of a model name or other label */
#define ASY_MAX_URL         512u                 /* bytes of a URL */

#define ASY_MAX_AUDIT_RECORD                                                                       \
    (ASY_MAX_FRAME + 512u * 1024u) /* bytes of one: a request, twice ASY_MAX_TOKENS ids */

/* settlement */
#define ASY_MAX_CHECKPOINT    256u   /* items of a checkpoint (settlement 1.2) */
#define ASY_MAX_ENTRY_LEAVES  4096u  /* tickets of a lane in a batch: opens in 2 transactions */
#define ASY_MAX_BATCH_JOBS    10000u /* tickets in a batch */
#define ASY_MAX_TICKET_LIFE_S 600u   /* seconds from issue to deadline of a ticket */
#define ASY_MAX_CLOCK_SKEW_S  2u     /* seconds that issuedAt may be off */

/* chain */
#define ASY_MAX_RPC_BODY  (64u * 1024u * 1024u)  /* bytes of a JSON-RPC response */
#define ASY_MAX_TX_GAS    16777216u              /* EIP-7825: gas of one transaction */
#define ASY_MAX_LOG_RANGE 2000u                  /* blocks asked for in one eth_getLogs */
#define ASY_MAX_LOG_MEM   (256u * 1024u * 1024u) /* bytes of the parsed logs of one such range */

/* models */
#define ASY_MAX_MODEL_FILES 16u /* files of one model; weights above 50 GB come in parts */
#define ASY_MAX_MANIFEST    (16u * 1024u) /* bytes of a manifest; valid ones have under 6,000 */

/* signer */
#define ASY_MAX_SIGN (2u * 1024u * 1024u) /* bytes to sign; EIP-7825 allows about 420,000 */

/* engine */
#define ASY_MAX_ENGINE_FRAME (4u * 1024u * 1024u) /* bytes of one frame to or from a worker */
#define ASY_MAX_SLOTS        64u                  /* jobs an engine runs at once */

/* keys at rest */
#define ASY_MAX_KEYFILE      1024u /* bytes of a key file; the longest valid one has about 400 */
#define ASY_MAX_KDF_MEM_KIB  (1024u * 1024u) /* KiB of Argon2id memory a key file may ask for */
#define ASY_MAX_KDF_PASSES   1024u           /* Argon2id passes a key file may ask for */
#define ASY_MAX_KDF_WORK_KIB (4u * 1024u * 1024u) /* KiB over all passes: seconds of one core */

#endif
