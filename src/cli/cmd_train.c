// mosa train: settings to a run. Everything that can be refused is refused before the first step.
//
//   settings -> plan -> run folder -> text, data -> model -> trainer (resume, disk) -> plan printed -> steps -> result
#include "base/file.h"
#include "base/out_file.h"
#include "cli/command.h"
#include "cli/model_path.h"
#include "cli/train_export.h"
#include "cli/train_show.h"
#include "codec/json.h"
#include "train/checkpoint.h"
#include "train/export.h"
#include "train/init.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

enum { EXIT_STOPPED = 3 };

typedef struct running {
    const mosa_train_config *config;
    mosa_arena *arena;
    mosa_train_plan plan;
    train_show show;
    char *model; // path
    int lock;
    mosa_model_text *text;
    mosa_backend *backend;
    mosa_pool *pool; // that reads data
    train_set train, eval;
    int32_t rows;
    mosa_step *step;
    mosa_trainer *trainer;
    const char *carried[16]; // files that checkpoints carry
    size_t n_carried;
} running;

static volatile sig_atomic_t interrupted;

static void on_signal(int number) {
    interrupted = 1;
    signal(number, SIG_DFL); // a second one ends the process at once
}

static bool wants_stop(void *user) {
    (void)user;
    return interrupted != 0;
}

static mosa_status no_memory(mosa_error *err) {
    return mosa_fail(err, MOSA_ENOMEM, "out of memory for a run");
}

// --- the folder ---------------------------------------------------------------------------------------------------

static bool holds_run(const char *folder) {
    MOSA_AUTO_FREE char *metrics = mosa_path_join(folder, "metrics.jsonl");
    return metrics && mosa_file_exists(metrics);
}

static mosa_status clear_run(const running *r, mosa_error *err) {
    static const char *const names[] = {"metrics.jsonl", "trainer_state.json"};
    for (size_t i = 0; i < MOSA_COUNT(names); i++) {
        MOSA_AUTO_FREE char *path = mosa_path_join(r->config->output_dir, names[i]);
        if (!path) return no_memory(err);
        if (unlink(path) != 0 && errno != ENOENT) return mosa_fail_errno(err, errno, "%s: cannot remove", path);
    }
    return mosa_checkpoint_clear(r->config->output_dir, err);
}

// One process per run: two would mix their metrics.
static mosa_status lock_run(running *r, mosa_error *err) {
    MOSA_AUTO_FREE char *path = mosa_path_join(r->config->output_dir, ".lock");
    if (!path) return no_memory(err);
    r->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (r->lock < 0) return mosa_fail_errno(err, errno, "%s: cannot create", path);
    if (flock(r->lock, LOCK_EX | LOCK_NB) == 0) return MOSA_OK;
    return mosa_fail(err, MOSA_EBUSY, "%s: another mosa train is running in this folder", r->config->output_dir);
}

static mosa_status prepare_folder(running *r, mosa_error *err) {
    MOSA_AUTO_FREE char *path = mosa_path_join(r->config->output_dir, "config.yaml");
    if (!path) return no_memory(err);
    MOSA_TRY(mosa_file_mkdirs(r->config->output_dir, err));
    MOSA_TRY(lock_run(r, err));
    if (r->config->overwrite_output_dir && holds_run(r->config->output_dir)) MOSA_TRY(clear_run(r, err));
    mosa_buf text = {0};
    mosa_train_config_write(r->config, &text);
    mosa_status status = mosa_buf_failed(&text) ? no_memory(err) : mosa_out_file_save(path, text.data, text.len, err);
    mosa_buf_finish(&text);
    return status;
}

// --- model and data -----------------------------------------------------------------------------------------------

static mosa_status find_model(running *r, mosa_error *err) {
    const mosa_train_config *c = r->config;
    if (!c->config_name) return mosa_model_path_find(c->model_name_or_path, &r->model, err);
    r->model = mosa_path_join(c->output_dir, "init");
    MOSA_AUTO_FREE char *done = r->model ? mosa_path_join(r->model, "model.safetensors") : NULL;
    MOSA_AUTO_FREE char *index = r->model ? mosa_path_join(r->model, "model.safetensors.index.json") : NULL;
    if (!done || !index) return no_memory(err);
    if (!c->overwrite_output_dir && (mosa_file_exists(done) || mosa_file_exists(index))) return MOSA_OK;
    return mosa_train_init(c->config_name, c->tokenizer_name, (uint64_t)c->seed, r->model, err);
}

