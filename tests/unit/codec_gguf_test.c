// GGUF reader and writer: round trips, getters, splits, and hostile files built byte by byte.
#include "base/str.h"
#include "codec/gguf.h"
#include "codec/gguf_writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

// Little builder for files that the writer would refuse to write.
static void u32(mosa_buf *b, uint32_t v) {
    mosa_buf_append(b, &v, 4);
}
static void u64(mosa_buf *b, uint64_t v) {
    mosa_buf_append(b, &v, 8);
}
static void str(mosa_buf *b, const char *s) {
    u64(b, strlen(s));
    mosa_buf_append_str(b, s);
}
static void preamble(mosa_buf *b, uint32_t version, uint64_t n_tensors, uint64_t n_kvs) {
    mosa_buf_init(b, 0);
    mosa_buf_append(b, "GGUF", 4);
    u32(b, version);
    u64(b, n_tensors);
    u64(b, n_kvs);
}
static void tensor(mosa_buf *b, const char *name, uint64_t d0, uint64_t d1, uint32_t type, uint64_t offset) {
    str(b, name);
    u32(b, 2);
    u64(b, d0);
    u64(b, d1);
    u32(b, type);
    u64(b, offset);
}
static void data(mosa_buf *b, size_t bytes) {
    while (b->len % 32) mosa_buf_append_char(b, 0);
    for (size_t i = 0; i < bytes; i++) mosa_buf_append_char(b, (char)i);
}

// The bytes must be refused with `status` and a message that holds `text` and the file's name. Consumes b.
static void refused(mosa_buf *b, mosa_status status, const char *text) {
    mosa_gguf *gguf = NULL;
    mosa_error err = {0};
    // A copy of the exact size, so that the address sanitizer sees one byte too far.
    char *exact = malloc(b->len ? b->len : 1);
    if (b->len) memcpy(exact, b->data, b->len);
    mosa_status got = mosa_gguf_parse(exact, b->len, "evil.gguf", &gguf, &err);
    if (got == MOSA_OK) fail_msg("accepted, wanted: %s", text);
    if (got != status || !strstr(err.message, text) || strncmp(err.message, "evil.gguf: ", 11) != 0)
        fail_msg("%s: '%s', wanted '%s'", mosa_status_name(got), err.message, text);
    assert_int_equal(err.status, got);
    assert_null(gguf);
    free(exact);
    mosa_buf_finish(b);
}

static void preambles_that_lie_are_refused(void **state) {
    (void)state;
    mosa_buf b;
    mosa_buf_init(&b, 0);
    refused(&b, MOSA_ECORRUPT, "the file is empty");
    mosa_buf_append(&b, "GGML", 4);
    refused(&b, MOSA_ECORRUPT, "not a GGUF file");
    mosa_buf_append(&b, "GGUF\3", 5);
    refused(&b, MOSA_ECORRUPT, "file ends inside the preamble");
    preamble(&b, 1, 0, 0);
    refused(&b, MOSA_EUNSUPPORTED, "version 1");
    preamble(&b, 0x03000000, 0, 0);
    refused(&b, MOSA_EUNSUPPORTED, "big-endian");
    preamble(&b, 3, UINT64_MAX, 0);
    refused(&b, MOSA_ELIMIT, "18446744073709551615 tensors");
    preamble(&b, 3, 0, UINT64_MAX / 2);
    refused(&b, MOSA_ELIMIT, "metadata pairs");
    preamble(&b, 3, 1000, 10);
    refused(&b, MOSA_ECORRUPT, "cannot fit");
}

