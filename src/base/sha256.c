// SHA-256 through OpenSSL's EVP interface.
#include "base/sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct mosa_sha256 {
    EVP_MD_CTX *context;
};

mosa_status mosa_sha256_create(mosa_sha256 **out, mosa_error *err) {
    mosa_sha256 *hash = calloc(1, sizeof *hash);
    if (!hash) return mosa_fail(err, MOSA_ENOMEM, "out of memory for a SHA-256 hash");
    hash->context = EVP_MD_CTX_new();
    if (!hash->context || EVP_DigestInit_ex(hash->context, EVP_sha256(), NULL) != 1) {
        mosa_sha256_destroy(hash);
        return mosa_fail(err, MOSA_ENOMEM, "cannot start a SHA-256 hash");
    }
    *out = hash;
    return MOSA_OK;
}

// After a successful init the calls below fail only on misuse.
void mosa_sha256_update(mosa_sha256 *hash, const void *data, size_t len) {
    EVP_DigestUpdate(hash->context, data, len);
}

void mosa_sha256_finish(mosa_sha256 *hash, unsigned char digest[MOSA_SHA256_BYTES]) {
    EVP_DigestFinal_ex(hash->context, digest, NULL);
    EVP_DigestInit_ex(hash->context, EVP_sha256(), NULL);
}

void mosa_sha256_destroy(mosa_sha256 *hash) {
    if (!hash) return;
    EVP_MD_CTX_free(hash->context);
    free(hash);
}

void mosa_sha256_hex(const unsigned char digest[MOSA_SHA256_BYTES], char hex[MOSA_SHA256_HEX]) {
    for (int i = 0; i < MOSA_SHA256_BYTES; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

static void auto_destroy(mosa_sha256 **hash) {
    mosa_sha256_destroy(*hash);
}

mosa_status mosa_sha256_file(const char *path, char hex[MOSA_SHA256_HEX], mosa_error *err) {
    enum { PIECE_BYTES = 256 << 10 };
    MOSA_AUTO(mosa_auto_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return mosa_fail_errno(err, errno, "%s: cannot open", path);
    MOSA_AUTO_FREE unsigned char *piece = malloc(PIECE_BYTES);
    if (!piece) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path);
    MOSA_AUTO(auto_destroy) mosa_sha256 *hash = NULL;
    MOSA_TRY(mosa_sha256_create(&hash, err));
    for (;;) {
        ssize_t got = read(fd, piece, PIECE_BYTES);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return mosa_fail_errno(err, errno, "%s: cannot read", path);
        if (got == 0) break;
        mosa_sha256_update(hash, piece, (size_t)got);
    }
    unsigned char digest[MOSA_SHA256_BYTES];
    mosa_sha256_finish(hash, digest);
    mosa_sha256_hex(digest, hex);
    return MOSA_OK;
}
