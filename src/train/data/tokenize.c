// Ids and weights of records. A job carries one record through: render or join the text, tokenize it once, find each
// token's bytes, weigh them, then cut and check.
#include "train/data/tokenize_internal.h"

#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

struct mosa_text_trainer {
    const mosa_model_text *text;
    const mosa_tokenizer *tokenizer;
    mosa_tokenize_options options;
    mosa_chat_capabilities can[2]; // without, with tools
    data_header headers[2];
    mosa_token_id eos;
    size_t lead, tail; // tokens that the tokenizer puts before and behind a text
};

typedef struct job {
    const mosa_text_trainer *trainer;
    const mosa_record *record;
    mosa_example_list *out;
    mosa_error *err;
    mosa_token_list ids;
    float *weight;     // (ids.len)
    token_span *spans; // (ids.len)
} job;

static mosa_status no_memory(mosa_error *err) {
    return mosa_fail(err, MOSA_ENOMEM, "out of memory for an example");
}

// --- the trainer ----------------------------------------------------------------------------------------------------

static bool is_end(const mosa_text_trainer *trainer, mosa_token_id id) {
    size_t n;
    const mosa_token_id *ends = mosa_model_text_end_ids(trainer->text, &n);
    for (size_t i = 0; i < n; i++)
        if (ends[i] == id) return true;
    return false;
}

// What the tokenizer puts around a text, seen on an empty one.
static mosa_status find_frame(mosa_text_trainer *trainer, mosa_error *err) {
    mosa_token_list list;
    mosa_token_list_init(&list, 0);
    mosa_status status =
        mosa_tokenizer_encode(trainer->tokenizer, (mosa_slice){0}, MOSA_ENCODE_ADD_SPECIAL, &list, err);
    bool ends = list.len > 0 && is_end(trainer, list.ids[list.len - 1]) &&
                !(list.len == 1 && mosa_tokenizer_adds_bos(trainer->tokenizer));
    trainer->tail = ends;
    trainer->lead = list.len - trainer->tail;
    mosa_token_list_finish(&list);
    return status;
}

mosa_status mosa_text_trainer_create(const mosa_model_text *text, const mosa_tokenize_options *options,
                                     mosa_text_trainer **out, mosa_error *err) {
    mosa_text_trainer *trainer = calloc(1, sizeof *trainer);
    if (!trainer) return no_memory(err);
    trainer->text = text;
    trainer->tokenizer = mosa_model_text_tokenizer(text);
    trainer->options = *options;
    for (int i = 0; i < 2; i++) {
        const mosa_chat_template *tmpl = mosa_model_text_template(text, i == 1);
        trainer->can[i] = mosa_chat_template_probe(tmpl);
        data_header_find(text, tmpl, options->kwargs, &trainer->headers[i]);
    }
    trainer->eos = mosa_tokenizer_special(trainer->tokenizer)->eos;
    size_t n_ends;
    const mosa_token_id *ends = mosa_model_text_end_ids(text, &n_ends);
    if (trainer->eos == MOSA_TOKEN_NONE && n_ends > 0) trainer->eos = ends[0];
    mosa_status status = find_frame(trainer, err);
    if (status == MOSA_OK)
        *out = trainer;
    else
        mosa_text_trainer_destroy(trainer);
    return status;
}

void mosa_text_trainer_destroy(mosa_text_trainer *trainer) {
    if (!trainer) return;
    for (int i = 0; i < 2; i++) data_header_finish(&trainer->headers[i]);
    free(trainer);
}

// --- the list -------------------------------------------------------------------------------------------------------

void mosa_example_list_finish(mosa_example_list *list) {
    free(list->items);
    free(list->ids);
    free(list->weight);
    *list = (mosa_example_list){0};
}

