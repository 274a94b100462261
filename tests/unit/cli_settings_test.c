// The table of settings: rows that an engine takes, names without clashes, help for everything.
#include "cli/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static bool has_section(const mosa_option_table *table, const char *key) {
    for (size_t i = 0; i < table->n_sections; i++) {
        size_t len = strlen(table->sections[i].name);
        if (strncmp(key, table->sections[i].name, len) == 0 && key[len] == '.') return true;
    }
    return false;
}

static void an_engine_takes_its_sections_and_no_others(void **state) {
    (void)state;
    const mosa_option_table *all = &mosa_settings_table, *engine = &mosa_settings_engine_table;
    size_t n_expected = 0;
    for (size_t i = 0; i < all->n_options; i++)
        n_expected += all->options[i].key && has_section(engine, all->options[i].key);
    assert_int_equal(engine->n_options, n_expected);
    for (size_t i = 0; i < engine->n_options; i++) assert_true(has_section(engine, engine->options[i].key));
    assert_true(has_section(engine, "engine.threads") && !has_section(engine, "server.api_key"));
}

static bool is_word_of(const char *words, const char *word) {
    size_t len = strlen(word);
    for (const char *at = words; at && *at; at += strspn(at, " ")) {
        if (strcspn(at, " ") == len && strncmp(at, word, len) == 0) return true;
        at += strcspn(at, " ");
    }
    return false;
}

static void no_two_settings_share_a_name(void **state) {
    (void)state;
    const mosa_option_table *table = &mosa_settings_table;
    for (size_t i = 0; i < table->n_options; i++) {
        const mosa_option *a = &table->options[i];
        assert_true(strlen(a->help) > 10 && a->help[strlen(a->help) - 1] == '.');
        for (size_t k = 0; k < table->n_options; k++) {
            const mosa_option *b = &table->options[k];
            if (is_word_of(b->aliases, a->flag)) fail_msg("%s is an alias of %s", a->flag, b->flag);
            if (i == k) continue;
            if (strcmp(a->flag, b->flag) == 0 || a->offset == b->offset)
                fail_msg("%s clashes with %s", a->flag, b->flag);
            for (const char *at = a->aliases; at && *at; at += strspn(at, " ")) {
                char word[64];
                size_t len = strcspn(at, " ");
                assert_true(len < sizeof word);
                memcpy(word, at, len);
                word[len] = '\0';
                if (is_word_of(b->aliases, word)) fail_msg("%s means %s and %s", word, a->flag, b->flag);
                at += len;
            }
        }
    }
}

static void every_key_belongs_to_a_section(void **state) {
    (void)state;
    for (size_t i = 0; i < mosa_settings_table.n_options; i++) {
        const char *key = mosa_settings_table.options[i].key;
        if (key) assert_true(has_section(&mosa_settings_table, key));
    }
}

static void the_defaults_are_valid(void **state) {
    (void)state;
    mosa_settings settings;
    mosa_string_list arguments;
    mosa_error err = {0};
    mosa_arena arena;
    mosa_arena_init(&arena, 0, 0);
    mosa_option_sources nothing = {0};
    if (mosa_options_read(&mosa_settings_table, &nothing, &arena, &settings, &arguments, &err) != MOSA_OK)
        fail_msg("%s", err.message);
    assert_int_equal(settings.server.port, 8000);
    assert_string_equal(settings.server.host, "127.0.0.1");
    assert_int_equal(settings.server.api_keys.count, 0);
    assert_string_equal(settings.engine.kv_type, "f16");
    mosa_arena_finish(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_engine_takes_its_sections_and_no_others),
        cmocka_unit_test(no_two_settings_share_a_name),
        cmocka_unit_test(every_key_belongs_to_a_section),
        cmocka_unit_test(the_defaults_are_valid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
