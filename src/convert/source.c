/* source.c: what is in a GGUF file, by family. Whatever the converter does not know stops it: a
 * key of the architecture, or a tensor, that nobody asked for is a feature that would be lost. */
#include "convert/source_priv.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

#include "crypto/crypto.h"

static const struct {
    const char *name;
    bool neox, qk_norms, post_norms, gelu;
} families[] = {
    [FAMILY_LLAMA] = {"llama", false, false, false, false},
    [FAMILY_QWEN2] = {"qwen2", true, false, false, false},
    [FAMILY_QWEN3] = {"qwen3", true, true, false, false},
    [FAMILY_GEMMA3] = {"gemma3", true, true, true, true},
};

enum { NAME = 96 }; /* bytes of a key or tensor name made here */

struct reader {
    struct source *s;
    bool *asked; /* [keys + tensors] */
    struct asy_why *why;
};

/* ---- keys ---- */

/* The name of a key of the architecture; marks it as known. */
static const char *key(struct reader *r, char ret[NAME], const char *rest) {
    const struct asy_gguf_file *g = r->s->gguf;
    (void)snprintf(ret, NAME, "%s.%s", r->s->name, rest);
    for (size_t i = 0; i < asy_gguf_keys(g); i++) {
        if (asy_bytes_eq(asy_gguf_key_at(g, i), asy_bytes_cstr(ret))) {
            r->asked[i] = true;
        }
    }
    return ret;
}

/* preset: NULL where the key must be there. */
static enum asy_err read_u32(struct reader *r, uint32_t *ret, const char *rest,
                             const uint32_t *preset) {
    char name[NAME];
    enum asy_err err = asy_gguf_u32(ret, r->s->gguf, key(r, name, rest));
    if (err == ASY_ERR_NOT_FOUND && preset != NULL) {
        *ret = *preset;
        return ASY_OK;
    }
    return err == ASY_OK
               ? err
               : asy_why_set(r->why, err == ASY_ERR_NOT_FOUND ? ASY_ERR_MISSING : err, name,
                             err == ASY_ERR_NOT_FOUND ? "the file does not say"
                                                      : "no one integer for all "
                                                        "layers");
}

static enum asy_err read_f32(struct reader *r, float *ret, const char *rest, const float *preset) {
    char name[NAME];
    enum asy_err err = asy_gguf_f32(ret, r->s->gguf, key(r, name, rest));
    if (err == ASY_ERR_NOT_FOUND && preset != NULL) {
        *ret = *preset;
        return ASY_OK;
    }
    if (err == ASY_OK && !(fabsf(*ret) <= FLT_MAX)) {
        return asy_why_set(r->why, ASY_ERR_RANGE, name, "not a finite number");
    }
    return err == ASY_OK
               ? err
               : asy_why_set(r->why, err == ASY_ERR_NOT_FOUND ? ASY_ERR_MISSING : err, name,
                             err == ASY_ERR_NOT_FOUND ? "the file does not say" : "not a float");
}

/* A number that changes what is computed, in a way not known here, unless it has this value. */
static enum asy_err expect_u32(struct reader *r, const char *rest, uint32_t value,
                               const char *feature) {
    uint32_t v = 0;
    ASY_TRY(read_u32(r, &v, rest, &value));
    return v == value
               ? ASY_OK
               : asy_why_set(r->why, ASY_ERR_UNSUPPORTED, rest, "%s is not supported", feature);
}
static enum asy_err expect_f32(struct reader *r, const char *rest, float value,
                               const char *feature) {
    float v = 0;
    ASY_TRY(read_f32(r, &v, rest, &value));
    return v == value
               ? ASY_OK
               : asy_why_set(r->why, ASY_ERR_UNSUPPORTED, rest, "%s is not supported", feature);
}

static enum asy_err within(struct reader *r, const char *name, uint32_t value, uint32_t max) {
    return value >= 1 && value <= max
               ? ASY_OK
               : asy_why_set(r->why, ASY_ERR_RANGE, name, "%u is not in [1, %u]", value, max);
}

