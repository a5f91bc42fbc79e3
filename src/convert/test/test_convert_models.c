/* Real models: what the exact engine writes when it always takes the most probable token, and what
 * the float model thinks of each of these tokens. A model that is not there is left out.
 * timeout: 240
 * serial */
#include <math.h>
#include <unistd.h>

#include "base/test.h"
#include "convert/convert.h"

enum { OUTPUT = 24, MOST = 96, ROWS = 64 };

static const char *const prompts[] = {
    "The capital of France is",
    "Water boils at 100 degrees",
    "Once upon a time there was a little girl who",
    "def add(a, b):\n    return",
    "To be, or not to be, that is the",
    "1, 2, 3, 4, 5, 6,",
    "The three primary colours are",
    "Dear Sir or Madam,",
};

struct both {
    struct asy_llama *llama;
    struct asy_llama_vocab *vocab;
    struct asy_llama_model *floats;
    struct asy_exact *exact;
    uint32_t vocab_count;
};

/* Greedy continuation by the exact engine; ids: the prompt's, then OUTPUT more. */
static void generate(struct both *b, uint32_t *ids, uint32_t prompt) {
    const int32_t *logits = NULL;
    for (uint32_t at = 0; at + 1 < prompt + OUTPUT;) {
        struct asy_exact_row rows[MOST];
        uint32_t count = at == 0 ? prompt : 1, top = 0;
        for (uint32_t i = 0; i < count; i++) {
            rows[i] = (struct asy_exact_row){ids[at + i], 0, at + i, i + 1 == count};
        }
        CHECK_OK(asy_exact_step(b->exact, &logits, rows, count));
        for (uint32_t i = 1; i < b->vocab_count; i++) {
            top = logits[i] > logits[top] ? i : top;
        }
        at += count;
        ids[at] = top;
    }
}

/* How many of the OUTPUT tokens are also the float model's first choice; of the others ret_gap gets
 * by how many logits they miss it at most. */
static uint32_t judge(struct both *b, const uint32_t *ids, uint32_t prompt, float *ret_gap) {
    uint32_t same = 0, count = prompt + OUTPUT - 1;
    for (uint32_t from = 0; from < count; from += ROWS) {
        uint32_t n = count - from < ROWS ? count - from : ROWS;
        const float *logits = NULL;
        CHECK_OK(asy_llama_model_step(b->floats, &logits, ids + from, from, n, NULL));
        for (uint32_t i = 0; i < n; i++) {
            const float *row = logits + (size_t)i * b->vocab_count;
            float top = row[0], gap;
            if (from + i + 1 < prompt) {
                continue;
            }
            for (uint32_t k = 1; k < b->vocab_count; k++) {
                top = row[k] > top ? row[k] : top;
            }
            gap = top - row[ids[from + i + 1]];
            same += gap == 0;
            *ret_gap = gap > *ret_gap ? gap : *ret_gap;
        }
    }
    return same;
}

static void run(struct both *b, const char *name, uint32_t least) {
    uint32_t same = 0, total = 0, first;
    float gap = 0;
    for (size_t p = 0; p < ASY_COUNT(prompts); p++) {
        uint32_t ids[MOST], *tokens = NULL, prompt = 0;
        size_t count = 0;
        CHECK_OK(asy_llama_tokenize(b->vocab, &tokens, &count, asy_bytes_cstr(prompts[p])));
        if (asy_llama_vocab_first(b->vocab, &first)) {
            ids[prompt++] = first;
        }
        CHECK(prompt + count + OUTPUT <= MOST);
        for (size_t i = 0; i < count && prompt + OUTPUT < MOST; i++) {
            ids[prompt++] = tokens[i];
        }
        asy_free(tokens);
        generate(b, ids, prompt);
        same += judge(b, ids, prompt, &gap);
        total += OUTPUT;
        printf("%s: %s", name, prompts[p]);
        for (uint32_t i = prompt; i < prompt + OUTPUT; i++) {
            char piece[256];
            size_t len = asy_llama_piece(b->vocab, piece, sizeof piece, ids[i]);
            printf("%.*s", (int)len, piece);
        }
        printf("\n");
    }
    printf("%s: %u of %u tokens are the float model's, too; the others miss it by %.3f at most\n",
           name, same, total, (double)gap);
    CHECK(same >= least);
    CHECK(gap < 0.75f);
}

/* name: of the files; least: of the 8 * 24 tokens, so many must be the same. False: not there. */
static bool test_model(const char *program, const char *name, uint32_t least) {
    char gguf[256], path[4096], plugin[4096], floats[4096];
    const char *slash = strrchr(program, '/'), *temp = getenv("TMPDIR");
    int dir = slash != NULL ? (int)(slash - program) : 0;
    struct both b = {0};
    struct asy_bytes file;
    struct asy_exact_model *model = NULL;
    struct asy_why why = {{0}, {0}};
    snprintf(gguf, sizeof gguf, ".deps/models/%s.gguf", name);
    snprintf(path, sizeof path, "%.*s/../../models/%s.exact", dir, program, name);
    snprintf(plugin, sizeof plugin, "%.*s/../lib/assay-llama.so", dir, program);
    snprintf(floats, sizeof floats, "%s/assay-test-%d.gguf", temp != NULL ? temp : "/tmp",
             (int)getpid());
    if (access(gguf, R_OK) != 0 || access(path, R_OK) != 0 || access(plugin, R_OK) != 0) {
        printf("%s is not here, or not converted (make model)\n", name);
        return false;
    }
    CHECK_OK(asy_file_map(&file, path, &why));
    CHECK_OK(asy_exact_model_open(&model, file, &why));
    CHECK_OK(asy_llama_open(&b.llama, plugin, &why));
    CHECK_OK(asy_llama_vocab_new(&b.vocab, b.llama, asy_exact_model_info(model)->vocabulary, &why));
    CHECK_OK(asy_llama_requantize(b.llama, gguf, floats, "F32", 1, &why));
    struct asy_llama_model_config fc = {
        .path = floats, .context = 256, .batch = ROWS, .threads = 1};
    struct asy_exact_config xc = {
        .threads = 1, .slots = 1, .context = 256, .rows = MOST, .logits_rows = 1};
    CHECK_OK(asy_llama_model_new(&b.floats, b.llama, &fc, &why));
    (void)unlink(floats); /* the model keeps it open */
    CHECK_OK(asy_exact_new(&b.exact, model, &xc, &why));
    b.vocab_count = asy_exact_model_info(model)->vocab;
    CHECK_U64(asy_llama_model_vocab(b.floats), b.vocab_count);
    if (asy_test_failures == 0) {
        run(&b, name, least);
    } else {
        fprintf(stderr, "%s\n", why.text);
    }
    asy_exact_free(b.exact);
    asy_llama_model_free(b.floats);
    asy_llama_vocab_free(b.vocab);
    asy_llama_free(b.llama);
    asy_exact_model_free(model);
    asy_file_unmap(file);
    return true;
}

int main(int argc, char **argv) {
    (void)argc;
    bool some = test_model(argv[0], "SmolLM2-135M-Instruct.Q4_1", 180);
    some = test_model(argv[0], "gemma-3-270m-q4_k_m", 180) || some;
    return some ? asy_test_end() : asy_test_skip("no model: tools/setup run, make model");
}
