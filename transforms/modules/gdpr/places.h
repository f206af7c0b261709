// places.h: rules of places that are not in JSON: columns of CSV, headers, the key,
// and a value as one text.
#ifndef GUARDLOCK_GDPR_PLACES_H
#define GUARDLOCK_GDPR_PLACES_H

#include "apply.h"

#define MAX_PLACES 64
#define MAX_COLUMNS 256

// named is a rule of a column or header of a name; a header's may be "*".
typedef struct named {
    rule rule;
    config_text name;
} named;

static struct {
    named columns[MAX_PLACES], headers[MAX_PLACES];
    uint32_t n_columns, n_headers;
    rule key, value;
    bool has_key, has_value, any_missing;
    config_text names[MAX_COLUMNS];  // of the columns, in order, where the configuration has them
    uint32_t n_names;
    bool names_first;                // the first line of each value has them
    uint8_t delimiter;
} places = {.delimiter = ','};

// found are the rules of places that led to something in a record: bits.
typedef struct found {
    uint64_t columns, headers;
    bool key, value;
} found;

// change is the changing of one record.
typedef struct change {
    gl_call *call;
    gl_record *record;
    uint32_t actions;  // a bit per action applied
    found found;
} change;

// What the functions below answer besides GL_OK and GL_ERR_ codes.
enum { CHANGE_UNREADABLE = TEXT_UNREADABLE, CHANGE_INVALID_CSV, CHANGE_INVALID_UTF8 };

// fold_name brings a name into the spelling in which it is compared.
static uint32_t fold_name(uint8_t *p, uint32_t n) {
    return paths.fold && utf8_valid(p, p + n) ? paths_fold(p, n) : n;
}

// same_name compares a name of a record with one of the configuration, which is folded.
static bool same_name(text name, config_text want) {
    static uint8_t copy[PATHS_MAX_NAME + GL_SLACK];
    if (name.n > PATHS_MAX_NAME) return false;
    gl_copy(copy, name.p, name.n);
    uint32_t n = fold_name(copy, name.n);
    return n == want.len && gl_equal(copy, want.p, n);
}

static bool read_name(config_value v, config_text *name) {
    if (!config_string(v, PATHS_MAX_NAME, name) || name->len == 0) return false;
    name->len = fold_name((uint8_t *)name->p, name->len);
    return true;
}

static bool add_named(config_value where, const rule *r, named *list, uint32_t *n) {
    if (*n == MAX_PLACES) return false;
    named *at = &list[(*n)++];
    at->rule = *r;
    return read_name(where, &at->name);
}

// read_in takes "key" and "value". A key is not dropped: it decides on the partition
// and on what a compacted topic keeps, and should change only on purpose.
static bool read_in(config_value where, const rule *r) {
    static const char *const ins[] = {"key", "value", NULL};
    uint32_t in;
    if (!config_choice(where, ins, &in) || r->action == DROP) return false;
    bool *has = in == 0 ? &places.has_key : &places.has_value;
    if (*has) return false;
    *has = true;
    *(in == 0 ? &places.key : &places.value) = *r;
    return true;
}

GL_COLD bool add_place(int32_t place, config_value where, const rule *r) {
    places.any_missing |= r->required;
    if (place == RULE_COLUMN) return add_named(where, r, places.columns, &places.n_columns);
    if (place == RULE_HEADER) return add_named(where, r, places.headers, &places.n_headers);
    return read_in(where, r);
}

// read_columns takes a list of names, or "first_line".
GL_COLD bool read_columns(config_value v) {
    config_iter it;
    if (config_is(v, "first_line")) {
        places.names_first = true;
        return true;
    }
    if (!config_array(v, &it)) return false;
    while (config_next(&it)) {
        if (places.n_names == MAX_COLUMNS || !read_name(it.value, &places.names[places.n_names])) return false;
        places.n_names++;
    }
    return places.n_names > 0;
}

GL_COLD bool read_delimiter(config_value v) {
    static const char *const words[] = {",", ";", "|", "\\t", NULL};
    static const uint8_t bytes[] = {',', ';', '|', '\t'};
    uint32_t n;
    if (!config_choice(v, words, &n)) return false;
    places.delimiter = bytes[n];
    return true;
}

