// dropping: drops a record whose value begins with "drop".
//
// No configuration. It is here for the client matrix: no module of the catalogue drops records.
#include "../../../transforms/sdk/c/guardlock.h"

#define REASONS(FIRST, NEXT) FIRST(ASKED, "dropping.asked_for")
GUARDLOCK_REASONS(REASONS)

static int32_t transform(gl_call *c, gl_record *r) {
    (void)c;
    if ((r->flags & GL_VALUE_NULL) || r->value_len < 4) return GL_OK;
    const uint8_t *v = r->value;
    if (v[0] == 'd' && v[1] == 'r' && v[2] == 'o' && v[3] == 'p') return gl_drop(r, REASON_ASKED);
    return GL_OK;
}

GUARDLOCK_TRANSFORM(transform)
