/*~ exact: the integer transformer executor, exact/1.
 *
 * Runs a language model without one floating-point operation. Every logit is an int32 that
 * docs/protocol/exact.md defines to the last bit, so it is the same on every machine, for every
 * kernel, thread count, chunk and batch: an answer can be checked with zero tolerance, and a
 * contract can judge a single step.
 *
 * Three objects:
 *   model     a converted model file, checked whole, used where it lies (the caller maps it;
 *             processes that map the same file share its pages)
 *   executor  a model, a kernel, threads, and slots: one slot holds the keys and values of one
 *             sequence
 *   step      some rows at once, each a token at a position of a slot; prefill, decode and batches
 *             of both are the same call
 *
 * An entry of a slot depends on the tokens up to its position alone. So a prefix may be computed
 * in any pieces, copied from another slot, or restored from a save, and nothing changes.
 *
 * Memory: all of it is taken by asy_exact_new (asy_exact_memory says how much); a step allocates
 * nothing. Threads: an executor belongs to one thread at a time; its own helpers are parked
 * between steps. Models are constant and may be shared.
 * Depends on: base, crypto, sample (the exp2 table).
 * source: docs/protocol/exact.md
 */
#ifndef ASY_EXACT_EXACT_H
#define ASY_EXACT_EXACT_H

#include "base/base.h"
#include "sample/sample.h"

/* Ceilings of the format; docs/protocol/exact.md section 2 proves the widths from them. */
#define ASY_EXACT_MAX_LAYERS    256u
#define ASY_EXACT_MAX_DIM       16384u  /* width of the residual */
#define ASY_EXACT_MAX_INNER     131072u /* inputs of one linear */
#define ASY_EXACT_MAX_HEADS     256u
#define ASY_EXACT_MAX_HEAD_DIM  256u
#define ASY_EXACT_MAX_VOCAB     262144u
#define ASY_EXACT_MAX_POSITIONS 131072u
#define ASY_EXACT_MAX_ROPES     4u
#define ASY_EXACT_MAX_ROWS      4096u /* rows of one step */

/* ---- model ----------------------------------------------------------------------------------- */

enum asy_exact_activation {
    ASY_EXACT_SILU = 0,
    ASY_EXACT_GELU = 1, /* the tanh form */
};

/* What a model file says about its model. */
struct asy_exact_info {
    uint32_t layers, dim, inner, heads, kv_heads, head_dim, vocab;
    uint32_t positions; /* that the rotation tables reach */
    uint32_t window;    /* of layers with a sliding window; 0: none has one */
    enum asy_exact_activation activation;
    uint32_t residual_bits; /* unit of the residual: 2^-residual_bits */
    bool tied;              /* the head is the embedding's matrix */
    bool post_norms;        /* norms behind attention and feed-forward */
    bool qk_norms;
    /* Bytes of the file that a step reads, however many rows it has: the linears and norms of all
     * layers, and the head. */
    uint64_t step_len;
    /* Bytes of keys and values that one position of a slot takes; a row reads those of all
     * positions below its own. */
    uint64_t entry_len;
    struct asy_hash weights; /* root over all rows (exact.md section 8): what a manifest binds */
    struct asy_hash source;  /* SHA-256 of the file it was converted from */
    struct asy_bytes recipe; /* how: text, which nobody has checked; borrowed from the file */
    struct asy_bytes vocabulary; /* the tokenizer as a GGUF file without tensors; borrowed */
};

struct asy_exact_model;

/* asy_exact_model_open checks every byte of a model file and makes it usable where it lies.
 * in:     file: at least 64-byte aligned, keeps: must stay as it is until the model is freed
 * errors: SYNTAX not such a file, or a number in it is out of range; TOO_LONG or RANGE its
 *         dimensions are beyond the ceilings; UNSUPPORTED another version, or a reserved field is
 *         used; MISMATCH its checksum; why says where */
ASY_MUST_USE enum asy_err asy_exact_model_open(struct asy_exact_model **ret_model,
                                               struct asy_bytes file, struct asy_why *reterr_why);
void asy_exact_model_free(struct asy_exact_model *model); /* NULL is fine */
const struct asy_exact_info *asy_exact_model_info(const struct asy_exact_model *model);

/* ---- the rows of a model --------------------------------------------------------------------- */

/* All rows' hashes and the tree over them, exact.md section 8: what weights_root is the root of.
 * Takes 64 bytes for each place, twice the rows and more; SmolLM2-135M: 34 MB, 1.5 s. */
