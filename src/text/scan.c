// The scanners follow their patterns alternative by alternative, in order: the first that matches wins, as in a
// backtracking engine. Where an alternative's greedy parts overlap, the comment says how backtracking ends.
#include "text/scan.h"

#include "text/unicode.h"

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define UPPER        "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER        "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define TAIL         "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

const char mosa_pattern_gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const char mosa_pattern_cl100k[] =
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}+| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+|\\s++$|"
    "\\s*[\\r\\n]|\\s+(?!\\S)|\\s";
const char mosa_pattern_llama3[] =
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" TAIL;
const char mosa_pattern_qwen2[] =
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" TAIL;
const char mosa_pattern_qwen35[] =
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" TAIL;
const char mosa_pattern_o200k[] =
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" CONTRACTIONS "?|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER
    "*" CONTRACTIONS "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" TAIL;
const char mosa_pattern_tekken[] = "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER
                                   "*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" TAIL;
const char mosa_pattern_deepseek_v3[] =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
    " ?[\\p{P}\\p{S}]+[\\r\\n]*|" TAIL;

// --- Character classes ----------------------------------------------------------------------------------------------

enum { LETTER = MOSA_UM_L, MARK = MOSA_UM_M, NUMBER = MOSA_UM_N };

typedef struct character {
    uint32_t code;
    uint32_t mask; // its category's bit
    unsigned len;
} character;

static inline character look(const char *at) {
    character c;
    c.code = mosa_utf8_decode(at, &c.len);
    c.mask = mosa_unicode_mask(c.code);
    return c;
}

static inline bool is_newline(uint32_t code) {
    return code == '\r' || code == '\n';
}

// End of the longest run of characters whose category is in `mask`, at most `max` of them.
static inline const char *run_of(const char *at, const char *end, uint32_t mask, size_t max) {
    while (at < end && max-- > 0) {
        character c = look(at);
        if (!(c.mask & mask)) break;
        at += c.len;
    }
    return at;
}

// End of the longest run of characters that are neither space nor in `mask`.
static inline const char *run_of_other(const char *at, const char *end, uint32_t mask) {
    while (at < end) {
        character c = look(at);
        if ((c.mask & mask) || mosa_unicode_is_space(c.code)) break;
        at += c.len;
    }
    return at;
}

static const char *run_of_newlines(const char *at, const char *end, bool slash) {
    while (at < end && (is_newline((unsigned char)*at) || (slash && *at == '/'))) at++;
    return at;
}

// \s*[\r\n]+|\s+(?!\S)|\s+ (with `newlines`), else the last two; `at` is a space. With `all_at_end`, \s++$ goes first.
static size_t scan_spaces(const char *at, const char *end, bool newlines, bool all_at_end) {
    const char *p = at, *last = at, *after_newline = NULL;
    while (p < end) {
        character c = look(p);
        if (!mosa_unicode_is_space(c.code)) break;
        last = p;
        p += c.len;
        if (is_newline(c.code)) after_newline = p;
    }
    if (all_at_end && p == end) return (size_t)(p - at);
    if (newlines && after_newline) return (size_t)(after_newline - at);
    if (p == end || last == at) return (size_t)(p - at);
    return (size_t)(last - at); // a space before a word belongs to the word
}

// --- Contractions ---------------------------------------------------------------------------------------------------

// 's|'t|'re|'ve|'m|'ll|'d at an apostrophe; U+017F folds to s when case does not matter.
static size_t scan_contraction(const char *at, const char *end, bool any_case) {
    size_t left = (size_t)(end - at);
    if (left < 2 || *at != '\'') return 0;
    if (any_case && left >= 3 && memcmp(at + 1, "\xC5\xBF", 2) == 0) return 3;
    char fold = any_case ? 0x20 : 0;
    char a = at[1] | fold, b = left >= 3 ? at[2] | fold : 0;
    if ((unsigned char)at[1] >= 0x80) return 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return 3;
    return 0;
}

// --- GPT-2 ----------------------------------------------------------------------------------------------------------

size_t mosa_scan_gpt2(const char *at, const char *end) {
    size_t contraction = scan_contraction(at, end, false);
    if (contraction) return contraction;
    const char *p = at + (*at == ' ' && at + 1 < end);
    character c = look(p);
    if (c.mask & LETTER) return (size_t)(run_of(p + c.len, end, LETTER, SIZE_MAX) - at);
    if (c.mask & NUMBER) return (size_t)(run_of(p + c.len, end, NUMBER, SIZE_MAX) - at);
    if (!mosa_unicode_is_space(c.code)) return (size_t)(run_of_other(p, end, LETTER | NUMBER) - at);
    return scan_spaces(at, end, false, false);
}

// --- cl100k and its descendants -------------------------------------------------------------------------------------

