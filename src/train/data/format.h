// Formats of training data: which one a record is in, and its checked canonical form.
//
//   text         {"text"}; a line or a whole file of plain text                                        TRL,
//   LLaMA-Factory openai       {"messages": [{"role","content","weight","tool_calls",...}], "tools"} OpenAI, TRL
//   openai-dpo   {"input": {"messages","tools"}, "preferred_output", "non_preferred_output"}           OpenAI
//   alpaca       {"instruction","input","output","system","history"}, + chosen/rejected or kto_tag     LLaMA-Factory
//   sharegpt     {"conversations": [{"from","value"}], "system","tools"}, + chosen/rejected, kto_tag    LLaMA-Factory
//   completion   {"prompt","completion"}: strings or messages; + "label" for KTO                       TRL
//   preference   {"prompt","chosen","rejected"}, prompt may be implicit: strings or messages           TRL
//
// A file holds one format; a record of another is refused. Fields that a format does not know are refused too, with the
// nearest known name, except those that data sets carry along (id, metadata, source, ...).
// Thread: reentrant.
#ifndef MOSA_TRAIN_DATA_FORMAT_H
#define MOSA_TRAIN_DATA_FORMAT_H

#include "train/data/record.h"

typedef enum mosa_data_format {
    MOSA_FORMAT_AUTO,
    MOSA_FORMAT_TEXT,
    MOSA_FORMAT_OPENAI,
    MOSA_FORMAT_OPENAI_DPO,
    MOSA_FORMAT_ALPACA,
    MOSA_FORMAT_SHAREGPT,
    MOSA_FORMAT_COMPLETION,
    MOSA_FORMAT_PREFERENCE,
    MOSA_FORMAT_COUNT
} mosa_data_format;
const char *mosa_data_format_name(mosa_data_format format); // "openai"
bool mosa_data_format_parse(const char *name, mosa_data_format *out);

// How plain text files are cut into documents.
typedef enum mosa_text_unit { MOSA_TEXT_BY_FILE, MOSA_TEXT_BY_LINE, MOSA_TEXT_BY_PARAGRAPH } mosa_text_unit;

// Names of columns and tags, as LLaMA-Factory's dataset_info.json has them. NULL = the format's own.
typedef struct mosa_data_layout {
    mosa_data_format format;
    mosa_text_unit text_unit;
    bool ignore_unknown; // unknown fields are passed over
    const char *prompt, *query, *response, *history, *system, *messages, *tools, *chosen, *rejected, *kto_tag, *text,
        *id;
    const char *role_tag, *content_tag, *user_tag, *assistant_tag, *observation_tag, *function_tag, *system_tag;
} mosa_data_layout;

// Reads an entry of dataset_info.json ("formatting", "ranking", "columns", "tags"). Strings borrow from `entry`.
// MOSA_EINVALID names the member.
MOSA_MUST_USE mosa_status mosa_data_layout_read(const json_t *entry, mosa_data_layout *out, mosa_error *err);

// Maps one column, as in --column prompt=question; `column` is borrowed. MOSA_EINVALID for a name that nothing has.
MOSA_MUST_USE mosa_status mosa_data_layout_column(mosa_data_layout *layout, mosa_slice name, const char *column,
                                                  mosa_error *err);

// The format of a JSON object by its keys; MOSA_EINVALID with what was looked for.
MOSA_MUST_USE mosa_status mosa_data_format_detect(const json_t *object, const mosa_data_layout *layout,
                                                  mosa_data_format *out, mosa_error *err);

// Checks an object and makes it canonical. `format` is not AUTO. Takes `object` over, also on failure.
// Errors: MOSA_EINVALID naming the field, with the remedy as the hint; MOSA_ENOMEM.
MOSA_MUST_USE mosa_status mosa_record_parse(json_t *object, mosa_data_format format, const mosa_data_layout *layout,
                                            mosa_record *out, mosa_error *err);

#endif
