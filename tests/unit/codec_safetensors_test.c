// safetensors reader and writer: round trips whole and sharded, and hostile headers.
#include "base/str.h"
#include "codec/safetensors.h"
#include "codec/safetensors_writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

// File bytes: header length, header, then `data_len` bytes of data. Exact size, for the address sanitizer.
static char *file_of(const char *json, size_t data_len, size_t *len) {
    uint64_t json_len = strlen(json);
    *len = 8 + json_len + data_len;
    char *bytes = malloc(*len);
    memcpy(bytes, &json_len, 8);
    memcpy(bytes + 8, json, json_len);
    for (size_t i = 0; i < data_len; i++) bytes[8 + json_len + i] = (char)i;
    return bytes;
}

static void refused(const char *json, size_t data_len, mosa_status status, const char *text) {
    size_t len;
    mosa_safetensors *st;
    mosa_error err = {0};
    char *bytes = file_of(json, data_len, &len);
    mosa_status got = mosa_safetensors_parse(bytes, len, "evil.safetensors", &st, &err);
    if (got != status || !strstr(err.message, text) || strncmp(err.message, "evil.safetensors: ", 18) != 0)
        fail_msg("%s: '%s', wanted '%s'", mosa_status_name(got), err.message, text);
    free(bytes);
}

static mosa_safetensors *accepted(const char *json, size_t data_len, char **bytes) {
    size_t len;
    mosa_safetensors *st;
    mosa_error err = {0};
    *bytes = file_of(json, data_len, &len);
    if (mosa_safetensors_parse(*bytes, len, "good.safetensors", &st, &err) != MOSA_OK) fail_msg("%s", err.message);
    return st;
}

static void well_formed_headers_are_read(void **state) {
    (void)state;
    char *bytes;
    mosa_safetensors *st =
        accepted(" { \"__metadata__\" : { \"format\" : \"p\\u0074\" } ,"
                 "\"w\\u00e9\\ud83d\\ude00\":{\"shape\":[2,3],\"data_offsets\":[4,16],\"dtype\":\"BF16\"},"
                 "\"scalar\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
                 "\"none\":{\"dtype\":\"I64\",\"shape\":[0,7],\"data_offsets\":[16,16]} }  ",
                 16, &bytes);
    const char *format;
    assert_int_equal(mosa_safetensors_tensor_count(st), 3);
    const mosa_tensor_view *w = mosa_safetensors_tensor_find(st, "w\xc3\xa9\xf0\x9f\x98\x80");
    assert_true(w && w->dtype == MOSA_BF16 && w->n_dims == 2 && w->dims[0] == 2 && w->dims[1] == 3 && w->bytes == 12);
    assert_int_equal(*(const char *)w->data, 4);
    assert_true(mosa_safetensors_tensor_find(st, "scalar")->n_elements == 1);
    assert_true(mosa_safetensors_tensor_find(st, "none")->bytes == 0);
    assert_null(mosa_safetensors_tensor_find(st, "absent"));
    assert_true(mosa_safetensors_metadata_find(st, "format", &format) && strcmp(format, "pt") == 0);
    mosa_safetensors_close(st);
    free(bytes);
    st = accepted("{}", 0, &bytes);
    assert_int_equal(mosa_safetensors_tensor_count(st), 0);
    mosa_safetensors_close(st);
    free(bytes);
}

#define F32_2(name, from, to) "\"" name "\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[" #from "," #to "]}"

