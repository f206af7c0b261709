// convert: one format for a training set, from CSV, JSON, JSON Lines and XML.
//
//     {"from": "csv", "to": "json", "single": true, "fields": [
//        {"from": "Customer ID", "to": "customer"},
//        {"from": "Amount", "to": "amount", "type": "number"},
//        {"from": "Note", "to": "note", "on_missing": "null"}],
//      "unknown_fields": "drop"}
//
// from: csv json jsonl xml; to: json jsonl csv. JSON is always written as RFC 8785
// has it (canonical.h). A record holds rows: the lines of a CSV behind its header,
// the elements of an array, the lines of JSON Lines, or in XML the root's children
// named "row" (without "row", the root itself is the one row). JSON then holds
// an array of them; with "single" there must be one row, which is the value. What
// was one JSON value stays one, and needs no "single".
//
// fields names, by its name there, what a row may hold: "to" another name, "type"
// string, number, integer, boolean or any (default), "on_missing" pass (default),
// reject or null. A text becomes a number if it is one of JSON's, and true or false
// a boolean; an empty text of another type than string is missing. Fields that are
// not listed are kept, or with "unknown_fields" dropped or rejected. Without
// fields all are kept; CSV is written from fields alone, in their order.
//
// "delimiter" is CSV's, "columns" are the names of a CSV without a header.
// "numbers": "round" lets digits go that a double has not. A null value passes.
#include "../../sdk/c/guardlock.h"
#include "../include/config.h"

#define REASONS(FIRST, NEXT)                               \
    FIRST(CONVERTED, "convert.converted")                  \
    NEXT(INVALID_CSV, "convert.invalid_csv")               \
    NEXT(INVALID_JSON, "convert.invalid_json")             \
    NEXT(INVALID_XML, "convert.invalid_xml")               \
    NEXT(INVALID_UTF8, "convert.invalid_utf8")             \
    NEXT(TOO_DEEP, "convert.too_deep")                     \
    NEXT(TOO_LARGE, "convert.too_large")                   \
    NEXT(RAGGED, "convert.ragged_row")                     \
    NEXT(HEADER, "convert.header")                         \
    NEXT(ROWS, "convert.rows")                             \
    NEXT(NOT_AN_OBJECT, "convert.not_an_object")           \
    NEXT(DUPLICATE_KEY, "convert.duplicate_key")           \
    NEXT(MISSING_FIELD, "convert.missing_field")           \
    NEXT(UNKNOWN_FIELD, "convert.unknown_field")           \
    NEXT(TYPE, "convert.type")                             \
    NEXT(NUMBER, "convert.number")                         \
    NEXT(LONE_SURROGATE, "convert.lone_surrogate")         \
    NEXT(MIXED, "convert.mixed_text")                      \
    NEXT(DOCTYPE, "convert.doctype")
GUARDLOCK_REASONS(REASONS)

#include "canonical.h"
#include "csv.h"
#include "xml.h"

#define MAX_FIELDS 256u
#define MAX_NAME 1024u

enum format { JSON, JSONL, CSV, XML };
enum type { ANY, STRING, NUMBER, INTEGER, BOOLEAN };
enum missing { MISSING_PASS, MISSING_REJECT, MISSING_NULL };
enum unknown { KEEP, DROP, REJECT };

typedef struct field {
    config_text from, to;
    uint32_t type, missing;
} field;

static field fields[MAX_FIELDS];
static uint32_t n_fields;
static config_text columns[CSV_MAX_COLUMNS];
static uint32_t n_columns, named_columns;

static struct {
    uint32_t from, to, unknown;
    bool single;
    config_text row;
} options;

// ---- configuration ----

enum field_key { FIELD_FROM, FIELD_TO, FIELD_TYPE, FIELD_MISSING };
static const char *const field_keys[] = {"from", "to", "type", "on_missing", NULL};

static inline bool same_text(config_text a, config_text b) { return a.len == b.len && gl_equal(a.p, b.p, a.len); }