static enum asy_err read_family(struct reader *r) {
    struct asy_bytes text, type;
    struct source *s = r->s;
    uint32_t splits = 0;
    if (asy_gguf_text(&text, s->gguf, "general.architecture") != ASY_OK) {
        return asy_why_set(r->why, ASY_ERR_MISSING, "general.architecture",
                           "the file does not say what it is");
    }
    if (asy_gguf_text(&type, s->gguf, "general.type") == ASY_OK &&
        !asy_bytes_eq(type, ASY_STR("model"))) {
        return asy_why_set(r->why, ASY_ERR_UNSUPPORTED, "general.type",
                           "a file of type `%.*s` is not a model", (int)(type.n < 40 ? type.n : 40),
                           (const char *)type.p);
    }
    if (asy_gguf_u32(&splits, s->gguf, "split.count") == ASY_OK && splits > 1) {
        return asy_why_set(r->why, ASY_ERR_UNSUPPORTED, "split.count",
                           "one of %u parts: join them first (llama-gguf-split --merge)", splits);
    }
    for (size_t i = 0; i < ASY_COUNT(families); i++) {
        if (asy_bytes_eq(text, asy_bytes_cstr(families[i].name))) {
            s->family = (enum family)i;
            s->name = families[i].name;
            s->neox = families[i].neox;
            s->qk_norms = families[i].qk_norms;
            s->post_norms = families[i].post_norms;
            s->gelu = families[i].gelu;
            return ASY_OK;
        }
    }
    return asy_why_set(r->why, ASY_ERR_UNSUPPORTED, "general.architecture",
                       "`%.*s` is not supported: llama, qwen2, qwen3 and gemma3 are",
                       (int)(text.n < 40 ? text.n : 40), (const char *)text.p);
}

static enum asy_err read_dims(struct reader *r) {
    struct source *s = r->s;
    uint32_t key_len, value_len, rotated, vocab = 0;
    float eps;
    ASY_TRY(read_u32(r, &s->layers, "block_count", NULL));
    ASY_TRY(read_u32(r, &s->dim, "embedding_length", NULL));
    ASY_TRY(read_u32(r, &s->inner, "feed_forward_length", NULL));
    ASY_TRY(read_u32(r, &s->heads, "attention.head_count", NULL));
    ASY_TRY(read_u32(r, &s->kv_heads, "attention.head_count_kv", &s->heads));
    ASY_TRY(read_u32(r, &s->context, "context_length", NULL));
    ASY_TRY(read_u32(r, &vocab, "vocab_size", &vocab));
    ASY_TRY(within(r, "block_count", s->layers, ASY_EXACT_MAX_LAYERS));
    ASY_TRY(within(r, "embedding_length", s->dim, ASY_EXACT_MAX_DIM));
    ASY_TRY(within(r, "feed_forward_length", s->inner, ASY_EXACT_MAX_INNER));
    ASY_TRY(within(r, "attention.head_count", s->heads, ASY_EXACT_MAX_HEADS));
    ASY_TRY(within(r, "attention.head_count_kv", s->kv_heads, s->heads));
    ASY_TRY(within(r, "context_length", s->context, INT32_MAX));
    const uint32_t each = s->dim / s->heads;
    ASY_TRY(read_u32(r, &key_len, "attention.key_length", &each));
    ASY_TRY(read_u32(r, &value_len, "attention.value_length", &each));
    ASY_TRY(read_u32(r, &rotated, "rope.dimension_count", &key_len));
    if (key_len != value_len) {
        return asy_why_set(r->why, ASY_ERR_UNSUPPORTED, "attention.value_length",
                           "values of another length than keys are not supported");
    }
    if (rotated != key_len) {
        return asy_why_set(r->why, ASY_ERR_UNSUPPORTED, "rope.dimension_count",
                           "rotating a part of a head is not supported");
    }
    s->head_dim = key_len;
    ASY_TRY(within(r, "attention.key_length", s->head_dim, ASY_EXACT_MAX_HEAD_DIM));
    ASY_TRY(read_f32(r, &eps, "attention.layer_norm_rms_epsilon", NULL));
    if (!(eps >= 0 && eps < 1)) {
        return asy_why_set(r->why, ASY_ERR_RANGE, "attention.layer_norm_rms_epsilon",
                           "%g is no epsilon", (double)eps);
    }
    s->eps = (double)eps;
    s->embed_scale = s->family == FAMILY_GEMMA3 ? (double)(float)sqrt((double)s->dim) : 1.0;
    bool by_dim = s->family == FAMILY_GEMMA3 && s->layers == 62; /* Gemma 3 27B alone */
    s->query_scale = 1.0 / sqrt((double)(by_dim ? each : s->head_dim));
    return ASY_OK;
}

