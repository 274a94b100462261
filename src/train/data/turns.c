// Where a rendered conversation shows the assistant's messages.
//
// First by the header: the bytes that a template writes before every answer occur, as trusted bytes, exactly once for
// each. Where it has none, or does not write it once for each message, by prefixes: the conversation up to a message,
// with a generation prompt, is what stands before it.
//
// A turn ends with its end token. Where a template writes none: where the conversation up to the message ends, if that
// is a prefix of the whole; else at the footer that the template writes after every answer; else behind the words.
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

// What stands behind both answers of the small conversation.
static void find_footer(const mosa_model_text *text, const mosa_jinja_output *talked, data_header *out) {
    const char *first = memmem(talked->text, talked->len, "Yq", 2), *last = memmem(talked->text, talked->len, "Wq", 2);
    const char *end = talked->text + talked->len;
    size_t n_ends;
    const mosa_token_id *ends = mosa_model_text_end_ids(text, &n_ends);
    if (!first || !last || first > last) return;
    out->footer =
        copy_words(last + 2, common(first + 2, (size_t)(end - first) - 2, last + 2, (size_t)(end - last) - 2));
    for (size_t i = 0; out->footer && i < n_ends; i++) {
        mosa_slice spelling = mosa_tokenizer_token_text(mosa_model_text_tokenizer(text), ends[i]);
        out->footer_ends |= spelling.len && memmem(out->footer, strlen(out->footer), spelling.data, spelling.len);
    }
}

void data_header_find(const mosa_model_text *text, const mosa_chat_template *tmpl, json_t *kwargs, data_header *out) {
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
        find_footer(text, &talked, out);
    }
    mosa_jinja_output_finish(&asked);
    mosa_jinja_output_finish(&prompted);
    mosa_jinja_output_finish(&talked);
}

void data_header_finish(data_header *header) {
    free(header->prompt);
    free(header->header);
    free(header->footer);
    *header = (data_header){0};
}

// --- by the header --------------------------------------------------------------------------------------------------

bool data_is_trusted(const mosa_jinja_output *whole, size_t begin, size_t end) {
    size_t low = 0, high = whole->n_ranges; // the first range that ends behind `begin`
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (whole->ranges[mid].offset + whole->ranges[mid].len <= begin)
            low = mid + 1;
        else
            high = mid;
    }
    for (size_t i = low; i < whole->n_ranges && whole->ranges[i].offset < end; i++)
        if (!whole->ranges[i].trusted) return false;
    return true;
}

// The first place from `from` to `to` where the template wrote `words`, or SIZE_MAX.
static size_t find_trusted(const mosa_jinja_output *whole, size_t from, size_t to, const char *words) {
    size_t len = strlen(words);
    while (from < to) {
        const char *hit = memmem(whole->text + from, to - from, words, len);
        if (!hit) break;
        size_t at = (size_t)(hit - whole->text);
        if (data_is_trusted(whole, at, at + len)) return at;
        from = at + 1;
    }
    return SIZE_MAX;
}

// Up to max + 1 turns. A header at the very end, which some templates always write, begins no turn.
static size_t find_headers(const data_rendering *r, data_turn *turns, size_t max) {
    const mosa_jinja_output *whole = &r->whole;
    size_t n = 0, len = strlen(r->header->header), full = strlen(r->header->prompt), at = 0;
    while ((at = find_trusted(whole, at, whole->len, r->header->header)) != SIZE_MAX) {
        bool prompted = whole->len - at >= full && memcmp(whole->text + at, r->header->prompt, full) == 0;
        at += prompted ? full : len;
        if (at == whole->len) break;
        if (n == max) return max + 1;
        turns[n++] = (data_turn){at, 0};
    }
    return n;
}

// --- by prefixes ----------------------------------------------------------------------------------------------------

// How many bytes of the whole the first n messages make. *exact: none of their words come behind that, though what the
// template adds at the end may; with `prompt` false, nothing at all does.
static mosa_status prefix_length(const data_rendering *r, size_t n, bool prompt, size_t *out, bool *exact,
                                 mosa_error *err) {
    mosa_chat_options some = *r->options;
    mosa_jinja_output part = {0};
    json_t *first = json_array();
    bool ok = first != NULL;
    for (size_t i = 0; ok && i < n; i++) ok = json_array_append(first, json_array_get(r->messages, i)) == 0;
    some.add_generation_prompt = prompt;
    mosa_status status = ok ? mosa_chat_template_render(r->tmpl, first, &some, &part, err)
                            : mosa_fail(err, MOSA_ENOMEM, "out of memory for a conversation");
    json_decref(first);
    if (status == MOSA_OK) {
        *out = common(part.text, part.len, r->whole.text, r->whole.len);
        *exact = *out == part.len || (prompt && data_is_trusted(&part, *out, part.len));
    }
    mosa_jinja_output_finish(&part);
    return status;
}

