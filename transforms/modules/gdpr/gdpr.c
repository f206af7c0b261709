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

// edit is the rewriting of one value: text before copied is in the output.
typedef struct edit {
    gl_call *call;
    const uint8_t *copied;
    uint8_t *out, *limit;
    uint32_t actions;  // a bit per action applied
    int32_t rc;
    rule_set found;    // rules that led to something, of those that must
} edit;

static inline const uint8_t *edit_fail(edit *e, int32_t rc) {
    e->rc = rc;
    return NULL;
}

// put copies n bytes, 16 at once when that is enough: beyond them the engine's
// own bulk copy is the faster one. The caller checked for 16 bytes more room.
GL_INLINE void put(uint8_t *dst, const uint8_t *src, uint32_t n) {
    if (n > 16) gl_copy(dst, src, n);
    else wasm_v128_store(dst, wasm_v128_load(src));
}

GL_INLINE void put_stars(uint8_t *dst, uint32_t n) {
    for (uint32_t i = 0; i < n; i += 16) wasm_v128_store(dst + i, wasm_i8x16_splat('*'));
}

// edit_flush copies the text up to upto and makes sure of room for extra more.
static inline bool edit_flush(edit *e, const uint8_t *upto, uint32_t extra) {
    uint32_t n = (uint32_t)(upto - e->copied);
    if ((uint64_t)n + extra + 16 > (uint32_t)(e->limit - e->out)) return false;
    put(e->out, e->copied, n);
    e->out += n;
    e->copied = upto;
    return true;
}

// character steps over one character of a valid string: a UTF-8 sequence, an
// escape, or a surrogate pair of escapes.
static inline const uint8_t *character(const uint8_t *p, const uint8_t *end) {
    if (*p != '\\') return p + (*p < 0x80 ? 1 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4);
    if (p[1] != 'u') return p + 2;
    json_code_point(&p, end);
    return p;
}

// put_masked writes the masked text p[:end], without quotes.
static inline void put_masked(edit *e, const uint8_t *p, const uint8_t *end, uint32_t keep) {
    uint32_t count = (uint32_t)(end - p);
    bool simple = json_one_byte_each(p, count);
    if (!simple) {
        count = 0;
        for (const uint8_t *q = p; q < end; q = character(q, end)) count++;
    }
    uint32_t stars = count > keep ? count - keep : count;
    put_stars(e->out, stars);
    e->out += stars;
    if (simple) p += stars;
    else for (uint32_t i = 0; i < stars; i++) p = character(p, end);
    put(e->out, p, (uint32_t)(end - p));
    e->out += end - p;
}

static const uint8_t *apply_mask(edit *e, const uint8_t *value, const uint8_t *end, uint32_t keep) {
    if (!edit_flush(e, value, (uint32_t)(end - value) + 8)) return edit_fail(e, GL_ERR_SPACE);
    bool text = *value == '"', number = *value == '-' || (*value >= '0' && *value <= '9');
    *e->out++ = '"';
    if (text || number) {
        put_masked(e, value + text, end - text, keep);
    } else {
        put_stars(e->out, 4);
        e->out += 4;
    }
    *e->out++ = '"';
    return end;
}

static inline uint8_t hex(uint8_t nibble) { return (uint8_t)(nibble < 10 ? '0' + nibble : 'a' + nibble - 10); }

static const uint8_t *apply_hash(edit *e, const uint8_t *value, const uint8_t *end, uint32_t key) {
    uint8_t mac[32];
    bool text = *value == '"';
    const uint8_t *p = value + text;
    uint32_t n = (uint32_t)(end - text - p);
    if (!edit_flush(e, value, HEX + 32 + n)) return edit_fail(e, GL_ERR_SPACE);
    if (text && gl_find(p, n, '\\') != NULL) {
        uint8_t *plain = e->out + HEX + 32;  // scratch: not part of the output
        n = json_decode(p, end - 1, plain);
        p = plain;
    }
    if (gl_hmac_sha256(key, p, n, mac) < 0) return edit_fail(e, GL_ERR_INTERNAL);
    *e->out++ = '"';
    for (int i = 0; i < 32; i++) {
        *e->out++ = hex(mac[i] >> 4);
        *e->out++ = hex(mac[i] & 15);
    }
    *e->out++ = '"';
    return end;
}

static const uint8_t *apply_redact(edit *e, const uint8_t *value, const uint8_t *end) {
    static const char token[16] = "\"[redacted]\"";
    if (!edit_flush(e, value, sizeof token)) return edit_fail(e, GL_ERR_SPACE);
    put(e->out, (const uint8_t *)token, 12);
    e->out += 12;
    return end;
}

// apply_drop leaves out the member with the comma behind it; when it was the
// last, with the comma that is then the last thing written (a comma cannot be
// anything else there: a string would end in its quote).
static const uint8_t *apply_drop(edit *e, const uint8_t *member, const uint8_t *end) {
    if (!edit_flush(e, member, 0)) return edit_fail(e, GL_ERR_SPACE);
    const uint8_t *next = json_space(end);
    e->copied = end;
    if (*next == ',') {
        e->copied = json_space(next + 1);
        return end;
    }
    while (e->out[-1] <= ' ') e->out--;
    if (e->out[-1] == ',') e->out--;
    return end;
}

// replace puts what the rule makes of the value in the value's place.
static inline const uint8_t *replace(edit *e, const rule *r, const uint8_t *value, const uint8_t *end) {
    const uint8_t *done = r->action == REDACT ? apply_redact(e, value, end)
                        : r->action == HASH   ? apply_hash(e, value, end, r->key)
                                              : apply_mask(e, value, end, r->keep_last);
    e->copied = end;
    return done;
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

GL_INLINE int32_t finish(gl_record *r, edit *e, const uint8_t *end) {
    if (GL_UNLIKELY(any_required) && !all_found(e)) return gl_reject(r, REASON_MISSING_FIELD);
    if (e->actions == 0) return GL_OK;
    if (!edit_flush(e, end, 0)) return GL_ERR_SPACE;
    uint8_t *start = e->call->base + e->call->used;
    r->value = start;
    r->value_len = (uint32_t)(e->out - start);
    e->call->used += r->value_len;
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
    edit e = {.call = c, .copied = r->value, .out = c->base + c->used, .limit = c->base + c->cap};
    const uint8_t *p = json_begin(value, len, &saved);
    if (p != NULL) p = paths_walk(p, visit, &e);
    if (p != NULL && json_space(p) != value + len) p = NULL;
    int32_t rc = p == NULL ? refuse(r, &e) : finish(r, &e, value + len);
    json_end(value, len, saved);
    return rc;
}

GUARDLOCK_INIT(init)
GUARDLOCK_TRANSFORM(transform)
