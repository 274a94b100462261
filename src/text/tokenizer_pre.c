// Two tables: rule sets, and the names that use them. Patterns are those of the models' own tokenizer.json.
#include "text/tokenizer_pre.h"

#include "text/scan.h"

#define DIGIT "\\p{N}"
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define CASED_LETTERS                                                                                                  \
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼ"      \
    "ℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
#define BLOOM_WORD " ?[^(\\s|.,!?…。，、।۔،)]+"

enum rules_id {
    GPT2, GPT2_NFC, LLAMA3, LLAMA3_BOS, DIGITS_GPT2, DIGITS_GPT2_NFC, QWEN2, QWEN2_NFC, QWEN35, DEEPSEEK_LLM,
    DEEPSEEK_CODER, DEEPSEEK_V3, FALCON, DEFAULT, TEKKEN, GPT4O, BLOOM, VIKING, SUPERBPE, BAILING, SEED_CODER, RULES_COUNT
};

static const mosa_pre_rules rules[RULES_COUNT] = {
    [GPT2] = {.patterns = {mosa_pattern_gpt2}},
    [GPT2_NFC] = {.patterns = {mosa_pattern_gpt2}, .nfc = true},
    [LLAMA3] = {.patterns = {mosa_pattern_llama3}},
    [LLAMA3_BOS] = {.patterns = {mosa_pattern_llama3}, .ignore_merges = true, .add_bos = true},
    [DIGITS_GPT2] = {.patterns = {DIGIT, mosa_pattern_gpt2}},
    [DIGITS_GPT2_NFC] = {.patterns = {DIGIT, mosa_pattern_gpt2}, .nfc = true},
    [QWEN2] = {.patterns = {mosa_pattern_qwen2}},
    [QWEN2_NFC] = {.patterns = {mosa_pattern_qwen2}, .nfc = true},
    [QWEN35] = {.patterns = {mosa_pattern_qwen35}, .nfc = true},
    [DEEPSEEK_LLM] = {.patterns = {"[\\r\\n]", "\\s?[" CASED_LETTERS "]+", "\\s?[!-/:-~！-／：-～‘-‟　-。]+", "\\s+$",
                                   "[一-龥ࠀ-一가-퟿]+", "\\p{N}+"}},
    [DEEPSEEK_CODER] = {.patterns = {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[一-龥ࠀ-一가-퟿]+", DIGIT}},
    [DEEPSEEK_V3] = {.patterns = {"\\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", mosa_pattern_deepseek_v3}},
    [FALCON] = {.patterns = {"[\\p{P}\\$\\+<=>\\^~\\|`]+", mosa_pattern_gpt2, "[0-9][0-9][0-9]"}},
    [DEFAULT] = {.patterns = {"[\\p{P}\\$\\+<=>\\^~\\|]+", mosa_pattern_gpt2, "\\p{N}+", "[0-9][0-9][0-9]"}},
    [TEKKEN] = {.patterns = {mosa_pattern_tekken}, .ignore_merges = true, .add_bos = true},
    [GPT4O] = {.patterns = {mosa_pattern_o200k}},
    [BLOOM] = {.patterns = {BLOOM_WORD}},
    [VIKING] = {.patterns = {BLOOM_WORD, DIGIT}},
    [SUPERBPE] = {.patterns = {"\\p{N}+", "(?=(\\d{3})+(?!\\d))"}},
    [BAILING] = {.patterns = {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|"
                              "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"}},
    [SEED_CODER] = {.patterns = {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|"
                                              "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
};

static const struct {
    const char *name;
    enum rules_id id;
} names[] = {
    {"default", DEFAULT},          {"gpt-2", GPT2},               {"phi-2", GPT2},
    {"jina-es", GPT2},             {"jina-de", GPT2},             {"jina-v1-en", GPT2},
    {"jina-v2-es", GPT2},          {"jina-v2-de", GPT2},          {"jina-v2-code", GPT2},
    {"gigachat", GPT2},            {"mellum", GPT2},              {"modern-bert", GPT2},
    {"roberta-bpe", GPT2},         {"exaone4", GPT2},             {"mpt", GPT2},
    {"jais", GPT2},                {"trillion", GPT2},            {"granite-docling", GPT2},
    {"a.x-4.0", GPT2},             {"olmo", GPT2_NFC},            {"llama3", LLAMA3_BOS},
    {"llama-v3", LLAMA3_BOS},      {"llama-bpe", LLAMA3_BOS},     {"falcon3", LLAMA3_BOS},
    {"falcon-h1", LLAMA3_BOS},     {"pixtral", LLAMA3_BOS},       {"midm-2.0", LLAMA3_BOS},
    {"lfm2", LLAMA3_BOS},          {"dbrx", LLAMA3},              {"smaug-bpe", LLAMA3},
    {"chatglm-bpe", LLAMA3},       {"glm4", LLAMA3},              {"starcoder", DIGITS_GPT2},
    {"refact", DIGITS_GPT2},       {"smollm", DIGITS_GPT2},       {"codeshell", DIGITS_GPT2},
    {"exaone", DIGITS_GPT2},       {"minerva-7b", DIGITS_GPT2},   {"command-r", DIGITS_GPT2_NFC},
    {"qwen2", QWEN2_NFC},          {"deepseek-r1-qwen", QWEN2_NFC}, {"megrez", QWEN2_NFC},
    {"stablelm2", QWEN2},          {"hunyuan", QWEN2},            {"grok-2", QWEN2},
    {"qwen35", QWEN35},            {"deepseek-llm", DEEPSEEK_LLM}, {"deepseek-coder", DEEPSEEK_CODER},
    {"deepseek-v3", DEEPSEEK_V3},  {"hunyuan-dense", DEEPSEEK_V3}, {"falcon", FALCON},
    {"tekken", TEKKEN},            {"gpt-4o", GPT4O},             {"llama4", GPT4O},
    {"minimax-m2", GPT4O},         {"poro-chat", BLOOM},          {"bloom", BLOOM},
    {"gpt3-finnish", BLOOM},       {"viking", VIKING},            {"superbpe", SUPERBPE},
    {"bailingmoe", BAILING},       {"bailingmoe2", BAILING},      {"seed-coder", SEED_CODER},
};

const mosa_pre_rules *mosa_pre_find(mosa_slice name) {
    for (size_t i = 0; i < MOSA_COUNT(names); i++) {
        if (mosa_slice_eq(name, mosa_slice_of(names[i].name))) return &rules[names[i].id];
    }
    return NULL;
}
