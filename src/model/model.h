/*~ model: what a model is, and where its files are.
 *
 * A **manifest** says which weights, tokenizer and template answer, run by what kind of engine. Its
 * digest is the model's identity: terms name it, the chain registers it, audits recompute by it.
 * The text is canonical JSON (RFC 8785), the digest its SHA-256; docs/protocol/manifest.md is
 * normative.
 *
 * The **store** is a folder of files named by their SHA-256; they get in by a download that can be
 * broken off and resumed, and never before their digest was checked. A **cache** beside it
 * remembers what hashing a model file found, so that a start does not read gigabytes.
 *
 * Manifest functions are pure. Those of files block; no two threads share anything.
 */
#ifndef ASY_MODEL_MODEL_H
#define ASY_MODEL_MODEL_H

#include <limits.h>

#include "base/base.h"
#include "engine/engine.h"

/* ---- manifest -------------------------------------------------------------------------------- */

/* Who computes. Which fields a manifest has depends on it:
 *
 *                             llama.cpp  exact/1   echo/1    remote
 *     files                   1 or more  1 or more none      any
 *     tokenizer, vocabulary   yes        yes       yes       may be
 *     calibration             yes        no        no        may be
 *     weights_root            may be     yes       no        may be */
enum asy_manifest_engine {
    ASY_MANIFEST_LLAMA = 1, /* llama.cpp of a range of versions: floats, audited */
    ASY_MANIFEST_EXACT,     /* the integer executor, version 1 */
    ASY_MANIFEST_ECHO,      /* answers with the prompt: tests and benchmarks */
    ASY_MANIFEST_REMOTE,    /* another server behind the node */
};

struct asy_model_file {
    char name[ASY_MAX_NAME + 1]; /* [A-Za-z0-9._+-], no dot in front: no path */
    uint64_t len;                /* bytes, in [1, 2^53) */
    struct asy_hash sha256;
};

/* Strings are zero-terminated; a label is 1 or more of [A-Za-z0-9._:/+-]. */
struct asy_manifest {
    char name[ASY_MAX_NAME + 1];    /* label: what clients ask for */
    char family[ASY_MAX_NAME + 1];  /* label: the architecture, "llama" */
    char licence[ASY_MAX_NAME + 1]; /* SPDX expression, printable ASCII */
    char quantization[32];          /* label: "Q4_1" */
    enum asy_manifest_engine engine;
    char llama_versions[32];   /* LLAMA: "0.5.0", "0.5-0.7"; see asy_manifest_runs_on */
    uint32_t context;          /* tokens of prompt and answer together, in [1, 2^31) */
    uint32_t vocab_count;      /* token ids, in [1, 2^31); 0: not known */
    struct asy_hash tokenizer; /* as struct asy_gguf says; zero: not known */
    struct asy_hash template;  /* zero: none */
    struct asy_model_file files[ASY_MAX_MODEL_FILES]; /* no name twice; the order counts */
    size_t file_count;
    struct asy_hash weights_root; /* Merkle root over the weights; zero: none */
    /* What changes a float engine's numbers enough for an audit to see. */
    bool has_calibration;
    struct asy_manifest_calibration {
        char backend[17]; /* label: family of what computes, "cpu" */
        bool flash_attention;
        char kv_type[17]; /* label: type of the attention cache, "f16" */
    } calibration;
};

/* Are the fields what the comments above say?
 * errors: SYNTAX, RANGE, MISSING, UNSUPPORTED (a field this engine cannot have), DUPLICATE */
ASY_MUST_USE enum asy_err asy_manifest_check(const struct asy_manifest *m,
                                             struct asy_why *reterr_why);
/* asy_manifest_parse reads a manifest in any JSON spelling. Strict: every field must be known here,
 * present unless optional, and not null, so that the digest of what was read is that of what was
 * sent.
 * errors: as asy_json_parse and asy_manifest_check; VERSION another format; UNKNOWN; TYPE; TOO_LONG
 *         above ASY_MAX_MANIFEST */
ASY_MUST_USE enum asy_err asy_manifest_parse(struct asy_manifest *ret_m, struct asy_bytes in,
                                             struct asy_why *reterr_why);
/* Appends the canonical text. m must pass asy_manifest_check (a bug otherwise). errors: TOO_LONG */
ASY_MUST_USE enum asy_err asy_manifest_format(struct asy_buf *buf, const struct asy_manifest *m);
/* SHA-256 of the canonical text: the model's identity. m as for asy_manifest_format. */
void asy_manifest_digest(struct asy_hash *ret_digest, const struct asy_manifest *m);

