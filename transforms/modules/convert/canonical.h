// canonical.h: JSON as RFC 8785 writes it: keys in the order of their UTF-16
// units, the shortest numbers that are the same double, no white space.
//
// A number that is not the shortest spelling of its double, but for zeros, would
// lose digits: it is refused unless "numbers" is "round".
#ifndef GUARDLOCK_CANONICAL_H
#define GUARDLOCK_CANONICAL_H

#include "../include/number.h"
#include "buffer.h"

static uint32_t canonical_round;   // numbers lose digits
static bool canonical_lists;       // a key that is there twice makes an array

// ---- numbers ----

// decimal is digits times a power of ten.
typedef struct decimal {
    uint64_t digits;
    int64_t tens;
} decimal;

// decimal_number gives a decimal as a number, whose text is in a buffer of 20.
static inline number decimal_number(decimal d, uint8_t *text) {
    uint32_t n = 0;
    uint8_t reversed[20];
    for (; d.digits != 0; d.digits /= 10) reversed[n++] = (uint8_t)('0' + d.digits % 10);
    for (uint32_t i = 0; i < n; i++) text[i] = reversed[n - 1 - i];
    return (number){.zero = n == 0, .magnitude = d.tens + n - 1, .p = text, .end = text + n};
}

static inline bool decimal_is(decimal d, double v) {
    uint8_t text[20];
    return number_double(decimal_number(d, text)) == v;
}

// decimal_cut takes the first digits of a number, and as many tens as are left.
static decimal decimal_cut(number n, uint32_t count) {
    decimal d = {0, n.magnitude - count + 1};
    for (uint32_t i = 0; i < count; i++) d.digits = d.digits * 10 + number_digit(&n);
    return d;
}

// decimal_closest moves to the neighbour that is closest to a double, and to the
// even one of two.
static decimal decimal_closest(decimal d, double v) {
    uint8_t text[20];
    for (;;) {
        decimal half = {d.digits * 10 + 5, d.tens - 1};
        int32_t above = number_with(decimal_number(half, text), v);
        if (above < 0 || (above == 0 && d.digits % 2 == 1)) {
            d.digits++;
            continue;
        }
        half.digits -= 10;
        int32_t below = number_with(decimal_number(half, text), v);
        if (below < 0 || (below == 0 && d.digits % 2 == 0)) return d;
        d.digits--;
    }
}

// decimal_shortest finds the shortest decimal that is a number's double, which is
// not infinite: the number itself lies where all such decimals do, so that its
// first digits, or the next above them, are the first to be tried.
GL_COLD decimal decimal_shortest(number n) {
    n.negative = false;
    double v = number_double(n);
    for (uint32_t count = 1; count < 17; count++) {
        decimal d = decimal_cut(n, count);
        if (!decimal_is(d, v)) d.digits++;
        if (!decimal_is(d, v)) continue;
        decimal closest = decimal_closest(d, v);
        return decimal_is(closest, v) ? closest : d;
    }
    return decimal_closest(decimal_cut(n, 17), v);
}

// canonical_digits writes digits with a point or an exponent, as ECMAScript does.
static bool canonical_digits(buffer *out, decimal d) {
    uint8_t text[20], exponent[4];
    while (d.digits % 10 == 0) d.digits /= 10, d.tens++;
    number n = decimal_number(d, text);
    int32_t count = (int32_t)(n.end - n.p), point = (int32_t)n.magnitude + 1;
    if (!buffer_room(out, 40)) return false;
    uint8_t *p = out->p + out->len;
    if (point > 21 || point < -5) {
        *p++ = text[0];
        if (count > 1) *p++ = '.';
        for (int32_t i = 1; i < count; i++) *p++ = text[i];
        *p++ = 'e';
        *p++ = point > 0 ? '+' : '-';
        uint32_t size = 0, e = (uint32_t)(point > 0 ? point - 1 : 1 - point);
        for (; e != 0; e /= 10) exponent[size++] = (uint8_t)('0' + e % 10);
        while (size > 0) *p++ = exponent[--size];
    } else {
        if (point <= 0) *p++ = '0', *p++ = '.';
        for (int32_t i = point; i < 0; i++) *p++ = '0';
        for (int32_t i = 0; i < count || i < point; i++) {
            if (i == point && i > 0) *p++ = '.';
            *p++ = i < count ? text[i] : '0';
        }
    }
    out->len = (uint32_t)(p - out->p);
    return true;
}

