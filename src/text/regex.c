// The bridge to PCRE2, and the translation of Oniguruma's escapes.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex.h"

#include <pcre2.h>
#include <stdlib.h>
#include <time.h>

enum {
    PATTERN_BYTES_MAX = 64 * 1024,
    MATCH_STEPS_MAX = 5 * 1000 * 1000, // backtracking steps of one match
    MATCH_TIME_MS_MAX = 10 * 1000,     // of all matches of one encode call
    JIT_STACK_BYTES_MAX = 1024 * 1024,
    NEST_MAX = 100,
};

struct mosa_regex {
    pcre2_code *code;
    bool jit;
};

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

// Rewrites what PCRE2 reads differently: \s (Oniguruma's has U+0085), \w (has marks). Inside a class the negated forms
// have no replacement and stay. False for a class inside a class and for &&, which PCRE2 would misread.
static bool translate(mosa_slice pattern, mosa_buf *out) {
    static const char word[] = "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}";
    bool in_class = false;
    for (size_t i = 0; i < pattern.len; i++) {
        char c = pattern.data[i];
        if (c == '\\' && i + 1 < pattern.len) {
            char escape = pattern.data[++i];
            if (escape == 's')
                mosa_buf_append_str(out, in_class ? "\\s\\x85" : "[\\s\\x85]");
            else if (escape == 'S' && !in_class)
                mosa_buf_append_str(out, "[^\\s\\x85]");
            else if (escape == 'w')
                mosa_buf_printf(out, in_class ? "%s" : "[%s]", word);
            else if (escape == 'W' && !in_class)
                mosa_buf_printf(out, "[^%s]", word);
            else if (escape == 'h')
                mosa_buf_append_str(out, in_class ? "0-9a-fA-F" : "[0-9a-fA-F]");
            else {
                mosa_buf_append_char(out, c);
                mosa_buf_append_char(out, escape);
            }
            continue;
        }
        if (c == '[' && !in_class) {
            in_class = true;
            mosa_buf_append_char(out, c);
            // A ']' that comes first is a literal.
            if (i + 1 < pattern.len && pattern.data[i + 1] == '^') mosa_buf_append_char(out, pattern.data[++i]);
            if (i + 1 < pattern.len && pattern.data[i + 1] == ']') mosa_buf_append_str(out, (i++, "\\]"));
            continue;
        }
        bool posix = in_class && c == '[' && i + 1 < pattern.len && pattern.data[i + 1] == ':';
        if (posix) { // [:alpha:]
            while (i + 1 < pattern.len && pattern.data[i] != ']') mosa_buf_append_char(out, pattern.data[i++]);
            c = pattern.data[i];
        } else if (in_class && (c == '[' || (c == '&' && i + 1 < pattern.len && pattern.data[i + 1] == '&'))) {
            return false;
        } else if (c == ']') {
            in_class = false;
        }
        mosa_buf_append_char(out, c);
    }
    return true;
}

static mosa_status compile_error(int code, size_t offset, mosa_error *err) {
    if (code == PCRE2_ERROR_NOMEMORY) return mosa_fail(err, MOSA_ENOMEM, "out of memory for a regular expression");
    PCRE2_UCHAR text[128];
    if (pcre2_get_error_message(code, text, sizeof text) < 0) text[0] = '\0';
    return mosa_fail(err, MOSA_EUNSUPPORTED, "regular expression: %s (near byte %zu)", (const char *)text, offset);
}

mosa_status mosa_regex_compile(mosa_slice pattern, mosa_regex **out, mosa_error *err) {
    if (pattern.len > PATTERN_BYTES_MAX) {
        return mosa_fail(err, MOSA_ELIMIT, "regular expression of %zu bytes, the limit is %d", pattern.len,
                         PATTERN_BYTES_MAX);
    }
    mosa_buf translated;
    mosa_buf_init(&translated, 0);
    if (!translate(pattern, &translated)) {
        mosa_buf_finish(&translated);
        return mosa_fail(err, MOSA_EUNSUPPORTED, "regular expression: a class within a class, or &&");
    }
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    mosa_regex *regex = calloc(1, sizeof *regex);
    if (mosa_buf_failed(&translated) || !context || !regex) {
        mosa_buf_finish(&translated);
        pcre2_compile_context_free(context);
        free(regex);
        return mosa_fail(err, MOSA_ENOMEM, "out of memory for a regular expression");
    }
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_set_parens_nest_limit(context, NEST_MAX);
    int code;
    PCRE2_SIZE offset;
    uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
    regex->code =
        pcre2_compile((PCRE2_SPTR)mosa_buf_str(&translated), translated.len, options, &code, &offset, context);
    mosa_buf_finish(&translated);
    pcre2_compile_context_free(context);
    if (!regex->code) {
        free(regex);
        return compile_error(code, offset, err);
    }
    regex->jit = pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE) == 0;
    *out = regex;
    return MOSA_OK;
}

void mosa_regex_free(mosa_regex *regex) {
    if (!regex) return;
    pcre2_code_free(regex->code);
    free(regex);
}

void mosa_regex_scratch_finish(mosa_regex_scratch *scratch) {
    pcre2_match_data_free(scratch->match_data);
    pcre2_match_context_free(scratch->context);
    pcre2_jit_stack_free(scratch->stack);
    *scratch = (mosa_regex_scratch){0};
}

static bool prepare(mosa_regex_scratch *scratch) {
    if (scratch->match_data) return true;
    scratch->context = pcre2_match_context_create(NULL);
    scratch->stack = pcre2_jit_stack_create(32 * 1024, JIT_STACK_BYTES_MAX, NULL);
    if (!scratch->context || !scratch->stack) return false;
    pcre2_set_match_limit(scratch->context, MATCH_STEPS_MAX);
    pcre2_set_heap_limit(scratch->context, 64 * 1024); // KiB, of the interpreter when there is no JIT
    pcre2_jit_stack_assign(scratch->context, NULL, scratch->stack);
    // Only the whole match is wanted, so one pair of offsets fits every expression.
    scratch->match_data = pcre2_match_data_create(1, NULL);
    scratch->deadline_ms = now_ms() + MATCH_TIME_MS_MAX;
    return scratch->match_data != NULL;
}

mosa_status mosa_regex_find(const mosa_regex *regex, mosa_regex_scratch *scratch, mosa_slice text, size_t from,
                            bool *found, size_t *start, size_t *end, mosa_error *err) {
    if (!prepare(scratch)) return mosa_fail(err, MOSA_ENOMEM, "out of memory for regular expression matching");
    int rc = pcre2_match(regex->code, (PCRE2_SPTR)(text.len ? text.data : ""), text.len, from, PCRE2_NO_UTF_CHECK,
                         scratch->match_data, scratch->context);
    *found = rc >= 0;
    if (rc == PCRE2_ERROR_NOMATCH) return MOSA_OK;
    if (rc == PCRE2_ERROR_NOMEMORY) return mosa_fail(err, MOSA_ENOMEM, "out of memory for regular expression matching");
    if (rc < 0 || now_ms() > scratch->deadline_ms) {
        return mosa_fail(err, MOSA_ELIMIT, "a regular expression of the tokenizer takes too long on this text");
    }
    const PCRE2_SIZE *offsets = pcre2_get_ovector_pointer(scratch->match_data);
    *start = offsets[0];
    // \K can put the start behind the end; such a match is empty.
    *end = offsets[1] < offsets[0] ? offsets[0] : offsets[1];
    return MOSA_OK;
}
