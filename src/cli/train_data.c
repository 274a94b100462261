// Names of dataset_info.json, stores in the run's folder, held-out parts.
#include "cli/train_data.h"

#include "base/file.h"
#include "base/log.h"
#include "codec/json.h"
#include "train/data/prepare.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct preparing {
    const mosa_train_config *config;
    const mosa_train_plan *plan;
    const mosa_model_text *text;
    mosa_pool *pool;
    mosa_arena *arena;
    json_t *info; // dataset_info.json, or NULL
    json_t *kwargs;
    bool terminal;
} preparing;

static mosa_status no_memory(mosa_error *err) {
    return mosa_fail(err, MOSA_ENOMEM, "out of memory for the data");
}

// --- names --------------------------------------------------------------------------------------------------------

static mosa_status load_info(preparing *p, mosa_error *err) {
    MOSA_AUTO_FREE char *path = mosa_path_join(p->config->dataset_dir, "dataset_info.json");
    if (!path) return no_memory(err);
    return mosa_file_exists(path) ? mosa_json_load(path, NULL, &p->info, err) : MOSA_OK;
}

static mosa_status unknown_set(const preparing *p, const char *name, mosa_error *err) {
    const char *key, *words[512];
    json_t *value;
    size_t n = 0;
    json_object_foreach(p->info, key, value) if (n < MOSA_COUNT(words)) words[n++] = key;
    const char *nearest = mosa_nearest_word(name, words, n);
    (void)!mosa_fail(err, MOSA_ENOTFOUND, "dataset: '%s' is neither a file nor a name in %s/dataset_info.json", name,
                     p->config->dataset_dir);
    return nearest ? mosa_hint(err, "did you mean %s?", nearest) : MOSA_ENOTFOUND;
}

static mosa_status map_columns(const mosa_string_list *columns, mosa_data_layout *layout, mosa_error *err) {
    for (size_t i = 0; i < columns->count; i++) {
        const char *equals = strchr(columns->items[i], '=');
        if (!equals || !equals[1])
            return mosa_fail(err, MOSA_EINVALID, "column: '%s' is not NAME=FIELD", columns->items[i]);
        mosa_slice name = {columns->items[i], (size_t)(equals - columns->items[i])};
        MOSA_TRY(mosa_data_layout_column(layout, name, equals + 1, err));
        layout->ignore_unknown = true;
    }
    return MOSA_OK;
}

// The path and layout that a name stands for.
static mosa_status find_set(const preparing *p, const char *name, const char **path, mosa_data_layout *layout,
                            mosa_error *err) {
    *layout = (mosa_data_layout){0};
    *path = name;
    if (!mosa_data_format_parse(p->config->data_format, &layout->format) && strcmp(p->config->data_format, "auto") != 0)
        return mosa_fail(err, MOSA_EINVALID, "data_format: '%s' is unknown", p->config->data_format);
    const json_t *entry = json_object_get(p->info, name);
    if (!entry) MOSA_TRY(map_columns(&p->config->column, layout, err));
    if (!entry) return mosa_file_exists(name) ? MOSA_OK : unknown_set(p, name, err);
    const char *file = json_string_value(json_object_get(entry, "file_name"));
    if (!file) {
        (void)!mosa_fail(err, MOSA_EUNSUPPORTED, "%s/dataset_info.json: '%s' has no file_name", p->config->dataset_dir,
                         name);
        return mosa_hint(err, "fetch the data first and name its file");
    }
    MOSA_AUTO_FREE char *joined = mosa_path_join(p->config->dataset_dir, file);
    *path = joined ? mosa_arena_strdup(p->arena, joined) : NULL;
    if (!*path) return no_memory(err);
    return mosa_data_layout_read(entry, layout, err);
}

// --- making stores ------------------------------------------------------------------------------------------------

static void print_issue(void *user, const mosa_data_issue *issue) {
    (void)user;
    fprintf(stderr, "%s\n", issue->error->message);
    if (issue->error->hint[0]) fprintf(stderr, "    %s\n", issue->error->hint);
}

