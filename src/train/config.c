// Settings to a plan: names looked up, lists split, contradictions refused.
#include "train/config.h"

#include <math.h>
#include <stdio.h>

static const char *const stage_names[MOSA_TRAIN_STAGES] = {"pt", "sft", "dpo", "orpo", "simpo", "kto", "rm"};

const char *mosa_train_stage_name(mosa_train_stage stage) {
    return stage_names[stage];
}

static bool is(const char *text, const char *word) {
    return text && strcmp(text, word) == 0;
}

// --- lists --------------------------------------------------------------------------------------------------------

// LLaMA-Factory writes lists as "a,b"; YAML as a sequence. Both become items without blanks around them.
static mosa_status split(const mosa_string_list *in, mosa_arena *arena, mosa_string_list *out, mosa_error *err) {
    size_t room = 0, count = 0;
    for (size_t i = 0; i < in->count; i++)
        for (const char *c = in->items[i]; c; c = strchr(c, ',') ? strchr(c, ',') + 1 : NULL) room++;
    const char **items = MOSA_ARENA_ARRAY(arena, const char *, room + 1);
    for (size_t i = 0; items && i < in->count; i++)
        for (const char *c = in->items[i]; c;) {
            size_t len = strcspn(c, ","), from = strspn(c, " "), to = len;
            while (to > from && c[to - 1] == ' ') to--;
            if (to > from) items[count++] = mosa_arena_strndup(arena, c + from, to - from);
            if (to > from && !items[count - 1]) items = NULL;
            c = c[len] && items ? c + len + 1 : NULL;
        }
    if (!items) return mosa_fail(err, MOSA_ENOMEM, "out of memory for a list of settings");
    *out = (mosa_string_list){items, count};
    return MOSA_OK;
}

static mosa_status read_shares(const mosa_train_config *c, mosa_arena *arena, mosa_train_plan *plan, mosa_error *err) {
    mosa_string_list words;
    MOSA_TRY(split(&c->interleave_probs, arena, &words, err));
    if (is(c->mix_strategy, "concat")) {
        if (words.count)
            return mosa_fail(err, MOSA_EINVALID,
                             "interleave_probs needs mix_strategy interleave_under or interleave_over");
        return MOSA_OK;
    }
    if (words.count != plan->dataset.count)
        return mosa_fail(err, MOSA_EINVALID, "interleave_probs has %zu weights, dataset has %zu sets", words.count,
                         plan->dataset.count);
    plan->shares = MOSA_ARENA_ARRAY(arena, double, words.count);
    if (!plan->shares) return mosa_fail(err, MOSA_ENOMEM, "out of memory for interleave_probs");
    for (size_t i = 0; i < words.count; i++)
        if (!mosa_parse_f64(words.items[i], &plan->shares[i]) || !(plan->shares[i] > 0))
            return mosa_fail(err, MOSA_EINVALID, "interleave_probs: '%s' is no weight above 0", words.items[i]);
    return MOSA_OK;
}

// --- checks -------------------------------------------------------------------------------------------------------

static mosa_status check_model(const mosa_train_config *c, mosa_train_plan *plan, mosa_error *err) {
    if (!c->model_name_or_path && !c->config_name)
        return mosa_fail(err, MOSA_EINVALID, "model_name_or_path is missing: the model to start from");
    if (c->config_name && c->model_name_or_path)
        return mosa_fail(err, MOSA_EINVALID,
                         "config_name trains from scratch and model_name_or_path does not; give one");
    if (c->config_name && !c->tokenizer_name)
        return mosa_fail(err, MOSA_EINVALID,
                         "config_name needs tokenizer_name: the folder of the tokenizer to train with");
    plan->lora = is(c->finetuning_type, "lora");
    if (c->config_name && plan->lora)
        return mosa_fail(err, MOSA_EINVALID, "config_name needs finetuning_type full: there is nothing to adapt yet");
    if (c->lora_dropout != 0) return mosa_fail(err, MOSA_EUNSUPPORTED, "lora_dropout: only 0 is supported");
    if (c->ref_model) return mosa_fail(err, MOSA_EUNSUPPORTED, "ref_model: the reference is the model itself");
    if (c->fp16)
        return mosa_fail(err, MOSA_EUNSUPPORTED, "fp16 is not supported; use bf16, which needs no loss scaling");
    if (!plan->lora && c->quantization_bit)
        return mosa_fail(err, MOSA_EINVALID,
                         "quantization_bit needs finetuning_type lora: trained weights are not quantised");
    if (!plan->lora && c->adapter_name_or_path)
        return mosa_fail(err, MOSA_EINVALID, "adapter_name_or_path needs finetuning_type lora");
    if (is(c->finetuning_type, "freeze") && c->lora_target.count == 1 && is(c->lora_target.items[0], "all"))
        return mosa_fail(err, MOSA_EINVALID,
                         "finetuning_type freeze needs lora_target: parts of the names of what is trained");
    return MOSA_OK;
}

