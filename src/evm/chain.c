/* chain.c: typed questions to an endpoint, and the JSON of its answers. */
#include "evm/evm_priv.h"

static enum asy_err odd(struct asy_why *reterr_why, const char *what) {
    return asy_why_set(reterr_why, ASY_ERR_CHAIN, NULL, "the endpoint sent a malformed %s", what);
}

/* ---- values ---- */

static enum asy_err get_hash(struct asy_hash *ret, const struct asy_json *obj, const char *key) {
    struct asy_bytes text;
    ASY_TRY(asy_json_str(&text, asy_json_get(obj, key)));
    return asy_hash_parse(ret, text);
}

static enum asy_err get_addr(struct asy_addr *ret, const struct asy_json *obj, const char *key) {
    struct asy_bytes text;
    ASY_TRY(asy_json_str(&text, asy_json_get(obj, key)));
    return asy_0x_decode(
        ret->b, sizeof ret->b,
        text); /* not asy_addr_parse: some servers send other checksums than EIP-55 */
}

static enum asy_err get_u64(uint64_t *ret, const struct asy_json *obj, const char *key) {
    struct asy_bytes text;
    ASY_TRY(asy_json_str(&text, asy_json_get(obj, key)));
    return asy_quantity_parse_u64(ret, text);
}

static enum asy_err get_u128(asy_u128 *ret, const struct asy_json *obj, const char *key) {
    struct asy_bytes text;
    ASY_TRY(asy_json_str(&text, asy_json_get(obj, key)));
    return asy_quantity_parse_u128(ret, text);
}

static enum asy_err block_fields(struct asy_evm_block *b, const struct asy_json *v) {
    ASY_TRY(get_u64(&b->number, v, "number"));
    ASY_TRY(get_hash(&b->hash, v, "hash"));
    ASY_TRY(get_hash(&b->parent, v, "parentHash"));
    ASY_TRY(get_u64(&b->time_s, v, "timestamp"));
    ASY_TRY(get_u64(&b->gas_limit, v, "gasLimit"));
    if (asy_json_get(v, "baseFeePerGas") != NULL) { /* chains before EIP-1559 have none: zero */
        ASY_TRY(get_u128(&b->base_fee_wei, v, "baseFeePerGas"));
    }
    return ASY_OK;
}

enum asy_err evm_block_parse(struct asy_evm_block *ret_block, const struct asy_json *v,
                             struct asy_why *reterr_why) {
    struct asy_evm_block b = {0};
    if (block_fields(&b, v) != ASY_OK) {
        return odd(reterr_why, "block");
    }
    *ret_block = b;
    return ASY_OK;
}

static enum asy_err topics_parse(struct asy_evm_log *log, const struct asy_json *v) {
    size_t count = asy_json_len(v);
    if (v == NULL || asy_json_type(v) != ASY_JSON_ARRAY || count > ASY_COUNT(log->topics)) {
        return ASY_ERR_TYPE;
    }
    for (size_t i = 0; i < count; i++) {
        struct asy_bytes text;
        ASY_TRY(asy_json_str(&text, asy_json_at(v, i)));
        ASY_TRY(asy_hash_parse(&log->topics[i], text));
    }
    log->topic_count = (uint8_t)count;
    return ASY_OK;
}

static enum asy_err log_fields(struct asy_evm_log *log, struct asy_arena *arena,
                               const struct asy_json *v) {
    struct asy_bytes text;
    uint64_t index;
    ASY_TRY(get_addr(&log->address, v, "address"));
    ASY_TRY(topics_parse(log, asy_json_get(v, "topics")));
    ASY_TRY(get_u64(&log->block_number, v, "blockNumber"));
    ASY_TRY(get_hash(&log->block_hash, v, "blockHash"));
    ASY_TRY(get_hash(&log->tx_hash, v, "transactionHash"));
    ASY_TRY(get_u64(&index, v, "logIndex"));
    if (index > UINT32_MAX) {
        return ASY_ERR_RANGE;
    }
    log->index = (uint32_t)index;
    ASY_TRY(asy_json_str(&text, asy_json_get(v, "data")));
    size_t len = text.n < 2 ? 0 : (text.n - 2) / 2;
    uint8_t *data = asy_arena_alloc(arena, len + 1);
    if (data == NULL) {
        return ASY_ERR_TOO_LONG;
    }
    ASY_TRY(asy_0x_decode(data, len, text));
    log->data = asy_bytes_of(data, len);
    return ASY_OK;
}