GL_COLD bool read_field(config_value v) {
    static const char *const types[] = {"any", "string", "number", "integer", "boolean", NULL};
    static const char *const missing[] = {"pass", "reject", "null", NULL};
    config_iter it;
    uint32_t seen = 0;
    if (n_fields == MAX_FIELDS || !config_object(v, &it)) return false;
    field *f = &fields[n_fields];
    while (config_next(&it)) {
        bool good = false;
        switch (config_key(&it, field_keys, &seen)) {
        case FIELD_FROM: good = config_string(it.value, MAX_NAME, &f->from); break;
        case FIELD_TO: good = config_string(it.value, MAX_NAME, &f->to); break;
        case FIELD_TYPE: good = config_choice(it.value, types, &f->type); break;
        case FIELD_MISSING: good = config_choice(it.value, missing, &f->missing); break;
        }
        if (!good) return false;
    }
    if (!(seen >> FIELD_FROM & 1)) return false;
    if (!(seen >> FIELD_TO & 1)) f->to = f->from;
    for (uint32_t i = 0; i < n_fields; i++)
        if (same_text(fields[i].from, f->from) || same_text(fields[i].to, f->to)) return false;
    n_fields++;
    return true;
}

GL_COLD bool read_fields(config_value v) {
    config_iter it;
    if (!config_array(v, &it)) return false;
    while (config_next(&it))
        if (!read_field(it.value)) return false;
    return n_fields > 0;
}

// add_column takes the name of one more column, which no other has.
static bool add_column(config_text name) {
    for (uint32_t i = 0; i < n_columns; i++)
        if (same_text(columns[i], name)) return false;
    columns[n_columns++] = name;
    return true;
}

GL_COLD bool read_columns(config_value v) {
    config_iter it;
    config_text name;
    if (!config_array(v, &it)) return false;
    while (config_next(&it))
        if (n_columns == CSV_MAX_COLUMNS || !config_string(it.value, MAX_NAME, &name) || !add_column(name)) return false;
    named_columns = n_columns;
    return n_columns > 0;
}

GL_COLD bool read_delimiter(config_value v) {
    static const char *const words[] = {",", ";", "|", "\\t", NULL};
    uint32_t i;
    if (!config_choice(v, words, &i)) return false;
    csv_comma = (uint8_t)",;|\t"[i];
    return true;
}

enum key { FROM, TO, SINGLE, FIELDS, UNKNOWN, DELIMITER, COLUMNS, ROW, NUMBERS };
static const char *const config_keys[] = {"from", "to", "single", "fields", "unknown_fields", "delimiter", "columns", "row", "numbers", NULL};

GL_COLD bool read_option(config_value v, int32_t key) {
    static const char *const formats[] = {"json", "jsonl", "csv", "xml", NULL};
    static const char *const unknown[] = {"keep", "drop", "reject", NULL};
    static const char *const numbers[] = {"exact", "round", NULL};
    switch (key) {
    case FROM: return config_choice(v, formats, &options.from);
    case TO: return config_choice(v, formats, &options.to) && options.to != XML;
    case SINGLE: options.single = *v.p == 't'; return *v.p == 't' || *v.p == 'f';
    case FIELDS: return read_fields(v);
    case UNKNOWN: return config_choice(v, unknown, &options.unknown);
    case DELIMITER: return read_delimiter(v);
    case COLUMNS: return read_columns(v);
    case ROW: return config_string(v, MAX_NAME, &options.row) && options.row.len > 0;
    case NUMBERS: return config_choice(v, numbers, &canonical_round);
    }
    return false;
}

GL_COLD int32_t init(const uint8_t *p, uint32_t len) {
    config_value root;
    config_iter it;
    uint32_t seen = 0;
    if (!config_open(p, len, &root) || !config_object(root, &it)) return 1;
    while (config_next(&it))
        if (!read_option(it.value, config_key(&it, config_keys, &seen))) return 2;
    bool from_csv = options.from == CSV, to_csv = options.to == CSV;
    if (!(seen >> FROM & 1) || !(seen >> TO & 1)) return 3;
    if (to_csv && (n_fields == 0 || options.unknown == KEEP)) return 4;  // it would have other columns from record to record
    if ((seen >> UNKNOWN & 1) && n_fields == 0) return 5;
    if ((seen >> COLUMNS & 1) && !from_csv) return 6;
    if ((seen >> DELIMITER & 1) && !from_csv && !to_csv) return 7;
    if ((seen >> ROW & 1) && options.from != XML) return 8;
    if (options.single && options.to != JSON) return 9;
    canonical_lists = options.from == XML;
    return 0;
}

// ---- fields ----

static buffer out, source;
static uint32_t rows;
static bool as_array;