static void metadata_that_lies_is_refused(void **state) {
    (void)state;
    mosa_buf b;
    preamble(&b, 3, 0, 1), u64(&b, UINT64_MAX), data(&b, 64);
    refused(&b, MOSA_ECORRUPT, "a metadata key has 18446744073709551615 bytes");
    preamble(&b, 3, 0, 1), u64(&b, 0), data(&b, 64);
    refused(&b, MOSA_ECORRUPT, "a metadata key has 0 bytes");
    preamble(&b, 3, 0, 1), str(&b, "a\033[2J"), data(&b, 64);
    refused(&b, MOSA_ECORRUPT, "control character 0x1b");
    preamble(&b, 3, 0, 1), str(&b, "k.type"), u32(&b, 13), data(&b, 64);
    refused(&b, MOSA_ECORRUPT, "key 'k.type': unknown value type 13");
    preamble(&b, 3, 0, 1), str(&b, "k.str"), u32(&b, MOSA_GGUF_STR), u64(&b, 1000);
    refused(&b, MOSA_ECORRUPT, "key 'k.str': string of 1000 bytes, but 0 are left");
    preamble(&b, 3, 0, 1), str(&b, "k.str"), u32(&b, MOSA_GGUF_STR), u64(&b, UINT64_MAX);
    refused(&b, MOSA_ELIMIT, "key 'k.str'");
    preamble(&b, 3, 0, 1), str(&b, "k.bool"), u32(&b, MOSA_GGUF_BOOL), mosa_buf_append_char(&b, 2);
    refused(&b, MOSA_ECORRUPT, "key 'k.bool': 2 is not a bool");
    preamble(&b, 3, 0, 1), str(&b, "k.int"), u32(&b, MOSA_GGUF_U64), u32(&b, 1);
    refused(&b, MOSA_ECORRUPT, "key 'k.int': 1 items of u64, but 4 bytes");
    preamble(&b, 3, 0, 2), str(&b, "twice"), u32(&b, 4), u32(&b, 1), str(&b, "twice"), u32(&b, 4), u32(&b, 1);
    refused(&b, MOSA_ECORRUPT, "key 'twice' occurs twice");
}

static void arrays_that_lie_are_refused(void **state) {
    (void)state;
    mosa_buf b;
    preamble(&b, 3, 0, 1), str(&b, "k.arr"), u32(&b, 9), u32(&b, 99), u64(&b, 0);
    refused(&b, MOSA_ECORRUPT, "key 'k.arr': unknown array item type 99");
    preamble(&b, 3, 0, 1), str(&b, "k.arr"), u32(&b, 9), u32(&b, MOSA_GGUF_U64), u64(&b, UINT64_MAX / 4);
    refused(&b, MOSA_ELIMIT, "key 'k.arr': array of");
    preamble(&b, 3, 0, 1), str(&b, "k.arr"), u32(&b, 9), u32(&b, MOSA_GGUF_F32), u64(&b, 100), u32(&b, 0);
    refused(&b, MOSA_ECORRUPT, "key 'k.arr': 100 items of f32, but 4 bytes");
    preamble(&b, 3, 0, 1), str(&b, "k.arr"), u32(&b, 9), u32(&b, MOSA_GGUF_STR), u64(&b, 3), str(&b, "x");
    refused(&b, MOSA_ECORRUPT, "key 'k.arr': file ends inside a string");
    preamble(&b, 3, 0, 1), str(&b, "k.deep"), u32(&b, 9);
    for (int i = 0; i < 1000; i++) u32(&b, MOSA_GGUF_ARRAY), u64(&b, 1);
    refused(&b, MOSA_ELIMIT, "key 'k.deep': arrays nested deeper than 3");
}

static void alignments_that_lie_are_refused(void **state) {
    (void)state;
    static const uint32_t bad[] = {0, 3, 48, 1u << 31};
    mosa_buf b;
    for (size_t i = 0; i < 4; i++) {
        preamble(&b, 3, 0, 1), str(&b, "general.alignment"), u32(&b, MOSA_GGUF_U32), u32(&b, bad[i]);
        refused(&b, MOSA_ECORRUPT, "key 'general.alignment': ");
    }
    preamble(&b, 3, 0, 1), str(&b, "general.alignment"), u32(&b, MOSA_GGUF_STR), str(&b, "32");
    refused(&b, MOSA_ECORRUPT, "is string, must be u32");
}

