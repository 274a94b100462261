// Ranks to a spec: tokens get GPT-2's spelling, merges follow from the ranks.
#include "text/tokenizer_tiktoken.h"

#include <stdlib.h>

#include "text/base64.h"
#include "text/byte_level.h"
#include "text/scan.h"
#include "text/tokenizer_spec.h"

enum { LINE_MAX_BYTES = 4096, SPECIAL_MAX = 8 };

typedef struct encoding {
    const char *name, *pattern;
    size_t token_count; // special tokens included, as OpenAI defines the encoding
    struct {
        const char *text;
        mosa_token_id id;
    } special[SPECIAL_MAX];
} encoding;

static const encoding encodings[] = {
    {"gpt2", mosa_pattern_gpt2, 50257, {{"<|endoftext|>", 50256}}},
    {"r50k", mosa_pattern_gpt2, 50257, {{"<|endoftext|>", 50256}}},
    {"p50k", mosa_pattern_gpt2, 50281, {{"<|endoftext|>", 50256}}},
    {"cl100k",
     mosa_pattern_cl100k,
     100277,
     {{"<|endoftext|>", 100257},
      {"<|fim_prefix|>", 100258},
      {"<|fim_middle|>", 100259},
      {"<|fim_suffix|>", 100260},
      {"<|endofprompt|>", 100276}}},
    {"o200k", mosa_pattern_o200k, 200019, {{"<|endoftext|>", 199999}, {"<|endofprompt|>", 200018}}},
};

// gpt2.tiktoken, cl100k_base.tiktoken
static const encoding *find_encoding(const char *source) {
    const char *slash = strrchr(source, '/');
    mosa_slice name = mosa_slice_of(slash ? slash + 1 : source);
    const char *dot = memchr(name.data, '.', name.len);
    if (dot) name.len = (size_t)(dot - name.data);
    if (mosa_slice_ends_with(name, MOSA_SLICE("_base"))) name.len -= 5;
    for (size_t i = 0; i < MOSA_COUNT(encodings); i++) {
        if (mosa_slice_eq(name, mosa_slice_of(encodings[i].name))) return &encodings[i];
    }
    return NULL;
}

typedef struct loader {
    const char *source;
    mosa_arena arena;
    mosa_tokenizer_spec spec;
    mosa_token_spec *tokens;
    mosa_buf spelling;
    mosa_error *err;
} loader;

static mosa_status bad_line(loader *load, size_t line, const char *what) {
    return mosa_fail(load->err, MOSA_ECORRUPT, "%s:%zu: %s", load->source, line, what);
}

static mosa_status read_line(loader *load, mosa_slice line, size_t number) {
    const char *space = memchr(line.data, ' ', line.len);
    char bytes[LINE_MAX_BYTES], digits[16];
    size_t code_len = space ? (size_t)(space - line.data) : line.len;
    size_t digit_len = space ? line.len - code_len - 1 : 0;
    if (line.len > LINE_MAX_BYTES || digit_len == 0 || digit_len >= sizeof digits) {
        return bad_line(load, number, "not \"<base64> <rank>\"");
    }
    ptrdiff_t len = mosa_base64_decode((mosa_slice){line.data, code_len}, bytes);
    memcpy(digits, space + 1, digit_len);
    digits[digit_len] = '\0';
    int64_t rank;
    if (len <= 0 || !mosa_parse_i64(digits, &rank) || rank < 0 || (size_t)rank >= load->spec.token_count) {
        return bad_line(load, number, "the base64 or the rank is wrong");
    }
    mosa_token_spec *token = &load->tokens[rank];
    if (token->text.data) return bad_line(load, number, "this rank was there before");
    mosa_buf_clear(&load->spelling);
    mosa_byte_level_encode((mosa_slice){bytes, (size_t)len}, &load->spelling);
    char *text = mosa_arena_strndup(&load->arena, mosa_buf_str(&load->spelling), load->spelling.len);
    if (!text || mosa_buf_failed(&load->spelling)) {
        return mosa_fail(load->err, MOSA_ENOMEM, "%s: out of memory for the vocabulary", load->source);
    }
    *token = (mosa_token_spec){.text = {text, load->spelling.len}, .type = MOSA_TOKEN_NORMAL};
    return MOSA_OK;
}

