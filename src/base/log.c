// Formatting of log lines on the stack, and the process's one log set-up.
//
// A line that is too long is cut between characters and still ends as it should: text with a newline, JSON with "}\n".
#include "base/log.h"

#include "base/clock.h"
#include "base/utf8.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
    _Atomic int level;
    mosa_log_format format;
    int fd;
    bool colour;
} log_setup = {.level = MOSA_LOG_WARN, .format = MOSA_LOG_TEXT, .fd = STDERR_FILENO};

static _Thread_local const char *thread_request;

static const struct {
    const char *name, *column, *colour;
} levels[] = {
    [MOSA_LOG_ERROR] = {"error", "ERROR", "\x1b[31m"},
    [MOSA_LOG_WARN] = {"warn", "WARN ", "\x1b[33m"},
    [MOSA_LOG_INFO] = {"info", "INFO ", "\x1b[32m"},
    [MOSA_LOG_DEBUG] = {"debug", "DEBUG", "\x1b[36m"},
};

void mosa_log_setup(const mosa_log_options *options) {
    const char *no_colour = getenv("NO_COLOR");
    log_setup.format = options->format;
    log_setup.fd = options->fd;
    log_setup.colour = isatty(options->fd) && !(no_colour && *no_colour);
    atomic_store(&log_setup.level, (int)options->level);
}

bool mosa_log_level_parse(const char *text, mosa_log_level *out) {
    for (size_t i = 0; i < MOSA_COUNT(levels); i++) {
        if (strcmp(text, levels[i].name) != 0) continue;
        *out = (mosa_log_level)i;
        return true;
    }
    return false;
}

bool mosa_log_enabled(mosa_log_level level) {
    return (int)level <= atomic_load_explicit(&log_setup.level, memory_order_relaxed);
}

const char *mosa_log_set_request(const char *id) {
    const char *before = thread_request;
    thread_request = id;
    return before;
}

// --- a line -------------------------------------------------------------------------------------------------------

enum { TAIL_BYTES = 8 }; // room for what closes a line that was cut

typedef struct line {
    size_t len;
    bool full; // something did not fit; nothing more is taken
    char data[MOSA_LOG_LINE_MAX];
} line;

static void put(line *out, const char *text, size_t len) {
    if (out->full || len > sizeof out->data - TAIL_BYTES - out->len) {
        out->full = true;
        return;
    }
    memcpy(out->data + out->len, text, len);
    out->len += len;
}

static void put_str(line *out, const char *text) {
    put(out, text, strlen(text));
}

__attribute__((format(printf, 2, 3))) static void put_format(line *out, const char *format, ...) {
    char text[64];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    put_str(out, text);
}

// Puts text character by character, so that a cut never splits one. Control characters, quotes and bytes that are no
// UTF-8 are escaped: a value can neither forge a line nor move the terminal's cursor.
static void put_escaped(line *out, const char *text) {
    const unsigned char *p = (const unsigned char *)text;
    for (size_t left = strlen(text); left > 0 && !out->full;) {
        size_t len = *p == '"' || *p == '\\' || *p < 0x20 || *p == 0x7f ? 0 : mosa_utf8_len(p, left);
        if (len)
            put(out, (const char *)p, len);
        else if (*p == '"' || *p == '\\')
            put(out, (const char[]){'\\', (char)*p}, 2);
        else if (*p == '\n')
            put(out, "\\n", 2);
        else
            put_format(out, "\\u%04x", *p < 0x80 ? *p : 0xfffd);
        p += len ? len : 1;
        left -= len ? len : 1;
    }
}

static void put_quoted(line *out, const char *text) {
    put(out, "\"", 1);
    put_escaped(out, text);
    put(out, "\"", 1);
}

static bool needs_quotes(const char *text) {
    if (!*text) return true;
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if (*p <= ' ' || *p == '"' || *p == '\\' || *p == '=' || *p >= 0x7f) return true;
    return false;
}

static void put_value(line *out, const mosa_log_field *field, bool json) {
    const char *text = field->value.str ? field->value.str : "";
    switch (field->kind) {
    case MOSA_LOG_STR:
        if (json || needs_quotes(text))
            put_quoted(out, text);
        else
            put_str(out, text);
        break;
    case MOSA_LOG_I64:
        put_format(out, "%lld", (long long)field->value.i64);
        break;
    case MOSA_LOG_U64:
        put_format(out, "%llu", (unsigned long long)field->value.u64);
        break;
    case MOSA_LOG_F64:
        if (json && !isfinite(field->value.f64))
            put_str(out, "null");
        else
            put_format(out, "%.9g", field->value.f64);
        break;
    case MOSA_LOG_BOOL:
        put_str(out, field->value.boolean ? "true" : "false");
        break;
    }
}

// An empty string says nothing ("hint" of most errors): left out.
static void put_field(line *out, const mosa_log_field *field, bool json) {
    if (field->kind == MOSA_LOG_STR && (!field->value.str || !*field->value.str)) return;
    size_t before = out->len;
    put_str(out, json ? ",\"" : " ");
    put_str(out, field->key);
    put_str(out, json ? "\":" : "=");
    put_value(out, field, json);
    if (out->full) out->len = before; // whole fields only: a cut line stays well-formed
}

static void put_head(line *out, mosa_log_level level, const char *event) {
    char when[MOSA_CLOCK_TEXT];
    mosa_clock_format(mosa_clock_real_ns(), when);
    if (log_setup.format == MOSA_LOG_JSON) {
        put_format(out, "{\"ts\":\"%s\",\"level\":\"%s\",\"event\":", when, levels[level].name);
        put_quoted(out, event);
    } else {
        const char *colour = log_setup.colour ? levels[level].colour : "";
        put_format(out, "%s %s%s%s  ", when, colour, levels[level].column, *colour ? "\x1b[0m" : "");
        put_escaped(out, event);
        put_str(out, " ");
    }
}

// --- events -------------------------------------------------------------------------------------------------------

static bool admit(mosa_log_site *site, uint32_t *suppressed) {
    uint64_t now_s = mosa_clock_ns() / 1000000000u + 1; // never 0, which a fresh site holds
    uint64_t window_s = atomic_load(&site->window_s);
    if (window_s != now_s && atomic_compare_exchange_strong(&site->window_s, &window_s, now_s))
        atomic_store(&site->used, 0);
    if (atomic_fetch_add(&site->used, 1) >= MOSA_LOG_BURST) {
        atomic_fetch_add(&site->suppressed, 1);
        return false;
    }
    *suppressed = atomic_exchange(&site->suppressed, 0);
    return true;
}

void mosa_log_write(mosa_log_site *site, mosa_log_level level, const char *event, const mosa_log_field *fields,
                    size_t n_fields) {
    uint32_t suppressed;
    if (!admit(site, &suppressed)) return;
    bool json = log_setup.format == MOSA_LOG_JSON;
    line out;
    out.len = 0;
    out.full = false;
    put_head(&out, level, event);
    mosa_log_field request = mosa_kv_str("request_id", thread_request);
    put_field(&out, &request, json);
    for (size_t i = 0; i < n_fields; i++) put_field(&out, &fields[i], json);
    mosa_log_field held_back = mosa_kv_u64("suppressed", suppressed);
    if (suppressed) put_field(&out, &held_back, json);
    const char *tail = json ? "}\n" : out.full ? " ...\n" : "\n";
    memcpy(out.data + out.len, tail, strlen(tail));
    ssize_t ignored = write(log_setup.fd, out.data, out.len + strlen(tail));
    (void)ignored;
}
