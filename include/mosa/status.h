// Status codes and the error object, shared by the public library and everything inside.
//
// Functions that can fail return mosa_status and take `mosa_error *err` (NULL allowed) as their last parameter.
// Outputs are written only on success. The error is plain data: no ownership, no process-wide state.
#ifndef MOSA_STATUS_H
#define MOSA_STATUS_H

typedef enum mosa_status {
    MOSA_OK = 0,
    MOSA_EINVALID,     // a request or argument is wrong; the caller must change it
    MOSA_EUNSUPPORTED, // well formed, but we do not do that (an op, a type, a keyword)
    MOSA_ECORRUPT,     // bytes from a file or peer break their format
    MOSA_ENOTFOUND,    // no such model, file, route
    MOSA_EEXISTS,      // it is already there
    MOSA_EAUTH,        // missing or wrong credentials
    MOSA_EFORBIDDEN,   // known caller, not allowed
    MOSA_ECONTEXT,     // prompt does not fit the context window
    MOSA_ELIMIT,       // a configured bound was hit; the message names its configuration key
    MOSA_EBUSY,        // queue full or not ready; retry later
    MOSA_EUNAVAILABLE, // the engine behind the request is gone; retry later
    MOSA_ECANCELLED,   // the caller gave up
    MOSA_ETIMEOUT,     // a deadline passed
    MOSA_EIO,          // the operating system refused; errno is in the message
    MOSA_ENOMEM,       // out of memory
    MOSA_EINTERNAL,    // a broken promise of ours
    MOSA_STATUS_COUNT
} mosa_status;

#define MOSA_MUST_USE __attribute__((warn_unused_result))

enum { MOSA_ERROR_MESSAGE_MAX = 480, MOSA_ERROR_HINT_MAX = 240 };

typedef struct mosa_error {
    mosa_status status;
    char message[MOSA_ERROR_MESSAGE_MAX]; // short, factual, no newline: what was wrong, naming file and field
    char hint[MOSA_ERROR_HINT_MAX];       // what to do about it, or ""
} mosa_error;

#endif
