// What the tokenizer promises beyond equal ids: trust, repair of bad UTF-8, whole characters out, bounds.
#include "codec/gguf.h"
#include "codec/gguf_writer.h"
#include "codec/json.h"
#include "text/tokenizer.h"
#include "text/tokenizer_gguf.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_spec.h"
#include "text/unicode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

// A byte-level tokenizer: every byte is a token (id = byte), then a few merges, a control and a user-defined token.
enum { HE = 256, LL, HELL, HELLO, END, THINK, VOCAB };

typedef struct fixture {
    mosa_token_spec tokens[VOCAB];
    char spelling[256][4];
} fixture;

static void fill_bytes(fixture *f) {
    unsigned next = 0x100;
    for (unsigned b = 0; b < 256; b++) {
        bool plain = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        unsigned len = mosa_utf8_encode(plain ? b : next++, f->spelling[b]);
        f->tokens[b] = (mosa_token_spec){.text = {f->spelling[b], len}, .type = MOSA_TOKEN_NORMAL};
    }
    f->tokens[HE] = (mosa_token_spec){.text = MOSA_SLICE("he"), .type = MOSA_TOKEN_NORMAL};
    f->tokens[LL] = (mosa_token_spec){.text = MOSA_SLICE("ll"), .type = MOSA_TOKEN_NORMAL};
    f->tokens[HELL] = (mosa_token_spec){.text = MOSA_SLICE("hell"), .type = MOSA_TOKEN_NORMAL};
    f->tokens[HELLO] = (mosa_token_spec){.text = MOSA_SLICE("hello"), .type = MOSA_TOKEN_NORMAL};
    f->tokens[END] = (mosa_token_spec){.text = MOSA_SLICE("<end>"), .type = MOSA_TOKEN_CONTROL, .added_only = true};
    f->tokens[THINK] =
        (mosa_token_spec){.text = MOSA_SLICE("<think>"), .type = MOSA_TOKEN_USER_DEFINED, .added_only = true};
}

static mosa_tokenizer *make(void) {
    fixture f;
    fill_bytes(&f);
    const mosa_merge_spec merges[] = {{MOSA_SLICE("h"), MOSA_SLICE("e")},
                                      {MOSA_SLICE("l"), MOSA_SLICE("l")},
                                      {MOSA_SLICE("he"), MOSA_SLICE("ll")},
                                      {MOSA_SLICE("hell"), MOSA_SLICE("o")}};
    const mosa_added_token_spec added[] = {{.text = MOSA_SLICE("<end>"), .id = END, .special = true},
                                           {.text = MOSA_SLICE("<think>"), .id = THINK}};
    const mosa_pretokenizer_spec pre = {.kind = MOSA_PRE_BYTE_LEVEL, .pattern = MOSA_SLICE(""), .use_regex = true};
    const mosa_decoder_spec decoder = {
        .kind = MOSA_DEC_BYTE_LEVEL, .pattern = MOSA_SLICE(""), .content = MOSA_SLICE("")};
    const mosa_token_id bos = END;
    mosa_tokenizer_spec spec;
    mosa_tokenizer_spec_init(&spec, "test");
    spec.tokens = f.tokens;
    spec.token_count = VOCAB;
    spec.merges = merges;
    spec.merge_count = MOSA_COUNT(merges);
    spec.added = added;
    spec.added_count = MOSA_COUNT(added);
    spec.pretokenizers = &pre;
    spec.pretokenizer_count = 1;
    spec.decoders = &decoder;
    spec.decoder_count = 1;
    spec.special.bos = spec.special.eos = END;
    spec.prefix_ids = &bos;
    spec.prefix_count = 1;
    mosa_tokenizer *tokenizer = NULL;
    mosa_error err;
    if (mosa_tokenizer_create(&spec, &tokenizer, &err) != MOSA_OK) fail_msg("%s", err.message);
    return tokenizer;
}

static mosa_token_list encode(const mosa_tokenizer *t, mosa_slice text, unsigned flags) {
    mosa_token_list list;
    mosa_error err;
    mosa_token_list_init(&list, 0);
    if (mosa_tokenizer_encode(t, text, flags, &list, &err) != MOSA_OK) fail_msg("%s", err.message);
    return list;
}

