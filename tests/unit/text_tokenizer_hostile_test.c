// Tokenizer files that lie: one clear error each, in bounded time and memory.
#include "codec/json.h"
#include "text/tokenizer.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_sentencepiece.h"
#include "text/tokenizer_tiktoken.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static mosa_status load_text(const char *text, mosa_tokenizer **out, mosa_error *err) {
    MOSA_AUTO_JSON json_t *root = NULL;
    mosa_error parse;
    if (mosa_json_parse(mosa_slice_of(text), NULL, &root, &parse) != MOSA_OK) fail_msg("%s", parse.message);
    return mosa_tokenizer_from_json(root, NULL, "evil.json", out, err);
}

static void refused(const char *text, mosa_status wanted, const char *words) {
    mosa_tokenizer *tokenizer = NULL;
    mosa_error err = {0};
    mosa_status status = load_text(text, &tokenizer, &err);
    if (status == MOSA_OK) fail_msg("accepted: %s", text);
    if (status != wanted || !strstr(err.message, words) || strncmp(err.message, "evil.json", 9) != 0) {
        fail_msg("%s: \"%s\" (wanted \"%s\")", mosa_status_name(status), err.message, words);
    }
    assert_null(tokenizer);
}

static void lying_json_is_refused_with_the_field_named(void **state) {
    (void)state;
    refused("{}", MOSA_ECORRUPT, "model");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]}}", MOSA_ECORRUPT, "vocab");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}", MOSA_ECORRUPT,
            "both have id 0");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":2147483648},\"merges\":[]}}", MOSA_ELIMIT,
            "2147483648");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":4000000},\"merges\":[]}}", MOSA_ELIMIT,
            "out of proportion");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}", MOSA_ECORRUPT, "model.vocab");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":\"0\"},\"merges\":[]}}", MOSA_ECORRUPT, "model.vocab");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}", MOSA_ECORRUPT, "merge 0");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a\"]}}", MOSA_ECORRUPT, "model.merges[0]");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}}", MOSA_ECORRUPT,
            "model.merges[0]");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"unk_token\":\"u\"}}", MOSA_ECORRUPT,
            "unk_token");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"dropout\":0.1}}", MOSA_EUNSUPPORTED,
            "dropout");
    refused("{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":0}}}", MOSA_EUNSUPPORTED, "WordLevel");
    refused("{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}}", MOSA_ECORRUPT, "model.vocab[0]");
    refused("{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",1]],\"unk_id\":7}}", MOSA_ECORRUPT, "unk_id");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]},\"added_tokens\":[{\"id\":0,\"content\":"
            "\"b\"}]}",
            MOSA_ECORRUPT, "both have id 0");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]},\"added_tokens\":[{\"id\":1}]}",
            MOSA_ECORRUPT, "added_tokens[0].content");
}

#define BPE                                                                                                            \
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"<0x-1>\":1,\"<0x41>\":2},\"merges\":[],\"byte_fallback\":true}"

static void unsupported_components_are_named(void **state) {
    (void)state;
    refused("{" BPE ",\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}}", MOSA_EUNSUPPORTED, "UnicodeScripts");
    refused("{" BPE ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Magic\"}]}}",
            MOSA_EUNSUPPORTED, "Magic");
    refused("{" BPE ",\"decoder\":{\"type\":\"CTC\"}}", MOSA_EUNSUPPORTED, "CTC");
    refused("{" BPE ",\"post_processor\":{\"type\":\"Magic\"}}", MOSA_EUNSUPPORTED, "Magic");
    refused("{" BPE ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Isolated\"}}",
            MOSA_EUNSUPPORTED, "regular expression");
    refused("{" BPE
            ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a[b]]\"},\"behavior\":\"Isolated\"}}",
            MOSA_EUNSUPPORTED, "class");
    refused("{" BPE ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"Sideways\"}}",
            MOSA_ECORRUPT, "behavior");
    refused("{" BPE ",\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"//////8=\"}}", MOSA_ECORRUPT,
            "charsmap");
    refused("{" BPE ",\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"x\",9],\"cls\":[\"y\",0]}}",
            MOSA_ECORRUPT, "cls or sep");
}

