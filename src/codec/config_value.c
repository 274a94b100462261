// One value of a configuration row: from text into its field, and back.
#include "codec/config_internal.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

typedef struct unit {
    const char *name;
    double ms;
} unit;

static const unit units[] = {{"ms", 1}, {"s", 1000}, {"m", 60e3}, {"h", 3600e3}, {"d", 86400e3}};

static void *field_of(const mosa_option *option, void *values) {
    return (char *)values + option->offset;
}

static const void *field_in(const mosa_option *option, const void *values) {
    return (const char *)values + option->offset;
}

static bool parse_bool(const char *text, bool *out) {
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
    for (size_t i = 0; i < MOSA_COUNT(words); i++) {
        if (strcasecmp(text, words[i]) != 0) continue;
        *out = i % 2;
        return true;
    }
    return false;
}

// A number with a unit; a bare number is in seconds.
static bool parse_duration(const char *text, double *ms) {
    char number[32];
    size_t len = strcspn(text, "mshd");
    if (len == 0 || len >= sizeof number) return false;
    memcpy(number, text, len);
    number[len] = '\0';
    double value;
    if (!mosa_parse_f64(number, &value) || value < 0) return false;
    for (size_t i = 0; i < MOSA_COUNT(units); i++) {
        if (strcmp(text + len, text[len] ? units[i].name : "s") != 0 && text[len]) continue;
        if (!text[len] && strcmp(units[i].name, "s") != 0) continue;
        *ms = round(value * units[i].ms);
        return true;
    }
    return false;
}

static bool is_choice(const char *choices, const char *text) {
    size_t len = strlen(text);
    for (const char *at = choices; at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL)
        if (len > 0 && strcspn(at, "|") == len && strncmp(at, text, len) == 0) return true;
    return false;
}

static bool in_range(const mosa_option *option, double value) {
    return (option->min == 0 && option->max == 0) || (value >= option->min && value <= option->max);
}

static mosa_status add_item(mosa_string_list *list, const char *copy, mosa_arena *arena) {
    // Grows by doubling at powers of two, so that no capacity has to be kept.
    if ((list->count & (list->count - 1)) == 0) {
        size_t capacity = list->count ? list->count * 2 : 1;
        const char **items = MOSA_ARENA_ARRAY(arena, const char *, capacity);
        if (!items) return MOSA_ENOMEM;
        if (list->count) memcpy(items, list->items, list->count * sizeof *items);
        list->items = items;
    }
    list->items[list->count++] = copy;
    return MOSA_OK;
}

static mosa_status set_string(const mosa_option *option, const char *text, mosa_arena *arena, void *field) {
    char *copy = mosa_arena_strdup(arena, text);
    if (!copy) return MOSA_ENOMEM;
    if (option->type == MOSA_OPTION_LIST) return add_item(field, copy, arena);
    *(const char **)field = copy;
    return MOSA_OK;
}

// MOSA_EINVALID for text of another kind, MOSA_ELIMIT for a number out of range.
static mosa_status set_number(const mosa_option *option, const char *text, void *field) {
    int64_t i64 = 0;
    uint64_t bytes;
    double number = 0;
    bool parsed = false;
    switch (option->type) {
    case MOSA_OPTION_INT:
        parsed = mosa_parse_i64(text, &i64);
        number = (double)i64;
        break;
    case MOSA_OPTION_BYTES:
        parsed = mosa_parse_bytes(text, &bytes) && bytes <= INT64_MAX;
        if (parsed) number = (double)(i64 = (int64_t)bytes);
        break;
    case MOSA_OPTION_DURATION:
        parsed = parse_duration(text, &number);
        if (parsed && number > 9e15) return MOSA_ELIMIT;
        i64 = (int64_t)number;
        break;
    default:
        parsed = mosa_parse_f64(text, &number);
        break;
    }
    if (!parsed) return MOSA_EINVALID;
    if (!in_range(option, number)) return MOSA_ELIMIT;
    if (option->type == MOSA_OPTION_FLOAT)
        *(double *)field = number;
    else
        *(int64_t *)field = i64;
    return MOSA_OK;
}