// is_number tells whether a decoded text is a JSON number, and a whole one.
static bool is_number(config_text t, bool whole) {
    static uint8_t copy[512 + GL_SLACK];
    if (t.len == 0 || t.len > 512 || !(number_starts(t.p[0]))) return false;
    gl_copy(copy, t.p, t.len);
    copy[t.len] = 0;
    if (json_number(copy) != copy + t.len) return false;
    number n = number_read(copy, copy + t.len);
    return !whole || n.zero || n.magnitude >= (int64_t)number_count(n) - 1;
}

static bool text_is(config_text t, const char *word) {
    uint32_t i = 0;
    for (; word[i] != 0; i++)
        if (i >= t.len || t.p[i] != (uint8_t)word[i]) return false;
    return i == t.len;
}

// write_converted writes a text as a value of another type.
static bool write_converted(buffer *to, config_text t, uint32_t type) {
    if (type == BOOLEAN) {
        if (!text_is(t, "true") && !text_is(t, "false")) return fail(REASON_TYPE);
        return buffer_put(to, t.p, t.len) || fail(REASON_TOO_LARGE);
    }
    if (!is_number(t, type == INTEGER)) return fail(REASON_TYPE);
    return canonical_number(to, number_read(t.p, t.p + t.len));
}

// fits tells whether a value that is no text is of a type.
static bool fits(const member *m, uint32_t type) {
    uint8_t c = *m->value;
    if (type == BOOLEAN) return c == 't' || c == 'f';
    if (!number_starts(c) || type == STRING) return false;
    number n = number_read(m->value, m->end);
    return type == NUMBER || n.zero || n.magnitude >= (int64_t)number_count(n) - 1;
}

// write_field writes a member's value, as the type of its field.
static bool write_field(buffer *to, const member *m) {
    uint32_t type = m->field != 0 ? fields[m->field - 1].type : ANY;
    config_text text;
    if (m->value == NULL) return buffer_put(to, "null", 4) || fail(REASON_TOO_LARGE);
    if (type == ANY || *m->value == 'n' || (type == STRING && *m->value == '"')) return canonical_value(to, m->value);
    if (*m->value != '"') return fits(m, type) ? canonical_value(to, m->value) : fail(REASON_TYPE);
    return canonical_decode(m->value, m->end, &text) && write_converted(to, text, type);
}

// is_missing tells whether a value stands for none: null, or an empty text that
// should be a number or a boolean.
static bool is_missing(const member *m, uint32_t type) {
    return *m->value == 'n' || (type > STRING && m->value[0] == '"' && m->value[1] == '"');
}

// take_member finds the field of a member; false if it is refused. One that is
// dropped is not pushed.
static bool take_member(member m, bool *found) {
    for (uint32_t i = 0; i < n_fields; i++) {
        if (!same_text(fields[i].from, m.key)) continue;
        if (found[i] && !canonical_lists) return fail(REASON_DUPLICATE_KEY);
        if (is_missing(&m, fields[i].type)) return true;
        found[i] = true;
        m.key = fields[i].to;
        m.field = i + 1;
        return member_push(m);
    }
    if (n_fields != 0 && options.unknown == REJECT) return fail(REASON_UNKNOWN_FIELD);
    if (n_fields != 0 && options.unknown == DROP) return true;
    return member_push(m);
}

// take_missing answers for the fields that a row has not.
static bool take_missing(const bool *found) {
    for (uint32_t i = 0; i < n_fields; i++) {
        if (found[i] || fields[i].missing == MISSING_PASS) continue;
        if (fields[i].missing == MISSING_REJECT) return fail(REASON_MISSING_FIELD);
        if (!member_push((member){.key = fields[i].to, .field = i + 1})) return false;
    }
    return true;
}

// ---- rows ----

// write_cell writes one field of a CSV row: a text as it is, a number or boolean in
// its JSON spelling, null as nothing.
static bool write_cell(const member *m) {
    static buffer cell;
    config_text text;
    cell.len = 0;
    if (!write_field(&cell, m)) return false;
    if (cell.len == 0 || cell.p[0] == 'n') return true;
    if (json_opens(cell.p[0])) return fail(REASON_TYPE);
    text = (config_text){cell.p, cell.len};
    if (cell.p[0] == '"' && !canonical_decode(m->value, m->end, &text)) return false;
    return csv_put(&out, text.p, text.len) || fail(REASON_TOO_LARGE);
}

