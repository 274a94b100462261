// Private to link/: pieces that several messages have.
#ifndef MOSA_LINK_MESSAGE_INTERNAL_H
#define MOSA_LINK_MESSAGE_INTERNAL_H

#include "link/frame.h"

void mosa_link_put_error_body(mosa_buf *out, const mosa_error *error);
void mosa_link_get_error_body(mosa_link_cursor *in, mosa_error *error); // fails for MOSA_OK and unknown statuses

#endif
