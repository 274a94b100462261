// Streaming answers: the states that all dialects share, held bytes, marks, blanks.
#include "text/dialect/answer_internal.h"

#include <stdlib.h>
#include <string.h>

enum { FEED_BYTES = 4096 }; // held at a time beyond what is undecided

// --- marks ----------------------------------------------------------------------------------------------------------

mark_match mosa_answer_match(mosa_slice text, const char *mark) {
    size_t len = strlen(mark), n = text.len < len ? text.len : len;
    if (n && memcmp(text.data, mark, n) != 0) return MARK_NO;
    return n == len ? MARK_YES : MARK_PART;
}

bool mosa_answer_search(mosa_slice text, const char *const *marks, size_t n_marks, size_t *found, size_t *which) {
    for (size_t i = 0; i < text.len; i++) {
        mosa_slice rest = {text.data + i, text.len - i};
        for (size_t k = 0; k < n_marks; k++) {
            if (!marks[k] || marks[k][0] != *rest.data) continue;
            mark_match match = mosa_answer_match(rest, marks[k]);
            if (match == MARK_NO) continue;
            *found = i;
            *which = k;
            return match == MARK_YES;
        }
    }
    *found = text.len;
    return false;
}

// --- deltas ---------------------------------------------------------------------------------------------------------

static void flush_out(mosa_answer_parser *p) {
    if (mosa_buf_failed(&p->out)) p->failed = true;
    if (p->out.len) {
        int call = p->out_kind >= MOSA_ANSWER_CALL ? p->n_calls - 1 : -1;
        mosa_answer_delta delta = {p->out_kind, call, mosa_buf_slice(&p->out)};
        p->fn(p->user, &delta);
    }
    mosa_buf_clear(&p->out);
}

void mosa_answer_put(mosa_answer_parser *p, mosa_answer_kind kind, mosa_slice text) {
    if (!text.len) return;
    if (kind != p->out_kind) flush_out(p);
    p->out_kind = kind;
    mosa_buf_append_slice(&p->out, text);
}

static void put_blanks(mosa_answer_parser *p, mosa_answer_kind kind) {
    mosa_answer_put(p, kind, (mosa_slice){p->blanks, p->n_blanks});
    p->n_blanks = 0;
}

void mosa_answer_put_text(mosa_answer_parser *p, mosa_answer_kind kind, mosa_slice text) {
    for (size_t i = 0; i < text.len;) {
        size_t begin = i;
        while (i < text.len && !mosa_answer_is_blank(text.data[i])) i++;
        if (i > begin) {
            put_blanks(p, kind);
            mosa_answer_put(p, kind, (mosa_slice){text.data + begin, i - begin});
            p->fresh = false;
        }
        for (; i < text.len && mosa_answer_is_blank(text.data[i]); i++) {
            if (p->fresh) continue;
            if (p->n_blanks == ANSWER_BLANKS_MAX) put_blanks(p, kind);
            p->blanks[p->n_blanks++] = text.data[i];
        }
    }
    // Where nothing can follow that would swallow them, blanks need not wait.
    if (kind == MOSA_ANSWER_CONTENT && !p->options.dialect) put_blanks(p, kind);
}

void mosa_answer_drop_blanks(mosa_answer_parser *p) {
    p->n_blanks = 0;
    p->fresh = true;
}

// --- calls ----------------------------------------------------------------------------------------------------------

bool mosa_answer_name_is_sane(const mosa_answer_parser *p) {
    for (size_t i = 0; i < p->name_len; i++) {
        char c = p->name[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!word && c != '_' && c != '-' && c != '.' && c != ':' && c != '/') return false;
    }
    return p->name_len > 0;
}

const json_t *mosa_answer_find_function(const mosa_answer_parser *p) {
    size_t i;
    json_t *tool;
    json_array_foreach(p->options.tools, i, tool) {
        const json_t *function = json_object_get(tool, "function");
        const char *name = json_string_value(json_object_get(function, "name"));
        if (name && strcmp(name, p->name) == 0) return function;
    }
    return NULL;
}

bool mosa_answer_announce(mosa_answer_parser *p) {
    if (p->n_calls == MOSA_ANSWER_CALLS_MAX) return false;
    mosa_answer_drop_blanks(p);
    flush_out(p);
    p->n_calls++;
    mosa_answer_put(p, MOSA_ANSWER_CALL, (mosa_slice){p->name, p->name_len});
    p->unshown = false;
    return true;
}

