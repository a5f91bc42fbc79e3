/* chat.c: `assay chat`. */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "assay_priv.h"
#include "client_priv.h"

struct chat {
    struct client c;
    const char *model, *max_tokens, *temperature, *seed;
    bool stream, verbose;
    /* what came */
    struct asy_buf line; /* of the stream, not whole yet */
    bool done, failed;
    char finish[32];
    bool has_usage;
    uint64_t in_tokens, cached_tokens, out_tokens;
};

static void take_usage(struct chat *chat, const struct asy_json *doc) {
    const struct asy_json *u = asy_json_get(doc, "usage");
    if (!asy_json_is_null(u)) {
        chat->has_usage = true;
        chat->in_tokens = client_number(u, "prompt_tokens");
        chat->out_tokens = client_number(u, "completion_tokens");
        chat->cached_tokens =
            client_number(asy_json_get(u, "prompt_tokens_details"), "cached_tokens");
    }
}

static void put_answer(struct chat *chat, struct asy_bytes text) {
    if (text.n != 0) {
        client_print(text);
        chat->c.mid_line = text.p[text.n - 1] != '\n';
    }
}

/* One choice, of a chunk (`delta`) or a whole answer (`message`). */
static void take_choice(struct chat *chat, const struct asy_json *doc, const char *part) {
    const struct asy_json *choice = asy_json_at(asy_json_get(doc, "choices"), 0);
    struct asy_bytes text;
    if (choice == NULL) {
        return;
    }
    if (asy_json_str(&text, asy_json_get(asy_json_get(choice, part), "content")) == ASY_OK) {
        put_answer(chat, text);
    }
    if (!asy_json_is_null(asy_json_get(choice, "finish_reason"))) {
        (void)client_text(chat->finish, sizeof chat->finish, choice, "finish_reason");
    }
}

static enum asy_err take_event(struct chat *chat, struct asy_bytes data) {
    if (asy_bytes_eq(data, ASY_STR("[DONE]"))) {
        chat->done = true;
        return ASY_OK;
    }
    struct asy_json *doc;
    ASY_TRY(asy_json_parse(&doc, data, ASY_MAX_JSON_DEPTH, NULL));
    if (asy_json_get(doc, "error") != NULL) {
        chat->failed = true;
        client_error(&chat->c, 502, 0, data);
    } else {
        take_usage(chat, doc);
        take_choice(chat, doc, "delta");
    }
    asy_json_free(doc);
    return ASY_OK;
}

/* Server-sent events: lines, of which only `data:` matters here. */
static enum asy_err on_stream(void *arg, struct asy_bytes chunk) {
    struct chat *chat = arg;
    if (chat->c.json) {
        (void)fwrite(chunk.p, 1, chunk.n, stdout);
        (void)fflush(stdout);
        chat->done = true; /* whoever reads the raw stream judges it */
        return ASY_OK;
    }
    for (size_t i = 0; i < chunk.n;) {
        const uint8_t *nl = memchr(chunk.p + i, '\n', chunk.n - i);
        size_t n = nl != NULL ? (size_t)(nl - chunk.p) - i : chunk.n - i;
        ASY_TRY(asy_buf_add(&chat->line, chunk.p + i, n));
        i += n + (nl != NULL);
        if (nl == NULL) {
            return ASY_OK;
        }
        struct asy_bytes line = asy_buf_bytes(&chat->line);
        line.n -= line.n != 0 && line.p[line.n - 1] == '\r';
        enum asy_err err = ASY_OK;
        if (asy_bytes_starts(line, ASY_STR("data:"))) {
            size_t skip = line.n > 5 && line.p[5] == ' ' ? 6 : 5;
            err = take_event(chat, asy_bytes_of(line.p + skip, line.n - skip));
        }
        asy_buf_clear(&chat->line);
        ASY_TRY(err);
    }
    return ASY_OK;
}

/* Is what the user typed one JSON number of that kind, or nothing? */
static bool is_number(const char *text, bool whole) {
    struct asy_json *v;
    if (text == NULL) {
        return true;
    }
    if (asy_json_parse(&v, asy_bytes_cstr(text), 1, NULL) != ASY_OK) {
        return false;
    }
    enum asy_json_type type = asy_json_type(v);
    asy_json_free(v);
    return type == ASY_JSON_INT || (!whole && type == ASY_JSON_REAL);
}

static void put_number(struct asy_jw *w, const char *key, const char *text) {
    if (text != NULL) {
        asy_jw_key(w, key);
        asy_jw_raw(w, asy_bytes_cstr(text));
    }
}

