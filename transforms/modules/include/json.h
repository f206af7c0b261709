// json.h: a strict JSON scanner over bytes that end in a NUL sentinel.
//
// It builds nothing: every function takes a pointer to the first byte of
// something and returns the pointer behind it, or NULL. The grammar is RFC 8259
// without any leniency (no BOM, no comments, no leading zeros, no trailing
// comma), since what we skip and a consumer reads is a leak.
//
// A NUL is valid nowhere in JSON, so one NUL behind the text (json_begin puts
// it there, json_end restores the byte) replaces every bounds check.
#ifndef GUARDLOCK_JSON_H
#define GUARDLOCK_JSON_H

#include "../../sdk/c/guardlock.h"

// Deeper values are refused, whatever the configuration says about invalid ones.
#define JSON_MAX_DEPTH 128

enum { JSON_INVALID = 1, JSON_BAD_UTF8 = 2, JSON_TOO_DEEP = 3 };

// json_fault says why the last scan returned NULL.
static int32_t json_fault;

GL_COLD const uint8_t *json_fail(int32_t why) {
    json_fault = why;
    return NULL;
}

// ---- UTF-8 (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF) ----

// utf8_sequence returns the length of the sequence at p, 0 if it is invalid.
static inline uint32_t utf8_sequence(const uint8_t *p, const uint8_t *end) {
    uint8_t b = p[0];
    uint32_t n = b < 0xc2 ? 0 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : b < 0xf5 ? 4 : 0;
    if (n == 0 || n > (uint32_t)(end - p)) return 0;
    uint8_t low = b == 0xe0 ? 0xa0 : b == 0xf0 ? 0x90 : 0x80;
    uint8_t high = b == 0xed ? 0x9f : b == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high) return 0;
    for (uint32_t i = 2; i < n; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    return n;
}

GL_COLD bool utf8_valid_from(const uint8_t *p, const uint8_t *end) {
    while (p < end) {
        if (*p < 0x80) {
            uint32_t high = wasm_i8x16_bitmask(wasm_v128_load(p));
            p += high == 0 ? 16 : (uint32_t)__builtin_ctz(high);
            continue;
        }
        uint32_t n = utf8_sequence(p, end);
        if (n == 0) return false;
        p += n;
    }
    return true;
}

// json_bytes are 64 bytes.
typedef struct json_bytes {
    v128_t a, b, c, d;
} json_bytes;

// json_opaque hides from the compiler where a pointer comes from, so that what is read
// by it has its place in the instruction. Else each place is a number of its own, with a
// bounds check of its own.
#define JSON_OPAQUE(p) __asm__ volatile("" : "+r"(p))

// json_load64 reads from the far end: the engine's bounds check of it covers the others.
GL_INLINE json_bytes json_load64(const uint8_t *p) {
    json_bytes v;
    JSON_OPAQUE(p);
    v.d = wasm_v128_load(p + 48);
    __asm__ volatile("" ::: "memory");
    v.a = wasm_v128_load(p);
    v.b = wasm_v128_load(p + 16);
    v.c = wasm_v128_load(p + 32);
    return v;
}

// json_mask has a bit for each of 64 bytes, the highest one: bit i is of byte i.
GL_INLINE uint64_t json_mask(v128_t a, v128_t b, v128_t c, v128_t d) {
    uint32_t low = wasm_i8x16_bitmask(a) | wasm_i8x16_bitmask(b) << 16;
    uint32_t high = wasm_i8x16_bitmask(c) | wasm_i8x16_bitmask(d) << 16;
    return (uint64_t)high << 32 | low;
}

GL_INLINE v128_t json_or64(json_bytes v) { return wasm_v128_or(wasm_v128_or(v.a, v.b), wasm_v128_or(v.c, v.d)); }

// json_ascii256 tells whether 256 bytes are ASCII.
GL_INLINE bool json_ascii256(const uint8_t *p) {
    JSON_OPAQUE(p);
    v128_t all = wasm_v128_load(p + 240);
    __asm__ volatile("" ::: "memory");
#pragma clang loop unroll(full)
    for (uint32_t at = 0; at < 240; at += 16) all = wasm_v128_or(all, wasm_v128_load(p + at));
    return wasm_i8x16_bitmask(all) == 0;
}

