// enrich: adds to a record what a table says of one of its fields.
//
//     {"tables": {...},
//      "rules": [{"path": "$.client.ip", "table": "places", "into": "geo",
//                 "set": {"country": "country.iso_code", "asn": "autonomous_system_number"},
//                 "numbers": ["asn"]}],
//      "on_missing": "pass", "on_not_found": "pass", "on_invalid_key": "reject", "on_stale": "reject"}
//
// tables is for the host (docs/host-functions.md). A rule takes the text or number at
// its path, or the last header of a name ("header" instead of "path"), as the key of a
// row. What it finds becomes a member of the value's object, under the name into: an
// object of the names of set, each with the value of a column. A column without a value
// is left out. Values are texts; those that numbers names are numbers where they can be.
// With "target": "headers" each becomes a header into.name instead.
//
// A member or header of these names that came with the record is taken away, found or
// not: a producer cannot make up what a consumer takes for the table's word. All other
// members keep their bytes and their order. A null value passes.
#include "../include/paths.h"

#define REASONS(FIRST, NEXT)                     \
    FIRST(ADDED, "enrich.added")                 \
    NEXT(REMOVED, "enrich.removed")              \
    NEXT(INVALID_JSON, "enrich.invalid_json")    \
    NEXT(TOO_DEEP, "enrich.too_deep")            \
    NEXT(NOT_AN_OBJECT, "enrich.not_an_object")  \
    NEXT(MISSING, "enrich.missing")              \
    NEXT(AMBIGUOUS, "enrich.ambiguous")          \
    NEXT(INVALID_KEY, "enrich.invalid_key")      \
    NEXT(NOT_FOUND, "enrich.not_found")          \
    NEXT(STALE, "enrich.stale")                  \
    NEXT(NO_TABLE, "enrich.no_table")            \
    NEXT(TOO_LARGE, "enrich.too_large")
GUARDLOCK_REASONS(REASONS)

#define MAX_RULES 8
#define MAX_COLUMNS 16
#define MAX_KEY 1024
#define MAX_NAME 128
#define MAX_ROW 4096

typedef struct column {
    config_value literal;  // the member's name, as JSON
    config_text name;      // of the header
    bool number;
} column;

typedef struct rule {
    bool has_path;
    uint32_t path;        // its number among the paths
    config_text header;   // or the header that has the key
    config_text table;
    config_value into;    // as JSON
    config_text name;     // into, decoded
    uint32_t to_headers;
    uint8_t *names;       // of the columns, a line each
    uint32_t names_len, n_columns;
    column columns[MAX_COLUMNS];
} rule;

static rule rules[MAX_RULES];
static uint32_t n_rules, reject_missing, reject_not_found, pass_invalid_key, pass_stale;
static bool to_value;                      // a rule adds to the value
static uint8_t node_rules[PATHS_MAX_NODES];  // of the rules whose path ends there

// ---- configuration ----

static const char *const pass_reject[] = {"pass", "reject", NULL};
static const char *const reject_pass[] = {"reject", "pass", NULL};

GL_COLD bool same_text(config_text a, config_text b) { return a.len == b.len && gl_equal(a.p, b.p, a.len); }

// read_set reads the columns, whose names go to the host as they are.
GL_COLD bool read_set(rule *r, config_value v) {
    config_iter it;
    if (!config_object(v, &it) || (r->names = gl_alloc((uint32_t)(v.end - v.p), 16)) == NULL) return false;
    while (config_next(&it)) {
        config_text path;
        column *c = &r->columns[r->n_columns];
        if (r->n_columns == MAX_COLUMNS || !config_string(it.value, MAX_NAME, &path) || path.len == 0) return false;
        if (gl_find(path.p, path.len, '\n') != NULL) return false;
        if (!config_string(it.key, MAX_NAME, &c->name) || c->name.len == 0) return false;
        c->literal = it.key;
        for (uint32_t i = 0; i < r->n_columns; i++)
            if (same_text(r->columns[i].name, c->name)) return false;
        if (r->n_columns++ > 0) r->names[r->names_len++] = '\n';
        gl_copy(r->names + r->names_len, path.p, path.len);
        r->names_len += path.len;
    }
    return r->n_columns > 0;
}