static mosa_status unknown_name(const char *key, const char *value, const char *const *names, size_t count,
                                mosa_error *err) {
    const char *nearest = mosa_nearest_word(value, names, count);
    mosa_status status = mosa_fail(err, MOSA_EINVALID, "%s: '%s' is unknown", key, value);
    if (nearest) mosa_hint(err, "did you mean %s?", nearest);
    return status;
}

static mosa_status check_optimizer(const mosa_train_config *c, mosa_train_plan *plan, mosa_error *err) {
    static const char *const optimizers[] = {"adamw_torch", "adamw_8bit", "sgd", "muon"};
    static const char *const schedules[] = {
        "linear",   "cosine", "cosine_with_restarts", "cosine_with_min_lr", "polynomial",
        "constant", "wsd",    "constant_with_warmup", "inverse_sqrt",       "warmup_stable_decay"};
    mosa_optimizer_kind kind;
    mosa_schedule *s = &plan->schedule;
    if (!mosa_optimizer_from_name(c->optim, &kind))
        return unknown_name("optim", c->optim, optimizers, MOSA_COUNT(optimizers), err);
    plan->optimizer = mosa_optimizer_defaults(kind);
    plan->optimizer.beta1 = (float)c->adam_beta1;
    plan->optimizer.beta2 = (float)c->adam_beta2;
    plan->optimizer.eps = (float)c->adam_epsilon;
    plan->optimizer.weight_decay = (float)c->weight_decay;
    if (kind == MOSA_OPTIMIZER_SGD || c->momentum > 0) plan->optimizer.momentum = (float)c->momentum;
    *s =
        (mosa_schedule){.cycles = c->lr_scheduler_cycles, .power = c->lr_scheduler_power, .min_ratio = c->min_lr_ratio};
    if (!mosa_schedule_from_name(c->lr_scheduler_type, &s->kind))
        return unknown_name("lr_scheduler_type", c->lr_scheduler_type, schedules, MOSA_COUNT(schedules), err);
    (void)mosa_decay_from_name(c->lr_decay_type, &s->decay);
    if (c->num_train_epochs <= 0 && c->max_steps <= 0)
        return mosa_fail(err, MOSA_EINVALID, "num_train_epochs or max_steps must be above 0");
    return MOSA_OK;
}

static mosa_status check_run(const mosa_train_config *c, const mosa_train_plan *plan, mosa_error *err) {
    if (!c->output_dir || !*c->output_dir)
        return mosa_fail(err, MOSA_EINVALID, "output_dir is missing: the folder of the run");
    if (plan->dataset.count == 0) return mosa_fail(err, MOSA_EINVALID, "dataset is missing: the data to train on");
    bool held_out = plan->eval_dataset.count > 0 || c->val_size > 0;
    if (plan->eval_dataset.count && c->val_size > 0)
        return mosa_fail(err, MOSA_EINVALID, "val_size and eval_dataset both name held-out data; give one");
    if (!held_out && (!is(c->eval_strategy, "no") || c->do_eval || c->eval_steps > 0))
        return mosa_fail(err, MOSA_EINVALID, "evaluation needs held-out data: eval_dataset or val_size");
    if ((is(c->save_strategy, "best") || c->load_best_model_at_end) && !held_out)
        return mosa_fail(err, MOSA_EINVALID, "%s needs held-out data: eval_dataset or val_size",
                         c->load_best_model_at_end ? "load_best_model_at_end" : "save_strategy best");
    if (c->load_best_model_at_end && (is(c->save_strategy, "no") || c->save_best_limit == 0))
        return mosa_fail(err, MOSA_EINVALID,
                         "load_best_model_at_end needs checkpoints and save_best_limit of at least 1");
    return MOSA_OK;
}

