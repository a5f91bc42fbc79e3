/* Key files: files made by another implementation, round trips, every single changed character,
 * hostile costs, and the file system. */
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/test.h"
#include "crypto/crypto.h"

#define PASSWORD ASY_STR("test password, not a secret: \xc3\xa9")
static const struct asy_kdf_cost cheap = {8, 1};

static struct asy_bytes read_vector(const char *name, uint8_t *text, size_t cap) {
    char path[128];
    snprintf(path, sizeof path, "src/crypto/vectors/%s", name);
    FILE *f = fopen(path, "rb");
    CHECK(f != NULL);
    if (f == NULL) {
        return asy_bytes_of(text, 0);
    }
    const size_t n = fread(text, 1, cap, f);
    fclose(f);
    return asy_bytes_of(text, n);
}

static void check_format(const struct asy_keyfile *file, struct asy_bytes want) {
    struct asy_buf buf;
    asy_buf_init(&buf, ASY_MAX_KEYFILE);
    CHECK_OK(asy_keyfile_format(&buf, file));
    CHECK(asy_bytes_eq(asy_buf_bytes(&buf), want));
    asy_buf_done(&buf);
}

static void foreign_files(void) {
    static const struct {
        const char *name;
        enum asy_key_kind kind;
        uint8_t start[4];
    } cases[] = {
        {"keyfile_secp256k1.txt", ASY_KEY_SECP256K1, {0x4c, 0x08, 0x83, 0xa6}},
        {"keyfile_ed25519.txt", ASY_KEY_ED25519, {0x9d, 0x61, 0xb1, 0x9d}},
        {"keyfile_x25519.txt", ASY_KEY_X25519, {0x07, 0x50, 0x26, 0x66}},
    };
    uint8_t text[ASY_MAX_KEYFILE];
    struct asy_keyfile file;
    struct asy_secret secret;
    for (size_t i = 0; i < ASY_COUNT(cases); i++) {
        const struct asy_bytes in = read_vector(cases[i].name, text, sizeof text);
        CHECK_OK(asy_keyfile_parse(&file, in, NULL));
        CHECK(file.kind == cases[i].kind);
        check_format(&file, in);
        CHECK_OK(asy_keyfile_open(&secret, &file, PASSWORD));
        CHECK_MEM(secret.b, cases[i].start, 4);
        CHECK_ERR(asy_keyfile_open(&secret, &file, ASY_STR("test password")), ASY_ERR_AUTH);
        CHECK_ERR(asy_keyfile_open(&secret, &file, ASY_STR("")), ASY_ERR_AUTH);
    }
    CHECK_OK(
        asy_keyfile_parse(&file, read_vector("keyfile_other_id.txt", text, sizeof text), NULL));
    CHECK_ERR(asy_keyfile_open(&secret, &file, PASSWORD), ASY_ERR_MISMATCH);
}

static void round_trips(void) {
    struct asy_test_env t;
    asy_test_env_init(&t);
    for (int i = 0; i < 60; i++) {
        const enum asy_key_kind kind = (enum asy_key_kind)(i % 3);
        struct asy_secret secret, got;
        struct asy_keyfile file, parsed;
        struct asy_seckey key;
        uint8_t password[40];
        const struct asy_bytes pw = asy_bytes_of(password, 1 + (size_t)i % sizeof password);
        asy_test_fill(password, sizeof password); /* any bytes, zero bytes too */
        asy_seckey_generate(&key, &t.env);
        memcpy(secret.b, key.b, 32);
        CHECK_OK(asy_keyfile_seal(&file, kind, &secret, pw, cheap, &t.env));
        struct asy_buf buf;
        asy_buf_init(&buf, ASY_MAX_KEYFILE);
        CHECK_OK(asy_keyfile_format(&buf, &file));
        CHECK_OK(asy_keyfile_parse(&parsed, asy_buf_bytes(&buf), NULL));
        asy_buf_done(&buf);
        CHECK(parsed.kind == kind);
        CHECK_STR(parsed.id, file.id);
        CHECK_OK(asy_keyfile_open(&got, &parsed, pw));
        CHECK_MEM(got.b, secret.b, 32);
        password[asy_test_random() % pw.n] ^= 1;
        CHECK_ERR(asy_keyfile_open(&got, &parsed, pw), ASY_ERR_AUTH);
    }
}