GL_COLD bool read_numbers(rule *r, config_value v) {
    config_iter it;
    if (!config_array(v, &it)) return false;
    while (config_next(&it)) {
        config_text name;
        uint32_t i = 0;
        if (!config_string(it.value, MAX_NAME, &name)) return false;
        while (i < r->n_columns && !same_text(r->columns[i].name, name)) i++;
        if (i == r->n_columns) return false;
        r->columns[i].number = true;
    }
    return true;
}

enum rule_key { RULE_PATH, RULE_HEADER, RULE_TABLE, RULE_INTO, RULE_SET, RULE_NUMBERS, RULE_TARGET };
static const char *const rule_keys[] = {"path", "header", "table", "into", "set", "numbers", "target", NULL};

GL_COLD bool read_rule_member(const config_iter *it, int32_t key, rule *r, config_value *numbers) {
    static const char *const targets[] = {"value", "headers", NULL};
    switch (key) {
    case RULE_PATH:
        r->has_path = true;
        r->path = paths.n_rules;
        return paths_add(it->value);
    case RULE_HEADER: return config_string(it->value, MAX_NAME, &r->header) && r->header.len > 0;
    case RULE_TABLE: return config_string(it->value, MAX_NAME, &r->table);
    case RULE_INTO:
        r->into = it->value;
        return config_string(it->value, MAX_NAME, &r->name) && r->name.len > 0;
    case RULE_SET: return read_set(r, it->value);
    case RULE_NUMBERS: *numbers = it->value; return true;
    case RULE_TARGET: return config_choice(it->value, targets, &r->to_headers);
    }
    return false;
}

GL_COLD bool read_rule(config_value v) {
    config_iter it;
    config_value numbers = {NULL, NULL};
    uint32_t seen = 0, need = 1u << RULE_TABLE | 1u << RULE_INTO | 1u << RULE_SET;
    if (n_rules == MAX_RULES || !config_object(v, &it)) return false;
    rule *r = &rules[n_rules];
    while (config_next(&it))
        if (!read_rule_member(&it, config_key(&it, rule_keys, &seen), r, &numbers)) return false;
    if ((seen & need) != need || (seen >> RULE_PATH & 1) == (seen >> RULE_HEADER & 1)) return false;
    if (numbers.p != NULL && (r->to_headers || !read_numbers(r, numbers))) return false;
    for (uint32_t i = 0; i < n_rules; i++)
        if (same_text(rules[i].name, r->name)) return false;
    to_value |= !r->to_headers;
    n_rules++;
    return true;
}

GL_COLD bool read_rules(config_value v) {
    config_iter it;
    if (!config_array(v, &it)) return false;
    while (config_next(&it))
        if (!read_rule(it.value)) return false;
    return n_rules > 0;
}

enum key { TABLES, RULES, ON_MISSING, ON_NOT_FOUND, ON_INVALID_KEY, ON_STALE };
static const char *const config_keys[] = {"tables", "rules", "on_missing", "on_not_found", "on_invalid_key", "on_stale", NULL};

GL_COLD bool read_member(const config_iter *it, int32_t key) {
    switch (key) {
    case TABLES: return *it->value.p == '{';
    case RULES: return read_rules(it->value);
    case ON_MISSING: return config_choice(it->value, pass_reject, &reject_missing);
    case ON_NOT_FOUND: return config_choice(it->value, pass_reject, &reject_not_found);
    case ON_INVALID_KEY: return config_choice(it->value, reject_pass, &pass_invalid_key);
    case ON_STALE: return config_choice(it->value, reject_pass, &pass_stale);
    }
    return false;
}