static enum asy_err read_rope(struct reader *r) {
    struct source *s = r->s;
    const float base = 10000.0f, one = 1.0f;
    struct asy_bytes type = ASY_STR("linear");
    char name[NAME];
    float factor = 0, old = 0;
    uint32_t unused = 0;
    ASY_TRY(read_f32(r, &s->rope_base[0], "rope.freq_base", &base));
    s->rope_base[1] = base;
    if (s->family == FAMILY_GEMMA3) {
        ASY_TRY(read_f32(r, &s->rope_base[1], "rope.freq_base_swa", &base));
    }
    if (asy_gguf_text(&type, s->gguf, key(r, name, "rope.scaling.type")) == ASY_ERR_TYPE) {
        return asy_why_set(r->why, ASY_ERR_TYPE, name, "not a text");
    }
    ASY_TRY(read_f32(r, &old, "rope.scale_linear", &old));
    ASY_TRY(read_f32(r, &factor, "rope.scaling.factor", &old));
    ASY_TRY(expect_f32(r, "rope.scaling.attn_factor", one, "an attention factor of rope scaling"));
    (void)key(r, name, "rope.scaling.finetuned"); /* says something about the past only */
    ASY_TRY(read_u32(r, &unused, "rope.scaling.original_context_length", &unused));
    s->rope_factor[0] = one;
    s->rope_factor[1] = one;
    if (asy_bytes_eq(type, ASY_STR("linear"))) {
        s->rope_factor[0] = factor == 0 ? one : factor;
    } else if (!asy_bytes_eq(type, ASY_STR("none"))) {
        return asy_why_set(r->why, ASY_ERR_UNSUPPORTED, "rope.scaling.type",
                           "rope scaling `%.*s` is not supported: linear and rope_freqs are",
                           (int)(type.n < 40 ? type.n : 40), (const char *)type.p);
    }
    for (int i = 0; i < 2; i++) {
        if (!(s->rope_base[i] >= 1 && s->rope_base[i] < 4294967296.0f) ||
            !(s->rope_factor[i] >= 1.0f / 65536 && s->rope_factor[i] < 65536.0f)) {
            return asy_why_set(r->why, ASY_ERR_RANGE, "rope.freq_base",
                               "base or factor of the rotation is out of range");
        }
    }
    return ASY_OK;
}

/* Gemma: of every `period` layers all but the last have the window. */
static enum asy_err read_window(struct reader *r) {
    struct source *s = r->s;
    const uint32_t none = 0, six = 6;
    struct asy_bytes flags;
    char name[NAME];
    uint32_t period;
    ASY_TRY(read_u32(r, &s->window, "attention.sliding_window", &none));
    (void)key(r, name, "attention.sliding_window_pattern");
    if (s->window == 0) {
        return ASY_OK;
    }
    if (s->family != FAMILY_GEMMA3 && s->window < s->context) {
        return asy_why_set(r->why, ASY_ERR_UNSUPPORTED, "attention.sliding_window",
                           "a window in the %s architecture is not supported", s->name);
    }
    if (s->family != FAMILY_GEMMA3) {
        s->window = 0; /* never reached */
        return ASY_OK;
    }
    if (asy_gguf_bools(&flags, s->gguf, name) == ASY_OK) {
        if (flags.n != s->layers) {
            return asy_why_set(r->why, ASY_ERR_MISMATCH, name, "%zu flags for %u layers", flags.n,
                               s->layers);
        }
        for (uint32_t l = 0; l < s->layers; l++) {
            s->layer[l].window = flags.p[l] != 0;
        }
        return ASY_OK;
    }
    ASY_TRY(read_u32(r, &period, "attention.sliding_window_pattern", &six));
    for (uint32_t l = 0; l < s->layers; l++) {
        s->layer[l].window = period == 0 || l % period < period - 1;
    }
    return ASY_OK;
}

