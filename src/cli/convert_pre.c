// Pre-tokenizers: GGUF gives each a name, tokenizer.json describes its steps. One table serves both ways.
#include "cli/convert.h"

#include <stddef.h>

// The regex of a Split step that comes before ByteLevel; NULL for ByteLevel's own (GPT-2's) regex.
typedef struct pre_row {
    const char *name;
    const char *regex;
    bool digits; // a Digits step (one by one) comes first
} pre_row;

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES       "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UPPER        "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER        "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define LEAD         "[^\\r\\n\\p{L}\\p{N}]?"
#define PUNCTUATION  " ?[^\\s\\p{L}\\p{N}]+"

static const pre_row pre_table[] = {
    {"llama-bpe", CONTRACTIONS "|" LEAD "\\p{L}+|\\p{N}{1,3}|" PUNCTUATION "[\\r\\n]*|" SPACES, false},
    {"qwen2", CONTRACTIONS "|" LEAD "\\p{L}+|\\p{N}|" PUNCTUATION "[\\r\\n]*|" SPACES, false},
    {"gpt-4o",
     LEAD UPPER "*" LOWER "+" CONTRACTIONS "?|" LEAD UPPER "+" LOWER "*" CONTRACTIONS "?|\\p{N}{1,3}|" PUNCTUATION
                "[\\r\\n/]*|" SPACES,
     false},
    {"tekken", LEAD UPPER "*" LOWER "+|" LEAD UPPER "+" LOWER "*|\\p{N}|" PUNCTUATION "[\\r\\n/]*|" SPACES, false},
    {"smollm", NULL, true},
    {"gpt-2", NULL, false},
};

typedef struct pre_steps { // what a tokenizer.json's pre_tokenizer consists of
    const char *regex;
    bool digits, byte_level_regex, other;
} pre_steps;

static void note_step(const json_t *step, pre_steps *steps) {
    const char *type = json_string_value(json_object_get(step, "type"));
    if (!type) type = "";
    if (strcmp(type, "Split") == 0 && !steps->regex) {
        steps->regex = json_string_value(json_object_get(json_object_get(step, "pattern"), "Regex"));
        if (!steps->regex) steps->other = true;
    } else if (strcmp(type, "ByteLevel") == 0) {
        steps->byte_level_regex = !json_is_false(json_object_get(step, "use_regex"));
    } else if (strcmp(type, "Digits") == 0 && json_is_true(json_object_get(step, "individual_digits"))) {
        steps->digits = true;
    } else {
        steps->other = true;
    }
}

const char *convert_pre_name(const json_t *pre_tokenizer) {
    pre_steps steps = {0};
    const json_t *list = json_object_get(pre_tokenizer, "pretokenizers");
    if (json_is_array(list))
        for (size_t i = 0; i < json_array_size(list); i++) note_step(json_array_get(list, i), &steps);
    else
        note_step(pre_tokenizer, &steps);
    if (steps.other) return NULL;
    for (size_t i = 0; i < MOSA_COUNT(pre_table); i++) {
        const pre_row *row = &pre_table[i];
        bool same_regex = row->regex && steps.regex ? strcmp(row->regex, steps.regex) == 0
                                                    : !row->regex && !steps.regex && steps.byte_level_regex;
        if (same_regex && row->digits == steps.digits) return row->name;
    }
    return NULL;
}

json_t *convert_pre_json(const char *name) {
    for (size_t i = 0; i < MOSA_COUNT(pre_table); i++) {
        const pre_row *row = &pre_table[i];
        if (strcmp(row->name, name) != 0) continue;
        json_t *steps = json_array();
        if (row->digits) json_array_append_new(steps, json_pack("{s:s,s:b}", "type", "Digits", "individual_digits", 1));
        if (row->regex)
            json_array_append_new(steps, json_pack("{s:s,s:{s:s},s:s,s:b}", "type", "Split", "pattern", "Regex",
                                                   row->regex, "behavior", "Isolated", "invert", 0));
        json_array_append_new(steps, json_pack("{s:s,s:b,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", 0,
                                               "trim_offsets", 1, "use_regex", row->regex == NULL));
        return json_pack("{s:s,s:o}", "type", "Sequence", "pretokenizers", steps);
    }
    return NULL;
}
