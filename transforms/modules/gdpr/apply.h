// apply.h: a rule applied to a text, and to a JSON value, which it takes apart first.
#ifndef GUARDLOCK_GDPR_APPLY_H
#define GUARDLOCK_GDPR_APPLY_H

#include "find.h"
#ifdef GDPR_KEYS
#include "keys.h"
#endif

// Actions that take any bytes; the others take UTF-8.
static bool takes_bytes(const rule *r) {
    uint32_t any = ACTION(DROP) | ACTION(REDACT) | ACTION(HASH) | ACTION(PSEUDONYMISE);
#ifdef GDPR_KEYS
    any |= ACTION(TOKENISE) | ACTION(ENCRYPT);
#endif
    return any & ACTION(r->action);
}

static int32_t redact_text(text *out) {
    *out = (text){(const uint8_t *)"[redacted]", 10};
    return GL_OK;
}

// write_rule is for actions whose output is not much longer than the text.
static int32_t write_rule(gl_call *c, const rule *r, text in, text *out) {
    uint8_t *d = gl_room(c, in.n * 2 + 64);
    if (d == NULL || in.n > UINT32_MAX / 4) return GL_ERR_SPACE;
    uint8_t *end = r->action == MASK ? mask_as(d, in, r->form, r->keep_last) : generalise(d, in, r);
    if (end == NULL) return TEXT_UNREADABLE;
    *out = (text){d, (uint32_t)(end - d)};
    gl_take(c, out->n);
    return GL_OK;
}

static int32_t apply_action(gl_call *c, const rule *r, text in, text *out) {
    switch (r->action) {
    case REDACT: return redact_text(out);
    case HASH: return hash_text(c, r, in, out);
    case PSEUDONYMISE: return pseudonymise(c, r, in, out);
    case FIND: return find_text(c, r, in, out);
    case MASK:
    case GENERALISE: return write_rule(c, r, in, out);
    }
#ifdef GDPR_KEYS
    return apply_keyed(c, r, in, out);
#else
    return GL_ERR_INTERNAL;
#endif
}

// rule_text applies any action but drop. It returns GL_OK, TEXT_UNREADABLE for a text
// that the action cannot read, or a GL_ERR_ code.
GL_COLD int32_t rule_text(gl_call *c, const rule *r, text in, text *out) {
    bool bad = !takes_bytes(r) && !utf8_valid(in.p, in.p + in.n);
    int32_t rc = bad ? TEXT_UNREADABLE : apply_action(c, r, in, out);
    return rc == TEXT_UNREADABLE && r->redact_unread ? redact_text(out) : rc;
}

// same_text tells whether a rule left a text as it was.
static bool same_text(text a, text b) { return a.n == b.n && (a.p == b.p || gl_equal(a.p, b.p, a.n)); }

// quote_json writes a text as a string of JSON, or NULL: GL_ERR_SPACE.
static uint8_t *quote_json(gl_call *c, text t, text *out) {
    uint64_t size = t.n + 2ull;
    for (uint32_t i = 0; i < t.n; i++) size += t.p[i] < ' ' ? 5 : t.p[i] == '"' || t.p[i] == '\\';
    uint8_t *start = size <= UINT32_MAX ? gl_room(c, (uint32_t)size) : NULL, *d = start;
    if (start == NULL) return NULL;
    *d++ = '"';
    for (uint32_t i = 0; i < t.n; i++) {
        uint8_t b = t.p[i];
        if (b < ' ') {
            d = write_text(d, "\\u00", 4);
            *d++ = hex(b >> 4);
            *d++ = hex(b & 15);
            continue;
        }
        if (b == '"' || b == '\\') *d++ = '\\';
        *d++ = b;
    }
    *d++ = '"';
    *out = (text){start, (uint32_t)(d - start)};
    gl_take(c, out->n);
    return d;
}

// json_text is the text that a JSON value stands for: of a string what it says, of
// anything else what is written. Decoded text lies in the arena.
static int32_t json_text(gl_call *c, const uint8_t *value, const uint8_t *end, text *out) {
    *out = (text){value, (uint32_t)(end - value)};
    if (*value != '"') return GL_OK;
    *out = (text){value + 1, out->n - 2};
    if (gl_find(out->p, out->n, '\\') == NULL) return GL_OK;
    uint8_t *plain = gl_take(c, out->n);
    if (plain == NULL) return GL_ERR_SPACE;
    out->n = json_decode(out->p, end - 1, plain);
    out->p = plain;
    return GL_OK;
}

// rule_json applies a rule to the JSON value[:end]. *out is JSON again.
GL_COLD int32_t rule_json(gl_call *c, const rule *r, const uint8_t *value, const uint8_t *end, text *out) {
    text in, made;
    bool number = number_starts(*value);
    int32_t rc = json_text(c, value, end, &in);
    if (rc < 0) return rc;
    *out = (text){value, (uint32_t)(end - value)};
    if (*value == '"' || number || takes_bytes(r)) {
        rc = rule_text(c, r, in, &made);
    } else if (r->redact_unread) {
        rc = redact_text(&made);
    } else {
        rc = TEXT_UNREADABLE;
    }
    if (rc != GL_OK) return rc;
    if (same_text(in, made)) return GL_OK;
    // A generalised number stays one.
    if (number && r->action == GENERALISE && r->extent == TO_STEP && number_starts(*made.p)) *out = made;
    else if (quote_json(c, made, out) == NULL) return GL_ERR_SPACE;
    return GL_OK;
}

#endif
