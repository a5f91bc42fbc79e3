/* gateway_priv.h: the objects that the files of this folder share. */
#ifndef ASY_GATEWAY_PRIV_H
#define ASY_GATEWAY_PRIV_H

#include <uthash.h>

#include "api/api.h"
#include "chain/chain.h"
#include "gateway/gateway.h"
#include "ledger/ledger.h"
#include "link/link.h"
#include "match/match.h"
#include "sample/sample.h"

enum {
    CREDIT_WINDOW = 128,       /* tokens a node may send ahead of the client */
    WAIT_MS = 8000,            /* a request waits this long for a free slot */
    MAX_TRIES = 4,             /* nodes tried for one request before its first token */
    DEFAULT_MAX_TOKENS = 1024, /* when the client names none */
    MESSAGE_OVERHEAD = 16,     /* tokens of template around a message, for the bound on input */
    PROMPT_OVERHEAD = 128,     /* tokens of template around a prompt */
    MAX_MESSAGES_LEN = ASY_MAX_FRAME - 65536, /* bytes of a canonical request: it fits an offer */
    EXPIRE_GRACE_S = 5,                       /* after a ticket's deadline, before it is void */
    RECONNECT_S = 60,   /* nodes try again at least every 30 s: link protocol */
    ACK_PAY_BY_S = 600, /* settlement format, section 1.2 */
};

/* ---- nodes ----------------------------------------------------------------------------------- */

struct node {
    struct asy_gateway *g;
    struct asy_ws *ws; /* NULL once the socket is gone */
    char peer[64];
    struct asy_link_gw *link;
    struct asy_node_book *book;    /* after hello */
    struct asy_node_book stranger; /* its book until the chain knows it: any key can say hello */
    struct asy_link_hello hello;
    struct asy_link_status status;
    bool admitted;     /* the chain says: staked, and linked to this gateway */
    bool chain_asked;  /* a task about it is running */
    bool dead;         /* broke the protocol: to be closed */
    uint32_t inflight; /* tickets offered and not ended */
    struct asy_match_latency latency;
    uint64_t jobs_done, jobs_failed;
    struct node *prev, *next;
};

/* A job whose node's link died: kept until its ticket's deadline, to judge a receipt sent again. */
struct orphan {
    struct asy_hash terms_hash;
    uint64_t until_ms;
    uint32_t count;
    uint32_t *ids;
    UT_hash_handle hh;
};

/* ---- jobs ------------------------------------------------------------------------------------ */

enum job_state {
    JOB_WAITING, /* for a free slot */
    JOB_OFFERED, /* to job->node */
    JOB_RUNNING, /* tokens may come */
    JOB_ENDING,  /* cancelled: only its receipt is awaited */
};

struct job {
    struct asy_gateway *g;
    enum job_state state;
    struct asy_http_req *req; /* NULL: the client is gone or was answered */
    struct asy_arena arena;
    struct asy_chat_request chat;
    struct asy_account *account;
    struct asy_hash id, request_digest, seed;
    char request_id[33];
    uint8_t settings[ASY_SAMPLE_SETTINGS_LEN];
    struct asy_bytes bias;   /* encoded pairs */
    struct asy_buf messages; /* canonical */
    uint64_t created_ms;
    uint64_t wait_until_ns, first_by_ns;
    uint32_t max_out;
    /* the segment that runs now */
    struct node *node;
    struct asy_terms terms;
    uint32_t segment, tries;
    struct asy_addr tried[MAX_TRIES];
    bool timed_out; /* an earlier segment sent no token in time */
    bool unpaid;    /* this one did: its client was handed to another segment, or away, and pays
                       nothing for it */
    /* what has come */
    uint32_t *ids; /* of this segment */
    uint64_t
        *written; /* stream bytes written after each id: tells what a client that left had taken */
    uint32_t count, cap;          /* tokens */
    uint32_t credit_left;         /* tokens granted and not come */
    uint64_t offered_ns, last_ns; /* last_ns: of the newest tokens */
    struct asy_buf text;          /* the answer, when not streaming */
    struct asy_chat_meta meta;
    char receipt_url[96];
    struct asy_chat_stream stream;
    bool streaming; /* the head of the stream is out */
    uint64_t bytes_out;
    struct job *prev, *next; /* all jobs of the gateway */
};

/* ---- the gateway ----------------------------------------------------------------------------- */

struct asy_gateway {
    struct asy_gateway_config c;
    const struct asy_env *env;
    struct asy_loop *loop;
    struct asy_domain domain;
    struct asy_addr self;
    struct asy_ledger *ledger;
    struct asy_http_server *http;
    struct asy_ws_route route;
    struct asy_chain *chain;
    struct asy_timer *timer, *chain_timer;
    uint64_t wake_at_ns;             /* what the timer is set to */
    struct asy_aead_key storage_key; /* seals audit records */
    struct node *nodes;
    struct job *jobs, *jobs_tail;
    struct orphan *orphans;
    struct asy_arena scratch; /* of one request or callback */
    char request_id[33];      /* of the HTTP request that is being routed */
    struct asy_buf body;      /* of one response */
    uint32_t node_count, job_count, waiting_count;
    bool slot_freed; /* since the last turn: jobs that wait may find a node */
    bool draining, stopping;
    uint64_t drain_deadline_ns;
    asy_loop_cb on_done;
    void *on_done_arg;
    /* settlement */
    struct settle *settle;
    uint64_t next_expire_ns;
};

