// The template language against jinja2: every snippet of tests/golden/jinja_vectors.json gives the same text, or fails
// where jinja2 raises. And what jinja2 cannot tell: trust marks, limits, hostile templates, rendering from two threads.
#include "text/jinja.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

static const struct tm fixed_now = {
    .tm_sec = 10, .tm_min = 9, .tm_hour = 8, .tm_mday = 7, .tm_mon = 5, .tm_year = 124, .tm_wday = 5, .tm_yday = 158};

typedef struct rendering {
    mosa_status status;
    mosa_error err;
    mosa_jinja_output out;
} rendering;

static rendering render_with(const char *source, size_t len, json_t *variables, json_t *trusted,
                             mosa_jinja_limits limits) {
    rendering r = {0};
    mosa_jinja_template *tmpl = NULL;
    r.status = mosa_jinja_parse((mosa_slice){source, len}, &tmpl, &r.err);
    if (r.status != MOSA_OK) return r;
    mosa_jinja_inputs inputs = {.variables = variables, .trusted = trusted, .now = &fixed_now, .limits = limits};
    r.status = mosa_jinja_render(tmpl, &inputs, &r.out, &r.err);
    mosa_jinja_destroy(tmpl);
    return r;
}

static rendering render(const char *source, const char *variables_text) {
    json_t *variables = variables_text ? json_loads(variables_text, 0, NULL) : NULL;
    rendering r = render_with(source, strlen(source), variables, NULL, (mosa_jinja_limits){0});
    json_decref(variables);
    return r;
}

// "T" per trusted byte, "u" per untrusted one, "G" and "g" likewise inside of {% generation %}.
static char *marks(const mosa_jinja_output *out) {
    char *text = calloc(out->len + 1, 1);
    size_t end = 0;
    assert_non_null(text);
    for (size_t i = 0; i < out->n_ranges; i++) {
        const mosa_text_range *range = &out->ranges[i];
        assert_int_equal(range->offset, end);
        assert_true(range->len > 0);
        char mark = range->generated ? (range->trusted ? 'G' : 'g') : range->trusted ? 'T' : 'u';
        memset(text + range->offset, mark, range->len);
        end += range->len;
    }
    assert_int_equal(end, out->len);
    return text;
}

static void expect_marks(const char *source, const char *variables, const char *text, const char *wanted) {
    rendering r = render(source, variables);
    if (r.status != MOSA_OK) print_error("%s: %s\n", source, r.err.message);
    assert_int_equal(r.status, MOSA_OK);
    assert_string_equal(r.out.text, text);
    char *found = marks(&r.out);
    if (strcmp(found, wanted) != 0) print_error("%s\n", source);
    assert_string_equal(found, wanted);
    free(found);
    mosa_jinja_output_finish(&r.out);
}

static void expect_failure(const char *source, const char *variables, mosa_status status, const char *fragment) {
    rendering r = render(source, variables);
    if (r.status != status) print_error("%.80s: %s %s\n", source, mosa_status_name(r.status), r.err.message);
    assert_int_equal(r.status, status);
    if (!strstr(r.err.message, fragment)) print_error("%.80s: %s\n", source, r.err.message);
    assert_non_null(strstr(r.err.message, fragment));
    assert_null(r.out.text);
}

static void every_snippet_renders_as_in_jinja2(void **state) {
    (void)state;
    json_error_t where;
    json_t *file = json_load_file(MOSA_SOURCE_ROOT "/tests/golden/jinja_vectors.json", JSON_ALLOW_NUL, &where);
    if (!file) print_error("jinja_vectors.json:%d: %s\n", where.line, where.text);
    assert_non_null(file);
    json_t *variables = json_object_get(file, "variables"), *vectors = json_object_get(file, "vectors");
    assert_true(json_array_size(vectors) > 200);
    size_t wrong = 0;
    for (size_t i = 0; i < json_array_size(vectors); i++) {
        json_t *source = json_array_get(json_array_get(vectors, i), 0);
        json_t *expected = json_array_get(json_array_get(vectors, i), 1);
        rendering r =
            render_with(json_string_value(source), json_string_length(source), variables, NULL, (mosa_jinja_limits){0});
        bool same = json_is_null(expected) ? r.status != MOSA_OK
                                           : r.status == MOSA_OK && r.out.len == json_string_length(expected) &&
                                                 memcmp(r.out.text, json_string_value(expected), r.out.len) == 0;
        if (!same) {
            wrong++;
            print_error("%s\n  expected %s\n  got      %s\n", json_string_value(source), json_string_value(expected),
                        r.status == MOSA_OK ? r.out.text : r.err.message);
        }
        mosa_jinja_output_finish(&r.out);
    }
    json_decref(file);
    assert_int_equal(wrong, 0);
}