static void expect(mosa_token_list list, const mosa_token_id *ids, size_t count) {
    assert_int_equal(list.len, count);
    if (count) assert_memory_equal(list.ids, ids, count * sizeof *ids);
    mosa_token_list_finish(&list);
}
#define EXPECT(list, ...)                                                                                              \
    expect(list, (const mosa_token_id[]){__VA_ARGS__},                                                                 \
           sizeof((const mosa_token_id[]){__VA_ARGS__}) / sizeof(mosa_token_id))

static void words_merge_by_rank(void **state) {
    (void)state;
    mosa_tokenizer *t = make();
    EXPECT(encode(t, MOSA_SLICE("hello hell"), 0), HELLO, ' ', HELL);
    EXPECT(encode(t, MOSA_SLICE("hel"), 0), HE, 'l');
    EXPECT(encode(t, MOSA_SLICE("x"), MOSA_ENCODE_ADD_SPECIAL), END, 'x');
    mosa_token_list none = encode(t, MOSA_SLICE(""), 0);
    assert_int_equal(none.len, 0);
    mosa_token_list_finish(&none);
    mosa_tokenizer_destroy(t);
}

static void untrusted_text_never_becomes_a_control_token(void **state) {
    (void)state;
    mosa_tokenizer *t = make();
    EXPECT(encode(t, MOSA_SLICE("<end>"), MOSA_ENCODE_PARSE_SPECIAL), END);
    EXPECT(encode(t, MOSA_SLICE("<end>"), 0), '<', 'e', 'n', 'd', '>');
    EXPECT(encode(t, MOSA_SLICE("<think>"), 0), THINK);
    mosa_tokenizer_destroy(t);
}

static mosa_token_list encode_ranges(const mosa_tokenizer *t, mosa_slice text, const mosa_text_range *ranges,
                                     size_t count) {
    mosa_token_list list;
    mosa_error err;
    mosa_token_list_init(&list, 0);
    if (mosa_tokenizer_encode_ranges(t, text, ranges, count, 0, &list, &err) != MOSA_OK) fail_msg("%s", err.message);
    return list;
}

static void a_control_token_needs_all_its_bytes_trusted(void **state) {
    (void)state;
    mosa_tokenizer *t = make();
    mosa_slice text = MOSA_SLICE("<end>x<end>");
    const mosa_text_range template_then_user[] = {{.offset = 0, .len = 5, .trusted = true}, {.offset = 5, .len = 6}};
    EXPECT(encode_ranges(t, text, template_then_user, 2), END, 'x', '<', 'e', 'n', 'd', '>');
    const mosa_text_range cut[] = {{.offset = 0, .len = 4, .trusted = true}, {.offset = 4, .len = 7}};
    EXPECT(encode_ranges(t, text, cut, 2), '<', 'e', 'n', 'd', '>', 'x', '<', 'e', 'n', 'd', '>');
    const mosa_text_range two_trusted[] = {{.offset = 0, .len = 2, .trusted = true},
                                           {.offset = 2, .len = 9, .trusted = true}};
    EXPECT(encode_ranges(t, text, two_trusted, 2), END, 'x', END);
    const mosa_text_range user_between[] = {
        {.offset = 0, .len = 5, .trusted = true}, {.offset = 5, .len = 1}, {.offset = 6, .len = 5, .trusted = true}};
    EXPECT(encode_ranges(t, text, user_between, 3), END, 'x', END);
    EXPECT(encode_ranges(t, text, NULL, 0), '<', 'e', 'n', 'd', '>', 'x', '<', 'e', 'n', 'd', '>');
    mosa_tokenizer_destroy(t);
}

static void words_run_across_the_borders_of_ranges(void **state) {
    (void)state;
    mosa_tokenizer *t = make();
    const mosa_text_range inside_word[] = {{.offset = 0, .len = 2, .trusted = true}, {.offset = 2, .len = 3}};
    EXPECT(encode_ranges(t, MOSA_SLICE("hello"), inside_word, 2), HELLO);
    mosa_tokenizer_destroy(t);
}