static void offsets_that_lie_are_refused(void **state) {
    (void)state;
    refused("{" F32_2("w", 0, 8) "}", 7, MOSA_ECORRUPT, "tensor 'w': data_offsets [0, 8] do not lie in 7 bytes");
    refused("{" F32_2("w", 0, 8) "}", 9, MOSA_ECORRUPT, "1 bytes after the last tensor");
    refused("{" F32_2("w", 8, 0) "}", 8, MOSA_ECORRUPT, "do not lie in");
    refused("{" F32_2("w", 0, 4) "}", 4, MOSA_ECORRUPT,
            "tensor 'w': data_offsets span 4 bytes, which is not its shape");
    refused("{" F32_2("w", 1, 9) "}", 9, MOSA_ECORRUPT, "tensor 'w': its data leaves a gap");
    refused("{" F32_2("w", 0, 8) "," F32_2("v", 0, 8) "}", 8, MOSA_ECORRUPT, "its data overlaps another tensor's");
    refused("{" F32_2("w", 0, 8) "," F32_2("v", 12, 20) "}", 20, MOSA_ECORRUPT, "tensor 'v': its data leaves a gap");
    refused("{" F32_2("w", 0, 8) "," F32_2("w", 8, 16) "}", 16, MOSA_ECORRUPT, "tensor 'w' occurs twice");
    refused("{" F32_2("w", 0, 99999999999999999999) "}", 8, MOSA_ECORRUPT, "data_offsets is no pair");
}

