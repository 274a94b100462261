// YAML text.
#include "codec/yaml.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    mosa_error err;
    json_t *tree = NULL;
    if (mosa_yaml_parse((mosa_slice){(const char *)data, size}, &tree, &err) == MOSA_OK && !tree) abort();
    json_decref(tree);
    return 0;
}
