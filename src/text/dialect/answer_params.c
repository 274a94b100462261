// Calls as parameters between marks, one by one, which become the members of a JSON object.
//
// The marks do not say what is text and what is a number: the function's schema does. Text is passed on while it
// streams; a value of another type is kept until its end, and is text after all if it is not JSON.
#include "text/dialect/answer_internal.h"

#include "codec/json.h"

#include <string.h>

static bool skip_blanks(const mosa_answer_parser *p, size_t *i) {
    while (*i < p->held.len && mosa_answer_is_blank(p->held.data[*i])) ++*i;
    return *i < p->held.len;
}

static void put(mosa_answer_parser *p, const char *text) {
    mosa_answer_put(p, MOSA_ANSWER_ARGUMENTS, mosa_slice_of(text));
}

// Behind call_open, at `scan`: the name.
bool mosa_answer_name_step(mosa_answer_parser *p) {
    const mosa_dialect *d = p->options.dialect;
    size_t i = p->scan, found = 0, which;
    bool some = skip_blanks(p, &i);
    mark_match open = !d->name_open ? MARK_YES
                      : some        ? mosa_answer_match(mosa_answer_rest(p, i), d->name_open)
                                    : MARK_PART;
    if (open == MARK_YES && d->name_open) i += strlen(d->name_open);
    const char *const ends[] = {d->name_close, d->call_close};
    bool closed = open == MARK_YES && mosa_answer_search(mosa_answer_rest(p, i), ends, 2, &found, &which);
    bool bounded = found <= MOSA_ANSWER_NAME_MAX && i - p->scan <= ANSWER_HEADER_MAX;
    if (open != MARK_NO && !closed && bounded && !p->ending) return false;
    if (closed && bounded) {
        while (found && mosa_answer_is_blank(p->held.data[i + found - 1])) found--;
        memcpy(p->name, p->held.data + i, found);
        p->name[p->name_len = found] = '\0';
    }
    if (!closed || !bounded || !mosa_answer_name_is_sane(p) || !mosa_answer_announce(p)) {
        mosa_answer_refuse(p);
        return true;
    }
    p->at = i + found;
    if (which == 0 && d->name_open) p->at += strlen(d->name_close);
    p->n_params = 0;
    put(p, "{");
    p->state = ANSWER_PARAMS;
    return true;
}

static void end_params(mosa_answer_parser *p) {
    put(p, "}");
    mosa_answer_end_call(p);
}

// Between parameters.
bool mosa_answer_params_step(mosa_answer_parser *p) {
    const mosa_dialect *d = p->options.dialect;
    size_t i = p->at;
    bool some = skip_blanks(p, &i);
    mark_match match = some ? mosa_answer_match(mosa_answer_rest(p, i), d->param_open) : MARK_PART;
    if (match == MARK_PART && p->ending) return false; // cut off
    if (match == MARK_PART && i - p->at <= ANSWER_HEADER_MAX) return false;
    if (match == MARK_YES) {
        p->at = i + strlen(d->param_open);
        p->state = ANSWER_KEY;
    } else {
        end_params(p);
    }
    return true;
}

// Whether the function's schema wants a string and nothing else.
static bool is_text(const mosa_answer_parser *p) {
    const json_t *parameters = json_object_get(mosa_answer_find_function(p), "parameters");
    const json_t *type = json_object_get(json_object_get(json_object_get(parameters, "properties"), p->key), "type");
    const char *word = json_string_value(type);
    return word && strcmp(word, "string") == 0;
}