/* Appends the logs of v behind those that logs has. */
static enum asy_err logs_add(struct asy_evm_logs *logs, struct asy_arena *arena,
                             const struct asy_json *v, struct asy_why *reterr_why) {
    if (v == NULL || asy_json_type(v) != ASY_JSON_ARRAY) {
        return odd(reterr_why, "list of logs");
    }
    size_t count = logs->count + asy_json_len(v);
    if (count == 0) {
        return ASY_OK;
    }
    struct asy_evm_log *items = asy_arena_alloc(arena, count * sizeof *items);
    if (items == NULL) {
        return asy_why_set(reterr_why, ASY_ERR_TOO_LONG, NULL,
                           "more logs than fit into memory given for them");
    }
    if (logs->count > 0) {
        memcpy(items, logs->items, logs->count * sizeof *items);
    }
    for (size_t i = logs->count; i < count; i++) {
        enum asy_err err = log_fields(&items[i], arena, asy_json_at(v, i - logs->count));
        if (err == ASY_ERR_TOO_LONG) {
            return asy_why_set(reterr_why, err, NULL,
                               "more logs than fit into memory given for them");
        }
        if (err != ASY_OK) {
            return odd(reterr_why, "log");
        }
    }
    *logs = (struct asy_evm_logs){items, count};
    return ASY_OK;
}

enum asy_err evm_logs_parse(struct asy_evm_logs *ret_logs, struct asy_arena *arena,
                            const struct asy_json *v, struct asy_why *reterr_why) {
    struct asy_evm_logs logs = {0};
    ASY_TRY(logs_add(&logs, arena, v, reterr_why));
    *ret_logs = logs;
    return ASY_OK;
}

static enum asy_err receipt_fields(struct asy_evm_receipt *r, const struct asy_json *v) {
    uint64_t status;
    ASY_TRY(get_hash(&r->tx_hash, v, "transactionHash"));
    ASY_TRY(get_hash(&r->block_hash, v, "blockHash"));
    ASY_TRY(get_u64(&r->block_number, v, "blockNumber"));
    ASY_TRY(get_u64(&status, v, "status"));
    ASY_TRY(get_u64(&r->gas_used, v, "gasUsed"));
    ASY_TRY(get_u128(&r->gas_price_wei, v, "effectiveGasPrice"));
    r->ok = status == 1;
    if (!asy_json_is_null(asy_json_get(v, "contractAddress"))) {
        ASY_TRY(get_addr(&r->contract, v, "contractAddress"));
    }
    return ASY_OK;
}

enum asy_err evm_receipt_parse(struct asy_evm_receipt *ret_receipt, struct asy_arena *arena,
                               const struct asy_json *v, struct asy_why *reterr_why) {
    struct asy_evm_receipt r = {0};
    if (receipt_fields(&r, v) != ASY_OK) {
        return odd(reterr_why, "receipt");
    }
    if (arena != NULL) {
        ASY_TRY(logs_add(&r.logs, arena, asy_json_get(v, "logs"), reterr_why));
    }
    *ret_receipt = r;
    return ASY_OK;
}

/* ---- parameters ---- */

/* A buffer on the stack of the caller: begin, put values, end. */
struct params {
    struct asy_buf buf;
    struct asy_jw w;
};

static void params_begin(struct params *p, size_t max_len) {
    asy_buf_init(&p->buf, max_len);
    asy_jw_init(&p->w, &p->buf);
    asy_jw_array(&p->w);
}