// strongest returns the rule of a name that hides most, or NULL, and marks all of them.
static const rule *strongest(const named *list, uint32_t n, text name, uint64_t *marks) {
    const rule *best = NULL;
    for (uint32_t i = 0; i < n; i++) {
        bool any = list == places.headers && list[i].name.len == 1 && *list[i].name.p == '*';
        if (!any && !same_name(name, list[i].name)) continue;
        *marks |= 1ull << i;
        if (best == NULL || hides_more(&list[i].rule, best)) best = &list[i].rule;
    }
    return best;
}

// ---- columns ----

// columns are the rules of a value's columns, and which rules led to each.
typedef struct columns {
    const rule *rules[MAX_COLUMNS];
    uint64_t marks[MAX_COLUMNS];
    uint32_t n;
} columns;

static columns known_columns, line_columns;

static bool add_column(columns *c, text name) {
    if (c->n == MAX_COLUMNS) return false;
    c->marks[c->n] = 0;
    c->rules[c->n] = strongest(places.columns, places.n_columns, name, &c->marks[c->n]);
    c->n++;
    return true;
}

// choose_columns finds the rules of the columns that the configuration names; false if
// a rule is of a column that is not there.
GL_COLD bool choose_columns(void) {
    uint64_t marks = 0;
    if (places.names_first) return true;
    for (uint32_t i = 0; i < places.n_names; i++) {
        add_column(&known_columns, (text){places.names[i].p, places.names[i].len});
        marks |= known_columns.marks[i];
    }
    for (uint32_t i = 0; i < places.n_columns; i++)
        if (!(marks >> i & 1)) return false;
    return true;
}

// cell is one field of CSV: where it lies, quotes included, and what it says.
typedef struct cell {
    uint32_t from, to;
    text text;
    bool last;  // of its line
} cell;

// read_quoted takes a field that begins with a quote. What it says lies in the arena if
// there are quotes in it.
static int32_t read_quoted(gl_call *c, text in, cell *f) {
    uint32_t at = f->from + 1, doubled = 0;
    for (;; at++) {
        if (at >= in.n) return CHANGE_INVALID_CSV;
        if (in.p[at] != '"') continue;
        if (at + 1 >= in.n || in.p[at + 1] != '"') break;
        doubled++;
        at++;
    }
    f->to = at + 1;
    f->text = (text){in.p + f->from + 1, at - f->from - 1};
    if (doubled == 0) return GL_OK;
    uint8_t *plain = gl_take(c, f->text.n), *d = plain;
    if (plain == NULL) return GL_ERR_SPACE;
    for (uint32_t i = 0; i < f->text.n; i++) {
        *d++ = f->text.p[i];
        i += f->text.p[i] == '"';
    }
    f->text = (text){plain, (uint32_t)(d - plain)};
    return GL_OK;
}

// read_cell reads the field at *at and steps behind what ends it. The grammar is that
// of RFC 4180, with CRLF or LF: a reader of another mind would see other columns.
static int32_t read_cell(gl_call *c, text in, uint32_t *at, cell *f) {
    *f = (cell){.from = *at, .to = *at};
    if (*at < in.n && in.p[*at] == '"') {
        int32_t rc = read_quoted(c, in, f);
        if (rc != GL_OK) return rc;
    } else {
        while (f->to < in.n && in.p[f->to] != places.delimiter && in.p[f->to] != '\n' && in.p[f->to] != '\r')
            if (in.p[f->to++] == '"') return CHANGE_INVALID_CSV;
        f->text = (text){in.p + f->from, f->to - f->from};
    }
    *at = f->to;
    f->last = true;
    if (*at == in.n) return GL_OK;
    if (in.p[*at] == places.delimiter) {
        f->last = false;
        ++*at;
        return GL_OK;
    }
    if (in.p[*at] == '\r') ++*at;
    if (*at == in.n || in.p[*at] != '\n') return CHANGE_INVALID_CSV;
    ++*at;
    return GL_OK;
}