static void ranges_out_of_order_are_refused(void **state) {
    (void)state;
    mosa_tokenizer *t = make();
    mosa_token_list list;
    mosa_error err;
    mosa_token_list_init(&list, 0);
    const mosa_text_range overlap[] = {{.offset = 0, .len = 3}, {.offset = 2, .len = 1}};
    const mosa_text_range beyond[] = {{.offset = 0, .len = 6}};
    const mosa_text_range huge[] = {{.offset = 1, .len = SIZE_MAX}};
    assert_int_equal(mosa_tokenizer_encode_ranges(t, MOSA_SLICE("hello"), overlap, 2, 0, &list, &err), MOSA_EINVALID);
    assert_int_equal(mosa_tokenizer_encode_ranges(t, MOSA_SLICE("hello"), beyond, 1, 0, &list, &err), MOSA_EINVALID);
    assert_int_equal(mosa_tokenizer_encode_ranges(t, MOSA_SLICE("hello"), huge, 1, 0, &list, &err), MOSA_EINVALID);
    assert_int_equal(list.len, 0);
    mosa_token_list_finish(&list);
    mosa_tokenizer_destroy(t);
}

static void ill_formed_input_reads_as_replacement_characters(void **state) {
    (void)state;
    mosa_tokenizer *t = make();
    EXPECT(encode(t, MOSA_SLICE("a\xFF"), 0), 'a', 0xEF, 0xBF, 0xBD);
    // Python: b"\xe6\x97".decode(errors="replace") is one character, b"\xed\xa0\x80" three.
    EXPECT(encode(t, MOSA_SLICE("\xE6\x97"), 0), 0xEF, 0xBF, 0xBD);
    EXPECT(encode(t, MOSA_SLICE("\xED\xA0\x80"), 0), 0xEF, 0xBF, 0xBD, 0xEF, 0xBF, 0xBD, 0xEF, 0xBF, 0xBD);
    // Trust moves along with the repair: the token behind the bad bytes is still recognised, the untrusted one is not.
    const mosa_text_range ranges[] = {
        {.offset = 0, .len = 1}, {.offset = 1, .len = 5, .trusted = true}, {.offset = 6, .len = 6}};
    EXPECT(encode_ranges(t, MOSA_SLICE("\xFF<end>\xFE<end>"), ranges, 3), 0xEF, 0xBF, 0xBD, END, 0xEF, 0xBF, 0xBD, '<',
           'e', 'n', 'd', '>');
    mosa_tokenizer_destroy(t);
}

static void the_detokenizer_holds_back_parts_of_characters(void **state) {
    (void)state;
    mosa_tokenizer *t = make();
    mosa_detokenizer d;
    mosa_buf out;
    mosa_buf_init(&out, 0);
    mosa_detokenizer_init(&d, t, 0);
    const mosa_token_id ids[] = {0xF0, 0x9F, 0x98, 0x80, 0xE6, 'x', 0xF0, 0x9F, 0xFF, 'y', 0xC3};
    const char *const after[] = {"",
                                 "",
                                 "",
                                 "😀",
                                 "😀",
                                 "😀\uFFFDx",
                                 "😀\uFFFDx",
                                 "😀\uFFFDx",
                                 "😀\uFFFDx\uFFFD\uFFFD",
                                 "😀\uFFFDx\uFFFD\uFFFDy",
                                 "😀\uFFFDx\uFFFD\uFFFDy"};
    for (size_t i = 0; i < MOSA_COUNT(ids); i++) {
        mosa_detokenizer_push(&d, ids[i], &out);
        assert_string_equal(mosa_buf_str(&out), after[i]);
    }
    mosa_detokenizer_flush(&d, &out);
    assert_string_equal(mosa_buf_str(&out), "😀\uFFFDx\uFFFD\uFFFDy\uFFFD");
    mosa_buf whole;
    mosa_buf_init(&whole, 0);
    mosa_error err;
    assert_int_equal(mosa_tokenizer_decode(t, ids, MOSA_COUNT(ids), 0, &whole, &err), MOSA_OK);
    assert_string_equal(mosa_buf_str(&whole), mosa_buf_str(&out));
    mosa_buf_finish(&whole);
    mosa_buf_finish(&out);
    mosa_tokenizer_destroy(t);
}

