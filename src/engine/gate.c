#include "engine/engine.h"
#include "engine/gate_priv.h"

/* A gate holds at most the tokens of one answer, of which all but a few stop strings' length went
 * out already; a piece is at most a few hundred bytes in any vocabulary. */
#define GATE_TEXT (4u * 1024u * 1024u)

void asy_gate_init(struct asy_gate *gate, const struct asy_bytes *stops, size_t stop_count) {
    ASY_ASSERT(stop_count <= ASY_MAX_STOPS);
    *gate = (struct asy_gate){.stop_count = stop_count};
    for (size_t i = 0; i < stop_count; i++) {
        ASY_ASSERT(stops[i].n > 0);
        asy_buf_init(&gate->stop[i], ASY_MAX_STOP_LEN);
        enum asy_err err = asy_buf_add_bytes(&gate->stop[i], stops[i]);
        ASY_ASSERT(err == ASY_OK);
    }
    asy_buf_init(&gate->text, GATE_TEXT);
}

void asy_gate_done(struct asy_gate *gate) {
    for (size_t i = 0; i < gate->stop_count; i++) {
        asy_buf_done(&gate->stop[i]);
    }
    asy_free(gate->id);
    asy_free(gate->mark);
    asy_buf_done(&gate->text);
    *gate = (struct asy_gate){0};
}

/* How the bytes at p begin: a whole character (> 0: its length), one cut off by the end (0), or
 * nothing a character can begin with (< 0: the length of the ill-formed part). */
static int look_at(const uint8_t *p, size_t n) {
    uint8_t lead = p[0];
    int need = lead < 0x80   ? 1
               : lead < 0xc2 ? 0
               : lead < 0xe0 ? 2
               : lead < 0xf0 ? 3
               : lead < 0xf5 ? 4
                             : 0;
    if (need <= 1) {
        return need == 1 ? 1 : -1;
    }
    /* the second byte's range excludes overlong forms, surrogates and what is above U+10FFFF */
    uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    for (int i = 1; i < need; i++) {
        if ((size_t)i == n) {
            return 0;
        }
        if (p[i] < low || p[i] > high) {
            return -i;
        }
        low = 0x80;
        high = 0xbf;
    }
    return need;
}

static void add_text(struct asy_gate *gate, const void *p, size_t len) {
    enum asy_err err = asy_buf_add(&gate->text, p, len);
    ASY_ASSERT(err == ASY_OK); /* GATE_TEXT */
}

static void add_piece(struct asy_gate *gate, struct asy_bytes piece) {
    size_t at = 0;
    while (at < piece.n || gate->tail_len > 0) {
        uint8_t c[8];
        size_t old = gate->tail_len;
        size_t more = piece.n - at < 4 - old ? piece.n - at : 4 - old;
        if (old == 0) { /* the common case: a run of plain ASCII */
            size_t run = at;
            while (run < piece.n && piece.p[run] < 0x80) {
                run++;
            }
            if (run > at) {
                add_text(gate, piece.p + at, run - at);
                at = run;
                continue;
            }
        }
        memcpy(c, gate->tail, old);
        memcpy(c + old, piece.p + at, more);
        int kind = look_at(c, old + more);
        if (kind == 0) {
            memcpy(gate->tail, c, old + more);
            gate->tail_len = old + more;
            return;
        }
        size_t used = (size_t)(kind > 0 ? kind : -kind);
        if (kind > 0) {
            add_text(gate, c, used);
        } else {
            add_text(gate, "\xef\xbf\xbd", 3);
        }
        /* the tail was the valid beginning of a character, so what was taken covers it */
        ASY_ASSERT(used >= old);
        gate->tail_len = 0;
        at += used - old;
    }
}

