// Lines for people.
#include "cli/train_show.h"

#include "base/clock.h"
#include "base/file.h"

#include <math.h>
#include <stdio.h>

enum { BAR_WIDTH = 24, DRAW_EVERY_MS = 100, COUNT_MAX = 32 };

static double mib(size_t bytes) {
    return (double)bytes / (1 << 20);
}

// 1234567 -> "1.23 M"
static const char *count_text(double value, char out[COUNT_MAX]) {
    if (value < 1e4)
        snprintf(out, COUNT_MAX, "%.0f", value);
    else if (value < 1e6)
        snprintf(out, COUNT_MAX, "%.1f k", value * 1e-3);
    else if (value < 1e9)
        snprintf(out, COUNT_MAX, "%.2f M", value * 1e-6);
    else
        snprintf(out, COUNT_MAX, "%.2f G", value * 1e-9);
    return out;
}

static const char *time_text(double seconds, char out[COUNT_MAX]) {
    if (!isfinite(seconds))
        snprintf(out, COUNT_MAX, "?");
    else if (seconds < 3600)
        snprintf(out, COUNT_MAX, "%d:%02d", (int)seconds / 60, (int)seconds % 60);
    else
        snprintf(out, COUNT_MAX, "%d:%02d:%02d", (int)(seconds / 3600), (int)seconds / 60 % 60, (int)seconds % 60);
    return out;
}

// --- plan ---------------------------------------------------------------------------------------------------------

static void show_model(const train_show *s, const char *model, const mosa_step *step) {
    char all[COUNT_MAX], trained[COUNT_MAX];
    const mosa_model_source *source = mosa_step_source(step);
    const mosa_params *params = mosa_step_params(step);
    printf("model    %s: %s, %s parameters, %s\n", model, mosa_model_source_arch(source),
           count_text((double)mosa_model_source_parameters(source), all),
           mosa_dtype_name(mosa_model_source_main_dtype(source)));
    printf("trains   %s parameters in %zu tensors", count_text((double)params->n_trained, trained), params->count);
    if (s->plan->lora)
        printf(": LoRA of rank %lld beside %zu matrices", (long long)s->config->lora_rank, params->count / 2);
    printf("; stage %s, %s\n", mosa_train_stage_name(s->plan->stage), mosa_optimizer_name(s->plan->optimizer.kind));
}

static void show_set(const char *title, const train_set *set) {
    char examples[COUNT_MAX], tokens[COUNT_MAX];
    if (set->n_stores == 0) return;
    printf("%-8s %s examples, %s tokens, %.1f%% of them supervised:", title,
           count_text((double)set->examples, examples), count_text((double)set->tokens, tokens),
           100.0 * (double)set->supervised / (double)set->tokens);
    for (size_t i = 0; i < set->n_stores; i++) printf("%s %s", i ? "," : "", set->names[i]);
    printf("\n");
}

static void show_steps(const train_show *s, const mosa_train_cost *cost, int32_t rows) {
    printf(
        "steps    %lld (%.4g epochs of %llu batches, %lld of them a step), batches of up to %d tokens, warm-up %lld\n",
        (long long)cost->total_steps, cost->epochs, (unsigned long long)cost->batches_per_epoch,
        (long long)s->config->gradient_accumulation_steps, rows, (long long)s->plan->schedule.warmup_steps);
    if (cost->first_step > 0) printf("resume   after step %lld\n", (long long)cost->first_step);
}

static void show_memory(const mosa_train_cost *cost) {
    const mosa_step_memory *m = &cost->memory;
    size_t all = m->base + m->trained + m->arenas + m->activations + cost->optimizer_bytes;
    printf(
        "memory   %.1f MiB: weights and gradients %.1f, optimiser %.1f, activations %.1f, computed with %.1f, frozen "
        "%.1f\n",
        mib(all), mib(m->arenas), mib(cost->optimizer_bytes), mib(m->activations), mib(m->trained), mib(m->base));
    if (m->recomputed) printf("         activations of %d layers are computed again on the way back\n", m->recomputed);
    if (cost->checkpoints)
        printf("disk     %.1f MiB for up to %lld checkpoints and the result; %.1f GB are free\n",
               mib((size_t)cost->disk_needed), (long long)cost->checkpoints, (double)cost->disk_free * 1e-9);
}

void train_show_plan(const train_show *show, const char *model, const mosa_step *step, const train_set *train,
                     const train_set *eval, const mosa_train_cost *cost, const char *device, int32_t rows) {
    show_model(show, model, step);
    show_set("data", train);
    show_set("held out", eval);
    show_steps(show, cost, rows);
    show_memory(cost);
    printf("device   %s\n", device);
    if (show->plan->notes[0]) printf("note     no effect here: %s\n", show->plan->notes);
    printf("\n");
    fflush(stdout);
}

// --- while it runs ------------------------------------------------------------------------------------------------

void train_show_clear(const train_show *show) {
    if (show->bar) fprintf(stderr, "\r\033[K");
}

static void draw_blocks(double share) {
    fputc('[', stderr);
    for (int i = 0; i < BAR_WIDTH; i++) fputc(i < (int)(share * BAR_WIDTH + 0.5) ? '#' : '.', stderr);
    fputs("] ", stderr);
}