static bool list_reserve(mosa_example_list *list, size_t items, size_t tokens) {
    if (list->count + items > list->capacity) {
        size_t capacity = 2 * list->capacity + items;
        mosa_train_example *grown = realloc(list->items, capacity * sizeof *grown);
        if (!grown) return false;
        list->items = grown;
        list->capacity = capacity;
    }
    if (list->n_tokens + tokens > list->cap_tokens) {
        size_t capacity = 2 * list->cap_tokens + tokens;
        int32_t *ids = realloc(list->ids, capacity * sizeof *ids);
        if (ids) list->ids = ids;
        float *weight = realloc(list->weight, capacity * sizeof *weight);
        if (weight) list->weight = weight;
        if (!ids || !weight) return false;
        list->cap_tokens = capacity;
    }
    return true;
}

// The arrays may move until the last example is there: pointers are set at the end.
static void list_seal(mosa_example_list *list) {
    size_t at = 0;
    for (size_t i = 0; i < list->count; i++) {
        list->items[i].ids = list->ids + at;
        list->items[i].weight = list->weight + at;
        at += (size_t)list->items[i].n;
    }
}

static mosa_status list_add(job *j, size_t begin, size_t n, mosa_example_role role) {
    mosa_example_list *list = j->out;
    if (!list_reserve(list, 1, n)) return no_memory(j->err);
    memcpy(list->ids + list->n_tokens, j->ids.ids + begin, n * sizeof *list->ids);
    memcpy(list->weight + list->n_tokens, j->weight + begin, n * sizeof *list->weight);
    list->weight[list->n_tokens] = 0;
    list->items[list->count++] = (mosa_train_example){.n = (int32_t)n, .role = role};
    list->n_tokens += n;
    return MOSA_OK;
}

// --- weighing -------------------------------------------------------------------------------------------------------

static mosa_status job_alloc(job *j) {
    size_t n = j->ids.len + 1; // room for an EOS
    j->weight = calloc(n, sizeof *j->weight);
    j->spans = calloc(n, sizeof *j->spans);
    return j->weight && j->spans ? MOSA_OK : no_memory(j->err);
}

static void job_reset(job *j) {
    mosa_token_list_clear(&j->ids);
    free(j->weight);
    free(j->spans);
    j->weight = NULL;
    j->spans = NULL;
}

// Tokens [begin, begin + n) are those of the text.
static mosa_status align(job *j, mosa_slice text, size_t begin, size_t n) {
    if (data_align(j->trainer->tokenizer, text, j->ids.ids + begin, n, j->spans + begin)) return MOSA_OK;
    return mosa_fail(j->err, MOSA_EUNSUPPORTED,
                     "the tokenizer rewrites this text: which tokens the assistant wrote cannot be told");
}

// Tokens that have a byte in [begin, end).
static void weigh_bytes(job *j, size_t begin, size_t end, float weight) {
    for (size_t t = 0; t < j->ids.len && j->spans[t].begin < end; t++)
        if (j->spans[t].end > begin) j->weight[t] = weight;
}

static bool append_eos(job *j, float weight) {
    mosa_token_list_append(&j->ids, j->trainer->eos);
    if (j->ids.failed) return false;
    j->weight[j->ids.len - 1] = weight;
    return true;
}

static mosa_status need_eos(job *j) {
    if (j->trainer->eos != MOSA_TOKEN_NONE) return MOSA_OK;
    (void)mosa_fail(j->err, MOSA_EINVALID, "the tokenizer has no EOS token: the model would never stop");
    return mosa_hint(j->err, "--eos none trains without one");
}

// --- texts ----------------------------------------------------------------------------------------------------------

