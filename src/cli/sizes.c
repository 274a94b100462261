// The block of sizes that serve, engine and run print.
#include "cli/sizes.h"

#include <inttypes.h>

enum { ORDINARY_TOKENS = 4096 };

static double mib(int64_t bytes) {
    return (double)bytes / (1 << 20);
}

void mosa_print_sizes(FILE *stream, const mosa_engine_info *info) {
    fprintf(stream, "weights %.1f MiB", mib(info->weight_bytes));
    if (info->draft_weight_bytes) fprintf(stream, "; draft model %.1f MiB", mib(info->draft_weight_bytes));
    fprintf(stream, "; scratch %.1f MiB\n", mib(info->scratch_bytes));
    if (info->kv_pages == 0) { // an encoder
        fprintf(stream, "fits    texts of up to %" PRId64 " tokens\n", info->context_tokens);
        return;
    }
    int64_t tokens = info->context_tokens < ORDINARY_TOKENS ? info->context_tokens : ORDINARY_TOKENS;
    int64_t pages = (tokens + info->page_tokens - 1) / info->page_tokens;
    fprintf(stream, "KV      %.1f KiB per token; %" PRId64 " pages of %d tokens, %.1f MiB\n",
            (double)info->kv_token_bytes / 1024, info->kv_pages, info->page_tokens, mib(info->kv_bytes));
    fprintf(stream,
            "fits    sequences of up to %" PRId64 " tokens; %" PRId64 " of %" PRId64 " tokens at the same time\n",
            info->context_tokens, info->kv_pages / pages, tokens);
}