struct asy_exact_rows;
struct asy_exact_rows *asy_exact_rows_new(const struct asy_exact_model *model, uint32_t threads);
void asy_exact_rows_free(struct asy_exact_rows *rows); /* NULL is fine */
/* The model's weights_root as it is; asy_exact_info says what its file claims. */
struct asy_hash asy_exact_rows_root(const struct asy_exact_rows *rows);
uint32_t asy_exact_rows_depth(const struct asy_exact_rows *rows);
/* The row's hash (zero where no row is) and its siblings, from the leaves upwards.
 * out:    ret_path: [asy_exact_rows_depth]
 * errors: RANGE */
ASY_MUST_USE enum asy_err asy_exact_rows_path(const struct asy_exact_rows *rows,
                                              struct asy_hash *ret_row, struct asy_hash *ret_path,
                                              uint64_t index);

/* ---- writing a model file -------------------------------------------------------------------- */

/* The linears of a layer, as bits of its masks and as parts of a file. */
enum asy_exact_linear {
    ASY_EXACT_QKV = 0, /* rows: queries, keys, values */
    ASY_EXACT_OUT,
    ASY_EXACT_GATE_UP, /* rows interleaved: gate 0, up 0, gate 1, up 1 ... */
    ASY_EXACT_DOWN,
    ASY_EXACT_EMBED, /* of the model, not of a layer: constants and, always, the matrix */
    ASY_EXACT_HEAD,  /* the same; without a matrix of its own when tied */
};
enum asy_exact_norm {
    ASY_EXACT_NORM_ATTN = 0, /* before attention: quantised output */
    ASY_EXACT_NORM_Q,        /* per head; int32 output. Exist with qk_norms */
    ASY_EXACT_NORM_K,
    ASY_EXACT_NORM_ATTN_POST, /* int32 output. Exist with post_norms */
    ASY_EXACT_NORM_FFN,
    ASY_EXACT_NORM_FFN_POST,
    ASY_EXACT_NORM_FINAL, /* of the model, not of a layer */
};

struct asy_exact_layer_shape {
    bool window;
    uint8_t rope; /* rotation table */
    uint8_t wide; /* bit n: the input of linear n has 16 bits; n up to DOWN */
    uint8_t bias; /* bit n: linear n has a bias */
};
struct asy_exact_shape {
    uint32_t layers, dim, inner, heads, kv_heads, head_dim, vocab, positions, window, ropes;
    enum asy_exact_activation activation;
    uint32_t residual_bits;
    bool tied, post_norms, qk_norms, head_wide;
    uint32_t vocabulary_len, recipe_len; /* bytes */
    struct asy_exact_layer_shape layer[ASY_EXACT_MAX_LAYERS];
};

/* asy_exact_file_len says how long a model file of this shape is.
 * errors: RANGE, TOO_LONG, UNSUPPORTED the shape is impossible; why says what */
ASY_MUST_USE enum asy_err asy_exact_file_len(uint64_t *ret_len, const struct asy_exact_shape *shape,
                                             struct asy_why *reterr_why);

/* A file being written, in memory of the caller's. */
struct asy_exact_writer;
/* in: file: 64-byte aligned, as long as asy_exact_file_len says, all zero; keeps */
ASY_MUST_USE enum asy_err asy_exact_writer_new(struct asy_exact_writer **ret_writer,
                                               const struct asy_exact_shape *shape, uint8_t *file,
                                               struct asy_why *reterr_why);
/* One row of a linear; layer is ignored for EMBED and HEAD.
 * in:     w: int8[cols] in [-127, 127]; NULL for HEAD when tied
 *         m: 0, or in [2^14, 2^15); bias: ignored where the shape has none
 * Numbers out of range are bugs (asserted). */
void asy_exact_write_row(struct asy_exact_writer *w, enum asy_exact_linear linear, uint32_t layer,
                         uint32_t row, const int8_t *weights, int16_t m, int16_t s, int32_t bias);
/* gain: int32[dim, or head_dim], |gain| < 2^23; eps in [0, 2^58) */
void asy_exact_write_norm(struct asy_exact_writer *w, enum asy_exact_norm norm, uint32_t layer,
                          const int32_t *gain, int64_t eps, int32_t shift);
/* One entry of a rotation table: int32[head_dim] of (cos, sin) in Q30, |x| <= 2^30. Entry e below
 * 256 is position e; entry 256 + c is position 256 * c. */
void asy_exact_write_rope(struct asy_exact_writer *w, uint32_t table, uint32_t entry,
                          const int32_t *pairs);
/* asy_exact_writer_finish writes header, vocabulary, recipe, weights root and checksum, and frees
 * the writer. The caller's memory then is a model file. */