// A document, or a prompt with one of its answers.
static mosa_status run_text(job *j, mosa_slice prompt, mosa_slice answer) {
    const mosa_tokenize_options *o = &j->trainer->options;
    float weight = (float)j->record->weight;
    unsigned flags = MOSA_ENCODE_ADD_SPECIAL | (o->trusted ? MOSA_ENCODE_PARSE_SPECIAL : 0);
    bool document = j->record->kind == MOSA_DATA_TEXT, all = document || o->train_on == MOSA_TRAIN_ALL;
    mosa_buf whole = {0};
    mosa_buf_append_slice(&whole, prompt);
    mosa_buf_append_slice(&whole, answer);
    mosa_status status = mosa_buf_failed(&whole) ? no_memory(j->err) : MOSA_OK;
    mosa_slice text = answer.len ? mosa_buf_slice(&whole) : prompt;
    if (status == MOSA_OK) status = mosa_tokenizer_encode(j->trainer->tokenizer, text, flags, &j->ids, j->err);
    if (status == MOSA_OK) status = job_alloc(j);
    size_t n = j->ids.len, lead = j->trainer->lead, tail = j->trainer->tail;
    if (status == MOSA_OK && all) {
        for (size_t t = 0; t < n; t++) j->weight[t] = weight;
    } else if (status == MOSA_OK) {
        status = align(j, text, lead, n - lead - tail);
        if (status == MOSA_OK) weigh_bytes(j, prompt.len, text.len, weight);
        if (tail) j->weight[n - 1] = weight;
    }
    mosa_buf_finish(&whole);
    MOSA_TRY(status);
    if (o->eos == MOSA_EOS_NONE || (n && is_end(j->trainer, j->ids.ids[n - 1]))) return MOSA_OK;
    MOSA_TRY(need_eos(j));
    return append_eos(j, weight) ? MOSA_OK : no_memory(j->err);
}

// --- chats ----------------------------------------------------------------------------------------------------------

// Parts of text joined, for templates that want one string; weights taken out, which no template may see.
static mosa_status prepare_messages(job *j, json_t *messages, bool parts, double *weights) {
    for (size_t i = 0; i < json_array_size(messages); i++) {
        json_t *message = json_array_get(messages, i), *weight = json_object_get(message, "weight");
        json_t *content = json_object_get(message, "content");
        weights[i] = json_is_number(weight) ? json_number_value(weight) : 1;
        if (weight) json_object_del(message, "weight");
        if (!json_is_array(content) || parts) continue;
        mosa_buf text = {0};
        for (size_t k = 0; k < json_array_size(content); k++) {
            const json_t *part = json_object_get(json_array_get(content, k), "text");
            if (k) mosa_buf_append_char(&text, '\n');
            mosa_buf_append(&text, json_string_value(part), json_string_length(part));
        }
        bool ok = !mosa_buf_failed(&text) &&
                  json_object_set_new(message, "content", json_stringn_nocheck(mosa_buf_str(&text), text.len)) == 0;
        mosa_buf_finish(&text);
        if (!ok) return no_memory(j->err);
    }
    return MOSA_OK;
}

// A template that leaves out what a record holds would train on something else than what is served.
static mosa_status check_template(job *j, const json_t *messages, const mosa_chat_capabilities *can) {
    const char *lacks = j->record->tools && !can->tools ? "tools" : NULL;
    for (size_t i = 0; i < json_array_size(messages) && !lacks; i++) {
        const json_t *message = json_array_get(messages, i);
        const char *role = json_string_value(json_object_get(message, "role"));
        if (json_array_size(json_object_get(message, "tool_calls")) && !can->tool_calls) lacks = "tool calls";
        if (strcmp(role, "tool") == 0 && !can->tool_results) lacks = "tools' results";
        if (strcmp(role, "system") == 0 && !can->system_role) lacks = "system messages";
    }
    if (!lacks) return MOSA_OK;
    (void)mosa_fail(j->err, MOSA_EINVALID, "the model's chat template has no place for %s", lacks);
    return mosa_hint(j->err, "give a template that has (--chat-template FILE)");
}

// How much message i counts: 0 outside of what train_on and the record's prompt leave.
static float message_weight(const job *j, const json_t *messages, const double *weights, size_t i) {
    const mosa_tokenize_options *o = &j->trainer->options;
    size_t n = json_array_size(messages);
    if (i < j->record->n_prompt || !data_is_assistant(messages, i)) return 0;
    if (o->train_on == MOSA_TRAIN_LAST && j->record->kind == MOSA_DATA_CHAT)
        for (size_t k = i + 1; k < n; k++)
            if (data_is_assistant(messages, k)) return 0;
    return (float)(weights[i] * j->record->weight);
}

typedef struct conversation {
    data_rendering r;
    const double *weights; // (messages)
} conversation;

