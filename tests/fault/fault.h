// Runs an operation again and again, failing its 1st, 2nd, ... Nth allocation, until it succeeds untouched.
//
// The programs are linked with --wrap for the allocation functions (see meson.build), so that every call in our own
// code can be made to fail; jansson is pointed at the same functions where it can take it. Each allocation is failed
// alone (the next one works) and together with all that follow. The operation must then return MOSA_ENOMEM, or succeed
// because it could do without; must not crash, and must leak nothing (the address sanitizer looks).
#ifndef MOSA_TESTS_FAULT_FAULT_H
#define MOSA_TESTS_FAULT_FAULT_H

#include "base/status.h"

// Does the whole operation and releases all of it. `user` is what fault_run was given.
typedef mosa_status (*fault_operation)(void *user, mosa_error *err);

// Fails the running cmocka test on a broken promise. Prints how many allocations there were.
void fault_run(const char *name, fault_operation operation, void *user);

// As fault_run, for operations that parse JSON: jansson's own allocations are left alone, because its lexer asserts
// when one fails in the middle of a token.
void fault_run_json(const char *name, fault_operation operation, void *user);

void fault_setup(void); // once, before anything allocates through jansson

#endif