void mosa_answer_end_call(mosa_answer_parser *p) {
    p->state = ANSWER_AFTER;
    p->after = 0;
    p->scan = p->at;
}

void mosa_answer_refuse(mosa_answer_parser *p) {
    const mosa_dialect *d = p->options.dialect;
    const char *const marks[] = {d->section_open, d->call_open};
    size_t taken = 1;
    for (size_t i = 0; i < MOSA_COUNT(marks); i++)
        if (marks[i] && mosa_answer_match(mosa_answer_rest(p, p->at), marks[i]) == MARK_YES) taken = strlen(marks[i]);
    mosa_answer_put_text(p, MOSA_ANSWER_CONTENT, (mosa_slice){p->held.data + p->at, taken});
    p->at += taken;
    p->scan = p->at;
    p->unshown = false;
    p->state = ANSWER_CONTENT;
}

bool mosa_answer_span_push(json_span *span, char c, bool *beyond) {
    *beyond = false;
    if (span->in_string) {
        if (span->escaped)
            span->escaped = false;
        else if (c == '\\')
            span->escaped = true;
        else if (c == '"')
            span->in_string = false;
        return !span->in_string && span->depth == 0;
    }
    if (c == '"') {
        span->in_string = true;
    } else if (c == '{' || c == '[') {
        span->depth++;
    } else if ((c == '}' || c == ']') && span->depth > 0) {
        return --span->depth == 0;
    } else if (span->depth == 0) {
        *beyond = c == ',' || c == '}' || c == ']' || mosa_answer_is_blank(c);
        return *beyond;
    }
    return false;
}

// --- opening marks --------------------------------------------------------------------------------------------------

// Behind section_open there must be call_open: the length of both, 0 when more is needed, -1 when it is not so.
static long section_length(const mosa_answer_parser *p) {
    const mosa_dialect *d = p->options.dialect;
    size_t i = p->at + strlen(d->section_open);
    while (i < p->held.len && mosa_answer_is_blank(p->held.data[i])) i++;
    if (i - p->at > ANSWER_HEADER_MAX) return -1;
    mark_match match = mosa_answer_match(mosa_answer_rest(p, i), d->call_open);
    return match == MARK_YES ? (long)(i - p->at + strlen(d->call_open)) : match == MARK_PART && !p->ending ? 0 : -1;
}

// An opening mark stands at `at`. Nothing is taken: until the call is announced it may turn out to be content.
static bool begin_call(mosa_answer_parser *p, bool section) {
    const mosa_dialect *d = p->options.dialect;
    long length = section ? section_length(p) : (long)strlen(d->call_open);
    if (length == 0) return false;
    if (length < 0) {
        mosa_answer_refuse(p);
        return true;
    }
    p->scan = p->at + (size_t)length;
    p->name_len = 0;
    switch (d->form) {
    case MOSA_CALL_OBJECT:
        mosa_answer_object_begin(p, false);
        break;
    case MOSA_CALL_HEADER:
        p->state = ANSWER_HEADER;
        break;
    default:
        p->state = ANSWER_NAME;
        break;
    }
    return true;
}

// --- the common states ----------------------------------------------------------------------------------------------

static void enter_reasoning(mosa_answer_parser *p, size_t taken) {
    p->at += taken;
    mosa_answer_drop_blanks(p);
    p->state = ANSWER_REASONING;
}

static bool start_step(mosa_answer_parser *p) {
    size_t i = p->at;
    while (i < p->held.len && mosa_answer_is_blank(p->held.data[i])) i++;
    bool many = i - p->at > ANSWER_BLANKS_MAX;
    const mosa_reasoning_style *style = p->options.reasoning;
    mark_match match = style && !many ? mosa_answer_match(mosa_answer_rest(p, i), style->open) : MARK_NO;
    if (match == MARK_PART && !p->ending) return false;
    if (match == MARK_YES)
        enter_reasoning(p, i - p->at + strlen(style->open));
    else
        p->state = ANSWER_CONTENT;
    return true;
}

