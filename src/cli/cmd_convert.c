// mosa convert: between GGUF files and Hugging Face folders, and to other tensor types.
#include "cli/command.h"
#include "cli/convert.h"

#include "base/file.h"
#include "base/str.h"

#include <stdio.h>
#include <sys/stat.h>

typedef struct convert_values {
    const char *type, *to, *from, *tokenizer, *pre;
    int64_t shard_bytes;
    bool force;
} convert_values;

static const mosa_option options[] = {
    {.flag = "--type",
     .type = MOSA_OPTION_STRING,
     .value = "TYPE",
     .choices = "f32|f16|bf16|q8_0|q4_0|q4_k|q5_k|q6_k",
     .help = "Type of the matrices; by default they keep theirs. Vectors stay f32 in GGUF.",
     MOSA_OPTION_FIELD(convert_values, type)},
    {.flag = "--to",
     .type = MOSA_OPTION_STRING,
     .value = "FORMAT",
     .choices = "gguf|safetensors",
     .help = "Output format; by default gguf when OUT ends in .gguf, else safetensors.",
     MOSA_OPTION_FIELD(convert_values, to)},
    {.flag = "--from",
     .type = MOSA_OPTION_STRING,
     .value = "FORMAT",
     .choices = "auto|llama2c",
     .fallback = "auto",
     .help = "Input format. llama2c is a .bin checkpoint of llama2.c and needs --tokenizer.",
     MOSA_OPTION_FIELD(convert_values, from)},
    {.flag = "--tokenizer",
     .type = MOSA_OPTION_STRING,
     .value = "FILE",
     .help = "Tokenizer file of a llama2.c checkpoint.",
     MOSA_OPTION_FIELD(convert_values, tokenizer)},
    {.flag = "--pre",
     .type = MOSA_OPTION_STRING,
     .value = "NAME",
     .help = "GGUF name of the pre-tokenizer, when it is not recognised.",
     MOSA_OPTION_FIELD(convert_values, pre)},
    {.flag = "--shard-size",
     .type = MOSA_OPTION_BYTES,
     .fallback = "5GB",
     .min = 1,
     .max = 1e15,
     .help = "Largest safetensors file.",
     MOSA_OPTION_FIELD(convert_values, shard_bytes)},
    {.flag = "--force",
     .type = MOSA_OPTION_BOOL,
     .help = "Replace an existing output.",
     MOSA_OPTION_FIELD(convert_values, force)},
};
static const mosa_option_table table = {.options = options, .n_options = MOSA_COUNT(options)};

static mosa_status read_type(const char *name, convert_job *job, mosa_error *err) {
    if (!name) return MOSA_OK;
    job->has_type = true;
    if (!mosa_dtype_from_name(name, &job->type) || !mosa_dtype_traits_of(job->type)->from_f32) {
        mosa_fail(err, MOSA_EINVALID, "--type: '%s' is no type that can be written", name);
        mosa_hint(err, "f32, f16, bf16, q8_0, q4_0, q4_k, q5_k and q6_k can");
        return MOSA_EINVALID;
    }
    if (!job->to_gguf && mosa_dtype_traits_of(job->type)->quantised)
        return mosa_fail(err, MOSA_EINVALID, "--type: safetensors cannot hold %s, only f32, f16 and bf16", name);
    return MOSA_OK;
}

static mosa_status read_formats(const convert_values *values, convert_job *job, mosa_error *err) {
    job->to_gguf = mosa_str_ends_with(job->out, ".gguf");
    if (values->to && strcmp(values->to, "gguf") != 0 && strcmp(values->to, "safetensors") != 0)
        return mosa_fail(err, MOSA_EINVALID, "--to: '%s' is neither gguf nor safetensors", values->to);
    if (values->to) job->to_gguf = strcmp(values->to, "gguf") == 0;
    bool llama2c = strcmp(values->from, "llama2c") == 0;
    if (!llama2c && strcmp(values->from, "auto") != 0)
        return mosa_fail(err, MOSA_EINVALID, "--from: '%s' is neither auto nor llama2c", values->from);
    if (llama2c && (!values->tokenizer || !job->to_gguf))
        return mosa_fail(err, MOSA_EINVALID, "--from llama2c needs --tokenizer FILE and a .gguf output");
    return read_type(values->type, job, err);
}