static void what_a_request_wrote_is_untrusted_wherever_it_goes(void **state) {
    (void)state;
    const char *v = "{\"x\": \"<s>\", \"l\": [\"ab\", \"c\"], \"d\": {\"k\": \"v\"}, \"n\": 42, \"i\": \"a\\nb\"}";
    expect_marks("<s>{{ x }}<s>", v, "<s><s><s>", "TTTuuuTTT");
    expect_marks("{{ '<' ~ x ~ '>' }}", v, "<<s>>", "TuuuT");
    expect_marks("{{ ('<' + x)[1:3] }}{{ x[0] }}{{ x[::-1] }}", v, "<s<>s<", "uuuuuu");
    expect_marks("{{ 'a-b'.replace('-', x) }}", v, "a<s>b", "TuuuT");
    expect_marks("{{ x.replace('s', '/s') }}", v, "</s>", "uTTu");
    expect_marks("{{ l | join('|') }}{{ '|'.join(l) }}", v, "ab|cab|c", "uuTuuuTu");
    expect_marks("{{ x | upper }}{{ x.title() }}{{ x | trim }}", v, "<S><S><s>", "uuuuuuuuu");
    expect_marks("{{ d | tojson }}", v, "{\"k\": \"v\"}", "TTuTTTTuTT");
    expect_marks("{{ d }}{{ l }}", v, "{'k': 'v'}['ab', 'c']", "TTuTTTTuTTTTuuTTTTuTT");
    expect_marks("{{ '%s:%d' % (x, n) }}{{ '{}'.format(x) }}", v, "<s>:42<s>", "uuuTuuuuu");
    expect_marks("{{ n + 1 }}{{ 1 + 1 }}{{ x | length }}", v, "4323", "uuTT");
    expect_marks("{% set y %}<{{ x }}{% endset %}{{ y * 2 }}", v, "<<s><<s>", "TuuuTuuu");
    expect_marks("{% macro m(a) %}[{{ a }}]{% endmacro %}{{ m(x) }}", v, "[<s>]", "TuuuT");
    expect_marks("{{ (x ~ '!').split('s') | join('S') }}", v, "<S>!", "uTuT");
    expect_marks("{% filter upper %}a{{ x }}{% endfilter %}", v, "A<S>", "Tuuu");
    expect_marks("{{ i | indent(2) }}", v, "a\n  b", "uTTTu");
    expect_marks("{{ x | e }}", v, "&lt;s&gt;", "uuuuuuuuu");
    expect_marks("{{ (l | first) ~ (l | sort | last) }}{{ {'ab': '<s>'}[l[0]] }}", v, "abc<s>", "uuuTTT");
    expect_marks("{{ n | string }}{{ '7' | int }}{{ (l[0] ~ '5')[2:] | int }}", v, "4275", "uuTT");
}

static void trusted_variables_and_named_members_are_trusted(void **state) {
    (void)state;
    json_t *trusted = json_loads("{\"bos_token\": \"<s>\", \"both\": \"file\"}", 0, NULL);
    json_t *variables = json_loads("{\"both\": \"user\"}", 0, NULL);
    const char *source = "{{ bos_token }}{{ both }}";
    rendering r = render_with(source, strlen(source), variables, trusted, (mosa_jinja_limits){0});
    assert_int_equal(r.status, MOSA_OK);
    char *found = marks(&r.out);
    assert_string_equal(r.out.text, "<s>user");
    assert_string_equal(found, "TTTuuuu");
    free(found);
    mosa_jinja_output_finish(&r.out);
    json_decref(trusted);
    json_decref(variables);
}