// The key, and the mark before its value.
bool mosa_answer_key_step(mosa_answer_parser *p) {
    const mosa_dialect *d = p->options.dialect;
    size_t found, which;
    bool closed = mosa_answer_search(mosa_answer_rest(p, p->at), &d->param_mid, 1, &found, &which);
    size_t end = p->at + found, i = end + (closed ? strlen(d->param_mid) : 0);
    bool bounded = found <= MOSA_ANSWER_NAME_MAX;
    mark_match mid2 = MARK_YES;
    if (closed && d->param_mid2) {
        mid2 = skip_blanks(p, &i) ? mosa_answer_match(mosa_answer_rest(p, i), d->param_mid2) : MARK_PART;
        bounded = bounded && i - p->at <= 2 * ANSWER_HEADER_MAX;
        if (mid2 == MARK_YES) i += strlen(d->param_mid2);
    }
    if (bounded && (!closed || mid2 == MARK_PART)) return false; // at the end: cut off
    if (!bounded || mid2 == MARK_NO) {
        end_params(p);
        return true;
    }
    memcpy(p->key, p->held.data + p->at, found);
    p->key[found] = '\0';
    mosa_buf_clear(&p->value);
    mosa_buf text = {0};
    mosa_buf_append_str(&text, p->n_params++ ? ", " : "");
    mosa_json_append_string(&text, (mosa_slice){p->key, found});
    mosa_buf_append_str(&text, ": ");
    if (mosa_buf_failed(&text)) p->failed = true;
    mosa_answer_put(p, MOSA_ANSWER_ARGUMENTS, mosa_buf_slice(&text));
    mosa_buf_finish(&text);
    p->at = i;
    p->value_is_text = is_text(p);
    p->value_begun = !d->value_lines;
    if (p->value_is_text) put(p, "\"");
    p->state = ANSWER_VALUE;
    return true;
}

static void put_escaped(mosa_answer_parser *p, mosa_slice text) {
    mosa_buf quoted = {0};
    mosa_json_append_string(&quoted, text);
    if (mosa_buf_failed(&quoted)) p->failed = true;
    if (quoted.len > 2) mosa_answer_put(p, MOSA_ANSWER_ARGUMENTS, (mosa_slice){quoted.data + 1, quoted.len - 2});
    mosa_buf_finish(&quoted);
}

static void pass_value(mosa_answer_parser *p, mosa_slice text) {
    if (!p->value_is_text && p->value.len + text.len > MOSA_ANSWER_VALUE_MAX) { // too long for anything but text
        p->value_is_text = true;
        put(p, "\"");
        put_escaped(p, mosa_buf_slice(&p->value));
    }
    if (p->value_is_text)
        put_escaped(p, text);
    else
        mosa_buf_append_slice(&p->value, text);
}

static void end_value(mosa_answer_parser *p) {
    json_t *tree = NULL;
    if (p->value_is_text) {
        put(p, "\"");
    } else if (mosa_json_parse(mosa_buf_slice(&p->value), NULL, &tree, NULL) == MOSA_OK) {
        mosa_answer_put(p, MOSA_ANSWER_ARGUMENTS, mosa_buf_slice(&p->value));
    } else {
        put(p, "\"");
        put_escaped(p, mosa_buf_slice(&p->value));
        put(p, "\"");
    }
    json_decref(tree);
}

// The whole characters among `text`: escaping works on them. All of it at the end, and where a byte is no character's.
static size_t whole(mosa_slice text) {
    size_t i = text.len;
    while (i > 0 && text.len - i < 3 && ((unsigned char)text.data[i - 1] & 0xC0) == 0x80) i--;
    if (i == 0) return text.len;
    unsigned char lead = (unsigned char)text.data[i - 1];
    size_t need = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    return need > text.len - (i - 1) ? i - 1 : text.len;
}

bool mosa_answer_value_step(mosa_answer_parser *p) {
    const mosa_dialect *d = p->options.dialect;
    char line[32] = "\n";
    strncat(line, d->param_close, sizeof line - 2);
    const char *const marks[] = {d->value_lines ? line : NULL, d->param_close};
    if (!p->value_begun) {
        if (p->at == p->held.len) return false;
        // "\n" may belong to the closing mark of an empty value.
        if (p->held.data[p->at] == '\n' && mosa_answer_match(mosa_answer_rest(p, p->at), line) == MARK_PART &&
            !p->ending)
            return false;
        if (p->held.data[p->at] == '\n' && mosa_answer_match(mosa_answer_rest(p, p->at), line) == MARK_NO) p->at++;
        p->value_begun = true;
    }
    size_t found, which;
    bool closed = mosa_answer_search(mosa_answer_rest(p, p->at), marks, 2, &found, &which);
    if (p->ending && !closed) found = p->held.len - p->at;
    size_t n = closed || p->ending ? found : whole((mosa_slice){p->held.data + p->at, found});
    pass_value(p, (mosa_slice){p->held.data + p->at, n});
    p->at += n;
    if (closed) {
        p->at += strlen(marks[which]);
        end_value(p);
        p->state = ANSWER_PARAMS;
    } else if (p->ending && !p->value_is_text) {
        mosa_answer_put(p, MOSA_ANSWER_ARGUMENTS, mosa_buf_slice(&p->value));
    }
    return closed;
}