static inline uint32_t number_count(number n) {
    uint32_t digits = 0, used = 0;
    while (n.p < n.end) {
        digits++;
        if (number_digit(&n) != 0) used = digits;
    }
    return used;
}

// canonical_number writes a number. One of up to 15 digits is the shortest
// spelling of its double, if it is neither huge nor tiny.
static bool canonical_number(buffer *out, number n) {
    uint8_t text[20];
    if (n.zero) return buffer_byte(out, '0');
    uint32_t digits = number_count(n);
    decimal d;
    if (digits <= 15 && n.magnitude < 300 && n.magnitude > -300) {
        d = decimal_cut(n, digits);
    } else {
        double v = number_double(n);
        bool lost = v == 0 || v - v != 0;
        if (!lost) {
            d = decimal_shortest(n);
            number same = decimal_number(d, text);
            same.negative = n.negative;
            lost = number_compare(same, n) != 0;
        }
        if (v - v != 0 || (lost && !canonical_round)) return fail(REASON_NUMBER);
        if (v == 0) return buffer_byte(out, '0');
    }
    return (!n.negative || buffer_byte(out, '-')) && canonical_digits(out, d);
}

// ---- texts ----

typedef struct member {
    config_text key;
    const uint8_t *value, *end;
    uint32_t field;  // that the value is of, from 1; 0 for none
} member;

// members are those of the objects that are being written, the innermost last.
static struct {
    member *at;
    uint32_t n, cap;
} members;

// canonical_texts holds decoded texts while a row is written. It has room for all
// of the row's, so that it never moves.
static buffer canonical_texts;

// canonical_begin makes room for the texts of a row p[:n], each of which is decoded
// twice at most. Without an escape there is nothing to decode.
static bool canonical_begin(const uint8_t *p, uint32_t n) {
    canonical_texts.len = 0;
    members.n = 0;
    if (gl_find(p, n, '\\') == NULL) return true;
    return (n < 0x20000000 && buffer_room(&canonical_texts, n * 2)) || fail(REASON_TOO_LARGE);
}

// canonical_decode gives the text of the string p[:end], quotes included; false
// for half of a pair, which is no text.

static bool canonical_decode(const uint8_t *p, const uint8_t *end, config_text *out) {
    uint32_t n = (uint32_t)(end - p) - 2;
    *out = (config_text){p + 1, n};
    if (gl_find(p + 1, n, '\\') == NULL) return true;
    for (const uint8_t *q = p + 1; q < end - 1;) {
        if (*q != '\\') {
            q++;
        } else if (q[1] != 'u') {
            q += 2;
        } else {
            uint32_t unit = json_hex4(q + 2);
            if (json_code_point(&q, end - 1) == 0xfffd && unit != 0xfffd) return fail(REASON_LONE_SURROGATE);
        }
    }
    *out = (config_text){canonical_texts.p + canonical_texts.len, json_decode(p + 1, end - 1, canonical_texts.p + canonical_texts.len)};
    canonical_texts.len += out->len;
    return true;
}

static bool canonical_string(buffer *out, const uint8_t *p, const uint8_t *end) {
    config_text text;
    return canonical_decode(p, end, &text) && (buffer_text(out, text.p, text.len) || fail(REASON_TOO_LARGE));
}

// ---- objects ----

static bool member_push(member m) {
    if (members.n == members.cap) {
        uint32_t cap = members.cap != 0 ? members.cap * 2 : 256;
        member *more = gl_alloc(cap * sizeof(member), 16);
        if (more == NULL) return fail(REASON_TOO_LARGE);
        gl_copy(more, members.at, members.n * sizeof(member));
        members.at = more;
        members.cap = cap;
    }
    members.at[members.n++] = m;
    return true;
}

// unit_rank orders the first bytes of characters as UTF-16 does: those beyond the
// basic plane, which are pairs of D800 and up, come before E000.
static inline uint32_t unit_rank(uint8_t c) { return c < 0xee ? c : c < 0xf0 ? c + 5u : c - 2u; }

static int32_t member_compare(const member *a, const member *b) {
    uint32_t n = a->key.len < b->key.len ? a->key.len : b->key.len;
    for (uint32_t i = 0; i < n; i++)
        if (a->key.p[i] != b->key.p[i]) return unit_rank(a->key.p[i]) < unit_rank(b->key.p[i]) ? -1 : 1;
    if (a->key.len != b->key.len) return a->key.len < b->key.len ? -1 : 1;
    return 0;
}

