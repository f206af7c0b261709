// gdpr: takes personal data out of JSON values, by path.
//
//     {"rules": [
//         {"path": "$.customer.email", "action": "mask", "keep_last": 4},
//         {"path": "$..iban",          "action": "hash", "key": 0},
//         {"path": "$.address",        "action": "redact"},
//         {"path": "$.notes[*].text",  "action": "drop"}],
//      "on_invalid_json": "reject"}
//
// mask    each character becomes '*', except the last keep_last (0 to 64,
//         default 0); a text of keep_last characters or fewer is masked whole.
//         A number is masked as the text it was written as and becomes a
//         string; true, false, objects and arrays become "****".
// hash    the lower-case hex HMAC-SHA-256, under the granted key of that index
//         (default 0), of the decoded text; numbers, true, false, objects and
//         arrays are hashed as they were written.
// redact  any value becomes "[redacted]", null too.
// drop    the member or element goes away; later elements move up.
//
// mask and hash leave null as it is. Where several rules meet, the one that
// hides most wins: drop, redact, hash, mask with the smallest keep_last. What is
// inside a value that a rule replaced is gone with it.
//
// A value that is not strict JSON in UTF-8 is rejected, or passed unseen with
// "on_invalid_json": "pass". One nested deeper than 128 is always rejected. What
// else is not understood is rejected too: include/strict.h has the options, of
// which on_wrong_type can be "pass" here. What is inside a value that a rule
// replaced is not looked at, and is missing for the rules that lead there.
//
// A null record value (a tombstone) passes. Kafka keys and headers are not looked
// at. A record in which nothing matched keeps its bytes.
//
// Host function: guardlock_crypto.hmac_sha256. Written in one pass: the walk
// validates, and the text between two edits is copied when the next edit comes.
#include "../include/strict.h"

#define REASONS(FIRST, NEXT)                           \
    FIRST(INVALID_JSON, "gdpr.invalid_json")           \
    NEXT(INVALID_UTF8, "gdpr.invalid_utf8")            \
    NEXT(TOO_DEEP, "gdpr.too_deep")                    \
    NEXT(MASKED, "gdpr.masked")                        \
    NEXT(REDACTED, "gdpr.redacted")                    \
    NEXT(HASHED, "gdpr.hashed")                        \
    NEXT(FIELD_DROPPED, "gdpr.field_dropped")          \
    NEXT(SEVERAL, "gdpr.several")                      \
    NEXT(WRONG_TYPE, "gdpr.wrong_type")                \
    NEXT(MISSING_FIELD, "gdpr.missing_field")          \
    NEXT(UNKNOWN_FIELD, "gdpr.unknown_field")          \
    NEXT(NESTED_JSON, "gdpr.nested_json")              \
    NEXT(FRAMING, "gdpr.framing")
GUARDLOCK_REASONS(REASONS)

#define MAX_KEEP 64
#define MAX_KEY 255
#define HEX 64

// From the one that hides most to the one that hides least.
enum action { DROP, REDACT, HASH, MASK };
static const char *const action_names[] = {"drop", "redact", "hash", "mask", NULL};
static const uint32_t action_reasons[] = {REASON_FIELD_DROPPED, REASON_REDACTED, REASON_HASHED, REASON_MASKED};

typedef struct rule {
    uint8_t action, keep_last, key;
    bool required;
} rule;

// rule_set has a bit per rule.
typedef struct rule_set {
    uint64_t bits[PATHS_MAX_RULES / 64];
} rule_set;

static rule rules[PATHS_MAX_RULES];
static rule node_rule[PATHS_MAX_NODES];  // the rule that wins in an accepting node
static rule_set node_rules[PATHS_MAX_NODES];     // the required rules that end in a node
static rule_set required;
static bool any_required;
static uint32_t pass_invalid;

// ---- configuration ----

enum rule_key { RULE_PATH, RULE_ACTION, RULE_KEEP_LAST, RULE_KEY, RULE_MISSING };
static const char *const rule_keys[] = {"path", "action", "keep_last", "key", "on_missing", NULL};

GL_COLD bool read_rule_member(const config_iter *it, int32_t key, rule *r) {
    uint32_t n = 0;
    bool ok = false;
    switch (key) {
    case RULE_PATH:
        return paths_add(it->value);
    case RULE_ACTION:
        ok = config_choice(it->value, action_names, &n);
        r->action = (uint8_t)n;
        break;
    case RULE_KEEP_LAST:
        ok = config_uint(it->value, 0, MAX_KEEP, &n);
        r->keep_last = (uint8_t)n;
        break;
    case RULE_KEY:
        ok = config_uint(it->value, 0, MAX_KEY, &n);
        r->key = (uint8_t)n;
        break;
    case RULE_MISSING:
        ok = config_choice(it->value, strict_missing, &n);
        r->required = n;
        break;
    }
    return ok;
}

