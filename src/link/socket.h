// Addresses of the link: "fd:N", a unix path, or host:port.
#ifndef MOSA_LINK_SOCKET_H
#define MOSA_LINK_SOCKET_H

#include "base/status.h"

#include <stdbool.h>

typedef enum mosa_link_address_kind { MOSA_LINK_FD, MOSA_LINK_UNIX, MOSA_LINK_TCP } mosa_link_address_kind;

typedef struct mosa_link_address {
    mosa_link_address_kind kind;
    int fd;         // FD
    char path[108]; // UNIX
    char host[256]; // TCP; without brackets
    char port[8];   // TCP
} mosa_link_address;

mosa_status mosa_link_address_parse(const char *text, mosa_link_address *out, mosa_error *err) MOSA_MUST_USE;

// *fd is a listening socket of the caller. A stale unix socket (nobody answers) is replaced; a live one is
// MOSA_EEXISTS.
mosa_status mosa_link_listen(const mosa_link_address *address, int *fd, mosa_error *err) MOSA_MUST_USE;
// *fd is a connected socket of the caller. Blocks as connect does.
mosa_status mosa_link_connect(const mosa_link_address *address, int *fd, mosa_error *err) MOSA_MUST_USE;

#endif