/* Each character of the file counts: a changed one is refused when parsed or when opened, and the
 * secret never comes out. */
static void every_character(void) {
    uint8_t text[ASY_MAX_KEYFILE];
    const struct asy_bytes in = read_vector("keyfile_ed25519.txt", text, sizeof text);
    for (size_t i = 0; i < in.n; i++) {
        const uint8_t old = text[i];
        const uint8_t try[] = {'0', '2', 'a', ' ', '\n', 0, (uint8_t)(old ^ 32)};
        for (size_t k = 0; k < sizeof try; k++) {
            struct asy_keyfile file;
            struct asy_secret secret;
            text[i] = try[k];
            if (text[i] != old && asy_keyfile_parse(&file, in, NULL) == ASY_OK) {
                check_format(&file, in);
                CHECK_ERR(asy_keyfile_open(&secret, &file, PASSWORD), ASY_ERR_AUTH);
            }
        }
        text[i] = old;
    }
    /* and so does each missing or added one */
    for (size_t n = 0; n < in.n; n++) {
        struct asy_keyfile file;
        CHECK(asy_keyfile_parse(&file, asy_bytes_of(in.p, n), NULL) != ASY_OK);
    }
    text[in.n] = '\n';
    struct asy_keyfile file;
    CHECK_ERR(asy_keyfile_parse(&file, asy_bytes_of(text, in.n + 1), NULL), ASY_ERR_SYNTAX);
}