static const char *kind_of(const mosa_option *option) {
    static const char *const kinds[] = {
        [MOSA_OPTION_BOOL] = "true or false",
        [MOSA_OPTION_INT] = "an integer",
        [MOSA_OPTION_FLOAT] = "a number",
        [MOSA_OPTION_BYTES] = "a size such as 512K, 64M or 8G",
        [MOSA_OPTION_DURATION] = "a time such as 250ms, 30s, 5m or 2h",
        [MOSA_OPTION_STRING] = "text",
        [MOSA_OPTION_CHOICE] = "one of the choices",
        [MOSA_OPTION_LIST] = "text",
    };
    return kinds[option->type];
}

static mosa_status refuse(const mosa_option *option, const char *where, const char *text, bool out_of_range,
                          mosa_error *err) {
    mosa_buf range = {0};
    if (out_of_range || option->type == MOSA_OPTION_CHOICE) mosa_option_append_range(option, &range);
    mosa_status status =
        mosa_fail(err, MOSA_EINVALID, "%s: must be %s, not '%s'", where,
                  range.len ? mosa_buf_str(&range) : kind_of(option), option->secret ? "(hidden)" : text);
    mosa_buf_finish(&range);
    return status;
}

mosa_status mosa_option_set(const mosa_option *option, const char *where, const char *text, mosa_arena *arena,
                            void *values, mosa_error *err) {
    void *field = field_of(option, values);
    mosa_status status = MOSA_OK;
    switch (option->type) {
    case MOSA_OPTION_BOOL:
        status = parse_bool(text, field) ? MOSA_OK : MOSA_EINVALID;
        break;
    case MOSA_OPTION_INT:
    case MOSA_OPTION_FLOAT:
    case MOSA_OPTION_BYTES:
    case MOSA_OPTION_DURATION:
        status = set_number(option, text, field);
        break;
    case MOSA_OPTION_CHOICE:
        if (!is_choice(option->choices, text)) return refuse(option, where, text, false, err);
        status = set_string(option, text, arena, field);
        break;
    case MOSA_OPTION_STRING:
    case MOSA_OPTION_LIST:
        status = set_string(option, text, arena, field);
        break;
    }
    if (status == MOSA_OK) return MOSA_OK;
    if (status == MOSA_ENOMEM) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", where);
    return refuse(option, where, text, status == MOSA_ELIMIT, err);
}

void mosa_option_clear(const mosa_option *option, void *values) {
    static const size_t sizes[] = {
        [MOSA_OPTION_BOOL] = sizeof(bool),        [MOSA_OPTION_INT] = sizeof(int64_t),
        [MOSA_OPTION_FLOAT] = sizeof(double),     [MOSA_OPTION_BYTES] = sizeof(int64_t),
        [MOSA_OPTION_DURATION] = sizeof(int64_t), [MOSA_OPTION_STRING] = sizeof(char *),
        [MOSA_OPTION_CHOICE] = sizeof(char *),    [MOSA_OPTION_LIST] = sizeof(mosa_string_list),
    };
    memset(field_of(option, values), 0, sizes[option->type]);
}

// --- text ---------------------------------------------------------------------------------------------------------

// The largest unit that leaves no rest.
static void append_duration(int64_t ms, mosa_buf *out) {
    for (size_t i = MOSA_COUNT(units); i-- > 0;) {
        int64_t unit_ms = (int64_t)units[i].ms;
        if (i > 0 && (ms == 0 || ms % unit_ms)) continue;
        mosa_buf_printf(out, "%lld%s", (long long)(ms / unit_ms), ms == 0 ? "" : units[i].name);
        return;
    }
}