static mosa_status hidden(size_t message, mosa_error *err) {
    (void)mosa_fail(err, MOSA_EINVALID, "the chat template does not show which part of its text messages[%zu] is",
                    message);
    return mosa_hint(err,
                     "give a template with {%% generation %%} around the assistant's words (--chat-template FILE)");
}

static mosa_slice words_of(const data_rendering *r, size_t message) {
    const json_t *content = json_object_get(json_array_get(r->messages, message), "content");
    mosa_slice words = {json_string_value(content), json_string_length(content)};
    while (words.len && strchr(" \t\r\n", words.data[words.len - 1])) words.len--;
    while (words.len && strchr(" \t\r\n", words.data[0])) words.data++, words.len--;
    return words;
}

// The one place from `from` on where a stretch of untrusted bytes begins with the message's words, or SIZE_MAX.
static size_t find_words(const data_rendering *r, size_t message, size_t from) {
    mosa_slice words = words_of(r, message);
    size_t found = SIZE_MAX;
    for (size_t i = 0; i < r->whole.n_ranges && words.len; i++) {
        const mosa_text_range *range = &r->whole.ranges[i];
        size_t at = range->offset, end = range->offset + range->len;
        if (range->trusted || at < from) continue;
        while (at < end && strchr(" \t\r\n", r->whole.text[at])) at++;
        if (end - at < words.len || memcmp(r->whole.text + at, words.data, words.len) != 0) continue;
        if (found != SIZE_MAX) return SIZE_MAX;
        found = range->offset;
    }
    return found;
}

static mosa_status find_by_prefixes(const data_rendering *r, data_turn *turns, mosa_error *err) {
    size_t k = 0, last = 0;
    for (size_t i = 0; i < json_array_size(r->messages); i++) {
        if (!data_is_assistant(r->messages, i)) continue;
        data_turn turn = {0, i};
        bool exact = true;
        if (i > 0) MOSA_TRY(prefix_length(r, i, true, &turn.begin, &exact, err));
        if (!exact) turn.begin = find_words(r, i, last);
        if (turn.begin < last || turn.begin >= r->whole.len) return hidden(i, err);
        turns[k++] = turn;
        last = turn.begin + 1;
    }
    return MOSA_OK;
}

mosa_status data_turns_find(const data_rendering *rendering, data_turn **turns, size_t *n_turns, mosa_error *err) {
    const json_t *messages = rendering->messages;
    size_t n = 0, k = 0;
    for (size_t i = 0; i < json_array_size(messages); i++) n += data_is_assistant(messages, i);
    data_turn *found = malloc((n ? n : 1) * sizeof *found);
    if (!found) return mosa_fail(err, MOSA_ENOMEM, "out of memory for a conversation");
    bool by_header = rendering->header->header && find_headers(rendering, found, n) == n;
    for (size_t i = 0; by_header && i < json_array_size(messages); i++)
        if (data_is_assistant(messages, i)) found[k++].message = i;
    mosa_status status = by_header ? MOSA_OK : find_by_prefixes(rendering, found, err);
    if (status != MOSA_OK) {
        free(found);
        return status;
    }
    *turns = found;
    *n_turns = n;
    return MOSA_OK;
}

// --- ends -----------------------------------------------------------------------------------------------------------

// Behind the message's words within [begin, limit), or SIZE_MAX.
static size_t behind_words(const data_rendering *r, const data_turn *turn, size_t limit) {
    mosa_slice words = words_of(r, turn->message);
    const char *hit =
        words.len ? memmem(r->whole.text + turn->begin, limit - turn->begin, words.data, words.len) : NULL;
    return hit ? (size_t)(hit - r->whole.text) + words.len : SIZE_MAX;
}

mosa_status data_turn_end(const data_rendering *rendering, const data_turn *turns, size_t n_turns, size_t k,
                          size_t *end, mosa_error *err) {
    const data_turn *turn = &turns[k];
    size_t limit = k + 1 < n_turns ? turns[k + 1].begin : rendering->whole.len, at = limit;
    bool exact = true, last = turn->message + 1 == json_array_size(rendering->messages);
    if (!last) MOSA_TRY(prefix_length(rendering, turn->message + 1, false, &at, &exact, err));
    if (!exact || at <= turn->begin || at > limit) {
        at = rendering->header->footer ? find_trusted(&rendering->whole, turn->begin, limit, rendering->header->footer)
                                       : behind_words(rendering, turn, limit);
        if (at == SIZE_MAX) return hidden(turn->message, err);
        if (rendering->header->footer) at += strlen(rendering->header->footer);
    }
    *end = at;
    return MOSA_OK;
}