void asy_exact_writer_finish(struct asy_exact_writer *w, const struct asy_hash *source,
                             struct asy_bytes vocabulary, struct asy_bytes recipe,
                             uint32_t threads);

/* ---- kernels --------------------------------------------------------------------------------- */

/* How an operator is computed; never what it computes. */
enum asy_exact_kernel {
    ASY_EXACT_AUTO = 0, /* the best that this machine runs */
    ASY_EXACT_SCALAR,   /* plain C: the specification as code */
    ASY_EXACT_AVX2,
    ASY_EXACT_AVX512, /* with VNNI */
    ASY_EXACT_NEON,   /* with the dot product */
};
/* "auto", "scalar", "avx2", "avx512", "neon" */
const char *asy_exact_kernel_name(enum asy_exact_kernel kernel);
/* errors: NOT_FOUND no such name */
ASY_MUST_USE enum asy_err asy_exact_kernel_parse(enum asy_exact_kernel *ret_kernel,
                                                 struct asy_bytes name);
bool asy_exact_kernel_runs(enum asy_exact_kernel kernel); /* was built in, and this machine can */

/* ---- executor -------------------------------------------------------------------------------- */

struct asy_exact_config {
    enum asy_exact_kernel kernel;
    uint32_t threads;     /* that compute, the caller's own counted; in [1, 64] */
    uint32_t slots;       /* sequences; in [1, 4096] */
    uint32_t context;     /* positions of one slot; in [1, positions of the model] */
    uint32_t rows;        /* most rows of one step; in [1, ASY_EXACT_MAX_ROWS] */
    uint32_t logits_rows; /* most rows of one step whose logits are wanted; in [1, rows] */
};

struct asy_exact;

/* Bytes that an executor takes, the mapped model not counted; 0: the config is impossible. */
uint64_t asy_exact_memory(const struct asy_exact_model *model,
                          const struct asy_exact_config *config);
/* Keeps model. errors: RANGE config (why->param names the field); UNSUPPORTED the kernel does not
 * run here */
ASY_MUST_USE enum asy_err asy_exact_new(struct asy_exact **ret_exact,
                                        const struct asy_exact_model *model,
                                        const struct asy_exact_config *config,
                                        struct asy_why *reterr_why);
void asy_exact_free(struct asy_exact *x); /* NULL is fine */
/* The kernel that AUTO became. */
enum asy_exact_kernel asy_exact_kernel_of(const struct asy_exact *x);
const struct asy_exact_model *asy_exact_model_of(const struct asy_exact *x);
const struct asy_exact_config *asy_exact_config_of(const struct asy_exact *x);

/* One row of a step. */
struct asy_exact_row {
    uint32_t token;
    uint32_t slot;
    uint32_t pos; /* all positions below it were computed, in earlier steps or rows */
    bool logits;  /* wanted */
};

/* asy_exact_step computes rows, in their order. Rows of one slot must come by rising position.
 * out:    ret_logits: int32 [rows that want logits][asy_exact_logits_stride], unit 2^-16, in the
 *         order of the rows; of a row the first `vocab` count; valid until the next step
 * errors: RANGE too many rows or wanted logits, or a token, slot or position out of range; nothing
 *         was computed */
ASY_MUST_USE enum asy_err asy_exact_step(struct asy_exact *x, const int32_t **ret_logits,
                                         const struct asy_exact_row *rows, uint32_t count);

uint32_t asy_exact_logits_stride(const struct asy_exact_model *model); /* vocab, rounded up */

/* Copies the entries of positions [0, count) from one slot to another, within one executor.
 * errors: RANGE */
ASY_MUST_USE enum asy_err asy_exact_copy(struct asy_exact *x, uint32_t to, uint32_t from,
                                         uint32_t count);
/* Bytes of a save of `count` positions: the same for every kernel. */
uint64_t asy_exact_save_len(const struct asy_exact_model *model, uint32_t count);
/* Writes the entries of positions [0, count) to ret, asy_exact_save_len bytes. errors: RANGE */
ASY_MUST_USE enum asy_err asy_exact_save(const struct asy_exact *x, uint8_t *ret, uint32_t slot,
                                         uint32_t count);
/* errors: RANGE; SYNTAX not a save of this model's shape, or an entry out of range */
ASY_MUST_USE enum asy_err asy_exact_restore(struct asy_exact *x, uint32_t slot,
                                            struct asy_bytes save, uint32_t *ret_count);

/* ---- watching -------------------------------------------------------------------------------- */

