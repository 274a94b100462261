// mosa_tokenizer_load: what a path holds, and the loader for it.
#include <errno.h>
#include <sys/stat.h>

#include "codec/gguf.h"
#include "codec/json.h"
#include "codec/mapping.h"
#include "text/tokenizer_gguf.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_sentencepiece.h"
#include "text/tokenizer_tiktoken.h"

static bool has_suffix(const char *path, const char *suffix) {
    return mosa_slice_ends_with(mosa_slice_of(path), mosa_slice_of(suffix));
}

static bool is_file(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

static mosa_status join(mosa_buf *path, const char *folder, const char *name, mosa_error *err) {
    mosa_buf_clear(path);
    mosa_buf_printf(path, "%s/%s", folder, name);
    return mosa_buf_failed(path) ? mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", folder) : MOSA_OK;
}

// tokenizer_config.json of a folder; *out stays NULL when there is none.
static mosa_status load_config(const char *folder, json_t **out, mosa_error *err) {
    mosa_buf path;
    mosa_buf_init(&path, 0);
    mosa_status status = join(&path, folder, "tokenizer_config.json", err);
    if (status == MOSA_OK && is_file(mosa_buf_str(&path))) status = mosa_json_load(mosa_buf_str(&path), NULL, out, err);
    mosa_buf_finish(&path);
    return status;
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
    MOSA_TRY(mosa_json_load(vocab_path, NULL, &vocab, err));
    MOSA_TRY(load_config(folder, &config, err));
    mosa_mapping merges;
    MOSA_TRY(mosa_mapping_open(merges_path, &merges, err));
    mosa_slice text = {merges.base, merges.len};
    mosa_status status = mosa_tokenizer_from_vocab(vocab, text, config, vocab_path, out, err);
    mosa_mapping_close(&merges);
    return status;
}

typedef mosa_status (*parse_fn)(mosa_slice data, const char *source, mosa_tokenizer **out, mosa_error *err);

static mosa_status load_mapped(const char *path, parse_fn parse, mosa_tokenizer **out, mosa_error *err) {
    mosa_mapping file;
    MOSA_TRY(mosa_mapping_open(path, &file, err));
    mosa_status status = parse((mosa_slice){file.base, file.len}, path, out, err);
    mosa_mapping_close(&file);
    return status;
}

static mosa_status load_gguf(const char *path, mosa_tokenizer **out, mosa_error *err) {
    mosa_gguf *gguf = NULL;
    MOSA_TRY(mosa_gguf_open(path, &gguf, err));
    mosa_status status = mosa_tokenizer_from_gguf(gguf, out, err);
    mosa_gguf_close(gguf);
    return status;
}

static mosa_status load_folder(const char *folder, mosa_tokenizer **out, mosa_error *err) {
    mosa_buf path, second;
    mosa_buf_init(&path, 0);
    mosa_buf_init(&second, 0);
    mosa_status status;
    MOSA_TRY_GOTO(join(&path, folder, "tokenizer.json", err), done);
    if (is_file(mosa_buf_str(&path))) {
        status = load_json(mosa_buf_str(&path), folder, out, err);
        goto done;
    }
    MOSA_TRY_GOTO(join(&path, folder, "vocab.json", err), done);
    MOSA_TRY_GOTO(join(&second, folder, "merges.txt", err), done);
    if (is_file(mosa_buf_str(&path)) && is_file(mosa_buf_str(&second))) {
        status = load_vocab(mosa_buf_str(&path), mosa_buf_str(&second), folder, out, err);
        goto done;
    }
    MOSA_TRY_GOTO(join(&path, folder, "tokenizer.model", err), done);
    if (is_file(mosa_buf_str(&path))) {
        status = load_mapped(mosa_buf_str(&path), mosa_tokenizer_from_sentencepiece, out, err);
        goto done;
    }
    status = mosa_fail(err, MOSA_ENOTFOUND, "%s: no tokenizer.json, no vocab.json with merges.txt, no tokenizer.model",
                       folder);
done:
    mosa_buf_finish(&path);
    mosa_buf_finish(&second);
    return status;
}

// The folder of a file, "." when the path names none.
static mosa_status load_json_file(const char *path, mosa_tokenizer **out, mosa_error *err) {
    const char *slash = strrchr(path, '/');
    mosa_buf folder;
    mosa_buf_init(&folder, 0);
    if (slash) mosa_buf_append(&folder, path, (size_t)(slash - path) + 1);
    mosa_buf_append_char(&folder, '.');
    mosa_status status = mosa_buf_failed(&folder) ? mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path)
                                                  : load_json(path, mosa_buf_str(&folder), out, err);
    mosa_buf_finish(&folder);
    return status;
}

mosa_status mosa_tokenizer_load(const char *path, mosa_tokenizer **out, mosa_error *err) {
    struct stat info;
    if (stat(path, &info) != 0) return mosa_fail_errno(err, errno, "%s", path);
    if (S_ISDIR(info.st_mode)) return load_folder(path, out, err);
    if (has_suffix(path, ".json")) return load_json_file(path, out, err);
    if (has_suffix(path, ".gguf")) return load_gguf(path, out, err);
    if (has_suffix(path, ".tiktoken")) return load_mapped(path, mosa_tokenizer_from_tiktoken, out, err);
    if (has_suffix(path, ".model")) return load_mapped(path, mosa_tokenizer_from_sentencepiece, out, err);
    mosa_status status = mosa_fail(err, MOSA_EUNSUPPORTED, "%s: not a kind of tokenizer file that is known", path);
    (void)mosa_hint(err, "known are folders, tokenizer.json, .gguf, .model (SentencePiece) and .tiktoken");
    return status;
}
