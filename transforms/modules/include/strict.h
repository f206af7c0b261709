// strict.h: what gdpr and fraud do with values that they do not understand. The
// options are the same in both, and their defaults refuse:
//
//     "case"            "insensitive": Email is $..email too (default), or "exact"
//     "on_wrong_type"   where a path goes on, there is something else than the
//                       object or array that it needs, or a value is of a type
//                       that a rule cannot judge: "reject" (default), or what
//                       the module offers instead
//     "nested_json"     a text is itself JSON, in which a path would go on:
//                       "reject" (default) or "pass"
//     "on_missing"      a rule's path leads nowhere, or to null: "pass" (default)
//                       or "reject"; a rule's own "on_missing" comes before it
//     "unknown_fields"  a member or element that no path leads to or through:
//                       "pass" (default) or "deny"
//     "known"           with deny: paths of what is allowed, with all below it
//     "framing"         "none" (default), or "confluent": a zero byte and a schema
//                       id of four bytes stand before the JSON
#ifndef GUARDLOCK_STRICT_H
#define GUARDLOCK_STRICT_H

#include "paths.h"

#define STRICT_FRAME 5u  // bytes

#define STRICT_KEYS "case", "on_wrong_type", "nested_json", "on_missing", "unknown_fields", "framing", "known"
enum strict_key { STRICT_CASE, STRICT_WRONG_TYPE, STRICT_NESTED, STRICT_MISSING, STRICT_UNKNOWN, STRICT_FRAMING, STRICT_KNOWN, STRICT_COUNT };

static struct {
    uint32_t exact, lax_type, lax_nested, missing, deny, framed;
} strict;

static const char *const strict_missing[] = {"pass", "reject", NULL};

// strict_option reads one option but known. Names are folded when a path is
// read, so all options come before any path.
GL_COLD bool strict_option(config_value v, int32_t key, const char *const *wrong_type) {
    static const char *const cases[] = {"insensitive", "exact", NULL};
    static const char *const nested[] = {"reject", "pass", NULL};
    static const char *const unknown[] = {"pass", "deny", NULL};
    static const char *const framing[] = {"none", "confluent", NULL};
    switch (key) {
    case STRICT_CASE: return config_choice(v, cases, &strict.exact);
    case STRICT_WRONG_TYPE: return config_choice(v, wrong_type, &strict.lax_type);
    case STRICT_NESTED: return config_choice(v, nested, &strict.lax_nested);
    case STRICT_MISSING: return config_choice(v, strict_missing, &strict.missing);
    case STRICT_UNKNOWN: return config_choice(v, unknown, &strict.deny);
    case STRICT_FRAMING: return config_choice(v, framing, &strict.framed);
    }
    return false;
}

// strict_apply hands the options to the walk.
GL_COLD void strict_apply(bool wrong_type) {
    paths.fold = !strict.exact;
    paths.wrong_type = wrong_type;
    paths.nested = !strict.lax_nested;
    paths.deny = strict.deny;
}

// strict_known reads the list of known places, which means nothing without deny.
GL_COLD bool strict_known(config_value v) {
    config_iter it;
    if (!strict.deny || !config_array(v, &it)) return false;
    while (config_next(&it))
        if (!paths_add_known(it.value)) return false;
    return true;
}

// strict_open finds the JSON of a value; false if it has not the framing that it
// should have.
GL_INLINE bool strict_open(const gl_record *r, uint8_t **json, uint32_t *len) {
    uint32_t frame = strict.framed ? STRICT_FRAME : 0;
    if (GL_UNLIKELY(r->value_len < frame || (frame != 0 && r->value[0] != 0))) return false;
    *json = r->value + frame;
    *len = r->value_len - frame;
    return true;
}

// strict_looks_framed tells whether a value that is not JSON looks like JSON
// behind a frame that the configuration does not speak of.
GL_COLD bool strict_looks_framed(const gl_record *r) {
    if (strict.framed || r->value_len <= STRICT_FRAME || r->value[0] != 0) return false;
    return paths_opens(r->value[STRICT_FRAME]) && r->value[STRICT_FRAME] != '\\';
}

#endif
