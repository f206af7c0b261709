// validate: rejects records that are not what a JSON Schema says, that are too
// large, or that lack a header or a key.
//
//     {"schema": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}},
//      "max_bytes": 65536, "tombstones": "reject",
//      "headers": [{"name": "trace-id", "pattern": "^[0-9a-f]{32}$"}],
//      "key": {"max_bytes": 64, "pattern": "^customer-[0-9]+$"}}
//
// schema.h lists the keywords of draft 2020-12 that are understood; any other one
// refuses the configuration, and so do references that lead out of the schema or
// in a circle. A value must then be JSON, in which no object has a key twice
// ("duplicate_keys": "pass" judges each of them). Without a schema, any bytes will do.
//
// max_bytes and min_bytes are of the value. A header that is named must be there,
// and not null; all headers of that name must match its pattern, and "once": true
// allows one. "key" makes a key necessary, and says what it must be: min_bytes,
// max_bytes, pattern. A null value passes the schema, unless "tombstones" is "reject".
// No rule reads text that is not UTF-8 as if it were.
//
// Judging is bounded, by steps that grow with the value's size: what is too
// complex is rejected, not waited for.
#include "check.h"

#define REASONS(FIRST, NEXT)                         \
    FIRST(TYPE, "validate.type")                     \
    NEXT(VALUE, "validate.value")                    \
    NEXT(RANGE, "validate.range")                    \
    NEXT(LENGTH, "validate.length")                  \
    NEXT(PATTERN, "validate.pattern")                \
    NEXT(REQUIRED, "validate.required")              \
    NEXT(UNKNOWN_FIELD, "validate.unknown_field")    \
    NEXT(FIELD_NAME, "validate.field_name")          \
    NEXT(NUMBER, "validate.count")                   \
    NEXT(DUPLICATE_ITEM, "validate.duplicate_item")  \
    NEXT(ITEMS, "validate.items")                    \
    NEXT(ALTERNATIVES, "validate.alternatives")      \
    NEXT(TOO_COMPLEX, "validate.too_complex")        \
    NEXT(INVALID_JSON, "validate.invalid_json")      \
    NEXT(TOO_DEEP, "validate.too_deep")              \
    NEXT(DUPLICATE_KEY, "validate.duplicate_key")    \
    NEXT(SIZE, "validate.size")                      \
    NEXT(TOMBSTONE, "validate.tombstone")            \
    NEXT(HEADER_MISSING, "validate.header_missing")  \
    NEXT(HEADER, "validate.header")                  \
    NEXT(KEY, "validate.key")
GUARDLOCK_REASONS(REASONS)
_Static_assert(REASON_TOO_COMPLEX == FAULT_TOO_COMPLEX, "a fault is the reason of its name");

#define MAX_HEADERS 32u
#define MAX_RECORD 1073741824u

typedef struct header_rule {
    config_text name;
    bool has_pattern, once;
    regex pattern;
} header_rule;

static header_rule headers[MAX_HEADERS];
static uint32_t n_headers;

static struct {
    bool has_schema, has_key, has_key_pattern;
    uint32_t least, most, lax_keys, no_tombstones;
    uint32_t key_least, key_most;
    regex key_pattern;
} rules = {.most = UINT32_MAX, .key_most = UINT32_MAX};

// ---- configuration ----

enum header_key { HEADER_NAME, HEADER_PATTERN, HEADER_ONCE };
static const char *const header_keys[] = {"name", "pattern", "once", NULL};

GL_COLD bool read_header(config_value v) {
    config_iter it;
    uint32_t seen = 0;
    if (n_headers == MAX_HEADERS || !config_object(v, &it)) return false;
    header_rule *h = &headers[n_headers++];
    while (config_next(&it)) {
        bool good = false;
        switch (config_key(&it, header_keys, &seen)) {
        case HEADER_NAME: good = config_string(it.value, SCHEMA_MAX_TEXT, &h->name); break;
        case HEADER_PATTERN: good = h->has_pattern = schema_regex(it.value, &h->pattern); break;
        case HEADER_ONCE: good = schema_flag(it.value, &h->once); break;
        }
        if (!good) return false;
    }
    return seen >> HEADER_NAME & 1;
}

GL_COLD bool read_headers(config_value v) {
    config_iter it;
    if (!config_array(v, &it)) return false;
    while (config_next(&it))
        if (!read_header(it.value)) return false;
    return n_headers > 0;
}

enum key_key { KEY_LEAST, KEY_MOST, KEY_PATTERN };
static const char *const key_keys[] = {"min_bytes", "max_bytes", "pattern", NULL};

GL_COLD bool read_key(config_value v) {
    config_iter it;
    uint32_t seen = 0;
    rules.has_key = true;
    if (!config_object(v, &it)) return false;
    while (config_next(&it)) {
        bool good = false;
        switch (config_key(&it, key_keys, &seen)) {
        case KEY_LEAST: good = config_uint(it.value, 0, MAX_RECORD, &rules.key_least); break;
        case KEY_MOST: good = config_uint(it.value, 0, MAX_RECORD, &rules.key_most); break;
        case KEY_PATTERN: good = rules.has_key_pattern = schema_regex(it.value, &rules.key_pattern); break;
        }
        if (!good) return false;
    }
    return rules.key_least <= rules.key_most;
}

