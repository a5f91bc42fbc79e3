/* Any bytes as the record of a decision: no crash, and a refusal says why. The score and verdict
 * code runs behind it on whatever numbers the record holds. */
#include "match/match.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    struct asy_why why = {{0}, {0}};
    enum asy_err err = asy_match_record_check(asy_bytes_of(data, len), &why);
    ASY_ASSERT(err == ASY_OK || why.text[0] != '\0');
    return 0;
}