static mosa_status open_text(running *r, mosa_error *err) {
    const mosa_train_config *c = r->config;
    const char *template = c->template && mosa_file_exists(c->template) ? c->template : NULL;
    MOSA_TRY(mosa_model_text_open(c->tokenizer_name ? c->tokenizer_name : r->model, template, &r->text, err));
    if (c->template && !template && !mosa_model_text_get_info(r->text)->has_chat_template &&
        r->plan.stage != MOSA_TRAIN_PT) {
        (void)!mosa_fail(err, MOSA_ENOTFOUND,
                         "template: '%s' is no file, and the model has no chat template of its own", c->template);
        return mosa_hint(err, "give a Jinja file");
    }
    return MOSA_OK;
}

static mosa_status prepare_data(running *r, mosa_error *err) {
    MOSA_TRY(mosa_pool_create((int)r->config->threads, &r->pool, err));
    MOSA_TRY(train_data_prepare(r->config, &r->plan, r->text, r->pool, r->arena, &r->train, &r->eval, err));
    mosa_pool_destroy(r->pool);
    r->pool = NULL;
    r->rows = train_data_rows(r->config, &r->plan, &r->train, &r->eval);
    MOSA_TRY(train_set_load(&r->train, r->config, &r->plan, r->rows, false, err));
    return r->eval.n_stores ? train_set_load(&r->eval, r->config, &r->plan, r->rows, true, err) : MOSA_OK;
}

static mosa_status open_step(running *r, mosa_error *err) {
    const mosa_train_config *c = r->config;
    const char *bits = c->quantization_bit;
    mosa_backend_options backend = {.device = c->device, .threads = (int)c->threads};
    mosa_step_options options = {.model = r->model,
                                 .train = r->plan.lora                              ? MOSA_STEP_LORA
                                          : strcmp(c->finetuning_type, "full") == 0 ? MOSA_STEP_FULL
                                                                                    : MOSA_STEP_NAMED,
                                 .targets = r->plan.lora_target.items,
                                 .n_targets = strcmp(c->finetuning_type, "full") == 0 ? 0 : r->plan.lora_target.count,
                                 .lora_rank = (int)c->lora_rank,
                                 .lora_alpha = (float)(c->lora_alpha ? c->lora_alpha : 2 * c->lora_rank),
                                 .lora_rslora = c->use_rslora,
                                 .seed = (uint64_t)c->seed,
                                 .quantize = !bits                    ? MOSA_F32
                                             : strcmp(bits, "4") == 0 ? MOSA_Q4_K
                                                                      : MOSA_Q8_0,
                                 .compute = c->bf16 || c->pure_bf16 ? MOSA_BF16 : MOSA_F32,
                                 .kv = strcmp(c->kv_type, "f32") == 0 ? MOSA_F32 : MOSA_F16,
                                 .max_rows = r->rows,
                                 .activation_bytes = c->activation_bytes,
                                 .reference = r->plan.lora && r->plan.stage >= MOSA_TRAIN_DPO};
    MOSA_TRY(mosa_backend_open(&backend, &r->backend, err));
    MOSA_TRY(mosa_step_open(r->backend, &options, &r->step, err));
    MOSA_TRY(train_export_check(c, &r->plan, r->step, err));
    if (!c->adapter_name_or_path) return MOSA_OK;
    mosa_export adapter = {
        .step = r->step, .rank = options.lora_rank, .alpha = options.lora_alpha, .rslora = c->use_rslora};
    MOSA_TRY(mosa_import_adapter(&adapter, c->adapter_name_or_path, err));
    return mosa_step_refresh(r->step, false, 0, 0, err);
}

