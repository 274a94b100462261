// Private to the readers of adapters.
#ifndef MOSA_MODEL_ADAPTER_FILE_INTERNAL_H
#define MOSA_MODEL_ADAPTER_FILE_INTERNAL_H

#include "codec/gguf.h"
#include "codec/safetensors.h"
#include "model/adapter_file.h"

#include <jansson.h>

struct mosa_adapter_file {
    char *path;
    char *arch;      // GGUF only
    mosa_gguf *gguf; // one of the two
    mosa_safetensors *tensors;
    mosa_adapter_pair *pairs; // (n_pairs)
    size_t n_pairs;
};

// Appends a pair after checking that the two matrices belong together. The array has room for every tensor of the file.
mosa_status mosa_adapter_file_add(mosa_adapter_file *file, const mosa_adapter_pair *pair, mosa_error *err);

// Fills the pairs of an object whose tensors are open. `config` is the parsed adapter_config.json.
mosa_status mosa_adapter_peft_read(mosa_adapter_file *file, const json_t *config, const char *base_type,
                                   mosa_error *err);
mosa_status mosa_adapter_gguf_read(mosa_adapter_file *file, mosa_error *err);

#endif