static void print_progress(void *user, const mosa_data_progress *progress) {
    const preparing *p = user;
    if (!p->terminal) return;
    double share = progress->bytes_total ? 100.0 * (double)progress->bytes_done / (double)progress->bytes_total : 0;
    fprintf(stderr, "\r\033[K%s %.0f%%, %llu records", "reading data", share, (unsigned long long)progress->records);
}

static mosa_tokenize_options tokenize_options(const preparing *p) {
    const mosa_train_config *c = p->config;
    static const struct {
        const char *name;
        mosa_overlong rule;
    } rules[] = {{"refuse", MOSA_OVERLONG_REFUSE},
                 {"truncate", MOSA_OVERLONG_TRUNCATE},
                 {"drop", MOSA_OVERLONG_DROP},
                 {"split", MOSA_OVERLONG_SPLIT}};
    mosa_tokenize_options o = {
        .max_tokens = (int32_t)c->cutoff_len, .kwargs = p->kwargs, .allow_empty_mask = c->allow_empty_mask};
    for (size_t i = 0; i < MOSA_COUNT(rules); i++)
        if (strcmp(c->overlong, rules[i].name) == 0) o.overlong = rules[i].rule;
    o.train_on = p->plan->stage == MOSA_TRAIN_PT || c->train_on_prompt ? MOSA_TRAIN_ALL
                 : c->mask_history                                     ? MOSA_TRAIN_LAST
                                                                       : MOSA_TRAIN_ASSISTANT;
    if (p->plan->stage == MOSA_TRAIN_PT) o.overlong = MOSA_OVERLONG_DEFAULT;
    return o;
}

static mosa_status check_kind(const preparing *p, const char *name, const mosa_store_info *info, mosa_error *err) {
    mosa_train_stage stage = p->plan->stage;
    mosa_data_kind wanted = stage == MOSA_TRAIN_KTO ? MOSA_DATA_LABELLED : MOSA_DATA_PAIRS;
    bool fits =
        stage <= MOSA_TRAIN_SFT ? info->kind == MOSA_DATA_TEXT || info->kind == MOSA_DATA_CHAT : info->kind == wanted;
    if (fits) return MOSA_OK;
    return mosa_fail(err, MOSA_EINVALID, "%s: holds %s, stage %s needs %s", name, mosa_data_kind_name(info->kind),
                     mosa_train_stage_name(stage),
                     stage <= MOSA_TRAIN_SFT ? "text or chat" : mosa_data_kind_name(wanted));
}

static mosa_status add_store(train_set *set, const char *name, const char *path, mosa_error *err) {
    mosa_store *store;
    MOSA_TRY(mosa_store_open(path, &store, err));
    mosa_store **stores = realloc(set->stores, (set->n_stores + 1) * sizeof *stores);
    if (stores) set->stores = stores;
    const char **names = realloc(set->names, (set->n_stores + 1) * sizeof *names);
    if (names) set->names = names;
    if (!stores || !names) {
        mosa_store_close(store);
        return no_memory(err);
    }
    const mosa_store_info *info = mosa_store_get_info(store);
    set->names[set->n_stores] = name;
    set->stores[set->n_stores++] = store;
    set->examples += info->n_examples;
    set->tokens += info->n_tokens;
    set->supervised += info->n_supervised;
    set->weight_sum += info->weight_sum;
    if (info->longest > set->longest) set->longest = info->longest;
    return MOSA_OK;
}

static mosa_status prepare_one(preparing *p, const char *name, const char *store_path, mosa_error *err) {
    mosa_prepare_report report = {0};
    const char *path;
    mosa_prepare_options options = {.n_paths = 1,
                                    .tokenize = tokenize_options(p),
                                    .on_issue = print_issue,
                                    .on_progress = print_progress,
                                    .user = p};
    MOSA_TRY(find_set(p, name, &path, &options.layout, err));
    options.paths = &path;
    mosa_status status = mosa_data_prepare_cached(&options, p->text, p->pool, store_path, &report, err);
    if (p->terminal) fprintf(stderr, "\r\033[K");
    MOSA_TRY(status);
    if (report.dropped || report.truncated)
        fprintf(stderr, "%s: %llu of %llu records were truncated, %llu dropped (cutoff_len %lld)\n", name,
                (unsigned long long)report.truncated, (unsigned long long)report.records,
                (unsigned long long)report.dropped, (long long)p->config->cutoff_len);
    return check_kind(p, name, &report.store, err);
}