static void control_tokens_are_decoded_on_request_only(void **state) {
    (void)state;
    mosa_tokenizer *t = make();
    mosa_buf out;
    mosa_error err;
    mosa_buf_init(&out, 0);
    const mosa_token_id ids[] = {END, HELLO, THINK, END};
    assert_int_equal(mosa_tokenizer_decode(t, ids, 4, 0, &out, &err), MOSA_OK);
    assert_string_equal(mosa_buf_str(&out), "hello<think>");
    mosa_buf_clear(&out);
    assert_int_equal(mosa_tokenizer_decode(t, ids, 4, MOSA_DECODE_SPECIAL, &out, &err), MOSA_OK);
    assert_string_equal(mosa_buf_str(&out), "<end>hello<think><end>");
    const mosa_token_id wrong[] = {1, VOCAB};
    assert_int_equal(mosa_tokenizer_decode(t, wrong, 2, 0, &out, &err), MOSA_EINVALID);
    assert_non_null(strstr(err.message, "position 1"));
    mosa_buf_finish(&out);
    mosa_tokenizer_destroy(t);
}

static void lookups_answer_for_any_id(void **state) {
    (void)state;
    mosa_tokenizer *t = make();
    assert_int_equal(mosa_tokenizer_size(t), VOCAB);
    assert_int_equal(mosa_tokenizer_find(t, MOSA_SLICE("hello")), HELLO);
    assert_int_equal(mosa_tokenizer_find(t, MOSA_SLICE("nope")), MOSA_TOKEN_NONE);
    assert_null(mosa_tokenizer_token_text(t, -1).data);
    assert_null(mosa_tokenizer_token_bytes(t, VOCAB).data);
    assert_int_equal(mosa_tokenizer_token_type(t, INT32_MAX), MOSA_TOKEN_UNUSED);
    assert_true(mosa_tokenizer_is_end(t, END));
    assert_false(mosa_tokenizer_is_end(t, HELLO));
    assert_true(mosa_tokenizer_adds_bos(t));
    size_t count;
    assert_int_equal(mosa_tokenizer_end_ids(t, &count)[0], END);
    assert_int_equal(count, 1);
    mosa_tokenizer_destroy(t);
}

static void a_full_list_keeps_what_it_had(void **state) {
    (void)state;
    mosa_tokenizer *t = make();
    mosa_token_list list;
    mosa_error err;
    mosa_token_list_init(&list, 3);
    assert_int_equal(mosa_tokenizer_encode(t, MOSA_SLICE("a"), 0, &list, &err), MOSA_OK);
    assert_int_equal(mosa_tokenizer_encode(t, MOSA_SLICE("bcd"), 0, &list, &err), MOSA_ELIMIT);
    assert_int_equal(list.len, 1);
    assert_int_equal(mosa_tokenizer_encode(t, MOSA_SLICE("bc"), 0, &list, &err), MOSA_OK);
    assert_int_equal(list.len, 3);
    mosa_token_list_finish(&list);
    mosa_tokenizer_destroy(t);
}

// The long algorithm (heap) and the short one (arrays) agree: a word too long for the arrays is cut nowhere else.
static void long_words_merge_like_short_ones(void **state) {
    (void)state;
    mosa_tokenizer *t = make();
    size_t len = 1 << 20;
    char *word = malloc(len);
    uint64_t seed = 42;
    for (size_t i = 0; i < len; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        word[i] = "helo"[seed >> 62];
    }
    mosa_token_list list = encode(t, (mosa_slice){word, len}, 0);
    // With these merges the result is found by reading from the left: hello, hell, he, ll, or one letter; but "hel"
    // followed by l needs care: h e l l merges he and ll before hell, so an odd run of l pairs from its left.
    size_t at = 0, i = 0;
    while (at < len) {
        mosa_token_id want = (unsigned char)word[at];
        size_t used = 1;
        if (at + 5 <= len && memcmp(word + at, "hello", 5) == 0)
            want = HELLO, used = 5;
        else if (at + 4 <= len && memcmp(word + at, "hell", 4) == 0)
            want = HELL, used = 4;
        else if (at + 2 <= len && memcmp(word + at, "he", 2) == 0)
            want = HE, used = 2;
        else if (at + 2 <= len && memcmp(word + at, "ll", 2) == 0)
            want = LL, used = 2;
        assert_true(i < list.len);
        assert_int_equal(list.ids[i], want);
        i++;
        at += used;
    }
    assert_int_equal(i, list.len);
    mosa_token_list_finish(&list);
    free(word);
    mosa_tokenizer_destroy(t);
}