// quote_cell writes a text as a field, in quotes where it needs them.
static bool quote_cell(gl_call *c, text t, text *out) {
    bool plain = t.n == 0 || (t.p[0] != ' ' && t.p[t.n - 1] != ' ');
    for (uint32_t i = 0; i < t.n; i++)
        if (t.p[i] == places.delimiter || t.p[i] == '"' || t.p[i] == '\n' || t.p[i] == '\r') plain = false;
    *out = t;
    if (plain) return true;
    uint8_t *start = t.n < UINT32_MAX / 4 ? gl_room(c, t.n * 2 + 2) : NULL, *d = start;
    if (start == NULL) return false;
    *d++ = '"';
    for (uint32_t i = 0; i < t.n; i++) {
        if (t.p[i] == '"') *d++ = '"';
        *d++ = t.p[i];
    }
    *d++ = '"';
    *out = (text){start, (uint32_t)(d - start)};
    gl_take(c, out->n);
    return true;
}

// change_cell applies a column's rule. An empty field is like null, and stays, but
// under a rule that redacts.
static int32_t change_cell(change *ch, const rule *r, const cell *f) {
    text made = {NULL, 0};
    if (f->text.n == 0 && r->action != REDACT) return GL_OK;
    int32_t rc = r->action == DROP ? GL_OK : rule_text(ch->call, r, f->text, &made);
    if (rc != GL_OK) return rc;
    if (same_text(f->text, made)) return GL_OK;
    if (!quote_cell(ch->call, made, &made)) return GL_ERR_SPACE;
    ch->actions |= ACTION(r->action);
    return gl_edit(ch->call, f->from, f->to - f->from, made.p, made.n);
}

static int32_t change_line(change *ch, text in, uint32_t *at, const columns *cols) {
    cell f = {.last = false};
    for (uint32_t i = 0; !f.last; i++) {
        int32_t rc = read_cell(ch->call, in, at, &f);
        if (rc != GL_OK) return rc;
        // A line of another length has its fields in other columns.
        if (i == cols->n || f.last != (i + 1 == cols->n)) return CHANGE_INVALID_CSV;
        if (f.text.n > 0) ch->found.columns |= cols->marks[i];
        if (cols->rules[i] != NULL && (rc = change_cell(ch, cols->rules[i], &f)) != GL_OK) return rc;
    }
    return GL_OK;
}

static int32_t read_first_line(change *ch, text in, uint32_t *at) {
    cell f = {.last = false};
    line_columns.n = 0;
    while (!f.last) {
        int32_t rc = read_cell(ch->call, in, at, &f);
        if (rc != GL_OK) return rc;
        if (!add_column(&line_columns, f.text)) return CHANGE_INVALID_CSV;
    }
    return GL_OK;
}

// change_csv changes the columns of a value. One that begins with a byte order mark is
// refused: it would be a part of the first field.
GL_COLD int32_t change_csv(change *ch) {
    text in = {ch->record->value, ch->record->value_len};
    uint32_t at = 0;
    if (!utf8_valid(in.p, in.p + in.n)) return CHANGE_INVALID_UTF8;
    if (in.n == 0 || (in.n >= 3 && in.p[0] == 0xef && in.p[1] == 0xbb && in.p[2] == 0xbf)) return CHANGE_INVALID_CSV;
    int32_t rc = places.names_first ? read_first_line(ch, in, &at) : GL_OK;
    while (rc == GL_OK && at < in.n) rc = change_line(ch, in, &at, places.names_first ? &line_columns : &known_columns);
    return rc;
}

// ---- the value as a text, the key, the headers ----

GL_COLD int32_t change_value(change *ch) {
    text in = {ch->record->value, ch->record->value_len}, made;
    int32_t rc = rule_text(ch->call, &places.value, in, &made);
    ch->found.value = true;
    if (rc != GL_OK || same_text(in, made)) return rc;
    ch->actions |= ACTION(places.value.action);
    return gl_edit(ch->call, 0, in.n, made.p, made.n);
}