static bool reasoning_step(mosa_answer_parser *p) {
    const char *close = p->options.reasoning->close;
    size_t found, which;
    bool closed = mosa_answer_search(mosa_answer_rest(p, p->at), &close, 1, &found, &which);
    if (p->ending && !closed) found = p->held.len - p->at;
    mosa_answer_put_text(p, MOSA_ANSWER_REASONING, (mosa_slice){p->held.data + p->at, found});
    p->at += found;
    if (!closed) return false;
    p->at += strlen(close);
    mosa_answer_drop_blanks(p);
    p->unshown = true;
    p->state = ANSWER_CONTENT;
    return true;
}

// The first thing of an answer that is not blank may be the brace of a bare call.
static bool try_bare(mosa_answer_parser *p) {
    size_t i = p->at;
    while (i < p->held.len && mosa_answer_is_blank(p->held.data[i])) i++;
    if (i == p->held.len) return false;
    if (p->held.data[i] != '{') {
        p->unshown = false;
        return false;
    }
    mosa_answer_put_text(p, MOSA_ANSWER_CONTENT, (mosa_slice){p->held.data + p->at, i - p->at});
    p->at = p->scan = i;
    p->unshown = false;
    mosa_answer_object_begin(p, true);
    return true;
}

static bool content_step(mosa_answer_parser *p) {
    const mosa_dialect *d = p->options.dialect;
    if (p->at == p->held.len) return false;
    if (d && d->bare && p->unshown) {
        if (try_bare(p)) return true;
        if (p->unshown && !p->ending && p->held.len - p->at <= ANSWER_BLANKS_MAX) return false;
        p->unshown = false;
    }
    const char *const marks[] = {d ? d->section_open : NULL, d ? d->call_open : NULL};
    size_t found, which = 0;
    bool opened = mosa_answer_search(mosa_answer_rest(p, p->at), marks, MOSA_COUNT(marks), &found, &which);
    if (p->ending && !opened) found = p->held.len - p->at;
    mosa_answer_put_text(p, MOSA_ANSWER_CONTENT, (mosa_slice){p->held.data + p->at, found});
    p->at += found;
    return opened && begin_call(p, which == 0);
}

// Whether the next bare call of Llama's "{...}; {...}" follows; its separator ends at *next.
static mark_match bare_follows(const mosa_answer_parser *p, size_t i, size_t *next) {
    if (i == p->held.len) return MARK_PART;
    if (p->held.data[i] != ';' && p->held.data[i] != ',') return MARK_NO;
    for (i++; i < p->held.len && mosa_answer_is_blank(p->held.data[i]);) i++;
    *next = i;
    if (i == p->held.len) return MARK_PART;
    return p->held.data[i] == '{' ? MARK_YES : MARK_NO;
}

static bool after_step(mosa_answer_parser *p) {
    const mosa_dialect *d = p->options.dialect;
    const char *const marks[] = {d->arguments_close, d->params_close, d->call_close, d->section_close};
    size_t i = p->at, next = 0;
    while (i < p->held.len && mosa_answer_is_blank(p->held.data[i])) i++;
    bool part = i == p->held.len;
    for (int k = p->after; k < (int)MOSA_COUNT(marks); k++) {
        const char *mark = marks[k];
        // A closing mark may begin with the line break that has been skipped as a blank.
        while (mark && mosa_answer_is_blank(*mark)) mark++;
        mark_match match = mark ? mosa_answer_match(mosa_answer_rest(p, i), mark) : MARK_NO;
        part = part || match == MARK_PART;
        if (match != MARK_YES) continue;
        p->at = i + strlen(mark);
        p->after = k + 1;
        return true;
    }
    mark_match bare = d->bare && p->after == 0 ? bare_follows(p, i, &next) : MARK_NO;
    if (bare == MARK_YES) {
        p->at = i;
        p->scan = next;
        p->fresh = true;
        mosa_answer_object_begin(p, true);
        return true;
    }
    if ((part || bare == MARK_PART) && !p->ending && p->held.len - p->at < ANSWER_HEADER_MAX) return false;
    // Inside of a section the next call has no opening mark of the section's.
    p->fresh = true;
    p->state = ANSWER_CONTENT;
    return true;
}

