// text.h: what rules make of a plain text, wherever it stood.
//
// Whoever found the text has taken the quotes and escapes of JSON or CSV away,
// and puts them around what comes out. All output lies in the arena.
#ifndef GUARDLOCK_GDPR_TEXT_H
#define GUARDLOCK_GDPR_TEXT_H

#include "../include/number.h"
#include "rule.h"

typedef struct text {
    const uint8_t *p;
    uint32_t n;
} text;

// What rule_text answers, besides GL_OK and what is below it.
enum { TEXT_UNREADABLE = 1 };

GL_INLINE bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }
GL_INLINE bool is_letter(uint8_t c) { return (c | 0x20) >= 'a' && (c | 0x20) <= 'z'; }

static inline uint8_t hex(uint8_t nibble) { return (uint8_t)(nibble < 10 ? '0' + nibble : 'a' + nibble - 10); }

// A writer fills room that was checked to be enough.
static inline uint8_t *write_text(uint8_t *d, const void *p, uint32_t n) {
    gl_copy(d, p, n);
    return d + n;
}
static inline uint8_t *write_stars(uint8_t *d, uint32_t n) {
    __builtin_memset(d, '*', n);
    return d + n;
}

static inline uint8_t *write_uint(uint8_t *d, uint64_t v) {
    uint8_t digits[20];
    uint32_t n = 0;
    do digits[n++] = (uint8_t)('0' + v % 10);
    while ((v /= 10) != 0);
    while (n > 0) *d++ = digits[--n];
    return d;
}

static inline uint32_t utf8_length(uint8_t first) { return first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4; }

// ---- masks ----

// mask_plain leaves the last characters, if there are more than these.
static uint8_t *mask_plain(uint8_t *d, text t, uint32_t keep) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < t.n; i += utf8_length(t.p[i])) count++;
    uint32_t hidden = count > keep ? count - keep : count;
    d = write_stars(d, hidden);
    uint32_t at = 0;
    for (; hidden > 0; hidden--) at += utf8_length(t.p[at]);
    return write_text(d, t.p + at, t.n - at);
}

// mask_email leaves the domain, and the first character of a name of at least four.
// The stars are always three, so that they tell nothing of the name's length.
static uint8_t *mask_email(uint8_t *d, text t) {
    uint32_t at = t.n, characters = 0;
    while (at > 0 && t.p[at - 1] != '@') at--;
    if (at < 2) return write_stars(d, 3);
    for (uint32_t i = 0; i < at - 1; i += utf8_length(t.p[i])) characters++;
    if (characters >= 4) d = write_text(d, t.p, utf8_length(*t.p));
    return write_text(write_stars(d, 3), t.p + at - 1, t.n - (at - 1));
}

// digits_of collects the digits of a text, at most max+1 of them.
static uint32_t digits_of(text t, uint8_t *digits, uint32_t max) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < t.n && n <= max; i++)
        if (is_digit(t.p[i])) digits[n++] = t.p[i];
    return n;
}

static bool luhn(const uint8_t *digits, uint32_t n) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t v = digits[n - 1 - i] - (uint32_t)'0';
        if (i % 2 == 1) v = v > 4 ? v * 2 - 9 : v * 2;
        sum += v;
    }
    return sum % 10 == 0;
}

#define CARD_MAX 19

// mask_card leaves the last four digits, and the first six where that hides at least
// six. What is not a card number is hidden whole.
static uint8_t *mask_card(uint8_t *d, text t) {
    uint8_t digits[CARD_MAX + 1];
    uint32_t n = digits_of(t, digits, CARD_MAX);
    for (uint32_t i = 0; i < t.n; i++)
        if (!is_digit(t.p[i]) && t.p[i] != ' ' && t.p[i] != '-') n = 0;
    if (n < 12 || n > CARD_MAX || !luhn(digits, n)) return write_stars(d, 4);
    uint32_t first = n >= 16 ? 6 : 0;
    d = write_text(d, digits, first);
    return write_text(write_stars(d, n - first - 4), digits + n - 4, 4);
}

