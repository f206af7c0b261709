// number.h: JSON numbers compared exactly, whatever their length, and read as
// doubles where a model needs arithmetic.
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

// number_double returns the nearest double or its neighbour; infinity when the
// number is too large.
GL_COLD double number_double(number n) {
    if (n.zero || n.magnitude < -330) return 0;
    if (n.magnitude > 308) return n.negative ? -__builtin_inf() : __builtin_inf();
    double v = 0;
    int64_t taken = 0;
    for (; taken < 17; taken++) v = v * 10 + number_digit(&n);
    int64_t scale = n.magnitude - (taken - 1);
    for (; scale >= 10; scale -= 10) v *= 1e10;
    for (; scale > 0; scale--) v *= 10;
    for (; scale <= -10; scale += 10) v /= 1e10;
    for (; scale < 0; scale++) v /= 10;
    return n.negative ? -v : v;
}

#endif
