// number.h: JSON numbers compared exactly, whatever their length, and read as
// the nearest doubles where a model needs arithmetic.
//
// A threshold of 10000 must hold for 1e4, 10000.0 and 9999.99999999999999999
// alike, so comparing never goes through floating point.
#ifndef GUARDLOCK_NUMBER_H
#define GUARDLOCK_NUMBER_H

#include "json.h"

// number is a valid JSON number: sign, the power of ten of its first digit that
// is not 0, and the text from that digit to the mantissa's end.
typedef struct number {
    bool negative, zero;
    int64_t magnitude;
    const uint8_t *p, *end;
} number;

GL_INLINE bool number_starts(uint8_t c) { return c == '-' || (c >= '0' && c <= '9'); }

// number_exponent reads what follows the e, saturating: no text is long enough
// for its digits to outweigh 10^12.
static inline int64_t number_exponent(const uint8_t *p, const uint8_t *end) {
    bool negative = *p == '-';
    int64_t v = 0;
    if (*p == '-' || *p == '+') p++;
    for (; p < end; p++)
        if (v < 1000000000000) v = v * 10 + (*p - '0');
    return negative ? -v : v;
}

// number_read takes the whole text p[:end] of a valid number.
static inline number number_read(const uint8_t *p, const uint8_t *end) {
    number n = {.negative = *p == '-'};
    if (n.negative) p++;
    const uint8_t *mantissa = p, *point = NULL;
    for (; mantissa < end && (*mantissa | 0x20) != 'e'; mantissa++)
        if (*mantissa == '.') point = mantissa;
    if (mantissa < end) n.magnitude = number_exponent(mantissa + 1, end);
    if (point == NULL) point = mantissa;
    while (p < mantissa && (*p == '0' || *p == '.')) p++;
    n.zero = p == mantissa;
    n.magnitude += p < point ? point - p - 1 : point - p;
    n.p = p;
    n.end = mantissa;
    return n;
}

// number_digit takes the next digit, 0 for ever behind the last.
static inline uint32_t number_digit(number *n) {
    if (n->p < n->end && *n->p == '.') n->p++;
    return n->p < n->end ? *n->p++ - (uint32_t)'0' : 0;
}

// number_compare returns a value below, at or above 0 as a is to b.
GL_COLD int32_t number_compare(number a, number b) {
    int32_t sign_a = a.zero ? 0 : a.negative ? -1 : 1, sign_b = b.zero ? 0 : b.negative ? -1 : 1;
    if (sign_a != sign_b) return sign_a - sign_b;
    if (sign_a == 0) return 0;
    if (a.magnitude != b.magnitude) return a.magnitude < b.magnitude ? -sign_a : sign_a;
    while (a.p < a.end || b.p < b.end) {
        uint32_t x = number_digit(&a), y = number_digit(&b);
        if (x != y) return x < y ? -sign_a : sign_a;
    }
    return 0;
}

// ---- doubles ----

// number_big is a large whole number, its lowest word first. The largest that
// is made holds 800 digits and as many zeros as the smallest double needs.
#define NUMBER_WORDS 160u
#define NUMBER_DIGITS 800u
typedef struct number_big {
    uint32_t len, word[NUMBER_WORDS];
} number_big;

static inline void number_big_mul(number_big *b, uint32_t factor, uint32_t carry) {
    uint64_t sum = carry;
    for (uint32_t i = 0; i < b->len; i++) {
        sum += (uint64_t)b->word[i] * factor;
        b->word[i] = (uint32_t)sum;
        sum >>= 32;
    }
    if (sum != 0) b->word[b->len++] = (uint32_t)sum;
}

static inline void number_big_scale(number_big *b, int64_t tens) {
    for (; tens >= 9; tens -= 9) number_big_mul(b, 1000000000, 0);
    for (; tens > 0; tens--) number_big_mul(b, 10, 0);
}

static inline void number_big_shift(number_big *b, uint32_t bits) {
    uint32_t words = bits / 32;
    if (b->len == 0) return;
    for (uint32_t i = b->len; i > 0; i--) b->word[i - 1 + words] = b->word[i - 1];
    for (uint32_t i = 0; i < words; i++) b->word[i] = 0;
    b->len += words;
    if (bits % 32 != 0) number_big_mul(b, 1u << bits % 32, 0);
}