/* What a GGUF file does not say about itself, or not reliably. */
struct asy_manifest_options {
    const char *name;
    const char *family; /* NULL: the file's architecture */
    const char *licence;
    const char *llama_versions;
    struct asy_manifest_calibration calibration;
};
/* How this project's llama engine runs a model on CPUs. */
#define ASY_MANIFEST_CPU ((struct asy_manifest_calibration){"cpu", false, "f16"})
/* asy_manifest_from_gguf makes the manifest of a one-file model: for llama.cpp, or for the integer
 * engine (versions and calibration of options then do not matter).
 * in:     gguf: from asy_gguf_read or asy_model_read_gguf
 *         file_name: without folders
 * errors: as asy_manifest_check; UNSUPPORTED a quantization without a known name */
ASY_MUST_USE enum asy_err asy_manifest_from_gguf(struct asy_manifest *ret_m,
                                                 const struct asy_gguf *gguf, const char *file_name,
                                                 const struct asy_manifest_options *options,
                                                 struct asy_why *reterr_why);
/* The manifest of the echo engine. errors: as asy_manifest_check */
ASY_MUST_USE enum asy_err asy_manifest_echo(struct asy_manifest *ret_m, const char *name,
                                            uint32_t context, struct asy_why *reterr_why);
/* Is gguf the manifest's first file (bytes, digest), which describes the model, and does it hold
 * the tokenizer, template, vocabulary and at least the context that the manifest promises? errors:
 * MISSING a manifest without files; MISMATCH, why->param names the field */
ASY_MUST_USE enum asy_err asy_manifest_verify(const struct asy_manifest *m,
                                              const struct asy_gguf *gguf,
                                              struct asy_why *reterr_why);
/* May llama.cpp of this version ("0.5.0": one to three numbers) run the model? A range "A" takes
 * all versions that begin with A, "A-B" all from A to those that begin with B. */
bool asy_manifest_runs_on(const struct asy_manifest *m, const char *version);

/* ---- files ----------------------------------------------------------------------------------- */

/* asy_model_read_gguf is asy_gguf_read that remembers: in cache_dir (made if missing), by path,
 * device, inode, length and times of change. A file that was changed, replaced or moved is read
 * again; so is one changed in the last 2 s, since a further change might not show in its times.
 * in:     path: may be relative; another spelling of it is another entry
 * errors: as asy_gguf_read. A cache that cannot be read or written costs time, and is no error */
ASY_MUST_USE enum asy_err asy_model_read_gguf(struct asy_gguf *ret_gguf, const char *path,
                                              const char *cache_dir, const struct asy_env *env,
                                              struct asy_why *reterr_why);

/* Where the file is in the store, if it is there with its full length.
 * errors: NOT_FOUND; TOO_LONG dir */
ASY_MUST_USE enum asy_err asy_model_store_find(char ret_path[PATH_MAX], const char *dir,
                                               const struct asy_model_file *file);

struct asy_model_fetch {
    const char *dir; /* the store; made if missing, mode 0700 */
    const char *url; /* file, http or https, at most ASY_MAX_URL bytes */
    const struct asy_model_file *file;
    /* Called about once a second and more often when bytes come; false stops. May be NULL. */
    bool (*progress)(void *arg, uint64_t got_len, uint64_t len);
    void *arg;
    uint32_t stall_s;          /* fail when nothing came for so long; 0: 30 */
    const struct asy_env *env; /* its clock measures that; NULL: the system's */
};
/* asy_model_store_fetch downloads a file into the store, or finds it there. What came before a
 * failure is kept beside it as `.part`, and the next call goes on from there; a connection that
 * breaks is made anew at once as long as each brings something. Redirects are followed, but never
 * to file URLs. Loopback hosts are never reached through a proxy.
 * out:    ret_path: in the store
 * errors: MISMATCH other bytes than file says (they are dropped); NOT_FOUND; FORBIDDEN; TIMEOUT;
 *         PEER the connection or server failed; CANCELLED by progress; CONFLICT somebody else is
 *         downloading it; IO; SYNTAX url; TOO_LONG dir or url */
ASY_MUST_USE enum asy_err asy_model_store_fetch(char ret_path[PATH_MAX],
                                                const struct asy_model_fetch *fetch,
                                                struct asy_why *reterr_why);

#endif
