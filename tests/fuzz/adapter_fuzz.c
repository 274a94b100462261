// LoRA adapters: a first byte 'G' means that a GGUF file follows; 'P' that a PEFT folder does, as the length of
// adapter_config.json (u16, little-endian), its bytes, and adapter_model.safetensors.
#include "model/adapter_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile int64_t sink; // keeps the reads

static mosa_status parse_peft(const uint8_t *data, size_t size, mosa_adapter_file **file, mosa_error *err) {
    size_t len = size < 2 ? 0 : (size_t)data[0] | (size_t)data[1] << 8;
    if (size < 2 || len > size - 2) return MOSA_EINVALID;
    mosa_slice config = {(const char *)data + 2, len};
    return mosa_adapter_file_parse_peft(config, data + 2 + len, size - 2 - len, "adapter", file, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    mosa_adapter_file *file;
    mosa_error err;
    if (size == 0) return 0;
    mosa_status status = data[0] == 'G' ? mosa_adapter_file_parse_gguf(data + 1, size - 1, "adapter", &file, &err)
                                        : parse_peft(data + 1, size - 1, &file, &err);
    if (status != MOSA_OK) return 0;
    for (size_t i = 0; i < mosa_adapter_file_count(file); i++) {
        const mosa_adapter_pair *pair = mosa_adapter_file_at(file, i);
        const mosa_tensor_view *views[] = {pair->a, pair->b};
        for (int v = 0; v < 2; v++) { // every byte that a reader would decode
            const volatile uint8_t *bytes = views[v]->data;
            for (size_t b = 0; b < views[v]->bytes; b++) sink += bytes[b];
        }
        sink += pair->a->dims[0] + pair->b->dims[1] + pair->layer;
    }
    mosa_adapter_file_close(file);
    return 0;
}
