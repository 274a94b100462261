// A bounded reader of protocol buffers, and the three messages of sentencepiece_model.proto that matter: ModelProto,
// its pieces, and the trainer's and normaliser's settings. Unknown fields are skipped.
#include "text/tokenizer_sentencepiece.h"

#include "text/tokenizer_spec.h"

// --- Protocol buffers -----------------------------------------------------------------------------------------------

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

typedef struct field {
    uint32_t number;
    int wire;
    uint64_t value;   // varint, or the bits of a fixed one
    mosa_slice bytes; // WIRE_BYTES
} field;

static bool read_varint(mosa_slice *in, uint64_t *out) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && in->len; shift += 7) {
        unsigned char byte = (unsigned char)*in->data;
        in->data++;
        in->len--;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            *out = value;
            return true;
        }
    }
    return false;
}

static bool read_fixed(mosa_slice *in, size_t size, uint64_t *out) {
    if (in->len < size) return false;
    *out = 0;
    memcpy(out, in->data, size);
    in->data += size;
    in->len -= size;
    return true;
}

// Takes the next field off `in`. False on bytes that are no field.
static bool read_field(mosa_slice *in, field *out) {
    uint64_t key, len;
    if (!read_varint(in, &key) || key >> 3 > UINT32_MAX) return false;
    *out = (field){.number = (uint32_t)(key >> 3), .wire = (int)(key & 7)};
    switch (out->wire) {
    case WIRE_VARINT:
        return read_varint(in, &out->value);
    case WIRE_FIXED64:
        return read_fixed(in, 8, &out->value);
    case WIRE_FIXED32:
        return read_fixed(in, 4, &out->value);
    case WIRE_BYTES:
        if (!read_varint(in, &len) || len > in->len) return false;
        out->bytes = (mosa_slice){in->data, (size_t)len};
        in->data += len;
        in->len -= (size_t)len;
        return true;
    default:
        return false;
    }
}

