/* model_priv.h: shared inside src/model. */
#ifndef ASY_MODEL_PRIV_H
#define ASY_MODEL_PRIV_H

#include "model/model.h"

/* What must be the same for a file to be the one that was hashed. */
struct model_stamp {
    uint64_t device, inode, len;
    uint64_t modified_ns, changed_ns; /* the second cannot be set by programs */
};

/* A cache entry is one JSON object: path, stamp, and what asy_gguf_read found. */
#define MODEL_CACHE_MAX 8192u /* bytes of an entry */
enum asy_err model_cache_format(struct asy_buf *buf, const char *path,
                                const struct model_stamp *stamp, const struct asy_gguf *gguf);
/* errors: SYNTAX and others: no entry; MISMATCH of another file, or another state of it */
enum asy_err model_cache_parse(struct asy_gguf *ret_gguf, struct asy_bytes in, const char *path,
                               const struct model_stamp *stamp);

#endif
