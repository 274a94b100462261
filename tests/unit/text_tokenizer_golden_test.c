// Token ids and decoded texts as other implementations give them (tests/golden/tokenizer_components.py and
// tokenizer_shared_vectors.py wrote the expectations).
#include "codec/json.h"
#include "text/tokenizer.h"
#include "text/tokenizer_json.h"
#include "text/unicode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static json_t *load(const char *name) {
    char path[1024];
    snprintf(path, sizeof path, "%s/tests/golden/%s", MOSA_SOURCE_ROOT, name);
    mosa_error err;
    json_t *root = NULL;
    if (mosa_json_load(path, NULL, &root, &err) != MOSA_OK) fail_msg("%s", err.message);
    return root;
}

static mosa_slice text_of(const json_t *value) {
    return (mosa_slice){json_string_value(value), json_string_length(value)};
}

static void check_ids(const char *name, mosa_slice text, const mosa_token_list *got, const json_t *wanted) {
    size_t count = json_array_size(wanted);
    for (size_t i = 0; i < count || i < got->len; i++) {
        long long want = i < count ? json_integer_value(json_array_get(wanted, i)) : -1;
        long long have = i < got->len ? got->ids[i] : -1;
        if (want != have) fail_msg("%s: \"%.60s\": id %zu is %lld, not %lld", name, text.data, i, have, want);
    }
}

// Pushes token by token: every piece is whole UTF-8, and together they are the decoded text.
static void check_decoded(const char *name, const mosa_tokenizer *tokenizer, const mosa_token_list *ids,
                          mosa_slice wanted) {
    mosa_detokenizer detokenizer;
    mosa_detokenizer_init(&detokenizer, tokenizer, 0);
    mosa_buf all, piece;
    mosa_buf_init(&all, 0);
    mosa_buf_init(&piece, 0);
    for (size_t i = 0; i <= ids->len; i++) {
        mosa_buf_clear(&piece);
        if (i < ids->len)
            mosa_detokenizer_push(&detokenizer, ids->ids[i], &piece);
        else
            mosa_detokenizer_flush(&detokenizer, &piece);
        assert_int_equal(mosa_utf8_valid_prefix(mosa_buf_str(&piece), piece.len), piece.len);
        mosa_buf_append_slice(&all, mosa_buf_slice(&piece));
    }
    if (!mosa_slice_eq(mosa_buf_slice(&all), wanted)) {
        fail_msg("%s: decoded \"%s\", wanted \"%s\"", name, mosa_buf_str(&all), wanted.data);
    }
    mosa_buf_finish(&all);
    mosa_buf_finish(&piece);
}

static void every_component_agrees_with_hugging_face(void **state) {
    (void)state;
    json_t *root = load("tokenizer_vectors.json");
    assert_true(json_array_size(root) >= 25);
    size_t i, k;
    json_t *entry, *row;
    json_array_foreach(root, i, entry) {
        const char *name = json_string_value(json_object_get(entry, "name"));
        mosa_error err;
        mosa_tokenizer *tokenizer = NULL;
        if (mosa_tokenizer_from_json(json_object_get(entry, "tokenizer"), NULL, name, &tokenizer, &err) != MOSA_OK) {
            fail_msg("%s: %s", name, err.message);
        }
        mosa_token_list ids;
        mosa_token_list_init(&ids, 0);
        json_array_foreach(json_object_get(entry, "cases"), k, row) {
            mosa_slice text = text_of(json_array_get(row, 0));
            mosa_token_list_clear(&ids);
            assert_int_equal(mosa_tokenizer_encode(tokenizer, text, MOSA_ENCODE_PARSE_SPECIAL, &ids, &err), MOSA_OK);
            check_ids(name, text, &ids, json_array_get(row, 1));
            check_decoded(name, tokenizer, &ids, text_of(json_array_get(row, 2)));
        }
        mosa_token_list_clear(&ids);
        assert_int_equal(mosa_tokenizer_encode(tokenizer, MOSA_SLICE(""), MOSA_ENCODE_ADD_SPECIAL, &ids, &err),
                         MOSA_OK);
        check_ids(name, MOSA_SLICE("(around)"), &ids, json_object_get(entry, "around"));
        mosa_token_list_finish(&ids);
        mosa_tokenizer_destroy(tokenizer);
    }
    json_decref(root);
}

static void published_vocabularies_agree_with_their_libraries(void **state) {
    (void)state;
    const char *shared = getenv("MOSA_SHARED");
    char path[1024];
    json_t *root = load("tokenizer_shared.json");
    size_t i, k;
    json_t *entry, *row;
    json_array_foreach(root, i, entry) {
        const char *name = json_string_value(json_object_get(entry, "path"));
        if (shared)
            snprintf(path, sizeof path, "%s/%s", shared, name);
        else
            snprintf(path, sizeof path, "%s/../shared/%s", MOSA_SOURCE_ROOT, name);
        mosa_error err;
        mosa_tokenizer *tokenizer = NULL;
        mosa_status status = mosa_tokenizer_load(path, &tokenizer, &err);
        if (status == MOSA_ENOTFOUND) {
            printf("skipped: %s is not here\n", path);
            continue;
        }
        if (status != MOSA_OK) fail_msg("%s", err.message);
        mosa_token_list ids;
        mosa_token_list_init(&ids, 0);
        json_array_foreach(json_object_get(entry, "cases"), k, row) {
            mosa_slice text = text_of(json_array_get(row, 0));
            mosa_token_list_clear(&ids);
            assert_int_equal(mosa_tokenizer_encode(tokenizer, text, 0, &ids, &err), MOSA_OK);
            check_ids(name, text, &ids, json_array_get(row, 1));
        }
        mosa_token_list_finish(&ids);
        mosa_tokenizer_destroy(tokenizer);
    }
    json_decref(root);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_component_agrees_with_hugging_face),
        cmocka_unit_test(published_vocabularies_agree_with_their_libraries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
