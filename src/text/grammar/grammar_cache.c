// Compiled grammars by their source text: the least recently used one makes room.
#include "text/grammar/grammar.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct entry {
    mosa_grammar *grammar; // NULL: free
    char *text;
    size_t len;
    mosa_grammar_kind kind;
    mosa_json_spacing spacing;
    uint64_t used;
} entry;

struct mosa_grammar_cache {
    const mosa_token_trie *trie;
    pthread_mutex_t mutex; // guards what follows; not held while compiling
    uint64_t clock;
    size_t capacity;
    entry entries[];
};

mosa_status mosa_grammar_cache_create(const mosa_token_trie *trie, size_t capacity, mosa_grammar_cache **out,
                                      mosa_error *err) {
    mosa_grammar_cache *c = calloc(1, sizeof *c + capacity * sizeof *c->entries);
    if (!c) return mosa_fail(err, MOSA_ENOMEM, "out of memory for a grammar cache");
    c->trie = trie;
    c->capacity = capacity;
    pthread_mutex_init(&c->mutex, NULL);
    *out = c;
    return MOSA_OK;
}

static void clear(entry *e) {
    mosa_grammar_unref(e->grammar);
    free(e->text);
    *e = (entry){0};
}

void mosa_grammar_cache_destroy(mosa_grammar_cache *c) {
    if (!c) return;
    for (size_t i = 0; i < c->capacity; i++) clear(&c->entries[i]);
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

static entry *find(mosa_grammar_cache *c, mosa_grammar_kind kind, mosa_slice text, mosa_json_spacing spacing) {
    for (size_t i = 0; i < c->capacity; i++) {
        entry *e = &c->entries[i];
        if (e->grammar && e->kind == kind && e->spacing == spacing &&
            mosa_slice_eq(text, (mosa_slice){e->text, e->len}))
            return e;
    }
    return NULL;
}

// Keeps a reference; silently not, when there is no memory for the text.
static void keep(mosa_grammar_cache *c, mosa_grammar_kind kind, mosa_slice text, mosa_json_spacing spacing,
                 mosa_grammar *grammar) {
    if (c->capacity == 0 || find(c, kind, text, spacing)) return;
    char *copy = malloc(text.len + 1);
    if (!copy) return;
    if (text.len) memcpy(copy, text.data, text.len);
    entry *oldest = &c->entries[0];
    for (size_t i = 1; i < c->capacity; i++)
        if (c->entries[i].used < oldest->used) oldest = &c->entries[i];
    clear(oldest);
    *oldest = (entry){mosa_grammar_ref(grammar), copy, text.len, kind, spacing, ++c->clock};
}

mosa_status mosa_grammar_cache_get(mosa_grammar_cache *c, mosa_grammar_kind kind, mosa_slice text,
                                   mosa_json_spacing spacing, mosa_grammar **out, bool *hit, mosa_error *err) {
    pthread_mutex_lock(&c->mutex);
    entry *e = find(c, kind, text, spacing);
    mosa_grammar *grammar = e ? mosa_grammar_ref(e->grammar) : NULL;
    if (e) e->used = ++c->clock;
    pthread_mutex_unlock(&c->mutex);
    if (hit) *hit = grammar != NULL;
    if (!grammar) {
        MOSA_TRY(mosa_grammar_compile(c->trie, kind, text, spacing, &grammar, err));
        pthread_mutex_lock(&c->mutex);
        keep(c, kind, text, spacing, grammar);
        pthread_mutex_unlock(&c->mutex);
    }
    *out = grammar;
    return MOSA_OK;
}
