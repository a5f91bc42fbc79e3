/*~ engine: what runs a model.
 *
 * One interface, `struct asy_engine`, in front of several ways to run a model: jobs go in, tokens
 * come out through callbacks.
 *
 *   echo    in this process; answers with the prompt. For tests and benchmarks: no model, an exact
 *           pace, any number of jobs.
 *   llama   a worker process of its own around llama.cpp, since that library aborts on a failed
 *           assertion. Jobs share the worker's slots by continuous batching. A dead worker fails
 *           its jobs, and a new one is started.
 *
 * The engine is pure: no clock, no descriptors. Time comes in as `now_ns` (monotonic), bytes from
 * and to the worker pass through asy_engine_input and asy_engine_output, and asy_engine_wish tells
 * what should happen to the worker process. asy_engine_host does all that on an event loop:
 * programs use it, and call nothing here but submit, cancel, credit and wake.
 *
 * A job. asy_engine_submit names it by a key of the caller's. Then come, in this order: on_prompt
 * once, on_tokens any number of times, on_done once; from on_done on the key may be used again. A
 * job that cannot run (too long for the context, messages that the template refuses) gets on_done
 * with FAILED alone. Callbacks never run inside submit, cancel or credit; they run inside
 * asy_engine_poll, asy_engine_input and asy_engine_detach, and may call submit, cancel and credit,
 * but not free.
 *
 * Tokens and text. Every id that the model chose is output; so is the id of the end token, with
 * empty text, since an auditor checks it like any other. The text of an event is whole UTF-8 and
 * belongs to its ids: a token that ends inside a character, or that may be the beginning of a stop
 * string, is held back until that is decided, so a partial stop is never seen. Bytes that are no
 * UTF-8 become U+FFFD. When a stop string appears, the text before it and all ids up to the one
 * that completed it are delivered, and the job is done.
 *
 * Credit. A job computes only while it has chosen fewer tokens than the consumer granted; without
 * credit it rests in its slot and costs the others nothing.
 *
 * Continuing elsewhere. `prior` holds ids that another engine delivered for the same job: they are
 * put behind the prompt and not delivered again, and the output positions, which the sampler's
 * noise depends on, go on behind them; penalties count them. It must end where an on_tokens event
 * ended.
 *
 * The same answer again. The sampler depends on (seed, position, logits) alone. llama.cpp's logits
 * depend in their last bits on how tokens were grouped into batches: a prompt in one go or in
 * pieces, prior tokens in one go or one by one. So two runs of a job may take different turns at a
 * close call, and auditors allow for that (DESIGN section 7). In the tests, on eight kinds of CPU,
 * jobs beside others gave the same tokens as alone.
 *
 * One thread. Depends on: base, codec, crypto, net (the host only), sample.
 */
#ifndef ASY_ENGINE_H
#define ASY_ENGINE_H

#include <sys/types.h>

#include "base/base.h"
#include "net/net.h"
#include "sample/sample.h"

struct asy_engine;

/* ---- jobs ------------------------------------------------------------------------------------ */

struct asy_engine_job {
    uint64_t key; /* the caller's name for it, not in use by another job of this engine */
    /* The prompt: a JSON array of {role, content}, at most ASY_MAX_ENGINE_FRAME / 2 bytes ... */
    struct asy_bytes messages;
    /* ... or, when not NULL, token ids, at most ASY_MAX_ENGINE_FRAME / 16. */
    const uint32_t *prompt_ids;
    size_t prompt_count;
    const uint32_t *prior_ids; /* output already delivered by another engine */
    size_t prior_count;        /* less than max_tokens */
    struct asy_sample_settings sampling;
    const struct asy_sample_bias *bias; /* what sampling.logit_bias is the digest of */
    size_t bias_count;                  /* none exactly when that digest is zero */
    uint8_t seed[ASY_SAMPLE_SEED_LEN];
    /* Output tokens, prior ones included; in [1, ASY_MAX_TOKENS]. The answer also ends (LENGTH)
     * where the context does. */
    uint32_t max_tokens;
    const struct asy_bytes *stops; /* UTF-8, not empty, at most ASY_MAX_STOP_LEN bytes each */
    size_t stop_count;             /* at most ASY_MAX_STOPS */
    uint32_t credit;               /* tokens the consumer takes before it grants more */
    /* Whose job it is: what was computed for a prompt may serve another one that begins alike, but
     * only of the same scope, since the time to the first token tells whether it did. 0: nobody's,
     * nothing is shared. */
    uint64_t scope;
    /* Unix s below 2^33, a chat template's now, read as UTC: some print the date into the prompt.
     * Terms say it (issued_at), so an auditor makes the same prompt another day. */
    uint64_t time;
};

