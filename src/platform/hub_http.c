// Transfers from a hub: small answers into memory, files onto disk with resume, retries and checksums.
#include "platform/hub_http.h"

#include "base/clock.h"
#include "base/file.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    CONNECT_TIMEOUT_S = 20,
    SILENCE_S = 60, // a transfer slower than SILENCE_BYTES_PER_S for this long is ended and tried again
    SILENCE_BYTES_PER_S = 1,
    REDIRECTS_MAX = 10,
    TRIES_MAX = 5,
    BACKOFF_MS = 500, // doubled after each try
    CHECK_CHUNK = 1 << 20,
};

static CURL *new_transfer(const mosa_hub *hub, const char *url) {
    CURL *curl = curl_easy_init();
    if (!curl) return NULL;
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)SILENCE_S);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, (long)SILENCE_BYTES_PER_S);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "mosa/" MOSA_VERSION);
    if (hub->token) {
        // libcurl drops these credentials when a redirect leaves the host.
        curl_easy_setopt(curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
        curl_easy_setopt(curl, CURLOPT_XOAUTH2_BEARER, hub->token);
    }
    return curl;
}

static mosa_status http_failure(const char *url, long code, mosa_error *err) {
    if (code == 401 || code == 403) {
        mosa_fail(err, MOSA_EAUTH, "%s: the hub answers %ld: not public, or not for this token", url, code);
        return mosa_hint(err, "set HF_TOKEN to a token that may read it; check the spelling, too");
    }
    if (code == 404) {
        mosa_fail(err, MOSA_ENOTFOUND, "%s: the hub answers 404", url);
        return mosa_hint(err, "check the spelling of the name, the revision and the file");
    }
    return mosa_fail(err, code >= 500 || code == 429 ? MOSA_EUNAVAILABLE : MOSA_EIO, "%s: the hub answers %ld", url,
                     code);
}

static mosa_status curl_failure(const char *url, CURLcode code, mosa_error *err) {
    mosa_fail(err, code == CURLE_WRITE_ERROR ? MOSA_EIO : MOSA_EUNAVAILABLE, "%s: %s", url, curl_easy_strerror(code));
    if (code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_CONNECT)
        return mosa_hint(err, "is the network up? HF_ENDPOINT names another hub or a mirror");
    return err ? err->status : MOSA_EUNAVAILABLE;
}

static size_t append_body(char *bytes, size_t size, size_t count, void *user) {
    mosa_buf *body = user;
    mosa_buf_append(body, bytes, size * count);
    return mosa_buf_failed(body) ? 0 : size * count;
}

mosa_status mosa_hub_http_get(const mosa_hub *hub, const char *url, mosa_buf *body, mosa_error *err) {
    CURL *curl = new_transfer(hub, url);
    if (!curl) return mosa_fail(err, MOSA_ENOMEM, "out of memory for a transfer");
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, append_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, body);
    CURLcode code = curl_easy_perform(curl);
    long http = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &http);
    curl_easy_cleanup(curl);
    if (code != CURLE_OK) return curl_failure(url, code, err);
    return http >= 200 && http < 300 ? MOSA_OK : http_failure(url, http, err);
}

// --- files --------------------------------------------------------------------------------------------------------

typedef struct transfer {
    CURL *curl;
    const mosa_hub_file *file;
    int fd;
    int64_t offset;  // bytes on disk when this try began
    int64_t written; // by this try
    bool checked;    // the answer to the range request has been looked at
    bool oversized;  // more bytes came than the listing promised
    int write_errno;
    uint64_t told_ns; // when progress was last reported
    mosa_hub_progress progress;
    void *user;
    bool stopped; // by the progress callback
} transfer;

// A server that ignores the range sends the whole file: start over.
static bool check_range(transfer *t) {
    long http = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &http);
    t->checked = true;
    if (http >= 300) return true; // an error page: dropped by store_bytes
    if (t->offset > 0 && http != 206) {
        if (ftruncate(t->fd, 0) != 0 || lseek(t->fd, 0, SEEK_SET) < 0) return false;
        t->offset = 0;
    }
    return true;
}