static void tensors_that_lie_are_refused(void **state) {
    (void)state;
    mosa_buf b;
    preamble(&b, 3, 1, 0), str(&b, "w"), u32(&b, 5), data(&b, 64);
    refused(&b, MOSA_ECORRUPT, "tensor 'w': 5 dims");
    preamble(&b, 3, 1, 0), tensor(&b, "w", 4, 0, 0, 0), data(&b, 64);
    refused(&b, MOSA_ECORRUPT, "tensor 'w': dim 1 is 0");
    preamble(&b, 3, 1, 0), tensor(&b, "w", 1ull << 40, 1ull << 40, 0, 0), data(&b, 64);
    refused(&b, MOSA_ECORRUPT, "tensor 'w': the product of its dims overflows");
    preamble(&b, 3, 1, 0), tensor(&b, "w", UINT64_MAX, 1, 0, 0), data(&b, 64);
    refused(&b, MOSA_ECORRUPT, "tensor 'w': the product of its dims overflows");
    preamble(&b, 3, 1, 0), tensor(&b, "w", 1ull << 62, 1, 0, 0), data(&b, 64);
    refused(&b, MOSA_ECORRUPT, "tensor 'w': its size overflows");
    preamble(&b, 3, 1, 0), tensor(&b, "w", 4, 4, 77, 0), data(&b, 64);
    refused(&b, MOSA_EUNSUPPORTED, "tensor 'w': unknown type id 77");
    preamble(&b, 3, 1, 0), tensor(&b, "w", 48, 2, 8, 0), data(&b, 128);
    refused(&b, MOSA_ECORRUPT, "tensor 'w': rows of 48 are not whole blocks of 32 (q8_0)");
    preamble(&b, 3, 1, 0), tensor(&b, "w", 4, 4, 0, 8), data(&b, 128);
    refused(&b, MOSA_ECORRUPT, "offset 8 is not a multiple of the alignment 32");
    preamble(&b, 3, 1, 0), tensor(&b, "w", 4, 4, 0, 32), data(&b, 64);
    refused(&b, MOSA_ECORRUPT, "tensor 'w': 64 bytes at offset 32 reach beyond the data section of 64 bytes");
    preamble(&b, 3, 1, 0), tensor(&b, "w", 4, 4, 0, UINT64_MAX - 31), data(&b, 64);
    refused(&b, MOSA_ECORRUPT, "reach beyond the data section");
    preamble(&b, 3, 2, 0), tensor(&b, "w", 4, 4, 0, 0), tensor(&b, "v", 4, 4, 0, 32), data(&b, 128);
    refused(&b, MOSA_ECORRUPT, "tensors 'w' and 'v' overlap");
    preamble(&b, 3, 2, 0), tensor(&b, "w", 4, 4, 0, 0), tensor(&b, "w", 4, 4, 0, 64), data(&b, 128);
    refused(&b, MOSA_ECORRUPT, "tensor 'w' occurs twice");
    preamble(&b, 3, 1, 0), tensor(&b, "w", 4, 4, 0, 0);
    refused(&b, MOSA_ECORRUPT, "file ends inside the padding");
}

static char *scratch_path(const char *name) {
    static char path[4][256];
    static int next;
    const char *folder = getenv("TMPDIR");
    snprintf(path[next % 4], sizeof path[0], "%s/mosa-%ld-%s", folder ? folder : "/tmp", (long)getpid(), name);
    return path[next++ % 4];
}

static const float weights[64] = {1.5f, -2.5f, 3.0f};
static const int64_t dims_2x32[] = {2, 32}, dims_3[] = {3};

static void put_all_kinds(mosa_gguf_writer *w) {
    static const mosa_slice words[] = {{"alpha", 5}, {"", 0}, {"gam\0ma", 6}};
    static const int32_t ids[] = {-1, 0, 7};
    static const float scores[] = {0.5f, -1e9f};
    mosa_gguf_writer_put_str(w, "general.architecture", MOSA_SLICE("llama"));
    mosa_gguf_writer_put_u32(w, "n", 42);
    mosa_gguf_writer_put_u64(w, "big", UINT64_MAX);
    mosa_gguf_writer_put_f32(w, "eps", 1e-5f);
    mosa_gguf_writer_put_bool(w, "flag", true);
    mosa_gguf_writer_put_strs(w, "words", words, 3);
    mosa_gguf_writer_put_i32s(w, "ids", ids, 3);
    mosa_gguf_writer_put_f32s(w, "scores", scores, 2);
}

