// Calls as JSON objects: {"name": ..., "arguments": {...}}, alone or in a list.
//
// Members may come in any order, "parameters" may stand for "arguments", arguments may be a string of JSON, and name
// and arguments may be wrapped in {"type": "function", "function": {...}}: models do all of it.
#include "text/dialect/answer_internal.h"

#include "text/unicode.h"

#include <string.h>

void mosa_answer_object_begin(mosa_answer_parser *p, bool bare) {
    p->object = (object_scan){.state = OBJECT_BEFORE, .bare = bare};
    p->name_len = 0;
    mosa_buf_clear(&p->value);
    p->state = ANSWER_OBJECT;
}

static void begin_object(object_scan *o) {
    *o = (object_scan){.state = OBJECT_KEY, .bare = o->bare, .in_list = o->in_list, .n_closed = o->n_closed};
}

static bool is_key(const object_scan *o, const char *key) {
    return o->key_len == strlen(key) && memcmp(o->key, key, o->key_len) == 0;
}

static void pass_arguments(mosa_answer_parser *p, mosa_slice text) {
    if (p->object.announced)
        mosa_answer_put(p, MOSA_ANSWER_ARGUMENTS, text);
    else
        mosa_buf_append_slice(&p->value, text); // within HELD_MAX, which is less than its limit
}

// Announces the call once its name is known and its arguments have begun. False when it cannot be one.
static bool try_announce(mosa_answer_parser *p) {
    object_scan *o = &p->object;
    if (o->announced || !o->has_name || !o->has_arguments) return true;
    if (!mosa_answer_name_is_sane(p) || (o->bare && !mosa_answer_find_function(p)) || !mosa_answer_announce(p))
        return false;
    o->announced = true;
    mosa_answer_put(p, MOSA_ANSWER_ARGUMENTS, mosa_buf_slice(&p->value));
    mosa_buf_clear(&p->value);
    return true;
}

static bool begin_value(mosa_answer_parser *p, char c) {
    object_scan *o = &p->object;
    bool text = c == '"';
    bool ours = !o->has_arguments && (is_key(o, "arguments") || is_key(o, "parameters") || is_key(o, "args"));
    o->span = (json_span){0};
    if (!o->has_name && text && (is_key(o, "name") || is_key(o, "tool_name") || is_key(o, "function"))) {
        o->state = OBJECT_IN_NAME;
        p->name_len = 0;
        return true;
    }
    if (c == '{' && is_key(o, "function") && o->nested == 0) {
        o->nested++;
        o->state = OBJECT_KEY;
        return true;
    }
    if (ours && (text || c == '{')) {
        o->has_arguments = true;
        o->state = text ? OBJECT_IN_TEXT : OBJECT_IN_ARGUMENTS;
        if (!try_announce(p)) return false;
        bool beyond;
        if (!text) {
            mosa_answer_span_push(&o->span, c, &beyond);
            pass_arguments(p, (mosa_slice){&c, 1});
        }
        return true;
    }
    bool beyond;
    o->state = OBJECT_SKIP;
    if (c == ',' || c == '}' || c == ']' || c == ':') return false;
    mosa_answer_span_push(&o->span, c, &beyond);
    return true;
}

static uint32_t hex_of(const char *digits, bool *ok) {
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        char c = digits[i];
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0) *ok = false;
        value = value << 4 | (uint32_t)(d & 15);
    }
    return value;
}

static void pass_code_point(mosa_answer_parser *p, uint32_t code) {
    char bytes[MOSA_UTF8_MAX];
    pass_arguments(p, (mosa_slice){bytes, mosa_utf8_encode(code, bytes)});
}

// An escape is complete: \n, \" or \u1234; halves of surrogate pairs wait for each other.
static bool pass_escape(mosa_answer_parser *p) {
    object_scan *o = &p->object;
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    bool ok = true;
    if (o->escape[1] != 'u') {
        const char *at = o->escape[1] ? strchr(from, o->escape[1]) : NULL;
        if (!at) return false;
        pass_arguments(p, (mosa_slice){&to[at - from], 1});
        return true;
    }
    uint32_t code = hex_of(o->escape + 2, &ok);
    bool low = code >= 0xDC00 && code < 0xE000;
    if (o->high && low) {
        pass_code_point(p, 0x10000 + ((o->high - 0xD800) << 10) + (code - 0xDC00));
        o->high = 0;
        return ok;
    }
    if (o->high || low) pass_code_point(p, 0xFFFD);
    o->high = code >= 0xD800 && code < 0xDC00 ? code : 0;
    if (!o->high && !low) pass_code_point(p, code);
    return ok;
}

static bool push_text(mosa_answer_parser *p, char c) {
    object_scan *o = &p->object;
    if (o->escape_len) {
        o->escape[o->escape_len++] = c;
        if (o->escape_len < (o->escape[1] == 'u' ? 6u : 2u)) return true;
        o->escape_len = 0;
        return pass_escape(p);
    }
    if (c == '\\') {
        o->escape[o->escape_len++] = c;
        return true;
    }
    if (o->high) pass_code_point(p, 0xFFFD);
    o->high = 0;
    if (c == '"')
        o->state = OBJECT_NEXT;
    else
        pass_arguments(p, (mosa_slice){&c, 1});
    return true;
}

