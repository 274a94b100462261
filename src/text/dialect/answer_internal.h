// The parser's state, shared by the files of its forms.
//
// The bytes from `at` on are held; a step looks at them and either takes some (advances `at`, changes the state) and
// returns true, or returns false: more text is needed. A step decides as soon as the bytes before a place decide, never
// by what happens to have arrived, which makes the result independent of the pieces.
#ifndef MOSA_TEXT_DIALECT_ANSWER_INTERNAL_H
#define MOSA_TEXT_DIALECT_ANSWER_INTERNAL_H

#include "text/dialect/answer_parser.h"

typedef enum answer_state {
    ANSWER_START,     // nothing but blanks yet: reasoning or a bare call may begin
    ANSWER_REASONING, // until its closing mark
    ANSWER_CONTENT,   // until a call's opening mark
    ANSWER_AFTER,     // behind a call: closing marks, then content or the next call
    ANSWER_OBJECT,    // dialect/answer_object.c
    ANSWER_HEADER,    // dialect/answer_header.c: up to the arguments
    ANSWER_ARGUMENTS, // ... and in them
    ANSWER_NAME,      // dialect/answer_params.c
    ANSWER_PARAMS,
    ANSWER_KEY,
    ANSWER_VALUE,
    ANSWER_MESSAGE_HEAD, // dialect/answer_harmony.c
    ANSWER_MESSAGE,
} answer_state;

// One JSON value, found byte by byte; lenient: only brackets and strings are looked at.
typedef struct json_span {
    int depth;
    bool in_string, escaped, scalar;
} json_span;

typedef enum object_state {
    OBJECT_BEFORE, // the object's brace, or the list's bracket
    OBJECT_KEY,
    OBJECT_IN_KEY,
    OBJECT_COLON,
    OBJECT_VALUE,
    OBJECT_IN_NAME,
    OBJECT_IN_ARGUMENTS,
    OBJECT_IN_TEXT, // arguments given as a JSON string of JSON
    OBJECT_SKIP,    // another member's value
    OBJECT_NEXT,    // behind a member
    OBJECT_LIST,    // behind an object of a list
} object_state;

typedef struct object_scan {
    object_state state;
    bool in_list, bare;
    int nested;   // braces of {"function": {...}} around the members
    int n_closed; // objects that have ended, in a list
    bool has_name, has_arguments, announced;
    char key[24]; // longer ones are not ours
    size_t key_len;
    json_span span;
    char escape[8]; // of OBJECT_IN_TEXT: "\u12ab" so far
    size_t escape_len;
    uint32_t high; // first half of a surrogate pair, or 0
} object_scan;

enum { ANSWER_MARKS_MAX = 4, ANSWER_BLANKS_MAX = 64, ANSWER_HEADER_MAX = 512 };

struct mosa_answer_parser {
    mosa_answer_options options; // dialect is NULL where calls are not wanted, but for harmony
    mosa_answer_fn fn;           // during a feed
    void *user;
    answer_state state;
    bool ending; // no more text will come

    mosa_buf held;
    size_t at, scan; // first byte that is not decided; first that the current call's scan has not seen

    mosa_buf out; // of the delta that is being put together
    mosa_answer_kind out_kind;
    char blanks[ANSWER_BLANKS_MAX]; // seen, and shown only if text of the same kind follows
    size_t n_blanks;
    bool fresh;   // blanks that come now are dropped
    bool unshown; // nothing of this answer has been decided: a bare call may begin

    int n_calls;
    char name[MOSA_ANSWER_NAME_MAX + 1]; // of the current call
    size_t name_len;
    int after; // closing marks of the current call that have been seen
    object_scan object;
    json_span span;     // HEADER
    mosa_buf value;     // arguments before the name (OBJECT), a value before its end (PARAMS)
    bool value_is_text; // PARAMS: it is passed on as a string
    bool value_begun;   // ... and its first line break is behind us
    int n_params;       // of the current call
    char key[MOSA_ANSWER_NAME_MAX + 1];
    mosa_answer_kind message_kind; // HARMONY
    bool failed;
};

// --- answer_parser.c ------------------------------------------------------------------------------------------------

static inline mosa_slice mosa_answer_rest(const mosa_answer_parser *p, size_t from) {
    return (mosa_slice){mosa_buf_str(&p->held) + from, p->held.len - from};
}
static inline bool mosa_answer_is_blank(char c) {
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

// How `text` begins with `mark`: fully, not, or as far as it goes.
typedef enum mark_match { MARK_NO, MARK_PART, MARK_YES } mark_match;
mark_match mosa_answer_match(mosa_slice text, const char *mark);

// The first of the marks (NULL ones are skipped) in `text`: true with *found its place and *which. Else *found is the
// number of bytes that no mark can begin in.
bool mosa_answer_search(mosa_slice text, const char *const *marks, size_t n_marks, size_t *found, size_t *which);

void mosa_answer_put(mosa_answer_parser *p, mosa_answer_kind kind, mosa_slice text);      // as it is
void mosa_answer_put_text(mosa_answer_parser *p, mosa_answer_kind kind, mosa_slice text); // blanks as the rules say
void mosa_answer_drop_blanks(mosa_answer_parser *p);

// The call at `at` is none: its opening mark, or one byte of what has none, becomes content and the rest is read again.
void mosa_answer_refuse(mosa_answer_parser *p);
// A call begins: p->name is its name. False when there are too many (then it is refused).
bool mosa_answer_announce(mosa_answer_parser *p);
void mosa_answer_end_call(mosa_answer_parser *p); // at the current place
bool mosa_answer_name_is_sane(const mosa_answer_parser *p);
const json_t *mosa_answer_find_function(const mosa_answer_parser *p); // of p->name, or NULL

// Takes one byte of a value that has begun; true when the value ended with it. A scalar ends before the byte that is
// not its own, which *beyond says.
bool mosa_answer_span_push(json_span *span, char c, bool *beyond);

// --- the forms ------------------------------------------------------------------------------------------------------

void mosa_answer_object_begin(mosa_answer_parser *p, bool bare);
bool mosa_answer_object_step(mosa_answer_parser *p);
bool mosa_answer_header_step(mosa_answer_parser *p);
bool mosa_answer_arguments_step(mosa_answer_parser *p);
bool mosa_answer_name_step(mosa_answer_parser *p);
bool mosa_answer_params_step(mosa_answer_parser *p);
bool mosa_answer_key_step(mosa_answer_parser *p);
bool mosa_answer_value_step(mosa_answer_parser *p);
bool mosa_answer_head_step(mosa_answer_parser *p);
bool mosa_answer_message_step(mosa_answer_parser *p);

#endif
