// reject-uppercase: rejects a record whose value has an ASCII capital letter.
//
// No configuration. The smallest module that says no; for demonstrations.
#include "../../sdk/c/guardlock.h"

#define REASONS(FIRST, NEXT) FIRST(CAPITAL, "reject_uppercase.capital_letter")
GUARDLOCK_REASONS(REASONS)

static int32_t transform(gl_call *c, gl_record *r) {
    (void)c;
    if (r->flags & GL_VALUE_NULL) return GL_OK;
    for (uint32_t i = 0; i < r->value_len; i += 16) {
        v128_t letter = wasm_i8x16_sub(wasm_v128_load(r->value + i), wasm_i8x16_splat('A'));
        uint32_t hit = wasm_i8x16_bitmask(wasm_i8x16_eq(wasm_u8x16_min(letter, wasm_i8x16_splat(25)), letter));
        if (r->value_len - i < 16) hit &= (1u << (r->value_len - i)) - 1;
        if (hit != 0) return gl_reject(r, REASON_CAPITAL);
    }
    return GL_OK;
}

GUARDLOCK_TRANSFORM(transform)
