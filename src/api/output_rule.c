// Rules of the output. A body has one at most; the field that brings a second one is refused by name.
#include "api/output_rule.h"
#include "api/params.h"
#include "codec/json.h"

static bool fail(mosa_http_request *request, const char *param, const char *what) {
    mosa_api_fail(&request->error, 400, NULL, param, "%s: %s", param, what);
    return false;
}

static bool set(mosa_http_request *request, mosa_output_rule *out, mosa_constraint_kind kind, const char *param) {
    if (out->kind != MOSA_CONSTRAINT_NONE) {
        mosa_api_fail(&request->error, 400, NULL, param, "%s: the output cannot follow it and %s as well.", param,
                      out->param);
        return false;
    }
    out->kind = kind;
    out->param = param;
    return true;
}

// --- the rules, one by one ------------------------------------------------------------------------------------------

static bool read_schema(mosa_http_request *request, mosa_output_rule *out, const json_t *schema, const char *param) {
    MOSA_AUTO_JSON json_t *parsed = NULL;
    mosa_error err;
    if (json_is_string(schema)) {
        mosa_slice text = {json_string_value(schema), json_string_length(schema)};
        if (mosa_json_parse(text, NULL, &parsed, &err) != MOSA_OK) return fail(request, param, err.message);
        schema = parsed;
    }
    if (!json_is_object(schema) && !json_is_boolean(schema))
        return fail(request, param, "must be a JSON Schema, an object.");
    if (!set(request, out, MOSA_CONSTRAINT_JSON_SCHEMA, param)) return false;
    mosa_json_append(&out->text, schema);
    return true;
}

static bool read_text(mosa_http_request *request, mosa_output_rule *out, mosa_constraint_kind kind, const json_t *value,
                      const char *param) {
    if (!json_is_string(value) || json_string_length(value) == 0) return fail(request, param, "must be a text.");
    if (!set(request, out, kind, param)) return false;
    mosa_buf_append(&out->text, json_string_value(value), json_string_length(value));
    return true;
}

static bool read_choices(mosa_http_request *request, mosa_output_rule *out, const json_t *list, const char *param) {
    bool ok = json_array_size(list) > 0;
    for (size_t i = 0; i < json_array_size(list); i++) ok = ok && json_is_string(json_array_get(list, i));
    if (!ok) return fail(request, param, "must be a list of texts, not empty.");
    if (!set(request, out, MOSA_CONSTRAINT_CHOICE, param)) return false;
    mosa_json_append(&out->text, list);
    return true;
}

static bool read_one(mosa_http_request *request, mosa_output_rule *out, mosa_constraint_kind kind, const json_t *value,
                     const char *param) {
    if (!value || json_is_null(value)) return true;
    switch (kind) {
    case MOSA_CONSTRAINT_JSON_SCHEMA:
        return read_schema(request, out, value, param);
    case MOSA_CONSTRAINT_CHOICE:
        return read_choices(request, out, value, param);
    case MOSA_CONSTRAINT_JSON_OBJECT:
        return !json_is_true(value) || set(request, out, kind, param);
    default:
        return read_text(request, out, kind, value, param);
    }
}

// --- where they stand -----------------------------------------------------------------------------------------------

typedef struct field {
    const char *key, *param;
    mosa_constraint_kind kind;
} field;

static const field body_fields[] = {
    {"guided_json", "guided_json", MOSA_CONSTRAINT_JSON_SCHEMA},
    {"guided_regex", "guided_regex", MOSA_CONSTRAINT_REGEX},
    {"guided_choice", "guided_choice", MOSA_CONSTRAINT_CHOICE},
    {"guided_grammar", "guided_grammar", MOSA_CONSTRAINT_GRAMMAR},
};

static const field structured_fields[] = {
    {"json", "structured_outputs.json", MOSA_CONSTRAINT_JSON_SCHEMA},
    {"regex", "structured_outputs.regex", MOSA_CONSTRAINT_REGEX},
    {"choice", "structured_outputs.choice", MOSA_CONSTRAINT_CHOICE},
    {"grammar", "structured_outputs.grammar", MOSA_CONSTRAINT_GRAMMAR},
    {"json_object", "structured_outputs.json_object", MOSA_CONSTRAINT_JSON_OBJECT},
};

static bool read_response_format(mosa_http_request *request, mosa_output_rule *out, const json_t *format) {
    const char *type = json_string_value(json_object_get(format, "type"));
    if (!type || strcmp(type, "text") == 0) return true;
    if (strcmp(type, "json_object") == 0) return set(request, out, MOSA_CONSTRAINT_JSON_OBJECT, "response_format");
    if (strcmp(type, "json_schema") != 0)
        return fail(request, "response_format.type", "must be text, json_object or json_schema.");
    const json_t *described = json_object_get(format, "json_schema");
    const json_t *schema = json_object_get(described, "schema");
    if (!json_is_object(described)) return fail(request, "response_format.json_schema", "is missing.");
    if (!json_is_string(json_object_get(described, "name")))
        return fail(request, "response_format.json_schema.name", "is missing.");
    if (!schema) return fail(request, "response_format.json_schema.schema", "is missing.");
    if (!json_is_object(schema))
        return fail(request, "response_format.json_schema.schema", "must be a JSON Schema, an object.");
    return read_schema(request, out, schema, "response_format.json_schema.schema");
}

bool mosa_output_rule_read(mosa_http_request *request, mosa_output_rule *out) {
    const json_t *body = request->json, *structured = json_object_get(body, "structured_outputs");
    *out = (mosa_output_rule){.kind = MOSA_CONSTRAINT_NONE};
    mosa_buf_init(&out->text, 0);
    bool ok = read_response_format(request, out, json_object_get(body, "response_format"));
    for (size_t i = 0; ok && i < MOSA_COUNT(body_fields); i++) {
        const field *f = &body_fields[i];
        ok = read_one(request, out, f->kind, json_object_get(body, f->key), f->param);
    }
    for (size_t i = 0; ok && i < MOSA_COUNT(structured_fields); i++) {
        const field *f = &structured_fields[i];
        ok = read_one(request, out, f->kind, json_object_get(structured, f->key), f->param);
    }
    if (ok && out->text.len > MOSA_CONSTRAINT_BYTES_MAX) return fail(request, out->param, "has more than 1 MiB.");
    return ok;
}

void mosa_output_rule_finish(mosa_output_rule *rule) {
    mosa_buf_finish(&rule->text);
}