static int chat_body(struct chat *chat, struct asy_buf *body, struct asy_bytes prompt) {
    struct asy_jw w;
    asy_jw_init(&w, body);
    asy_jw_object(&w);
    asy_jw_kv_cstr(&w, "model", chat->model);
    asy_jw_kv_array(&w, "messages");
    asy_jw_object(&w);
    asy_jw_kv_cstr(&w, "role", "user");
    asy_jw_kv_str(&w, "content", prompt);
    asy_jw_end(&w);
    asy_jw_end(&w);
    put_number(&w, "max_completion_tokens", chat->max_tokens);
    put_number(&w, "temperature", chat->temperature);
    put_number(&w, "seed", chat->seed);
    if (chat->stream) {
        asy_jw_kv_bool(&w, "stream", true);
        asy_jw_kv_object(&w, "stream_options");
        asy_jw_kv_bool(&w, "include_usage", true);
        asy_jw_end(&w);
    }
    asy_jw_end(&w);
    enum asy_err err = asy_jw_finish(&w);
    return err == ASY_OK ? 0 : app_fail(chat->c.name, err, NULL);
}

/* The only model there is, when none was named. */
static bool find_model(struct chat *chat, char *ret_name, size_t cap) {
    struct client_response r;
    struct asy_json *doc;
    if (!client_get(&chat->c, &r, "/v1/models")) {
        return false;
    }
    bool ok = client_parse(&chat->c, &doc, &r);
    if (ok) {
        const struct asy_json *list = asy_json_get(doc, "data");
        size_t count = asy_json_len(list);
        ok = count == 1;
        if (ok) {
            chat->model = client_text(ret_name, cap, asy_json_at(list, 0), "id");
        } else if (count == 0) {
            fprintf(stderr, "assay chat: no node serves a model now\n  `assay nodes` shows who is "
                            "connected; try again in a moment.\n");
        } else {
            fprintf(stderr, "assay chat: %zu models are served; name one with --model\n", count);
            for (size_t i = 0; i < count; i++) {
                char id[ASY_MAX_NAME + 1];
                fprintf(stderr, "  %s\n", client_text(id, sizeof id, asy_json_at(list, i), "id"));
            }
        }
        asy_json_free(doc);
    }
    client_response_done(&r);
    return ok;
}

static void on_sigint(int signum) {
    (void)signum;
    client_cancel();
}

static int ask(struct chat *chat, struct asy_bytes body) {
    struct client_response r;
    struct asy_json *doc;
    /* Ctrl-C ends the request, not the line it is printed on; the gateway then stops the node */
    (void)signal(SIGINT, on_sigint);
    if (!client_exchange(&chat->c, &r, "POST", "/v1/chat/completions", body,
                         chat->stream ? on_stream : NULL, chat)) {
        return client_cancelled() ? 130 : 1;
    }
    if (!chat->stream) {
        chat->failed = !client_parse(&chat->c, &doc, &r);
        chat->done = true;
        if (!chat->failed && chat->c.json) {
            client_print_json(asy_buf_bytes(&r.body));
        } else if (!chat->failed) {
            take_usage(chat, doc);
            take_choice(chat, doc, "message");
        }
        if (!chat->failed) {
            asy_json_free(doc);
        }
    }
    client_end_line(&chat->c);
    if (!chat->done && !chat->failed) {
        fprintf(stderr, "assay chat: the stream broke off before its end\n");
        chat->failed = true;
    }
    if (chat->verbose) {
        fprintf(stderr, "model %s, finish %s\n", chat->model,
                chat->finish[0] != '\0' ? chat->finish : "-");
        if (chat->has_usage) {
            fprintf(stderr, "%llu prompt tokens (%llu cached), %llu completion tokens\n",
                    (unsigned long long)chat->in_tokens, (unsigned long long)chat->cached_tokens,
                    (unsigned long long)chat->out_tokens);
        }
        fprintf(stderr, "request %s\njob %s\n", r.request_id, r.job_id);
    }
    client_response_done(&r);
    return chat->failed ? 1 : 0;
}

/* The words behind the options, one blank between two; `-`, or nothing where input is no terminal:
 * standard input. */