static void refusals(void) {
    static const char tail[] = "salt 000102030405060708090a0b0c0d0e0f\nnonce "
                               "6465666768696a6b6c6d6e6f707172737475767778797a7b\nbox "
                               "0000000000000000000000000000000000000000000000000000000000000000000"
                               "00000000000000000000000000000\n";
    static const char id[] = "id 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf\n";
    static const struct {
        const char *head; /* %s: id */
        enum asy_err want;
        const char *param;
    } cases[] = {
        {"assay-key 1\nkind secp256k1\n%skdf argon2id m=8 t=1 p=1\n", ASY_OK, ""},
        {"assay-key 1\nkind secp256k1\n%skdf argon2id m=1048576 t=4 p=1\n", ASY_OK, ""},
        {"assay-key 2\nkind secp256k1\n%skdf argon2id m=8 t=1 p=1\n", ASY_ERR_VERSION, "assay-key"},
        {"assay-key 11\nkind secp256k1\n%skdf argon2id m=8 t=1 p=1\n", ASY_ERR_VERSION,
         "assay-key"},
        {"assay-kez 1\nkind secp256k1\n%skdf argon2id m=8 t=1 p=1\n", ASY_ERR_SYNTAX, ""},
        {"assay-key 1\nkind p256\n%skdf argon2id m=8 t=1 p=1\n", ASY_ERR_UNSUPPORTED, "kind"},
        {"assay-key 1\nkind ed25519\n%skdf argon2id m=8 t=1 p=1\n", ASY_ERR_SYNTAX, "id"},
        {"assay-key 1\nkind secp256k1\n%skdf scrypt m=8 t=1 p=1\n", ASY_ERR_UNSUPPORTED, "kdf"},
        {"assay-key 1\nkind secp256k1\n%skdf none\n", ASY_ERR_UNSUPPORTED, "kdf"},
        {"assay-key 1\nkind secp256k1\n%skdf argon2id m=8 t=1 p=4\n", ASY_ERR_SYNTAX, "kdf"},
        {"assay-key 1\nkind secp256k1\n%skdf argon2id m=08 t=1 p=1\n", ASY_ERR_SYNTAX, "kdf"},
        {"assay-key 1\nkind secp256k1\n%skdf argon2id m=-8 t=1 p=1\n", ASY_ERR_SYNTAX, "kdf"},
        {"assay-key 1\nkind secp256k1\n%skdf argon2id m= t=1 p=1\n", ASY_ERR_SYNTAX, "kdf"},
        {"assay-key 1\nkind secp256k1\n%skdf argon2id m=7 t=1 p=1\n", ASY_ERR_RANGE, "kdf"},
        {"assay-key 1\nkind secp256k1\n%skdf argon2id m=8 t=0 p=1\n", ASY_ERR_RANGE, "kdf"},
        {"assay-key 1\nkind secp256k1\n%skdf argon2id m=8 t=1025 p=1\n", ASY_ERR_RANGE, "kdf"},
        {"assay-key 1\nkind secp256k1\n%skdf argon2id m=1048577 t=1 p=1\n", ASY_ERR_RANGE, "kdf"},
        {"assay-key 1\nkind secp256k1\n%skdf argon2id m=1048576 t=5 p=1\n", ASY_ERR_RANGE, "kdf"},
        {"assay-key 1\nkind secp256k1\n%skdf argon2id m=100000000 t=1 p=1\n", ASY_ERR_RANGE, "kdf"},
        {"assay-key 1\nkind secp256k1\n%skdf argon2id m=4294967304 t=1 p=1\n", ASY_ERR_RANGE,
         "kdf"}, /* 2^32 + 8 */
        {"assay-key 1\nkind secp256k1\n%skdf argon2id m=18446744073709551624 t=1 p=1\n",
         ASY_ERR_RANGE, "kdf"}, /* 2^64 + 8 */
    };
    for (size_t i = 0; i < ASY_COUNT(cases); i++) {
        struct asy_keyfile file;
        struct asy_why why = {{0}, {0}};
        struct asy_buf text;
        const char *at = strstr(cases[i].head, "%s");
        asy_buf_init(&text, ASY_MAX_KEYFILE);
        CHECK_OK(asy_buf_add(&text, cases[i].head, (size_t)(at - cases[i].head)));
        CHECK_OK(asy_buf_add_str(&text, id));
        CHECK_OK(asy_buf_add_str(&text, at + 2));
        CHECK_OK(asy_buf_add_str(&text, tail));
        CHECK_ERR(asy_keyfile_parse(&file, asy_buf_bytes(&text), &why), cases[i].want);
        CHECK_STR(why.param, cases[i].param);
        asy_buf_done(&text);
    }
    struct asy_test_env t;
    asy_test_env_init(&t);
    struct asy_keyfile file;
    struct asy_secret zero = {{0}}, one = {{1}};
    CHECK_ERR(asy_keyfile_seal(&file, ASY_KEY_SECP256K1, &zero, PASSWORD, cheap, &t.env),
              ASY_ERR_RANGE);
    CHECK_ERR(asy_keyfile_seal(&file, ASY_KEY_SECP256K1, &one, ASY_STR(""), cheap, &t.env),
              ASY_ERR_RANGE);
    CHECK_ERR(asy_keyfile_seal(&file, ASY_KEY_SECP256K1, &one, PASSWORD,
                               (struct asy_kdf_cost){7, 1}, &t.env),
              ASY_ERR_RANGE);
    CHECK_ERR(asy_keyfile_seal(&file, ASY_KEY_SECP256K1, &one, PASSWORD,
                               (struct asy_kdf_cost){8, 0}, &t.env),
              ASY_ERR_RANGE);
    /* a struct made by hand does not get past the bounds either */
    CHECK_OK(asy_keyfile_seal(&file, ASY_KEY_SECP256K1, &one, PASSWORD, cheap, &t.env));
    file.cost.mem_kib = UINT32_MAX;
    CHECK_ERR(asy_keyfile_open(&one, &file, PASSWORD), ASY_ERR_RANGE);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int entries;
static int count_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)path, (void)st, (void)ftw;
    entries += type == FTW_F;
    return 0;
}

