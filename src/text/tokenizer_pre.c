// Two tables: rule sets, and the names that use them. Patterns are those of the models' own tokenizer.json.
#include "text/tokenizer_pre.h"

#include "text/scan.h"

#define DIGIT        "\\p{N}"
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define CASED_LETTERS                                                                                                  \
    "A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}\\x{1C4}-\\x{293}"                    \
    "\\x{295}-\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}\\x{37F}\\x{386}\\x{388}-\\x{38A}"             \
    "\\x{38C}\\x{38E}-\\x{3A1}\\x{3A3}-\\x{3F5}\\x{3F7}-\\x{481}\\x{48A}-\\x{52F}\\x{531}-\\x{556}"                    \
    "\\x{10A0}-\\x{10C5}\\x{13A0}-\\x{13F5}\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}"                  \
    "\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}\\x{1F18}-\\x{1F1D}"                  \
    "\\x{1F20}-\\x{1F45}\\x{1F48}-\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}\\x{1F5B}\\x{1F5D}\\x{1F5F}-\\x{1F7D}"          \
    "\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}\\x{1FC2}-\\x{1FC4}\\x{1FC6}-\\x{1FCC}\\x{1FD0}-\\x{1FD3}"         \
    "\\x{1FD6}-\\x{1FDB}\\x{1FE0}-\\x{1FEC}\\x{1FF2}-\\x{1FF4}\\x{1FF6}-\\x{1FFC}\\x{2102}\\x{2107}"                   \
    "\\x{210A}-\\x{2113}\\x{2115}\\x{2119}-\\x{211D}\\x{2124}\\x{2126}\\x{2128}\\x{212A}-\\x{212D}"                    \
    "\\x{212F}-\\x{2134}\\x{2139}\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}\\x{214E}\\x{2183}\\x{2184}"                    \
    "\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}\\x{2CEB}-\\x{2CEE}\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}"                   \
    "\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}"                  \
    "\\x{FB00}-\\x{FB06}\\x{FB13}-\\x{FB17}\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}\\x{10400}-\\x{1044F}"                \
    "\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}\\x{10CC0}-\\x{10CF2}\\x{118A0}-\\x{118DF}"        \
    "\\x{1E900}-\\x{1E943}"
#define BLOOM_WORD " ?[^(\\s|.,!?…。，、।۔،)]+"

enum rules_id {
    GPT2,
    GPT2_NFC,
    LLAMA3,
    LLAMA3_BOS,
    DIGITS_GPT2,
    DIGITS_GPT2_NFC,
    QWEN2,
    QWEN2_NFC,
    QWEN35,
    DEEPSEEK_LLM,
    DEEPSEEK_CODER,
    DEEPSEEK_V3,
    FALCON,
    DEFAULT,
    TEKKEN,
    GPT4O,
    BLOOM,
    VIKING,
    SUPERBPE,
    BAILING,
    SEED_CODER,
    RULES_COUNT
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
    [BAILING] =
        {.patterns = {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|"
                      "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"}},
    [SEED_CODER] = {.patterns = {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|"
                                              "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
};

static const struct {
    const char *name;
    enum rules_id id;
} names[] = {
    {"default", DEFAULT},
    {"gpt-2", GPT2},
    {"phi-2", GPT2},
    {"jina-es", GPT2},
    {"jina-de", GPT2},
    {"jina-v1-en", GPT2},
    {"jina-v2-es", GPT2},
    {"jina-v2-de", GPT2},
    {"jina-v2-code", GPT2},
    {"gigachat", GPT2},
    {"mellum", GPT2},
    {"modern-bert", GPT2},
    {"roberta-bpe", GPT2},
    {"exaone4", GPT2},
    {"mpt", GPT2},
    {"jais", GPT2},
    {"trillion", GPT2},
    {"granite-docling", GPT2},
    {"a.x-4.0", GPT2},
    {"olmo", GPT2_NFC},
    {"llama3", LLAMA3_BOS},
    {"llama-v3", LLAMA3_BOS},
    {"llama-bpe", LLAMA3_BOS},
    {"falcon3", LLAMA3_BOS},
    {"falcon-h1", LLAMA3_BOS},
    {"pixtral", LLAMA3_BOS},
    {"midm-2.0", LLAMA3_BOS},
    {"lfm2", LLAMA3_BOS},
    {"dbrx", LLAMA3},
    {"smaug-bpe", LLAMA3},
    {"chatglm-bpe", LLAMA3},
    {"glm4", LLAMA3},
    {"starcoder", DIGITS_GPT2},
    {"refact", DIGITS_GPT2},
    {"smollm", DIGITS_GPT2},
    {"codeshell", DIGITS_GPT2},
    {"exaone", DIGITS_GPT2},
    {"minerva-7b", DIGITS_GPT2},
    {"command-r", DIGITS_GPT2_NFC},
    {"qwen2", QWEN2_NFC},
    {"deepseek-r1-qwen", QWEN2_NFC},
    {"megrez", QWEN2_NFC},
    {"stablelm2", QWEN2},
    {"hunyuan", QWEN2},
    {"grok-2", QWEN2},
    {"qwen35", QWEN35},
    {"deepseek-llm", DEEPSEEK_LLM},
    {"deepseek-coder", DEEPSEEK_CODER},
    {"deepseek-v3", DEEPSEEK_V3},
    {"hunyuan-dense", DEEPSEEK_V3},
    {"falcon", FALCON},
    {"tekken", TEKKEN},
    {"gpt-4o", GPT4O},
    {"llama4", GPT4O},
    {"minimax-m2", GPT4O},
    {"poro-chat", BLOOM},
    {"bloom", BLOOM},
    {"gpt3-finnish", BLOOM},
    {"viking", VIKING},
    {"superbpe", SUPERBPE},
    {"bailingmoe", BAILING},
    {"bailingmoe2", BAILING},
    {"seed-coder", SEED_CODER},
};

const mosa_pre_rules *mosa_pre_find(mosa_slice name) {
    for (size_t i = 0; i < MOSA_COUNT(names); i++) {
        if (mosa_slice_eq(name, mosa_slice_of(names[i].name))) return &rules[names[i].id];
    }
    return NULL;
}