// --- held-out parts -----------------------------------------------------------------------------------------------

typedef struct cutting {
    const mosa_store *from;
    mosa_store_writer *train, *eval;
    uint64_t units, held_out, seed;
    int32_t *ids;
    float *weight;
} cutting;

static mosa_status copy_units(cutting *c, mosa_error *err) {
    int per_unit = mosa_store_unit_examples(mosa_store_get_info(c->from)->kind);
    for (uint64_t unit = 0; unit < c->units; unit++) {
        // The permutation sends `held_out` units below that number.
        bool held = c->held_out && mosa_data_permute(c->units, c->seed, 0x76616cu, unit) < c->held_out;
        for (int i = 0; i < per_unit; i++) {
            mosa_train_example example;
            uint64_t e = unit * (uint64_t)per_unit + (uint64_t)i;
            MOSA_TRY(mosa_store_read(c->from, e, c->ids, c->weight, &example, err));
            MOSA_TRY(mosa_store_writer_add(held ? c->eval : c->train, &example, err));
        }
    }
    MOSA_TRY(mosa_store_writer_commit(c->train, NULL, err));
    return c->held_out ? mosa_store_writer_commit(c->eval, NULL, err) : MOSA_OK;
}

// Writes the first `units` of a store, less a random part, to one store and that part to another.
static mosa_status cut(const mosa_store *from, uint64_t units, uint64_t held_out, uint64_t seed, const char *train_path,
                       const char *eval_path, mosa_error *err) {
    mosa_store_info info = *mosa_store_get_info(from);
    info.key = mosa_hash_bytes(&(uint64_t[]){units, held_out, seed}, 3 * sizeof(uint64_t), info.key);
    cutting c = {.from = from, .units = units, .held_out = held_out, .seed = seed};
    c.ids = malloc((size_t)info.longest * sizeof *c.ids);
    c.weight = malloc((size_t)info.longest * sizeof *c.weight);
    mosa_status status = c.ids && c.weight ? MOSA_OK : no_memory(err);
    if (status == MOSA_OK) status = mosa_store_writer_create(train_path, &info, &c.train, err);
    if (status == MOSA_OK && held_out) status = mosa_store_writer_create(eval_path, &info, &c.eval, err);
    if (status == MOSA_OK) status = copy_units(&c, err);
    mosa_store_writer_destroy(c.train);
    mosa_store_writer_destroy(c.eval);
    free(c.ids);
    free(c.weight);
    return status;
}

static mosa_status add_cut(preparing *p, const char *name, const char *path, train_set *train, train_set *eval,
                           mosa_error *err) {
    const mosa_train_config *c = p->config;
    mosa_store *whole;
    MOSA_TRY(mosa_store_open(path, &whole, err));
    uint64_t units = mosa_store_units(whole), held = 0;
    if (c->max_samples > 0 && units > (uint64_t)c->max_samples) units = (uint64_t)c->max_samples;
    if (c->val_size > 0 && eval) held = (uint64_t)(c->val_size < 1 ? c->val_size * (double)units + 0.5 : c->val_size);
    mosa_status status = MOSA_OK;
    MOSA_AUTO_FREE char *train_path = NULL, *eval_path = NULL;
    if (asprintf(&train_path, "%s.train", path) < 0 || asprintf(&eval_path, "%s.eval", path) < 0)
        status = no_memory(err);
    else if (held >= units)
        status = mosa_fail(err, MOSA_EINVALID, "val_size %g leaves nothing of %s's %llu examples to train on",
                           c->val_size, name, (unsigned long long)units);
    if (status == MOSA_OK) status = cut(whole, units, held, (uint64_t)c->seed, train_path, eval_path, err);
    mosa_store_close(whole);
    MOSA_TRY(status);
    MOSA_TRY(add_store(train, name, train_path, err));
    return held ? add_store(eval, name, eval_path, err) : MOSA_OK;
}