static enum asy_err params_end(struct params *p, struct asy_bytes *ret_json) {
    asy_jw_end(&p->w);
    ASY_TRY(asy_jw_finish(&p->w));
    *ret_json = asy_buf_bytes(&p->buf);
    return ASY_OK;
}

static void params_done(struct params *p) { asy_buf_done(&p->buf); }

static enum asy_err narrow(uint64_t *ret, asy_u128 v, enum asy_err err, const char *what,
                           struct asy_why *reterr_why) {
    if (err != ASY_OK) {
        return err;
    }
    if (v > UINT64_MAX) {
        return odd(reterr_why, what);
    }
    *ret = (uint64_t)v;
    return ASY_OK;
}

/* Sends a request with parameters that were put into p, and ends p. */
static enum asy_err ask(struct asy_evm *evm, struct asy_json **ret_doc,
                        const struct asy_json **ret_result, const char *method, struct params *p,
                        struct asy_why *reterr_why) {
    struct asy_bytes json;
    enum asy_err err = params_end(p, &json);
    if (err == ASY_OK) {
        err = asy_evm_request(evm, ret_doc, ret_result, method, json, reterr_why);
    }
    params_done(p);
    return err;
}

static enum asy_err ask_u128(struct asy_evm *evm, asy_u128 *ret, const char *method,
                             struct params *p, struct asy_why *reterr_why) {
    struct asy_bytes json;
    enum asy_err err = params_end(p, &json);
    if (err == ASY_OK) {
        err = evm_request_u128(evm, ret, method, json, reterr_why);
    }
    params_done(p);
    return err;
}

/* ---- questions ---- */

enum asy_err asy_evm_get_chain_id(struct asy_evm *evm, uint64_t *ret_chain_id,
                                  struct asy_why *reterr_why) {
    asy_u128 v = 0;
    enum asy_err err = evm_request_u128(evm, &v, "eth_chainId", ASY_STR("[]"), reterr_why);
    return narrow(ret_chain_id, v, err, "chain id", reterr_why);
}

enum asy_err asy_evm_get_block_number(struct asy_evm *evm, uint64_t *ret_number,
                                      struct asy_why *reterr_why) {
    asy_u128 v = 0;
    enum asy_err err = evm_request_u128(evm, &v, "eth_blockNumber", ASY_STR("[]"), reterr_why);
    return narrow(ret_number, v, err, "block number", reterr_why);
}

static enum asy_err get_block(struct asy_evm *evm, struct asy_evm_block *ret_block,
                              const char *name, struct asy_why *reterr_why) {
    struct params p;
    struct asy_json *doc;
    const struct asy_json *result;
    params_begin(&p, EVM_MAX_PARAMS);
    asy_jw_cstr(&p.w, name);
    asy_jw_bool(&p.w, false); /* transactions: their hashes only */
    ASY_TRY(ask(evm, &doc, &result, "eth_getBlockByNumber", &p, reterr_why));
    enum asy_err err = asy_json_is_null(result) ? asy_why_set(reterr_why, ASY_ERR_NOT_FOUND, NULL,
                                                              "there is no block %s", name)
                                                : evm_block_parse(ret_block, result, reterr_why);
    asy_json_free(doc);
    return err;
}

enum asy_err asy_evm_get_block(struct asy_evm *evm, struct asy_evm_block *ret_block,
                               uint64_t number, struct asy_why *reterr_why) {
    char name[ASY_QUANTITY_TEXT];
    asy_quantity_format_u64(name, number);
    struct asy_evm_block block;
    ASY_TRY(get_block(evm, &block, name, reterr_why));
    if (block.number != number) {
        return odd(reterr_why, "block: another number than asked for");
    }
    *ret_block = block;
    return ASY_OK;
}

