// Case operations on strings, shared by methods and filters. Values are strings; results keep their marks.
#ifndef MOSA_TEXT_JINJA_CASE_H
#define MOSA_TEXT_JINJA_CASE_H

#include "text/jinja_runtime.h"

void jinja_put_cased(jinja_builder *b, const jinja_str *s, size_t from, size_t to, jinja_case how);
bool jinja_change_case(jinja_rt *rt, jinja_value self, jinja_case how, jinja_value *out);
bool jinja_capitalize(jinja_rt *rt, jinja_value self, jinja_value *out);
bool jinja_swapcase(jinja_rt *rt, jinja_value self, jinja_value *out);
bool jinja_title(jinja_rt *rt, jinja_value self, jinja_value *out);
bool jinja_has_case(const jinja_str *s, bool upper); // isupper() or islower()
bool jinja_is_titled(const jinja_str *s);

// Shared by methods and filters, in jinja_strip.c.
bool jinja_strip(jinja_rt *rt, jinja_value self, jinja_value chars, bool left, bool right, jinja_value *out);
bool jinja_replace(jinja_rt *rt, jinja_value self, const jinja_str *old, const jinja_str *new_text, int64_t count,
                   jinja_value *out);
bool jinja_split_lines(jinja_rt *rt, const jinja_str *s, bool keep_ends, jinja_vec *out);
bool jinja_pad(jinja_rt *rt, jinja_value self, size_t left, size_t right, const jinja_str *fill, jinja_value *out);
bool jinja_center(jinja_rt *rt, jinja_value self, int64_t width, const jinja_str *fill, jinja_value *out);
bool jinja_brace_format(jinja_rt *rt, jinja_value self, const jinja_args *args, jinja_value *out);

#endif