static int read_prompt(struct chat *chat, struct asy_buf *prompt, int count, char **words) {
    struct asy_why why = {{0}, {0}};
    enum asy_err err = ASY_OK;
    bool from_input = count == 1 && strcmp(words[0], "-") == 0;
    if (count == 0 && isatty(STDIN_FILENO) == 1) {
        return client_usage(chat->c.name, "what shall I ask?");
    }
    if (count == 0 || from_input) {
        err = app_read_file(prompt, "/dev/stdin", true, &why);
    }
    for (int i = 0; i < count && !from_input && err == ASY_OK; i++) {
        err = asy_buf_add_str(prompt, i != 0 ? " " : "");
        err = err == ASY_OK ? asy_buf_add_str(prompt, words[i]) : err;
    }
    if (err != ASY_OK) {
        return app_fail(chat->c.name, err, &why);
    }
    if (prompt->n == 0 || !asy_utf8_valid(asy_buf_bytes(prompt))) {
        return client_usage(chat->c.name, "the prompt must be UTF-8, and not empty");
    }
    return 0;
}

static int chat_run(struct chat *chat, int count, char **words) {
    struct asy_buf prompt, body;
    char model[ASY_MAX_NAME + 1];
    asy_buf_init(&prompt, ASY_MAX_PROMPT);
    asy_buf_init(&body, ASY_MAX_HTTP_BODY);
    asy_buf_init(&chat->line, 1u << 20);
    int rc = read_prompt(chat, &prompt, count, words);
    if (rc == 0 && !client_open(&chat->c, true)) {
        rc = 2;
    }
    if (rc == 0 && chat->model == NULL && !find_model(chat, model, sizeof model)) {
        rc = 1;
    }
    if (rc == 0) {
        rc = chat_body(chat, &body, asy_buf_bytes(&prompt));
    }
    if (rc == 0) {
        rc = ask(chat, asy_buf_bytes(&body));
    }
    asy_buf_done(&chat->line);
    asy_buf_done(&body);
    asy_buf_done(&prompt);
    client_done(&chat->c);
    return rc;
}

int cmd_chat(int argc, char **argv) {
    static const char help[] =
        "usage: assay chat [options] PROMPT...\n"
        "       assay chat [options] - < FILE\n\n"
        "Asks a model and prints its answer, token by token on a terminal.\n\n"
        "  --model NAME         which model; may be left out where only one is served\n"
        "  --max-tokens N       at most N tokens of answer; what it could cost is set aside first\n"
        "  --temperature T      0 always takes the likeliest token; up to 2; default 1\n"
        "  --seed N             with the same request, the same answer again\n"
        "  --stream, --no-stream  print as it comes, or when it is whole; default: as it comes on\n"
        "                       a terminal\n"
        "  -v, --verbose        then tell usage, job and request id, on standard "
        "error\n" CLIENT_HELP "\nWhat it cost: assay receipt JOB --verify\n";
    enum { OPT_MODEL = OPT_OWN, OPT_MAX, OPT_TEMPERATURE, OPT_SEED, OPT_STREAM, OPT_NO_STREAM };
    static const struct option options[] = {
        {"model", required_argument, NULL, OPT_MODEL},
        {"max-tokens", required_argument, NULL, OPT_MAX},
        {"temperature", required_argument, NULL, OPT_TEMPERATURE},
        {"seed", required_argument, NULL, OPT_SEED},
        {"stream", no_argument, NULL, OPT_STREAM},
        {"no-stream", no_argument, NULL, OPT_NO_STREAM},
        {"verbose", no_argument, NULL, 'v'},
        CLIENT_OPTIONS};
    struct chat chat = {.c.name = argv[0], .stream = isatty(STDOUT_FILENO) == 1};
    for (int o; (o = client_option(argc, argv, chat.c.name, help, "v", options)) != -1;) {
        switch (o) {
        case OPT_MODEL:
            chat.model = optarg;
            break;
        case OPT_MAX:
            chat.max_tokens = optarg;
            break;
        case OPT_TEMPERATURE:
            chat.temperature = optarg;
            break;
        case OPT_SEED:
            chat.seed = optarg;
            break;
        case OPT_STREAM:
            chat.stream = true;
            break;
        case OPT_NO_STREAM:
            chat.stream = false;
            break;
        case 'v':
            chat.verbose = true;
            break;
        default:
            if (!client_common(&chat.c, o)) {
                return o == OPT_HELP ? 0 : 2;
            }
        }
    }
    if (chat.model != NULL && !asy_utf8_valid(asy_bytes_cstr(chat.model))) {
        return client_usage(chat.c.name, "--model must be UTF-8");
    }
    if (!is_number(chat.max_tokens, true) || !is_number(chat.seed, true) ||
        !is_number(chat.temperature, false)) {
        return client_usage(chat.c.name,
                            "--max-tokens and --seed take whole numbers, --temperature a number");
    }
    return chat_run(&chat, argc - optind, argv + optind);
}