// probe_key fails on a key that was not granted: now, not at the first record.
GL_COLD bool probe_key(uint32_t key) {
    uint8_t out[32];
    return gl_hmac_sha256(key, out, 0, out) >= 0;
}

GL_COLD bool read_rule(config_value v) {
    config_iter it;
    uint32_t seen = 0;
    if (paths.n_rules == PATHS_MAX_RULES || !config_object(v, &it)) return false;
    rule *r = &rules[paths.n_rules];
    r->required = strict.missing;
    while (config_next(&it))
        if (!read_rule_member(&it, config_key(&it, rule_keys, &seen), r)) return false;
    uint32_t need = 1u << RULE_PATH | 1u << RULE_ACTION;
    if ((seen & need) != need) return false;
    if ((seen >> RULE_KEEP_LAST & 1) && r->action != MASK) return false;
    if ((seen >> RULE_KEY & 1) && r->action != HASH) return false;
    return r->action != HASH || probe_key(r->key);
}

GL_COLD bool read_rules(config_value v) {
    config_iter it;
    if (!config_array(v, &it)) return false;
    while (config_next(&it))
        if (!read_rule(it.value)) return false;
    return true;
}

static inline bool hides_more(const rule *a, const rule *b) {
    return a->action != b->action ? a->action < b->action : a->action == MASK && a->keep_last < b->keep_last;
}

GL_COLD void choose_rules(void) {
    for (uint32_t n = 0; n < paths.n_nodes; n++) {
        const rule *best = NULL;
        for (uint32_t i = 0; i < paths.n_rules; i++) {
            if (!paths_accepts(n, i)) continue;
            if (best == NULL || hides_more(&rules[i], best)) best = &rules[i];
            if (rules[i].required) node_rules[n].bits[i / 64] |= 1ull << i % 64;
        }
        if (best != NULL) node_rule[n] = *best;
    }
    for (uint32_t i = 0; i < paths.n_rules; i++) {
        if (!rules[i].required) continue;
        required.bits[i / 64] |= 1ull << i % 64;
        any_required = true;
    }
}

enum key { RULES, ON_INVALID, FIRST_STRICT };
static const char *const config_keys[] = {"rules", "on_invalid_json", STRICT_KEYS, NULL};

GL_COLD bool read_option(config_value v, int32_t key) {
    static const char *const choices[] = {"reject", "pass", NULL};
    if (key == ON_INVALID) return config_choice(v, choices, &pass_invalid);
    return strict_option(v, key - FIRST_STRICT, choices);
}

// read_paths reads what holds paths, once all options are known.
GL_COLD bool read_paths(config_value rules_list, config_value known) {
    strict_apply(!strict.lax_type);
    if (rules_list.p == NULL || !read_rules(rules_list)) return false;
    return known.p == NULL || strict_known(known);
}

GL_COLD int32_t init(const uint8_t *p, uint32_t len) {
    config_value root, rules_list = {NULL, NULL}, known = {NULL, NULL};
    config_iter it;
    uint32_t seen = 0;
    if (!config_open(p, len, &root) || !config_object(root, &it)) return 1;
    while (config_next(&it)) {
        int32_t key = config_key(&it, config_keys, &seen);
        if (key < 0) return 2;
        if (key == RULES) rules_list = it.value;
        else if (key == FIRST_STRICT + STRICT_KNOWN) known = it.value;
        else if (!read_option(it.value, key)) return 3;
    }
    if (!read_paths(rules_list, known)) return 3;
    if (!paths_build()) return 4;
    choose_rules();
    return 0;
}

// ---- edits ----

// edit is the editing of one value.
typedef struct edit {
    gl_call *call;
    const uint8_t *value;  // of the record, from its first byte
    uint32_t actions;      // a bit per action applied
    int32_t rc;
    rule_set found;        // rules that led to something, of those that must
} edit;

static inline const uint8_t *edit_fail(edit *e, int32_t rc) {
    e->rc = rc;
    return NULL;
}

// edit_put replaces the text from from to to by n bytes. It returns to.
static inline const uint8_t *edit_put(edit *e, const uint8_t *from, const uint8_t *to, const uint8_t *bytes, uint32_t n) {
    int32_t rc = gl_edit(e->call, (uint32_t)(from - e->value), (uint32_t)(to - from), bytes, n);
    return GL_UNLIKELY(rc < 0) ? edit_fail(e, rc) : to;
}

static const uint8_t quoted_stars[] = "\"****************************************************************";
#define MAX_STARS (sizeof quoted_stars - 2)

