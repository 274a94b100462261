// Runs a tokenizer over many texts for the comparison scripts:
//   tokenizer_tool encode|encode-special|encode-add|decode|split FILE|PATTERN < input > output
// Input: per text a little-endian u32 length and its bytes (for decode: u32 count and i32 ids). Output: per text a u32
// count and the ids (for decode: u32 length and the bytes). split prints the end offsets of a scanner's matches, with
// the pattern's name in the place of FILE.
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "text/scan.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

static bool read_exact(void *data, size_t len) {
    return fread(data, 1, len, stdin) == len;
}

static void write_u32(uint32_t value) {
    fwrite(&value, sizeof value, 1, stdout);
}

static mosa_scan_fn find_scan(const char *name) {
    size_t count;
    const mosa_scan_pattern *table = mosa_scan_table(&count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(table[i].name, name) == 0) return table[i].scan;
    }
    return NULL;
}

static void run_split(mosa_scan_fn scan, const char *text, size_t len) {
    uint32_t *ends = malloc((2 * len + 2) * sizeof *ends);
    uint32_t count = 0;
    for (size_t at = 0; ends && at < len;) {
        size_t used = scan(text + at, text + len);
        if (used == 0) { // a gap: the scanner looks at every character
            at += mosa_utf8_len((unsigned char)text[at]);
            continue;
        }
        ends[count++] = (uint32_t)at;
        at += used;
        ends[count++] = (uint32_t)at;
    }
    write_u32(count);
    if (count) fwrite(ends, sizeof *ends, count, stdout);
    free(ends);
}

static int run_decode(const mosa_tokenizer *tokenizer) {
    uint32_t count;
    mosa_error err;
    while (read_exact(&count, sizeof count)) {
        mosa_token_id *ids = malloc((count + 1) * sizeof *ids);
        if (!ids || !read_exact(ids, count * sizeof *ids)) return 1;
        mosa_buf out;
        mosa_buf_init(&out, 0);
        if (mosa_tokenizer_decode(tokenizer, ids, count, 0, &out, &err) != MOSA_OK) {
            fprintf(stderr, "%s\n", err.message);
            return 1;
        }
        write_u32((uint32_t)out.len);
        if (out.len) fwrite(out.data, 1, out.len, stdout);
        mosa_buf_finish(&out);
        free(ids);
    }
    return 0;
}

static int run_encode(const mosa_tokenizer *tokenizer, mosa_scan_fn scan, unsigned flags) {
    uint32_t len;
    mosa_error err;
    mosa_token_list ids;
    mosa_token_list_init(&ids, 0);
    double seconds = 0;
    size_t bytes = 0;
    while (read_exact(&len, sizeof len)) {
        char *text = malloc(len + 1);
        if (!text || !read_exact(text, len)) return 1;
        struct timespec a, b;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
        mosa_token_list_clear(&ids);
        mosa_slice slice = {text, len};
        if (scan) {
            run_split(scan, text, len);
        } else if (mosa_tokenizer_encode(tokenizer, slice, flags, &ids, &err) != MOSA_OK) {
            fprintf(stderr, "%s\n", err.message);
            return 1;
        }
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
        seconds += (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9;
        bytes += len;
        if (!scan) {
            write_u32((uint32_t)ids.len);
            if (ids.len) fwrite(ids.ids, sizeof *ids.ids, ids.len, stdout);
        }
        free(text);
    }
    mosa_token_list_finish(&ids);
    if (getenv("TOKENIZER_TOOL_TIME"))
        fprintf(stderr, "%zu bytes, %.3f s, %.2f MB/s\n", bytes, seconds, (double)bytes / 1e6 / seconds);
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: tokenizer_tool encode|encode-special|encode-add|decode|split FILE\n");
        return 2;
    }
    if (strcmp(argv[1], "split") == 0) {
        mosa_scan_fn scan = find_scan(argv[2]);
        return scan ? run_encode(NULL, scan, 0) : 2;
    }
    mosa_error err;
    mosa_tokenizer *tokenizer = NULL;
    struct timespec a, b;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    if (mosa_tokenizer_load(argv[2], &tokenizer, &err) != MOSA_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    if (getenv("TOKENIZER_TOOL_TIME")) {
        fprintf(stderr, "load %.3f s\n", (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9);
    }
    unsigned flags = 0;
    if (strcmp(argv[1], "encode-special") == 0) flags = MOSA_ENCODE_PARSE_SPECIAL;
    if (strcmp(argv[1], "encode-add") == 0) flags = MOSA_ENCODE_PARSE_SPECIAL | MOSA_ENCODE_ADD_SPECIAL;
    int rc = strcmp(argv[1], "decode") == 0 ? run_decode(tokenizer) : run_encode(tokenizer, NULL, flags);
    mosa_tokenizer_destroy(tokenizer);
    return rc;
}
