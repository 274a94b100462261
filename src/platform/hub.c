// Names and listings of a hub repository, and the choice of files.
#include "platform/hub.h"

#include "base/str.h"
#include "codec/json.h"
#include "platform/hub_http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { LISTING_BYTES_MAX = 64 << 20, FILES_MAX = 100000, NAME_BYTES_MAX = 512 };

mosa_hub mosa_hub_from_env(void) {
    const char *endpoint = getenv("HF_ENDPOINT"), *token = getenv("HF_TOKEN");
    return (mosa_hub){.endpoint = endpoint && *endpoint ? endpoint : "https://huggingface.co",
                      .token = token && *token ? token : NULL};
}

// --- names --------------------------------------------------------------------------------------------------------

static bool plain_part(const char *text, size_t len) {
    if (len == 0 || len > NAME_BYTES_MAX || text[0] == '.') return false;
    for (size_t i = 0; i < len; i++)
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-", text[i])) return false;
    return true;
}

// A relative path of plain parts: it cannot leave the folder that it is put into.
static bool safe_path(const char *path) {
    for (;;) {
        size_t len = strcspn(path, "/");
        if (len == 0 || len > NAME_BYTES_MAX || (path[0] == '.' && (len == 1 || (len == 2 && path[1] == '.'))))
            return false;
        for (size_t i = 0; i < len; i++)
            if ((unsigned char)path[i] < 0x20 || path[i] == '\\') return false;
        if (!path[len]) return true;
        path += len + 1;
    }
}

mosa_status mosa_hub_parse_name(const char *text, mosa_arena *arena, mosa_hub_name *out, mosa_error *err) {
    const char *rest = strncmp(text, "hf:", 3) == 0 ? text + 3 : text;
    size_t repo_len = strcspn(rest, "@:");
    const char *slash = memchr(rest, '/', repo_len);
    if (!slash || !plain_part(rest, (size_t)(slash - rest)) ||
        !plain_part(slash + 1, repo_len - (size_t)(slash - rest) - 1)) {
        mosa_fail(err, MOSA_EINVALID, "\"%s\" does not name a model on a hub", text);
        return mosa_hint(err, "write hf:org/name, hf:org/name:file.gguf or hf:org/name@revision");
    }
    *out = (mosa_hub_name){.repo = mosa_arena_strndup(arena, rest, repo_len), .revision = "main"};
    rest += repo_len;
    if (*rest == '@') {
        size_t len = strcspn(++rest, ":");
        if (!plain_part(rest, len)) return mosa_fail(err, MOSA_EINVALID, "\"%s\" has no valid revision", text);
        out->revision = mosa_arena_strndup(arena, rest, len);
        rest += len;
    }
    if (*rest == ':') {
        if (!safe_path(rest + 1)) return mosa_fail(err, MOSA_EINVALID, "\"%s\" has no valid file name", text);
        out->file = mosa_arena_strdup(arena, rest + 1);
    }
    if (!out->repo || !out->revision || (*rest == ':' && !out->file))
        return mosa_fail(err, MOSA_ENOMEM, "out of memory for a name");
    return MOSA_OK;
}

// --- listing ------------------------------------------------------------------------------------------------------

static bool is_hex(const char *text, size_t len) {
    return text && strlen(text) == len && strspn(text, "0123456789abcdef") == len;
}

static const char *copy_hex(mosa_arena *arena, const json_t *value, size_t len) {
    const char *text = json_string_value(value);
    return is_hex(text, len) ? mosa_arena_strdup(arena, text) : NULL;
}

static bool read_file_row(const json_t *row, mosa_arena *arena, mosa_hub_file *out) {
    const char *name = json_string_value(json_object_get(row, "rfilename"));
    if (!name || !safe_path(name)) return false;
    const json_t *lfs = json_object_get(row, "lfs"), *size = json_object_get(lfs ? lfs : row, "size");
    *out = (mosa_hub_file){.name = mosa_arena_strdup(arena, name),
                           .bytes = json_is_integer(size) ? json_integer_value(size) : -1,
                           .sha256 = copy_hex(arena, json_object_get(lfs, "sha256"), 64),
                           .blob_id = lfs ? NULL : copy_hex(arena, json_object_get(row, "blobId"), 40)};
    return out->name != NULL;
}

static mosa_status read_listing(const json_t *root, const char *repo, mosa_arena *arena, mosa_hub_listing *out,
                                mosa_error *err) {
    const json_t *rows = json_object_get(root, "siblings");
    size_t n = json_array_size(rows);
    if (!json_is_array(rows) || n > FILES_MAX)
        return mosa_fail(err, MOSA_ECORRUPT, "the hub's answer for %s has no list of files", repo);
    out->files = MOSA_ARENA_ARRAY(arena, mosa_hub_file, n);
    if (!out->files) return mosa_fail(err, MOSA_ENOMEM, "out of memory for the files of %s", repo);
    out->n_files = 0;
    for (size_t i = 0; i < n; i++)
        if (read_file_row(json_array_get(rows, i), arena, &out->files[out->n_files])) out->n_files++;
    return MOSA_OK;
}