GL_COLD int32_t init(const uint8_t *p, uint32_t len) {
    config_value root;
    config_iter it;
    uint32_t seen = 0, need = 1u << TABLES | 1u << RULES;
    if (!config_open(p, len, &root) || !config_object(root, &it)) return 1;
    while (config_next(&it))
        if (!read_member(&it, config_key(&it, config_keys, &seen))) return 2;
    if ((seen & need) != need || (paths.n_rules > 0 && !paths_build())) return 3;
    for (uint32_t n = 0; n < paths.n_nodes; n++)
        for (uint32_t i = 0; i < n_rules; i++)
            if (rules[i].has_path && paths_accepts(n, rules[i].path)) node_rules[n] |= (uint8_t)(1u << i);
    return 0;
}

// ---- keys ----

// found is what a record has for a rule, and what the table has for that.
typedef struct found {
    uint32_t count, key_len;
    bool unusable;  // neither a text nor a number, or too long
    bool there;     // row holds what the host wrote
    uint32_t row_len;
    uint8_t key[MAX_KEY + GL_SLACK];
    uint8_t row[MAX_ROW + GL_SLACK];
} found;

static found all[MAX_RULES];

static void note(found *f, const uint8_t *p, const uint8_t *end) {
    f->count++;
    bool text = *p == '"';
    f->unusable = end - p > MAX_KEY || !(text || *p == '-' || (*p >= '0' && *p <= '9'));
    if (f->unusable) return;
    if (text) {
        f->key_len = json_decode(p + 1, end - 1, f->key);
        return;
    }
    f->key_len = (uint32_t)(end - p);
    gl_copy(f->key, p, f->key_len);
}

static const uint8_t *visit(void *self, const paths_match *m) {
    (void)self;
    const uint8_t *end = json_skip(m->value, m->depth);
    if (end == NULL || *m->value == 'n') return end;
    for (uint32_t i = 0; i < n_rules; i++)
        if (node_rules[m->node] >> i & 1) note(&all[i], m->value, end);
    return json_opens(*m->value) ? m->value : end;  // a path may go on in it
}

static int32_t keys_of_headers(const gl_record *r) {
    for (uint32_t i = 0; i < n_rules; i++) {
        gl_header h;
        int32_t step;
        if (rules[i].has_path) continue;
        if (!gl_headers(r, &h)) return GL_ERR_MALFORMED;
        while ((step = gl_next_header(&h)) == 1) {
            if (h.key_len != rules[i].header.len || !gl_equal(h.key, rules[i].header.p, h.key_len)) continue;
            all[i].count = h.value != NULL;
            all[i].unusable = h.value_len > MAX_KEY;
            if (all[i].unusable || h.value == NULL) continue;
            all[i].key_len = h.value_len;
            gl_copy(all[i].key, h.value, h.value_len);
        }
        if (step < 0) return step;
    }
    return GL_OK;
}

// look_up fills in the row of a rule. It returns the reason to reject the record for, 0
// to go on, or what ends the call, which is below zero.
static int32_t look_up(const rule *r, found *f) {
    if (f->count == 0) return reject_missing ? REASON_MISSING : 0;
    if (f->count > 1) return REASON_AMBIGUOUS;
    if (f->unusable) return pass_invalid_key ? 0 : REASON_INVALID_KEY;
    int32_t n = gl_lookup(r->table.p, r->table.len, f->key, f->key_len, r->names, r->names_len, f->row, MAX_ROW);
    switch (n) {
    case GL_BAD_ARGUMENTS: return pass_invalid_key ? 0 : REASON_INVALID_KEY;
    case GL_NOT_FOUND: return reject_not_found ? REASON_NOT_FOUND : 0;
    case GL_STALE: return pass_stale ? 0 : REASON_STALE;
    case GL_UNKNOWN: return REASON_NO_TABLE;
    case GL_TOO_SMALL: return REASON_TOO_LARGE;
    }
    if (n < 0) return GL_ERR_INTERNAL;
    f->there = true;
    f->row_len = (uint32_t)n;
    return 0;
}

// next_value steps over the values of a row; NULL for a column without one.
static inline const uint8_t *next_value(const uint8_t **row, uint32_t *len) {
    __builtin_memcpy(len, *row, 4);
    *row += 4;
    if (*len == GL_NO_VALUE) return NULL;
    const uint8_t *value = *row;
    *row += *len;
    return value;
}

// ---- values ----

