// A guest that counts keys and metrics through the C SDK: the value becomes how often the
// key came in a minute, as one digit. build.sh has the command.
#include "../sdk/c/guardlock.h"

#define REASONS(FIRST, NEXT) FIRST(COUNTED, "counts.counted")
GUARDLOCK_REASONS(REASONS)
#define METRICS(FIRST, NEXT) FIRST(KEYS, "keys.seen") NEXT(AGAIN, "keys.seen_again")
GUARDLOCK_METRICS(METRICS)

static int32_t transform(gl_call *c, gl_record *r) {
    int32_t n = gl_count(r->src, r->key, r->key_len, 60000);
    if (n < 0) return GL_ERR_INTERNAL;
    uint8_t *digit = gl_take(c, 1);
    if (digit == NULL) return GL_ERR_SPACE;
    *digit = (uint8_t)('0' + n % 10);
    gl_metric(METRIC_KEYS, 1);
    if (n > 1) gl_metric(METRIC_AGAIN, 1);
    r->value = digit;
    r->value_len = 1;
    return gl_modified(r, REASON_COUNTED);
}

GUARDLOCK_TRANSFORM(transform)
