// Where a rendered conversation shows the assistant's messages.
//
// First by the header: the bytes that a template writes before every answer occur, as trusted bytes, exactly once for
// each. Where it has none, or does not write it once for each message, by prefixes: the conversation up to a message,
// with a generation prompt, is what stands before it.
#include "train/data/tokenize_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool data_is_assistant(const json_t *messages, size_t i) {
    const char *role = json_string_value(json_object_get(json_array_get(messages, i), "role"));
    return role && strcmp(role, "assistant") == 0;
}

static size_t common(const char *a, size_t a_len, const char *b, size_t b_len) {
    size_t n = 0;
    while (n < a_len && n < b_len && a[n] == b[n]) n++;
    return n;
}

// --- the header -----------------------------------------------------------------------------------------------------

static bool render_small(const mosa_chat_template *tmpl, json_t *kwargs, size_t n, bool prompt,
                         mosa_jinja_output *out) {
    json_t *messages = json_pack("[{s:s,s:s}]", "role", "user", "content", "Xq");
    mosa_chat_options options = {.add_generation_prompt = prompt, .kwargs = kwargs};
    static const char *const words[] = {"Yq", "Zq", "Wq"};
    bool ok = messages != NULL;
    for (size_t i = 1; ok && i < n; i++)
        ok = json_array_append_new(
                 messages, json_pack("{s:s,s:s}", "role", i % 2 ? "assistant" : "user", "content", words[i - 1])) == 0;
    ok = ok && mosa_chat_template_render(tmpl, messages, &options, out, NULL) == MOSA_OK;
    json_decref(messages);
    return ok;
}

static char *copy_words(const char *text, size_t len) {
    bool blank = true;
    for (size_t i = 0; i < len && blank; i++) blank = text[i] == ' ' || text[i] == '\n';
    return blank ? NULL : strndup(text, len);
}

void data_header_find(const mosa_chat_template *tmpl, json_t *kwargs, data_header *out) {
    mosa_jinja_output asked = {0}, prompted = {0}, talked = {0};
    *out = (data_header){0};
    if (render_small(tmpl, kwargs, 1, false, &asked) && render_small(tmpl, kwargs, 1, true, &prompted) &&
        render_small(tmpl, kwargs, 4, false, &talked)) {
        size_t n = asked.len;
        bool grows = prompted.len > n && talked.len > n && memcmp(asked.text, prompted.text, n) == 0 &&
                     memcmp(asked.text, talked.text, n) == 0;
        if (grows) {
            size_t shared = common(prompted.text + n, prompted.len - n, talked.text + n, talked.len - n);
            out->prompt = copy_words(prompted.text + n, prompted.len - n);
            out->header = copy_words(prompted.text + n, shared);
        }
    }
    mosa_jinja_output_finish(&asked);
    mosa_jinja_output_finish(&prompted);
    mosa_jinja_output_finish(&talked);
}

void data_header_finish(data_header *header) {
    free(header->prompt);
    free(header->header);
    *header = (data_header){0};
}

// --- by the header --------------------------------------------------------------------------------------------------

// Whether all bytes of [begin, end) are trusted. *r is the range to begin at, for callers that move forward.
static bool is_trusted(const mosa_jinja_output *whole, size_t *r, size_t begin, size_t end) {
    while (*r < whole->n_ranges && whole->ranges[*r].offset + whole->ranges[*r].len <= begin) ++*r;
    for (size_t i = *r; i < whole->n_ranges && whole->ranges[i].offset < end; i++)
        if (!whole->ranges[i].trusted) return false;
    return true;
}

static size_t find_headers(const data_header *header, const mosa_jinja_output *whole, data_turn *turns, size_t max) {
    size_t n = 0, range = 0, len = strlen(header->header), full = strlen(header->prompt);
    for (size_t at = 0; at < whole->len;) {
        const char *hit = memmem(whole->text + at, whole->len - at, header->header, len);
        if (!hit) break;
        size_t begin = (size_t)(hit - whole->text);
        at = begin + 1;
        if (!is_trusted(whole, &range, begin, begin + len)) continue;
        if (n == max) return max + 1;
        bool prompted = whole->len - begin >= full && memcmp(hit, header->prompt, full) == 0;
        at = begin + (prompted ? full : len);
        turns[n++] = (data_turn){at, SIZE_MAX, 0};
    }
    return n;
}

// --- by prefixes ----------------------------------------------------------------------------------------------------

// How many bytes of `whole` the first n messages make.
static mosa_status prefix_length(const mosa_chat_template *tmpl, json_t *messages, size_t n, bool prompt,
                                 const mosa_chat_options *options, const mosa_jinja_output *whole, size_t *out,
                                 mosa_error *err) {
    mosa_chat_options some = *options;
    mosa_jinja_output part = {0};
    json_t *first = json_array();
    bool ok = first != NULL;
    for (size_t i = 0; ok && i < n; i++) ok = json_array_append(first, json_array_get(messages, i)) == 0;
    some.add_generation_prompt = prompt;
    mosa_status status = ok ? mosa_chat_template_render(tmpl, first, &some, &part, err)
                            : mosa_fail(err, MOSA_ENOMEM, "out of memory for a conversation");
    json_decref(first);
    if (status == MOSA_OK) *out = common(part.text, part.len, whole->text, whole->len);
    mosa_jinja_output_finish(&part);
    return status;
}

static mosa_status find_by_prefixes(const mosa_chat_template *tmpl, json_t *messages, const mosa_chat_options *options,
                                    const mosa_jinja_output *whole, data_turn *turns, mosa_error *err) {
    size_t n = json_array_size(messages), k = 0, last = 0;
    for (size_t i = 0; i < n; i++) {
        if (!data_is_assistant(messages, i)) continue;
        data_turn turn = {0, whole->len, i};
        if (i > 0) MOSA_TRY(prefix_length(tmpl, messages, i, true, options, whole, &turn.begin, err));
        if (i + 1 < n) MOSA_TRY(prefix_length(tmpl, messages, i + 1, false, options, whole, &turn.end, err));
        if (turn.begin < last || turn.end <= turn.begin) {
            (void)mosa_fail(err, MOSA_EINVALID,
                            "the chat template does not show which part of its text messages[%zu] is", i);
            return mosa_hint(err, "give a template with {%% generation %%} around the assistant's words "
                                  "(--chat-template FILE), or --train-on last");
        }
        turns[k++] = turn;
        last = turn.end;
    }
    return MOSA_OK;
}

mosa_status data_turns_find(const mosa_chat_template *tmpl, const data_header *header, json_t *messages,
                            const mosa_chat_options *options, const mosa_jinja_output *whole, data_turn **turns,
                            size_t *n_turns, mosa_error *err) {
    size_t n = 0, k = 0;
    for (size_t i = 0; i < json_array_size(messages); i++) n += data_is_assistant(messages, i);
    data_turn *found = malloc((n ? n : 1) * sizeof *found);
    if (!found) return mosa_fail(err, MOSA_ENOMEM, "out of memory for a conversation");
    bool by_header = header->header && find_headers(header, whole, found, n) == n;
    for (size_t i = 0; by_header && i < json_array_size(messages); i++)
        if (data_is_assistant(messages, i)) found[k++].message = i;
    mosa_status status = by_header ? MOSA_OK : find_by_prefixes(tmpl, messages, options, whole, found, err);
    if (status != MOSA_OK) {
        free(found);
        return status;
    }
    *turns = found;
    *n_turns = n;
    return MOSA_OK;
}
