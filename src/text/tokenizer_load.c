// mosa_tokenizer_load: what a path holds, and the loader for it.
#include "base/file.h"
#include "codec/gguf.h"
#include "codec/json.h"
#include "text/tokenizer_gguf.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_sentencepiece.h"
#include "text/tokenizer_tiktoken.h"

enum { FILE_BYTES_MAX = 256 << 20 };

// tokenizer_config.json of a folder; *out stays NULL when there is none.
static mosa_status load_config(const char *folder, json_t **out, mosa_error *err) {
    MOSA_AUTO_FREE char *path = mosa_path_join(folder, "tokenizer_config.json");
    if (!path) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", folder);
    return mosa_file_exists(path) ? mosa_json_load(path, NULL, out, err) : MOSA_OK;
}

static mosa_status load_json(const char *path, const char *folder, mosa_tokenizer **out, mosa_error *err) {
    MOSA_AUTO_JSON json_t *root = NULL;
    MOSA_AUTO_JSON json_t *config = NULL;
    MOSA_TRY(mosa_json_load(path, NULL, &root, err));
    MOSA_TRY(load_config(folder, &config, err));
    return mosa_tokenizer_from_json(root, config, path, out, err);
}

static mosa_status load_vocab(const char *vocab_path, const char *merges_path, const char *folder, mosa_tokenizer **out,
                              mosa_error *err) {
    MOSA_AUTO_JSON json_t *vocab = NULL;
    MOSA_AUTO_JSON json_t *config = NULL;
    MOSA_AUTO_FREE char *merges = NULL;
    size_t len;
    MOSA_TRY(mosa_json_load(vocab_path, NULL, &vocab, err));
    MOSA_TRY(load_config(folder, &config, err));
    MOSA_TRY(mosa_file_read(merges_path, FILE_BYTES_MAX, &merges, &len, err));
    return mosa_tokenizer_from_vocab(vocab, (mosa_slice){merges, len}, config, vocab_path, out, err);
}

typedef mosa_status (*parse_fn)(mosa_slice data, const char *source, mosa_tokenizer **out, mosa_error *err);

static mosa_status load_file(const char *path, parse_fn parse, mosa_tokenizer **out, mosa_error *err) {
    MOSA_AUTO_FREE char *bytes = NULL;
    size_t len;
    MOSA_TRY(mosa_file_read(path, FILE_BYTES_MAX, &bytes, &len, err));
    return parse((mosa_slice){bytes, len}, path, out, err);
}

static mosa_status load_gguf(const char *path, mosa_tokenizer **out, mosa_error *err) {
    mosa_gguf *gguf = NULL;
    MOSA_TRY(mosa_gguf_open(path, &gguf, err));
    mosa_status status = mosa_tokenizer_from_gguf(gguf, out, err);
    mosa_gguf_close(gguf);
    return status;
}

static mosa_status load_folder(const char *folder, mosa_tokenizer **out, mosa_error *err) {
    MOSA_AUTO_FREE char *json = mosa_path_join(folder, "tokenizer.json");
    MOSA_AUTO_FREE char *vocab = mosa_path_join(folder, "vocab.json");
    MOSA_AUTO_FREE char *merges = mosa_path_join(folder, "merges.txt");
    MOSA_AUTO_FREE char *model = mosa_path_join(folder, "tokenizer.model");
    if (!json || !vocab || !merges || !model) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", folder);
    if (mosa_file_exists(json)) return load_json(json, folder, out, err);
    if (mosa_file_exists(vocab) && mosa_file_exists(merges)) return load_vocab(vocab, merges, folder, out, err);
    if (mosa_file_exists(model)) return load_file(model, mosa_tokenizer_from_sentencepiece, out, err);
    return mosa_fail(err, MOSA_ENOTFOUND, "%s: no tokenizer.json, no vocab.json with merges.txt, no tokenizer.model",
                     folder);
}

// tokenizer_config.json is looked for beside the file.
static mosa_status load_json_file(const char *path, mosa_tokenizer **out, mosa_error *err) {
    MOSA_AUTO_FREE char *folder = strdup(path);
    if (!folder) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path);
    folder[mosa_path_base(path) - path] = '\0';
    return load_json(path, folder[0] ? folder : ".", out, err);
}

mosa_status mosa_tokenizer_load(const char *path, mosa_tokenizer **out, mosa_error *err) {
    if (mosa_file_is_dir(path)) return load_folder(path, out, err);
    if (mosa_str_ends_with(path, ".json")) return load_json_file(path, out, err);
    if (mosa_str_ends_with(path, ".gguf")) return load_gguf(path, out, err);
    if (mosa_str_ends_with(path, ".tiktoken")) return load_file(path, mosa_tokenizer_from_tiktoken, out, err);
    if (mosa_str_ends_with(path, ".model")) return load_file(path, mosa_tokenizer_from_sentencepiece, out, err);
    if (!mosa_file_exists(path)) return mosa_fail(err, MOSA_ENOTFOUND, "%s: no such file or folder", path);
    mosa_status status = mosa_fail(err, MOSA_EUNSUPPORTED, "%s: not a kind of tokenizer file that is known", path);
    (void)mosa_hint(err, "known are folders, tokenizer.json, .gguf, .model (SentencePiece) and .tiktoken");
    return status;
}