// Files that make a checkpoint of whole weights a model that loads by itself.
static mosa_status list_carried(running *r, mosa_error *err) {
    static const char *const names[] = {"config.json",           "generation_config.json",  "tokenizer.json",
                                        "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
                                        "tokenizer.model"};
    if (r->plan.lora || !mosa_file_is_dir(r->model)) return MOSA_OK;
    for (size_t i = 0; i < MOSA_COUNT(names); i++) {
        MOSA_AUTO_FREE char *path = mosa_path_join(r->model, names[i]);
        char *copy = path ? mosa_arena_strdup(r->arena, path) : NULL;
        if (!copy) return no_memory(err);
        if (mosa_file_exists(copy)) r->carried[r->n_carried++] = copy;
    }
    return MOSA_OK;
}

static mosa_status create_trainer(running *r, mosa_error *err) {
    mosa_device_limits limits = {0};
    MOSA_TRY(list_carried(r, err));
    if (r->backend->ops->measure && r->backend->ops->measure(r->backend, &limits, NULL) != MOSA_OK)
        limits = (mosa_device_limits){0};
    mosa_trainer_options options = {.config = r->config,
                                    .plan = &r->plan,
                                    .step = r->step,
                                    .loader = r->train.loader,
                                    .eval_loader = r->eval.loader,
                                    .stores = (const mosa_store *const *)r->train.stores,
                                    .n_stores = r->train.n_stores,
                                    .eval_stores = (const mosa_store *const *)r->eval.stores,
                                    .n_eval_stores = r->eval.n_stores,
                                    .max_rows = r->rows,
                                    .threads = (int)r->config->threads,
                                    .peak_f32 = limits.f32_ops_per_s,
                                    .files = r->carried,
                                    .n_files = r->n_carried,
                                    .watch = {.user = &r->show,
                                              .progress = train_show_progress,
                                              .logged = train_show_row,
                                              .note = train_show_note,
                                              .stop = wants_stop}};
    MOSA_TRY(mosa_trainer_create(&options, &r->trainer, err));
    mosa_train_plan_steps(r->config, mosa_trainer_cost(r->trainer)->total_steps, &r->plan);
    return MOSA_OK;
}

// --- the end ------------------------------------------------------------------------------------------------------

static mosa_status write_card(const running *r, const mosa_train_result *result, const char *verified,
                              mosa_error *err) {
    mosa_buf text = {0};
    MOSA_AUTO_FREE char *path = mosa_path_join(r->config->output_dir, "README.md");
    const char *base = r->config->model_name_or_path ? r->config->model_name_or_path : r->config->config_name;
    train_card(&r->show, base, &r->train, mosa_trainer_cost(r->trainer), result, verified, &text);
    mosa_status status =
        !path || mosa_buf_failed(&text) ? no_memory(err) : mosa_out_file_save(path, text.data, text.len, err);
    mosa_buf_finish(&text);
    return status;
}

// As transformers' scripts leave them.
static mosa_status write_results(const running *r, const mosa_train_result *result, mosa_error *err) {
    mosa_buf text = {0};
    double steps = (double)(result->steps - result->first_step), seconds = result->seconds > 0 ? result->seconds : 1;
    MOSA_AUTO_FREE char *path = mosa_path_join(r->config->output_dir, "all_results.json");
    MOSA_AUTO_JSON json_t *all =
        json_pack("{s:f, s:f, s:f, s:f, s:f, s:I}", "epoch", result->epoch, "total_flos", result->flops, "train_loss",
                  result->train_loss, "train_runtime", result->seconds, "train_steps_per_second", steps / seconds,
                  "num_input_tokens", (json_int_t)result->tokens);
    for (size_t i = 0; all && i < result->n_eval; i++)
        json_object_set_new(all, result->eval[i].tag, json_real(result->eval[i].value));
    if (all) mosa_json_append_pretty(&text, all);
    mosa_buf_append_char(&text, '\n');
    mosa_status status =
        !all || !path || mosa_buf_failed(&text) ? no_memory(err) : mosa_out_file_save(path, text.data, text.len, err);
    mosa_buf_finish(&text);
    return status;
}