mosa_status mosa_hub_list(const mosa_hub *hub, const mosa_hub_name *name, mosa_arena *arena, mosa_hub_listing *out,
                          mosa_error *err) {
    const char *url =
        mosa_arena_printf(arena, "%s/api/models/%s/revision/%s?blobs=true", hub->endpoint, name->repo, name->revision);
    if (!url) return mosa_fail(err, MOSA_ENOMEM, "out of memory for a URL");
    mosa_buf body;
    mosa_buf_init(&body, LISTING_BYTES_MAX);
    mosa_status status = mosa_hub_http_get(hub, url, &body, err);
    json_t *root = NULL;
    if (status == MOSA_OK) status = mosa_json_parse(mosa_buf_slice(&body), NULL, &root, err);
    if (status == MOSA_OK) status = read_listing(root, name->repo, arena, out, err);
    json_decref(root);
    mosa_buf_finish(&body);
    return status;
}

// --- choice -------------------------------------------------------------------------------------------------------

// "x-00001-of-00003.gguf" and its brothers: equal up to the part's number.
static bool same_split(const char *a, const char *b) {
    const char *of = strstr(a, "-of-");
    size_t at = of ? (size_t)(of - a) : 0;
    return at >= 6 && strlen(a) == strlen(b) && strncmp(a, b, at - 5) == 0 && strcmp(a + at, b + at) == 0;
}

static mosa_status choose_named(const mosa_hub_name *name, mosa_hub_listing *listing, mosa_error *err) {
    bool found = false;
    for (size_t i = 0; i < listing->n_files; i++) {
        mosa_hub_file *file = &listing->files[i];
        file->wanted = strcmp(file->name, name->file) == 0 || same_split(name->file, file->name);
        found = found || file->wanted;
    }
    if (found) return MOSA_OK;
    return mosa_fail(err, MOSA_ENOTFOUND, "%s has no file %s", name->repo, name->file);
}

static bool part_of_folder(const char *name) {
    static const char *const suffixes[] = {".safetensors", ".safetensors.index.json", ".jinja", "tokenizer.model"};
    static const char *const names[] = {"config.json",
                                        "generation_config.json",
                                        "tokenizer.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "added_tokens.json",
                                        "vocab.json",
                                        "merges.txt",
                                        "chat_template.json"};
    if (strchr(name, '/')) return false; // other formats of the same weights live in folders
    for (size_t i = 0; i < MOSA_COUNT(suffixes); i++)
        if (mosa_str_ends_with(name, suffixes[i])) return true;
    for (size_t i = 0; i < MOSA_COUNT(names); i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}

static void list_ggufs(const mosa_hub_listing *listing, mosa_error *err) {
    char text[MOSA_ERROR_HINT_MAX];
    size_t used = (size_t)snprintf(text, sizeof text, "name one of:");
    for (size_t i = 0; i < listing->n_files && used < sizeof text; i++)
        if (mosa_str_ends_with(listing->files[i].name, ".gguf"))
            used += (size_t)snprintf(text + used, sizeof text - used, " %s", listing->files[i].name);
    mosa_hint(err, "%s", text);
}

static mosa_status choose_gguf(const mosa_hub_name *name, mosa_hub_listing *listing, mosa_error *err) {
    const mosa_hub_file *only = NULL, *preferred = NULL;
    int count = 0;
    for (size_t i = 0; i < listing->n_files; i++) {
        const mosa_hub_file *file = &listing->files[i];
        if (!mosa_str_ends_with(file->name, ".gguf")) continue;
        only = file;
        count++;
        if (!preferred && strcasestr(file->name, "q4_k_m")) preferred = file;
    }
    const mosa_hub_file *chosen = count == 1 ? only : preferred;
    if (chosen) {
        mosa_hub_name named = {.repo = name->repo, .revision = name->revision, .file = chosen->name};
        return choose_named(&named, listing, err);
    }
    if (count == 0)
        return mosa_fail(err, MOSA_EUNSUPPORTED, "%s holds neither safetensors with a config.json nor GGUF files",
                         name->repo);
    mosa_fail(err, MOSA_EINVALID, "%s holds %d GGUF files and none is Q4_K_M", name->repo, count);
    list_ggufs(listing, err);
    return MOSA_EINVALID;
}

mosa_status mosa_hub_choose(const mosa_hub_name *name, mosa_hub_listing *listing, mosa_error *err) {
    if (name->file) return choose_named(name, listing, err);
    bool config = false, weights = false;
    for (size_t i = 0; i < listing->n_files; i++) {
        config = config || strcmp(listing->files[i].name, "config.json") == 0;
        weights = weights || (part_of_folder(listing->files[i].name) &&
                              mosa_str_ends_with(listing->files[i].name, ".safetensors"));
    }
    if (!config || !weights) return choose_gguf(name, listing, err);
    for (size_t i = 0; i < listing->n_files; i++) listing->files[i].wanted = part_of_folder(listing->files[i].name);
    return MOSA_OK;
}