/* Why a job ended. */
enum asy_engine_finish {
    ASY_ENGINE_STOP = 1,  /* the model's end token, or a stop string */
    ASY_ENGINE_LENGTH,    /* max_tokens reached */
    ASY_ENGINE_CANCELLED, /* asy_engine_cancel */
    ASY_ENGINE_FAILED,    /* see err and why; what was delivered stands */
};
/* "stop", "length", "cancelled", "failed" */
const char *asy_engine_finish_name(enum asy_engine_finish finish);

struct asy_engine_tokens {
    uint32_t first; /* output position of ids[0]; prior tokens count */
    const uint32_t *ids;
    size_t count; /* at least 1 */
    struct asy_bytes text;
};

struct asy_engine_done {
    enum asy_engine_finish finish;
    uint32_t output_count; /* tokens delivered by this engine: without prior ones */
    /* OK unless FAILED. RANGE: the prompt leaves no room in the context, or an id is no token;
     * SYNTAX, TYPE, MISSING: the messages are malformed, or the template refuses them; CLOSED: the
     * worker died; INTERNAL: the engine failed. */
    enum asy_err err;
    const char *why; /* for people; "" unless FAILED; never quotes the prompt */
};

/* What runs, known once the model is loaded. */
struct asy_engine_model {
    uint32_t vocab_count;
    uint32_t context;       /* tokens of one job, prompt and output together */
    uint32_t context_train; /* tokens the model was trained for */
    uint32_t slots;         /* jobs at once */
    const char *backend;    /* what computes: "CPU icelake"; for the manifest's calibration */
};

/* All may be NULL. arg is the one given to the engine's constructor. What is passed is borrowed for
 * the call. */
struct asy_engine_events {
    /* Jobs may be submitted. */
    void (*on_up)(void *arg, const struct asy_engine_model *model);
    /* The prompt's token ids, as the model sees them, without prior ones: for counts, digests and
     * the audit record; and how many of them need no computing, as an earlier job of the same scope
     * began alike. */
    void (*on_prompt)(void *arg, uint64_t key, const uint32_t *ids, size_t count, size_t cached);
    void (*on_tokens)(void *arg, uint64_t key, const struct asy_engine_tokens *tokens);
    void (*on_done)(void *arg, uint64_t key, const struct asy_engine_done *done);
    /* The number of running jobs changed. */
    void (*on_load)(void *arg, uint32_t used, uint32_t slots);
    /* The worker is gone, or could not be started. Its jobs got on_done before; on_up follows. */
    void (*on_down)(void *arg, const char *why);
};

/* asy_engine_submit starts a job on a free slot. All of job is copied.
 * errors: RANGE, TOO_LONG, MISSING, MISMATCH: a field is outside its limits, such as an id in bias
 *         that the model does not have (why->param names it as an API request does); DUPLICATE the
 * key is in use; FULL no slot is free; AGAIN no worker is up */
ASY_MUST_USE enum asy_err asy_engine_submit(struct asy_engine *e, const struct asy_engine_job *job,
                                            struct asy_why *reterr_why);
/* asy_engine_cancel: no on_tokens comes any more; on_done with CANCELLED follows, and frees the
 * slot within one token's time. Unknown keys are ignored: the job may just have ended. */
void asy_engine_cancel(struct asy_engine *e, uint64_t key);
/* asy_engine_credit grants count more tokens; the sum stops growing at UINT32_MAX. Unknown keys are
 * ignored. */
void asy_engine_credit(struct asy_engine *e, uint64_t key, uint32_t count);

/* Jobs running, and room for more now (0 while no worker is up). */
uint32_t asy_engine_used(const struct asy_engine *e);
uint32_t asy_engine_free_slots(const struct asy_engine *e);