static bool step(mosa_answer_parser *p) {
    switch (p->state) {
    case ANSWER_START:
        return start_step(p);
    case ANSWER_REASONING:
        return reasoning_step(p);
    case ANSWER_CONTENT:
        return content_step(p);
    case ANSWER_AFTER:
        return after_step(p);
    case ANSWER_OBJECT:
        return mosa_answer_object_step(p);
    case ANSWER_HEADER:
        return mosa_answer_header_step(p);
    case ANSWER_ARGUMENTS:
        return mosa_answer_arguments_step(p);
    case ANSWER_NAME:
        return mosa_answer_name_step(p);
    case ANSWER_PARAMS:
        return mosa_answer_params_step(p);
    case ANSWER_KEY:
        return mosa_answer_key_step(p);
    case ANSWER_VALUE:
        return mosa_answer_value_step(p);
    case ANSWER_MESSAGE_HEAD:
        return mosa_answer_head_step(p);
    case ANSWER_MESSAGE:
        return mosa_answer_message_step(p);
    }
    return false;
}

// --- entry points ---------------------------------------------------------------------------------------------------

mosa_status mosa_answer_parser_create(const mosa_answer_options *options, mosa_answer_parser **out, mosa_error *err) {
    mosa_answer_parser *p = calloc(1, sizeof *p);
    if (!p) return mosa_fail(err, MOSA_ENOMEM, "out of memory for an answer");
    p->options = *options;
    bool harmony = options->dialect && options->dialect->form == MOSA_CALL_HARMONY;
    if (!options->tools && !harmony) p->options.dialect = NULL;
    json_incref(p->options.tools);
    mosa_buf_init(&p->value, MOSA_ANSWER_VALUE_MAX);
    p->unshown = true;
    p->state = harmony ? ANSWER_MESSAGE_HEAD : ANSWER_START;
    if (options->reasoning && options->reasoning_open && !harmony) enter_reasoning(p, 0);
    *out = p;
    return MOSA_OK;
}

void mosa_answer_parser_destroy(mosa_answer_parser *p) {
    if (!p) return;
    json_decref(p->options.tools);
    mosa_buf_finish(&p->held);
    mosa_buf_finish(&p->out);
    mosa_buf_finish(&p->value);
    free(p);
}

static void run(mosa_answer_parser *p) {
    while (!p->failed && step(p)) {
    }
    size_t rest = p->held.len - p->at;
    if (p->at && rest) memmove(p->held.data, p->held.data + p->at, rest);
    p->scan = p->scan > p->at ? p->scan - p->at : 0;
    p->held.len = rest;
    p->at = 0;
}

void mosa_answer_parser_feed(mosa_answer_parser *p, mosa_slice text, mosa_answer_fn fn, void *user) {
    p->fn = fn;
    p->user = user;
    while (text.len && !p->failed) {
        size_t n = text.len < FEED_BYTES ? text.len : FEED_BYTES;
        mosa_buf_append(&p->held, text.data, n);
        if (mosa_buf_failed(&p->held)) p->failed = true;
        text.data += n;
        text.len -= n;
        run(p);
    }
    flush_out(p);
}

void mosa_answer_parser_finish(mosa_answer_parser *p, mosa_answer_fn fn, void *user) {
    p->fn = fn;
    p->user = user;
    p->ending = true;
    run(p);
    put_blanks(p, p->state == ANSWER_REASONING ? MOSA_ANSWER_REASONING : MOSA_ANSWER_CONTENT);
    flush_out(p);
}

bool mosa_answer_parser_failed(const mosa_answer_parser *p) {
    return p->failed;
}

bool mosa_answer_parser_in_reasoning(const mosa_answer_parser *p) {
    return p->state == ANSWER_REASONING || (p->state == ANSWER_MESSAGE && p->message_kind == MOSA_ANSWER_REASONING);
}

bool mosa_answer_parser_in_content(const mosa_answer_parser *p) {
    return p->state <= ANSWER_CONTENT ? p->state != ANSWER_REASONING
                                      : p->state == ANSWER_MESSAGE && p->message_kind == MOSA_ANSWER_CONTENT;
}

bool mosa_answer_parser_holds(const mosa_answer_parser *p) {
    return p->held.len > p->at || p->n_blanks > 0;
}

int mosa_answer_parser_calls(const mosa_answer_parser *p) {
    return p->n_calls;
}