static void generation_blocks_mark_what_the_assistant_said(void **state) {
    (void)state;
    const char *v = "{\"x\": \"hi\"}";
    expect_marks("a{% generation %}{{ x }}</s>{% endgeneration %}b", v, "ahi</s>b", "TggGGGGT");
    expect_marks("{% macro m() %}pre {% generation %}{{ x }}{% endgeneration %}{% endmacro %}> {{ m() | upper }}", v,
                 "> PRE HI", "TTTTTTgg");
}

static void an_exception_of_the_template_is_the_message(void **state) {
    (void)state;
    rendering r = render("\n{{ raise_exception('Roles must alternate: ' ~ x) }}", "{\"x\": \"user\"}");
    assert_int_equal(r.status, MOSA_EINVALID);
    assert_string_equal(r.err.message, "Roles must alternate: user");
}

static void errors_name_the_line(void **state) {
    (void)state;
    expect_failure("a\nb\n{{ 1 + 'x' }}", NULL, MOSA_EINVALID, "line 3");
    expect_failure("a\n{% if %}", NULL, MOSA_ECORRUPT, "line 2");
    expect_failure("{% for x in y %}\n\n{{ x | nope }}{% endfor %}", NULL, MOSA_ECORRUPT,
                   "line 3: no filter named 'nope'");
    expect_failure("{% include 'x' %}", NULL, MOSA_EUNSUPPORTED, "'include' is not available");
    expect_failure("{{ x.y.z }}", "{\"x\": {}}", MOSA_EINVALID, "'dict object' has no attribute 'y'");
    expect_failure("{{ nope.z }}", NULL, MOSA_EINVALID, "'nope' is undefined");
    expect_failure("{{ l.append(1) }}", "{\"l\": []}", MOSA_EINVALID, "unsafe");
    expect_failure("\xff", NULL, MOSA_ECORRUPT, "UTF-8");
}

// Source of n copies of `piece` between head and tail.
static char *repeated(const char *head, const char *piece, size_t n, const char *tail) {
    mosa_buf buf;
    mosa_buf_init(&buf, 0);
    mosa_buf_append_str(&buf, head);
    for (size_t i = 0; i < n; i++) mosa_buf_append_str(&buf, piece);
    mosa_buf_append_str(&buf, tail);
    return mosa_buf_take(&buf);
}

static void expect_hostile(char *source, mosa_status status, const char *fragment) {
    expect_failure(source, NULL, status, fragment);
    free(source);
}

static void deep_templates_are_refused(void **state) {
    (void)state;
    expect_hostile(repeated("{{ ", "(", 100000, "1"), MOSA_ECORRUPT, "deep");
    expect_hostile(repeated("{{ ", "[", 100000, "1"), MOSA_ECORRUPT, "deep");
    expect_hostile(repeated("{{ ", "-", 100000, "1 }}"), MOSA_ECORRUPT, "deep");
    expect_hostile(repeated("{{ ", "not ", 100000, "1 }}"), MOSA_ECORRUPT, "deep");
    expect_hostile(repeated("", "{% if 1 %}", 50000, ""), MOSA_ECORRUPT, "deep");
    expect_hostile(repeated("{{ 1", " + 1", 100000, " }}"), MOSA_ELIMIT, "max_depth");
    expect_hostile(repeated("{{ x", "|list", 100000, " }}"), MOSA_ELIMIT, "max_depth");
    expect_hostile(repeated("{{ x", ".x", 100000, " }}"), MOSA_ELIMIT, "max_depth");
    expect_hostile(repeated("{{ 1", " if 1 else 1", 50000, " }}"), MOSA_ECORRUPT, "deep");
    expect_hostile(repeated("{{ ", "a1,", 400000, " }}"), MOSA_ELIMIT, "bytes");
}

static void deep_values_are_refused(void **state) {
    (void)state;
    const char *nest = "{% set ns = namespace(l=[]) %}{% for i in range(5000) %}{% set ns.l = [ns.l] %}{% endfor %}";
    const char *uses[] = {"{{ ns.l }}", "{{ ns.l | tojson }}", "{{ ns.l == [ns.l] }}", "{{ ns.l < [ns.l] }}"};
    for (size_t i = 0; i < MOSA_COUNT(uses); i++) expect_hostile(repeated(nest, uses[i], 1, ""), MOSA_ELIMIT, "deep");
    expect_failure("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", NULL, MOSA_ELIMIT, "max_depth");
    expect_failure("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", NULL, MOSA_ELIMIT, "max_depth");
}

