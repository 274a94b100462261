// The HTTP side of a hub: one small answer into memory. Fetching files is mosa_hub_fetch in hub_http.c.
#ifndef MOSA_PLATFORM_HUB_HTTP_H
#define MOSA_PLATFORM_HUB_HTTP_H

#include "base/str.h"
#include "platform/hub.h"

// Appends the body of a successful GET to *body (bounded by its limit).
mosa_status mosa_hub_http_get(const mosa_hub *hub, const char *url, mosa_buf *body, mosa_error *err);

#endif