static float as_float(uint64_t bits) {
    uint32_t word = (uint32_t)bits;
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

// --- Messages -------------------------------------------------------------------------------------------------------

typedef struct sp_load {
    const char *source;
    mosa_arena *arena;
    mosa_tokenizer_spec spec;
    mosa_token_spec *tokens;
    mosa_added_token_spec *added;
    mosa_normalizer_spec normalizer;
    mosa_decoder_spec decoders[4];
    uint64_t model_type; // 1 unigram, 2 BPE, 3 word, 4 char
    mosa_error *err;
} sp_load;

static mosa_status bad(sp_load *load, const char *what) {
    return mosa_fail(load->err, MOSA_ECORRUPT, "%s: SentencePiece model: %s", load->source, what);
}

static mosa_status read_piece(sp_load *load, mosa_slice in, mosa_token_spec *token) {
    *token = (mosa_token_spec){.text = MOSA_SLICE(""), .type = MOSA_TOKEN_NORMAL};
    field f;
    while (in.len) {
        if (!read_field(&in, &f)) return bad(load, "a piece is cut off");
        if (f.number == 1 && f.wire == WIRE_BYTES) token->text = f.bytes;
        if (f.number == 2 && f.wire == WIRE_FIXED32) token->score = as_float(f.value);
        if (f.number != 3 || f.wire != WIRE_VARINT) continue;
        if (f.value < MOSA_TOKEN_NORMAL || f.value > MOSA_TOKEN_BYTE) return bad(load, "a piece has an unknown type");
        token->type = (mosa_token_type)f.value;
    }
    return MOSA_OK;
}

static mosa_status read_trainer(sp_load *load, mosa_slice in) {
    mosa_special_ids *special = &load->spec.special;
    field f;
    while (in.len) {
        if (!read_field(&in, &f)) return bad(load, "trainer_spec is cut off");
        mosa_token_id id = f.value < MOSA_VOCAB_MAX ? (mosa_token_id)f.value : MOSA_TOKEN_NONE; // -1 = none
        switch (f.number) {
        case 3:
            load->model_type = f.value;
            break;
        case 24:
            load->normalizer.space_suffix = f.value != 0;
            break;
        case 35:
            load->spec.byte_fallback = f.value != 0;
            break;
        case 40:
            special->unk = id;
            break;
        case 41:
            special->bos = id;
            break;
        case 42:
            special->eos = id;
            break;
        case 43:
            special->pad = id;
            break;
        case 44:
            if (f.wire == WIRE_BYTES) load->spec.unk_surface = f.bytes;
            break;
        default:
            break;
        }
    }
    return MOSA_OK;
}

static mosa_status read_normalizer(sp_load *load, mosa_slice in) {
    mosa_normalizer_spec *step = &load->normalizer;
    field f;
    while (in.len) {
        if (!read_field(&in, &f)) return bad(load, "normalizer_spec is cut off");
        if (f.number == 2 && f.wire == WIRE_BYTES) step->content = f.bytes;
        if (f.number == 3) step->dummy_prefix = f.value != 0;
        if (f.number == 4) step->remove_extra_spaces = f.value != 0;
        if (f.number == 5) step->escape_spaces = f.value != 0;
    }
    return MOSA_OK;
}

static mosa_status count_pieces(sp_load *load, mosa_slice in) {
    field f;
    while (in.len) {
        if (!read_field(&in, &f)) return bad(load, "the file is cut off or no such model");
        load->spec.token_count += f.number == 1 && f.wire == WIRE_BYTES;
    }
    if (load->spec.token_count == 0 || load->spec.token_count > MOSA_VOCAB_MAX) {
        return bad(load, "the number of pieces is out of bounds");
    }
    load->tokens = MOSA_ARENA_ARRAY(load->arena, mosa_token_spec, load->spec.token_count);
    load->added = MOSA_ARENA_ARRAY(load->arena, mosa_added_token_spec, load->spec.token_count);
    if (load->tokens && load->added) return MOSA_OK;
    return mosa_fail(load->err, MOSA_ENOMEM, "%s: out of memory for the vocabulary", load->source);
}

static mosa_status read_model(sp_load *load, mosa_slice in) {
    size_t count = 0;
    field f;
    while (in.len && read_field(&in, &f)) {
        if (f.wire != WIRE_BYTES) continue;
        if (f.number == 1) MOSA_TRY(read_piece(load, f.bytes, &load->tokens[count++]));
        if (f.number == 2) MOSA_TRY(read_trainer(load, f.bytes));
        if (f.number == 3) MOSA_TRY(read_normalizer(load, f.bytes));
    }
    return MOSA_OK;
}

// --- Spec -----------------------------------------------------------------------------------------------------------

static void set_steps(sp_load *load) {
    mosa_tokenizer_spec *spec = &load->spec;
    spec->normalizers = &load->normalizer;
    spec->normalizer_count = 1;
    spec->decoders = load->decoders;
    bool strips = load->normalizer.dummy_prefix || load->normalizer.remove_extra_spaces;
    spec->decoder_count = strips ? 4 : 3;
    const mosa_decoder_spec steps[] = {
        {.kind = MOSA_DEC_REPLACE, .pattern = MOSA_SLICE("\xE2\x96\x81"), .content = MOSA_SLICE(" ")},
        {.kind = MOSA_DEC_BYTE_FALLBACK, .pattern = MOSA_SLICE(""), .content = MOSA_SLICE("")},
        {.kind = MOSA_DEC_FUSE, .pattern = MOSA_SLICE(""), .content = MOSA_SLICE("")},
        {.kind = MOSA_DEC_STRIP,
         .pattern = MOSA_SLICE(" "),
         .content = MOSA_SLICE(""),
         .start = load->normalizer.remove_extra_spaces ? SIZE_MAX : 1},
    };
    memcpy(load->decoders, steps, sizeof steps);
}

// Control tokens can be spelled in trusted text only; user-defined pieces are the model's own business.
static void set_added(sp_load *load) {
    mosa_tokenizer_spec *spec = &load->spec;
    for (size_t i = 0; i < spec->token_count; i++) {
        mosa_token_spec *token = &load->tokens[i];
        if (token->type == MOSA_TOKEN_UNKNOWN && spec->special.unk == MOSA_TOKEN_NONE)
            spec->special.unk = (mosa_token_id)i;
        if ((token->type != MOSA_TOKEN_CONTROL && token->type != MOSA_TOKEN_UNKNOWN) || token->text.len == 0) continue;
        load->added[spec->added_count++] =
            (mosa_added_token_spec){.text = token->text, .id = (mosa_token_id)i, .special = true};
    }
    spec->tokens = load->tokens;
    spec->added = load->added;
}

// The file does not say what goes around a text; BPE models (Llama) put bos before it, unigram ones (T5) eos behind it.
static void set_around(sp_load *load) {
    mosa_tokenizer_spec *spec = &load->spec;
    if (spec->model == MOSA_MODEL_BPE && spec->special.bos >= 0) {
        spec->prefix_ids = &spec->special.bos;
        spec->prefix_count = 1;
    } else if (spec->model == MOSA_MODEL_UNIGRAM && spec->special.eos >= 0) {
        spec->suffix_ids = &spec->special.eos;
        spec->suffix_count = 1;
    }
}

static void drop_missing(const mosa_tokenizer_spec *spec, mosa_token_id *id) {
    if (*id >= 0 && (size_t)*id >= spec->token_count) *id = MOSA_TOKEN_NONE;
}

static mosa_status load_all(sp_load *load, mosa_slice data, mosa_tokenizer **out) {
    mosa_tokenizer_spec *spec = &load->spec;
    mosa_tokenizer_spec_init(spec, load->source);
    spec->unk_surface = MOSA_SLICE(" \xE2\x81\x87 ");
    spec->special.unk = 0; // the defaults of trainer_spec
    spec->special.bos = 1;
    spec->special.eos = 2;
    load->model_type = 1;
    load->normalizer = (mosa_normalizer_spec){.kind = MOSA_NORM_SENTENCEPIECE,
                                              .pattern = MOSA_SLICE(""),
                                              .content = MOSA_SLICE(""),
                                              .dummy_prefix = true,
                                              .remove_extra_spaces = true,
                                              .escape_spaces = true};
    MOSA_TRY(count_pieces(load, data));
    MOSA_TRY(read_model(load, data));
    if (load->model_type != 1 && load->model_type != 2) {
        return mosa_fail(load->err, MOSA_EUNSUPPORTED,
                         "%s: SentencePiece model of type %llu; 1 (unigram) and 2 (BPE) are supported", load->source,
                         (unsigned long long)load->model_type);
    }
    spec->model = load->model_type == 1 ? MOSA_MODEL_UNIGRAM : MOSA_MODEL_BPE;
    spec->merge_source = MOSA_MERGES_BY_SCORE;
    spec->sentencepiece = spec->fuse_unk = true;
    drop_missing(spec, &spec->special.unk);
    drop_missing(spec, &spec->special.bos);
    drop_missing(spec, &spec->special.eos);
    drop_missing(spec, &spec->special.pad);
    set_added(load);
    set_steps(load);
    set_around(load);
    return mosa_tokenizer_create(spec, out, load->err);
}

mosa_status mosa_tokenizer_from_sentencepiece(mosa_slice data, const char *source, mosa_tokenizer **out,
                                              mosa_error *err) {
    mosa_arena arena;
    mosa_arena_init(&arena, 1 << 20, 0);
    sp_load load = {.source = source, .arena = &arena, .err = err};
    mosa_status status = load_all(&load, data, out);
    mosa_arena_finish(&arena);
    return status;
}