static bool write_csv_row(void) {
    for (uint32_t i = 0; i < n_fields; i++) {
        if (i > 0 && !buffer_byte(&out, csv_comma)) return fail(REASON_TOO_LARGE);
        bool written = false;
        for (uint32_t k = 0; k < members.n; k++) {
            if (members.at[k].field != i + 1) continue;
            if (written) return fail(REASON_DUPLICATE_KEY);
            if (!write_cell(&members.at[k])) return false;
            written = true;
        }
    }
    members.n = 0;
    return buffer_put(&out, "\r\n", 2) || fail(REASON_TOO_LARGE);
}

static bool write_csv_header(void) {
    for (uint32_t i = 0; i < n_fields; i++) {
        if (i > 0 && !buffer_byte(&out, csv_comma)) return fail(REASON_TOO_LARGE);
        if (!csv_put(&out, fields[i].to.p, fields[i].to.len)) return fail(REASON_TOO_LARGE);
    }
    return buffer_put(&out, "\r\n", 2) || fail(REASON_TOO_LARGE);
}

static bool write_object(const uint8_t *p) {
    static bool found[MAX_FIELDS];
    config_iter it;
    for (uint32_t i = 0; i < n_fields; i++) found[i] = false;
    if (!config_object((config_value){p, NULL}, &it)) return fail(REASON_NOT_AN_OBJECT);
    while (config_next(&it)) {
        member m = {.value = it.value.p, .end = it.value.end};
        if (!canonical_decode(it.key.p, it.key.end, &m.key) || !take_member(m, found)) return false;
    }
    if (!take_missing(found)) return false;
    return options.to == CSV ? write_csv_row() : canonical_members(&out, 0);
}

// write_row writes the valid value p[:end] as one row.
static bool write_row(const uint8_t *p, const uint8_t *end) {
    if (options.single && rows > 0) return fail(REASON_ROWS);
    if (!canonical_begin(p, (uint32_t)(end - p))) return false;
    if (rows++ > 0 && options.to == JSON && !buffer_byte(&out, ',')) return fail(REASON_TOO_LARGE);
    bool good = n_fields == 0 ? canonical_value(&out, p) : write_object(p);
    if (good && options.to == JSONL) good = buffer_byte(&out, '\n') || fail(REASON_TOO_LARGE);
    return good;
}

// ---- sources ----

static bool invalid_json(void) { return fail(json_fault == JSON_TOO_DEEP ? REASON_TOO_DEEP : REASON_INVALID_JSON); }

static bool from_json(const uint8_t *p, const uint8_t *end) {
    config_iter it;
    p = json_space(p);
    const uint8_t *behind = json_skip(p, 0);
    if (behind == NULL || json_space(behind) != end) return invalid_json();
    bool many = *p == '[' && (n_fields != 0 || options.to == JSONL || options.single);
    as_array = many && !options.single;
    if (!many) return write_row(p, behind);
    if (as_array && options.to == JSON && !buffer_byte(&out, '[')) return fail(REASON_TOO_LARGE);
    config_array((config_value){p, NULL}, &it);
    while (config_next(&it))
        if (!write_row(it.value.p, it.value.end)) return false;
    return true;
}

// from_lines takes a JSON value from each line that is not blank. A line feed
// stands in no JSON text but between its parts.
static bool from_lines(uint8_t *p, uint8_t *end) {
    while (p < end) {
        const uint8_t *feed = gl_find(p, (uint32_t)(end - p), '\n');
        uint8_t *line = feed != NULL ? p + (feed - p) : end, saved = *line;
        *line = 0;
        const uint8_t *value = json_space(p), *behind = value == line ? value : json_skip(value, 0);
        bool good = behind != NULL && json_space(behind) == line;
        if (!good) invalid_json();
        else if (value != line) good = write_row(value, behind);
        *line = saved;
        if (!good) return false;
        p = line + 1;
    }
    return true;
}

// csv_header takes the names of the columns, which have memory of their own.
static bool csv_header(void) {
    static buffer names;
    names.len = n_columns = 0;
    if (!buffer_put(&names, csv_row.text.p, csv_row.text.len)) return fail(REASON_TOO_LARGE);
    for (uint32_t i = 0; i < csv_row.n; i++) {
        config_text name = csv_field(i);
        name.p = names.p + (name.p - csv_row.text.p);
        if (!add_column(name)) return fail(REASON_HEADER);
    }
    return true;
}

