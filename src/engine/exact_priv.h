/* exact_priv.h: the integer engine as a runtime of the worker. */
#ifndef ASY_ENGINE_EXACT_PRIV_H
#define ASY_ENGINE_EXACT_PRIV_H

#include "base/base.h"
#include "engine/runtime_priv.h"

/* Is this a model file of the integer engine? Only its first bytes are looked at. */
bool asy_engine_exact_is(struct asy_bytes file);

/* asy_engine_exact_load runs a model file, which it keeps, and takes tokenizer and chat template
 * from the plugin. Lowers config's batch to what serves best. */
bool asy_engine_exact_load(struct asy_engine_runtime *ret_runtime,
                           struct asy_engine_runtime_config *config, struct asy_bytes file,
                           const struct asy_engine_plugin *plugin,
                           char ret_why[ASY_ENGINE_TEXT_MAX]);

#endif