static enum asy_err refuse_features(struct reader *r) {
    ASY_TRY(expect_u32(r, "expert_count", 0, "a mixture of experts"));
    ASY_TRY(expect_u32(r, "expert_used_count", 0, "a mixture of experts"));
    ASY_TRY(expect_u32(r, "nextn_predict_layers", 0, "predicting several tokens"));
    ASY_TRY(expect_f32(r, "final_logit_softcapping", 0, "a soft cap on logits"));
    ASY_TRY(expect_f32(r, "attn_logit_softcapping", 0, "a soft cap on attention"));
    ASY_TRY(expect_f32(r, "logit_scale", 1, "a scale of logits"));
    ASY_TRY(expect_f32(r, "residual_scale", 1, "a scale of the residual"));
    ASY_TRY(expect_f32(r, "embedding_scale", 1, "a scale of the embedding"));
    return expect_f32(r, "attention.clamp_kqv", 0, "clamping of queries and keys");
}

/* ---- tensors ---- */

/* A tensor of so many rows and columns; fused ones are looked at from a row on. */
static enum asy_err tensor(struct reader *r, struct part *ret, const char *name, uint64_t rows,
                           uint64_t cols, bool needed) {
    const struct asy_gguf_file *g = r->s->gguf;
    struct asy_llama_type type;
    for (size_t i = 0; i < asy_gguf_tensors(g); i++) {
        const struct asy_gguf_tensor *t = asy_gguf_tensor_at(g, i);
        if (!asy_bytes_eq(t->name, asy_bytes_cstr(name))) {
            continue;
        }
        r->asked[asy_gguf_keys(g) + i] = true;
        if (t->dim[0] != cols || t->dim[1] != rows || t->dim[2] != 1 || t->dim[3] != 1) {
            return asy_why_set(r->why, ASY_ERR_MISMATCH, name,
                               "%llu x %llu numbers, not %llu x %llu",
                               (unsigned long long)t->dim[1], (unsigned long long)t->dim[0],
                               (unsigned long long)rows, (unsigned long long)cols);
        }
        if (asy_llama_type(r->s->llama, &type, t->type) != ASY_OK) {
            return asy_why_set(r->why, ASY_ERR_UNSUPPORTED, name,
                               "its number format %u is not known to llama.cpp", t->type);
        }
        uint64_t row_len = cols / type.block_count * type.block_len;
        if (cols % type.block_count != 0 || row_len == 0 || t->data.n / row_len < rows) {
            return asy_why_set(r->why, ASY_ERR_SYNTAX, name, "the file is cut off");
        }
        *ret = (struct part){.tensor = t, .first = 0};
        return ASY_OK;
    }
    *ret = (struct part){NULL, 0};
    return needed ? asy_why_set(r->why, ASY_ERR_MISSING, name, "the file has no such tensor")
                  : ASY_OK;
}

static enum asy_err layer_tensor(struct reader *r, struct part *ret, uint32_t layer,
                                 const char *rest, uint64_t rows, uint64_t cols, bool needed) {
    char name[NAME + 32];
    (void)snprintf(name, sizeof name, "blk.%u.%s", layer, rest);
    return tensor(r, ret, name, rows, cols, needed);
}

static enum asy_err linear_tensors(struct reader *r, uint32_t layer, enum source_linear linear,
                                   const char *name, uint64_t rows, uint64_t cols) {
    char full[NAME];
    struct source_layer *y = &r->s->layer[layer];
    (void)snprintf(full, sizeof full, "%s.weight", name);
    ASY_TRY(layer_tensor(r, &y->weight[linear], layer, full, rows, cols, true));
    (void)snprintf(full, sizeof full, "%s.bias", name);
    return layer_tensor(r, &y->bias[linear], layer, full, 1, rows, false);
}