enum asy_err asy_evm_get_block_tag(struct asy_evm *evm, struct asy_evm_block *ret_block,
                                   enum asy_evm_tag tag, struct asy_why *reterr_why) {
    static const char *const names[] = {"latest", "safe", "finalized"};
    static const uint64_t depths[] = {0, ASY_EVM_SAFE_DEPTH, ASY_EVM_FINALIZED_DEPTH};
    enum asy_err err = get_block(evm, ret_block, names[tag], reterr_why);
    if (tag == ASY_EVM_LATEST || (err != ASY_ERR_NOT_FOUND && err != ASY_ERR_CHAIN) ||
        (err == ASY_ERR_CHAIN && evm_is_unreachable(evm))) {
        return err;
    }
    uint64_t head;
    ASY_TRY(asy_evm_get_block_number(evm, &head, reterr_why));
    return asy_evm_get_block(evm, ret_block, head > depths[tag] ? head - depths[tag] : 0,
                             reterr_why);
}

enum asy_err asy_evm_get_balance(struct asy_evm *evm, asy_u128 *ret_wei,
                                 const struct asy_addr *addr, struct asy_why *reterr_why) {
    struct params p;
    params_begin(&p, EVM_MAX_PARAMS);
    asy_jw_addr(&p.w, addr);
    asy_jw_cstr(&p.w, "latest");
    return ask_u128(evm, ret_wei, "eth_getBalance", &p, reterr_why);
}

enum asy_err asy_evm_get_nonce(struct asy_evm *evm, uint64_t *ret_nonce,
                               const struct asy_addr *addr, bool pending,
                               struct asy_why *reterr_why) {
    struct params p;
    asy_u128 v = 0;
    params_begin(&p, EVM_MAX_PARAMS);
    asy_jw_addr(&p.w, addr);
    asy_jw_cstr(&p.w, pending ? "pending" : "latest");
    enum asy_err err = ask_u128(evm, &v, "eth_getTransactionCount", &p, reterr_why);
    return narrow(ret_nonce, v, err, "nonce", reterr_why);
}

enum asy_err asy_evm_get_code_len(struct asy_evm *evm, size_t *ret_len, const struct asy_addr *addr,
                                  struct asy_why *reterr_why) {
    struct params p;
    struct asy_json *doc;
    const struct asy_json *result;
    struct asy_bytes text;
    params_begin(&p, EVM_MAX_PARAMS);
    asy_jw_addr(&p.w, addr);
    asy_jw_cstr(&p.w, "latest");
    ASY_TRY(ask(evm, &doc, &result, "eth_getCode", &p, reterr_why));
    enum asy_err err =
        asy_json_str(&text, result) == ASY_OK && text.n >= 2 ? ASY_OK : odd(reterr_why, "code");
    if (err == ASY_OK) {
        *ret_len = (text.n - 2) / 2;
    }
    asy_json_free(doc);
    return err;
}

/* The call object of eth_call and eth_estimateGas. */
static void put_call(struct asy_jw *w, const struct asy_addr *from, const struct asy_addr *to,
                     asy_u128 value_wei, struct asy_bytes data) {
    char value[ASY_QUANTITY_TEXT];
    asy_quantity_format_u128(value, value_wei);
    asy_jw_object(w);
    if (from != NULL) {
        asy_jw_kv_addr(w, "from", from);
    }
    if (to != NULL) {
        asy_jw_kv_addr(w, "to", to);
    }
    asy_jw_kv_cstr(w, "value", value);
    asy_jw_key(w, "data");
    asy_jw_hex(w, data);
    asy_jw_end(w);
}

static enum asy_err call_at(struct asy_evm *evm, struct asy_buf *ret_data,
                            const struct asy_addr *from, const struct asy_addr *to,
                            asy_u128 value_wei, struct asy_bytes data, const char *block,
                            struct asy_why *reterr_why) {
    struct params p;
    struct asy_json *doc;
    const struct asy_json *result;
    struct asy_bytes text;
    params_begin(&p, ASY_MAX_RPC_BODY);
    put_call(&p.w, from, to, value_wei, data);
    asy_jw_cstr(&p.w, block);
    ASY_TRY(ask(evm, &doc, &result, "eth_call", &p, reterr_why));
    enum asy_err err = asy_json_str(&text, result);
    if (err == ASY_OK) {
        err = asy_0x_decode_buf(ret_data, text);
    }
    asy_json_free(doc);
    return err == ASY_OK || err == ASY_ERR_TOO_LONG ? err : odd(reterr_why, "call result");
}

