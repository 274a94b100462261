// Calls as a header with the name, a mark, and the arguments' JSON object.
#include "text/dialect/answer_internal.h"

#include <string.h>

// The name within the header: behind name_open, before name_end, without blanks around it.
static void read_name(mosa_answer_parser *p, mosa_slice header) {
    const mosa_dialect *d = p->options.dialect;
    const char *open = d->name_open ? memmem(header.data, header.len, d->name_open, strlen(d->name_open)) : NULL;
    const char *end = header.data + header.len, *begin = open ? open + strlen(d->name_open) : header.data;
    const char *stop = d->name_end ? memmem(begin, (size_t)(end - begin), d->name_end, strlen(d->name_end)) : NULL;
    if (stop) end = stop;
    while (begin < end && mosa_answer_is_blank(*begin)) begin++;
    while (begin < end && mosa_answer_is_blank(end[-1])) end--;
    p->name_len = (size_t)(end - begin) <= MOSA_ANSWER_NAME_MAX ? (size_t)(end - begin) : 0;
    if (p->name_len) memcpy(p->name, begin, p->name_len);
    p->name[p->name_len] = '\0';
}

// `scan` stands behind the opening mark until the call is announced.
bool mosa_answer_header_step(mosa_answer_parser *p) {
    const char *mark = p->options.dialect->arguments_open;
    mosa_slice rest = mosa_answer_rest(p, p->scan);
    size_t found, which;
    bool complete = mosa_answer_search(rest, &mark, 1, &found, &which);
    size_t i = p->scan + found + (complete ? strlen(mark) : 0);
    while (complete && i < p->held.len && mosa_answer_is_blank(p->held.data[i])) i++;
    bool decided = complete && i < p->held.len;
    if (!decided && found <= ANSWER_HEADER_MAX && i - p->scan <= 2 * ANSWER_HEADER_MAX && !p->ending) return false;
    if (decided && found <= ANSWER_HEADER_MAX) read_name(p, (mosa_slice){rest.data, found});
    if (!decided || found > ANSWER_HEADER_MAX || i - p->scan > 2 * ANSWER_HEADER_MAX || p->held.data[i] != '{' ||
        !mosa_answer_name_is_sane(p) || !mosa_answer_announce(p)) {
        mosa_answer_refuse(p);
        return true;
    }
    p->at = i;
    p->span = (json_span){0};
    p->state = ANSWER_ARGUMENTS;
    return true;
}

bool mosa_answer_arguments_step(mosa_answer_parser *p) {
    size_t i = p->at;
    bool done = false, beyond;
    while (i < p->held.len && !done) done = mosa_answer_span_push(&p->span, p->held.data[i++], &beyond);
    mosa_answer_put(p, MOSA_ANSWER_ARGUMENTS, (mosa_slice){p->held.data + p->at, i - p->at});
    p->at = i;
    if (done) mosa_answer_end_call(p);
    return done;
}