static int32_t change_key(change *ch) {
    gl_record *r = ch->record;
    if (r->flags & GL_KEY_NULL) return GL_OK;
    text in = {r->key, r->key_len}, made;
    int32_t rc = rule_text(ch->call, &places.key, in, &made);
    ch->found.key = true;
    if (rc != GL_OK || same_text(in, made)) return rc;
    ch->actions |= ACTION(places.key.action);
    r->key = (uint8_t *)made.p;
    r->key_len = made.n;
    return GL_OK;
}

// header_change is what becomes of one header.
typedef struct header_change {
    bool dropped, changed;
    text value;
} header_change;

static int32_t change_header(change *ch, const gl_header *h, header_change *to) {
    text value = {h->value, h->value_len};
    uint64_t marks = 0;
    const rule *r = strongest(places.headers, places.n_headers, (text){h->key, h->key_len}, &marks);
    *to = (header_change){.value = value};
    if (h->value != NULL) ch->found.headers |= marks;
    if (r == NULL) return GL_OK;
    to->dropped = r->action == DROP;
    if (!to->dropped) {
        if (h->value == NULL && r->action != REDACT) return GL_OK;
        int32_t rc = rule_text(ch->call, r, value, &to->value);
        if (rc != GL_OK) return rc;
        to->changed = h->value == NULL || !same_text(value, to->value);
    }
    if (to->dropped || to->changed) ch->actions |= ACTION(r->action);
    return GL_OK;
}

// put_header writes a header as it was, or with the value that its rule made.
static uint8_t *put_header(uint8_t *p, const gl_header *h, const header_change *to) {
    if (!to->changed) return write_text(p, h->entry, (uint32_t)(h->next - h->entry));
    p = gl_put_varint(p, (int32_t)h->key_len);
    p = write_text(p, h->key, h->key_len);
    p = gl_put_varint(p, (int32_t)to->value.n);
    return write_text(p, to->value.p, to->value.n);
}

#define MAX_HEADERS 1024

// change_headers writes the block anew if a header changes, all others as they were and
// in order.
static int32_t change_headers(change *ch) {
    static header_change changes[MAX_HEADERS];
    gl_record *r = ch->record;
    gl_header h;
    uint32_t n = 0, left = 0, size = 16;
    bool any = false;
    int32_t step = gl_headers(r, &h) ? 0 : GL_ERR_MALFORMED;
    while (step >= 0 && (step = gl_next_header(&h)) == 1) {
        if (n == MAX_HEADERS) return CHANGE_UNREADABLE;
        header_change *to = &changes[n++];
        int32_t rc = change_header(ch, &h, to);
        if (rc != GL_OK) return rc;
        any |= to->dropped || to->changed;
        left += !to->dropped;
        size += (uint32_t)(h.next - h.entry) + (to->changed ? to->value.n + 5 : 0);
    }
    if (step < 0 || !any) return step < 0 ? step : GL_OK;
    uint8_t *start = gl_room(ch->call, size);
    if (start == NULL) return GL_ERR_SPACE;
    uint8_t *p = gl_put_varint(start, (int32_t)left);
    gl_headers(r, &h);
    for (uint32_t i = 0; i < n && gl_next_header(&h) == 1; i++)
        if (!changes[i].dropped) p = put_header(p, &h, &changes[i]);
    r->headers = start;
    r->headers_len = (uint32_t)(p - start);
    r->flags |= GL_HEADERS_REPLACED;
    gl_take(ch->call, r->headers_len);
    return GL_OK;
}

// change_rest changes what is beside the value.
GL_COLD int32_t change_rest(change *ch) {
    int32_t rc = places.has_key ? change_key(ch) : GL_OK;
    return rc == GL_OK && places.n_headers > 0 ? change_headers(ch) : rc;
}

// places_missing tells whether a rule that must lead to something did not.
GL_COLD bool places_missing(const change *ch) {
    const found *f = &ch->found;
    for (uint32_t i = 0; i < places.n_columns; i++)
        if (places.columns[i].rule.required && !(f->columns >> i & 1)) return true;
    for (uint32_t i = 0; i < places.n_headers; i++)
        if (places.headers[i].rule.required && !(f->headers >> i & 1)) return true;
    return (places.has_key && places.key.required && !f->key) || (places.has_value && places.value.required && !f->value);
}

#endif