#define IBAN_MAX 34

// iban_of collects letters and digits; 0 if there is something else or too much.
static uint32_t iban_of(text t, uint8_t *iban) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < t.n; i++) {
        uint8_t c = t.p[i];
        if (c == ' ' || c == '-') continue;
        if ((!is_digit(c) && !is_letter(c)) || n == IBAN_MAX) return 0;
        iban[n++] = is_letter(c) ? c & 0xdf : c;
    }
    return n;
}

// iban_checks tells whether the check digits hold: mod 97 of the number that the
// characters make, the first four put last.
static bool iban_checks(const uint8_t *iban, uint32_t n) {
    uint32_t rest = 0;
    if (n < 15 || !is_letter(iban[0]) || !is_letter(iban[1]) || !is_digit(iban[2]) || !is_digit(iban[3])) return false;
    for (uint32_t i = 0; i < n; i++) {
        uint8_t c = iban[(i + 4) % n];
        rest = is_digit(c) ? rest * 10 + (c - (uint32_t)'0') : rest * 100 + (c - (uint32_t)'A' + 10);
        rest %= 97;
    }
    return rest == 1;
}

// mask_iban leaves the country and the last four, but not the check digits, from which
// two of the hidden ones would follow. What is not an IBAN is hidden whole.
static uint8_t *mask_iban(uint8_t *d, text t) {
    uint8_t iban[IBAN_MAX];
    uint32_t n = iban_of(t, iban);
    if (!iban_checks(iban, n)) return write_stars(d, 4);
    d = write_text(d, iban, 2);
    return write_text(write_stars(d, 8), iban + n - 4, 4);
}

static uint8_t *mask_phone(uint8_t *d, text t) {
    uint8_t last[2] = {0, 0};
    uint32_t n = 0;
    for (uint32_t i = 0; i < t.n; i++) {
        if (!is_digit(t.p[i])) continue;
        last[0] = last[1];
        last[1] = t.p[i];
        n++;
    }
    d = write_stars(d, 4);
    return n < 7 ? d : write_text(d, last, 2);
}

// mask_as writes at most twice as much as the text has, and 16 bytes.
static uint8_t *mask_as(uint8_t *d, text t, uint8_t form, uint32_t keep) {
    switch (form) {
    case FORM_EMAIL: return mask_email(d, t);
    case FORM_CARD: return mask_card(d, t);
    case FORM_IBAN: return mask_iban(d, t);
    case FORM_PHONE: return mask_phone(d, t);
    }
    return mask_plain(d, t, keep);
}

// ---- pseudonyms ----

// pseudonymise writes 26 characters, of 130 bits: the same for a value under one key
// and purpose, and unlike those of any other purpose.
static int32_t pseudonymise(gl_call *c, const rule *r, text t, text *out) {
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";
    uint8_t *d = gl_take(c, 26), *message = gl_room(c, r->purpose.len + t.n + 2);
    uint8_t mac[32];
    if (d == NULL || message == NULL) return GL_ERR_SPACE;
    message[0] = (uint8_t)r->purpose.len;
    gl_copy(message + 1, r->purpose.p, r->purpose.len);
    gl_copy(message + 1 + r->purpose.len, t.p, t.n);
    if (gl_hmac_sha256(r->key, message, 1 + r->purpose.len + t.n, mac) < 0) return GL_ERR_INTERNAL;
    uint32_t bits = 0, have = 0;
    const uint8_t *from = mac;
    for (uint32_t i = 0; i < 26; i++) {
        if (have < 5) {
            bits = bits << 8 | *from++;
            have += 8;
        }
        have -= 5;
        d[i] = (uint8_t)alphabet[bits >> have & 31];
    }
    *out = (text){d, 26};
    return GL_OK;
}

#define HEX 64

