// velocity.h: the operator of fraud-velocity. A rule with it counts the values at its
// path and fires where one came more often than it may.
//
//     {"path": "$.card.id", "op": "velocity", "within": "60s", "more_than": 2,
//      "on_incomplete": "fire", "weight": 80, "reason": "fraud_velocity.velocity"}
//
// The host counts (guardlock_state): by a keyed hash of the value, of one partition, and
// by the record's time. Each rule counts for itself. Counts are gone after a restart:
// until the window has passed since, the rule fires as well with "on_incomplete": "fire".
#ifndef GUARDLOCK_FRAUD_VELOCITY_H
#define GUARDLOCK_FRAUD_VELOCITY_H

#include "../include/number.h"

#define VELOCITY_MAX_KEY 1024u  // of the host
#define VELOCITY_MAX_SECONDS (7u * 24 * 3600)
#define VELOCITY_MAX_PLAIN 64   // digits of a whole number that is counted as if it were a text

// velocity is what a rule counts.
typedef struct velocity {
    uint32_t window_ms, more_than;
    uint32_t wary;  // fires while counts may be incomplete
} velocity;

// velocity_window reads "90s", "15m", "24h".
GL_COLD bool velocity_window(config_value v, velocity *out) {
    config_text text;
    uint32_t seconds = 0;
    if (!config_string(v, 8, &text) || text.len < 2) return false;
    uint8_t unit = text.p[text.len - 1];
    config_value digits = {text.p, text.p + text.len - 1};
    uint32_t each = unit == 's' ? 1 : unit == 'm' ? 60 : unit == 'h' ? 3600 : 0;
    if (each == 0 || !config_uint(digits, 1, VELOCITY_MAX_SECONDS / each, &seconds)) return false;
    out->window_ms = seconds * each * 1000;
    return true;
}

// velocity_number writes a number so that all spellings of it are one key, and whole ones
// are the key of the text of their digits. It returns the end, or NULL if it is too long.
static uint8_t *velocity_number(uint8_t *d, const uint8_t *end, number n) {
    if (n.zero) {
        *d++ = '0';
        return d;
    }
    const uint8_t *last = n.end;
    while (last[-1] == '0' || last[-1] == '.') last--;
    n.end = last;
    uint32_t digits = 0;
    for (number rest = n; rest.p < rest.end; digits++) number_digit(&rest);
    bool plain = n.magnitude < VELOCITY_MAX_PLAIN && (int64_t)digits <= n.magnitude + 1;
    uint32_t count = plain ? (uint32_t)n.magnitude + 1 : digits;
    if (end - d < 16 + (int64_t)count) return NULL;
    if (!plain) {
        *d++ = 0xff;  // begins no text
        __builtin_memcpy(d, &n.magnitude, sizeof n.magnitude);
        d += sizeof n.magnitude;
    }
    if (n.negative) *d++ = '-';
    while (count-- > 0) *d++ = (uint8_t)('0' + number_digit(&n));
    return d;
}

// velocity_key writes the key of the text or number p[:stop], and returns its end, or
// NULL if it is too long.
static uint8_t *velocity_key(uint8_t *d, const uint8_t *end, const uint8_t *p, const uint8_t *stop) {
    if (*p != '"') return velocity_number(d, end, number_read(p, stop));
    uint32_t n = (uint32_t)(stop - p) - 2;
    if (!paths_room(n + GL_SLACK)) return NULL;
    n = json_decode(p + 1, stop - 1, paths.scratch);
    if (n > (uint32_t)(end - d)) return NULL;
    gl_copy(d, paths.scratch, n);
    return d + n;
}

// velocity_fires counts the value p[:stop] of a record. What cannot be counted does
// whatever is feared.
GL_COLD bool velocity_fires(const velocity *v, uint32_t rule, uint32_t record, const uint8_t *p, const uint8_t *stop) {
    static uint8_t key[VELOCITY_MAX_KEY + GL_SLACK];
    key[0] = (uint8_t)rule;
    uint8_t *end = velocity_key(key + 1, key + VELOCITY_MAX_KEY, p, stop);
    if (end == NULL) return true;
    int32_t count = gl_count(record, key, (uint32_t)(end - key), v->window_ms);
    if (count < 0 || (uint32_t)count > v->more_than) return true;
    if (!v->wary) return false;
    int32_t since = gl_since(record);
    return since < 0 || (uint32_t)since < v->window_ms;
}

#endif