/* Queries, keys and values: one tensor, or three. */
static enum asy_err qkv_tensors(struct reader *r, uint32_t layer, uint32_t queries, uint32_t keys) {
    struct source_layer *y = &r->s->layer[layer];
    struct part all, bias;
    uint32_t rows = queries + 2 * keys, dim = r->s->dim;
    ASY_TRY(layer_tensor(r, &all, layer, "attn_qkv.weight", rows, dim, false));
    if (all.tensor == NULL) {
        ASY_TRY(linear_tensors(r, layer, Q, "attn_q", queries, dim));
        ASY_TRY(linear_tensors(r, layer, K, "attn_k", keys, dim));
        return linear_tensors(r, layer, V, "attn_v", keys, dim);
    }
    ASY_TRY(layer_tensor(r, &bias, layer, "attn_qkv.bias", 1, rows, false));
    const uint32_t first[3] = {0, queries, queries + keys};
    for (int i = Q; i <= V; i++) {
        y->weight[i] = (struct part){all.tensor, first[i]};
        y->bias[i] = (struct part){bias.tensor, first[i]};
    }
    return ASY_OK;
}

static enum asy_err layer_tensors(struct reader *r, uint32_t l) {
    struct source *s = r->s;
    struct source_layer *y = &s->layer[l];
    uint32_t queries = s->heads * s->head_dim, keys = s->kv_heads * s->head_dim;
    ASY_TRY(layer_tensor(r, &y->attn_norm, l, "attn_norm.weight", 1, s->dim, true));
    ASY_TRY(qkv_tensors(r, l, queries, keys));
    if (s->qk_norms) {
        ASY_TRY(layer_tensor(r, &y->q_norm, l, "attn_q_norm.weight", 1, s->head_dim, true));
        ASY_TRY(layer_tensor(r, &y->k_norm, l, "attn_k_norm.weight", 1, s->head_dim, true));
    }
    ASY_TRY(linear_tensors(r, l, OUT, "attn_output", s->dim, queries));
    if (s->post_norms) {
        ASY_TRY(layer_tensor(r, &y->attn_post, l, "post_attention_norm.weight", 1, s->dim, true));
        ASY_TRY(layer_tensor(r, &y->ffn_post, l, "post_ffw_norm.weight", 1, s->dim, true));
    }
    ASY_TRY(layer_tensor(r, &y->ffn_norm, l, "ffn_norm.weight", 1, s->dim, true));
    ASY_TRY(linear_tensors(r, l, GATE, "ffn_gate", s->inner, s->dim));
    ASY_TRY(linear_tensors(r, l, UP, "ffn_up", s->inner, s->dim));
    return linear_tensors(r, l, DOWN, "ffn_down", s->dim, s->inner);
}

static enum asy_err model_tensors(struct reader *r) {
    struct source *s = r->s;
    const struct asy_gguf_file *g = s->gguf;
    uint64_t vocab = 0;
    for (size_t i = 0; i < asy_gguf_tensors(g); i++) {
        const struct asy_gguf_tensor *t = asy_gguf_tensor_at(g, i);
        if (asy_bytes_eq(t->name, ASY_STR("token_embd.weight"))) {
            vocab = t->dim[1];
        }
    }
    ASY_TRY(tensor(r, &s->embed, "token_embd.weight", vocab, s->dim, true));
    if (vocab > ASY_EXACT_MAX_VOCAB) {
        return asy_why_set(r->why, ASY_ERR_UNSUPPORTED, "token_embd.weight",
                           "a vocabulary of %llu tokens: exact/1 has at most %u",
                           (unsigned long long)vocab, ASY_EXACT_MAX_VOCAB);
    }
    s->vocab = (uint32_t)vocab;
    ASY_TRY(tensor(r, &s->head, "output.weight", vocab, s->dim, false));
    s->tied = s->head.tensor == NULL;
    ASY_TRY(tensor(r, &s->final_norm, "output_norm.weight", 1, s->dim, true));
    ASY_TRY(tensor(r, &s->rope_freqs, "rope_freqs.weight", 1, s->head_dim / 2, false));
    for (uint32_t l = 0; l < s->layers; l++) {
        ASY_TRY(layer_tensors(r, l));
    }
    return ASY_OK;
}

