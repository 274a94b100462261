// A JSON array [schema, value]: both are hostile.
#include "codec/json.h"
#include "codec/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    mosa_error err;
    json_t *pair = NULL;
    mosa_schema *schema = NULL;
    if (mosa_json_parse((mosa_slice){(const char *)data, size}, NULL, &pair, &err) != MOSA_OK) return 0;
    json_t *value = json_array_get(pair, 1);
    if (value && mosa_schema_compile(json_array_get(pair, 0), &schema, &err) == MOSA_OK) {
        char path[MOSA_SCHEMA_PATH_MAX];
        mosa_status status = mosa_schema_check(schema, value, path, &err);
        (void)status;
    }
    mosa_schema_destroy(schema);
    json_decref(pair);
    return 0;
}
