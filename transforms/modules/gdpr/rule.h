// rule.h: what a rule of gdpr says, and how it is read.
//
// A rule has one place (path, column, header, or in), one action, and what that
// action takes. What an action does not take is refused, so that a typo cannot
// make a rule weaker than it reads.
#ifndef GUARDLOCK_GDPR_RULE_H
#define GUARDLOCK_GDPR_RULE_H

#include "../include/strict.h"

#define MAX_KEEP 64
#define MAX_KEY 255
#define MAX_PURPOSE 128
#define MAX_STEP 1000000000u

// From the one that hides most to the one that hides least.
#ifdef GDPR_KEYS
enum action { DROP, REDACT, HASH, PSEUDONYMISE, TOKENISE, ENCRYPT, FF1, MASK, GENERALISE, FIND, DECRYPT, FF1_DECRYPT };
static const char *const action_names[] = {"drop", "redact", "hash", "pseudonymise", "tokenise", "encrypt", "ff1", "mask",
                                           "generalise", "find", "decrypt", "ff1_decrypt", NULL};
#else
enum action { DROP, REDACT, HASH, PSEUDONYMISE, MASK, GENERALISE, FIND };
static const char *const action_names[] = {"drop", "redact", "hash", "pseudonymise", "mask", "generalise", "find", NULL};
#endif

#define ACTION(a) (1u << (a))

// What a mask leaves to be seen: the last characters, or what is usual for a kind of text.
enum form { FORM_PLAIN, FORM_EMAIL, FORM_CARD, FORM_IBAN, FORM_PHONE };
static const char *const form_names[] = {"text", "email", "card", "iban", "phone", NULL};

// What a generalised value keeps.
enum extent { TO_YEAR, TO_MONTH, TO_DAY, TO_DECADE, TO_NETWORK, TO_STEP };
static const char *const extent_names[] = {"year", "month", "day", "decade", "network", NULL};

// What is looked for in free text: bits of rule.kinds.
enum kind { KIND_EMAIL, KIND_CARD, KIND_IBAN, KIND_IP, KIND_PHONE, KIND_COUNT };
static const char *const kind_names[] = {"email", "card", "iban", "ip", "phone", NULL};
#define ALL_KINDS ((1u << KIND_COUNT) - 1)

typedef struct rule {
    uint8_t action, keep_last, key;
    bool required;
    uint8_t form, extent, kinds, radix;
    bool show;             // find: puts masks where texts were found, not their kinds
    bool redact_unread;    // what cannot be read is redacted, and not a reason to reject
    bool has_min, has_max;
    int32_t min, max;
    uint32_t step;
    config_text purpose;
} rule;

enum rule_key {
    RULE_PATH, RULE_COLUMN, RULE_HEADER, RULE_IN,
    RULE_ACTION, RULE_KEEP_LAST, RULE_KEY, RULE_MISSING, RULE_AS, RULE_TO, RULE_STEP, RULE_MIN, RULE_MAX,
    RULE_KINDS, RULE_WITH, RULE_PURPOSE, RULE_ALPHABET, RULE_UNREADABLE,
};
static const char *const rule_keys[] = {"path", "column", "header", "in", "action", "keep_last", "key", "on_missing", "as", "to",
                                        "step", "min", "max", "kinds", "with", "purpose", "alphabet", "on_unreadable", NULL};
#define SEEN(k) (1u << (k))

// takers are the actions that a member of a rule means something to.
static uint32_t takers(uint32_t key) {
    uint32_t keyed = ACTION(HASH) | ACTION(PSEUDONYMISE), purposeful = ACTION(PSEUDONYMISE), readers = ACTION(MASK) | ACTION(GENERALISE) | ACTION(FIND);
#ifdef GDPR_KEYS
    purposeful |= ACTION(TOKENISE) | ACTION(ENCRYPT) | ACTION(FF1) | ACTION(DECRYPT) | ACTION(FF1_DECRYPT);
    keyed |= purposeful;
    readers |= ACTION(FF1) | ACTION(DECRYPT) | ACTION(FF1_DECRYPT);
    if (key == RULE_ALPHABET) return ACTION(FF1) | ACTION(FF1_DECRYPT);
#endif
    switch (key) {
    case RULE_KEEP_LAST:
    case RULE_AS: return ACTION(MASK);
    case RULE_KEY: return keyed;
    case RULE_PURPOSE: return purposeful;
    case RULE_TO:
    case RULE_STEP:
    case RULE_MIN:
    case RULE_MAX: return ACTION(GENERALISE);
    case RULE_KINDS:
    case RULE_WITH: return ACTION(FIND);
    case RULE_UNREADABLE: return readers;
    case RULE_ALPHABET: return 0;
    }
    return ~0u;
}

// config_int reads a whole number that may be below zero.
GL_COLD bool config_int(config_value v, int32_t *out) {
    uint32_t n = 0;
    bool negative = *v.p == '-';
    if (negative) v.p++;
    if (!config_uint(v, 0, MAX_STEP, &n)) return false;
    *out = negative ? -(int32_t)n : (int32_t)n;
    return true;
}

