// keys.h: what can be undone with a key, for gdpr-keys, which is gdpr and this.
//
// encrypt and decrypt make and read the envelopes of docs/envelope.md, in base64; ff1
// keeps length and alphabet. All are bound to the rule's purpose.
#ifndef GUARDLOCK_GDPR_KEYS_H
#define GUARDLOCK_GDPR_KEYS_H

#include "text.h"

static const char base64_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void write_base64(uint8_t *d, const uint8_t *p, uint32_t n) {
    for (uint32_t i = 0; i < n; i += 3) {
        uint32_t left = n - i, v = (uint32_t)p[i] << 16;
        if (left > 1) v |= (uint32_t)p[i + 1] << 8;
        if (left > 2) v |= p[i + 2];
        *d++ = (uint8_t)base64_alphabet[v >> 18];
        *d++ = (uint8_t)base64_alphabet[v >> 12 & 63];
        *d++ = left > 1 ? (uint8_t)base64_alphabet[v >> 6 & 63] : '=';
        *d++ = left > 2 ? (uint8_t)base64_alphabet[v & 63] : '=';
    }
}

static int32_t base64_value(uint8_t c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (is_digit(c)) return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

// read_base64 returns how many bytes it wrote, 0 for what is not base64 with padding.
static uint32_t read_base64(uint8_t *d, text t) {
    uint32_t n = 0, padding = 0;
    if (t.n == 0 || t.n % 4 != 0) return 0;
    while (padding < 2 && t.p[t.n - 1 - padding] == '=') padding++;
    for (uint32_t i = 0; i < t.n; i += 4) {
        uint32_t v = 0, here = i + 4 == t.n ? 4 - padding : 4;
        for (uint32_t j = 0; j < 4; j++) {
            int32_t six = j < here ? base64_value(t.p[i + j]) : 0;
            if (six < 0) return 0;
            v = v << 6 | (uint32_t)six;
        }
        if (here < 4 && (v & (here == 3 ? 0xff : 0xffff)) != 0) return 0;
        for (uint32_t j = 0; j + 1 < here; j++) d[n++] = (uint8_t)(v >> (16 - 8 * j));
    }
    return n;
}

static int32_t encrypt(gl_call *c, const rule *r, text in, text *out) {
    if (in.n > UINT32_MAX / 8) return GL_ERR_SPACE;
    uint32_t sealed_len = in.n + GL_ENVELOPE_OVERHEAD, n = (sealed_len + 2) / 3 * 4;
    uint8_t *d = gl_take(c, n), *sealed = gl_room(c, sealed_len);
    if (d == NULL || sealed == NULL) return GL_ERR_SPACE;
    if (gl_aes_gcm_seal(r->key, in.p, in.n, r->purpose.p, r->purpose.len, sealed, sealed_len) != (int32_t)sealed_len) return GL_ERR_INTERNAL;
    write_base64(d, sealed, sealed_len);
    *out = (text){d, n};
    return GL_OK;
}

static int32_t decrypt(gl_call *c, const rule *r, text in, text *out) {
    uint8_t *plain = gl_take(c, in.n), *sealed = gl_room(c, in.n);
    if (plain == NULL || sealed == NULL) return GL_ERR_SPACE;
    uint32_t n = read_base64(sealed, in);
    if (n == 0) return TEXT_UNREADABLE;
    int32_t opened = gl_aes_gcm_open(r->key, sealed, n, r->purpose.p, r->purpose.len, plain, in.n);
    if (opened == GL_NOT_OPENED || opened == GL_BAD_ARGUMENTS) return TEXT_UNREADABLE;
    if (opened < 0) return GL_ERR_INTERNAL;
    *out = (text){plain, (uint32_t)opened};
    return utf8_valid(out->p, out->p + out->n) ? GL_OK : TEXT_UNREADABLE;
}

static int32_t ff1(gl_call *c, const rule *r, text in, text *out) {
    uint8_t *d = gl_take(c, in.n);
    if (d == NULL) return GL_ERR_SPACE;
    int32_t n = r->action == FF1 ? gl_ff1_encrypt(r->key, in.p, in.n, r->radix, r->purpose.p, r->purpose.len, NULL, 0, d)
                                 : gl_ff1_decrypt(r->key, in.p, in.n, r->radix, r->purpose.p, r->purpose.len, NULL, 0, d);
    if (n == GL_SMALL_DOMAIN || n == GL_BAD_ARGUMENTS) return TEXT_UNREADABLE;
    *out = (text){d, in.n};
    return n < 0 ? GL_ERR_INTERNAL : GL_OK;
}

static int32_t tokenise(gl_call *c, const rule *r, text in, text *out) {
    uint8_t *d = gl_take(c, GL_TOKEN_BYTES);
    if (d == NULL) return GL_ERR_SPACE;
    int32_t n = gl_tokenise(r->key, in.p, in.n, r->purpose.p, r->purpose.len, d, GL_TOKEN_BYTES);
    *out = (text){d, GL_TOKEN_BYTES};
    return n < 0 ? GL_ERR_INTERNAL : GL_OK;
}

static int32_t apply_keyed(gl_call *c, const rule *r, text in, text *out) {
    switch (r->action) {
    case TOKENISE: return tokenise(c, r, in, out);
    case ENCRYPT: return encrypt(c, r, in, out);
    case DECRYPT: return decrypt(c, r, in, out);
    }
    return ff1(c, r, in, out);
}

#endif
