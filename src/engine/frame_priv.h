/* frame_priv.h: length-prefixed messages on the worker's socket: both ends. */
#ifndef ASY_ENGINE_FRAME_PRIV_H
#define ASY_ENGINE_FRAME_PRIV_H

#include "base/base.h"
#include "schema/engine.pb-c.h"

#define ASY_ENGINE_FRAME_HEAD 4u
/* Frames that may wait: one of full size each way, and many small ones. */
#define ASY_ENGINE_QUEUE (2u * ASY_MAX_ENGINE_FRAME)

/* asy_engine_frame_add appends one framed message. errors: TOO_LONG the message, or out is full;
 * out is then unchanged */
ASY_MUST_USE enum asy_err asy_engine_frame_add(struct asy_buf *out,
                                               const ProtobufCMessage *message);

/* asy_engine_frame_next: the first whole frame of in: its content, and the bytes it takes up with
 * its head. errors: AGAIN not all of it is there; TOO_LONG */
ASY_MUST_USE enum asy_err asy_engine_frame_next(struct asy_bytes *ret_content, size_t *ret_len,
                                                struct asy_bytes in);

#endif