// Files may mark control tokens "normalized"; with mixed trust they are matched on the bytes as given, so that trust
// can be told byte by byte.
static void normalized_control_tokens_obey_trust_too(void **state) {
    (void)state;
    static const char file[] =
        "{\"added_tokens\":[{\"id\":3,\"content\":\"<s>\",\"special\":true,\"normalized\":true}],"
        "\"normalizer\":{\"type\":\"Lowercase\"},\"decoder\":{\"type\":\"Fuse\"},"
        "\"model\":{\"type\":\"BPE\",\"vocab\":{\"<\":0,\"s\":1,\">\":2,\"x\":4,\"<s\":5},\"merges\":[\"< s\"]}}";
    json_t *root = NULL;
    mosa_tokenizer *t = NULL;
    mosa_error err;
    assert_int_equal(mosa_json_parse(MOSA_SLICE(file), NULL, &root, &err), MOSA_OK);
    if (mosa_tokenizer_from_json(root, NULL, "test", &t, &err) != MOSA_OK) fail_msg("%s", err.message);
    json_decref(root);
    EXPECT(encode(t, MOSA_SLICE("<S>x"), MOSA_ENCODE_PARSE_SPECIAL), 3, 4);
    EXPECT(encode(t, MOSA_SLICE("<S>x"), 0), 5, 2, 4);
    const mosa_text_range ranges[] = {{.offset = 0, .len = 4, .trusted = true}, {.offset = 4, .len = 4}};
    EXPECT(encode_ranges(t, MOSA_SLICE("<s>x<s>x"), ranges, 2), 3, 4, 5, 2, 4);
    mosa_tokenizer_destroy(t);
}

// --- GGUF -----------------------------------------------------------------------------------------------------------

static mosa_tokenizer *load_llama_gguf(bool space_prefix) {
    enum { COUNT = 3 + 256 + 6 };
    static char names[256][8];
    mosa_slice tokens[COUNT] = {MOSA_SLICE("<unk>"), MOSA_SLICE("<s>"), MOSA_SLICE("</s>")};
    int32_t types[COUNT] = {MOSA_TOKEN_UNKNOWN, MOSA_TOKEN_CONTROL, MOSA_TOKEN_CONTROL};
    float scores[COUNT] = {0};
    for (int i = 0; i < 256; i++) {
        snprintf(names[i], sizeof names[i], "<0x%02X>", (unsigned)i);
        tokens[3 + i] = mosa_slice_of(names[i]);
        types[3 + i] = MOSA_TOKEN_BYTE;
    }
    const char *const pieces[] = {"\u2581", "h", "i", "hi", "\u2581hi", "!"};
    for (int i = 0; i < 6; i++) {
        tokens[259 + i] = mosa_slice_of(pieces[i]);
        types[259 + i] = MOSA_TOKEN_NORMAL;
        scores[259 + i] = (float)-i;
    }
    char path[] = "/tmp/mosa_tokenizer_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    mosa_error err;
    mosa_gguf_writer *writer = NULL;
    assert_int_equal(mosa_gguf_writer_create(path, &writer, &err), MOSA_OK);
    mosa_gguf_writer_put_str(writer, "tokenizer.ggml.model", MOSA_SLICE("llama"));
    mosa_gguf_writer_put_strs(writer, "tokenizer.ggml.tokens", tokens, COUNT);
    mosa_gguf_writer_put_i32s(writer, "tokenizer.ggml.token_type", types, COUNT);
    mosa_gguf_writer_put_f32s(writer, "tokenizer.ggml.scores", scores, COUNT);
    if (!space_prefix) mosa_gguf_writer_put_bool(writer, "tokenizer.ggml.add_space_prefix", false);
    assert_int_equal(mosa_gguf_writer_begin(writer, &err), MOSA_OK);
    assert_int_equal(mosa_gguf_writer_commit(writer, &err), MOSA_OK);
    mosa_gguf_writer_destroy(writer);
    mosa_gguf *gguf = NULL;
    mosa_tokenizer *tokenizer = NULL;
    assert_int_equal(mosa_gguf_open(path, &gguf, &err), MOSA_OK);
    if (mosa_tokenizer_from_gguf(gguf, &tokenizer, &err) != MOSA_OK) fail_msg("%s", err.message);
    mosa_gguf_close(gguf);
    unlink(path);
    return tokenizer;
}

