/* Measures the signer: what a call costs in this process and through the child, alone and from
 * several threads. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>

#include "signer/signer.h"

enum { ROUNDS = 20000 };

static void *sign_often(void *arg) {
    struct asy_signer *s = arg;
    struct asy_addr self = asy_signer_addr(s);
    struct asy_checkpoint c = {
        .kind = ASY_CHECKPOINT_RECEIPTS, .signer = self, .count = ASY_MAX_CHECKPOINT};
    for (c.number = 0; c.number < ROUNDS; c.number++) {
        struct asy_sig sig;
        enum asy_err err = asy_signer_sign_object(s, &sig, ASY_OBJ_CHECKPOINT, &c);
        ASY_ASSERT(err == ASY_OK);
    }
    return NULL;
}

static void measure(const char *name, struct asy_signer *s, unsigned threads) {
    const struct asy_env *env = asy_env_system();
    pthread_t thread[8];
    uint64_t start = asy_env_mono_ns(env);
    for (unsigned i = 0; i < threads; i++) {
        int rc = pthread_create(&thread[i], NULL, sign_often, s);
        ASY_ASSERT(rc == 0);
    }
    for (unsigned i = 0; i < threads; i++) {
        (void)pthread_join(thread[i], NULL);
    }
    double us = (double)(asy_env_mono_ns(env) - start) / 1000;
    printf("signer %-8s %u threads: %6.1f us per signed checkpoint\n", name, threads,
           us / (threads * (double)ROUNDS));
}

int main(void) {
    const struct asy_env *env = asy_env_system();
    struct asy_seckey key;
    struct asy_domain domain;
    struct asy_addr vault = {{1}};
    struct asy_signer *local, *process;
    asy_seckey_generate(&key, env);
    asy_domain_init(&domain, 1, &vault);
    if (asy_signer_new_local(&local, ASY_SIGNER_NODE, &key) != ASY_OK ||
        asy_signer_new_process(&process, ASY_SIGNER_NODE, &key) != ASY_OK ||
        asy_signer_set_domain(local, &domain) != ASY_OK ||
        asy_signer_set_domain(process, &domain) != ASY_OK) {
        return 1;
    }
    measure("local", local, 1);
    measure("process", process, 1);
    measure("process", process, 4);
    asy_signer_free(local);
    asy_signer_free(process);
    return 0;
}