// write_hash writes HEX characters.
static inline bool write_hash(uint8_t *d, uint32_t key, const uint8_t *p, uint32_t n) {
    uint8_t mac[32];
    if (gl_hmac_sha256(key, p, n, mac) < 0) return false;
    for (uint32_t i = 0; i < 32; i++) {
        d[2 * i] = hex(mac[i] >> 4);
        d[2 * i + 1] = hex(mac[i] & 15);
    }
    return true;
}

static int32_t hash_text(gl_call *c, const rule *r, text t, text *out) {
    uint8_t *d = gl_take(c, HEX);
    if (d == NULL) return GL_ERR_SPACE;
    *out = (text){d, HEX};
    return write_hash(d, r->key, t.p, t.n) ? GL_OK : GL_ERR_INTERNAL;
}

// ---- dates, numbers, addresses ----

static bool read_digits(const uint8_t *p, uint32_t n, uint32_t *out) {
    *out = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!is_digit(p[i])) return false;
        *out = *out * 10 + (p[i] - (uint32_t)'0');
    }
    return true;
}

static uint32_t days_of(uint32_t year, uint32_t month) {
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

// generalise_date takes a date of ISO 8601, with a time behind it or without.
static uint8_t *generalise_date(uint8_t *d, text t, uint8_t extent) {
    uint32_t year, month, day;
    if (t.n < 10 || t.p[4] != '-' || t.p[7] != '-') return NULL;
    if (!read_digits(t.p, 4, &year) || !read_digits(t.p + 5, 2, &month) || !read_digits(t.p + 8, 2, &day)) return NULL;
    if (month < 1 || month > 12 || day < 1 || day > days_of(year, month)) return NULL;
    if (t.n > 10 && t.p[10] != 'T' && t.p[10] != 't' && t.p[10] != ' ') return NULL;
    if (extent == TO_DECADE) return write_text(write_text(d, t.p, 3), "0s", 2);
    return write_text(d, t.p, extent == TO_YEAR ? 4 : extent == TO_MONTH ? 7 : 10);
}

// number_text reads a text as a number of JSON; false if it is none.
static bool number_text(text t, number *out) {
    uint8_t copy[64 + GL_SLACK] = {0};
    if (t.n == 0 || t.n > 64 || !number_starts(*t.p)) return false;
    gl_copy(copy, t.p, t.n);
    if (json_number(copy) != copy + t.n) return false;
    *out = number_read(t.p, t.p + t.n);
    return true;
}

// number_floor returns the whole number at or below n, as far as 10^17 from 0.
static int64_t number_floor(number n) {
    const int64_t most = 100000000000000000;
    int64_t v = 0;
    if (n.zero) return 0;
    if (n.magnitude >= 17) return n.negative ? -most : most;
    for (int64_t i = 0; i <= n.magnitude; i++) v = v * 10 + number_digit(&n);
    bool more = false;
    while (n.p < n.end) more |= number_digit(&n) != 0;
    return n.negative ? -v - more : v;
}

// generalise_number writes the multiple of step at or below a number. What lies beyond
// min or max becomes these; without them, a number beyond 10^17 is not one to generalise.
static uint8_t *generalise_number(uint8_t *d, text t, const rule *r) {
    number n;
    if (!number_text(t, &n)) return NULL;
    int64_t v = number_floor(n), step = r->step;
    bool low = r->has_min && v < r->min, high = r->has_max && v >= r->max;
    if (!low && !high && n.magnitude >= 17 && !n.zero) return NULL;
    int64_t down = v % step;
    v -= down < 0 ? down + step : down;
    if (r->has_min && v < r->min) v = r->min;
    if (low) v = r->min;
    if (high) v = r->max;
    if (v < 0) *d++ = '-';
    return write_uint(d, (uint64_t)(v < 0 ? -v : v));
}

// read_ipv4 reads the address at the start of p[:n], and returns its length, or 0.
static uint32_t read_ipv4(const uint8_t *p, uint32_t n, uint8_t *address) {
    uint32_t at = 0;
    for (uint32_t part = 0; part < 4; part++) {
        uint32_t v = 0, digits = 0;
        if (part > 0 && (at == n || p[at++] != '.')) return 0;
        for (; at < n && digits < 3 && is_digit(p[at]); digits++) v = v * 10 + (p[at++] - (uint32_t)'0');
        if (digits == 0 || v > 255) return 0;
        address[part] = (uint8_t)v;
    }
    return at;
}

static int32_t hex_value(uint8_t c) {
    if (is_digit(c)) return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// read_ipv6 takes the whole of p[:n]; false if it is no address.
static bool read_ipv6(const uint8_t *p, uint32_t n, uint16_t *groups) {
    uint32_t count = 0, gap = 9, at = 0;
    uint8_t tail[4];
    if (n < 2 || n > 45 || (p[0] == ':' && p[1] != ':')) return false;
    while (at < n) {
        if (p[at] == ':' && at + 1 < n && p[at + 1] == ':') {
            if (gap != 9) return false;
            gap = count;
            at += 2;
            continue;
        }
        if (count > 0 && gap != count) {
            if (p[at] != ':' || ++at == n) return false;
        }
        if (count <= 6 && read_ipv4(p + at, n - at, tail) == n - at) {
            groups[count++] = (uint16_t)(tail[0] << 8 | tail[1]);
            groups[count++] = (uint16_t)(tail[2] << 8 | tail[3]);
            break;
        }
        uint32_t v = 0, digits = 0;
        for (; at < n && digits < 4 && hex_value(p[at]) >= 0; digits++) v = v << 4 | (uint32_t)hex_value(p[at++]);
        if (digits == 0 || count == 8) return false;
        groups[count++] = (uint16_t)v;
    }
    if (gap == 9) return count == 8;
    if (count >= 8) return false;
    uint32_t missing = 8 - count;
    for (uint32_t i = count; i > gap; i--) groups[i - 1 + missing] = groups[i - 1];
    for (uint32_t i = 0; i < missing; i++) groups[gap + i] = 0;
    return true;
}

static uint8_t *write_hex_group(uint8_t *d, uint32_t v) {
    for (int32_t shift = 12; shift >= 0; shift -= 4)
        if (shift == 0 || v >> shift != 0) *d++ = hex(v >> shift & 15);
    return d;
}

static uint8_t *write_ipv4_network(uint8_t *d, const uint8_t *address) {
    for (uint32_t i = 0; i < 3; i++) {
        d = write_uint(d, address[i]);
        *d++ = '.';
    }
    *d++ = '0';
    return d;
}

// generalise_ip leaves 24 bits of an IPv4 address and 48 of an IPv6 one. An IPv4
// address that is written as an IPv6 one is taken as what it is.
static uint8_t *generalise_ip(uint8_t *d, text t) {
    uint8_t address[4];
    uint16_t groups[8];
    if (t.n > 0 && read_ipv4(t.p, t.n, address) == t.n) return write_ipv4_network(d, address);
    if (!read_ipv6(t.p, t.n, groups)) return NULL;
    bool mapped = groups[5] == 0xffff;
    for (uint32_t i = 0; i < 5; i++) mapped = mapped && groups[i] == 0;
    if (mapped) {
        uint8_t inner[4] = {(uint8_t)(groups[6] >> 8), (uint8_t)groups[6], (uint8_t)(groups[7] >> 8), (uint8_t)groups[7]};
        return write_ipv4_network(d, inner);
    }
    uint32_t shown = 3;
    while (shown > 0 && groups[shown - 1] == 0) shown--;
    for (uint32_t i = 0; i < shown; i++) {
        if (i > 0) *d++ = ':';
        d = write_hex_group(d, groups[i]);
    }
    return write_text(d, "::", 2);
}

static uint8_t *generalise(uint8_t *d, text t, const rule *r) {
    if (r->extent == TO_STEP) return generalise_number(d, t, r);
    return r->extent == TO_NETWORK ? generalise_ip(d, t) : generalise_date(d, t, r->extent);
}

#endif