static uint8_t *put_text(uint8_t *d, const uint8_t *p, uint32_t n) {
    static const char hex[] = "0123456789abcdef";
    const uint8_t *end = p + n;
    *d++ = '"';
    while (p < end) {
        uint32_t size = *p < 0x80 ? 1 : utf8_sequence(p, end);
        if (size == 0) {  // a table in another encoding
            d = utf8_put(d, 0xfffd);
            p++;
        } else if (*p == '"' || *p == '\\') {
            *d++ = '\\';
            *d++ = *p++;
        } else if (*p < 0x20) {
            gl_copy(d, "\\u00", 4);
            d[4] = (uint8_t)hex[*p >> 4];
            d[5] = (uint8_t)hex[*p++ & 15];
            d += 6;
        } else {
            for (; size > 0; size--) *d++ = *p++;
        }
    }
    *d++ = '"';
    return d;
}

// put_number writes a text as a number if it is one, else as a text.
static uint8_t *put_number(uint8_t *d, const uint8_t *p, uint32_t n) {
    gl_copy(d, p, n);
    d[n] = 0;
    if (n > 0 && (*d == '-' || (*d >= '0' && *d <= '9')) && json_number(d) == d + n) return d + n;
    return put_text(d, p, n);
}

static uint8_t *put_literal(uint8_t *d, config_value v) {
    gl_copy(d, v.p, (uint32_t)(v.end - v.p));
    return d + (v.end - v.p);
}

// put_row writes the member of a rule.
static uint8_t *put_row(uint8_t *d, const rule *r, const found *f) {
    const uint8_t *row = f->row;
    bool first = true;
    d = put_literal(d, r->into);
    *d++ = ':';
    *d++ = '{';
    for (uint32_t i = 0; i < r->n_columns; i++) {
        uint32_t len;
        const uint8_t *value = next_value(&row, &len);
        if (value == NULL) continue;
        if (!first) *d++ = ',';
        first = false;
        d = put_literal(d, r->columns[i].literal);
        *d++ = ':';
        d = r->columns[i].number ? put_number(d, value, len) : put_text(d, value, len);
    }
    *d++ = '}';
    return d;
}

// ours tells whether the key whose text is p[:n] is the member of a rule.
static bool ours(const uint8_t *p, const uint8_t *end) {
    static uint8_t text[6 * MAX_NAME + GL_SLACK];
    if (end - p > 6 * MAX_NAME) return false;
    uint32_t n = json_decode(p, end, text);
    for (uint32_t i = 0; i < n_rules; i++)
        if (!rules[i].to_headers && rules[i].name.len == n && gl_equal(rules[i].name.p, text, n)) return true;
    return false;
}

// room_for is the most that a value can become: a byte of a table is six at most.
static uint32_t room_for(const gl_record *r) {
    uint32_t need = r->value_len + 16;
    for (uint32_t i = 0; i < n_rules; i++) {
        if (rules[i].to_headers || !all[i].there) continue;
        need += (uint32_t)(rules[i].into.end - rules[i].into.p) + 8 + 6 * all[i].row_len;
        for (uint32_t k = 0; k < rules[i].n_columns; k++)
            need += (uint32_t)(rules[i].columns[k].literal.end - rules[i].columns[k].literal.p) + 4;
    }
    return need;
}

// rewrite writes the object at p anew: its own members but ours, then those of the
// rules. It returns the reason for what it did, 0 if that is nothing.
static int32_t rewrite(gl_call *c, gl_record *r, const uint8_t *p) {
    uint8_t *start = gl_room(c, room_for(r)), *d = start;
    int32_t reason = 0;
    if (start == NULL) return GL_ERR_SPACE;
    *d++ = '{';
    p = json_space(p + 1);
    while (*p != '}') {
        const uint8_t *quote = json_string(p + 1), *end = json_skip(json_colon(quote), 1);
        if (ours(p + 1, quote)) {
            reason = REASON_REMOVED;
        } else {
            if (d > start + 1) *d++ = ',';
            gl_copy(d, p, (uint32_t)(end - p));
            d += end - p;
        }
        p = json_space(end);
        if (*p == ',') p = json_space(p + 1);
    }
    for (uint32_t i = 0; i < n_rules; i++) {
        if (rules[i].to_headers || !all[i].there) continue;
        if (d > start + 1) *d++ = ',';
        d = put_row(d, &rules[i], &all[i]);
        reason = REASON_ADDED;
    }
    if (reason == 0) return 0;
    *d++ = '}';
    c->used += (uint32_t)(d - start);
    r->value = start;
    r->value_len = (uint32_t)(d - start);
    return reason;
}

