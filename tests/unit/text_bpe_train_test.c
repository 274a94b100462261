// Training of byte-level BPE: equal to Hugging Face's trainer merge for merge, and what it refuses.
#include "text/bpe_train.h"

#include "codec/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define VECTORS MOSA_SOURCE_ROOT "/tests/golden/bpe_train_vectors.json"

enum { SPECIAL_MAX = 8 };

static mosa_bpe_train_options options_of(const json_t *c, mosa_slice special[SPECIAL_MAX]) {
    mosa_bpe_train_options options = {
        .vocab_size = (size_t)json_integer_value(json_object_get(c, "vocab_size")),
        .min_frequency = (uint64_t)json_integer_value(json_object_get(c, "min_frequency")),
        .special = special,
        .n_special = json_array_size(json_object_get(c, "special")),
    };
    assert_true(options.n_special <= SPECIAL_MAX);
    for (size_t i = 0; i < options.n_special; i++)
        special[i] = mosa_slice_of(json_string_value(json_array_get(json_object_get(c, "special"), i)));
    return options;
}

static void check_case(const json_t *c) {
    mosa_word_counts words;
    mosa_bpe_vocab vocab;
    mosa_error err = {0};
    mosa_slice special[SPECIAL_MAX];
    mosa_bpe_train_options options = options_of(c, special);
    const json_t *merges = json_object_get(c, "merges");
    mosa_word_counts_init(&words);
    mosa_word_counts_add_text(&words, mosa_scan_gpt2, mosa_slice_of(json_string_value(json_object_get(c, "text"))));
    assert_int_equal(mosa_bpe_train(&words, &options, &vocab, &err), MOSA_OK);
    assert_int_equal(vocab.n_tokens, json_integer_value(json_object_get(c, "tokens")));
    assert_int_equal(vocab.n_merges, json_array_size(merges));
    for (size_t i = 0; i < vocab.n_merges; i++) {
        const json_t *pair = json_array_get(merges, i);
        assert_int_equal(vocab.merges[i].left, json_integer_value(json_array_get(pair, 0)));
        assert_int_equal(vocab.merges[i].right, json_integer_value(json_array_get(pair, 1)));
    }
    mosa_bpe_vocab_finish(&vocab);
    mosa_word_counts_finish(&words);
}

static void test_equals_the_reference_trainer(void **state) {
    (void)state;
    MOSA_AUTO_JSON json_t *cases = NULL;
    mosa_error err = {0};
    if (mosa_json_load(VECTORS, NULL, &cases, &err) != MOSA_OK) fail_msg("%s", err.message);
    assert_true(json_array_size(cases) >= 6);
    for (size_t i = 0; i < json_array_size(cases); i++) check_case(json_array_get(cases, i));
}

static void test_counting_in_parts_is_counting_at_once(void **state) {
    (void)state;
    static const char text[] = "one two two three three three\n one";
    mosa_word_counts whole, parts[2];
    mosa_word_counts_init(&whole);
    mosa_word_counts_add_text(&whole, mosa_scan_gpt2, MOSA_SLICE(text));
    mosa_word_counts_add_text(&whole, mosa_scan_gpt2, MOSA_SLICE(text));
    for (int i = 0; i < 2; i++) {
        mosa_word_counts_init(&parts[i]);
        mosa_word_counts_add_text(&parts[i], mosa_scan_gpt2, MOSA_SLICE(text));
    }
    mosa_word_counts_add_all(&parts[0], &parts[1]);
    assert_int_equal(parts[0].n_words, whole.n_words);
    for (size_t i = 0; i < whole.n_words; i++) {
        assert_true(mosa_slice_eq(parts[0].words[i].word, whole.words[i].word));
        assert_int_equal(parts[0].words[i].count, whole.words[i].count);
    }
    mosa_word_counts_finish(&parts[0]);
    mosa_word_counts_finish(&parts[1]);
    mosa_word_counts_finish(&whole);
}

static void test_no_text_gives_the_bytes_alone(void **state) {
    (void)state;
    mosa_word_counts words;
    mosa_bpe_vocab vocab;
    mosa_error err = {0};
    mosa_word_counts_init(&words);
    mosa_bpe_train_options options = {.vocab_size = 1000};
    assert_int_equal(mosa_bpe_train(&words, &options, &vocab, &err), MOSA_OK);
    assert_int_equal(vocab.n_tokens, 256);
    assert_int_equal(vocab.n_merges, 0);
    assert_int_equal(vocab.tokens[0].data[0], '!'); // the first visible character
    mosa_bpe_vocab_finish(&vocab);
    mosa_word_counts_finish(&words);
}

static void test_refuses_what_cannot_be(void **state) {
    (void)state;
    mosa_word_counts words;
    mosa_bpe_vocab vocab;
    mosa_error err = {0};
    mosa_word_counts_init(&words);
    const mosa_slice twice[] = {MOSA_SLICE("<s>"), MOSA_SLICE("<s>")};
    mosa_bpe_train_options too_small = {.vocab_size = 255};
    mosa_bpe_train_options too_large = {.vocab_size = (size_t)1 << 40};
    mosa_bpe_train_options repeated = {.vocab_size = 400, .special = twice, .n_special = 2};
    assert_int_equal(mosa_bpe_train(&words, &too_small, &vocab, &err), MOSA_EINVALID);
    assert_int_equal(mosa_bpe_train(&words, &too_large, &vocab, &err), MOSA_EINVALID);
    assert_int_equal(mosa_bpe_train(&words, &repeated, &vocab, &err), MOSA_EINVALID);
    assert_non_null(strstr(err.message, "<s>"));
    mosa_word_counts_finish(&words);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_the_reference_trainer),
        cmocka_unit_test(test_counting_in_parts_is_counting_at_once),
        cmocka_unit_test(test_no_text_gives_the_bytes_alone),
        cmocka_unit_test(test_refuses_what_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