static void files(void) {
    const char *base = getenv("TMPDIR");
    char dir[256], path[300], other[300];
    snprintf(dir, sizeof dir, "%s/asy-keyfile-XXXXXX", base != NULL ? base : "/tmp");
    CHECK(mkdtemp(dir) != NULL);
    snprintf(path, sizeof path, "%s/key", dir);
    snprintf(other, sizeof other, "%s/none/key", dir);

    struct asy_test_env t;
    asy_test_env_init(&t);
    struct asy_keyfile first, second, got;
    struct asy_why why;
    struct stat st;
    const struct asy_secret one = {{1}}, two = {{2}};
    CHECK_OK(asy_keyfile_seal(&first, ASY_KEY_SECP256K1, &one, PASSWORD, cheap, &t.env));
    CHECK_OK(asy_keyfile_seal(&second, ASY_KEY_SECP256K1, &two, PASSWORD, cheap, &t.env));

    CHECK_ERR(asy_keyfile_load(&got, path, &why), ASY_ERR_NOT_FOUND);
    const mode_t mask = umask(0);
    CHECK_OK(asy_keyfile_save(path, &first, false, &why));
    umask(mask);
    CHECK(stat(path, &st) == 0 && (st.st_mode & 07777) == 0600 && st.st_nlink == 1);
    CHECK_OK(asy_keyfile_load(&got, path, &why));
    CHECK_STR(got.id, first.id);

    CHECK_ERR(asy_keyfile_save(path, &second, false, &why), ASY_ERR_CONFLICT);
    CHECK_OK(asy_keyfile_load(&got, path, &why));
    CHECK_STR(got.id, first.id);
    CHECK_OK(asy_keyfile_save(path, &second, true, &why));
    CHECK_OK(asy_keyfile_load(&got, path, &why));
    CHECK_STR(got.id, second.id);
    CHECK_ERR(asy_keyfile_save(other, &first, false, &why), ASY_ERR_IO);
    entries = 0;
    CHECK(nftw(dir, count_entry, 4, FTW_PHYS) == 0);
    CHECK_U64(entries, 1); /* no temporary file stays, whatever happened */

    for (unsigned bit = 1; bit <= 0040; bit <<= 1) {
        CHECK(chmod(path, 0600 | bit) == 0);
        CHECK_ERR(asy_keyfile_load(&got, path, &why), ASY_ERR_FORBIDDEN);
    }
    CHECK(chmod(path, 0400) == 0);
    CHECK_OK(asy_keyfile_load(&got, path, &why));

    CHECK_ERR(asy_keyfile_load(&got, dir, &why), ASY_ERR_IO);
    snprintf(other, sizeof other, "%s/pipe", dir);
    CHECK(mkfifo(other, 0600) == 0);
    CHECK_ERR(asy_keyfile_load(&got, other, &why), ASY_ERR_IO);
    snprintf(other, sizeof other, "%s/long", dir);
    const int fd = open(other, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && ftruncate(fd, 1 << 20) == 0 && close(fd) == 0);
    CHECK_ERR(asy_keyfile_load(&got, other, &why), ASY_ERR_TOO_LONG);
    CHECK_STR(got.id, second.id); /* failures touched nothing */

    /* a path without a folder */
    CHECK(chdir(dir) == 0);
    CHECK_OK(asy_keyfile_save("bare", &first, false, &why));
    CHECK_OK(asy_keyfile_load(&got, "bare", &why));
    CHECK(nftw(dir, remove_entry, 4, FTW_DEPTH | FTW_PHYS) == 0);
}

int main(void) {
    foreign_files();
    round_trips();
    every_character();
    refusals();
    files();
    return asy_test_end();
}