static void bombs_hit_a_limit(void **state) {
    (void)state;
    expect_failure("{{ 'a' * 1000000000000 }}", NULL, MOSA_ELIMIT, "max_");
    expect_failure("{{ [0] * 1000000000000 }}", NULL, MOSA_ELIMIT, "max_");
    expect_failure("{{ range(1000000000) }}", NULL, MOSA_EINVALID, "range too big");
    expect_failure("{{ 'a'.center(1000000000000) }}", NULL, MOSA_ELIMIT, "max_");
    expect_failure("{{ '%1000000000d' % 1 }}", NULL, MOSA_EINVALID, "too big");
    expect_failure("{{ 2 ** 100000 }}", NULL, MOSA_EUNSUPPORTED, "64 bits");
    expect_failure("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", NULL, MOSA_ELIMIT,
                   "max_steps");
    expect_failure("{% set ns = namespace(s='ab') %}{% for i in range(90) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
                   NULL, MOSA_ELIMIT, "max_");
    expect_failure("{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}", NULL, MOSA_ELIMIT, "max_");
    expect_failure("{{ ('a' * 100000).replace('a', 'b' * 100000) }}", NULL, MOSA_ELIMIT, "max_");
}

static void the_caller_sets_the_limits(void **state) {
    (void)state;
    const char *source = "{% for i in range(1000) %}0123456789{% endfor %}";
    mosa_jinja_limits tight[] = {
        {.max_output_bytes = 9999}, {.max_steps = 900}, {.max_memory_bytes = 4096}, {.max_depth = 2}};
    for (size_t i = 0; i < MOSA_COUNT(tight); i++) {
        rendering r = render_with(source, strlen(source), NULL, NULL, tight[i]);
        assert_int_equal(r.status, MOSA_ELIMIT);
    }
    rendering r = render_with(source, strlen(source), NULL, NULL, (mosa_jinja_limits){.max_output_bytes = 10000});
    assert_int_equal(r.status, MOSA_OK);
    assert_int_equal(r.out.len, 10000);
    mosa_jinja_output_finish(&r.out);
}

static void *render_many(void *argument) {
    const mosa_jinja_template *tmpl = argument;
    for (int i = 0; i < 50; i++) {
        json_t *variables = json_pack("{s:[i,i,i], s:s}", "l", i, 2, 3, "u", "ß世");
        mosa_jinja_inputs inputs = {.variables = variables};
        mosa_jinja_output out;
        bool ok = mosa_jinja_render(tmpl, &inputs, &out, NULL) == MOSA_OK;
        json_decref(variables);
        if (!ok) return NULL;
        mosa_jinja_output_finish(&out);
    }
    return argument;
}

static void one_template_renders_in_two_threads_at_once(void **state) {
    (void)state;
    mosa_jinja_template *tmpl;
    const char *source = "{% macro m(x) %}{{ 'aé' | upper }}{{ x }}{% endmacro %}{% for i in l %}{{ m(i) }}{{ u[1] }}"
                         "{{ 'constant é'[3:] }}{% endfor %}{{ l | tojson }}";
    assert_int_equal(mosa_jinja_parse(mosa_slice_of(source), &tmpl, NULL), MOSA_OK);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, render_many, tmpl), 0);
    for (int i = 0; i < 2; i++) {
        void *result = NULL;
        pthread_join(threads[i], &result);
        assert_ptr_equal(result, tmpl);
    }
    mosa_jinja_destroy(tmpl);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_snippet_renders_as_in_jinja2),
        cmocka_unit_test(what_a_request_wrote_is_untrusted_wherever_it_goes),
        cmocka_unit_test(trusted_variables_and_named_members_are_trusted),
        cmocka_unit_test(generation_blocks_mark_what_the_assistant_said),
        cmocka_unit_test(an_exception_of_the_template_is_the_message),
        cmocka_unit_test(errors_name_the_line),
        cmocka_unit_test(deep_templates_are_refused),
        cmocka_unit_test(deep_values_are_refused),
        cmocka_unit_test(bombs_hit_a_limit),
        cmocka_unit_test(the_caller_sets_the_limits),
        cmocka_unit_test(one_template_renders_in_two_threads_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