// member_before also keeps the order of those with one key.
static inline bool member_before(const member *a, const member *b) {
    int32_t c = member_compare(a, b);
    return c != 0 ? c < 0 : a->value < b->value;
}

static void member_sift(member *m, uint32_t i, uint32_t n) {
    for (uint32_t child; (child = i * 2 + 1) < n; i = child) {
        if (child + 1 < n && member_before(&m[child], &m[child + 1])) child++;
        if (!member_before(&m[i], &m[child])) return;
        member swap = m[i];
        m[i] = m[child];
        m[child] = swap;
    }
}

static void member_sort(member *m, uint32_t n) {
    for (uint32_t i = n / 2; i > 0; i--) member_sift(m, i - 1, n);
    for (uint32_t i = n; i > 1; i--) {
        member swap = m[0];
        m[0] = m[i - 1];
        m[i - 1] = swap;
        member_sift(m, 0, i - 1);
    }
}

static bool canonical_value(buffer *out, const uint8_t *p);
static bool write_field(buffer *out, const member *m);

// canonical_alike writes the values of one key: one, or, where that is meant, a list.
static bool canonical_alike(buffer *out, uint32_t first, uint32_t count) {
    if (count > 1 && !canonical_lists) return fail(REASON_DUPLICATE_KEY);
    if (count > 1 && !buffer_byte(out, '[')) return fail(REASON_TOO_LARGE);
    for (uint32_t i = 0; i < count; i++) {
        member m = members.at[first + i];
        if (i > 0 && !buffer_byte(out, ',')) return fail(REASON_TOO_LARGE);
        if (!write_field(out, &m)) return false;
    }
    return count == 1 || buffer_byte(out, ']') || fail(REASON_TOO_LARGE);
}

// canonical_members writes the members from base on as an object, and forgets them.
static bool canonical_members(buffer *out, uint32_t base) {
    uint32_t n = members.n - base;
    if (n > 1) member_sort(members.at + base, n);
    if (!buffer_byte(out, '{')) return fail(REASON_TOO_LARGE);
    for (uint32_t i = 0, alike; i < n; i += alike) {
        member m = members.at[base + i];
        for (alike = 1; i + alike < n && member_compare(&m, &members.at[base + i + alike]) == 0; alike++) {}
        if (i > 0 && !buffer_byte(out, ',')) return fail(REASON_TOO_LARGE);
        if (!buffer_text(out, m.key.p, m.key.len) || !buffer_byte(out, ':')) return fail(REASON_TOO_LARGE);
        if (!canonical_alike(out, base + i, alike)) return false;
    }
    members.n = base;
    return buffer_byte(out, '}') || fail(REASON_TOO_LARGE);
}

static bool canonical_object(buffer *out, const uint8_t *p) {
    config_iter it;
    uint32_t base = members.n;
    config_object((config_value){p, NULL}, &it);
    while (config_next(&it)) {
        member m = {.value = it.value.p, .end = it.value.end};
        if (!canonical_decode(it.key.p, it.key.end, &m.key) || !member_push(m)) return false;
    }
    return canonical_members(out, base);
}

static bool canonical_array(buffer *out, const uint8_t *p) {
    config_iter it;
    bool first = true;
    config_array((config_value){p, NULL}, &it);
    if (!buffer_byte(out, '[')) return fail(REASON_TOO_LARGE);
    for (; config_next(&it); first = false) {
        if (!first && !buffer_byte(out, ',')) return fail(REASON_TOO_LARGE);
        if (!canonical_value(out, it.value.p)) return false;
    }
    return buffer_byte(out, ']') || fail(REASON_TOO_LARGE);
}

// canonical_value writes the valid value at p.
static bool canonical_value(buffer *out, const uint8_t *p) {
    if (*p == '{') return canonical_object(out, p);
    if (*p == '[') return canonical_array(out, p);
    const uint8_t *end = json_scalar(p);
    if (*p == '"') return canonical_string(out, p, end);
    if (number_starts(*p)) return canonical_number(out, number_read(p, end));
    return buffer_put(out, p, (uint32_t)(end - p)) || fail(REASON_TOO_LARGE);
}

#endif