static size_t store_bytes(char *bytes, size_t size, size_t count, void *user) {
    transfer *t = user;
    size_t len = size * count, done = 0;
    long http = 0;
    if (!t->checked && !check_range(t)) return 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &http);
    if (http >= 300) return len;
    int64_t promised = t->file->bytes;
    t->oversized = promised >= 0 && (int64_t)len > promised - t->offset - t->written;
    if (t->oversized) return 0;
    while (done < len) {
        ssize_t n = write(t->fd, bytes + done, len - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            t->write_errno = errno;
            return 0;
        }
        done += (size_t)n;
    }
    t->written += (int64_t)len;
    return len;
}

static int report_progress(void *user, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up_now) {
    transfer *t = user;
    (void)total, (void)now, (void)up_total, (void)up_now;
    uint64_t time = mosa_clock_ns();
    if (!t->progress || time - t->told_ns < 100000000u) return 0;
    t->told_ns = time;
    t->stopped = !t->progress(t->user, t->file->name, t->offset + t->written, t->file->bytes);
    return t->stopped;
}

static mosa_status try_once(const mosa_hub *hub, const char *url, transfer *t, mosa_error *err) {
    t->curl = new_transfer(hub, url);
    if (!t->curl) return mosa_fail(err, MOSA_ENOMEM, "out of memory for a transfer");
    t->offset = lseek(t->fd, 0, SEEK_END);
    t->written = 0;
    t->checked = false;
    // A range, not libcurl's own resume: that one gives up on servers that answer 200 with the whole file.
    char range[32];
    snprintf(range, sizeof range, "%lld-", (long long)t->offset);
    if (t->offset > 0) curl_easy_setopt(t->curl, CURLOPT_RANGE, range);
    curl_easy_setopt(t->curl, CURLOPT_WRITEFUNCTION, store_bytes);
    curl_easy_setopt(t->curl, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(t->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(t->curl, CURLOPT_XFERINFOFUNCTION, report_progress);
    curl_easy_setopt(t->curl, CURLOPT_XFERINFODATA, t);
    CURLcode code = curl_easy_perform(t->curl);
    long http = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &http);
    curl_easy_cleanup(t->curl);
    if (t->stopped)
        return mosa_fail(err, MOSA_ECANCELLED, "%s: stopped; the next pull goes on from here", t->file->name);
    if (t->write_errno) return mosa_fail_errno(err, t->write_errno, "%s: cannot write", t->file->name);
    if (t->oversized)
        return mosa_fail(err, MOSA_ECORRUPT, "%s: the hub sends more than the %lld bytes of its listing", t->file->name,
                         (long long)t->file->bytes);
    if (http == 416 && t->file->bytes >= 0 && t->offset >= t->file->bytes) return MOSA_OK; // all of it is here
    if (code != CURLE_OK) return curl_failure(url, code, err);
    return http >= 200 && http < 300 ? MOSA_OK : http_failure(url, http, err);
}

static mosa_status transfer_with_retries(const mosa_hub *hub, const char *url, transfer *t, mosa_error *err) {
    mosa_status status = MOSA_OK;
    for (int i = 0; i < TRIES_MAX; i++) {
        if (i > 0) mosa_sleep_until(mosa_deadline_in_ms((int64_t)BACKOFF_MS << (i - 1)));
        status = try_once(hub, url, t, err);
        if (status == MOSA_OK || !mosa_status_retryable(status)) break;
    }
    return status;
}

// --- checksums ----------------------------------------------------------------------------------------------------

static void to_hex(const unsigned char *bytes, unsigned n, char *out) {
    for (unsigned i = 0; i < n; i++) snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

// git names a blob by the SHA-1 of "blob <size>\0" and its bytes.
static mosa_status hash_file(const char *path, const EVP_MD *kind, bool git_blob, char hex[2 * EVP_MAX_MD_SIZE + 1],
                             mosa_error *err) {
    MOSA_AUTO(mosa_auto_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0) return mosa_fail_errno(err, errno, "%s", path);
    MOSA_AUTO_FREE char *chunk = malloc(CHECK_CHUNK);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool ok = chunk && context && EVP_DigestInit_ex(context, kind, NULL);
    if (ok && git_blob) {
        int len = snprintf(chunk, CHECK_CHUNK, "blob %lld", (long long)info.st_size);
        ok = EVP_DigestUpdate(context, chunk, (size_t)len + 1);
    }
    ssize_t n = 0;
    while (ok && (n = read(fd, chunk, CHECK_CHUNK)) > 0) ok = EVP_DigestUpdate(context, chunk, (size_t)n);
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    ok = ok && n == 0 && EVP_DigestFinal_ex(context, digest, &len);
    EVP_MD_CTX_free(context);
    if (!ok) return mosa_fail(err, MOSA_EIO, "%s: cannot compute its checksum", path);
    to_hex(digest, len, hex);
    return MOSA_OK;
}

static mosa_status verify(const char *path, const mosa_hub_file *file, mosa_error *err) {
    struct stat info;
    if (stat(path, &info) != 0) return mosa_fail_errno(err, errno, "%s", path);
    if (file->bytes >= 0 && info.st_size != file->bytes)
        return mosa_fail(err, MOSA_ECORRUPT, "%s: %lld bytes came, the hub names %lld", file->name,
                         (long long)info.st_size, (long long)file->bytes);
    const char *wanted = file->sha256 ? file->sha256 : file->blob_id;
    if (!wanted) return MOSA_OK;
    char hex[2 * EVP_MAX_MD_SIZE + 1];
    MOSA_TRY(hash_file(path, file->sha256 ? EVP_sha256() : EVP_sha1(), !file->sha256, hex, err));
    if (strcmp(hex, wanted) == 0) return MOSA_OK;
    return mosa_fail(err, MOSA_ECORRUPT, "%s: its checksum is %s, the hub names %s", file->name, hex, wanted);
}

// --- one file -----------------------------------------------------------------------------------------------------

static mosa_status make_parent(const char *path, mosa_error *err) {
    const char *slash = strrchr(path, '/');
    MOSA_AUTO_FREE char *folder = slash ? strndup(path, (size_t)(slash - path)) : NULL;
    return folder ? mosa_file_mkdirs(folder, err) : MOSA_OK;
}

static mosa_status fetch_to(const mosa_hub *hub, const char *url, const mosa_hub_file *file, const char *path,
                            const char *part, mosa_hub_progress progress, void *user, mosa_error *err) {
    transfer t = {.file = file, .progress = progress, .user = user};
    MOSA_TRY(make_parent(path, err));
    t.fd = open(part, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (t.fd < 0) return mosa_fail_errno(err, errno, "%s", part);
    mosa_status status = transfer_with_retries(hub, url, &t, err);
    if (status == MOSA_OK && fsync(t.fd) != 0) status = mosa_fail_errno(err, errno, "%s", part);
    close(t.fd);
    if (status == MOSA_OK) status = verify(part, file, err);
    if (status == MOSA_ECORRUPT) {
        unlink(part);
        mosa_hint(err, "the partial file was removed; pull again");
    }
    if (status == MOSA_OK && rename(part, path) != 0) status = mosa_fail_errno(err, errno, "%s", path);
    if (status == MOSA_OK && progress) progress(user, file->name, t.offset + t.written, file->bytes);
    return status;
}

static char *escape_path(const char *path) {
    CURL *curl = curl_easy_init();
    char *escaped = curl ? curl_easy_escape(curl, path, 0) : NULL;
    char *copy = escaped ? strdup(escaped) : NULL;
    curl_free(escaped);
    curl_easy_cleanup(curl);
    // Slashes are part of the path, not of a name.
    for (char *slash = copy; copy && (slash = strstr(slash, "%2F"));) {
        *slash++ = '/';
        memmove(slash, slash + 2, strlen(slash + 2) + 1);
    }
    return copy;
}

mosa_status mosa_hub_fetch(const mosa_hub *hub, const mosa_hub_name *name, const mosa_hub_file *file,
                           const char *folder, mosa_hub_progress progress, void *user, mosa_error *err) {
    MOSA_AUTO_FREE char *path = mosa_path_join(folder, file->name);
    MOSA_AUTO_FREE char *escaped = escape_path(file->name);
    char *part = NULL, *url = NULL;
    mosa_status status = MOSA_OK;
    if (!path || !escaped || asprintf(&part, "%s.part", path) < 0 ||
        asprintf(&url, "%s/%s/resolve/%s/%s", hub->endpoint, name->repo, name->revision, escaped) < 0) {
        status = mosa_fail(err, MOSA_ENOMEM, "out of memory for a URL");
    } else if (!mosa_file_exists(path) || verify(path, file, NULL) != MOSA_OK) {
        status = fetch_to(hub, url, file, path, part, progress, user, err);
    } else if (progress) {
        progress(user, file->name, file->bytes, file->bytes);
    }
    free(part);
    free(url);
    return status;
}
