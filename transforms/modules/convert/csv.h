// csv.h: comma-separated values as RFC 4180 has them: a quote stands only around a
// whole field or twice inside one, and every row has as many fields as the first.
// Lines end in CRLF or LF. A byte order mark before the first is passed over.
#ifndef GUARDLOCK_CSV_H
#define GUARDLOCK_CSV_H

#include "buffer.h"

#define CSV_MAX_COLUMNS 1024u

static uint8_t csv_comma = ',';

// csv_row is one line: its fields, decoded, one after another.
static struct {
    buffer text;
    uint32_t n, ends[CSV_MAX_COLUMNS];
} csv_row;

// csv_quoted reads what follows a quote, and returns what is behind the closing one.
static const uint8_t *csv_quoted(const uint8_t *p, const uint8_t *end) {
    for (;;) {
        const uint8_t *quote = gl_find(p, (uint32_t)(end - p), '"');
        if (quote == NULL || !buffer_put(&csv_row.text, p, (uint32_t)(quote - p))) return NULL;
        if (quote + 1 == end || quote[1] != '"') return quote + 1;
        if (!buffer_byte(&csv_row.text, '"')) return NULL;
        p = quote + 2;
    }
}

static const uint8_t *csv_plain(const uint8_t *p, const uint8_t *end) {
    const uint8_t *start = p;
    while (p < end && *p != csv_comma && *p != '\n' && *p != '\r') {
        if (*p == '"') return NULL;
        p++;
    }
    return buffer_put(&csv_row.text, start, (uint32_t)(p - start)) ? p : NULL;
}

// csv_read reads the row at p and returns the next one, or NULL.
static const uint8_t *csv_read(const uint8_t *p, const uint8_t *end) {
    csv_row.text.len = csv_row.n = 0;
    for (;;) {
        if (csv_row.n == CSV_MAX_COLUMNS) return NULL;
        p = p < end && *p == '"' ? csv_quoted(p + 1, end) : csv_plain(p, end);
        if (p == NULL) return NULL;
        csv_row.ends[csv_row.n++] = csv_row.text.len;
        if (p == end) return p;
        if (*p == csv_comma) {
            p++;
            continue;
        }
        if (*p == '\r' && end - p > 1 && p[1] == '\n') p++;
        return *p == '\n' ? p + 1 : NULL;
    }
}

static inline config_text csv_field(uint32_t i) {
    uint32_t start = i == 0 ? 0 : csv_row.ends[i - 1];
    return (config_text){csv_row.text.p + start, csv_row.ends[i] - start};
}

// csv_put writes a field, in quotes where they are needed. An empty text has them,
// and what is missing has not.
static bool csv_put(buffer *out, const uint8_t *p, uint32_t n) {
    bool plain = n != 0 && p[0] != ' ' && p[n - 1] != ' ';
    for (uint32_t i = 0; i < n && plain; i++) plain = p[i] != csv_comma && p[i] != '"' && p[i] != '\n' && p[i] != '\r';
    if (plain) return buffer_put(out, p, n);
    if (!buffer_byte(out, '"')) return false;
    for (uint32_t i = 0; i < n; i++)
        if (!buffer_byte(out, p[i]) || (p[i] == '"' && !buffer_byte(out, '"'))) return false;
    return buffer_byte(out, '"');
}

#endif
