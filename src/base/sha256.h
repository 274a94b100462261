// SHA-256 over bytes, streams and files (OpenSSL).
//
// Thread: functions are reentrant; a running hash belongs to one thread at a time.
#ifndef MOSA_BASE_SHA256_H
#define MOSA_BASE_SHA256_H

#include "base/status.h"

#include <stddef.h>

enum { MOSA_SHA256_BYTES = 32, MOSA_SHA256_HEX = 65 }; // hex: 64 lower-case digits and a NUL

typedef struct mosa_sha256 mosa_sha256;

MOSA_MUST_USE mosa_status mosa_sha256_create(mosa_sha256 **out, mosa_error *err);
void mosa_sha256_update(mosa_sha256 *hash, const void *data, size_t len);
void mosa_sha256_finish(mosa_sha256 *hash, unsigned char digest[MOSA_SHA256_BYTES]); // ready for a new message after
void mosa_sha256_destroy(mosa_sha256 *hash);                                         // NULL-safe

void mosa_sha256_hex(const unsigned char digest[MOSA_SHA256_BYTES], char hex[MOSA_SHA256_HEX]);
// Reads the file once, in pieces. MOSA_ENOTFOUND, MOSA_EIO, MOSA_ENOMEM.
MOSA_MUST_USE mosa_status mosa_sha256_file(const char *path, char hex[MOSA_SHA256_HEX], mosa_error *err);

#endif
