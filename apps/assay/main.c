/*~ assay: every program of the market in one binary.
 *
 * The tour starts here: main picks a subcommand; up.c runs a whole market on one machine by
 * starting the others; gateway.c and node.c here only read settings and build the objects of
 * src/gateway and src/node. A request's path is told in src/gateway/gateway.h.
 */
#include "assay_priv.h"

#include <stdio.h>

#include "engine/engine.h"

struct command {
    const char *name, *text;
    int (*run)(int argc, char **argv);
};

/* It takes the whole command line, as the node wrote it. */
static int cmd_engine_worker(int argc, char **argv) {
    return asy_engine_worker_main(argc + 1, argv - 1);
}

static const struct command commands[] = {
    {"up", "run a whole market on this machine: chain, gateway, nodes", cmd_up},
    {"chat", "ask a model", cmd_chat},
    {"models", "list the models that are served now; convert one", cmd_models},
    {"nodes", "list the nodes of a gateway", cmd_nodes},
    {"jobs", "list your jobs", cmd_jobs},
    {"job", "show one job", cmd_job},
    {"receipt", "fetch the receipt of a job", cmd_receipt},
    {"exact", "run and measure models of the exact engine", cmd_exact},
    {"verify", "check a receipt or a lane, offline; compute an answer again", cmd_verify},
    {"credit", "show what is left of your money", cmd_credit},
    {"usage", "show what you have used", cmd_usage},
    {"wallet", "make keys, sign spending caps, deposit, withdraw", cmd_wallet},
    {"gateway", "run a gateway", cmd_gateway},
    {"node", "run a node", cmd_node},
    {"admin", "issue API keys, settle now", cmd_admin},
    {"engine-worker", NULL, cmd_engine_worker}, /* started by a node */
};

static void usage(FILE *to) {
    fputs("assay: an open market for AI inference that can prove what it sold\n\n"
          "usage: assay COMMAND [...]\n\n",
          to);
    for (size_t i = 0; i < ASY_COUNT(commands); i++) {
        if (commands[i].text != NULL) {
            fprintf(to, "  %-9s %s\n", commands[i].name, commands[i].text);
        }
    }
    fputs("\n`assay COMMAND --help` tells more. To begin: assay up\n", to);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        usage(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        usage(stdout);
        return 0;
    }
    for (size_t i = 0; i < ASY_COUNT(commands); i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    fprintf(stderr, "assay: no command `%s`; `assay --help` lists them\n", argv[1]);
    return 2;
}