GL_COLD bool read_kinds(config_value v, uint8_t *kinds) {
    config_iter it;
    uint32_t kind;
    if (!config_array(v, &it)) return false;
    while (config_next(&it)) {
        if (!config_choice(it.value, kind_names, &kind) || (*kinds >> kind & 1)) return false;
        *kinds |= (uint8_t)(1u << kind);
    }
    return *kinds != 0;
}

GL_COLD bool read_alphabet(config_value v, uint8_t *radix) {
    static const char *const names[] = {"digits", "hex", "lower", "lower-digits", "letters", "letters-digits", NULL};
    static const uint8_t radixes[] = {10, 16, 26, 36, 52, 62};
    uint32_t n;
    if (!config_choice(v, names, &n)) return false;
    *radix = radixes[n];
    return true;
}

static bool read_choice(config_value v, const char *const *words, uint8_t *out) {
    uint32_t n = 0;
    if (!config_choice(v, words, &n)) return false;
    *out = (uint8_t)n;
    return true;
}

static bool read_flag(config_value v, const char *const *words, bool *out) {
    uint8_t n = 0;
    if (!read_choice(v, words, &n)) return false;
    *out = n != 0;
    return true;
}

static bool read_byte(config_value v, uint32_t max, uint8_t *out) {
    uint32_t n = 0;
    if (!config_uint(v, 0, max, &n)) return false;
    *out = (uint8_t)n;
    return true;
}

GL_COLD bool read_rule_member(config_value v, int32_t key, rule *r) {
    static const char *const unreadable[] = {"reject", "redact", NULL};
    static const char *const with[] = {"kind", "mask", NULL};
    switch (key) {
    case RULE_ACTION: return read_choice(v, action_names, &r->action);
    case RULE_KEEP_LAST: return read_byte(v, MAX_KEEP, &r->keep_last);
    case RULE_KEY: return read_byte(v, MAX_KEY, &r->key);
    case RULE_MISSING: return read_flag(v, strict_missing, &r->required);
    case RULE_AS: return read_choice(v, form_names, &r->form);
    case RULE_TO: return read_choice(v, extent_names, &r->extent);
    case RULE_STEP: r->extent = TO_STEP; return config_uint(v, 1, MAX_STEP, &r->step);
    case RULE_MIN: r->has_min = true; return config_int(v, &r->min);
    case RULE_MAX: r->has_max = true; return config_int(v, &r->max);
    case RULE_KINDS: return read_kinds(v, &r->kinds);
    case RULE_WITH: return read_flag(v, with, &r->show);
    case RULE_PURPOSE: return config_string(v, MAX_PURPOSE, &r->purpose) && r->purpose.len > 0;
    case RULE_ALPHABET: return read_alphabet(v, &r->radix);
    case RULE_UNREADABLE: return read_flag(v, unreadable, &r->redact_unread);
    }
    return key >= RULE_PATH && key <= RULE_IN;
}

// probe_key fails on a key that was not granted: now, not at the first record.
GL_COLD bool probe_key(uint32_t key) {
    uint8_t out[32];
    return gl_hmac_sha256(key, out, 0, out) >= 0;
}

// rule_holds tells whether a rule says all that its action needs, and no more.
GL_COLD bool rule_holds(const rule *r, uint32_t seen) {
    uint32_t places = seen & (SEEN(RULE_PATH) | SEEN(RULE_COLUMN) | SEEN(RULE_HEADER) | SEEN(RULE_IN)), action = ACTION(r->action);
    if (__builtin_popcount(places) != 1 || !(seen & SEEN(RULE_ACTION))) return false;
    for (uint32_t key = RULE_ACTION + 1; key <= RULE_UNREADABLE; key++)
        if ((seen >> key & 1) && !(takers(key) & action)) return false;
    if ((takers(RULE_PURPOSE) & action) && r->purpose.len == 0) return false;
    if (r->action == MASK && r->form != FORM_PLAIN && (seen & SEEN(RULE_KEEP_LAST))) return false;
    bool step = seen & SEEN(RULE_STEP), to = seen & SEEN(RULE_TO);
    if (r->action == GENERALISE && step == to) return false;
    if ((r->has_min || r->has_max) && !step) return false;
    if (r->has_min && r->has_max && r->min > r->max) return false;
    return !(takers(RULE_KEY) & action) || probe_key(r->key);
}

// read_rule reads a rule and where it applies: a value of one of the four places.
GL_COLD bool read_rule(config_value v, rule *r, int32_t *place, config_value *where) {
    config_iter it;
    uint32_t seen = 0;
    if (!config_object(v, &it)) return false;
    *r = (rule){.required = strict.missing, .radix = 10};
    while (config_next(&it)) {
        int32_t key = config_key(&it, rule_keys, &seen);
        if (key < 0 || !read_rule_member(it.value, key, r)) return false;
        if (key > RULE_IN) continue;
        *place = key;
        *where = it.value;
    }
    if (r->action == FIND && r->kinds == 0) r->kinds = ALL_KINDS;
    return rule_holds(r, seen);
}

static inline bool hides_more(const rule *a, const rule *b) {
    if (a->action != b->action) return a->action < b->action;
    if (a->action != MASK) return false;
    if (a->form != FORM_PLAIN || b->form != FORM_PLAIN) return a->form < b->form;
    return a->keep_last < b->keep_last;
}

#endif