/* asy_engine_poll does what is due; call it when asy_engine_next_ns has come, and after submit,
 * cancel and credit. */
void asy_engine_poll(struct asy_engine *e, uint64_t now_ns);
/* When to poll next: 0 at once, UINT64_MAX not before something else happens. */
uint64_t asy_engine_next_ns(const struct asy_engine *e);

void asy_engine_free(struct asy_engine *e); /* calls nothing; NULL is fine */

/* ---- echo ------------------------------------------------------------------------------------ */

/* Answers with the text of the last message (of the whole prompt, when it came as ids), `repeats`
 * times, then the end token. Sampling settings, bias and seed are not used. Its tokens are runs of
 * three bytes: id = len << 24 | b0 << 16 | b1 << 8 | b2, where the last one of a text may be
 * shorter; the end token is 0. So characters straddle tokens, as they do in real vocabularies. */
struct asy_engine_echo_config {
    uint32_t slots;          /* in [1, ASY_MAX_JOBS] */
    uint32_t context;        /* tokens; 0: ASY_MAX_PROMPT / 3 + ASY_MAX_TOKENS */
    uint32_t repeats;        /* 0: endless, until max_tokens */
    uint32_t tokens_per_s;   /* of each job; 0: one token of each job per poll */
    uint32_t first_token_ms; /* from submit to the first token */
};
/* Keeps events. errors: RANGE */
ASY_MUST_USE enum asy_err asy_engine_echo_new(struct asy_engine **ret_e,
                                              const struct asy_engine_echo_config *config,
                                              const struct asy_engine_events *events, void *arg);
/* The echo tokenizer backwards, for those who check its answers. Appends.
 * errors: RANGE, TOO_LONG */
ASY_MUST_USE enum asy_err asy_engine_echo_text(struct asy_buf *text, const uint32_t *ids,
                                               size_t count);

/* ---- worker ---------------------------------------------------------------------------------- */

/* A model in a process of its own: llama.cpp's or the integer engine's, as the file says. */
struct asy_engine_worker_config {
    const char *program;    /* the executable whose engine-worker runs asy_engine_worker_main */
    const char *plugin;     /* path of assay-llama.so; NULL: ../lib beside the program */
    const char *model_path; /* a GGUF file, or one of the integer engine */
    const char *backend;    /* CPU variant to pin ("haswell"); NULL: the best that runs here */
    uint32_t slots;         /* jobs at once, in [1, ASY_MAX_SLOTS] */
    uint32_t context; /* tokens of one job, in [64, 1048576]; memory grows with slots * context */
    /* Tokens computed in one go, in [slots, 8192]. Larger is faster on long prompts, and makes the
     * other jobs wait longer for their next token. */
    uint32_t batch;
    /* 0: one for every two processors. Threads wait for each other by spinning, many times a token:
     * where they must share processors with other work, fewer are faster, by far. */
    uint32_t threads;
    uint32_t start_ms; /* the model must be loaded within; 0: 120,000 */
};
/* Keeps config's strings, and events.
 * errors: RANGE, MISSING, TOO_LONG (why->param names the field) */
ASY_MUST_USE enum asy_err asy_engine_worker_new(struct asy_engine **ret_e,
                                                const struct asy_engine_worker_config *config,
                                                const struct asy_engine_events *events, void *arg,
                                                struct asy_why *reterr_why);

/* What should happen to the worker process: to be asked after every call that takes now_ns. Always
 * NOTHING for an engine without worker. */
enum asy_engine_wish {
    ASY_ENGINE_WISH_NOTHING,
    /* Start asy_engine_worker_argv with descriptor 3 connected, then call asy_engine_attach. */
    ASY_ENGINE_WISH_SPAWN,
    /* It hangs or talks nonsense: SIGKILL it, then call asy_engine_detach. */
    ASY_ENGINE_WISH_KILL,
};
enum asy_engine_wish asy_engine_wish(const struct asy_engine *e, uint64_t now_ns);
/* NULL-terminated, valid as long as e. */
const char *const *asy_engine_worker_argv(const struct asy_engine *e);
void asy_engine_attach(struct asy_engine *e, uint64_t now_ns);
/* asy_engine_detach: the worker is gone, or could not be started; why is for people. Running jobs
 * fail with CLOSED. The wish to spawn comes back after a pause that doubles from 0.1 s to 10 s with
 * each worker that was not up for a minute. */