// csv_object writes a row of texts as JSON.
static bool csv_object(void) {
    source.len = 0;
    if (csv_row.n != n_columns) return fail(REASON_RAGGED);
    for (uint32_t i = 0; i < n_columns; i++) {
        config_text value = csv_field(i);
        if (!buffer_byte(&source, i == 0 ? '{' : ',') || !buffer_text(&source, columns[i].p, columns[i].len)) return fail(REASON_TOO_LARGE);
        if (!buffer_byte(&source, ':') || !buffer_text(&source, value.p, value.len)) return fail(REASON_TOO_LARGE);
    }
    return buffer_put(&source, "}", 2) || fail(REASON_TOO_LARGE);  // and the NUL that ends it
}

static bool from_csv(const uint8_t *p, const uint8_t *end) {
    if (end - p >= 3 && p[0] == 0xef && p[1] == 0xbb && p[2] == 0xbf) p += 3;
    if (gl_find(p, (uint32_t)(end - p), 0) != NULL) return fail(REASON_INVALID_CSV);
    if (named_columns == 0) {
        if (p == end || (p = csv_read(p, end)) == NULL) return fail(REASON_INVALID_CSV);
        if (!csv_header()) return false;
    }
    while (p < end) {
        if ((p = csv_read(p, end)) == NULL) return fail(REASON_INVALID_CSV);
        if (!csv_object() || !write_row(source.p, source.p + source.len - 1)) return false;
    }
    return true;
}

// from_xml takes the root as a row, or each of its children of a name.
static bool from_xml(const uint8_t *p, const uint8_t *end) {
    config_iter root, it;
    config_text name;
    convert_fault = REASON_INVALID_XML;
    if (!xml_document(p, (uint32_t)(end - p), &source) || !buffer_byte(&source, 0)) return false;
    config_object((config_value){source.p, NULL}, &root);
    config_next(&root);
    if (options.row.len == 0) return write_row(root.value.p, root.value.end);
    if (!config_object(root.value, &it)) return fail(REASON_ROWS);
    while (config_next(&it)) {
        if (!canonical_begin(it.key.p, (uint32_t)(it.key.end - it.key.p)) || !canonical_decode(it.key.p, it.key.end, &name)) return false;
        if (!same_text(name, options.row)) return fail(REASON_ROWS);
        if (!write_row(it.value.p, it.value.end)) return false;
    }
    return true;
}

// ---- records ----

static bool convert(uint8_t *p, uint8_t *end) {
    out.len = source.len = rows = 0;
    if (!buffer_room(&out, (uint32_t)(end - p))) return false;
    as_array = !options.single && (options.from == CSV || options.from == JSONL || options.row.len != 0);
    if (options.to == CSV && !write_csv_header()) return false;
    if (as_array && options.to == JSON && !buffer_byte(&out, '[')) return fail(REASON_TOO_LARGE);
    bool good = false;
    switch (options.from) {
    case JSON: good = from_json(p, end); break;
    case JSONL: good = from_lines(p, end); break;
    case CSV: good = from_csv(p, end); break;
    case XML: good = from_xml(p, end); break;
    }
    if (!good) return false;
    if (options.single && rows != 1) return fail(REASON_ROWS);
    return !as_array || options.to != JSON || buffer_byte(&out, ']') || fail(REASON_TOO_LARGE);
}

static int32_t answer(gl_call *c, gl_record *r) {
    if (out.len == r->value_len && gl_equal(out.p, r->value, out.len)) return GL_OK;
    uint8_t *to = gl_take(c, out.len);
    if (to == NULL) return GL_ERR_SPACE;
    gl_copy(to, out.p, out.len);
    r->value = to;
    r->value_len = out.len;
    return gl_modified(r, REASON_CONVERTED);
}

static int32_t transform(gl_call *c, gl_record *r) {
    uint8_t saved = 0, empty[GL_SLACK] = {0};
    if (r->flags & GL_VALUE_NULL) return GL_OK;
    uint8_t *p = r->value_len == 0 ? empty : r->value;
    const uint8_t *start = json_begin(p, r->value_len, &saved);
    if (start == NULL && r->value_len != 0) return gl_reject(r, REASON_INVALID_UTF8);
    json_fault = JSON_INVALID;
    bool good = convert(p, p + r->value_len);
    json_end(p, r->value_len, saved);
    return good ? answer(c, r) : gl_reject(r, convert_fault);
}

GUARDLOCK_INIT(init)
GUARDLOCK_TRANSFORM(transform)