static void a_gguf_llama_vocabulary_has_bos_prefix_and_bytes(void **state) {
    (void)state;
    enum { SPACE = 259, H, I, HI, SPACE_HI, BANG };
    mosa_tokenizer *t = load_llama_gguf(true);
    EXPECT(encode(t, MOSA_SLICE("hi hi!"), MOSA_ENCODE_ADD_SPECIAL), 1, SPACE_HI, SPACE_HI, BANG);
    EXPECT(encode(t, MOSA_SLICE("\xC3\xA9"), 0), SPACE, 3 + 0xC3, 3 + 0xA9);
    EXPECT(encode(t, MOSA_SLICE("</s>"), MOSA_ENCODE_PARSE_SPECIAL), 2);
    mosa_token_list plain = encode(t, MOSA_SLICE("</s><0x41>"), 0);
    for (size_t i = 0; i < plain.len; i++)
        assert_int_not_equal(mosa_tokenizer_token_type(t, plain.ids[i]), MOSA_TOKEN_CONTROL);
    assert_int_not_equal(plain.ids[plain.len - 1], 3 + 0x41);
    mosa_token_list_finish(&plain);
    // The space that encoding added is taken away at the start of a text, and kept when a text goes on.
    const mosa_token_id ids[] = {1, SPACE_HI, SPACE_HI};
    mosa_buf out;
    mosa_error err;
    mosa_buf_init(&out, 0);
    assert_int_equal(mosa_tokenizer_decode(t, ids, 3, 0, &out, &err), MOSA_OK);
    assert_string_equal(mosa_buf_str(&out), "hi hi");
    mosa_detokenizer d;
    mosa_detokenizer_init_continue(&d, t, 0);
    mosa_buf_clear(&out);
    mosa_detokenizer_push(&d, SPACE_HI, &out);
    assert_string_equal(mosa_buf_str(&out), " hi");
    mosa_buf_finish(&out);
    mosa_tokenizer_destroy(t);
    t = load_llama_gguf(false);
    EXPECT(encode(t, MOSA_SLICE("hi hi"), 0), HI, SPACE_HI);
    mosa_tokenizer_destroy(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_merge_by_rank),
        cmocka_unit_test(untrusted_text_never_becomes_a_control_token),
        cmocka_unit_test(a_control_token_needs_all_its_bytes_trusted),
        cmocka_unit_test(words_run_across_the_borders_of_ranges),
        cmocka_unit_test(ranges_out_of_order_are_refused),
        cmocka_unit_test(ill_formed_input_reads_as_replacement_characters),
        cmocka_unit_test(the_detokenizer_holds_back_parts_of_characters),
        cmocka_unit_test(control_tokens_are_decoded_on_request_only),
        cmocka_unit_test(lookups_answer_for_any_id),
        cmocka_unit_test(a_full_list_keeps_what_it_had),
        cmocka_unit_test(long_words_merge_like_short_ones),
        cmocka_unit_test(normalized_control_tokens_obey_trust_too),
        cmocka_unit_test(a_gguf_llama_vocabulary_has_bos_prefix_and_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