void asy_engine_detach(struct asy_engine *e, uint64_t now_ns, const char *why);
/* Bytes the worker wrote, in any pieces. After a breach of the protocol the wish is KILL, and more
 * input is ignored. */
void asy_engine_input(struct asy_engine *e, uint64_t now_ns, struct asy_bytes in);
/* Bytes for the worker; the caller says how many it took. */
struct asy_bytes asy_engine_output(const struct asy_engine *e);
void asy_engine_output_taken(struct asy_engine *e, size_t len);

/* asy_engine_worker_main is the worker process, connected by descriptor 3.
 * in:     argc, argv: as main got them, so argv[1] is "engine-worker"
 * out:    the exit status
 * It ends when the descriptor closes, and ignores SIGINT, which a terminal sends to everybody. */
int asy_engine_worker_main(int argc, char **argv);

/* ---- host: an engine on an event loop -------------------------------------------------------- */

/* asy_engine_host_new polls the engine, and spawns, feeds, kills and respawns its worker. From then
 * on callbacks run in turns of loop. The engine stays the caller's. Free the host first, and not
 * from inside a callback of the engine: that kills the worker. */
struct asy_engine_host;
struct asy_engine_host *asy_engine_host_new(struct asy_loop *loop, struct asy_engine *e);
/* Call after submit, cancel or credit: the engine is polled in the next turn. */
void asy_engine_host_wake(struct asy_engine_host *host);
pid_t asy_engine_host_worker(const struct asy_engine_host *host); /* 0: none runs */
void asy_engine_host_free(struct asy_engine_host *host);          /* NULL is fine */

/* ---- stop strings ---------------------------------------------------------------------------- */

#define ASY_ENGINE_PIECE_MAX 4096u /* bytes one token may stand for */
/* The bytes that a token stands for: how many, none for end and control tokens. */
typedef size_t (*asy_engine_piece_fn)(void *arg, char ret[ASY_ENGINE_PIECE_MAX], uint32_t id);

/* asy_engine_stop_at says which token of an answer completes a stop string, as every engine here
 * sees it: in the text of this answer alone, bytes that are no UTF-8 read as U+FFFD.
 * in:     stops: not empty, at most ASY_MAX_STOP_LEN bytes each; at most ASY_MAX_STOPS
 * returns the token's place; count when none does */
size_t asy_engine_stop_at(const struct asy_bytes *stops, size_t stop_count, const uint32_t *ids,
                          size_t count, asy_engine_piece_fn piece, void *arg);

/* ---- model files ----------------------------------------------------------------------------- */

/* What a manifest says about a model file: a GGUF file, or one of the integer engine, which has the
 * vocabulary of the GGUF file that it was made from inside. */
struct asy_gguf {
    uint64_t file_len;
    struct asy_hash sha256;
    /* SHA-256 of every metadata record whose key begins with "tokenizer." but not with
     * "tokenizer.chat_template", each as it stands in the file (key, type and value), in bytewise
     * order of their keys: the same for all quantizations of one model. */
    struct asy_hash tokenizer;
    /* SHA-256 of the text of "tokenizer.chat_template"; zero when there is none. */
    struct asy_hash template;
    uint32_t vocab_count;
    uint32_t context_train;
    uint32_t file_type; /* general.file_type: llama.cpp's number of the quantization mix;
                         * UINT32_MAX when absent */
    char architecture[32];
    char name[ASY_MAX_NAME]; /* general.name, cut; "" when absent */
    bool exact;              /* a file of the integer engine */
    struct asy_hash weights; /* the root over its weights; zero for GGUF files */
};
/* asy_gguf_parse reads the head of a GGUF file, version 2 or 3. sha256 and file_len are left zero.
 * errors: AGAIN the head is cut off, try with more; SYNTAX; UNSUPPORTED another version, or
 *         big-endian; MISSING one of the fields above; TOO_LONG more than 65,536 records */