/* What a step computes on the way, for calibration and measurement. */
enum asy_exact_point {
    ASY_EXACT_AT_RESIDUAL = 0, /* in front of the layer; layer = layers: behind the last */
    /* What a norm gives its linear, before quantisation: 2^7 * gain[i] * x[i] / |x|, where |x| is
     * the length of the vector. For the final norm layer = layers. */
    ASY_EXACT_AT_ATTN_NORM,
    ASY_EXACT_AT_QKV,       /* behind the linear */
    ASY_EXACT_AT_HEADS,     /* the same behind norms and rotation of queries and keys */
    ASY_EXACT_AT_ATTENTION, /* attention's output */
    ASY_EXACT_AT_OUT,       /* in front of the post-norm; only with post_norms */
    ASY_EXACT_AT_FFN_NORM,
    ASY_EXACT_AT_GATE_UP, /* pairs gate, up */
    ASY_EXACT_AT_GATED,
    ASY_EXACT_AT_DOWN, /* as OUT */
    ASY_EXACT_AT_FINAL_NORM,
    ASY_EXACT_AT_LOGITS, /* of rows that want them */
};
/* One row's vector, borrowed for the call.
 * in:     row: of the step; for FINAL_NORM and LOGITS of those that want logits
 *         thread: of the executor's, in [0, threads): calls of one thread never overlap */
typedef void (*asy_exact_watch_fn)(void *arg, enum asy_exact_point point, uint32_t layer,
                                   uint32_t row, const int32_t *values, uint32_t count,
                                   uint32_t thread);

struct asy_exact_watch;
/* From now on steps of x call fn, from all its threads; norms are computed twice. One watch, or one
 * trace, at a time. Keeps x. */
struct asy_exact_watch *asy_exact_watch_new(struct asy_exact *x, asy_exact_watch_fn fn, void *arg);
void asy_exact_watch_free(struct asy_exact_watch *w); /* steps are as before; NULL is fine */

/* ---- trace ----------------------------------------------------------------------------------- */

/* What a node commits to when an answer is challenged: every value between the operators of every
 * position, exact.md section 9. Nothing of it is kept while serving: the job is computed again, and
 * of each position only the root stays; opening a leaf computes its position once more. */
struct asy_exact_job {
    const uint32_t *prompt_ids, *output_ids; /* borrowed; each at least 1, below vocab */
    uint32_t prompt_count, output_count;
    uint32_t first; /* place in the answer of output_ids[0]: so many of the last prompt_ids are the
                     * output of earlier segments, which penalties count; less than prompt_count */
    struct asy_sample_settings sampling;
    const struct asy_sample_bias *bias; /* borrowed; what the settings have the digest of */
    size_t bias_count;
    uint8_t seed[ASY_SAMPLE_SEED_LEN];
};
#define ASY_EXACT_LEAF           128u
#define ASY_EXACT_MAX_TRACE_PATH 42u

struct asy_exact_trace;
/* asy_exact_trace_new computes the job on slot 0 of x, which it keeps and must have to itself.
 * in:     progress: may be NULL; called with positions done and their number
 * errors: RANGE the job is longer than x's context, an id is not below vocab, or the output of
 *         earlier segments is longer than prompt_ids where penalties count it */
ASY_MUST_USE enum asy_err asy_exact_trace_new(struct asy_exact_trace **ret_trace,
                                              struct asy_exact *x, const struct asy_exact_job *job,
                                              void (*progress)(void *arg, uint32_t done,
                                                               uint32_t count),
                                              void *arg, struct asy_why *reterr_why);
void asy_exact_trace_free(struct asy_exact_trace *trace); /* NULL is fine */
void asy_exact_trace_root(const struct asy_exact_trace *trace, struct asy_hash *ret_root);
/* `job` of exact.md 9.5: what a trace is of. Of the job it takes settings and seed.
 * in:     weights: the model's root
 *         output: the receipt's: all ids of prompt and answer (job.h, asy_output_digest) */
void asy_exact_job_hash(struct asy_hash *ret_hash, const struct asy_exact_job *job,
                        const struct asy_hash *weights, const struct asy_hash *output);

/* Bits of a leaf's index: position | layer slot | leaf. */
struct asy_exact_trace_shape {
    uint32_t position_bits, layer_bits, leaf_bits;
};
struct asy_exact_trace_shape asy_exact_trace_shape(const struct asy_exact_model *model,
                                                   uint32_t positions);
/* A leaf and its siblings, from the leaves upwards.
 * out:    ret_path: as many as the three bits together
 * errors: RANGE no such index */
ASY_MUST_USE enum asy_err asy_exact_trace_open(struct asy_exact_trace *trace, uint64_t index,
                                               uint8_t ret_leaf[ASY_EXACT_LEAF],
                                               struct asy_hash ret_path[ASY_EXACT_MAX_TRACE_PATH]);

#endif