enum asy_err asy_evm_call(struct asy_evm *evm, struct asy_buf *ret_data,
                          const struct asy_addr *from, const struct asy_addr *to,
                          struct asy_bytes calldata, struct asy_why *reterr_why) {
    return call_at(evm, ret_data, from, to, 0, calldata, "latest", reterr_why);
}

enum asy_err evm_revert_reason(struct asy_evm *evm, const struct asy_addr *from,
                               const struct asy_evm_tx *tx, uint64_t number,
                               struct asy_why *reterr_why) {
    char block[ASY_QUANTITY_TEXT];
    struct asy_buf data;
    asy_quantity_format_u64(block, number);
    asy_buf_init(&data, EVM_MAX_VIEW);
    enum asy_err err = call_at(evm, &data, from, tx->create ? NULL : &tx->to, tx->value_wei,
                               tx->data, block, reterr_why);
    asy_buf_done(&data);
    if (err == ASY_ERR_REVERTED) {
        return err;
    }
    return asy_why_set(reterr_why, ASY_ERR_REVERTED, NULL,
                       "the transaction was reverted in block %llu; the reason is not known",
                       (unsigned long long)number);
}

enum asy_err asy_evm_estimate_gas(struct asy_evm *evm, uint64_t *ret_gas,
                                  const struct asy_addr *from, const struct asy_addr *to,
                                  asy_u128 value_wei, struct asy_bytes data,
                                  struct asy_why *reterr_why) {
    struct params p;
    asy_u128 v = 0;
    params_begin(&p, ASY_MAX_RPC_BODY);
    put_call(&p.w, from, to, value_wei, data);
    enum asy_err err = ask_u128(evm, &v, "eth_estimateGas", &p, reterr_why);
    return narrow(ret_gas, v, err, "gas estimate", reterr_why);
}

enum asy_err asy_evm_suggest_fees(struct asy_evm *evm, struct asy_evm_fees *ret_fees,
                                  struct asy_why *reterr_why) {
    asy_u128 tip, base;
    struct asy_json *doc;
    const struct asy_json *result;
    ASY_TRY(evm_request_u128(evm, &tip, "eth_maxPriorityFeePerGas", ASY_STR("[]"), reterr_why));
    ASY_TRY(asy_evm_request(evm, &doc, &result, "eth_feeHistory",
                            ASY_STR("[\"0x1\",\"latest\",[]]"), reterr_why));
    /* The list ends with the base fee of the block that comes next. */
    const struct asy_json *list = asy_json_get(result, "baseFeePerGas");
    struct asy_bytes text;
    enum asy_err err = asy_json_len(list) == 0
                           ? ASY_ERR_TYPE
                           : asy_json_str(&text, asy_json_at(list, asy_json_len(list) - 1));
    if (err == ASY_OK) {
        err = asy_quantity_parse_u128(&base, text);
    }
    asy_json_free(doc);
    asy_u128 max;
    if (err != ASY_OK || !asy_mul_u128(&max, base, 2) || !asy_add_u128(&max, max, tip)) {
        return odd(reterr_why, "fee history");
    }
    *ret_fees = (struct asy_evm_fees){.tip_wei = tip, .max_wei = max};
    return ASY_OK;
}