typedef struct cl100k_rules {
    uint32_t letters;  // the class of words
    size_t digits_max; // \p{N}{1,digits_max}
    bool all_at_end;   // \s++$
} cl100k_rules;

static inline __attribute__((always_inline)) size_t scan_cl100k(const char *at, const char *end, cl100k_rules rules) {
    size_t contraction = scan_contraction(at, end, true);
    if (contraction) return contraction;
    character c = look(at);
    if (c.mask & rules.letters && c.mask & LETTER) return (size_t)(run_of(at, end, rules.letters, SIZE_MAX) - at);
    if (c.mask & NUMBER) return (size_t)(run_of(at, end, NUMBER, rules.digits_max) - at);
    // [^\r\n\p{L}\p{N}]?LETTERS+: one leading character of any other kind. If that is itself of LETTERS (a mark) and
    // nothing follows, the engine gives the leading place back and the mark alone is the word.
    if (!is_newline(c.code)) {
        const char *word = run_of(at + c.len, end, rules.letters, SIZE_MAX);
        if (word > at + c.len || (c.mask & rules.letters)) return (size_t)(word - at);
    }
    const char *p = at + (*at == ' ' && at + 1 < end);
    const char *other = run_of_other(p, end, rules.letters | NUMBER);
    if (other > p) return (size_t)(run_of_newlines(other, end, false) - at);
    return scan_spaces(at, end, true, rules.all_at_end);
}

static size_t scan_cl100k_base(const char *at, const char *end) {
    return scan_cl100k(at, end, (cl100k_rules){LETTER, 3, true});
}
static size_t scan_llama3(const char *at, const char *end) {
    return scan_cl100k(at, end, (cl100k_rules){LETTER, 3, false});
}
static size_t scan_qwen2(const char *at, const char *end) {
    return scan_cl100k(at, end, (cl100k_rules){LETTER, 1, false});
}
static size_t scan_qwen35(const char *at, const char *end) {
    return scan_cl100k(at, end, (cl100k_rules){LETTER | MARK, 1, false});
}

// --- o200k and Tekken: words by case --------------------------------------------------------------------------------

// UPPER*LOWER+ from `at`; NULL if it does not match. UPPER* takes all it can; LOWER+ then starts behind it, or, if no
// lower character stands there, at the last taken character that is of both classes (and ends behind it, because the
// characters after it are upper only).
static const char *match_lower_word(const char *at, const char *end) {
    const char *p = at, *both_end = NULL;
    while (p < end) {
        character c = look(p);
        if (!(c.mask & MOSA_UM_UPPER)) {
            if (c.mask & MOSA_UM_LOWER) return run_of(p, end, MOSA_UM_LOWER, SIZE_MAX);
            break;
        }
        p += c.len;
        if (c.mask & MOSA_UM_LOWER) both_end = p;
    }
    return both_end;
}

// UPPER+LOWER* from `at`; NULL if it does not match.
static const char *match_upper_word(const char *at, const char *end) {
    const char *upper = run_of(at, end, MOSA_UM_UPPER, SIZE_MAX);
    return upper == at ? NULL : run_of(upper, end, MOSA_UM_LOWER, SIZE_MAX);
}

// The two word alternatives, each with and without its optional leading character.
static const char *match_case_word(const char *at, const char *end) {
    character c = look(at);
    bool may_lead = !is_newline(c.code) && !(c.mask & (LETTER | NUMBER));
    const char *word = may_lead ? match_lower_word(at + c.len, end) : NULL;
    if (!word) word = match_lower_word(at, end);
    if (!word && may_lead) word = match_upper_word(at + c.len, end);
    return word ? word : match_upper_word(at, end);
}

static inline __attribute__((always_inline)) size_t scan_cased(const char *at, const char *end, bool contractions,
                                                               size_t digits_max) {
    const char *word = match_case_word(at, end);
    if (word) {
        if (contractions && word < end) word += scan_contraction(word, end, true);
        return (size_t)(word - at);
    }
    const char *number = run_of(at, end, NUMBER, digits_max);
    if (number > at) return (size_t)(number - at);
    const char *p = at + (*at == ' ' && at + 1 < end);
    const char *other = run_of_other(p, end, LETTER | NUMBER);
    if (other > p) return (size_t)(run_of_newlines(other, end, true) - at);
    return scan_spaces(at, end, true, false);
}

static size_t scan_o200k(const char *at, const char *end) {
    return scan_cased(at, end, true, 3);
}
static size_t scan_tekken(const char *at, const char *end) {
    return scan_cased(at, end, false, 1);
}

// --- DeepSeek V3 ----------------------------------------------------------------------------------------------------