// The tokens [*first, *stop) that have a byte in [begin, end).
static void find_tokens(const job *j, size_t begin, size_t end, size_t *first, size_t *stop) {
    size_t t = 0;
    while (t < j->ids.len && j->spans[t].end <= begin) t++;
    *first = t;
    while (t < j->ids.len && j->spans[t].begin < end) t++;
    *stop = t;
}

// A turn's tokens: up to and with its first end token where the template writes one behind every answer; else to where
// the turn ends, without what the template wrote behind an end token.
static mosa_status weigh_turn(job *j, const conversation *c, const data_turn *turns, size_t n, size_t k, float weight) {
    size_t limit = k + 1 < n ? turns[k + 1].begin : c->r.whole.len, first, stop, end, t;
    find_tokens(j, turns[k].begin, limit, &first, &stop);
    for (t = first; t < stop && !is_end(j->trainer, j->ids.ids[t]);) t++;
    if (t < stop && c->r.header->footer_ends) {
        stop = t + 1;
    } else {
        MOSA_TRY(data_turn_end(&c->r, turns, n, k, &end, j->err));
        find_tokens(j, turns[k].begin, end, &first, &stop);
        for (t = first; t < stop; t++)
            if (is_end(j->trainer, j->ids.ids[t]) && data_is_trusted(&c->r.whole, j->spans[t].end, end)) stop = t + 1;
    }
    for (t = first; t < stop; t++) j->weight[t] = weight;
    return MOSA_OK;
}

static mosa_status weigh_turns(job *j, const conversation *c) {
    MOSA_AUTO_FREE data_turn *turns = NULL;
    size_t n = 0;
    MOSA_TRY(data_turns_find(&c->r, &turns, &n, j->err));
    for (size_t i = 0; i < n; i++) {
        float weight = message_weight(j, c->r.messages, c->weights, turns[i].message);
        if (weight != 0) MOSA_TRY(weigh_turn(j, c, turns, n, i, weight));
    }
    return MOSA_OK;
}

// The next run of {% generation %} bytes from range *r on. False at the end.
static bool next_generated(const mosa_jinja_output *whole, size_t *r, size_t *begin, size_t *end) {
    while (*r < whole->n_ranges && !whole->ranges[*r].generated) ++*r;
    if (*r == whole->n_ranges) return false;
    *begin = whole->ranges[*r].offset;
    for (; *r < whole->n_ranges && whole->ranges[*r].generated; ++*r)
        *end = whole->ranges[*r].offset + whole->ranges[*r].len;
    return true;
}

static size_t next_assistant(const json_t *messages, size_t i) {
    while (i < json_array_size(messages) && !data_is_assistant(messages, i)) i++;
    return i;
}

// Runs of {% generation %} count by the message that they are of: the k-th assistant's, or by where the turns are.
static mosa_status weigh_generated(job *j, const conversation *c) {
    size_t n = json_array_size(c->r.messages), n_assistant = 0, n_runs = 0, r = 0, begin, end, n_turns = 0;
    MOSA_AUTO_FREE data_turn *turns = NULL;
    bool same = true;
    float first = 0;
    for (size_t i = 0; i < n; i++) {
        if (!data_is_assistant(c->r.messages, i)) continue;
        float weight = message_weight(j, c->r.messages, c->weights, i);
        if (n_assistant++ == 0) first = weight;
        same = same && weight == first;
    }
    while (next_generated(&c->r.whole, &r, &begin, &end)) n_runs++;
    if (!same && n_runs != n_assistant) MOSA_TRY(data_turns_find(&c->r, &turns, &n_turns, j->err));
    size_t message = next_assistant(c->r.messages, 0);
    for (r = 0; next_generated(&c->r.whole, &r, &begin, &end);) {
        for (size_t i = 0; i < n_turns; i++)
            if (turns[i].begin <= begin) message = turns[i].message;
        float weight = same ? first : message_weight(j, c->r.messages, c->weights, message);
        if (weight != 0) weigh_bytes(j, begin, end, weight);
        if (n_turns == 0) message = next_assistant(c->r.messages, message + 1);
    }
    return MOSA_OK;
}