enum asy_err asy_evm_get_receipt(struct asy_evm *evm, struct asy_evm_receipt *ret_receipt,
                                 struct asy_arena *arena, const struct asy_hash *tx_hash,
                                 struct asy_why *reterr_why) {
    struct params p;
    struct asy_json *doc;
    const struct asy_json *result;
    params_begin(&p, EVM_MAX_PARAMS);
    asy_jw_hash(&p.w, tx_hash);
    ASY_TRY(ask(evm, &doc, &result, "eth_getTransactionReceipt", &p, reterr_why));
    enum asy_err err =
        asy_json_is_null(result)
            ? asy_why_set(reterr_why, ASY_ERR_NOT_FOUND, NULL, "the transaction is not mined")
            : evm_receipt_parse(ret_receipt, arena, result, reterr_why);
    asy_json_free(doc);
    return err;
}

enum asy_err asy_evm_tx_known(struct asy_evm *evm, bool *ret_known, const struct asy_hash *tx_hash,
                              struct asy_why *reterr_why) {
    struct params p;
    struct asy_json *doc;
    const struct asy_json *result;
    params_begin(&p, EVM_MAX_PARAMS);
    asy_jw_hash(&p.w, tx_hash);
    ASY_TRY(ask(evm, &doc, &result, "eth_getTransactionByHash", &p, reterr_why));
    *ret_known = !asy_json_is_null(result);
    asy_json_free(doc);
    return ASY_OK;
}

/* ---- logs ---- */

static void put_filter(struct asy_jw *w, const struct asy_evm_filter *filter) {
    if (filter->addr_count > 0) {
        asy_jw_kv_array(w, "address");
        for (size_t i = 0; i < filter->addr_count; i++) {
            asy_jw_addr(w, &filter->addrs[i]);
        }
        asy_jw_end(w);
    }
    if (filter->topic_count > 0) {
        asy_jw_kv_array(w, "topics");
        asy_jw_array(w);
        for (size_t i = 0; i < filter->topic_count; i++) {
            asy_jw_hash(w, &filter->topics[i]);
        }
        asy_jw_end(w);
        asy_jw_end(w);
    }
}

static enum asy_err ask_logs(struct asy_evm *evm, struct asy_evm_logs *logs,
                             struct asy_arena *arena, struct params *p,
                             struct asy_why *reterr_why) {
    struct asy_json *doc;
    const struct asy_json *result;
    ASY_TRY(ask(evm, &doc, &result, "eth_getLogs", p, reterr_why));
    enum asy_err err =
        asy_json_is_null(result) ? ASY_ERR_NOT_FOUND : logs_add(logs, arena, result, reterr_why);
    asy_json_free(doc);
    return err;
}

static enum asy_err range_logs(struct asy_evm *evm, struct asy_evm_logs *logs,
                               struct asy_arena *arena, const struct asy_evm_filter *filter,
                               uint64_t from, uint64_t to, struct asy_why *reterr_why) {
    struct params p;
    params_begin(&p, ASY_MAX_RPC_BODY);
    asy_jw_object(&p.w);
    asy_jw_kv_quantity(&p.w, "fromBlock", from);
    asy_jw_kv_quantity(&p.w, "toBlock", to);
    put_filter(&p.w, filter);
    asy_jw_end(&p.w);
    return ask_logs(evm, logs, arena, &p, reterr_why);
}

enum asy_err asy_evm_get_logs(struct asy_evm *evm, struct asy_evm_logs *ret_logs,
                              struct asy_arena *arena, const struct asy_evm_filter *filter,
                              uint64_t from, uint64_t to, struct asy_why *reterr_why) {
    struct asy_evm_logs logs = {0};
    uint64_t step = ASY_MAX_LOG_RANGE; /* halved for good when refused: each refusal costs one
                                          request, at most 11 in all */
    while (from <= to) {
        uint64_t end = to - from >= step ? from + step - 1 : to;
        enum asy_err err = range_logs(evm, &logs, arena, filter, from, end, reterr_why);
        if (err == ASY_OK) {
            if (end == UINT64_MAX) {
                break;
            }
            from = end + 1;
        } else if (err == ASY_ERR_CHAIN && !evm_is_unreachable(evm) && end > from) {
            step = (end - from + 1) /
                   2; /* too many blocks or too many results: servers agree on no code for it */
        } else {
            return err;
        }
    }
    *ret_logs = logs;
    return ASY_OK;
}

