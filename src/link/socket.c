// Addresses of the link and the sockets behind them.
#include "link/socket.h"
#include "base/str.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 16 };

static mosa_status parse_fd(const char *text, mosa_link_address *out, mosa_error *err) {
    int64_t fd;
    if (!mosa_parse_i64(text, &fd) || fd < 3 || fd > INT32_MAX)
        return mosa_fail(err, MOSA_EINVALID, "link address fd:%s: not a descriptor number from 3 on", text);
    *out = (mosa_link_address){.kind = MOSA_LINK_FD, .fd = (int)fd};
    return MOSA_OK;
}

static mosa_status parse_unix(const char *path, mosa_link_address *out, mosa_error *err) {
    mosa_link_address address = {.kind = MOSA_LINK_UNIX, .fd = -1};
    if (strlen(path) >= sizeof address.path)
        return mosa_fail(err, MOSA_EINVALID, "link address %s: a unix socket's path has at most %zu bytes", path,
                         sizeof address.path - 1);
    memcpy(address.path, path, strlen(path) + 1);
    *out = address;
    return MOSA_OK;
}

mosa_status mosa_link_address_parse(const char *text, mosa_link_address *out, mosa_error *err) {
    if (strncmp(text, "fd:", 3) == 0) return parse_fd(text + 3, out, err);
    if (strncmp(text, "unix:", 5) == 0) return parse_unix(text + 5, out, err);
    if (strchr(text, '/')) return parse_unix(text, out, err);
    const char *colon = strrchr(text, ':');
    mosa_link_address address = {.kind = MOSA_LINK_TCP, .fd = -1};
    size_t host_len = colon ? (size_t)(colon - text) : 0;
    const char *host = text;
    if (host_len >= 2 && text[0] == '[' && text[host_len - 1] == ']') host++, host_len -= 2;
    int64_t port;
    if (!colon || host_len == 0 || host_len >= sizeof address.host || !mosa_parse_i64(colon + 1, &port) || port < 1 ||
        port > 65535) {
        mosa_status refusal =
            mosa_fail(err, MOSA_EINVALID, "link address %s: neither fd:N, nor a path, nor host:port", text);
        mosa_hint(err, "write a unix socket's path with a slash in it, such as ./engine.sock");
        return refusal;
    }
    memcpy(address.host, host, host_len);
    snprintf(address.port, sizeof address.port, "%d", (int)port);
    *out = address;
    return MOSA_OK;
}

static mosa_status fail_and_close(int fd, mosa_error *err, const char *what, const char *where) {
    int cause = errno;
    if (fd >= 0) close(fd);
    return mosa_fail_errno(err, cause, "link: %s %s", what, where);
}

static void unix_sockaddr(const mosa_link_address *address, struct sockaddr_un *out) {
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(out->sun_path, address->path, sizeof address->path);
}

static mosa_status connect_unix(const mosa_link_address *address, int *out, mosa_error *err) {
    struct sockaddr_un where;
    unix_sockaddr(address, &where);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&where, sizeof where) != 0)
        return fail_and_close(fd, err, "connecting to", address->path);
    *out = fd;
    return MOSA_OK;
}

static mosa_status listen_unix(const mosa_link_address *address, int *out, mosa_error *err) {
    int probe;
    if (connect_unix(address, &probe, NULL) == MOSA_OK) {
        close(probe);
        mosa_status refusal = mosa_fail(err, MOSA_EEXISTS, "link: another engine is listening on %s", address->path);
        mosa_hint(err, "choose another address, or stop that engine");
        return refusal;
    }
    struct stat info;
    if (stat(address->path, &info) == 0 && S_ISSOCK(info.st_mode)) unlink(address->path);
    struct sockaddr_un where;
    unix_sockaddr(address, &where);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    // Whoever may open the socket may use the engine: before listen nobody can, so there is no moment of open doors.
    if (fd < 0 || bind(fd, (struct sockaddr *)&where, sizeof where) != 0 || chmod(address->path, 0600) != 0 ||
        listen(fd, BACKLOG) != 0)
        return fail_and_close(fd, err, "listening on", address->path);
    *out = fd;
    return MOSA_OK;
}

typedef int (*bind_or_connect)(int, const struct sockaddr *, socklen_t);

static mosa_status open_tcp(const mosa_link_address *address, bind_or_connect use, const char *what, int *out,
                            mosa_error *err) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *list;
    int fault = getaddrinfo(address->host, address->port, &hints, &list);
    if (fault) return mosa_fail(err, MOSA_ENOTFOUND, "link: host %s: %s", address->host, gai_strerror(fault));
    int fd = -1, cause = 0;
    for (struct addrinfo *at = list; at && fd < 0; at = at->ai_next) {
        fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int on = 1;
        if (fd >= 0) (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (fd >= 0) (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (fd >= 0 && use(fd, at->ai_addr, at->ai_addrlen) == 0) break;
        cause = errno;
        if (fd >= 0) close(fd);
        fd = -1;
    }
    freeaddrinfo(list);
    if (fd < 0) return mosa_fail_errno(err, cause, "link: %s %s:%s", what, address->host, address->port);
    *out = fd;
    return MOSA_OK;
}

mosa_status mosa_link_listen(const mosa_link_address *address, int *out, mosa_error *err) {
    if (address->kind == MOSA_LINK_UNIX) return listen_unix(address, out, err);
    if (address->kind != MOSA_LINK_TCP) return mosa_fail(err, MOSA_EINVALID, "link: cannot listen on a descriptor");
    int fd;
    MOSA_TRY(open_tcp(address, bind, "listening on", &fd, err));
    if (listen(fd, BACKLOG) != 0) return fail_and_close(fd, err, "listening on", address->host);
    *out = fd;
    return MOSA_OK;
}

mosa_status mosa_link_connect(const mosa_link_address *address, int *out, mosa_error *err) {
    if (address->kind == MOSA_LINK_UNIX) return connect_unix(address, out, err);
    if (address->kind == MOSA_LINK_TCP) return open_tcp(address, connect, "connecting to", out, err);
    *out = address->fd;
    return MOSA_OK;
}
