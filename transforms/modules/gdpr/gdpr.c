// gdpr: takes personal data out of records: of JSON by path, of CSV by column, of
// free text by its form, of keys and headers. docs/modules/gdpr.md has the rules.
//
//     {"rules": [
//         {"path": "$.customer.email", "action": "mask", "keep_last": 4},
//         {"path": "$..iban",          "action": "hash", "key": 0},
//         {"path": "$..birth_date",    "action": "generalise", "to": "year"},
//         {"path": "$.notes[*].text",  "action": "find"},
//         {"header": "user",           "action": "drop"}],
//      "on_invalid_json": "reject"}
//
// Where several rules meet, the one that hides most wins, in the order of enum action.
// What is inside a value that a rule replaced is gone with it. null stays, but under
// redact and drop.
//
// A value that is not strict JSON in UTF-8 is rejected, or passed unseen with
// "on_invalid_json": "pass". One nested deeper than 128 is always rejected. What
// else is not understood is rejected too: include/strict.h has the options, of
// which on_wrong_type can be "pass" here. What is inside a value that a rule
// replaced is not looked at, and is missing for the rules that lead there.
//
// A text at one of the paths "inside" holds JSON: paths go on in it (inside.h).
//
// A null record value (a tombstone) passes. A record in which nothing matched keeps
// its bytes.
//
// Host function: guardlock_crypto.hmac_sha256; gdpr-keys, which is this file and keys.h,
// needs more. Written in one pass: the walk validates, and what a rule changes becomes
// an edit of the value.
#include "places.h"

#ifdef GDPR_KEYS
#define REASON(name) "gdpr_keys." name
#define KEY_REASONS(NEXT)                              \
    NEXT(TOKENISED, REASON("tokenised"))               \
    NEXT(ENCRYPTED, REASON("encrypted"))               \
    NEXT(DECRYPTED, REASON("decrypted"))
#else
#define REASON(name) "gdpr." name
#define KEY_REASONS(NEXT)
#endif

#define REASONS(FIRST, NEXT)                           \
    FIRST(INVALID_JSON, REASON("invalid_json"))        \
    NEXT(INVALID_UTF8, REASON("invalid_utf8"))         \
    NEXT(TOO_DEEP, REASON("too_deep"))                 \
    NEXT(MASKED, REASON("masked"))                     \
    NEXT(REDACTED, REASON("redacted"))                 \
    NEXT(HASHED, REASON("hashed"))                     \
    NEXT(FIELD_DROPPED, REASON("field_dropped"))       \
    NEXT(SEVERAL, REASON("several"))                   \
    NEXT(WRONG_TYPE, REASON("wrong_type"))             \
    NEXT(MISSING_FIELD, REASON("missing_field"))       \
    NEXT(UNKNOWN_FIELD, REASON("unknown_field"))       \
    NEXT(NESTED_JSON, REASON("nested_json"))           \
    NEXT(FRAMING, REASON("framing"))                   \
    NEXT(INVALID_CSV, REASON("invalid_csv"))           \
    NEXT(UNREADABLE, REASON("unreadable"))             \
    NEXT(PSEUDONYMISED, REASON("pseudonymised"))       \
    NEXT(GENERALISED, REASON("generalised"))           \
    NEXT(FOUND, REASON("found"))                       \
    NEXT(INVALID_INSIDE, REASON("invalid_inside"))     \
    KEY_REASONS(NEXT)
GUARDLOCK_REASONS(REASONS)

static const uint32_t action_reasons[] = {
    [DROP] = REASON_FIELD_DROPPED, [REDACT] = REASON_REDACTED, [HASH] = REASON_HASHED, [PSEUDONYMISE] = REASON_PSEUDONYMISED,
    [MASK] = REASON_MASKED, [GENERALISE] = REASON_GENERALISED, [FIND] = REASON_FOUND,
#ifdef GDPR_KEYS
    [TOKENISE] = REASON_TOKENISED, [ENCRYPT] = REASON_ENCRYPTED, [FF1] = REASON_ENCRYPTED,
    [DECRYPT] = REASON_DECRYPTED, [FF1_DECRYPT] = REASON_DECRYPTED,
#endif
};

enum { GDPR_UNREADABLE = 16, GDPR_INVALID_INSIDE };  // of json_fault

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
static uint32_t redact_inside;  // a text that should hold JSON and does not
static bool beside;  // there is more to look at than a value of JSON

// ---- configuration ----

