// Harmony: messages, each with a header that says its channel and whom it is for.
//
// The prompt ends with <|start|>assistant, so that an answer begins inside of a header. A header is what stands before
// <|message|>; an answer that does not begin with a mark has none, and is the final message.
#include "text/dialect/answer_internal.h"

#include <string.h>

static const char message_mark[] = "<|message|>", start_mark[] = "<|start|>", channel_mark[] = "<|channel|>";
static const char recipient[] = "to=functions.";

// <|return|> and <|call|> end the generation, and are not seen then.
static const char *const end_marks[] = {"<|end|>", "<|call|>", "<|return|>", start_mark, channel_mark};

static bool has(mosa_slice text, const char *word) {
    return memmem(text.data, text.len, word, strlen(word)) != NULL;
}

// Whether an answer's first bytes are a header's: 1, 0, or -1 when more is needed.
static int begins_header(mosa_slice text) {
    static const char *const openings[] = {channel_mark, start_mark, message_mark, " to=", "to=", "<|constrain|>"};
    int part = 0;
    for (size_t i = 0; i < MOSA_COUNT(openings); i++) {
        mark_match match = mosa_answer_match(text, openings[i]);
        if (match == MARK_YES) return 1;
        part = match == MARK_PART ? -1 : part;
    }
    return part;
}

static void begin_message(mosa_answer_parser *p, mosa_slice header) {
    const char *to = memmem(header.data, header.len, recipient, sizeof recipient - 1);
    p->message_kind = has(header, "analysis") ? MOSA_ANSWER_REASONING : MOSA_ANSWER_CONTENT;
    p->name_len = 0;
    if (!to || !p->options.tools) return;
    const char *begin = to + sizeof recipient - 1, *end = begin;
    while (end < header.data + header.len && !mosa_answer_is_blank(*end) && *end != '<') end++;
    if (end - begin > MOSA_ANSWER_NAME_MAX) return;
    memcpy(p->name, begin, (size_t)(end - begin));
    p->name[p->name_len = (size_t)(end - begin)] = '\0';
    if (mosa_answer_name_is_sane(p) && mosa_answer_announce(p)) p->message_kind = MOSA_ANSWER_ARGUMENTS;
}

static void begin_plain(mosa_answer_parser *p) {
    p->message_kind = MOSA_ANSWER_CONTENT;
    p->state = ANSWER_MESSAGE;
}

bool mosa_answer_head_step(mosa_answer_parser *p) {
    const char *mark = message_mark;
    mosa_slice rest = mosa_answer_rest(p, p->at);
    size_t found, which, blanks = 0;
    if (p->at == p->held.len) return false;
    if (p->unshown) { // the first header of an answer
        while (blanks < rest.len && rest.data[blanks] == '\n') blanks++;
        int header = begins_header((mosa_slice){rest.data + blanks, rest.len - blanks});
        if (header < 0 && !p->ending && rest.len <= ANSWER_HEADER_MAX) return false;
        p->unshown = false;
        if (header != 1) {
            begin_plain(p);
            return true;
        }
    }
    bool complete = mosa_answer_search(rest, &mark, 1, &found, &which);
    if (!complete && found <= ANSWER_HEADER_MAX && !p->ending) return false;
    if (!complete && p->ending && begins_header(rest) == 1) return false; // an answer that was cut off in a header
    if (!complete || found > ANSWER_HEADER_MAX) {                         // no header: show what there is
        mosa_answer_put_text(p, MOSA_ANSWER_CONTENT, (mosa_slice){rest.data, found});
        p->at += found;
        begin_plain(p);
        return true;
    }
    mosa_answer_drop_blanks(p);
    begin_message(p, (mosa_slice){rest.data, found});
    p->at += found + sizeof message_mark - 1;
    p->state = ANSWER_MESSAGE;
    return true;
}

bool mosa_answer_message_step(mosa_answer_parser *p) {
    size_t found, which;
    bool closed = mosa_answer_search(mosa_answer_rest(p, p->at), end_marks, MOSA_COUNT(end_marks), &found, &which);
    if (p->ending && !closed) found = p->held.len - p->at;
    mosa_slice text = {p->held.data + p->at, found};
    if (p->message_kind == MOSA_ANSWER_ARGUMENTS)
        mosa_answer_put(p, MOSA_ANSWER_ARGUMENTS, text);
    else
        mosa_answer_put_text(p, p->message_kind, text);
    p->at += found;
    if (!closed) return false;
    // A header's own mark stays for it to read.
    if (end_marks[which] != start_mark && end_marks[which] != channel_mark) p->at += strlen(end_marks[which]);
    mosa_answer_drop_blanks(p);
    p->state = ANSWER_MESSAGE_HEAD;
    return true;
}