// utf8_valid takes the ASCII prefix 256 and 64 bytes at a time, and what is left at once. It
// may read GL_SLACK bytes behind the end.
static inline bool utf8_valid(const uint8_t *p, const uint8_t *end) {
    while (end - p >= 256 && json_ascii256(p)) p += 256;
    while (end - p >= 64 && wasm_i8x16_bitmask(json_or64(json_load64(p))) == 0) p += 64;
    if (GL_LIKELY(end - p < 64)) {
        json_bytes v = json_load64(p);
        if ((json_mask(v.a, v.b, v.c, v.d) & ~(~0ull << (end - p))) == 0) return true;
    }
    return utf8_valid_from(p, end);
}

// ---- tokens ----

GL_COLD const uint8_t *json_space_run(const uint8_t *p) {
    for (;; p += 16) {
        v128_t v = wasm_v128_load(p);
        v128_t a = wasm_v128_or(wasm_i8x16_eq(v, wasm_i8x16_splat(' ')), wasm_i8x16_eq(v, wasm_i8x16_splat('\n')));
        v128_t b = wasm_v128_or(wasm_i8x16_eq(v, wasm_i8x16_splat('\t')), wasm_i8x16_eq(v, wasm_i8x16_splat('\r')));
        uint32_t other = ~wasm_i8x16_bitmask(wasm_v128_or(a, b)) & 0xffff;
        if (other != 0) return p + __builtin_ctz(other);
    }
}

// json_space skips white space; other control characters are left in place,
// where nothing accepts them.
GL_INLINE const uint8_t *json_space(const uint8_t *p) {
    if (GL_LIKELY(*p > ' ')) return p;
    if (*p == ' ' && p[1] > ' ') return p + 1;
    return json_space_run(p);
}

// json_escape steps over the escape at p (a backslash).
GL_INLINE const uint8_t *json_escape(const uint8_t *p) {
    switch (p[1]) {
    case '"': case '\\': case '/': case 'b': case 'f': case 'n': case 'r': case 't':
        return p + 2;
    case 'u':
        for (int i = 2; i < 6; i++) {
            uint8_t c = p[i], letter = c | 0x20;
            if (!(c >= '0' && c <= '9') && !(letter >= 'a' && letter <= 'f')) return NULL;
        }
        return p + 6;
    }
    return NULL;
}

// json_stops_of marks, among 16 bytes, those at which a string's content cannot just
// go on: a quote, a backslash, a control character. Flipping bit 1 puts the quote
// (0x22) right above the control characters, and flipping bit 7 all of them at the
// end of signed bytes, so that one comparison finds both.
GL_INLINE uint32_t json_stops_of(v128_t v) {
    v128_t low = wasm_i8x16_lt(wasm_v128_xor(v, wasm_i8x16_splat(-0x7e)), wasm_i8x16_splat(-0x80 + 0x21));
    return wasm_i8x16_bitmask(wasm_v128_or(low, wasm_i8x16_eq(v, wasm_i8x16_splat('\\'))));
}
GL_INLINE uint32_t json_stops(const uint8_t *p) { return json_stops_of(wasm_v128_load(p)); }

// json_not_simple marks, among 16 bytes, those that are no character by themselves, or
// none that a string may have: backslashes, control characters, bytes beyond ASCII.
GL_INLINE uint32_t json_not_simple(v128_t v) {
    v128_t low = wasm_i8x16_lt(v, wasm_i8x16_splat(0x20));
    return wasm_i8x16_bitmask(wasm_v128_or(low, wasm_i8x16_eq(v, wasm_i8x16_splat('\\'))));
}

// json_string_rest goes on where the fast paths below stop: in a string longer
// than a vector, or at an escape.
static __attribute__((noinline, unused)) const uint8_t *json_string_rest(const uint8_t *p) {
    for (;;) {
        uint32_t stops = json_stops(p);
        if (stops == 0) {
            p += 16;
            continue;
        }
        p += __builtin_ctz(stops);
        if (*p == '"') return p;
        if (*p != '\\' || (p = json_escape(p)) == NULL) return NULL;
    }
}

// json_string returns the closing quote of the string whose content starts at
// p. The usual short string costs one vector and no loop: the sandbox makes a
// guest pay for every loop turn and call.
GL_INLINE const uint8_t *json_string(const uint8_t *p) {
    uint32_t stops = json_stops(p);
    if (stops == 0) {
        p += 16;
        stops = json_stops(p);
    }
    p += __builtin_ctz(stops | 0x10000);
    return GL_LIKELY(*p == '"') && stops != 0 ? p : json_string_rest(p);
}

