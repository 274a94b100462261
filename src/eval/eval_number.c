// One scanner for both rules.
#include "eval/eval_number.h"

#include <stddef.h>
#include <string.h>

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

// Reads a number that begins at `at` (a sign or a digit); returns its end, or NULL. Too long a number is none.
static const char *read_number(const char *at, char out[MOSA_EVAL_NUMBER_MAX]) {
    char text[MOSA_EVAL_NUMBER_MAX];
    size_t n = 0;
    bool fraction = false;
    if (*at == '-') text[n++] = *at++;
    if (*at == '$') at++;
    if (!is_digit(*at)) return NULL;
    for (; n + 1 < sizeof text; at++) {
        if (*at == ',' && is_digit(at[1]) && !fraction) continue;
        if (*at == '.' && is_digit(at[1]) && !fraction)
            fraction = true;
        else if (!is_digit(*at))
            break;
        text[n++] = *at;
    }
    if (is_digit(*at)) return NULL;
    while (fraction && text[n - 1] == '0') n--;
    if (fraction && text[n - 1] == '.') n--;
    size_t skip = text[0] == '-';
    size_t zeros = skip;
    while (zeros + 1 < n && text[zeros] == '0' && is_digit(text[zeros + 1])) zeros++;
    if (skip) out[0] = '-';
    memcpy(out + skip, text + zeros, n - zeros);
    out[skip + n - zeros] = '\0';
    return at;
}

bool mosa_eval_marked_number(const char *text, char out[MOSA_EVAL_NUMBER_MAX]) {
    const char *mark = strstr(text, "####");
    if (!mark) return false;
    mark += strspn(mark, "# $");
    return read_number(mark, out) != NULL;
}

bool mosa_eval_last_number(const char *text, char out[MOSA_EVAL_NUMBER_MAX]) {
    bool found = false;
    for (const char *at = text; *at;) {
        const char *end = is_digit(*at) || *at == '-' ? read_number(at, out) : NULL;
        found |= end != NULL;
        at = end ? end : at + 1;
    }
    return found;
}