static mosa_status prepare_list(preparing *p, const mosa_string_list *names, const char *prefix, train_set *train,
                                train_set *eval, mosa_error *err) {
    for (size_t i = 0; i < names->count; i++) {
        MOSA_AUTO_FREE char *path = NULL;
        if (asprintf(&path, "%s/data/%s-%zu.tokens", p->config->output_dir, prefix, i) < 0) return no_memory(err);
        MOSA_TRY(prepare_one(p, names->items[i], path, err));
        bool whole = p->config->max_samples == 0 && (p->config->val_size == 0 || !eval);
        MOSA_TRY(whole ? add_store(train, names->items[i], path, err)
                       : add_cut(p, names->items[i], path, train, eval, err));
    }
    return MOSA_OK;
}

mosa_status train_data_prepare(const mosa_train_config *config, const mosa_train_plan *plan,
                               const mosa_model_text *text, mosa_pool *pool, mosa_arena *arena, train_set *train,
                               train_set *eval, mosa_error *err) {
    preparing p = {config, plan, text, pool, arena, NULL, NULL, isatty(STDERR_FILENO) && !config->quiet};
    MOSA_AUTO_FREE char *folder = mosa_path_join(config->output_dir, "data");
    mosa_status status = folder ? mosa_file_mkdirs(folder, err) : no_memory(err);
    if (!config->enable_thinking) p.kwargs = json_pack("{s:b}", "enable_thinking", 0);
    if (status == MOSA_OK) status = load_info(&p, err);
    if (status == MOSA_OK) status = prepare_list(&p, &plan->dataset, "train", train, eval, err);
    if (status == MOSA_OK) status = prepare_list(&p, &plan->eval_dataset, "eval", eval, NULL, err);
    json_decref(p.info);
    json_decref(p.kwargs);
    return status;
}

// --- loaders ------------------------------------------------------------------------------------------------------

static bool packs(const mosa_train_config *config, const mosa_train_plan *plan) {
    return config->packing || plan->stage == MOSA_TRAIN_PT;
}

int32_t train_data_rows(const mosa_train_config *config, const mosa_train_plan *plan, const train_set *train,
                        const train_set *eval) {
    int64_t longest = train->longest > eval->longest ? train->longest : eval->longest;
    int64_t each = packs(config, plan) ? config->cutoff_len : longest - 1;
    if (plan->stage >= MOSA_TRAIN_DPO && plan->stage != MOSA_TRAIN_KTO) each *= 2;
    int64_t batch = config->per_device_train_batch_size;
    if (eval->n_stores && config->per_device_eval_batch_size > batch) batch = config->per_device_eval_batch_size;
    int64_t rows = each * batch, most = INT32_MAX / 2;
    return (int32_t)(rows < most ? rows : most);
}

mosa_status train_set_load(train_set *set, const mosa_train_config *config, const mosa_train_plan *plan, int32_t rows,
                           bool evaluate, mosa_error *err) {
    int64_t batch = evaluate && config->per_device_eval_batch_size ? config->per_device_eval_batch_size
                                                                   : config->per_device_train_batch_size;
    mosa_loader_options options = {.max_rows = rows,
                                   .max_units = packs(config, plan) ? 0 : (int32_t)batch,
                                   .shuffle = !evaluate && !config->disable_shuffling,
                                   .seed = (uint64_t)(config->data_seed >= 0 ? config->data_seed : config->seed),
                                   .shares = evaluate ? NULL : plan->shares,
                                   .stop = strcmp(config->mix_strategy, "interleave_over") == 0 ? MOSA_MIX_LAST
                                                                                                : MOSA_MIX_FIRST};
    return mosa_loader_create((const mosa_store *const *)set->stores, set->n_stores, &options, &set->loader, err);
}

void train_set_finish(train_set *set) {
    mosa_loader_destroy(set->loader);
    for (size_t i = 0; i < set->n_stores; i++) mosa_store_close(set->stores[i]);
    free(set->stores);
    free(set->names);
    *set = (train_set){0};
}
