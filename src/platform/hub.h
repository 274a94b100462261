// Model hubs with Hugging Face's HTTP interface: what a repository holds, and fetching its files.
//
// Files are written beside their final place as "<name>.part", resumed where an earlier try stopped, verified (SHA-256
// for large files, the git blob id for small ones) and only then renamed into place. A file that is there and complete
// is not fetched again. The token is sent to the endpoint only, never to where it redirects.
// Thread: one call at a time per process thread; blocking, with deadlines on silence.
#ifndef MOSA_PLATFORM_HUB_H
#define MOSA_PLATFORM_HUB_H

#include "base/arena.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct mosa_hub {
    const char *endpoint; // "https://huggingface.co", without a slash at the end
    const char *token;    // bearer token or NULL
} mosa_hub;

// Endpoint and token as the environment says: HF_ENDPOINT, HF_TOKEN. Borrowed from it.
mosa_hub mosa_hub_from_env(void);

// "hf:org/name", "org/name", "org/name:file.gguf", "org/name@revision:file".
typedef struct mosa_hub_name {
    const char *repo;     // "org/name"
    const char *revision; // "main" unless given
    const char *file;     // NULL = chosen by mosa_hub_choose
} mosa_hub_name;
mosa_status mosa_hub_parse_name(const char *text, mosa_arena *arena, mosa_hub_name *out, mosa_error *err);

typedef struct mosa_hub_file {
    const char *name;    // path inside the repository; checked to stay inside a folder
    int64_t bytes;       // -1 when the hub does not say
    const char *sha256;  // hex, or NULL
    const char *blob_id; // git's SHA-1 of the blob, hex, or NULL
    bool wanted;         // set by mosa_hub_choose
} mosa_hub_file;

typedef struct mosa_hub_listing {
    mosa_hub_file *files; // (n_files)
    size_t n_files;
} mosa_hub_listing;

// Lists a repository. MOSA_ENOTFOUND (no such repository or revision), MOSA_EAUTH (a token is needed), MOSA_EIO.
mosa_status mosa_hub_list(const mosa_hub *hub, const mosa_hub_name *name, mosa_arena *arena, mosa_hub_listing *out,
                          mosa_error *err);

// Marks the files that make a model: the named one (and its split parts), else safetensors with configuration and
// tokenizer, else the one GGUF file, preferring Q4_K_M when there are several.
mosa_status mosa_hub_choose(const mosa_hub_name *name, mosa_hub_listing *listing, mosa_error *err);

// Called a few times per second; `done` counts what was there before. Returning false ends the transfer, to be resumed.
typedef bool (*mosa_hub_progress)(void *user, const char *file, int64_t done, int64_t total);

// Fetches one file into `folder`. MOSA_ECORRUPT when the bytes do not match their checksum (they are removed).
mosa_status mosa_hub_fetch(const mosa_hub *hub, const mosa_hub_name *name, const mosa_hub_file *file,
                           const char *folder, mosa_hub_progress progress, void *user, mosa_error *err);

#endif