static mosa_status finish_run(running *r, const mosa_train_result *result, mosa_error *err) {
    MOSA_AUTO_FREE char *out = NULL, *verified = NULL;
    printf("\ntrained  %lld steps, %lld tokens in %.1f s (%.0f tokens/s), train_loss %.5g\n", (long long)result->steps,
           (long long)result->tokens, result->seconds,
           result->seconds > 0 ? (double)result->tokens / result->seconds : 0, result->train_loss);
    if (result->skipped) printf("skipped  %lld steps\n", (long long)result->skipped);
    if (result->best_step >= 0)
        printf("best     step %lld: %s %.6g\n", (long long)result->best_step, r->config->metric_for_best_model,
               result->best_metric);
    if (isfinite(result->train_loss)) MOSA_TRY(write_results(r, result, err));
    if (strcmp(r->config->export_format, "none") != 0) {
        MOSA_TRY(train_export(r->config, &r->plan, r->model, r->step, &r->train, r->rows, &out, &verified, err));
        printf("result   %s\n", out);
        if (verified) printf("         %s\n", verified);
    }
    return write_card(r, result, verified ? verified : "", err);
}

static mosa_status train(running *r, mosa_command_call *call, mosa_error *err) {
    mosa_train_result result;
    MOSA_TRY(prepare_folder(r, err));
    MOSA_TRY(find_model(r, err));
    MOSA_TRY(open_text(r, err));
    MOSA_TRY(prepare_data(r, err));
    MOSA_TRY(open_step(r, err));
    MOSA_TRY(create_trainer(r, err));
    train_show_plan(&r->show, r->model, r->step, &r->train, &r->eval, mosa_trainer_cost(r->trainer),
                    r->backend->ops->describe(r->backend), r->rows);
    mosa_status status = mosa_trainer_run(r->trainer, &result, err);
    train_show_clear(&r->show);
    MOSA_TRY(status);
    if (!result.stopped) return finish_run(r, &result, err);
    printf("\nstopped after step %lld%s\n", (long long)result.steps,
           strcmp(r->config->save_strategy, "no") == 0 ? "" : "; the same command goes on from here");
    call->exit_code = EXIT_STOPPED;
    return MOSA_OK;
}

static void finish(running *r) {
    mosa_trainer_destroy(r->trainer);
    mosa_step_close(r->step);
    train_set_finish(&r->train);
    train_set_finish(&r->eval);
    mosa_pool_destroy(r->pool);
    if (r->backend) r->backend->ops->destroy(r->backend);
    mosa_model_text_close(r->text);
    if (r->lock >= 0) close(r->lock);
    free(r->model);
}

static mosa_status run(mosa_command_call *call, mosa_error *err) {
    running r = {.config = call->values, .arena = call->arena, .lock = -1};
    if (call->arguments.count && strstr(call->arguments.items[0], ".y") == NULL &&
        !mosa_str_ends_with(call->arguments.items[0], ".json"))
        return mosa_fail(err, MOSA_EINVALID, "'%s' is no .yaml file of settings", call->arguments.items[0]);
    MOSA_TRY(mosa_train_config_check(r.config, call->arena, &r.plan, err));
    r.show = (train_show){r.config, &r.plan, isatty(STDERR_FILENO) && !r.config->quiet, 0};
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    mosa_status status = train(&r, call, err);
    finish(&r);
    return status;
}

extern const mosa_command mosa_command_train;
const mosa_command mosa_command_train = {
    .name = "train",
    .group = MOSA_GROUP_TRAIN,
    .summary = "Pretrain, fine-tune or align a model",
    .usage = "[CONFIG.yaml] [--KEY VALUE ...]",
    .description =
        "Settings come from a file, from flags of the same names, or both; flags are stronger. Names are those of "
        "transformers and LLaMA-Factory. A run that was stopped, by any means, goes on where its newest checkpoint "
        "is when the same command is given again. The folder then holds config.yaml, metrics.jsonl, TensorBoard "
        "events, trainer_state.json, checkpoints, and the result with its card.\n\n"
        "  mosa train examples/sft.yaml\n"
        "  mosa train --model_name_or_path ./Qwen3-0.6B --dataset chats.jsonl --output_dir runs/chats\n"
        "  mosa train config.yaml --learning_rate 1e-4 --output_dir runs/second",
    .options = &mosa_train_options,
    .values_bytes = sizeof(mosa_train_config),
    .min_arguments = 0,
    .max_arguments = 1,
    .reads_yaml = true,
    .run = run,
};