void train_show_progress(void *user, const mosa_train_progress *p) {
    train_show *s = user;
    char left[COUNT_MAX], rate[COUNT_MAX];
    uint64_t now = mosa_clock_ns();
    if (!s->bar || now - s->drawn_ns < (uint64_t)DRAW_EVERY_MS * 1000000) return;
    s->drawn_ns = now;
    train_show_clear(s);
    if (strcmp(p->doing, "train") != 0) {
        draw_blocks((double)p->part / (double)p->n_parts);
        fprintf(stderr, "%s %lld/%lld", p->doing, (long long)p->part, (long long)p->n_parts);
        return;
    }
    draw_blocks((double)p->step / (double)p->total_steps);
    fprintf(stderr, "%lld/%lld", (long long)p->step, (long long)p->total_steps);
    if (isfinite(p->loss)) fprintf(stderr, "  loss %.4f", p->loss);
    fprintf(stderr, "  %s tok/s", count_text(p->tokens_per_s, rate));
    if (p->share_of_peak > 0) fprintf(stderr, "  %.0f%% of peak", 100 * p->share_of_peak);
    fprintf(stderr, "  %s left", time_text(p->seconds_left, left));
}

static bool is_shown(const char *tag) {
    static const char *const left_out[] = {"total_tokens", "entropy", "eval_entropy", "eval_runtime"};
    for (size_t i = 0; i < MOSA_COUNT(left_out); i++)
        if (strcmp(tag, left_out[i]) == 0) return false;
    return true;
}

void train_show_row(void *user, int64_t step, double epoch, const mosa_scalar *scalars, size_t count) {
    train_show *s = user;
    train_show_clear(s);
    printf("step %lld, epoch %.2f:", (long long)step, epoch);
    for (size_t i = 0; i < count; i++)
        if (is_shown(scalars[i].tag))
            printf(scalars[i].value >= 1e4 ? "  %s %.0f" : "  %s %.4g", scalars[i].tag, scalars[i].value);
    printf("\n");
    fflush(stdout);
}

void train_show_note(void *user, const char *text) {
    train_show_clear(user);
    fprintf(stderr, "%s\n", text);
}

// --- card ---------------------------------------------------------------------------------------------------------

static void card_head(const train_show *s, const char *model, const train_set *train, mosa_buf *out) {
    mosa_buf_printf(out, "---\nbase_model: %s\nlibrary_name: %s\ntags:\n- mosa\n- %s\ndatasets:\n", model,
                    s->plan->lora ? "peft" : "transformers", mosa_train_stage_name(s->plan->stage));
    for (size_t i = 0; i < train->n_stores; i++) mosa_buf_printf(out, "- %s\n", mosa_path_base(train->names[i]));
    const char *name = s->config->run_name ? s->config->run_name : mosa_path_base(s->config->output_dir);
    mosa_buf_printf(out, "---\n\n# %s\n\nMade from `%s` by `mosa train` " MOSA_VERSION ", stage %s, %s.\n\n", name,
                    model, mosa_train_stage_name(s->plan->stage),
                    s->plan->lora                                     ? "LoRA"
                    : strcmp(s->config->finetuning_type, "full") == 0 ? "every weight"
                                                                      : "some weights");
}

static void card_numbers(const train_show *s, const mosa_train_cost *cost, const mosa_train_result *r, mosa_buf *out) {
    const mosa_train_config *c = s->config;
    mosa_buf_printf(out, "| setting | value |\n|---|---|\n| learning_rate | %g |\n| lr_scheduler_type | %s |\n",
                    c->learning_rate, c->lr_scheduler_type);
    mosa_buf_printf(out, "| optim | %s, beta %g %g, epsilon %g, weight_decay %g |\n", c->optim, c->adam_beta1,
                    c->adam_beta2, c->adam_epsilon, c->weight_decay);
    mosa_buf_printf(out, "| batch | %lld x %lld, cutoff_len %lld |\n| steps | %lld (%.4g epochs) |\n| seed | %lld |\n",
                    (long long)c->per_device_train_batch_size, (long long)c->gradient_accumulation_steps,
                    (long long)c->cutoff_len, (long long)r->steps, cost->epochs, (long long)c->seed);
    if (s->plan->lora)
        mosa_buf_printf(out, "| LoRA | rank %lld, alpha %lld%s |\n", (long long)c->lora_rank,
                        (long long)(c->lora_alpha ? c->lora_alpha : 2 * c->lora_rank), c->use_rslora ? ", rsLoRA" : "");
    mosa_buf_printf(out, "\n| result | value |\n|---|---|\n| train_loss | %.6g |\n", r->train_loss);
    for (size_t i = 0; i < r->n_eval; i++) mosa_buf_printf(out, "| %s | %.6g |\n", r->eval[i].tag, r->eval[i].value);
    if (r->skipped) mosa_buf_printf(out, "| skipped steps | %lld |\n", (long long)r->skipped);
}

void train_card(const train_show *show, const char *model, const train_set *train, const mosa_train_cost *cost,
                const mosa_train_result *result, const char *verified, mosa_buf *out) {
    card_head(show, model, train, out);
    card_numbers(show, cost, result, out);
    if (*verified) mosa_buf_printf(out, "\n%s\n", verified);
    mosa_buf_append_str(out, "\n`config.yaml` holds every setting, `metrics.jsonl` and the TensorBoard file the curves "
                             "(`mosa train plot`).\n");
}