enum key { SCHEMA, MAX_BYTES, MIN_BYTES, HEADERS, KEY, TOMBSTONES, DUPLICATES };
static const char *const config_keys[] = {"schema", "max_bytes", "min_bytes", "headers", "key", "tombstones", "duplicate_keys", NULL};

GL_COLD bool read_option(config_value v, int32_t key) {
    static const char *const tombstones[] = {"pass", "reject", NULL};
    static const char *const duplicates[] = {"reject", "pass", NULL};
    switch (key) {
    case SCHEMA: return rules.has_schema = schema_open(v);
    case MAX_BYTES: return config_uint(v, 0, MAX_RECORD, &rules.most);
    case MIN_BYTES: return config_uint(v, 0, MAX_RECORD, &rules.least);
    case HEADERS: return read_headers(v);
    case KEY: return read_key(v);
    case TOMBSTONES: return config_choice(v, tombstones, &rules.no_tombstones);
    case DUPLICATES: return config_choice(v, duplicates, &rules.lax_keys);
    }
    return false;
}

GL_COLD int32_t init(const uint8_t *p, uint32_t len) {
    config_value root;
    config_iter it;
    uint32_t seen = 0;
    if (!config_open(p, len, &root) || !config_object(root, &it)) return 1;
    check_begin(len);
    if (!check_keys(root.p)) return 2;
    while (config_next(&it))
        if (!read_option(it.value, config_key(&it, config_keys, &seen))) return 3;
    if (seen == 0 || rules.least > rules.most) return 4;
    return (seen >> DUPLICATES & 1) && !rules.has_schema ? 5 : 0;
}

// ---- records ----

// matches tells whether bytes are text of a pattern.
static bool matches(const regex *r, const uint8_t *p, uint32_t n) {
    return utf8_valid(p, p + n) && regex_find(r, p, n, &check.steps);
}

// judge_header looks at all headers of a name, and gives the reason against them.
static uint32_t judge_header(const gl_record *r, const header_rule *rule) {
    gl_header h;
    uint32_t count = 0;
    if (!gl_headers(r, &h)) return REASON_HEADER;
    while (gl_next_header(&h) == 1) {
        if (h.key_len != rule->name.len || !gl_equal(h.key, rule->name.p, h.key_len)) continue;
        count++;
        if (h.value == NULL || (rule->once && count > 1)) return REASON_HEADER;
        if (rule->has_pattern && !matches(&rule->pattern, h.value, h.value_len)) return REASON_HEADER;
    }
    return count == 0 ? REASON_HEADER_MISSING : 0;
}

static uint32_t judge_key(const gl_record *r) {
    if (r->flags & GL_KEY_NULL || r->key_len < rules.key_least || r->key_len > rules.key_most) return REASON_KEY;
    return rules.has_key_pattern && !matches(&rules.key_pattern, r->key, r->key_len) ? REASON_KEY : 0;
}

// judge_schema gives the reason against a value that ends in a NUL.
static uint32_t judge_schema(const uint8_t *p, const uint8_t *end) {
    const uint8_t *behind = p != NULL ? json_skip(p, 0) : NULL;
    if (behind == NULL || json_space(behind) != end) return json_fault == JSON_TOO_DEEP ? REASON_TOO_DEEP : REASON_INVALID_JSON;
    if (!rules.lax_keys && !check_keys(p)) return check.exhausted ? REASON_TOO_COMPLEX : REASON_DUPLICATE_KEY;
    if (check_value(0, p, 0) != NULL && !check.exhausted) return 0;
    return check.exhausted ? REASON_TOO_COMPLEX : check.fault;
}

static uint32_t judge_value(const gl_record *r) {
    uint8_t saved = 0;
    if (r->flags & GL_VALUE_NULL) return rules.no_tombstones ? REASON_TOMBSTONE : 0;
    if (r->value_len < rules.least || r->value_len > rules.most) return REASON_SIZE;
    if (!rules.has_schema) return 0;
    const uint8_t *p = json_begin(r->value, r->value_len, &saved);
    uint32_t reason = judge_schema(p, r->value + r->value_len);
    json_end(r->value, r->value_len, saved);
    return reason;
}

static uint32_t judge(const gl_record *r) {
    uint32_t reason = 0;
    check_begin((r->flags & GL_VALUE_NULL ? 0 : r->value_len) + r->headers_len + (r->flags & GL_KEY_NULL ? 0 : r->key_len));
    for (uint32_t i = 0; i < n_headers && reason == 0; i++) reason = judge_header(r, &headers[i]);
    if (reason == 0 && rules.has_key) reason = judge_key(r);
    return reason != 0 ? reason : judge_value(r);
}

static int32_t transform(gl_call *c, gl_record *r) {
    (void)c;
    uint32_t reason = judge(r);
    return reason != 0 ? gl_reject(r, reason) : GL_OK;
}

GUARDLOCK_INIT(init)
GUARDLOCK_TRANSFORM(transform)