static bool same_file(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

// An output that is already there is replaced only when told so; the input never.
static mosa_status prepare_output(const convert_job *job, bool force, mosa_error *err) {
    MOSA_AUTO_FREE char *config = mosa_path_join(job->out, "config.json");
    if (!config) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", job->out);
    if (!force && mosa_file_exists(job->to_gguf ? job->out : config)) {
        mosa_fail(err, MOSA_EEXISTS, "%s: there is a model already", job->out);
        mosa_hint(err, "--force replaces it");
        return MOSA_EEXISTS;
    }
    if (same_file(job->in, job->out))
        return mosa_fail(err, MOSA_EINVALID, "%s: input and output are the same", job->out);
    return job->to_gguf ? MOSA_OK : mosa_file_mkdirs(job->out, err);
}

static mosa_status convert_model(convert_job *job, mosa_error *err) {
    mosa_model_source *source;
    MOSA_TRY(mosa_model_source_open(job->in, &source, err));
    bool from_gguf = mosa_model_source_is_gguf(source);
    mosa_status status = from_gguf && job->to_gguf ? convert_gguf_to_gguf(job, source, err)
                         : from_gguf               ? convert_gguf_to_hf(job, source, err)
                         : job->to_gguf            ? convert_hf_to_gguf(job, source, err)
                                                   : convert_hf_to_hf(job, source, err);
    mosa_model_source_close(source);
    return status;
}

static mosa_status run(mosa_command_call *call, mosa_error *err) {
    const convert_values *values = call->values;
    convert_job job = {.in = call->arguments.items[0],
                       .out = call->arguments.items[1],
                       .pre = values->pre,
                       .shard_bytes = (uint64_t)values->shard_bytes,
                       .arena = call->arena};
    MOSA_TRY(read_formats(values, &job, err));
    MOSA_TRY(prepare_output(&job, values->force, err));
    mosa_status status =
        strcmp(values->from, "llama2c") == 0 ? convert_llama2c(&job, values->tokenizer, err) : convert_model(&job, err);
    mosa_gguf_writer_destroy(job.gguf);
    mosa_safetensors_writer_destroy(job.safetensors);
    if (status == MOSA_OK)
        printf("%s: %zu tensors, mostly %s\n", job.out, job.n_tensors, mosa_dtype_name(convert_main_dtype(&job)));
    return status;
}

extern const mosa_command mosa_command_convert;
const mosa_command mosa_command_convert = {
    .name = "convert",
    .group = MOSA_GROUP_MODELS,
    .summary = "Convert between GGUF and Hugging Face, or requantise",
    .usage = "IN OUT",
    .description =
        "IN is a GGUF file or a Hugging Face folder of a llama, mistral, qwen2 or qwen3 model. OUT is a file "
        "ending in .gguf, or a folder that gets safetensors and the JSON files beside them. With q4_0, q4_k and "
        "q5_k the output matrix is kept at q6_k; rows that are no whole blocks become q8_0 or f16.\n\n"
        "  mosa convert ./Qwen3-0.6B qwen3.gguf --type q8_0\n"
        "  mosa convert model-f16.gguf model-q4_k.gguf --type q4_k\n"
        "  mosa convert model.gguf ./folder --type bf16\n"
        "  mosa convert stories.bin stories.gguf --from llama2c --tokenizer tok512.bin",
    .options = &table,
    .values_bytes = sizeof(convert_values),
    .min_arguments = 2,
    .max_arguments = 2,
    .run = run,
};