static mosa_status read_lines(loader *load, mosa_slice data) {
    size_t number = 1;
    for (size_t at = 0; at < data.len; number++) {
        const char *newline = memchr(data.data + at, '\n', data.len - at);
        size_t end = newline ? (size_t)(newline - data.data) : data.len;
        mosa_slice line = {data.data + at, end - at};
        if (line.len && line.data[line.len - 1] == '\r') line.len--;
        if (line.len) MOSA_TRY(read_line(load, line, number));
        at = end + 1;
    }
    return MOSA_OK;
}

static mosa_status load_all(loader *load, mosa_slice data, mosa_tokenizer **out) {
    const encoding *known = find_encoding(load->source);
    if (!known) {
        return mosa_fail(load->err, MOSA_EUNSUPPORTED,
                         "%s: no encoding of this name is known (gpt2, r50k, p50k, cl100k, o200k)", load->source);
    }
    mosa_tokenizer_spec *spec = &load->spec;
    mosa_tokenizer_spec_init(spec, load->source);
    spec->token_count = known->token_count;
    load->tokens = MOSA_ARENA_ARRAY(&load->arena, mosa_token_spec, known->token_count);
    if (!load->tokens) return mosa_fail(load->err, MOSA_ENOMEM, "%s: out of memory for the vocabulary", load->source);
    MOSA_TRY(read_lines(load, data));
    mosa_added_token_spec added[SPECIAL_MAX];
    for (size_t i = 0; i < SPECIAL_MAX && known->special[i].text; i++) {
        mosa_slice text = mosa_slice_of(known->special[i].text);
        mosa_token_id id = known->special[i].id;
        if (load->tokens[id].text.data) return bad_line(load, 0, "a special token's id is taken by a rank");
        load->tokens[id] = (mosa_token_spec){.text = text, .type = MOSA_TOKEN_CONTROL, .added_only = true};
        added[spec->added_count++] = (mosa_added_token_spec){.text = text, .id = id, .special = true};
    }
    const mosa_pretokenizer_spec steps[] = {{.kind = MOSA_PRE_SPLIT,
                                             .pattern = mosa_slice_of(known->pattern),
                                             .regex = true,
                                             .behavior = MOSA_SPLIT_ISOLATED},
                                            {.kind = MOSA_PRE_BYTE_LEVEL, .pattern = MOSA_SLICE("")}};
    const mosa_decoder_spec decoder = {
        .kind = MOSA_DEC_BYTE_LEVEL, .pattern = MOSA_SLICE(""), .content = MOSA_SLICE("")};
    spec->tokens = load->tokens;
    spec->added = added;
    spec->special.eos = known->special[0].id;
    spec->model = MOSA_MODEL_BPE;
    spec->merge_source = MOSA_MERGES_BY_RANK;
    spec->ignore_merges = true;
    spec->pretokenizers = steps;
    spec->pretokenizer_count = MOSA_COUNT(steps);
    spec->decoders = &decoder;
    spec->decoder_count = 1;
    return mosa_tokenizer_create(spec, out, load->err);
}

mosa_status mosa_tokenizer_from_tiktoken(mosa_slice data, const char *source, mosa_tokenizer **out, mosa_error *err) {
    loader load = {.source = source, .err = err};
    mosa_arena_init(&load.arena, 1 << 20, 0);
    mosa_buf_init(&load.spelling, 0);
    mosa_status status = load_all(&load, data, out);
    mosa_buf_finish(&load.spelling);
    mosa_arena_finish(&load.arena);
    return status;
}