// stars returns n stars, or NULL: GL_ERR_SPACE.
static inline const uint8_t *stars(gl_call *c, uint32_t n) {
    if (GL_LIKELY(n <= MAX_STARS)) return quoted_stars + 1;
    uint8_t *p = gl_take(c, n);
    if (p != NULL) __builtin_memset(p, '*', n);
    return p;
}

// character steps over one character of a valid string: a UTF-8 sequence, an
// escape, or a surrogate pair of escapes.
static inline const uint8_t *character(const uint8_t *p, const uint8_t *end) {
    if (*p != '\\') return p + (*p < 0x80 ? 1 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4);
    if (p[1] != 'u') return p + 2;
    json_code_point(&p, end);
    return p;
}

// masked_end returns where the part of the text p[:end] ends that a mask hides, and
// in *hidden how many characters it has.
static inline const uint8_t *masked_end(const uint8_t *p, const uint8_t *end, uint32_t keep, uint32_t *hidden) {
    uint32_t count = (uint32_t)(end - p);
    bool simple = json_one_byte_each(p, count);
    if (!simple) {
        count = 0;
        for (const uint8_t *q = p; q < end; q = character(q, end)) count++;
    }
    uint32_t n = count > keep ? count - keep : count;
    *hidden = n;
    if (simple) return p + n;
    while (n-- > 0) p = character(p, end);
    return p;
}

// mask_text puts stars for the characters between the quotes.
static const uint8_t *mask_text(edit *e, const uint8_t *value, const uint8_t *end, uint32_t keep) {
    uint32_t n;
    const uint8_t *shown = masked_end(value + 1, end - 1, keep, &n);
    if (n == 0) return end;
    const uint8_t *p = stars(e->call, n);
    if (p == NULL) return edit_fail(e, GL_ERR_SPACE);
    return edit_put(e, value + 1, shown, p, n) == NULL ? NULL : end;
}

// mask_number makes a text of a number, so that it can be masked.
static const uint8_t *mask_number(edit *e, const uint8_t *value, const uint8_t *end, uint32_t keep) {
    uint32_t size = (uint32_t)(end - value), n;
    const uint8_t *shown = masked_end(value, end, keep, &n);
    uint8_t *p = gl_take(e->call, size + 2);
    if (p == NULL) return edit_fail(e, GL_ERR_SPACE);
    *p = '"';
    __builtin_memset(p + 1, '*', n);
    gl_copy(p + 1 + n, shown, (uint32_t)(end - shown));
    p[size + 1] = '"';
    return edit_put(e, value, end, p, size + 2);
}

static const uint8_t *apply_mask(edit *e, const uint8_t *value, const uint8_t *end, uint32_t keep) {
    static const uint8_t hidden[] = "\"****\"";
    if (GL_LIKELY(*value == '"')) return mask_text(e, value, end, keep);
    if (*value == '-' || (*value >= '0' && *value <= '9')) return mask_number(e, value, end, keep);
    return edit_put(e, value, end, hidden, sizeof hidden - 1);
}

static inline uint8_t hex(uint8_t nibble) { return (uint8_t)(nibble < 10 ? '0' + nibble : 'a' + nibble - 10); }

static const uint8_t *apply_hash(edit *e, const uint8_t *value, const uint8_t *end, uint32_t key) {
    uint8_t mac[32];
    bool text = *value == '"';
    const uint8_t *p = value + text;
    uint32_t n = (uint32_t)(end - text - p);
    uint8_t *out = gl_take(e->call, HEX + 2);
    if (out == NULL) return edit_fail(e, GL_ERR_SPACE);
    if (text && gl_find(p, n, '\\') != NULL) {
        uint8_t *plain = gl_room(e->call, n + 32);  // scratch: not part of the output
        if (plain == NULL) return edit_fail(e, GL_ERR_SPACE);
        n = json_decode(p, end - 1, plain);
        p = plain;
    }
    if (gl_hmac_sha256(key, p, n, mac) < 0) return edit_fail(e, GL_ERR_INTERNAL);
    out[0] = '"';
    for (int i = 0; i < 32; i++) {
        out[1 + 2 * i] = hex(mac[i] >> 4);
        out[2 + 2 * i] = hex(mac[i] & 15);
    }
    out[1 + HEX] = '"';
    return edit_put(e, value, end, out, HEX + 2);
}

static const uint8_t *apply_redact(edit *e, const uint8_t *value, const uint8_t *end) {
    static const uint8_t token[] = "\"[redacted]\"";
    return edit_put(e, value, end, token, sizeof token - 1);
}