static void write_file(const char *path) {
    mosa_gguf_writer *w;
    mosa_error err;
    assert_int_equal(mosa_gguf_writer_create(path, &w, &err), MOSA_OK);
    put_all_kinds(w);
    assert_int_equal(mosa_gguf_writer_add_tensor(w, "a", MOSA_F32, 2, dims_2x32, &err), MOSA_OK);
    assert_int_equal(mosa_gguf_writer_add_tensor(w, "b", MOSA_F32, 1, dims_3, &err), MOSA_OK);
    assert_int_equal(mosa_gguf_writer_begin(w, &err), MOSA_OK);
    assert_int_equal(mosa_gguf_writer_write(w, weights, 100, &err), MOSA_OK);
    assert_int_equal(mosa_gguf_writer_write(w, (const char *)weights + 100, 156, &err), MOSA_OK);
    assert_int_equal(mosa_gguf_writer_write(w, weights, 12, &err), MOSA_OK);
    assert_int_equal(access(path, F_OK), -1); // invisible until commit
    assert_int_equal(mosa_gguf_writer_commit(w, &err), MOSA_OK);
    mosa_gguf_writer_destroy(w);
}

static void what_the_writer_writes_the_reader_reads(void **state) {
    (void)state;
    const char *path = scratch_path("round.gguf");
    mosa_gguf *g;
    mosa_error err;
    write_file(path);
    assert_int_equal(mosa_gguf_open(path, &g, &err), MOSA_OK);
    assert_int_equal(mosa_gguf_version(g), 3);
    assert_int_equal(mosa_gguf_kv_count(g), 8);
    assert_int_equal(mosa_gguf_tensor_count(g), 2);
    assert_int_equal(mosa_gguf_tensor_bytes(g), 268);
    const mosa_tensor_view *a = mosa_gguf_tensor_find(g, "a"), *b = mosa_gguf_tensor_at(g, 1);
    assert_true(a && a->n_dims == 2 && a->dims[0] == 2 && a->dims[1] == 32 && a->dims[2] == 1);
    assert_memory_equal(a->data, weights, 256);
    assert_true(strcmp(b->name, "b") == 0 && b->dims[0] == 3 && b->n_elements == 3);
    assert_null(mosa_gguf_tensor_find(g, "c"));
    mosa_gguf_close(g);
    unlink(path);
}

static void getters_check_type_and_range(void **state) {
    (void)state;
    const char *path = scratch_path("get.gguf");
    mosa_gguf *g;
    mosa_error err;
    uint32_t n = 1;
    uint64_t big;
    int64_t wide;
    float eps;
    bool flag;
    mosa_slice text;
    write_file(path);
    assert_int_equal(mosa_gguf_open(path, &g, &err), MOSA_OK);
    assert_true(mosa_gguf_get_u32(g, "n", &n, &err) == MOSA_OK && n == 42);
    assert_true(mosa_gguf_get_u64(g, "big", &big, &err) == MOSA_OK && big == UINT64_MAX);
    assert_int_equal(mosa_gguf_get_i64(g, "big", &wide, &err), MOSA_EINVALID);
    assert_int_equal(mosa_gguf_get_u32(g, "big", &n, &err), MOSA_EINVALID);
    assert_true(mosa_gguf_get_f32(g, "eps", &eps, &err) == MOSA_OK && eps == 1e-5f);
    assert_true(mosa_gguf_get_bool(g, "flag", &flag, &err) == MOSA_OK && flag);
    assert_true(mosa_gguf_get_str(g, "general.architecture", &text, &err) == MOSA_OK &&
                mosa_slice_eq(text, MOSA_SLICE("llama")));
    assert_int_equal(mosa_gguf_get_u32(g, "nothing", &n, &err), MOSA_ENOTFOUND);
    assert_non_null(strstr(err.message, "get.gguf: key 'nothing' is missing"));
    assert_int_equal(mosa_gguf_get_u32(g, "eps", &n, &err), MOSA_EINVALID);
    assert_non_null(strstr(err.message, "key 'eps' is f32, wanted an integer"));
    assert_int_equal(mosa_gguf_get_str(g, "words", &text, &err), MOSA_EINVALID);
    assert_non_null(strstr(err.message, "key 'words' is an array of string"));
    assert_int_equal(n, 42); // untouched by failures
    assert_true(mosa_gguf_get_u32_or(g, "nothing", 9, &n, &err) == MOSA_OK && n == 9);
    assert_int_equal(mosa_gguf_get_u32_or(g, "eps", 9, &n, &err), MOSA_EINVALID);
    mosa_gguf_close(g);
    unlink(path);
}

