/* measure_priv.h: what measurements of integer and float models share. */
#ifndef ASY_CONVERT_MEASURE_PRIV_H
#define ASY_CONVERT_MEASURE_PRIV_H

#include "convert/convert.h"

struct stopwatch {
    double cpu_s, wall_s;
};
struct stopwatch stopwatch_start(void);
/* Adds what has passed to m. */
void stopwatch_stop(struct asy_measure *m, struct stopwatch s);
void measure_init(struct asy_measure *m, const struct asy_windows *w);
struct asy_measure_mean measure_blocks(size_t count, double (*v)(const void *arg, size_t i),
                                       const void *arg);

#endif