static void tensor_objects_that_lie_are_refused(void **state) {
    (void)state;
    refused("{\"w\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0, MOSA_ECORRUPT,
            "the product of its shape overflows");
    refused("{\"w\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0, MOSA_ECORRUPT,
            "which is not its shape");
    refused("{\"w\":{\"dtype\":\"Q4\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, MOSA_EUNSUPPORTED,
            "tensor 'w': unknown dtype 'Q4'");
    refused("{\"w\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, MOSA_ECORRUPT, "shape is no list");
    refused("{\"w\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, MOSA_ECORRUPT,
            "shape is no list of at most 8");
    refused("{\"w\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, MOSA_ECORRUPT, "data_offsets is missing");
    refused("{\"w\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 4, MOSA_ECORRUPT, "field 'dtype' occurs twice");
    refused("{\"w\":{\"stride\":[1]}}", 4, MOSA_ECORRUPT, "unknown field 'stride'");
    refused("{\"w\":[]}", 4, MOSA_ECORRUPT, "expected a tensor's object");
    refused("{\"a\\u001b[2J\":{}}", 4, MOSA_ECORRUPT, "control character 0x1b");
}

static void headers_that_are_no_json_are_refused(void **state) {
    (void)state;
    refused("", 0, MOSA_ECORRUPT, "header ends where '{'");
    refused("[]", 0, MOSA_ECORRUPT, "header byte 0: expected '{'");
    refused("{\"w", 0, MOSA_ECORRUPT, "a tensor name");
    refused("{} x", 0, MOSA_ECORRUPT, "header byte 3: expected nothing more");
    refused("{\"__metadata__\":{\"a\":1}}", 0, MOSA_ECORRUPT, "a string value in __metadata__");
    refused("{\"__metadata__\":{},\"__metadata__\":{}}", 0, MOSA_ECORRUPT, "__metadata__ occurs twice");
    refused("{\"\\ud800\":{}}", 0, MOSA_ECORRUPT, "a tensor name");
    refused("{\"\\u0000\":{}}", 0, MOSA_ECORRUPT, "a tensor name");
}

static void lengths_that_lie_are_refused(void **state) {
    (void)state;
    static const struct {
        uint64_t header;
        size_t len;
        mosa_status status;
    } cases[] = {
        {UINT64_MAX, 64, MOSA_ELIMIT}, {100000001, 64, MOSA_ELIMIT}, {57, 64, MOSA_ECORRUPT}, {0, 7, MOSA_ECORRUPT}};
    for (size_t i = 0; i < 4; i++) {
        char *bytes = calloc(1, cases[i].len);
        mosa_safetensors *st;
        mosa_error err;
        memcpy(bytes, &cases[i].header, cases[i].len < 8 ? cases[i].len : 8);
        assert_int_equal(mosa_safetensors_parse(bytes, cases[i].len, "x", &st, &err), cases[i].status);
        free(bytes);
    }
}

static char folder[64];

static int make_folder(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/mosa-st-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static char *in_folder(const char *name) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int remove_folder(void **state) {
    (void)state;
    static const char *const names[] = {"model.safetensors", "model-00001-of-00003.safetensors",
                                        "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors",
                                        "model.safetensors.index.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) unlink(in_folder(names[i]));
    return rmdir(folder);
}

static const float values[8] = {1, 2, 3, 4, 5, 6, 7, 8};
static const int64_t dims[2][2] = {{2, 2}, {1, 4}};

static void write_model(uint64_t shard_bytes, int count) {
    mosa_safetensors_writer *w;
    mosa_error err;
    assert_int_equal(mosa_safetensors_writer_create(folder, shard_bytes, &w, &err), MOSA_OK);
    for (int i = 0; i < count; i++) {
        char name[16];
        snprintf(name, sizeof name, "layer.%d", i);
        assert_int_equal(mosa_safetensors_writer_add_tensor(w, name, MOSA_F32, 2, dims[i % 2], &err), MOSA_OK);
    }
    assert_int_equal(mosa_safetensors_writer_begin(w, &err), MOSA_OK);
    for (int i = 0; i < count; i++) {
        assert_int_equal(mosa_safetensors_writer_write(w, values + i, 4, &err), MOSA_OK);
        assert_int_equal(mosa_safetensors_writer_write(w, values + i + 1, 12, &err), MOSA_OK);
    }
    assert_int_equal(mosa_safetensors_writer_write(w, values, 1, &err), MOSA_EINVALID);
    assert_int_equal(mosa_safetensors_writer_commit(w, &err), MOSA_OK);
    mosa_safetensors_writer_destroy(w);
}

static void check_model(int count, size_t shards) {
    mosa_safetensors *st;
    mosa_error err;
    if (mosa_safetensors_open(folder, &st, &err) != MOSA_OK) fail_msg("%s", err.message);
    assert_int_equal(mosa_safetensors_tensor_count(st), count);
    assert_int_equal(mosa_safetensors_shard_count(st), shards);
    for (int i = 0; i < count; i++) {
        char name[16];
        snprintf(name, sizeof name, "layer.%d", i);
        const mosa_tensor_view *view = mosa_safetensors_tensor_find(st, name);
        assert_true(view && view->dims[0] == dims[i % 2][0] && view->dims[1] == dims[i % 2][1]);
        assert_memory_equal(view->data, values + i, 16);
    }
    mosa_safetensors_close(st);
}

static void a_small_model_is_one_file(void **state) {
    (void)state;
    write_model(0, 5);
    check_model(5, 1);
}

static void a_large_model_is_sharded_with_an_index(void **state) {
    (void)state;
    write_model(32, 5); // two tensors of 16 bytes to a shard
    check_model(5, 3);
}

static void open_index(const char *json, mosa_status status, const char *text) {
    mosa_safetensors *st;
    mosa_error err = {0};
    FILE *file = fopen(in_folder("model.safetensors.index.json"), "w");
    fputs(json, file);
    fclose(file);
    mosa_status got = mosa_safetensors_open(folder, &st, &err);
    if (got != status || !strstr(err.message, text))
        fail_msg("%s: '%s', wanted '%s'", mosa_status_name(got), err.message, text);
}

static void an_index_cannot_leave_its_folder_or_promise_what_is_not_there(void **state) {
    (void)state;
    write_model(0, 2);
    open_index("{\"weight_map\":{\"layer.0\":\"../model.safetensors\"}}", MOSA_ECORRUPT, "is no plain file name");
    open_index("{\"weight_map\":{\"layer.0\":\"/etc/passwd\"}}", MOSA_ECORRUPT, "is no plain file name");
    open_index("{\"weight_map\":{\"layer.0\":\"\"}}", MOSA_ECORRUPT, "is no plain file name");
    open_index("{\"weight_map\":{\"layer.0\":7}}", MOSA_ECORRUPT, "(not a string)");
    open_index("{\"weight_map\":{}}", MOSA_ECORRUPT, "0 shards");
    open_index("{\"weight_map\":[]}", MOSA_ECORRUPT, "no weight_map");
    open_index("{\"weight_map\":", MOSA_EINVALID, "model.safetensors.index.json: JSON line 1");
    open_index("{\"weight_map\":{\"layer.0\":\"absent.safetensors\"}}", MOSA_ENOTFOUND, "absent.safetensors");
    open_index("{\"weight_map\":{\"layer.9\":\"model.safetensors\"}}", MOSA_ECORRUPT,
               "tensor 'layer.9' is not in shard 'model.safetensors'");
}

static void the_writer_refuses_what_no_reader_takes(void **state) {
    (void)state;
    mosa_safetensors_writer *w;
    mosa_error err;
    static const int64_t negative[] = {-1};
    assert_int_equal(mosa_safetensors_writer_create(folder, 0, &w, &err), MOSA_OK);
    assert_int_equal(mosa_safetensors_writer_add_tensor(w, "q", MOSA_Q8_0, 2, dims[0], &err), MOSA_EINVALID);
    assert_int_equal(mosa_safetensors_writer_add_tensor(w, "", MOSA_F32, 2, dims[0], &err), MOSA_EINVALID);
    assert_int_equal(mosa_safetensors_writer_add_tensor(w, "n", MOSA_F32, 1, negative, &err), MOSA_EINVALID);
    assert_int_equal(mosa_safetensors_writer_begin(w, &err), MOSA_EINVALID);
    mosa_safetensors_writer_destroy(w);
}

static void a_known_malformed_file_is_refused(void **state) {
    (void)state;
    const char *shared = getenv("MOSA_SHARED");
    char path[512];
    mosa_safetensors *st;
    mosa_error err;
    snprintf(path, sizeof path, "%s/data/conf/malformed/safetensors_offsets_mismatch_1396.safetensors",
             shared ? shared : MOSA_SOURCE_ROOT "/../shared");
    if (access(path, R_OK) != 0) {
        print_message("skipped: %s is absent\n", path);
        return;
    }
    assert_int_equal(mosa_safetensors_open(path, &st, &err), MOSA_ECORRUPT);
    assert_non_null(strstr(err.message, "data_offsets"));
}

static uint64_t random_next(uint64_t *seed) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static void twenty_thousand_mutations_never_overrun(void **state) {
    (void)state;
    static const char pieces[] = "{}[]:,\"\\0123456789eu";
    size_t len;
    uint64_t seed = 5;
    int survivors = 0;
    char *original =
        file_of("{\"__metadata__\":{\"format\":\"pt\"}," F32_2("a", 0, 8) "," F32_2("b\\u00e9", 8, 16) "}", 16, &len);
    for (int round = 0; round < 20000; round++) {
        size_t now = random_next(&seed) % 8 == 0 ? random_next(&seed) % len : len;
        char *copy = malloc(now ? now : 1);
        memcpy(copy, original, now);
        for (uint64_t k = random_next(&seed) % 3; k-- > 0 && now > 0;) {
            size_t at = random_next(&seed) % now;
            copy[at] =
                random_next(&seed) % 2 ? pieces[random_next(&seed) % (sizeof pieces - 1)] : (char)random_next(&seed);
        }
        mosa_safetensors *st;
        mosa_error err = {0};
        if (mosa_safetensors_parse(copy, now, "mutant", &st, &err) == MOSA_OK) {
            survivors++;
            for (size_t i = 0; i < mosa_safetensors_tensor_count(st); i++) {
                const mosa_tensor_view *view = mosa_safetensors_tensor_at(st, i);
                assert_true(mosa_hash_bytes(view->data, view->bytes, 0) != 1);
                assert_ptr_equal(mosa_safetensors_tensor_find(st, view->name), view);
            }
            mosa_safetensors_close(st);
        } else {
            assert_true(strncmp(err.message, "mutant: ", 8) == 0);
        }
        free(copy);
    }
    free(original);
    assert_true(survivors > 100 && survivors < 19900);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(well_formed_headers_are_read),
        cmocka_unit_test(offsets_that_lie_are_refused),
        cmocka_unit_test(tensor_objects_that_lie_are_refused),
        cmocka_unit_test(headers_that_are_no_json_are_refused),
        cmocka_unit_test(lengths_that_lie_are_refused),
        cmocka_unit_test_setup_teardown(a_small_model_is_one_file, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_large_model_is_sharded_with_an_index, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(an_index_cannot_leave_its_folder_or_promise_what_is_not_there, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(the_writer_refuses_what_no_reader_takes, make_folder, remove_folder),
        cmocka_unit_test(a_known_malformed_file_is_refused),
        cmocka_unit_test(twenty_thousand_mutations_never_overrun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