static void array_getters_copy_into_the_arena(void **state) {
    (void)state;
    const char *path = scratch_path("arr.gguf");
    mosa_gguf *g;
    mosa_error err;
    mosa_arena arena;
    const mosa_slice *words;
    const int32_t *ids;
    const float *scores;
    size_t count;
    write_file(path);
    mosa_arena_init(&arena, 0, 0);
    assert_int_equal(mosa_gguf_open(path, &g, &err), MOSA_OK);
    assert_int_equal(mosa_gguf_get_strs(g, "words", &arena, &words, &count, &err), MOSA_OK);
    assert_true(count == 3 && mosa_slice_eq(words[0], MOSA_SLICE("alpha")) && words[1].len == 0 && words[2].len == 6);
    assert_int_equal(mosa_gguf_get_i32s(g, "ids", &arena, &ids, &count, &err), MOSA_OK);
    assert_true(count == 3 && ids[0] == -1 && ids[2] == 7);
    assert_int_equal(mosa_gguf_get_f32s(g, "scores", &arena, &scores, &count, &err), MOSA_OK);
    assert_true(count == 2 && scores[0] == 0.5f);
    assert_int_equal(mosa_gguf_get_i32s(g, "words", &arena, &ids, &count, &err), MOSA_EINVALID);
    assert_int_equal(mosa_gguf_get_f32s(g, "n", &arena, &scores, &count, &err), MOSA_EINVALID);
    mosa_arena_finish(&arena);
    mosa_gguf_close(g);
    unlink(path);
}

static void the_writer_refuses_what_no_reader_takes(void **state) {
    (void)state;
    const char *path = scratch_path("refuse.gguf");
    static const int64_t zero[] = {0}, partial[] = {2, 33}, five[] = {1, 1, 1, 1, 1};
    mosa_gguf_writer *w;
    mosa_error err;
    assert_int_equal(mosa_gguf_writer_create(path, &w, &err), MOSA_OK);
    assert_int_equal(mosa_gguf_writer_add_tensor(w, "", MOSA_F32, 1, dims_3, &err), MOSA_EINVALID);
    assert_int_equal(mosa_gguf_writer_add_tensor(w, "w", MOSA_F32, 1, zero, &err), MOSA_EINVALID);
    assert_int_equal(mosa_gguf_writer_add_tensor(w, "w", MOSA_Q8_0, 2, partial, &err), MOSA_EINVALID);
    assert_int_equal(mosa_gguf_writer_add_tensor(w, "w", MOSA_F32, 5, five, &err), MOSA_EINVALID);
    assert_int_equal(mosa_gguf_writer_add_tensor(w, "w", MOSA_U8, 1, dims_3, &err), MOSA_EINVALID);
    assert_int_equal(mosa_gguf_writer_add_tensor(w, "w", MOSA_F32, 1, dims_3, &err), MOSA_OK);
    assert_int_equal(mosa_gguf_writer_write(w, weights, 4, &err), MOSA_EINVALID);
    assert_int_equal(mosa_gguf_writer_begin(w, &err), MOSA_OK);
    assert_int_equal(mosa_gguf_writer_write(w, weights, 16, &err), MOSA_EINVALID);
    assert_int_equal(mosa_gguf_writer_write(w, weights, 8, &err), MOSA_OK);
    assert_int_equal(mosa_gguf_writer_commit(w, &err), MOSA_EINVALID);
    mosa_gguf_writer_destroy(w);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(mosa_gguf_writer_create("/no/such/folder/x.gguf", &w, &err), MOSA_ENOTFOUND);
}