// What is supervised must end in an end token; the template's own may follow it unmarked.
static mosa_status check_end(job *j) {
    const mosa_text_trainer *trainer = j->trainer;
    size_t last = j->ids.len;
    while (last > 0 && j->weight[last - 1] == 0) last--;
    if (last == 0 || trainer->options.eos == MOSA_EOS_NONE) return MOSA_OK;
    for (size_t t = last; t-- > 0 && j->weight[t] != 0;) {
        if (is_end(trainer, j->ids.ids[t])) return MOSA_OK;
        mosa_slice bytes = mosa_tokenizer_token_bytes(trainer->tokenizer, j->ids.ids[t]);
        bool blank = true;
        for (size_t i = 0; i < bytes.len; i++) blank = blank && strchr(" \t\r\n", bytes.data[i]);
        if (!blank) break;
    }
    if (trainer->options.eos == MOSA_EOS_APPEND) {
        if (last < j->ids.len && is_end(trainer, j->ids.ids[last])) {
            j->weight[last] = j->weight[last - 1];
            return MOSA_OK;
        }
        MOSA_TRY(need_eos(j));
        j->ids.len = last; // what the template wrote behind the answer is not part of it
        return append_eos(j, j->weight[last - 1]) ? MOSA_OK : no_memory(j->err);
    }
    (void)mosa_fail(j->err, MOSA_EINVALID,
                    "the supervised part does not end in an end token: the model would never stop");
    return mosa_hint(j->err, "--eos append puts one there; --eos none trains without");
}

static mosa_status weigh_chat(job *j, const conversation *c) {
    bool all = j->trainer->options.train_on == MOSA_TRAIN_ALL && j->record->kind == MOSA_DATA_CHAT;
    if (all) {
        for (size_t t = 0; t < j->ids.len; t++) j->weight[t] = (float)j->record->weight;
        return MOSA_OK;
    }
    MOSA_TRY(align(j, (mosa_slice){c->r.whole.text, c->r.whole.len}, 0, j->ids.len));
    MOSA_TRY(mosa_chat_template_has_generation(c->r.tmpl) ? weigh_generated(j, c) : weigh_turns(j, c));
    return check_end(j);
}

static mosa_status run_chat(job *j, json_t *messages) {
    const mosa_text_trainer *trainer = j->trainer;
    int tools = j->record->tools != NULL;
    mosa_chat_options options = {.tools = j->record->tools, .kwargs = trainer->options.kwargs};
    MOSA_AUTO_FREE double *weights = malloc((json_array_size(messages) + 1) * sizeof *weights);
    if (!weights) return no_memory(j->err);
    MOSA_TRY(check_template(j, messages, &trainer->can[tools]));
    MOSA_TRY(prepare_messages(j, messages, trainer->can[tools].content_parts, weights));
    conversation c = {.r = {.tmpl = mosa_model_text_template(trainer->text, tools),
                            .header = &trainer->headers[tools],
                            .options = &options,
                            .messages = messages},
                      .weights = weights};
    mosa_jinja_output *whole = &c.r.whole;
    MOSA_TRY(mosa_chat_template_render(c.r.tmpl, messages, &options, whole, j->err));
    // The template writes BOS itself where the model wants one.
    mosa_status status = mosa_tokenizer_encode_ranges(trainer->tokenizer, (mosa_slice){whole->text, whole->len},
                                                      whole->ranges, whole->n_ranges, 0, &j->ids, j->err);
    if (status == MOSA_OK) status = job_alloc(j);
    if (status == MOSA_OK) status = weigh_chat(j, &c);
    mosa_jinja_output_finish(whole);
    return status;
}

// --- cutting and checking -------------------------------------------------------------------------------------------

static size_t count_supervised(const job *j, size_t n) {
    size_t count = 0;
    for (size_t t = 1; t < n; t++) count += j->weight[t] != 0;
    return count;
}

static mosa_status refuse_mask(job *j, bool everything) {
    if (everything) {
        (void)mosa_fail(j->err, MOSA_EINVALID, "every token is supervised: nothing is masked");
        return mosa_hint(j->err, "is the prompt empty? --train-on all, or format text, means it");
    }
    (void)mosa_fail(j->err, MOSA_EINVALID, "no token is supervised: there is nothing to learn");
    return mosa_hint(j->err, "all weights are 0, or the answer was cut off; --allow-empty-mask drops such records");
}

