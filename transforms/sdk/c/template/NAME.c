// NAME: masks numbers that may be of payment cards.
//
// Each run of 12 to 19 digits in a value becomes stars, but for its last digits: as
// many as the configuration says, a number from 0 to 8 (default 4). The header
// "masked" then says how many there were. A value with a zero byte is refused, one
// with the header "no-store" is dropped, one whose key begins with "test-" goes to
// the first topic of the grant's routes. A tombstone passes.
//
// It is a beginning: write what your records need, and change cases/mask.yaml with it.
#include "guardlock.h"

#define REASONS(FIRST, NEXT)         \
    FIRST(MASKED, "mask.masked")     \
    NEXT(BINARY, "mask.binary")      \
    NEXT(NO_STORE, "mask.no_store")  \
    NEXT(TEST, "mask.test")
GUARDLOCK_REASONS(REASONS)

static uint32_t keep = 4;

static int32_t configure(const uint8_t *config, uint32_t len) {
    if (len == 0) return GL_OK;
    if (len != 1 || config[0] < '0' || config[0] > '8') return GL_ERR_MALFORMED;
    keep = config[0] - '0';
    return GL_OK;
}
GUARDLOCK_INIT(configure)

static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

// mask masks the runs of digits in a text, where they lie, and counts them.
static uint32_t mask(uint8_t *text, uint32_t len) {
    uint32_t masked = 0;
    for (uint32_t start = 0; start < len;) {
        uint32_t run = 0;
        while (start + run < len && is_digit(text[start + run])) run++;
        if (run >= 12 && run <= 19) {
            for (uint32_t i = 0; i < run - keep; i++) text[start + i] = '*';
            masked++;
        }
        start += run + 1;
    }
    return masked;
}

static uint32_t decimal(uint8_t *out, uint32_t n) {
    uint8_t digits[10];
    uint32_t len = 0;
    do digits[len++] = (uint8_t)('0' + n % 10); while (n /= 10);
    for (uint32_t i = 0; i < len; i++) out[i] = digits[len - 1 - i];
    return len;
}

static int32_t transform(gl_call *c, gl_record *r) {
    static const uint8_t no_store[] = "no-store", test[] = "test-", header[] = "masked";
    int32_t dropped;
    if (gl_count_headers(r, no_store, sizeof no_store - 1, &dropped) < 0) return GL_ERR_MALFORMED;
    if (dropped > 0) return gl_drop(r, REASON_NO_STORE);
    if (r->flags & GL_VALUE_NULL) return GL_OK;
    if (gl_find(r->value, r->value_len, 0)) return gl_reject(r, REASON_BINARY);

    uint32_t masked = mask(r->value, r->value_len);
    if (masked > 0) {
        uint8_t count[10];
        int32_t rc = gl_set_header(c, r, header, sizeof header - 1, count, decimal(count, masked));
        if (rc < 0) return rc;
    }
    if (r->key_len >= sizeof test - 1 && gl_equal(r->key, test, sizeof test - 1)) return gl_route(r, 0, REASON_TEST);
    return masked > 0 ? gl_modified(r, REASON_MASKED) : GL_OK;
}
GUARDLOCK_TRANSFORM(transform)