ASY_MUST_USE enum asy_err asy_gguf_parse(struct asy_gguf *ret_gguf, struct asy_bytes head,
                                         struct asy_why *reterr_why);
/* asy_gguf_read reads the whole file, of either kind, and blocks for it: some 0.1 s per 100 MB. A
 * file of the integer engine is checked whole.
 * errors: as asy_gguf_parse but for AGAIN, and as asy_exact_model_open; NOT_FOUND, IO */
ASY_MUST_USE enum asy_err asy_gguf_read(struct asy_gguf *ret_gguf, const char *path,
                                        struct asy_why *reterr_why);
struct asy_exact_model;
/* asy_gguf_of_exact says the same of a model that is open already, and so was checked: what is left
 * is one digest of its file.
 * in:     file: what the model was opened from
 * errors: as asy_gguf_read, of its vocabulary */
ASY_MUST_USE enum asy_err asy_gguf_of_exact(struct asy_gguf *ret_gguf,
                                            const struct asy_exact_model *model,
                                            struct asy_bytes file, struct asy_why *reterr_why);

/* All of a GGUF file, in memory of the caller's: its keys, and its tensors as they are stored. */
struct asy_gguf_file;
struct asy_gguf_tensor {
    struct asy_bytes name;
    uint32_t dims;         /* in [1, 4] */
    uint64_t dim[4];       /* dim[0] elements lie together: a row; unused ones are 1; no product
                            * overflows */
    uint32_t type;         /* ggml's number: see asy_llama_type */
    struct asy_bytes data; /* from its first byte up to the end of the file, other tensors too */
};
/* Keeps the memory, until asy_gguf_close.
 * errors: SYNTAX, also when it is cut off; UNSUPPORTED another version; TOO_LONG more than 65,536
 *         records or tensors; RANGE a tensor's dimensions */
ASY_MUST_USE enum asy_err asy_gguf_open(struct asy_gguf_file **ret_file, struct asy_bytes file,
                                        struct asy_why *reterr_why);
void asy_gguf_close(struct asy_gguf_file *f); /* NULL is fine */
/* What there is, by index. */
size_t asy_gguf_tensors(const struct asy_gguf_file *f);
const struct asy_gguf_tensor *asy_gguf_tensor_at(const struct asy_gguf_file *f, size_t index);
size_t asy_gguf_keys(const struct asy_gguf_file *f);
struct asy_bytes asy_gguf_key_at(const struct asy_gguf_file *f, size_t index);
/* The value of a key: a not negative integer below 2^31; a float; a text; an array of bools, one
 * byte each. An array of equal numbers counts as that number. errors: NOT_FOUND, TYPE */
ASY_MUST_USE enum asy_err asy_gguf_u32(uint32_t *ret, const struct asy_gguf_file *f,
                                       const char *key);
ASY_MUST_USE enum asy_err asy_gguf_f32(float *ret, const struct asy_gguf_file *f, const char *key);
ASY_MUST_USE enum asy_err asy_gguf_text(struct asy_bytes *ret, const struct asy_gguf_file *f,
                                        const char *key);
ASY_MUST_USE enum asy_err asy_gguf_bools(struct asy_bytes *ret, const struct asy_gguf_file *f,
                                         const char *key);
/* Appends a GGUF file with the same keys and no tensors: what tokenizers and templates need.
 * errors: TOO_LONG */
ASY_MUST_USE enum asy_err asy_gguf_without_tensors(struct asy_buf *buf,
                                                   const struct asy_gguf_file *f);

/* ---- llama.cpp in this process ---------------------------------------------------------------
 *
 * For commands that a person runs on files of his own: converting a model, measuring one against
 * floats, tokenizing. A file that libllama cannot stand may end the process, so nothing that serves
 * strangers uses this. One thread. */

struct asy_llama;
/* asy_llama_open loads the plugin. errors: NOT_FOUND; VERSION it is of another build */
ASY_MUST_USE enum asy_err asy_llama_open(struct asy_llama **ret_llama, const char *plugin,
                                         struct asy_why *reterr_why);
void asy_llama_free(struct asy_llama *l); /* NULL is fine */

