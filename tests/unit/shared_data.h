// Where the shared test data lies: $MOSA_SHARED, or ../shared beside the source tree.
#ifndef MOSA_TESTS_UNIT_SHARED_DATA_H
#define MOSA_TESTS_UNIT_SHARED_DATA_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

// Puts the path of `name` into `path`. False, with a printed line, when it is not there: the test skips.
static inline bool shared_data_path(const char *name, char *path, size_t size) {
    const char *shared = getenv("MOSA_SHARED");
    snprintf(path, size, "%s/%s", shared ? shared : MOSA_SOURCE_ROOT "/../shared", name);
    if (access(path, R_OK) == 0) return true;
    printf("skipped: %s is not there\n", path);
    return false;
}

#endif
