// String formats as patterns. RFC 3339, 5321, 1123, 2673, 4291, 3986, 6901, 4122 and ISO 8601, in the form that a
// regular expression can say; each accepts a subset of its specification that includes all usual spellings.
#include "text/grammar/schema_compiler.h"

#include <string.h>

// One to LONG characters of a host name's label. The third and fourth are not both hyphens: such labels are punycode,
// whose validity is not a regular language. LONG is 5 + REST.
#define ALNUM        "[A-Za-z0-9]"
#define ALNUM_HYPHEN "[A-Za-z0-9-]"
#define HOST_LABEL(REST)                                                                                               \
    ALNUM "(?:" ALNUM "|" ALNUM_HYPHEN ALNUM "|" ALNUM_HYPHEN ALNUM_HYPHEN ALNUM "|" ALNUM_HYPHEN                      \
          "(?:" ALNUM ALNUM_HYPHEN "|-" ALNUM ")" ALNUM_HYPHEN "{0," REST "}" ALNUM ")?"
// At most COUNT + 1 labels; the pairs below keep the whole within 253 characters without counting them.
#define HOST(REST, COUNT) HOST_LABEL(REST) "(?:\\." HOST_LABEL(REST) "){0," COUNT "}"
#define YEAR_29           "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
#define DATE                                                                                                           \
    "(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|"              \
    "02-(?:0[1-9]|1[0-9]|2[0-8]))|" YEAR_29 "-02-29)"
#define HOUR_MIN "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
#define ZONE     "(?:[Zz]|[+-]" HOUR_MIN ")"
#define TIME     HOUR_MIN ":[0-5][0-9](?:\\.[0-9]{1,20})?" ZONE
#define LABEL    "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define ATEXT    "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
#define BYTE10   "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define IPV4     "(?:" BYTE10 "\\.){3}" BYTE10
#define H16      "[0-9A-Fa-f]{1,4}"
#define LS32     "(?:" H16 ":" H16 "|" IPV4 ")"
#define IPV6                                                                                                           \
    "(?:(?:" H16 ":){6}" LS32 "|::(?:" H16 ":){5}" LS32 "|(?:" H16 ")?::(?:" H16 ":){4}" LS32 "|(?:(?:" H16            \
    ":){0,1}" H16 ")?::(?:" H16 ":){3}" LS32 "|(?:(?:" H16 ":){0,2}" H16 ")?::(?:" H16 ":){2}" LS32 "|(?:(?:" H16      \
    ":){0,3}" H16 ")?::" H16 ":" LS32 "|(?:(?:" H16 ":){0,4}" H16 ")?::" LS32 "|(?:(?:" H16 ":){0,5}" H16 ")?::" H16   \
    "|(?:(?:" H16 ":){0,6}" H16 ")?::)"
#define PCT      "%[0-9A-Fa-f]{2}"
#define PCHAR    "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|" PCT ")"
#define REG      "(?:[A-Za-z0-9._~!$&'()*+,;=-]|" PCT ")*"
#define AUTH     "(?:(?:[A-Za-z0-9._~!$&'()*+,;=:-]|" PCT ")*@)?(?:\\[" IPV6 "\\]|" REG ")(?::[0-9]*)?"
#define TAIL     "(?:\\?(?:" PCHAR "|[/?])*)?(?:#(?:" PCHAR "|[/?])*)?"
#define HIER     "(?://" AUTH "(?:/" PCHAR "*)*|/(?:" PCHAR "+(?:/" PCHAR "*)*)?|" PCHAR "+(?:/" PCHAR "*)*|)"
#define SCHEME   "[A-Za-z][A-Za-z0-9+.-]*:"
#define NOCOLON  "(?:[A-Za-z0-9._~!$&'()*+,;=@-]|" PCT ")"
#define RELATIVE "(?://" AUTH "(?:/" PCHAR "*)*|/(?:" PCHAR "+(?:/" PCHAR "*)*)?|" NOCOLON "+(?:/" PCHAR "*)*|)"

static const struct {
    const char *format, *pattern;
} table[] = {
    {"date", "^" DATE "$"},
    {"time", "^" TIME "$"},
    {"date-time", "^" DATE "[Tt]" TIME "$"},
    {"duration", "^P(?:[0-9]+W|(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)(?:T(?:[0-9]+H(?:[0-9]+M("
                 "?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S))?|T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|"
                 "[0-9]+S))$"},
    {"email", "^(?:" ATEXT "(?:\\." ATEXT ")*|\"(?:[ !#-\\[\\]-~]|\\\\[ -~])*\")@(?:" LABEL "(?:\\." LABEL
              ")*|\\[(?:" IPV4 "|IPv6:" IPV6 ")\\])$"},
    {"hostname", "^(?:" HOST("58", "2") "|" HOST("30", "6") "|" HOST("10", "14") ")$"},
    {"ipv4", "^" IPV4 "$"},
    {"ipv6", "^" IPV6 "$"},
    {"uuid", "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$"},
    {"uri", "^" SCHEME HIER TAIL "$"},
    {"uri-reference", "^(?:" SCHEME HIER "|" RELATIVE ")" TAIL "$"},
    {"json-pointer", "^(?:/(?:[^~/]|~[01])*)*$"},
    {"relative-json-pointer", "^(?:0|[1-9][0-9]*)(?:#|(?:/(?:[^~/]|~[01])*)*)$"},
};

const char *schema_format_pattern(const char *format) {
    for (size_t i = 0; i < MOSA_COUNT(table); i++)
        if (strcmp(table[i].format, format) == 0) return table[i].pattern;
    return NULL;
}
