// tokenizer.json without a tree: a vocabulary of 100,000 tokens is a few megabytes of text.
#include "cli/tokenizer_files.h"

#include "base/file.h"
#include "base/out_file.h"
#include "codec/json.h"
#include "text/byte_level.h"

#include <stdlib.h>

// How the vocabulary spells a token: special ones as they are, others in visible characters.
static void append_token(mosa_buf *out, const mosa_bpe_vocab *vocab, size_t id) {
    if (id < vocab->n_special) {
        mosa_json_append_string(out, vocab->tokens[id]);
        return;
    }
    mosa_buf visible = {0};
    mosa_byte_level_encode(vocab->tokens[id], &visible);
    mosa_json_append_string(out, mosa_buf_slice(&visible));
    out->failed |= mosa_buf_failed(&visible);
    mosa_buf_finish(&visible);
}

static void append_added(mosa_buf *out, const mosa_bpe_vocab *vocab) {
    mosa_buf_append_str(out, "\"added_tokens\": [");
    for (size_t id = 0; id < vocab->n_special; id++) {
        mosa_buf_printf(out, "%s\n    {\"id\": %zu, \"content\": ", id ? "," : "", id);
        append_token(out, vocab, id);
        mosa_buf_append_str(out, ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, "
                                 "\"normalized\": false, \"special\": true}");
    }
    mosa_buf_append_str(out, "\n  ]");
}

static void append_steps(mosa_buf *out, const mosa_pre_rules *rules) {
    static const char byte_level[] = "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, "
                                     "\"use_regex\": %s}";
    bool gpt2 = strcmp(rules->patterns[0], mosa_pattern_gpt2) == 0;
    mosa_buf_printf(out,
                    ",\n  \"normalizer\": %s,\n  \"pre_tokenizer\": ", rules->nfc ? "{\"type\": \"NFC\"}" : "null");
    if (gpt2) {
        mosa_buf_printf(out, byte_level, "true");
    } else {
        mosa_buf_append_str(out, "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": "
                                 "{\"Regex\": ");
        mosa_json_append_string(out, mosa_slice_of(rules->patterns[0]));
        mosa_buf_append_str(out, "}, \"behavior\": \"Isolated\", \"invert\": false}, ");
        mosa_buf_printf(out, byte_level, "false");
        mosa_buf_append_str(out, "]}");
    }
    mosa_buf_append_str(out, ",\n  \"post_processor\": ");
    mosa_buf_printf(out, byte_level, gpt2 ? "true" : "false");
    mosa_buf_append_str(out, ",\n  \"decoder\": ");
    mosa_buf_printf(out, byte_level, "true");
}

static void append_model(mosa_buf *out, const mosa_bpe_vocab *vocab) {
    mosa_buf_append_str(out, ",\n  \"model\": {\n    \"type\": \"BPE\", \"dropout\": null, \"unk_token\": null, "
                             "\"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, \"fuse_unk\": false, "
                             "\"byte_fallback\": false, \"ignore_merges\": false,\n    \"vocab\": {");
    for (size_t id = 0; id < vocab->n_tokens; id++) {
        mosa_buf_append_str(out, id ? ",\n      " : "\n      ");
        append_token(out, vocab, id);
        mosa_buf_printf(out, ": %zu", id);
    }
    mosa_buf_append_str(out, "\n    },\n    \"merges\": [");
    for (size_t i = 0; i < vocab->n_merges; i++) {
        mosa_buf_append_str(out, i ? ",\n      [" : "\n      [");
        append_token(out, vocab, vocab->merges[i].left);
        mosa_buf_append_str(out, ", ");
        append_token(out, vocab, vocab->merges[i].right);
        mosa_buf_append_char(out, ']');
    }
    mosa_buf_append_str(out, "\n    ]\n  }\n}\n");
}

static mosa_status save(const char *folder, const char *name, mosa_buf *text, mosa_error *err) {
    MOSA_AUTO_FREE char *path = mosa_path_join(folder, name);
    mosa_status status = path && !mosa_buf_failed(text) ? mosa_out_file_save(path, text->data, text->len, err)
                                                        : mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", name);
    mosa_buf_finish(text);
    return status;
}

mosa_status mosa_tokenizer_files_write(const char *folder, const mosa_bpe_vocab *vocab, const mosa_pre_rules *rules,
                                       mosa_error *err) {
    MOSA_TRY(mosa_file_mkdirs(folder, err));
    mosa_buf json = {0}, config = {0};
    mosa_buf_append_str(&json, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  ");
    append_added(&json, vocab);
    append_steps(&json, rules);
    append_model(&json, vocab);
    mosa_buf_append_str(&config, "{\n  \"tokenizer_class\": \"PreTrainedTokenizerFast\",\n  \"eos_token\": ");
    if (vocab->n_special)
        append_token(&config, vocab, 0);
    else
        mosa_buf_append_str(&config, "null");
    mosa_buf_append_str(&config, ",\n  \"clean_up_tokenization_spaces\": false\n}\n");
    mosa_status status = save(folder, "tokenizer.json", &json, err);
    if (status == MOSA_OK) return save(folder, "tokenizer_config.json", &config, err);
    mosa_buf_finish(&config);
    return status;
}