/* Nothing of the architecture may be left that was not asked for. */
static enum asy_err check_all_asked(struct reader *r) {
    const struct asy_gguf_file *g = r->s->gguf;
    size_t keys = asy_gguf_keys(g);
    char prefix[NAME];
    (void)snprintf(prefix, sizeof prefix, "%s.", r->s->name);
    for (size_t i = 0; i < keys + asy_gguf_tensors(g); i++) {
        struct asy_bytes name =
            i < keys ? asy_gguf_key_at(g, i) : asy_gguf_tensor_at(g, i - keys)->name;
        char text[NAME];
        (void)snprintf(text, sizeof text, "%.*s", (int)(name.n < 80 ? name.n : 80),
                       (const char *)name.p);
        if (!r->asked[i] && (i >= keys || asy_bytes_starts(name, asy_bytes_cstr(prefix)))) {
            return asy_why_set(r->why, ASY_ERR_UNSUPPORTED, text,
                               "a %s that this converter has no place for",
                               i < keys ? "setting" : "tensor");
        }
    }
    return ASY_OK;
}

static enum asy_err read_all(struct reader *r) {
    struct source *s = r->s;
    ASY_TRY(read_family(r));
    const size_t count = asy_gguf_keys(s->gguf) + asy_gguf_tensors(s->gguf);
    r->asked = asy_alloc(count * sizeof *r->asked);
    ASY_TRY(refuse_features(r));
    ASY_TRY(read_dims(r));
    s->layer = asy_alloc(s->layers * sizeof *s->layer);
    ASY_TRY(read_rope(r));
    ASY_TRY(read_window(r));
    ASY_TRY(model_tensors(r));
    return check_all_asked(r);
}

enum asy_err source_open(struct source *ret_source, const struct asy_llama *llama,
                         struct asy_bytes file, struct asy_why *reterr_why) {
    struct source s = {.llama = llama, .file = file};
    ASY_TRY(asy_gguf_open(&s.gguf, file, reterr_why));
    struct reader r = {.s = &s, .why = reterr_why};
    enum asy_err err = read_all(&r);
    asy_free(r.asked);
    if (err != ASY_OK) {
        source_done(&s);
        return err;
    }
    asy_sha256(&s.sha256, file);
    *ret_source = s;
    return ASY_OK;
}

void source_done(struct source *s) {
    asy_gguf_close(s->gguf);
    asy_free(s->layer);
    *s = (struct source){0};
}

static enum asy_err check_finite(const float *v, uint32_t count, const struct asy_gguf_tensor *t,
                                 struct asy_why *why) {
    for (uint32_t i = 0; i < count; i++) {
        if (!(fabsf(v[i]) <= FLT_MAX)) {
            char name[NAME];
            (void)snprintf(name, sizeof name, "%.*s", (int)(t->name.n < 80 ? t->name.n : 80),
                           (const char *)t->name.p);
            return asy_why_set(why, ASY_ERR_RANGE, name, "a number in it is not finite");
        }
    }
    return ASY_OK;
}

/* Row `row` of a tensor, whole. */
static void floats(const struct source *s, float *ret, const struct asy_gguf_tensor *t,
                   uint64_t row) {
    struct asy_llama_type type;
    enum asy_err err = asy_llama_type(s->llama, &type, t->type);
    ASY_ASSERT(err == ASY_OK && row < t->dim[1]); /* both were when the tensor was found */
    uint64_t row_len = t->dim[0] / type.block_count * type.block_len;
    asy_llama_floats(s->llama, t->type, ret, t->data.p + row * row_len, (size_t)t->dim[0]);
}

enum asy_err source_row(const struct source *s, float *ret, const struct part *p, uint32_t row,
                        struct asy_why *reterr_why) {
    floats(s, ret, p->tensor, (uint64_t)p->first + row);
    return check_finite(ret, (uint32_t)p->tensor->dim[0], p->tensor, reterr_why);
}

enum asy_err source_vector(const struct source *s, float *ret, const struct part *p, uint32_t count,
                           struct asy_why *reterr_why) {
    const struct asy_gguf_tensor *t = p->tensor;
    ASY_ASSERT(p->first + (uint64_t)count <= t->dim[0]);
    float *all = asy_alloc((size_t)t->dim[0] * sizeof *all);
    floats(s, all, t, 0);
    memcpy(ret, all + p->first, count * sizeof *ret);
    asy_free(all);
    return check_finite(ret, count, t, reterr_why);
}