static bool is_ascii_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// Ranges that split before the main pattern, which therefore leaves digits and control characters unmatched.
static size_t scan_deepseek_v3(const char *at, const char *end) {
    character c = look(at);
    if (c.code > ' ' && c.code < 0x7F && (c.mask & (MOSA_UM_P | MOSA_UM_S)) && at + 1 < end && is_ascii_letter(at[1])) {
        const char *p = at + 1;
        while (p < end && is_ascii_letter(*p)) p++;
        return (size_t)(p - at);
    }
    enum { WORD = LETTER | MARK, SYMBOL = MOSA_UM_P | MOSA_UM_S };
    if (c.mask & LETTER) return (size_t)(run_of(at, end, WORD, SIZE_MAX) - at);
    if (!is_newline(c.code) && !(c.mask & SYMBOL)) {
        const char *word = run_of(at + c.len, end, WORD, SIZE_MAX);
        if (word > at + c.len || (c.mask & MARK)) return (size_t)(word - at);
    }
    const char *p = at + (*at == ' ' && at + 1 < end);
    const char *symbols = run_of(p, end, SYMBOL, SIZE_MAX);
    if (symbols > p) return (size_t)(run_of_newlines(symbols, end, false) - at);
    return mosa_unicode_is_space(c.code) ? scan_spaces(at, end, true, false) : 0;
}

// --- Small patterns of pre-tokenizer sequences ----------------------------------------------------------------------

static size_t scan_number(const char *at, const char *end) {
    return (size_t)(run_of(at, end, NUMBER, 1) - at);
}
static size_t scan_numbers(const char *at, const char *end) {
    return (size_t)(run_of(at, end, NUMBER, SIZE_MAX) - at);
}
static size_t scan_3_numbers(const char *at, const char *end) {
    return (size_t)(run_of(at, end, NUMBER, 3) - at);
}

static size_t scan_spaced(const char *at, const char *end, uint32_t mask) {
    character c = look(at);
    const char *p = mosa_unicode_is_space(c.code) ? at + c.len : at;
    const char *run = run_of(p, end, mask, SIZE_MAX);
    return run > p ? (size_t)(run - at) : 0;
}
static size_t scan_spaced_letters(const char *at, const char *end) {
    return scan_spaced(at, end, LETTER);
}
static size_t scan_spaced_punctuation(const char *at, const char *end) {
    return scan_spaced(at, end, MOSA_UM_P);
}
static size_t scan_newline(const char *at, const char *end) {
    (void)end;
    return is_newline((unsigned char)*at);
}

// --- Table ----------------------------------------------------------------------------------------------------------

static const mosa_scan_pattern table[] = {
    {"gpt2", mosa_pattern_gpt2, mosa_scan_gpt2},
    {"gpt2-possessive", "'(?:[sdmt]|ll|ve|re)| ?\\p{L}++| ?\\p{N}++| ?[^\\s\\p{L}\\p{N}]++|\\s++$|\\s+(?!\\S)|\\s",
     mosa_scan_gpt2},
    {"cl100k", mosa_pattern_cl100k, scan_cl100k_base},
    {"llama3", mosa_pattern_llama3, scan_llama3},
    {"qwen2", mosa_pattern_qwen2, scan_qwen2},
    {"qwen35", mosa_pattern_qwen35, scan_qwen35},
    {"o200k", mosa_pattern_o200k, scan_o200k},
    {"tekken", mosa_pattern_tekken, scan_tekken},
    {"deepseek-v3", mosa_pattern_deepseek_v3, scan_deepseek_v3},
    {"number", "\\p{N}", scan_number},
    {"numbers", "\\p{N}+", scan_numbers},
    {"3-numbers", "\\p{N}{1,3}", scan_3_numbers},
    {"spaced-letters", "\\s?\\p{L}+", scan_spaced_letters},
    {"spaced-punctuation", "\\s?\\p{P}+", scan_spaced_punctuation},
    {"newline", "[\\r\\n]", scan_newline},
};

const mosa_scan_pattern *mosa_scan_table(size_t *count) {
    *count = MOSA_COUNT(table);
    return table;
}

static bool same_pattern(mosa_slice given, const char *known) {
    size_t at = 0;
    for (size_t i = 0; i < given.len; i++) {
        char c = given.data[i];
        if (c == '\r' || c == '\n') {
            if (known[at] != '\\' || known[at + 1] != (c == '\r' ? 'r' : 'n')) return false;
            at += 2;
        } else if (c == '\0' || known[at++] != c) {
            return false;
        }
    }
    return known[at] == '\0';
}

mosa_scan_fn mosa_scan_find(mosa_slice pattern) {
    for (size_t i = 0; i < MOSA_COUNT(table); i++) {
        if (same_pattern(pattern, table[i].pattern)) return table[i].scan;
    }
    return NULL;
}