static mosa_status check_stage(const mosa_train_config *c, mosa_train_plan *plan, mosa_error *err) {
    for (int stage = 0; stage < MOSA_TRAIN_STAGES; stage++)
        if (is(c->stage, stage_names[stage])) plan->stage = (mosa_train_stage)stage;
    if (plan->stage == MOSA_TRAIN_DPO && is(c->pref_loss, "orpo")) plan->stage = MOSA_TRAIN_ORPO;
    if (plan->stage == MOSA_TRAIN_DPO && is(c->pref_loss, "simpo")) plan->stage = MOSA_TRAIN_SIMPO;
    if (c->packing && plan->stage > MOSA_TRAIN_SFT)
        return mosa_fail(err, MOSA_EINVALID,
                         "packing is for stages pt and sft; batches of pairs are free of padding anyway");
    if (plan->stage == MOSA_TRAIN_RM)
        return mosa_fail(err, MOSA_EUNSUPPORTED, "stage rm: reward models are not trained yet; dpo needs none");
    if (c->train_on_prompt && c->mask_history)
        return mosa_fail(err, MOSA_EINVALID, "train_on_prompt and mask_history contradict each other");
    return MOSA_OK;
}

static void note_ignored(const mosa_train_config *c, mosa_train_plan *plan) {
    size_t used = 0;
    for (size_t i = 0; i < mosa_train_options.n_options; i++) {
        const mosa_option *option = &mosa_train_options.options[i];
        const mosa_string_list *list = (const mosa_string_list *)((const char *)c + option->offset);
        if (option->help || list->count == 0 || used >= sizeof plan->notes) continue;
        used += (size_t)snprintf(plan->notes + used, sizeof plan->notes - used, "%s%s", used ? ", " : "", option->key);
    }
}

mosa_status mosa_train_config_check(const mosa_train_config *config, mosa_arena *arena, mosa_train_plan *plan,
                                    mosa_error *err) {
    *plan = (mosa_train_plan){0};
    MOSA_TRY(split(&config->dataset, arena, &plan->dataset, err));
    MOSA_TRY(split(&config->eval_dataset, arena, &plan->eval_dataset, err));
    MOSA_TRY(split(&config->lora_target, arena, &plan->lora_target, err));
    if (plan->lora_target.count == 1 && is(plan->lora_target.items[0], "all")) plan->lora_target.count = 0;
    MOSA_TRY(check_model(config, plan, err));
    MOSA_TRY(check_stage(config, plan, err));
    MOSA_TRY(read_shares(config, arena, plan, err));
    MOSA_TRY(check_optimizer(config, plan, err));
    MOSA_TRY(check_run(config, plan, err));
    note_ignored(config, plan);
    return MOSA_OK;
}

void mosa_train_plan_steps(const mosa_train_config *config, int64_t total_steps, mosa_train_plan *plan) {
    plan->schedule.total_steps = total_steps;
    plan->schedule.warmup_steps =
        config->warmup_steps > 0 ? config->warmup_steps : (int64_t)ceil(config->warmup_ratio * (double)total_steps);
    plan->schedule.decay_steps = (int64_t)ceil(config->lr_decay_ratio * (double)total_steps);
}

void mosa_train_config_write(const mosa_train_config *config, mosa_buf *out) {
    mosa_options_show(&mosa_train_options, config, out);
}
