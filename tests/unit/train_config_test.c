// Settings: names of transformers and LLaMA-Factory, nearest names, contradictions, what a run folder keeps; the run's
// log and its way through a resume.
#include "base/file.h"
#include "base/out_file.h"
#include "codec/json.h"
#include "codec/yaml.h"
#include "train/config.h"
#include "train/run_log.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static char folder[64];
static mosa_arena arena;
static mosa_train_config config;
static mosa_train_plan plan;

static int start(void **state) {
    (void)state;
    mosa_arena_init(&arena, 0, 0);
    snprintf(folder, sizeof folder, "/tmp/mosa-train-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int stop(void **state) {
    (void)state;
    char command[128];
    mosa_arena_finish(&arena);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static mosa_status read_yaml(const char *yaml, int argc, const char *const *argv, mosa_error *err) {
    MOSA_AUTO_FREE char *path = mosa_path_join(folder, "config.yaml");
    mosa_string_list arguments;
    assert_int_equal(mosa_out_file_save(path, yaml, strlen(yaml), NULL), MOSA_OK);
    mosa_option_sources sources = {.argc = argc, .argv = argv, .yaml_path = path};
    MOSA_TRY(mosa_options_read(&mosa_train_options, &sources, &arena, &config, &arguments, err));
    return mosa_train_config_check(&config, &arena, &plan, err);
}

#define BASE "model_name_or_path: m\ndataset: a, b\noutput_dir: out\n"

static void a_file_of_llama_factory_reads(void **state) {
    (void)state;
    static const char *const argv[] = {"--learning-rate", "2e-4", "--bf16", "True", "--no-packing"};
    mosa_error err = {0};
    assert_int_equal(
        read_yaml(BASE
                  "stage: sft\ndo_train: true\nfinetuning_type: lora\nlora_target: q_proj,v_proj\ntemplate: llama3\n"
                  "cutoff_len: 1024\noverwrite_cache: true\npreprocessing_num_workers: 16\nreport_to: [none]\n"
                  "per_device_train_batch_size: 1\ngradient_accumulation_steps: 8\nlearning_rate: 1.0e-4\n"
                  "num_train_epochs: 3.0\nlr_scheduler_type: cosine\nwarmup_ratio: 0.1\nddp_timeout: 180000000\n"
                  "packing: true\nplot_loss: true\n",
                  5, argv, &err),
        MOSA_OK);
    assert_true(config.learning_rate == 2e-4 && config.bf16 && !config.packing);
    assert_int_equal(plan.stage, MOSA_TRAIN_SFT);
    assert_true(plan.lora);
    assert_int_equal(plan.dataset.count, 2);
    assert_string_equal(plan.dataset.items[1], "b");
    assert_int_equal(plan.lora_target.count, 2);
    assert_non_null(strstr(plan.notes, "preprocessing_num_workers"));
    assert_null(strstr(plan.notes, "packing"));
    mosa_train_plan_steps(&config, 101, &plan);
    assert_int_equal(plan.schedule.warmup_steps, 11);
    assert_int_equal(plan.schedule.kind, MOSA_SCHEDULE_COSINE);
}

static void assert_refused(const char *yaml, const char *message, const char *hint) {
    mosa_error err = {0};
    assert_int_not_equal(read_yaml(yaml, 0, NULL, &err), MOSA_OK);
    if (!strstr(err.message, message)) fail_msg("'%s' does not say '%s'", err.message, message);
    if (!strstr(err.hint, hint)) fail_msg("'%s' does not say '%s'", err.hint, hint);
}

static void what_cannot_work_is_refused_by_its_key(void **state) {
    (void)state;
    assert_refused(BASE "learning_rat: 1e-4\n", "unknown key 'learning_rat'", "did you mean learning_rate?");
    assert_refused(BASE "optim: adamw_torhc\n", "optim: 'adamw_torhc' is unknown", "adamw_torch");
    assert_refused(BASE "lr_scheduler_type: cosin\n", "lr_scheduler_type", "did you mean cosine?");
    assert_refused(BASE "learning_rate: -1\n", "learning_rate: must be 0 to 100", "");
    assert_refused(BASE "stage: ppo\n", "stage: must be pt, sft", "");
    assert_refused(BASE "stage: rm\n", "stage rm", "");
    assert_refused(BASE "fp16: true\n", "use bf16", "");
    assert_refused(BASE "lora_dropout: 0.1\n", "lora_dropout", "");
    assert_refused(BASE "finetuning_type: full\nquantization_bit: 4\n", "quantization_bit", "");
    assert_refused(BASE "eval_strategy: steps\n", "held-out", "");
    assert_refused(BASE "stage: dpo\npacking: true\n", "packing", "");
    assert_refused(BASE "mix_strategy: interleave_under\ninterleave_probs: 0.5\n", "1 weights, dataset has 2", "");
    assert_refused(BASE "mix_strategy: interleave_under\ninterleave_probs: 0.5,x\n", "'x' is no weight", "");
    assert_refused("dataset: a\noutput_dir: o\n", "model_name_or_path is missing", "");
    assert_refused("model_name_or_path: m\noutput_dir: o\n", "dataset is missing", "");
    assert_refused("model_name_or_path: m\ndataset: a\n", "output_dir is missing", "");
    assert_refused(BASE "num_train_epochs: 0\n", "num_train_epochs", "");
}

static void what_a_run_keeps_reads_back_equal(void **state) {
    (void)state;
    mosa_buf first = {0}, second = {0};
    assert_int_equal(read_yaml(BASE
                               "stage: dpo\npref_loss: orpo\nactivation_bytes: 1G\nmax_steps: 7\nrun_name: 'a: \"b\"'\n"
                               "eval_dataset: ['/x y/1,2', 'true', '0']\nadam_epsilon: 1e-6\n",
                               0, NULL, NULL),
                     MOSA_OK);
    assert_int_equal(plan.stage, MOSA_TRAIN_ORPO);
    assert_int_equal(plan.eval_dataset.count, 4);
    mosa_train_config_write(&config, &first);
    assert_int_equal(read_yaml(mosa_buf_str(&first), 0, NULL, NULL), MOSA_OK);
    mosa_train_config_write(&config, &second);
    assert_string_equal(mosa_buf_str(&first), mosa_buf_str(&second));
    assert_null(strstr(mosa_buf_str(&first), "ddp_timeout"));
    mosa_buf_finish(&first);
    mosa_buf_finish(&second);
}

static void crc32c_is_that_of_rfc_3720(void **state) {
    (void)state;
    unsigned char zeros[32] = {0};
    assert_int_equal(mosa_crc32c("123456789", 9), 0xe3069283u);
    assert_int_equal(mosa_crc32c(zeros, sizeof zeros), 0x8a9136aau);
}

static void add_rows(mosa_run_log *log, int64_t from, int64_t to) {
    for (int64_t step = from; step <= to; step++) {
        mosa_scalar train[] = {{"loss", 1.0 / (double)step}, {"grad_norm", step == 2 ? NAN : 0.5}};
        assert_int_equal(mosa_run_log_add(log, step, (double)step / 10, train, 2, NULL), MOSA_OK);
    }
}

static void a_resumed_log_has_each_step_once(void **state) {
    (void)state;
    mosa_run_log *log = NULL;
    json_t *rows = NULL;
    assert_int_equal(mosa_run_log_open(folder, -1, &log, NULL), MOSA_OK);
    add_rows(log, 1, 7);
    mosa_run_log_close(log);
    MOSA_AUTO_FREE char *path = mosa_path_join(folder, "metrics.jsonl");
    FILE *file = fopen(path, "a"); // a crash in the middle of a row
    fputs("{\"step\":8,\"lo", file);
    fclose(file);
    assert_int_equal(mosa_run_log_open(folder, 4, &log, NULL), MOSA_OK);
    add_rows(log, 5, 6);
    mosa_buf text = {0};
    mosa_trainer_state s = {.global_step = 6, .max_steps = 10, .epoch = 0.6, .best_metric = NAN};
    mosa_run_log_state(log, &s, &text);
    json_t *trainer_state = NULL;
    assert_int_equal(mosa_json_parse(mosa_buf_slice(&text), NULL, &trainer_state, NULL), MOSA_OK);
    assert_int_equal(json_array_size(json_object_get(trainer_state, "log_history")), 6);
    assert_true(json_is_null(json_object_get(trainer_state, "best_metric")));
    mosa_run_log_close(log);
    assert_int_equal(mosa_run_log_read(folder, &rows, NULL), MOSA_OK);
    assert_int_equal(json_array_size(rows), 6);
    for (int i = 0; i < 6; i++)
        assert_int_equal(json_integer_value(json_object_get(json_array_get(rows, i), "step")), i + 1);
    assert_true(json_is_null(json_object_get(json_array_get(rows, 1), "grad_norm")));
    json_decref(rows);
    json_decref(trainer_state);
    mosa_buf_finish(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_of_llama_factory_reads, start, stop),
        cmocka_unit_test_setup_teardown(what_cannot_work_is_refused_by_its_key, start, stop),
        cmocka_unit_test_setup_teardown(what_a_run_keeps_reads_back_equal, start, stop),
        cmocka_unit_test_setup_teardown(a_resumed_log_has_each_step_once, start, stop),
        cmocka_unit_test(crc32c_is_that_of_rfc_3720),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