GL_COLD bool read_rules(config_value v) {
    config_iter it;
    if (!config_array(v, &it)) return false;
    while (config_next(&it)) {
        rule r;
        int32_t place = -1;
        config_value where;
        if (!read_rule(it.value, &r, &place, &where)) return false;
        if (place != RULE_PATH) {
            if (!add_place(place, where, &r)) return false;
            continue;
        }
        if (paths.n_rules == PATHS_MAX_RULES) return false;
        rules[paths.n_rules] = r;
        if (!paths_add(where)) return false;
    }
    return true;
}

GL_COLD void choose_rules(void) {
    for (uint32_t i = 0; i < paths.n_rules; i++) {
        if (!rules[i].required) continue;
        required.bits[i / 64] |= 1ull << i % 64;
        any_required = true;
    }
    for (uint32_t n = 0; n < paths.n_nodes; n++) {
        const rule *best = NULL;
        for (uint32_t i = 0; i < paths.n_rules; i++) {
            if (!paths_accepts(n, i)) continue;
            if (best == NULL || hides_more(&rules[i], best)) best = &rules[i];
            if (rules[i].required) node_rules[n].bits[i / 64] |= 1ull << i % 64;
        }
        if (best == NULL) continue;
        node_rule[n] = *best;
        if (best->action == MASK && best->form == FORM_PLAIN && best->keep_last < 255 && !any_required)
            paths.nodes[n].note = best->keep_last + 1;
    }
}

enum key { RULES, ON_INVALID, FORMAT, COLUMNS, DELIMITER, INSIDE, ON_INVALID_INSIDE, FIRST_STRICT };
static const char *const config_keys[] = {"rules", "on_invalid_json", "format", "columns", "delimiter",
                                          "inside", "on_invalid_inside", STRICT_KEYS, NULL};

enum format { JSON, CSV, TEXT };
static uint32_t format;

GL_COLD bool read_option(config_value v, int32_t key) {
    static const char *const choices[] = {"reject", "pass", NULL};
    static const char *const formats[] = {"json", "csv", "text", NULL};
    static const char *const inside[] = {"reject", "redact", NULL};
    switch (key) {
    case ON_INVALID: return config_choice(v, choices, &pass_invalid);
    case FORMAT: return config_choice(v, formats, &format);
    case DELIMITER: return read_delimiter(v);
    case ON_INVALID_INSIDE: return config_choice(v, inside, &redact_inside);
    }
    return strict_option(v, key - FIRST_STRICT, choices);
}

GL_COLD bool read_inside(config_value v) {
    config_iter it;
    if (!config_array(v, &it)) return false;
    while (config_next(&it))
        if (!paths_add_inside(it.value)) return false;
    return true;
}

// lists are what is read once all options are known, since names are then folded.
typedef struct lists {
    config_value rules, known, columns, inside;
} lists;

GL_COLD bool read_lists(const lists *l) {
    strict_apply(!strict.lax_type);
    if (l->rules.p == NULL || !read_rules(l->rules)) return false;
    if (l->columns.p != NULL && !read_columns(l->columns)) return false;
    if (l->inside.p != NULL && !read_inside(l->inside)) return false;
    return l->known.p == NULL || strict_known(l->known);
}

// places_fit tells whether rules and options are of the format that the values have.
GL_COLD bool places_fit(uint32_t seen) {
    uint32_t of_json = SEEN(ON_INVALID) | SEEN(FIRST_STRICT + STRICT_WRONG_TYPE) | SEEN(FIRST_STRICT + STRICT_NESTED) |
                       SEEN(FIRST_STRICT + STRICT_UNKNOWN) | SEEN(FIRST_STRICT + STRICT_FRAMING) | SEEN(INSIDE);
    uint32_t of_csv = SEEN(COLUMNS) | SEEN(DELIMITER);
    if ((seen & SEEN(ON_INVALID_INSIDE)) && !(seen & SEEN(INSIDE))) return false;
    if (format != JSON && (paths.n_rules > 0 || (seen & of_json))) return false;
    if (format != CSV && (places.n_columns > 0 || (seen & of_csv))) return false;
    if (format == CSV && (places.n_columns == 0 || !(seen & SEEN(COLUMNS)) || !choose_columns())) return false;
    if (places.has_value != (format == TEXT)) return false;
    beside = format != JSON || places.has_key || places.n_headers > 0;
    return beside || paths.n_rules > 0;
}