static void more_steps_than_allowed_are_refused(void **state) {
    (void)state;
    mosa_buf text;
    mosa_buf_init(&text, 0);
    mosa_buf_append_str(&text, "{" BPE ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"}");
    for (int i = 0; i < 1000; i++) mosa_buf_append_str(&text, ",{\"type\":\"NFC\"}");
    mosa_buf_append_str(&text, "]}}");
    refused(mosa_buf_str(&text), MOSA_ELIMIT, "steps");
    mosa_buf_finish(&text);
}

static void a_byte_token_without_a_byte_is_plain_text(void **state) {
    (void)state;
    mosa_tokenizer *tokenizer = NULL;
    mosa_error err;
    assert_int_equal(load_text("{" BPE ",\"decoder\":{\"type\":\"ByteFallback\"}}", &tokenizer, &err), MOSA_OK);
    const mosa_token_id ids[] = {1, 2};
    mosa_buf out;
    mosa_buf_init(&out, 0);
    assert_int_equal(mosa_tokenizer_decode(tokenizer, ids, 2, 0, &out, &err), MOSA_OK);
    assert_string_equal(mosa_buf_str(&out), "<0x-1>A");
    mosa_buf_finish(&out);
    mosa_tokenizer_destroy(tokenizer);
}

static void a_regex_bomb_ends_with_an_error(void **state) {
    (void)state;
    mosa_tokenizer *tokenizer = NULL;
    mosa_error err;
    const char *bomb =
        "{" BPE
        ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a|aa)+[bd]\"},\"behavior\":\"Isolated\"}}";
    assert_int_equal(load_text(bomb, &tokenizer, &err), MOSA_OK);
    mosa_buf text;
    mosa_buf_init(&text, 0);
    for (int i = 0; i < 100; i++) mosa_buf_append_str(&text, "aaaaaaaaaac");
    mosa_buf_append_str(&text, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac");
    mosa_token_list ids;
    mosa_token_list_init(&ids, 0);
    assert_int_equal(mosa_tokenizer_encode(tokenizer, mosa_buf_slice(&text), 0, &ids, &err), MOSA_ELIMIT);
    assert_int_equal(ids.len, 0);
    mosa_token_list_finish(&ids);
    mosa_buf_finish(&text);
    mosa_tokenizer_destroy(tokenizer);
}

static void a_million_combining_marks_normalise_in_time(void **state) {
    (void)state;
    mosa_tokenizer *tokenizer = NULL;
    mosa_error err;
    assert_int_equal(load_text("{" BPE ",\"normalizer\":{\"type\":\"NFC\"}}", &tokenizer, &err), MOSA_OK);
    mosa_buf text;
    mosa_buf_init(&text, 0);
    mosa_buf_append_char(&text, 'a');
    for (int i = 0; i < 250000; i++)
        mosa_buf_append_str(&text, "\u0301\u0323"); // classes 230 and 220: all in the wrong order
    mosa_token_list ids;
    mosa_token_list_init(&ids, 0);
    assert_int_equal(mosa_tokenizer_encode(tokenizer, mosa_buf_slice(&text), 0, &ids, &err), MOSA_OK);
    mosa_token_list_finish(&ids);
    mosa_buf_finish(&text);
    mosa_tokenizer_destroy(tokenizer);
}

// A small SentencePiece model: pieces, trainer_spec with BPE, no normaliser.
static void piece(mosa_buf *out, const char *text, int type) {
    size_t len = strlen(text);
    mosa_buf_append_char(out, 0x0A);
    mosa_buf_append_char(out, (char)(len + 9));
    mosa_buf_append_char(out, 0x0A);
    mosa_buf_append_char(out, (char)len);
    mosa_buf_append(out, text, len);
    mosa_buf_append(out, "\x15\0\0\x80\xBF", 5);
    mosa_buf_append_char(out, 0x18);
    mosa_buf_append_char(out, (char)type);
}

