/* verify_priv.h: what the files of this folder share. */
#ifndef ASY_VERIFY_PRIV_H
#define ASY_VERIFY_PRIV_H

#include "codec/codec.h"
#include "verify/verify.h"

enum { VERIFY_AT_LEN = 80 }; /* "segments[15].settlement.leafPath[11]" */

/* An object with these members at most. errors: MISSING, TYPE, UNKNOWN */
ASY_MUST_USE enum asy_err verify_object_of(const struct asy_json *json, const char *at,
                                           const char *const *known, size_t known_count,
                                           struct asy_why *why);

/* record.c: reads request, bias and ids of `record` into ret, copied to arena; what `sampling` says
 * is the caller's. errors: as asy_json_get_str and its like */
ASY_MUST_USE enum asy_err verify_record_read(struct asy_audit_record *ret, struct asy_arena *arena,
                                             const struct asy_json *json, const char *at,
                                             struct asy_why *why);
/* RECORD of a segment, which has one, and whose earlier ones were read. */
void verify_record_check(struct asy_verify_report *r, uint32_t segment);

#endif