static void write_part(const char *path, uint32_t number, uint32_t count, const char *name) {
    mosa_gguf_writer *w;
    mosa_error err;
    assert_int_equal(mosa_gguf_writer_create(path, &w, &err), MOSA_OK);
    mosa_gguf_writer_put_u32(w, "split.no", number);
    mosa_gguf_writer_put_u32(w, "split.count", count);
    mosa_gguf_writer_put_u32(w, "split.tensors.count", 2);
    assert_int_equal(mosa_gguf_writer_add_tensor(w, name, MOSA_F32, 1, dims_3, &err), MOSA_OK);
    assert_int_equal(mosa_gguf_writer_begin(w, &err), MOSA_OK);
    assert_int_equal(mosa_gguf_writer_write(w, weights, 12, &err), MOSA_OK);
    assert_int_equal(mosa_gguf_writer_commit(w, &err), MOSA_OK);
    mosa_gguf_writer_destroy(w);
}

static void a_split_model_opens_by_its_first_part(void **state) {
    (void)state;
    char *first = scratch_path("s-00001-of-00002.gguf"), *second = scratch_path("s-00002-of-00002.gguf");
    mosa_gguf *g;
    mosa_error err;
    write_part(first, 0, 2, "a");
    assert_int_equal(mosa_gguf_open(first, &g, &err), MOSA_ENOTFOUND); // the second part is missing
    assert_non_null(strstr(err.message, "s-00002-of-00002.gguf"));
    write_part(second, 1, 2, "b");
    assert_int_equal(mosa_gguf_open(first, &g, &err), MOSA_OK);
    assert_int_equal(mosa_gguf_split_count(g), 2);
    assert_int_equal(mosa_gguf_tensor_count(g), 2);
    assert_memory_equal(mosa_gguf_tensor_find(g, "b")->data, weights, 12);
    mosa_gguf_close(g);
    assert_int_equal(mosa_gguf_open(second, &g, &err), MOSA_EINVALID);
    assert_non_null(strstr(err.hint, "-00001-of-00002.gguf"));
    write_part(second, 1, 2, "a");
    assert_int_equal(mosa_gguf_open(first, &g, &err), MOSA_ECORRUPT);
    assert_non_null(strstr(err.message, "tensor 'a' occurs twice"));
    write_part(second, 0, 2, "b");
    assert_int_equal(mosa_gguf_open(first, &g, &err), MOSA_ECORRUPT);
    assert_non_null(strstr(err.message, "do not say part 1 of 2"));
    unlink(first);
    unlink(second);
}

static void paths_that_are_no_files_give_clear_errors(void **state) {
    (void)state;
    const char *path = scratch_path("empty.gguf");
    mosa_gguf *g;
    mosa_error err;
    assert_int_equal(mosa_gguf_open("/no/such.gguf", &g, &err), MOSA_ENOTFOUND);
    assert_non_null(strstr(err.message, "/no/such.gguf"));
    assert_int_equal(mosa_gguf_open("/tmp", &g, &err), MOSA_EINVALID);
    fclose(fopen(path, "w"));
    assert_int_equal(mosa_gguf_open(path, &g, &err), MOSA_ECORRUPT);
    unlink(path);
}