static bool push_name(mosa_answer_parser *p, char c) {
    if (c == '"') {
        p->name[p->name_len] = '\0';
        p->object.has_name = true;
        p->object.state = OBJECT_NEXT;
        return try_announce(p);
    }
    if (c == '\\' || p->name_len == MOSA_ANSWER_NAME_MAX) return false;
    p->name[p->name_len++] = c;
    return true;
}

// The object has ended with the byte before `scan`.
static bool end_object(mosa_answer_parser *p) {
    object_scan *o = &p->object;
    if (!o->announced) { // a call without arguments
        if (o->bare || !o->has_name || o->has_arguments || !mosa_answer_name_is_sane(p) || !mosa_answer_announce(p))
            return false;
        mosa_answer_put(p, MOSA_ANSWER_ARGUMENTS, MOSA_SLICE("{}"));
    }
    p->at = p->scan;
    if (o->in_list) {
        o->state = OBJECT_LIST;
        o->announced = false;
        o->n_closed++;
    } else {
        mosa_answer_end_call(p);
    }
    return true;
}

static bool push_next(mosa_answer_parser *p, char c) {
    object_scan *o = &p->object;
    if (c == ',') {
        o->state = OBJECT_KEY;
        return true;
    }
    if (c != '}') return false;
    if (o->nested) {
        o->nested--;
        return true;
    }
    return end_object(p);
}

static bool push_key(mosa_answer_parser *p, char c) {
    object_scan *o = &p->object;
    if (o->state == OBJECT_KEY) {
        o->state = OBJECT_IN_KEY;
        o->key_len = 0;
        return c == '"' || (c == '}' && push_next(p, c));
    }
    if (c == '"')
        o->state = OBJECT_COLON;
    else if (c == '\\')
        return false;
    else if (o->key_len < sizeof o->key)
        o->key[o->key_len++] = c; // a key that fills it is none of ours
    return true;
}

static bool push_between(mosa_answer_parser *p, char c) {
    object_scan *o = &p->object;
    if (o->state == OBJECT_LIST) {
        if (c == ',') o->state = OBJECT_BEFORE;
        if (c != ']') return c == ',';
        p->at = p->scan;
        mosa_answer_end_call(p);
        return true;
    }
    if (c == '[' && p->options.dialect->list && !o->in_list && !o->bare) {
        o->in_list = true;
        return true;
    }
    if (c != '{') return false;
    begin_object(o);
    p->name_len = 0;
    mosa_buf_clear(&p->value);
    return true;
}

// Takes one byte; false when this is no call. A byte beyond a scalar is given once more, to the next state.
static bool push(mosa_answer_parser *p, char c) {
    object_scan *o = &p->object;
    bool beyond, done;
    switch (o->state) {
    case OBJECT_IN_KEY:
        return push_key(p, c);
    case OBJECT_IN_NAME:
        return push_name(p, c);
    case OBJECT_IN_TEXT:
        return push_text(p, c);
    case OBJECT_IN_ARGUMENTS:
        pass_arguments(p, (mosa_slice){&c, 1});
        if (mosa_answer_span_push(&o->span, c, &beyond)) o->state = OBJECT_NEXT;
        return true;
    case OBJECT_SKIP:
        done = mosa_answer_span_push(&o->span, c, &beyond);
        if (done) o->state = OBJECT_NEXT;
        return !beyond || mosa_answer_is_blank(c) || push_next(p, c);
    default:
        break;
    }
    if (mosa_answer_is_blank(c)) return true;
    switch (o->state) {
    case OBJECT_KEY:
        return push_key(p, c);
    case OBJECT_COLON:
        o->state = OBJECT_VALUE;
        return c == ':';
    case OBJECT_VALUE:
        return begin_value(p, c);
    case OBJECT_NEXT:
        return push_next(p, c);
    default:
        return push_between(p, c);
    }
}

bool mosa_answer_object_step(mosa_answer_parser *p) {
    object_scan *o = &p->object;
    bool ok = true;
    while (ok && p->scan < p->held.len && p->state == ANSWER_OBJECT) {
        ok = p->scan - p->at < MOSA_ANSWER_HELD_MAX && push(p, p->held.data[p->scan++]);
        if (ok && o->announced) p->at = p->scan;
    }
    if (p->state != ANSWER_OBJECT) return true;
    if (ok && (!p->ending || o->announced || p->at == p->held.len)) return false;
    if (!o->announced) {
        p->fresh = o->n_closed > 0;
        mosa_answer_refuse(p);
        return true;
    }
    // The call stands as far as it went; what is wrong in it is content.
    mosa_answer_drop_blanks(p);
    p->state = ANSWER_CONTENT;
    return true;
}
