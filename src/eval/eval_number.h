// Numbers in answers, in the form in which two of them are compared.
#ifndef MOSA_EVAL_EVAL_NUMBER_H
#define MOSA_EVAL_EVAL_NUMBER_H

#include <stdbool.h>

enum { MOSA_EVAL_NUMBER_MAX = 64 };

// The number behind the first "#### ", or the last number anywhere: digits with a sign and a fraction, without commas,
// currency and a final dot; "3.0" and "3" are equal. False, and out untouched, when there is none.
bool mosa_eval_marked_number(const char *text, char out[MOSA_EVAL_NUMBER_MAX]);
bool mosa_eval_last_number(const char *text, char out[MOSA_EVAL_NUMBER_MAX]);

#endif