static void known_malformed_files_are_refused(void **state) {
    (void)state;
    static const char *const names[] = {"gguf_sigfpe_3864.gguf", "gguf_zero_dim_25596.gguf"};
    const char *shared = getenv("MOSA_SHARED");
    for (size_t i = 0; i < 2; i++) {
        char path[512];
        mosa_gguf *g;
        mosa_error err;
        snprintf(path, sizeof path, "%s/data/conf/malformed/%s", shared ? shared : MOSA_SOURCE_ROOT "/../shared",
                 names[i]);
        if (access(path, R_OK) != 0) {
            print_message("skipped: %s is absent\n", path);
            continue;
        }
        assert_int_not_equal(mosa_gguf_open(path, &g, &err), MOSA_OK);
        assert_non_null(strstr(err.message, names[i]));
    }
}

// Reads everything that a parsed file offers, so that the sanitizers see any pointer that is off.
static uint64_t touch(const mosa_gguf *g) {
    uint64_t sum = 0;
    for (size_t i = 0; i < mosa_gguf_kv_count(g); i++) {
        const mosa_gguf_kv *kv = mosa_gguf_kv_at(g, i);
        mosa_gguf_str_iter iter = mosa_gguf_strs(kv);
        for (mosa_slice s; mosa_gguf_str_next(&iter, &s);) sum += mosa_hash_bytes(s.data, s.len, 0);
        double value;
        for (uint64_t k = 0; k < kv->count && mosa_gguf_kv_f64(kv, k, &value); k++) sum++;
        assert_ptr_equal(mosa_gguf_kv_find(g, kv->key), kv);
    }
    for (size_t i = 0; i < mosa_gguf_tensor_count(g); i++) {
        const mosa_tensor_view *view = mosa_gguf_tensor_at(g, i);
        sum += mosa_hash_bytes(view->data, view->bytes, 0);
    }
    return sum;
}

static uint64_t random_next(uint64_t *seed) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static void twenty_thousand_mutations_never_overrun(void **state) {
    (void)state;
    const char *path = scratch_path("seed.gguf");
    char original[4096];
    uint64_t seed = 11;
    int accepted = 0;
    write_file(path);
    FILE *file = fopen(path, "rb");
    size_t len = fread(original, 1, sizeof original, file);
    fclose(file);
    unlink(path);
    for (int round = 0; round < 20000; round++) {
        static const unsigned char edges[] = {0, 1, 0x7f, 0x80, 0xff};
        size_t now = random_next(&seed) % 4 == 0 ? random_next(&seed) % len : len;
        char *copy = malloc(now ? now : 1);
        memcpy(copy, original, now);
        for (uint64_t k = random_next(&seed) % 4; k-- > 0 && now > 0;) {
            size_t at = random_next(&seed) % now;
            copy[at] = (char)(random_next(&seed) % 2 ? edges[random_next(&seed) % 5] : random_next(&seed));
        }
        mosa_gguf *g;
        mosa_error err = {0};
        if (mosa_gguf_parse(copy, now, "mutant", &g, &err) == MOSA_OK) {
            accepted++;
            touch(g);
            mosa_gguf_close(g);
        } else {
            assert_true(err.status != MOSA_OK && strncmp(err.message, "mutant: ", 8) == 0);
        }
        free(copy);
    }
    assert_true(accepted > 100 && accepted < 19900);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(preambles_that_lie_are_refused),
        cmocka_unit_test(metadata_that_lies_is_refused),
        cmocka_unit_test(arrays_that_lie_are_refused),
        cmocka_unit_test(alignments_that_lie_are_refused),
        cmocka_unit_test(tensors_that_lie_are_refused),
        cmocka_unit_test(what_the_writer_writes_the_reader_reads),
        cmocka_unit_test(getters_check_type_and_range),
        cmocka_unit_test(array_getters_copy_into_the_arena),
        cmocka_unit_test(the_writer_refuses_what_no_reader_takes),
        cmocka_unit_test(a_split_model_opens_by_its_first_part),
        cmocka_unit_test(paths_that_are_no_files_give_clear_errors),
        cmocka_unit_test(known_malformed_files_are_refused),
        cmocka_unit_test(twenty_thousand_mutations_never_overrun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