GL_INLINE uint32_t json_digit_run(const uint8_t *p) {
    v128_t v = wasm_i8x16_add(wasm_v128_load(p), wasm_i8x16_splat(0x7f - '9'));
    uint32_t digits = wasm_i8x16_bitmask(wasm_i8x16_gt(v, wasm_i8x16_splat(0x7f - 10)));
    return (uint32_t)__builtin_ctz(~digits);
}

static __attribute__((noinline, unused)) const uint8_t *json_digits_rest(const uint8_t *p) {
    for (uint32_t run = 16; run == 16; p += run) run = json_digit_run(p);
    return p;
}

GL_INLINE const uint8_t *json_digits(const uint8_t *p) {
    uint32_t run = json_digit_run(p);
    return GL_LIKELY(run < 16) ? p + run : json_digits_rest(p + 16);
}

GL_INLINE const uint8_t *json_number(const uint8_t *p) {
    const uint8_t *q;
    if (*p == '-') p++;
    if (*p == '0') {
        p++;
    } else {
        q = json_digits(p);
        if (q == p) return NULL;
        p = q;
    }
    if (*p == '.') {
        q = json_digits(p + 1);
        if (q == p + 1) return NULL;
        p = q;
    }
    if ((*p | 0x20) == 'e') {
        p++;
        if (*p == '+' || *p == '-') p++;
        q = json_digits(p);
        if (q == p) return NULL;
        p = q;
    }
    return p;
}

// json_load2 and json_load4 read the next bytes at once, the first one lowest.
GL_INLINE uint32_t json_load2(const uint8_t *p) {
    uint16_t w;
    __builtin_memcpy(&w, p, 2);
    return w;
}
GL_INLINE uint32_t json_load4(const void *p) {
    uint32_t w;
    __builtin_memcpy(&w, p, 4);
    return w;
}

GL_INLINE const uint8_t *json_scalar(const uint8_t *p) {
    if (GL_LIKELY(*p == '"')) {
        p = json_string(p + 1);
        return p ? p + 1 : NULL;
    }
    if (*p <= '9') return json_number(p);
    uint32_t word = json_load4(p);
    if (word == json_load4("true") || word == json_load4("null")) return p + 4;
    return word == json_load4("fals") && p[4] == 'e' ? p + 5 : NULL;
}

GL_INLINE bool json_opens(uint8_t c) { return (c | 0x20) == '{'; }

// json_colon_spaced steps from a key's closing quote to the member's value.
static __attribute__((noinline, unused)) const uint8_t *json_colon_spaced(const uint8_t *quote) {
    const uint8_t *p = json_space(quote + 1);
    return *p == ':' ? json_space(p + 1) : NULL;
}

GL_INLINE const uint8_t *json_colon(const uint8_t *quote) {
    uint32_t next = json_load4(quote) >> 8;
    if (GL_LIKELY((next & 0xff) == ':' && (next >> 8 & 0xff) > ' ')) return quote + 2;
    return json_colon_spaced(quote);
}

// json_comma tells whether a comma and then neither white space nor the end
// stand at p: the usual way from one member to the next.
GL_INLINE bool json_comma(const uint8_t *p) {
    uint32_t w = json_load2(p);
    return (w & 0xff) == ',' && w >> 8 > ' ';
}

// ---- whole values ----

#include "json_block.h"

// json_skip_tokens validates the container at p, inside depth others.
static __attribute__((noinline, unused)) const uint8_t *json_skip_tokens(const uint8_t *p, uint32_t depth) {
    static uint8_t outer[JSON_MAX_DEPTH + 1];
    uint32_t floor = depth;
    uint8_t closer = 0;
    for (;;) {
        if (closer == '}') {
            if (*p != '"' || (p = json_string(p + 1)) == NULL) return NULL;
            if ((p = json_colon(p)) == NULL) return NULL;
        }
        if (json_opens(*p)) {
            if (depth == JSON_MAX_DEPTH) return json_fail(JSON_TOO_DEEP);
            outer[depth++] = closer;
            closer = *p + 2;
            p = json_space(p + 1);
            if (*p != closer) continue;
        } else if ((p = json_scalar(p)) == NULL) {
            return NULL;
        }
        if (GL_LIKELY(json_comma(p))) {
            p++;
            continue;
        }
        while (*(p = json_space(p)) != ',') {
            if (*p != closer) return NULL;
            p++;
            if (--depth == floor) return p;
            closer = outer[depth];
        }
        p = json_space(p + 1);
    }
}