/* How ggml stores numbers: block_count of them together in block_len bytes. */
struct asy_llama_type {
    const char *name; /* "q4_1" */
    uint32_t block_count, block_len;
};
/* errors: NOT_FOUND no such type, or none that can be read as floats */
ASY_MUST_USE enum asy_err asy_llama_type(const struct asy_llama *l, struct asy_llama_type *ret_type,
                                         uint32_t type);
/* Whole blocks as floats; the type is one that asy_llama_type knows. */
void asy_llama_floats(const struct asy_llama *l, uint32_t type, float *ret, const uint8_t *data,
                      size_t count);

/* A tokenizer, from a GGUF file with or without tensors. errors: UNSUPPORTED, IO */
struct asy_llama_vocab;
ASY_MUST_USE enum asy_err asy_llama_vocab_new(struct asy_llama_vocab **ret_vocab,
                                              const struct asy_llama *l, struct asy_bytes gguf,
                                              struct asy_why *reterr_why);
void asy_llama_vocab_free(struct asy_llama_vocab *v); /* NULL is fine */
uint32_t asy_llama_vocab_count(const struct asy_llama_vocab *v);
/* The token that every text begins with, false where there is none; one that ends an answer. */
bool asy_llama_vocab_first(const struct asy_llama_vocab *v, uint32_t *ret_id);
bool asy_llama_vocab_end(const struct asy_llama_vocab *v, uint32_t id);
/* Plain text: nothing is put in front, and spelled-out special tokens stay text.
 * out:    ret_ids: to be freed by asy_free
 * errors: TOO_LONG above 1 GiB; INTERNAL */
ASY_MUST_USE enum asy_err asy_llama_tokenize(const struct asy_llama_vocab *v, uint32_t **ret_ids,
                                             size_t *ret_count, struct asy_bytes text);
/* A chat: the vocabulary's chat template over a JSON array of {role, content}, then the tokenizer,
 * special tokens included: exactly what a worker computes for asy_engine_job's messages and time.
 * out:    ret_ids: to be freed by asy_free
 * errors: SYNTAX the template is unusable or refuses them; TOO_LONG */
ASY_MUST_USE enum asy_err asy_llama_chat(const struct asy_llama_vocab *v, uint32_t **ret_ids,
                                         size_t *ret_count, struct asy_bytes messages,
                                         uint64_t time, struct asy_why *reterr_why);
/* The bytes that a token stands for: how many, none for control tokens and where cap is too small.
 */
size_t asy_llama_piece(const struct asy_llama_vocab *v, char *ret, size_t cap, uint32_t id);

/* A float model, one sequence. errors: UNSUPPORTED it cannot be loaded */
struct asy_llama_model;
struct asy_llama_model_config {
    const char *path;
    uint32_t context, batch, threads;
    bool half; /* keys and values in 16 bits, as llama.cpp runs by default; else in 32 */
    /* The residual behind each layer, [rows][columns]; NULL: not wanted. */
    void (*on_residual)(void *arg, uint32_t layer, const float *values, uint32_t rows,
                        uint32_t columns);
    void *arg;
};
ASY_MUST_USE enum asy_err asy_llama_model_new(struct asy_llama_model **ret_model,
                                              const struct asy_llama *l,
                                              const struct asy_llama_model_config *config,
                                              struct asy_why *reterr_why);
void asy_llama_model_free(struct asy_llama_model *m); /* NULL is fine */
uint32_t asy_llama_model_vocab(const struct asy_llama_model *m);
/* Computes ids, at most `batch` of them, at the positions from `from` on; 0 begins anew.
 * out:    ret_logits: [count][vocab], valid until the next step
 * errors: INTERNAL */
ASY_MUST_USE enum asy_err asy_llama_model_step(struct asy_llama_model *m, const float **ret_logits,
                                               const uint32_t *ids, uint32_t from, uint32_t count,
                                               struct asy_why *reterr_why);
/* Writes a model file anew with its weights as "F32", "Q8_0", "Q4_0" or "Q4_K_M".
 * errors: UNSUPPORTED */
ASY_MUST_USE enum asy_err asy_llama_requantize(const struct asy_llama *l, const char *from,
                                               const char *to, const char *type, uint32_t threads,
                                               struct asy_why *reterr_why);

#endif