static inline int32_t number_big_compare(const number_big *a, const number_big *b) {
    if (a->len != b->len) return a->len < b->len ? -1 : 1;
    for (uint32_t i = a->len; i > 0; i--)
        if (a->word[i - 1] != b->word[i - 1]) return a->word[i - 1] < b->word[i - 1] ? -1 : 1;
    return 0;
}

// number_scaled compares n, without its sign, with mantissa times a power of two.
GL_COLD int32_t number_scaled(number n, uint64_t mantissa, int32_t twos) {
    static number_big left, right;
    uint32_t digits = 0;
    left.len = 0;
    for (; digits < NUMBER_DIGITS && n.p < n.end; digits++) number_big_mul(&left, 10, number_digit(&n));
    if (n.p < n.end) {
        // No halfway point has as many digits: all that matters of the rest is whether it is 0.
        bool more = false;
        while (n.p < n.end) more |= number_digit(&n) != 0;
        number_big_mul(&left, 10, more);
        digits++;
    }
    right.len = mantissa >> 32 != 0 ? 2 : 1;
    right.word[0] = (uint32_t)mantissa;
    right.word[1] = (uint32_t)(mantissa >> 32);
    int64_t tens = n.magnitude - ((int64_t)digits - 1);
    number_big_scale(tens < 0 ? &right : &left, tens < 0 ? -tens : tens);
    number_big_shift(twos < 0 ? &left : &right, (uint32_t)(twos < 0 ? -twos : twos));
    return number_big_compare(&left, &right);
}

// number_split gives the mantissa and the power of two of the double of these bits.
static inline int32_t number_split(uint64_t bits, uint64_t *mantissa) {
    int32_t exponent = (int32_t)(bits >> 52);
    *mantissa = bits & 0xfffffffffffff;
    if (exponent != 0) *mantissa |= 1ull << 52;
    return (exponent == 0 ? 1 : exponent) - 1075;
}

// number_against compares n, without its sign, with what lies halfway between
// the double of these bits and the next one.
static inline int32_t number_against(number n, uint64_t bits) {
    uint64_t mantissa;
    int32_t twos = number_split(bits, &mantissa);
    return number_scaled(n, mantissa * 2 + 1, twos - 1);
}

// number_with compares n, without its sign, with a positive double.
static inline int32_t number_with(number n, double v) {
    uint64_t bits, mantissa;
    __builtin_memcpy(&bits, &v, 8);
    int32_t twos = number_split(bits, &mantissa);
    return number_scaled(n, mantissa, twos);
}

#define NUMBER_INFINITY 0x7ff0000000000000ull

// number_round finds the double nearest to n, without its sign, from one that is
// near it.
GL_COLD double number_round(number n, double near) {
    uint64_t bits;
    __builtin_memcpy(&bits, &near, 8);
    if (bits >= NUMBER_INFINITY) bits = NUMBER_INFINITY - 1;
    while (bits < NUMBER_INFINITY) {
        int32_t above = number_against(n, bits);
        if (above == 0) bits += bits & 1;  // halfway: to the even one
        if (above == 0) break;
        if (above > 0) {
            bits++;
            continue;
        }
        int32_t below = bits == 0 ? 1 : number_against(n, bits - 1);
        if (below > 0) break;
        if (below < 0 || bits & 1) bits--;
        if (below == 0) break;
    }
    __builtin_memcpy(&near, &bits, 8);
    return near;
}

// number_double returns the nearest double, the even one of two, as strtod does;
// infinity when the number is too large.
GL_COLD double number_double(number n) {
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    if (n.zero || n.magnitude < -330) return n.negative ? -0.0 : 0;
    if (n.magnitude > 308) return n.negative ? -__builtin_inf() : __builtin_inf();
    number rest = n;
    uint64_t whole = 0;
    int64_t taken = 0;
    for (; taken < 17 && rest.p < rest.end; taken++) whole = whole * 10 + number_digit(&rest);
    int64_t scale = n.magnitude - (taken - 1);
    double v = (double)whole;
    if (rest.p == rest.end && whole <= 1ull << 53 && scale >= -22 && scale <= 22) {
        v = scale < 0 ? v / powers[-scale] : v * powers[scale];
        return n.negative ? -v : v;
    }
    for (; scale > 0; scale -= scale > 22 ? 22 : scale) v *= powers[scale > 22 ? 22 : scale];
    for (; scale < 0; scale += scale < -22 ? 22 : -scale) v /= powers[scale < -22 ? 22 : -scale];
    v = number_round(n, v);
    return n.negative ? -v : v;
}

#endif
