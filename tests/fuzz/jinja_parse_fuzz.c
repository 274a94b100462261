// Any bytes as template source: parsed or refused, never more.
#include "text/jinja.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    mosa_jinja_template *tmpl;
    mosa_error err;
    if (mosa_jinja_parse((mosa_slice){(const char *)data, size}, &tmpl, &err) != MOSA_OK) return 0;
    mosa_jinja_destroy(tmpl);
    return 0;
}