/* Where the first stop string begins in the text, or the text's length. */
static size_t find_stop(const struct asy_gate *gate) {
    size_t first = gate->text.n;
    for (size_t i = 0; i < gate->stop_count; i++) {
        const struct asy_buf *stop = &gate->stop[i];
        const uint8_t *at =
            gate->text.n >= stop->n ? memmem(gate->text.p, gate->text.n, stop->p, stop->n) : NULL;
        if (at != NULL && (size_t)(at - gate->text.p) < first) {
            first = (size_t)(at - gate->text.p);
        }
    }
    return first;
}

/* How many bytes at the end of the text are the beginning of a stop string. */
static size_t partial_stop(const struct asy_gate *gate) {
    size_t longest = 0;
    for (size_t i = 0; i < gate->stop_count; i++) {
        const struct asy_buf *stop = &gate->stop[i];
        size_t len = stop->n - 1 < gate->text.n ? stop->n - 1 : gate->text.n;
        for (; len > longest; len--) {
            if (memcmp(gate->text.p + gate->text.n - len, stop->p, len) == 0) {
                longest = len;
            }
        }
    }
    return longest;
}

bool asy_gate_push(struct asy_gate *gate, uint32_t id, struct asy_bytes piece) {
    ASY_ASSERT(!gate->stopped && gate->out_count == 0);
    add_piece(gate, piece);
    if (gate->count == gate->cap) {
        gate->cap = gate->cap == 0 ? 8 : 2 * gate->cap;
        gate->id = asy_realloc(gate->id, gate->cap * sizeof *gate->id);
        gate->mark = asy_realloc(gate->mark, gate->cap * sizeof *gate->mark);
    }
    gate->id[gate->count] = id;
    gate->mark[gate->count++] =
        (struct asy_gate_mark){.end = (uint32_t)gate->text.n, .open = gate->tail_len > 0};

    size_t stop_at = find_stop(gate);
    if (stop_at < gate->text.n) {
        gate->stopped = true;
        gate->out_count = gate->count;
        gate->out_len = stop_at;
        return true;
    }
    size_t sure = gate->text.n - partial_stop(gate);
    for (size_t i = gate->count; i > 0; i--) {
        if (!gate->mark[i - 1].open && gate->mark[i - 1].end <= sure) {
            gate->out_count = i;
            gate->out_len = gate->mark[i - 1].end;
            break;
        }
    }
    return false;
}

void asy_gate_flush(struct asy_gate *gate) {
    if (gate->stopped) {
        return;
    }
    if (gate->tail_len > 0) {
        add_text(gate, "\xef\xbf\xbd", 3);
        gate->tail_len = 0;
    }
    gate->stopped = true;
    gate->out_count = gate->count;
    gate->out_len = gate->text.n;
}

void asy_gate_take(struct asy_gate *gate) {
    if (gate->out_count == 0) {
        return;
    }
    if (gate->stopped) {
        gate->out_len = gate->text.n; /* what follows a stop string goes too */
    }
    gate->count -= gate->out_count;
    memmove(gate->id, gate->id + gate->out_count, gate->count * sizeof *gate->id);
    memmove(gate->mark, gate->mark + gate->out_count, gate->count * sizeof *gate->mark);
    for (size_t i = 0; i < gate->count; i++) {
        gate->mark[i].end -= (uint32_t)gate->out_len;
    }
    asy_buf_consume(&gate->text, gate->out_len);
    gate->out_count = 0;
    gate->out_len = 0;
}

size_t asy_engine_stop_at(const struct asy_bytes *stops, size_t stop_count, const uint32_t *ids,
                          size_t count, asy_engine_piece_fn piece, void *arg) {
    struct asy_gate gate;
    size_t at = 0;
    asy_gate_init(&gate, stops, stop_count);
    for (; at < count; at++) {
        char text[ASY_ENGINE_PIECE_MAX];
        size_t len = piece(arg, text, ids[at]);
        if (asy_gate_push(&gate, ids[at], asy_bytes_of(text, len))) {
            break;
        }
        asy_gate_take(&gate);
    }
    asy_gate_done(&gate);
    return at;
}
