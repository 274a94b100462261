// Pieces that the formats share: checked members, messages in OpenAI's form. Private to this folder's format files.
#ifndef MOSA_TRAIN_DATA_FORMAT_INTERNAL_H
#define MOSA_TRAIN_DATA_FORMAT_INTERNAL_H

#include "train/data/format.h"

enum { FORMAT_WHERE_MAX = 96 };

// A member as a string; absent and null give an empty one unless `needed`. MOSA_EINVALID names the field.
mosa_status format_string(const json_t *object, const char *key, bool needed, mosa_slice *out, mosa_error *err);

// Checks messages[i] of `field` and makes it canonical in place: "developer" is "system", arguments of tool calls are
// objects. Knows roles, contents, weights, tool calls.
mosa_status format_check_message(json_t *message, const char *field, size_t i, const mosa_data_layout *layout,
                                 mosa_error *err);
// All of an array, and that it can be a conversation: tool results follow calls, `ends` = the last one is the
// assistant's.
mosa_status format_check_messages(json_t *messages, const char *field, bool ends, const mosa_data_layout *layout,
                                  mosa_error *err);

// ShareGPT's {"from","value"} list as OpenAI messages; a new array in *out.
mosa_status format_from_sharegpt(const json_t *turns, const char *field, const mosa_data_layout *layout, json_t **out,
                                 mosa_error *err);
// One ShareGPT turn appended to `messages`.
mosa_status format_add_turn(json_t *messages, const json_t *turn, const char *where, const mosa_data_layout *layout,
                            mosa_error *err);
bool format_is_turn(const json_t *value, const mosa_data_layout *layout); // has ShareGPT's members

// Appends {"role": role, "content": text}.
mosa_status format_append(json_t *messages, const char *role, mosa_slice text, mosa_error *err);

// Tools as an array in OpenAI's form: an array, or a string of JSON, with or without {"type","function"} around each.
// *out is a new reference or NULL for none.
mosa_status format_tools(const json_t *value, const char *field, json_t **out, mosa_error *err);

mosa_status format_no_memory(mosa_error *err);

#endif