static void append_bytes(int64_t bytes, mosa_buf *out) {
    static const char names[] = "KMGT";
    int shift = 0;
    while (shift < 4 && bytes > 0 && bytes % (INT64_C(1) << 10 * (shift + 1)) == 0) shift++;
    mosa_buf_printf(out, "%lld", (long long)(bytes >> 10 * shift));
    if (shift) mosa_buf_append_char(out, names[shift - 1]);
}

static void append_number(const mosa_option *option, double value, mosa_buf *out) {
    if (option->type == MOSA_OPTION_BYTES)
        append_bytes((int64_t)value, out);
    else if (option->type == MOSA_OPTION_DURATION)
        append_duration((int64_t)value, out);
    else if (option->type == MOSA_OPTION_INT)
        mosa_buf_printf(out, "%.0f", value);
    else
        mosa_buf_append_f64(out, value);
}

void mosa_option_append(const mosa_option *option, const void *values, mosa_buf *out) {
    const void *field = field_in(option, values);
    const char *text;
    const mosa_string_list *list;
    switch (option->type) {
    case MOSA_OPTION_BOOL:
        mosa_buf_append_str(out, *(const bool *)field ? "true" : "false");
        break;
    case MOSA_OPTION_INT:
        mosa_buf_printf(out, "%lld", (long long)*(const int64_t *)field);
        break;
    case MOSA_OPTION_FLOAT:
        mosa_buf_append_f64(out, *(const double *)field);
        break;
    case MOSA_OPTION_BYTES:
        append_bytes(*(const int64_t *)field, out);
        break;
    case MOSA_OPTION_DURATION:
        append_duration(*(const int64_t *)field, out);
        break;
    case MOSA_OPTION_STRING:
    case MOSA_OPTION_CHOICE:
        text = *(const char *const *)field;
        if (text) mosa_buf_append_str(out, text);
        break;
    case MOSA_OPTION_LIST:
        list = field;
        for (size_t i = 0; i < list->count; i++) mosa_buf_printf(out, "%s%s", i ? "," : "", list->items[i]);
        break;
    }
}

void mosa_option_append_range(const mosa_option *option, mosa_buf *out) {
    if (option->choices) {
        for (const char *at = option->choices; at;) {
            size_t len = strcspn(at, "|");
            bool last = !at[len];
            if (at != option->choices) mosa_buf_append_str(out, last ? " or " : ", ");
            mosa_buf_append(out, at, len);
            at = last ? NULL : at + len + 1;
        }
    } else if (option->min != 0 || option->max != 0) {
        append_number(option, option->min, out);
        mosa_buf_append_str(out, " to ");
        append_number(option, option->max, out);
    }
}

// --- names --------------------------------------------------------------------------------------------------------

void mosa_option_env(const mosa_option *option, char out[MOSA_OPTION_NAME_MAX]) {
    if (option->env || !option->key) {
        snprintf(out, MOSA_OPTION_NAME_MAX, "%s", option->env ? option->env : "");
        return;
    }
    snprintf(out, MOSA_OPTION_NAME_MAX, "MOSA_%s",
             option->flag ? option->flag + strspn(option->flag, "-") : option->key);
    for (char *p = out; *p; p++) *p = *p == '-' || *p == '.' ? '_' : (char)toupper((unsigned char)*p);
}

const char *mosa_option_placeholder(const mosa_option *option) {
    static const char *const by_type[] = {
        [MOSA_OPTION_INT] = "N",         [MOSA_OPTION_FLOAT] = "X",     [MOSA_OPTION_BYTES] = "BYTES",
        [MOSA_OPTION_DURATION] = "TIME", [MOSA_OPTION_STRING] = "TEXT", [MOSA_OPTION_LIST] = "TEXT",
    };
    if (option->value) return option->value;
    return option->type == MOSA_OPTION_CHOICE ? option->choices : by_type[option->type];
}