// init answers 1 for what is not a JSON object, 2 for an unknown or repeated option, 3
// for a value that an option or rule cannot have, 4 for rules that do not fit the format
// or are too many.
GL_COLD int32_t init(const uint8_t *p, uint32_t len) {
    config_value root;
    lists l = {0};
    config_iter it;
    uint32_t seen = 0;
    if (!config_open(p, len, &root) || !config_object(root, &it)) return 1;
    while (config_next(&it)) {
        int32_t key = config_key(&it, config_keys, &seen);
        if (key < 0) return 2;
        if (key == RULES) l.rules = it.value;
        else if (key == COLUMNS) l.columns = it.value;
        else if (key == INSIDE) l.inside = it.value;
        else if (key == FIRST_STRICT + STRICT_KNOWN) l.known = it.value;
        else if (!read_option(it.value, key)) return 3;
    }
    if (!read_lists(&l)) return 3;
    if (!places_fit(seen) || ((paths.n_rules > 0 || strict.deny) && !paths_build())) return 4;
    choose_rules();
    return 0;
}

// ---- edits ----

// edit is the editing of one value.
typedef struct edit {
    gl_call *call;
    const uint8_t *value;  // of the record, from its first byte; or of the text at hand
    uint32_t actions;      // a bit per action applied
    uint32_t level;        // how many texts around it hold it
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

static const uint8_t *apply_hash(edit *e, const uint8_t *value, const uint8_t *end, uint32_t key) {
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
    if (!write_hash(out + 1, key, p, n)) return edit_fail(e, GL_ERR_INTERNAL);
    out[0] = '"';
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

// apply_other is for the actions that fewer use. Only what changes is an edit.
GL_COLD const uint8_t *apply_other(edit *e, const rule *r, const uint8_t *value, const uint8_t *end) {
    text made;
    int32_t rc = rule_json(e->call, r, value, end, &made);
    if (rc == TEXT_UNREADABLE) return json_fail(GDPR_UNREADABLE);
    if (rc < 0) return edit_fail(e, rc);
    if (made.p == value) return end;
    e->actions |= ACTION(r->action);
    return edit_put(e, value, end, made.p, made.n);
}

// replace puts what the rule makes of the value in the value's place.
static inline const uint8_t *replace(edit *e, const rule *r, const uint8_t *value, const uint8_t *end) {
    if (GL_LIKELY(r->action == MASK && r->form == FORM_PLAIN)) {
        e->actions |= ACTION(MASK);
        return apply_mask(e, value, end, r->keep_last);
    }
    if (r->action != REDACT && r->action != HASH) return apply_other(e, r, value, end);
    e->actions |= ACTION(r->action);
    return r->action == REDACT ? apply_redact(e, value, end) : apply_hash(e, value, end, r->key);
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

#include "inside.h"

// mask_short masks the text at value, if it is one that ends within 32 bytes and has only
// characters of one byte each. It returns NULL, and has done nothing, if not or if there
// is no room.
GL_INLINE const uint8_t *mask_short(edit *e, const uint8_t *value, uint32_t keep) {
    if (*value != '"') return NULL;
    const uint8_t *p = value;
    JSON_OPAQUE(p);
    v128_t b = wasm_v128_load(p + 17);
    __asm__ volatile("" ::: "memory");
    v128_t a = wasm_v128_load(p + 1);
    uint32_t quotes = wasm_i8x16_bitmask(json_is_quote(a)) | wasm_i8x16_bitmask(json_is_quote(b)) << 16;
    uint32_t others = json_not_simple(a) | json_not_simple(b) << 16;
    if (quotes == 0 || (others & (quotes - 1) & ~quotes) != 0) return NULL;
    uint32_t n = (uint32_t)__builtin_ctz(quotes), hidden = n > keep ? n - keep : n;
    const uint8_t *end = value + n + 2;
    e->actions |= ACTION(MASK);
    if (hidden == 0) return end;
    return gl_edit(e->call, (uint32_t)(value + 1 - e->value), hidden, quoted_stars + 1, hidden) < 0 ? NULL : end;
}

// visit masks short texts by itself, which is what most rules are about: the note of such
// a rule's node is one more than what is kept.
GL_INLINE const uint8_t *visit(void *self, const paths_match *m) {
    uint32_t note = paths.nodes[m->node].note;
    const uint8_t *end = GL_LIKELY(note != 0) ? mask_short(self, m->value, note - 1) : NULL;
    if (GL_LIKELY(end != NULL)) return end;
    paths_match match = *m;  // so that the other one need not be in memory
    return visit_any(self, &match);
}

static __attribute__((noinline)) const uint8_t *visit_any(void *self, const paths_match *m) {
    edit *e = self;
    if (GL_UNLIKELY(paths.nodes[m->node].accepts == PATHS_INSIDE)) return visit_inside(e, m);
    const rule *r = &node_rule[m->node];
    const uint8_t *end = json_skip(m->value, m->depth);
    if (end == NULL) return NULL;
    if (*m->value == 'n' && r->action > REDACT) return end;
    if (GL_UNLIKELY(any_required)) note_found(e, m);
    if (r->action != DROP) return replace(e, r, m->value, end);
    e->actions |= ACTION(DROP);
    return apply_drop(e, m->member, end);
}

// ---- records ----

GL_COLD int32_t refuse(gl_record *r, const edit *e) {
    if (e->rc < 0) return e->rc;
    gl_unedit(e->call, e->call->edits);
    switch (json_fault) {
    case JSON_TOO_DEEP: return gl_reject(r, REASON_TOO_DEEP);
    case PATHS_WRONG_TYPE: return gl_reject(r, REASON_WRONG_TYPE);
    case PATHS_NESTED: return gl_reject(r, REASON_NESTED_JSON);
    case GDPR_UNREADABLE: return gl_reject(r, REASON_UNREADABLE);
    case GDPR_INVALID_INSIDE: return gl_reject(r, REASON_INVALID_INSIDE);
    case PATHS_UNKNOWN: return gl_reject(r, REASON_UNKNOWN_FIELD);
    }
    if (strict_looks_framed(r)) return gl_reject(r, REASON_FRAMING);
    if (pass_invalid) return GL_OK;
    return gl_reject(r, json_fault == JSON_BAD_UTF8 ? REASON_INVALID_UTF8 : REASON_INVALID_JSON);
}

// settle gives the verdict on a record in which rules acted.
GL_INLINE int32_t settle(gl_record *r, uint32_t actions) {
    if (actions == 0) return GL_OK;
    bool one = (actions & (actions - 1)) == 0;
    return gl_modified(r, one ? action_reasons[__builtin_ctz(actions)] : REASON_SEVERAL);
}

// change_json changes a value of JSON. It rejects the record, or sets what acted.
GL_INLINE int32_t change_json(gl_call *c, gl_record *r, uint32_t *actions) {
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
    int32_t rc = p == NULL ? refuse(r, &e) : GL_OK;
    json_end(value, len, saved);
    if (p == NULL) return rc;
    if (GL_UNLIKELY(any_required) && !all_found(&e)) {
        gl_unedit(c, c->edits);
        return gl_reject(r, REASON_MISSING_FIELD);
    }
    *actions = e.actions;
    return GL_OK;
}

// change_format changes the value as what it is. A null value is nothing to change.
GL_COLD int32_t change_format(change *ch) {
    if (ch->record->flags & GL_VALUE_NULL) return GL_OK;
    if (format == CSV) return change_csv(ch);
    if (format == TEXT) return change_value(ch);
    return paths.n_rules == 0 && !strict.deny ? GL_OK : change_json(ch->call, ch->record, &ch->actions);
}

// reject takes all back that was done to a record.
GL_COLD int32_t reject(gl_call *c, gl_record *r, const gl_record *was, uint32_t reason) {
    gl_unedit(c, c->edits);
    *r = *was;
    return gl_reject(r, reason);
}

// transform_beside is transform where not only a value of JSON is looked at.
GL_COLD int32_t transform_beside(gl_call *c, gl_record *r) {
    static const uint32_t reasons[] = {
        [CHANGE_UNREADABLE] = REASON_UNREADABLE, [CHANGE_INVALID_CSV] = REASON_INVALID_CSV, [CHANGE_INVALID_UTF8] = REASON_INVALID_UTF8,
    };
    const gl_record was = *r;
    change ch = {.call = c, .record = r};
    int32_t rc = change_format(&ch);
    if (rc == GL_OK && r->status == GL_PASS) rc = change_rest(&ch);
    if (rc < 0) return rc;
    if (rc > 0) return reject(c, r, &was, reasons[rc]);
    if (r->status != GL_PASS) return GL_OK;
    if (places.any_missing && places_missing(&ch)) return reject(c, r, &was, REASON_MISSING_FIELD);
    return settle(r, ch.actions);
}

static int32_t transform(gl_call *c, gl_record *r) {
    uint32_t actions = 0;
    if (GL_UNLIKELY(beside)) return transform_beside(c, r);
    if (r->flags & GL_VALUE_NULL) return GL_OK;
    int32_t rc = change_json(c, r, &actions);
    return rc == GL_OK && actions != 0 ? settle(r, actions) : rc;
}

GUARDLOCK_INIT(init)
GUARDLOCK_TRANSFORM(transform)