enum asy_err asy_evm_get_block_logs(struct asy_evm *evm, struct asy_evm_logs *ret_logs,
                                    struct asy_arena *arena, const struct asy_evm_filter *filter,
                                    const struct asy_hash *block_hash, struct asy_why *reterr_why) {
    struct asy_evm_logs logs = {0};
    struct params p;
    params_begin(&p, ASY_MAX_RPC_BODY);
    asy_jw_object(&p.w);
    asy_jw_kv_hash(&p.w, "blockHash", block_hash);
    put_filter(&p.w, filter);
    asy_jw_end(&p.w);
    enum asy_err err = ask_logs(evm, &logs, arena, &p, reterr_why);
    if (err == ASY_ERR_CHAIN && !evm_is_unreachable(evm)) {
        return asy_why_set(reterr_why, ASY_ERR_NOT_FOUND, NULL,
                           "the endpoint does not have the block: %s",
                           asy_evm_failure(evm)->message);
    }
    ASY_TRY(err);
    *ret_logs = logs;
    return ASY_OK;
}

/* ---- follower driver ---- */

static enum asy_err feed_block(struct asy_evm *evm, struct asy_evm_follower *f,
                               const struct asy_evm_want *want, struct asy_why *reterr_why) {
    struct asy_evm_block block;
    enum asy_err err = want->kind == ASY_EVM_WANT_HEAD
                           ? asy_evm_get_block_tag(evm, &block, ASY_EVM_LATEST, reterr_why)
                           : asy_evm_get_block(evm, &block, want->number, reterr_why);
    if (err != ASY_OK && (err != ASY_ERR_NOT_FOUND || want->kind == ASY_EVM_WANT_HEAD)) {
        return err;
    }
    return asy_evm_follower_on_block(f, err == ASY_OK ? &block : NULL);
}

static enum asy_err feed_logs(struct asy_evm *evm, struct asy_evm_follower *f,
                              const struct asy_evm_want *want, const struct asy_evm_filter *filter,
                              struct asy_why *reterr_why) {
    struct asy_arena arena;
    struct asy_evm_logs logs;
    asy_arena_init(&arena, ASY_MAX_LOG_MEM);
    enum asy_err err =
        want->kind == ASY_EVM_WANT_LOGS
            ? asy_evm_get_block_logs(evm, &logs, &arena, filter, &want->hash, reterr_why)
            : asy_evm_get_logs(evm, &logs, &arena, filter, want->number, want->to, reterr_why);
    if (err == ASY_OK || err == ASY_ERR_NOT_FOUND) {
        err = asy_evm_follower_on_logs(f, err == ASY_OK ? &logs : NULL);
    }
    asy_arena_done(&arena);
    return err;
}

enum asy_err asy_evm_follow(struct asy_evm *evm, struct asy_evm_follower *f, bool *ret_idle,
                            const struct asy_evm_filter *filter, uint32_t steps,
                            struct asy_why *reterr_why) {
    asy_evm_follower_poll(f);
    for (uint32_t i = 0; i < steps && f->state != ASY_EVM_FOLLOWER_IDLE; i++) {
        struct asy_evm_want want;
        asy_evm_follower_want(f, &want);
        switch (want.kind) {
        case ASY_EVM_WANT_NOTHING:
            return asy_why_set(reterr_why, ASY_ERR_STATE, NULL,
                               "the chain dropped blocks that were final");
        case ASY_EVM_WANT_HEAD:
        case ASY_EVM_WANT_BLOCK:
            ASY_TRY(feed_block(evm, f, &want, reterr_why));
            break;
        case ASY_EVM_WANT_LOGS:
        case ASY_EVM_WANT_RANGE:
            ASY_TRY(feed_logs(evm, f, &want, filter, reterr_why));
            break;
        }
    }
    *ret_idle = f->state == ASY_EVM_FOLLOWER_IDLE;
    return ASY_OK;
}