// without_comma returns where a dropped member begins that is the last of its object:
// with the comma in front of it that is left. Members in front of it that were dropped
// are taken in, with their edits.
static const uint8_t *without_comma(edit *e, const uint8_t *member) {
    const uint8_t *p = member;
    for (;;) {
        const gl_edit_entry *last = gl_last_edit(e->call);
        const uint8_t *behind = last ? e->value + last->at + last->len : e->value;
        while (p > behind && p[-1] <= ' ') p--;
        if (p > behind) return p - (p[-1] == ',');
        if (last == NULL || last->bytes_len > 0) return p;
        p = e->value + last->at;
        gl_unedit(e->call, 1);
    }
}

// apply_drop leaves out the member with the comma behind it; when it was the last,
// with the one in front of it (a comma cannot be anything else there: a string would
// end in its quote).
static const uint8_t *apply_drop(edit *e, const uint8_t *member, const uint8_t *end) {
    const uint8_t *next = json_space(end);
    if (*next == ',') return edit_put(e, member, json_space(next + 1), NULL, 0) == NULL ? NULL : end;
    return edit_put(e, without_comma(e, member), end, NULL, 0);
}

// replace puts what the rule makes of the value in the value's place.
static inline const uint8_t *replace(edit *e, const rule *r, const uint8_t *value, const uint8_t *end) {
    return r->action == REDACT ? apply_redact(e, value, end)
         : r->action == HASH   ? apply_hash(e, value, end, r->key)
                               : apply_mask(e, value, end, r->keep_last);
}

// note_found marks the rules that led to a value; null stands for none.
GL_COLD void note_found(edit *e, const paths_match *m) {
    if (*m->value == 'n') return;
    for (uint32_t i = 0; i < PATHS_MAX_RULES / 64; i++) e->found.bits[i] |= node_rules[m->node].bits[i];
}

GL_COLD bool all_found(const edit *e) {
    uint64_t absent = 0;
    for (uint32_t i = 0; i < PATHS_MAX_RULES / 64; i++) absent |= required.bits[i] & ~e->found.bits[i];
    return absent == 0;
}

static const uint8_t *visit(void *self, const paths_match *m) {
    edit *e = self;
    const rule *r = &node_rule[m->node];
    const uint8_t *end = json_skip(m->value, m->depth);
    if (end == NULL) return NULL;
    if (*m->value == 'n' && (r->action == MASK || r->action == HASH)) return end;
    if (GL_UNLIKELY(any_required)) note_found(e, m);
    e->actions |= 1u << r->action;
    return r->action == DROP ? apply_drop(e, m->member, end) : replace(e, r, m->value, end);
}

// ---- records ----

GL_COLD int32_t refuse(gl_record *r, const edit *e) {
    if (e->rc < 0) return e->rc;
    gl_unedit(e->call, e->call->edits);
    switch (json_fault) {
    case JSON_TOO_DEEP: return gl_reject(r, REASON_TOO_DEEP);
    case PATHS_WRONG_TYPE: return gl_reject(r, REASON_WRONG_TYPE);
    case PATHS_NESTED: return gl_reject(r, REASON_NESTED_JSON);
    case PATHS_UNKNOWN: return gl_reject(r, REASON_UNKNOWN_FIELD);
    }
    if (strict_looks_framed(r)) return gl_reject(r, REASON_FRAMING);
    if (pass_invalid) return GL_OK;
    return gl_reject(r, json_fault == JSON_BAD_UTF8 ? REASON_INVALID_UTF8 : REASON_INVALID_JSON);
}

GL_INLINE int32_t finish(gl_record *r, const edit *e) {
    if (GL_UNLIKELY(any_required) && !all_found(e)) return gl_reject(r, REASON_MISSING_FIELD);
    if (e->actions == 0) return GL_OK;
    bool one = (e->actions & (e->actions - 1)) == 0;
    return gl_modified(r, one ? action_reasons[__builtin_ctz(e->actions)] : REASON_SEVERAL);
}

static int32_t transform(gl_call *c, gl_record *r) {
    if (r->flags & GL_VALUE_NULL) return GL_OK;
    // The sentinel of a value at the very end of the input may lie on the
    // arena's first byte.
    if (c->used < 16) c->used = c->cap < 16 ? c->cap : 16;
    uint32_t len;
    uint8_t saved = 0, *value;
    if (!strict_open(r, &value, &len)) return gl_reject(r, REASON_FRAMING);
    edit e = {.call = c, .value = r->value};
    const uint8_t *p = json_begin(value, len, &saved);
    if (p != NULL) p = paths_walk(p, visit, &e);
    if (p != NULL && json_space(p) != value + len) p = NULL;
    int32_t rc = p == NULL ? refuse(r, &e) : finish(r, &e);
    json_end(value, len, saved);
    return rc;
}

GUARDLOCK_INIT(init)
GUARDLOCK_TRANSFORM(transform)
