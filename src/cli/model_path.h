// Names of models on this machine: a path, or what `mosa pull` has fetched.
//
// Pulled files live in $MOSA_HOME/models/<org>/<name>/ (MOSA_HOME defaults to ~/.local/share/mosa).
#ifndef MOSA_CLI_MODEL_PATH_H
#define MOSA_CLI_MODEL_PATH_H

#include "base/status.h"
#include "mosa/mosa.h"

// The folder of pulled models; *out is malloc'ed. It need not exist.
mosa_status mosa_model_home(char **out, mosa_error *err);

// The path of a model: an existing file or folder, "hf:org/name[:file]" or "org/name[:file]" of a pulled one. A folder
// that holds one GGUF file and no config.json stands for that file. MOSA_ENOTFOUND hints at `mosa pull`. malloc'ed.
mosa_status mosa_model_path_find(const char *name, char **out, mosa_error *err);

// "NAME=PATH" of an adapter: copies the name, *path points into text.
mosa_status mosa_adapter_argument(const char *text, char name[MOSA_ADAPTER_NAME_MAX + 1], const char **path,
                                  mosa_error *err);

#endif
