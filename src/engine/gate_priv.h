/* gate_priv.h: from token pieces to text that may be shown.
 *
 * Tokens are pushed with their raw bytes; they come out, ids and text together, once their text is
 * whole UTF-8 and cannot be the beginning of a stop string any more. Bytes that are no UTF-8 become
 * U+FFFD (one per maximal ill-formed part, as the Unicode standard advises in section 3.9).
 * Pure. */
#ifndef ASY_ENGINE_GATE_PRIV_H
#define ASY_ENGINE_GATE_PRIV_H

#include "base/base.h"

struct asy_gate_mark {
    uint32_t end; /* the token's text ends here in `text` ... */
    bool open;    /* ... inside a character: it can only go out together with the next one */
};

struct asy_gate {
    struct asy_buf stop[ASY_MAX_STOPS];
    size_t stop_count;
    uint32_t *id; /* of the tokens held back */
    struct asy_gate_mark *mark;
    size_t count, cap;
    size_t out_count;    /* the first of them, ready to be taken */
    struct asy_buf text; /* of the held tokens, clean */
    size_t out_len;
    uint8_t tail[4]; /* an unfinished character behind text */
    size_t tail_len;
    bool stopped;
};

/* in: stops: at most ASY_MAX_STOPS, none empty; copied */
void asy_gate_init(struct asy_gate *gate, const struct asy_bytes *stops, size_t stop_count);
void asy_gate_done(struct asy_gate *gate);

/* asy_gate_push adds a token. Returns true when a stop string appeared: the text before it and all
 * ids are then ready, and nothing more may be pushed. What was ready before must have been
 * taken. */
bool asy_gate_push(struct asy_gate *gate, uint32_t id, struct asy_bytes piece);
/* asy_gate_flush makes everything ready: no more tokens come. */
void asy_gate_flush(struct asy_gate *gate);

/* What is ready: gate->id[0, out_count) and text[0, out_len). asy_gate_take drops it. */
void asy_gate_take(struct asy_gate *gate);

#endif
