/* evm_priv.h: shared inside src/evm. */
#ifndef ASY_EVM_PRIV_H
#define ASY_EVM_PRIV_H

#include "evm/evm.h"

/* Room for the parameters of any request but those with calldata in them. */
#define EVM_MAX_PARAMS 4096u
/* Bytes of return data that a view of Assay's contracts may give. */
#define EVM_MAX_VIEW 65536u

/* Reads the body of a JSON-RPC response with id `id`.
 * out:    ret_doc, ret_result: as asy_evm_request
 *         failure: code, message and data are filled in when the answer is an error
 * errors: CHAIN no JSON-RPC response, or an error; REVERTED the error of a reverted call */
enum asy_err evm_response_parse(struct asy_json **ret_doc, const struct asy_json **ret_result,
                                struct asy_evm_failure *failure, struct asy_bytes body, uint64_t id,
                                struct asy_why *reterr_why);

/* JSON of the endpoint to values. errors: CHAIN it is no such thing; TOO_LONG the arena is full */
enum asy_err evm_block_parse(struct asy_evm_block *ret_block, const struct asy_json *v,
                             struct asy_why *reterr_why);
enum asy_err evm_logs_parse(struct asy_evm_logs *ret_logs, struct asy_arena *arena,
                            const struct asy_json *v, struct asy_why *reterr_why);
/* arena NULL: logs are left out */
enum asy_err evm_receipt_parse(struct asy_evm_receipt *ret_receipt, struct asy_arena *arena,
                               const struct asy_json *v, struct asy_why *reterr_why);

/* After CHAIN: whether no JSON-RPC answer came at all, rather than a refusal. */
bool evm_is_unreachable(const struct asy_evm *evm);
/* One request whose result is a quantity. */
enum asy_err evm_request_u128(struct asy_evm *evm, asy_u128 *ret_value, const char *method,
                              struct asy_bytes params, struct asy_why *reterr_why);
/* One request whose result does not matter. */
enum asy_err evm_request_only(struct asy_evm *evm, const char *method, struct asy_bytes params,
                              struct asy_why *reterr_why);
/* eth_call at block `number` for the reason of a transaction that was reverted there: fills why,
 * returns REVERTED. */
enum asy_err evm_revert_reason(struct asy_evm *evm, const struct asy_addr *from,
                               const struct asy_evm_tx *tx, uint64_t number,
                               struct asy_why *reterr_why);

/* ---- artifacts.c ---- */

/* Finds the custom error with this selector among all contracts.
 * out:    ret_text: "TooEarly(from: 1700000000)"; args: what follows the selector
 * Returns false when there is none, or its arguments do not decode. */
bool evm_error_text(char *ret_text, size_t cap, const uint8_t selector[4], struct asy_bytes args);

#endif