// json_skip_container is json_skip_tokens, but quicker where all is well.
static __attribute__((noinline, unused)) const uint8_t *json_skip_container(const uint8_t *p, uint32_t depth) {
    if (json_leaf(p)) return json_skip_tokens(p, depth);
    const uint8_t *end = json_scan_container(p, depth);
    return GL_LIKELY(end != NULL) ? end : json_skip_tokens(p, depth);
}

// json_skip validates the value at p, which lies inside depth containers.
GL_INLINE const uint8_t *json_skip(const uint8_t *p, uint32_t depth) {
    return json_opens(*p) ? json_skip_container(p, depth) : json_scalar(p);
}

// json_one_byte_each tells whether every byte of the string content p[:n] is a
// character: there is no escape, and nothing beyond ASCII.
static inline bool json_one_byte_each(const uint8_t *p, uint32_t n) {
    for (uint32_t i = 0; i < n; i += 16) {
        v128_t v = wasm_v128_load(p + i);
        uint32_t other = wasm_i8x16_bitmask(wasm_v128_or(v, wasm_i8x16_eq(v, wasm_i8x16_splat('\\'))));
        if (n - i < 16) other &= (1u << (n - i)) - 1;
        if (other != 0) return false;
    }
    return true;
}

// json_decode writes the text of the valid string content p[:end] to dst, which
// has room for end-p bytes and may be p itself, and returns its length. A lone
// surrogate becomes U+FFFD, as in encoding/json and in browsers.
static inline uint32_t json_hex4(const uint8_t *p) {
    uint32_t v = 0;
    for (int i = 0; i < 4; i++) v = v << 4 | ((p[i] & 0xf) + (p[i] >> 6) * 9);
    return v;
}

// json_code_point reads the \u escape at p, both halves of a pair, and moves on.
static inline uint32_t json_code_point(const uint8_t **p, const uint8_t *end) {
    uint32_t c = json_hex4(*p + 2);
    *p += 6;
    if (c < 0xd800 || c > 0xdfff) return c;
    if (c > 0xdbff || end - *p < 6 || (*p)[0] != '\\' || (*p)[1] != 'u') return 0xfffd;
    uint32_t low = json_hex4(*p + 2);
    if (low < 0xdc00 || low > 0xdfff) return 0xfffd;
    *p += 6;
    return 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
}

static inline uint8_t *utf8_put(uint8_t *d, uint32_t c) {
    if (c < 0x80) {
        *d++ = (uint8_t)c;
        return d;
    }
    if (c < 0x800) {
        *d++ = (uint8_t)(0xc0 | c >> 6);
    } else {
        if (c < 0x10000) {
            *d++ = (uint8_t)(0xe0 | c >> 12);
        } else {
            *d++ = (uint8_t)(0xf0 | c >> 18);
            *d++ = (uint8_t)(0x80 | (c >> 12 & 0x3f));
        }
        *d++ = (uint8_t)(0x80 | (c >> 6 & 0x3f));
    }
    *d++ = (uint8_t)(0x80 | (c & 0x3f));
    return d;
}

static inline uint8_t json_unescape(uint8_t c) {
    switch (c) {
    case 'b': return '\b';
    case 'f': return '\f';
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    }
    return c;
}

GL_COLD uint32_t json_decode(const uint8_t *p, const uint8_t *end, uint8_t *dst) {
    uint8_t *d = dst;
    while (p < end) {
        if (*p != '\\') {
            *d++ = *p++;
        } else if (p[1] == 'u') {
            uint32_t c = json_code_point(&p, end);
            d = utf8_put(d, c);
        } else {
            *d++ = json_unescape(p[1]);
            p += 2;
        }
    }
    return (uint32_t)(d - dst);
}

// ---- sentinel ----

// json_begin checks the encoding of p[:n] and sets the sentinel behind it;
// *saved is for json_end, which must follow before anything else is read. An
// empty text has no address.
GL_INLINE const uint8_t *json_begin(uint8_t *p, uint32_t n, uint8_t *saved) {
    json_fault = JSON_INVALID;
    if (n == 0) return NULL;
    *saved = p[n];
    if (!utf8_valid(p, p + n)) {
        json_fault = JSON_BAD_UTF8;
        return NULL;
    }
    p[n] = 0;
    return json_space(p);
}

GL_INLINE void json_end(uint8_t *p, uint32_t n, uint8_t saved) {
    if (n != 0) p[n] = saved;
}

#endif
