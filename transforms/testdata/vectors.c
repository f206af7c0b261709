// The guest of the vectors in docs/abi.md: the first byte of a value says what becomes
// of the record. build.sh has the command.
#include "../sdk/c/guardlock.h"

#define REASONS(FIRST, NEXT) FIRST(CHANGED, "vector.changed") NEXT(REFUSED, "vector.refused")
GUARDLOCK_REASONS(REASONS)

// upper writes the value anew, in capitals.
static int32_t upper(gl_call *c, gl_record *r) {
    uint8_t *p = gl_take(c, r->value_len);
    if (p == NULL) return GL_ERR_SPACE;
    for (uint32_t i = 0; i < r->value_len; i++) p[i] = r->value[i] >= 'a' && r->value[i] <= 'z' ? r->value[i] - 32 : r->value[i];
    r->value = p;
    return gl_modified(r, REASON_CHANGED);
}

// mask puts stars for bytes 2 to 5 and takes the last byte out.
static int32_t mask(gl_call *c, gl_record *r) {
    uint8_t *stars = gl_take(c, 4);
    if (stars == NULL || r->value_len < 7) return GL_ERR_SPACE;
    __builtin_memset(stars, '*', 4);
    int32_t rc = gl_edit(c, 2, 4, stars, 4);
    if (rc == GL_OK) rc = gl_edit(c, r->value_len - 1, 1, NULL, 0);
    return rc < 0 ? rc : gl_modified(r, REASON_CHANGED);
}

static int32_t decide(gl_call *c, gl_record *r) {
    switch (r->value_len > 0 ? *r->value : 0) {
    case 'd': return gl_drop(r, REASON_CHANGED);
    case 'e': return mask(c, r);
    case 'm': return upper(c, r);
    case 'r': return gl_reject(r, REASON_REFUSED);
    case 't': return gl_route(r, 1, REASON_CHANGED);
    }
    return GL_OK;
}

GUARDLOCK_TRANSFORM(decide)
