// buffer.h: bytes that grow, and are kept from record to record.
#ifndef GUARDLOCK_BUFFER_H
#define GUARDLOCK_BUFFER_H

#include "../include/json.h"

// convert_fault is the reason why the last function failed.
static uint32_t convert_fault;

GL_COLD bool fail(uint32_t reason) {
    convert_fault = reason;
    return false;
}

// buffer has GL_SLACK bytes behind its end, as every allocation.
typedef struct buffer {
    uint8_t *p;
    uint32_t len, cap;
} buffer;

// buffer_room makes room for n more bytes; false when memory is at its end.
static inline bool buffer_room(buffer *b, uint32_t n) {
    if (GL_LIKELY(n <= b->cap - b->len)) return true;
    uint64_t need = (uint64_t)b->len + n, cap = need + (b->cap != 0 ? need / 2 : 256);
    uint8_t *p = cap > 0x7fffffff ? NULL : gl_alloc((uint32_t)cap, 16);
    if (p == NULL) return fail(REASON_TOO_LARGE);
    if (b->len != 0) gl_copy(p, b->p, b->len);
    b->p = p;
    b->cap = (uint32_t)cap;
    return true;
}

static inline bool buffer_put(buffer *b, const void *p, uint32_t n) {
    if (!buffer_room(b, n)) return false;
    if (n != 0) gl_copy(b->p + b->len, p, n);
    b->len += n;
    return true;
}

static inline bool buffer_byte(buffer *b, uint8_t c) { return buffer_put(b, &c, 1); }

// buffer_text writes decoded text as a JSON string, with the escapes of RFC 8785.
static bool buffer_text(buffer *b, const uint8_t *p, uint32_t n) {
    static const char hex[] = "0123456789abcdef";
    static const char letters[] = "btn?fr";
    uint32_t escaped = 0;
    for (uint32_t i = 0; i < n; i++) escaped += p[i] < 0x20 || p[i] == '"' || p[i] == '\\';
    if (n > 0x10000000 || !buffer_room(b, n + escaped * 5 + 2)) return fail(REASON_TOO_LARGE);
    uint8_t *d = b->p + b->len;
    *d++ = '"';
    for (const uint8_t *end = p + n; p < end; p++) {
        uint8_t c = *p;
        if (c >= 0x20 && c != '"' && c != '\\') {
            *d++ = c;
            continue;
        }
        *d++ = '\\';
        if (c >= 0x20) {
            *d++ = c;
        } else if (c >= 8 && c <= 13 && c != 11) {
            *d++ = (uint8_t)letters[c - 8];
        } else {
            gl_copy(d, "u00", 3);
            d[3] = (uint8_t)hex[c >> 4];
            d[4] = (uint8_t)hex[c & 15];
            d += 5;
        }
    }
    *d++ = '"';
    b->len = (uint32_t)(d - b->p);
    return true;
}

#endif
