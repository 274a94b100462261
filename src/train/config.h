// The settings of a training run: one table for config.yaml, for flags and for the documentation.
//
// Names and defaults are those that users of transformers' TrainingArguments and LLaMA-Factory know, so that their
// files work. Where Mosa has no use for a known key (overwrite_cache, report_to, ...) it is accepted and noted.
// Strings and lists live in the arena that the values were read into. Thread: plain data.
#ifndef MOSA_TRAIN_CONFIG_H
#define MOSA_TRAIN_CONFIG_H

#include "codec/config.h"
#include "train/optimizer.h"
#include "train/schedule.h"

typedef enum mosa_train_stage {
    MOSA_TRAIN_PT,  // text, every token
    MOSA_TRAIN_SFT, // answers
    MOSA_TRAIN_DPO, // pairs from here on
    MOSA_TRAIN_ORPO,
    MOSA_TRAIN_SIMPO,
    MOSA_TRAIN_KTO, // examples called good or bad
    MOSA_TRAIN_RM,  // a scalar per answer
    MOSA_TRAIN_STAGES
} mosa_train_stage;
enum { MOSA_TRAIN_IGNORED = 45 };

const char *mosa_train_stage_name(mosa_train_stage stage); // "sft"

typedef struct mosa_train_config {
    // model
    const char *model_name_or_path, *tokenizer_name, *config_name, *template, *adapter_name_or_path, *ref_model;
    const char *stage, *finetuning_type, *quantization_bit;
    int64_t lora_rank, lora_alpha;
    double lora_dropout;
    mosa_string_list lora_target;
    bool use_rslora;
    // data
    mosa_string_list dataset, eval_dataset, interleave_probs, column;
    const char *dataset_dir, *mix_strategy, *data_format, *overlong;
    double val_size;
    int64_t cutoff_len, max_samples;
    bool allow_empty_mask, packing, train_on_prompt, mask_history, enable_thinking, disable_shuffling;
    // optimisation
    int64_t per_device_train_batch_size, per_device_eval_batch_size, gradient_accumulation_steps, max_steps;
    double num_train_epochs;
    double learning_rate, weight_decay, adam_beta1, adam_beta2, adam_epsilon, momentum, max_grad_norm;
    const char *optim, *lr_scheduler_type;
    double warmup_ratio, min_lr_ratio, lr_scheduler_cycles, lr_scheduler_power, lr_decay_ratio;
    int64_t warmup_steps;
    const char *lr_decay_type;
    double loss_spike_z;
    int64_t skipped_steps_max;
    bool bf16, fp16, pure_bf16;
    int64_t seed, data_seed;
    // preferences
    double pref_beta, pref_ftx, simpo_gamma, kto_chosen_weight, kto_rejected_weight, dpo_label_smoothing;
    const char *pref_loss;
    // run
    const char *output_dir, *run_name, *resume_from_checkpoint;
    bool overwrite_output_dir, do_eval, load_best_model_at_end, greater_is_better;
    int64_t logging_steps, save_steps, eval_steps, save_total_limit, save_best_limit;
    const char *save_strategy, *eval_strategy, *metric_for_best_model;
    int64_t threads, activation_bytes;
    const char *device, *kv_type;
    // result
    const char *export_format;
    int64_t export_size;
    bool quiet;
    mosa_string_list ignored[MOSA_TRAIN_IGNORED]; // values of keys that are known but of no use
} mosa_train_config;

extern const mosa_option_table mosa_train_options;

// What follows from the settings.
typedef struct mosa_train_plan {
    mosa_train_stage stage;
    bool lora;
    mosa_optimizer_options optimizer;
    mosa_schedule schedule; // total_steps and warmup_steps are set by mosa_train_plan_steps
    mosa_string_list dataset, eval_dataset, lora_target; // commas split
    double *shares;                                      // (dataset.count) or NULL; in the arena
    char notes[512];                                     // settings that have no effect here, or ""
} mosa_train_plan;

// Everything that can be wrong without opening a file: unknown names, contradictions, what is not supported. The
// message names the key as the user wrote it.
MOSA_MUST_USE mosa_status mosa_train_config_check(const mosa_train_config *config, mosa_arena *arena,
                                                  mosa_train_plan *plan, mosa_error *err);

// Sets the schedule's length; warm-up from warmup_steps, else warmup_ratio (rounded up, as transformers does).
void mosa_train_plan_steps(const mosa_train_config *config, int64_t total_steps, mosa_train_plan *plan);

// The settings as YAML that reads back equal: what a run folder keeps.
void mosa_train_config_write(const mosa_train_config *config, mosa_buf *out);

#endif
