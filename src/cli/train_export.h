// A run's result in the formats that were asked for, read back and compared before the run calls itself done.
#ifndef MOSA_CLI_TRAIN_EXPORT_H
#define MOSA_CLI_TRAIN_EXPORT_H

#include "cli/train_data.h"
#include "train/step.h"

// Before any compute: whether the result can be written so.
mosa_status train_export_check(const mosa_train_config *config, const mosa_train_plan *plan, const mosa_step *step,
                               mosa_error *err);

// Writes the result and scores some training examples with it through the engine. *out: where it is; *verified: a
// sentence on what was compared. Both malloc'ed. MOSA_EINTERNAL when what was read back computes something else.
mosa_status train_export(const mosa_train_config *config, const mosa_train_plan *plan, const char *model,
                         mosa_step *step, const train_set *train, int32_t rows, char **out, char **verified,
                         mosa_error *err);

#endif