// ---- headers ----

// set_headers gives the record the headers of one rule, or takes them away.
static int32_t set_headers(gl_call *c, gl_record *r, const rule *u, const found *f) {
    static uint8_t name[2 * MAX_NAME + 1 + GL_SLACK];
    const uint8_t *row = f->row;
    gl_copy(name, u->name.p, u->name.len);
    name[u->name.len] = '.';
    for (uint32_t i = 0; i < u->n_columns; i++) {
        const config_text *column = &u->columns[i].name;
        uint32_t len = 0;
        const uint8_t *value = f->there ? next_value(&row, &len) : NULL;
        gl_copy(name + u->name.len + 1, column->p, column->len);
        int32_t rc = gl_set_header(c, r, name, u->name.len + 1 + column->len, value, value ? len : 0);
        if (rc != GL_OK) return rc;
    }
    return GL_OK;
}

// ---- records ----

// judgement is the reason to reject a record for, or what ends the call (below zero);
// and if there is neither, the reason for what was done to its value.
typedef struct judgement {
    int32_t rejects, done;
} judgement;

// judge reads the value, if a rule has to do with it, looks everything up, and writes
// the value anew.
static judgement judge(gl_call *c, gl_record *r, uint8_t *saved) {
    const uint8_t *start = NULL, *p;
    if (to_value || paths.n_rules > 0) {
        p = start = json_begin(r->value, r->value_len, saved);
        if (p != NULL) p = paths.n_rules > 0 ? paths_walk(p, visit, NULL) : json_skip(p, 0);
        if (p == NULL || json_space(p) != r->value + r->value_len)
            return (judgement){json_fault == JSON_TOO_DEEP ? REASON_TOO_DEEP : REASON_INVALID_JSON, 0};
        if (to_value && *start != '{') return (judgement){REASON_NOT_AN_OBJECT, 0};
    }
    for (uint32_t i = 0; i < n_rules; i++) {
        int32_t rc = look_up(&rules[i], &all[i]);
        if (rc != 0) return (judgement){rc, 0};
    }
    int32_t done = to_value ? rewrite(c, r, start) : 0;
    return done < 0 ? (judgement){done, 0} : (judgement){0, done};
}

static int32_t transform(gl_call *c, gl_record *r) {
    uint8_t *value = r->value, saved;
    uint32_t len = r->value_len;
    if (r->flags & GL_VALUE_NULL) return GL_OK;
    saved = value[len];  // judge does not begin to read every value
    for (uint32_t i = 0; i < n_rules; i++) {
        all[i].count = 0;
        all[i].there = all[i].unusable = false;
    }
    int32_t rc = keys_of_headers(r);
    if (rc < 0) return rc;
    judgement j = judge(c, r, &saved);
    json_end(value, len, saved);
    if (j.rejects < 0) return j.rejects;
    if (j.rejects > 0) return gl_reject(r, (uint32_t)j.rejects);
    for (uint32_t i = 0; i < n_rules; i++) {
        if (!rules[i].to_headers) continue;
        if ((rc = set_headers(c, r, &rules[i], &all[i])) != GL_OK) return rc;
        if (r->flags & GL_HEADERS_REPLACED) {
            if (all[i].there) j.done = REASON_ADDED;
            else if (j.done == 0) j.done = REASON_REMOVED;
        }
    }
    return j.done == 0 ? GL_OK : gl_modified(r, (uint32_t)j.done);
}

GUARDLOCK_INIT(init)
GUARDLOCK_TRANSFORM(transform)