/* route.c */
void gateway_on_request(void *arg, struct asy_http_req *req);
void gateway_on_gone(void *arg, struct asy_http_req *req);
void gateway_on_drain(void *arg, struct asy_http_req *req);
const char *gateway_on_error(void *arg, int status, const char *text, struct asy_buf *ret_body);
void gateway_respond(struct asy_gateway *g, struct asy_http_req *req, int status,
                     struct asy_bytes body);
/* The same for a request that became a job; job_id NULL: it has none yet. */
void gateway_respond_job_error(struct asy_gateway *g, struct asy_http_req *req,
                               const char *request_id, const struct asy_hash *job_id,
                               enum asy_err err, const struct asy_why *why);
void gateway_respond_error(struct asy_gateway *g, struct asy_http_req *req, enum asy_err err,
                           const struct asy_why *why);
/* The account of the request's API key, or NULL after a 401 was sent. */
struct asy_account *gateway_authenticate(struct asy_gateway *g, struct asy_http_req *req);
bool gateway_is_admin(const struct asy_gateway *g, const struct asy_http_req *req);

/* chat.c */
void chat_start(struct asy_gateway *g, struct asy_http_req *req, struct asy_account *account);
void chat_client_gone(struct job *job);
void chat_client_drained(struct job *job);
void chat_on_accept(struct job *job);
void chat_on_reject(struct job *job, uint32_t reason, const char *param, struct asy_bytes text);
void chat_on_fail(struct job *job, enum asy_err err, const char *text);
void chat_on_tokens(struct job *job, const uint32_t *ids, uint32_t count, struct asy_bytes text);
void chat_on_done(struct job *job, const struct asy_receipt *receipt,
                  const struct asy_hash *prompt_digest, uint64_t item);
/* At the end of a turn: jobs that wait go to slots that became free in it. */
void chat_dispatch_waiting(struct asy_gateway *g);
void chat_tick(struct asy_gateway *g, uint64_t now_ns, uint64_t *min_deadline_ns);
void chat_cancel_all(struct asy_gateway *g);
void chat_free_all(struct asy_gateway *g);

/* nodes.c */
extern const struct asy_ws_handlers nodes_ws_handlers;
/* Ends the jobs of nodes that died in this turn. */
void nodes_reap(struct asy_gateway *g);
void nodes_tick(struct asy_gateway *g, uint64_t *min_deadline_ns);
void nodes_free_all(struct asy_gateway *g);
void nodes_batch_confirmed(struct asy_gateway *g, const struct asy_batch *batch);
const struct asy_link_model *node_model(const struct node *node, struct asy_bytes name);
bool node_ready(const struct node *node); /* live, admitted, not draining */
void nodes_check_chain(struct node *node);

/* settle.c */
ASY_MUST_USE enum asy_err settle_new(struct asy_gateway *g, struct asy_why *why);
void settle_free(struct asy_gateway *g);
void settle_tick(struct asy_gateway *g, uint64_t now_ns, uint64_t *min_deadline_ns);
/* A cap was registered: open its lane. */
void settle_account(struct asy_gateway *g, struct asy_account *account);
/* Tickets were closed: maybe a batch is full. */
void settle_poke(struct asy_gateway *g);
/* Close the running batch now, whatever its age. */
void settle_now(struct asy_gateway *g);
uint64_t settle_head(const struct asy_gateway *g);

/* views.c: each fills g->body with JSON. */
ASY_MUST_USE enum asy_err view_models(struct asy_gateway *g, struct asy_bytes only);
ASY_MUST_USE enum asy_err view_nodes(struct asy_gateway *g);
ASY_MUST_USE enum asy_err view_jobs(struct asy_gateway *g, const struct asy_account *account,
                                    uint64_t before, uint32_t limit);
ASY_MUST_USE enum asy_err view_job(struct asy_gateway *g, const struct asy_account *account,
                                   struct asy_bytes id, struct asy_why *why);
/* with_record: with what a replay needs, the prompt too. */
ASY_MUST_USE enum asy_err view_receipt(struct asy_gateway *g, const struct asy_account *account,
                                       struct asy_bytes id, bool with_record, struct asy_why *why);
ASY_MUST_USE enum asy_err view_usage(struct asy_gateway *g, const struct asy_account *account,
                                     uint64_t from_ms);
ASY_MUST_USE enum asy_err view_credit(struct asy_gateway *g, const struct asy_account *account);
ASY_MUST_USE enum asy_err view_batch(struct asy_gateway *g, uint64_t number, struct asy_why *why);
ASY_MUST_USE enum asy_err view_lane(struct asy_gateway *g, uint64_t number, uint32_t lane,
                                    struct asy_why *why);
ASY_MUST_USE enum asy_err view_domain(struct asy_gateway *g);

/* record.c */
void record_store(struct asy_gateway *g, const struct asy_hash *job_id, uint32_t lane,
                  uint64_t lane_seq, const struct asy_audit_record *record);
/* Calls fn with the opened record, whose views end with the call. errors: NOT_FOUND none was kept;
 * AUTH, VERSION, SYNTAX, TOO_LONG it is none of this gateway's; STORE */
ASY_MUST_USE enum asy_err record_read(struct asy_gateway *g, const struct asy_hash *job_id,
                                      uint32_t lane, uint64_t lane_seq,
                                      void (*fn)(void *arg, const struct asy_audit_record *record),
                                      void *arg);

/* gateway.c */
void gateway_wake(struct asy_gateway *g); /* the timer's work is due now */
_Noreturn void
gateway_die(enum asy_err err,
            const struct asy_why *why); /* the ledger failed: stop before anything leaves */

#endif