static void every_cut_of_a_sentencepiece_model_is_survived(void **state) {
    (void)state;
    mosa_buf model;
    mosa_buf_init(&model, 0);
    piece(&model, "<unk>", 2);
    piece(&model, "<s>", 3);
    piece(&model, "</s>", 3);
    piece(&model, "ab", 1);
    piece(&model, "a", 1);
    piece(&model, "\u2581", 1);
    mosa_buf_append(&model, "\x12\x02\x18\x02", 4);
    mosa_error err;
    size_t loaded = 0;
    for (size_t len = 0; len <= model.len; len++) {
        char *exact = malloc(len ? len : 1);
        if (len) memcpy(exact, model.data, len);
        mosa_tokenizer *tokenizer = NULL;
        mosa_status status = mosa_tokenizer_from_sentencepiece((mosa_slice){exact, len}, "cut.model", &tokenizer, &err);
        if (status != MOSA_OK) assert_non_null(strstr(err.message, "cut.model"));
        loaded += status == MOSA_OK;
        mosa_tokenizer_destroy(tokenizer);
        free(exact);
    }
    assert_true(loaded >= 1);
    mosa_buf_finish(&model);
}

static void lying_tiktoken_lines_are_named(void **state) {
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {{"IQ==", "1:"},        {"IQ== x\n", "1:"}, {"IQ== 0\nIg== 0\n", "2:"}, {"IQ== 99999999\n", "1:"},
                 {"I\x01== 0\n", "1:"}, {" 0\n", "1:"}};
    for (size_t i = 0; i < MOSA_COUNT(cases); i++) {
        mosa_tokenizer *tokenizer = NULL;
        mosa_error err;
        assert_int_equal(
            mosa_tokenizer_from_tiktoken(mosa_slice_of(cases[i].text), "x/gpt2.tiktoken", &tokenizer, &err),
            MOSA_ECORRUPT);
        assert_non_null(strstr(err.message, cases[i].words));
    }
    mosa_tokenizer *tokenizer = NULL;
    mosa_error err;
    assert_int_equal(mosa_tokenizer_from_tiktoken(MOSA_SLICE("IQ== 0\n"), "unheard.tiktoken", &tokenizer, &err),
                     MOSA_EUNSUPPORTED);
}

static void missing_files_are_not_found(void **state) {
    (void)state;
    mosa_tokenizer *tokenizer = NULL;
    mosa_error err;
    assert_int_equal(mosa_tokenizer_load("/nonexistent/tokenizer.json", &tokenizer, &err), MOSA_ENOTFOUND);
    assert_int_equal(mosa_tokenizer_load("/nonexistent", &tokenizer, &err), MOSA_ENOTFOUND);
    assert_int_equal(mosa_tokenizer_load("/tmp", &tokenizer, &err), MOSA_ENOTFOUND);
    assert_int_equal(mosa_tokenizer_load("/dev/null", &tokenizer, &err), MOSA_EUNSUPPORTED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lying_json_is_refused_with_the_field_named),
        cmocka_unit_test(unsupported_components_are_named),
        cmocka_unit_test(more_steps_than_allowed_are_refused),
        cmocka_unit_test(a_byte_token_without_a_byte_is_plain_text),
        cmocka_unit_test(a_regex_bomb_ends_with_an_error),
        cmocka_unit_test(a_million_combining_marks_normalise_in_time),
        cmocka_unit_test(every_cut_of_a_sentencepiece_model_is_survived),
        cmocka_unit_test(lying_tiktoken_lines_are_named),
        cmocka_unit_test(missing_files_are_not_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
