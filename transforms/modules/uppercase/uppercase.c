// uppercase: turns the ASCII letters of every record value into capitals.
//
// No configuration. Bytes outside a-z stay as they are, in any encoding. It
// exists to show the SDK, and to measure the least that a changing module costs.
#include "../../sdk/c/guardlock.h"

#define REASONS(FIRST, NEXT) FIRST(CHANGED, "uppercase.changed")
GUARDLOCK_REASONS(REASONS)

GL_INLINE v128_t lower_case(v128_t v) {
    v128_t letter = wasm_i8x16_sub(v, wasm_i8x16_splat('a'));
    return wasm_i8x16_eq(wasm_u8x16_min(letter, wasm_i8x16_splat(25)), letter);
}

// first_lower returns the offset of the first block of 16 with a letter to
// change; n or more when there is none.
GL_INLINE uint32_t first_lower(const uint8_t *p, uint32_t n) {
    for (uint32_t i = 0; i < n; i += 16) {
        uint32_t hit = wasm_i8x16_bitmask(lower_case(wasm_v128_load(p + i)));
        if (n - i < 16) hit &= (1u << (n - i)) - 1;
        if (hit != 0) return i;
    }
    return n;
}

static int32_t transform(gl_call *c, gl_record *r) {
    uint32_t n = r->value_len;
    if ((r->flags & GL_VALUE_NULL) || first_lower(r->value, n) >= n) return GL_OK;
    uint8_t *out = gl_room(c, n + 16);
    if (out == NULL) return GL_ERR_SPACE;
    for (uint32_t i = 0; i < n; i += 16) {
        v128_t v = wasm_v128_load(r->value + i);
        v128_t bit = wasm_v128_and(lower_case(v), wasm_i8x16_splat(0x20));
        wasm_v128_store(out + i, wasm_v128_xor(v, bit));
    }
    c->used += n;
    r->value = out;
    return gl_modified(r, REASON_CHANGED);
}

GUARDLOCK_TRANSFORM(transform)