static mosa_status split(job *j, size_t n, size_t max) {
    j->out->split = true;
    for (size_t at = 0; at + 1 < n; at += max - 1)
        MOSA_TRY(list_add(j, at, n - at < max ? n - at : max, MOSA_EXAMPLE_PLAIN));
    return MOSA_OK;
}

// Adds what the job holds to the list, as its length and mask allow. *dropped: nothing was added.
static mosa_status deliver(job *j, mosa_example_role role, bool *dropped) {
    const mosa_tokenize_options *o = &j->trainer->options;
    size_t n = j->ids.len, max = o->max_tokens > 0 ? (size_t)o->max_tokens : INT32_MAX;
    bool text = j->record->kind == MOSA_DATA_TEXT, all = text || o->train_on == MOSA_TRAIN_ALL;
    mosa_overlong overlong = o->overlong ? o->overlong : text ? MOSA_OVERLONG_SPLIT : MOSA_OVERLONG_REFUSE;
    if (!text && overlong == MOSA_OVERLONG_SPLIT) overlong = MOSA_OVERLONG_REFUSE;
    if (n < 2) return mosa_fail(j->err, MOSA_EINVALID, "this is less than two tokens: nothing can be predicted");
    if (n > max && overlong == MOSA_OVERLONG_DROP) {
        *dropped = true;
        return MOSA_OK;
    }
    if (n > max && overlong == MOSA_OVERLONG_REFUSE) {
        (void)mosa_fail(j->err, MOSA_EINVALID, "%zu tokens, the longest sequence is %zu", n, max);
        return mosa_hint(j->err, "raise --seq-len, or --overlong truncate|drop%s", text ? "|split" : "");
    }
    bool cut = n > max && overlong == MOSA_OVERLONG_TRUNCATE;
    if (cut) n = max;
    size_t supervised = count_supervised(j, n);
    if (supervised == 0 && o->allow_empty_mask) {
        *dropped = true;
        return MOSA_OK;
    }
    if (supervised == 0 || (!all && supervised == n - 1)) return refuse_mask(j, supervised != 0);
    j->out->truncated |= cut;
    return n > max ? split(j, n, max) : list_add(j, 0, n, role);
}

static mosa_status run_one(job *j, bool rejected, mosa_example_role role, bool *dropped) {
    const mosa_record *r = j->record;
    job_reset(j);
    if (r->chat)
        MOSA_TRY(run_chat(j, rejected ? r->rejected : r->messages));
    else
        MOSA_TRY(run_text(j, r->text, rejected ? r->rejected_answer : r->answer));
    return deliver(j, role, dropped);
}

mosa_status mosa_text_trainer_run(const mosa_text_trainer *trainer, const mosa_record *record, mosa_example_list *out,
                                  mosa_error *err) {
    job j = {.trainer = trainer, .record = record, .out = out, .err = err};
    mosa_example_role role = MOSA_EXAMPLE_PLAIN;
    bool dropped = false;
    out->count = out->n_tokens = 0;
    out->truncated = out->split = out->dropped = false;
    mosa_token_list_init(&j.ids, 0);
    if (record->kind == MOSA_DATA_PAIRS) role = MOSA_EXAMPLE_CHOSEN;
    if (record->kind == MOSA_DATA_LABELLED) role = record->good ? MOSA_EXAMPLE_GOOD : MOSA_EXAMPLE_BAD;
    mosa_status status = run_one(&j, false, role, &dropped);
    if (status == MOSA_OK && record->kind == MOSA_DATA_PAIRS && !dropped)
        status = run_one(&j, true, MOSA_EXAMPLE_REJECTED, &dropped);
    if (dropped || status != MOSA_OK) out->count = out->n_tokens = 0;
    out->dropped = dropped && status == MOSA_OK;
    list_seal(out);
    job_reset(&j);
    mosa_token_list_finish(&j.ids);
    return status;
}
