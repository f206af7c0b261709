// config.h: strict reading of a module's configuration.
//
// The text is validated once as a whole (config_open); the readers below then
// walk it without building anything. Every reader returns false for what it was
// not told to expect: an unknown or repeated key, another type, a number out of
// range. The module then refuses to start, so a typo cannot switch a rule off.
#ifndef GUARDLOCK_CONFIG_H
#define GUARDLOCK_CONFIG_H

#include "json.h"

// config_value is a value's text, from its first byte to behind its last.
typedef struct config_value {
    const uint8_t *p, *end;
} config_value;

// config_text is a decoded string in memory of its own, GL_SLACK bytes padded.
typedef struct config_text {
    const uint8_t *p;
    uint32_t len;
} config_text;

// config_iter steps over the members of an object or the elements of an array.
typedef struct config_iter {
    const uint8_t *p;
    uint8_t closer;
    config_value key, value;
} config_iter;

// config_open copies p[:n], since the host may reuse it, and validates it.
GL_COLD bool config_open(const uint8_t *p, uint32_t n, config_value *out) {
    uint8_t *copy = gl_alloc(n + 1, 16), saved = 0;
    if (copy == NULL) return false;
    gl_copy(copy, p, n);
    const uint8_t *start = json_begin(copy, n, &saved);
    const uint8_t *end = start ? json_skip(start, 0) : NULL;
    if (end == NULL || json_space(end) != copy + n) return false;
    *out = (config_value){start, end};
    return true;
}

static inline bool config_enter(config_value v, uint8_t opener, config_iter *it) {
    if (*v.p != opener) return false;
    it->p = json_space(v.p + 1);
    it->closer = opener + 2;
    return true;
}
static inline bool config_object(config_value v, config_iter *it) { return config_enter(v, '{', it); }
static inline bool config_array(config_value v, config_iter *it) { return config_enter(v, '[', it); }

// config_next steps; false at the end. The text is known to be valid.
GL_COLD bool config_next(config_iter *it) {
    if (*it->p == it->closer) return false;
    if (it->closer == '}') {
        it->key.p = it->p;
        it->key.end = json_skip(it->p, 0);
        it->p = json_space(json_space(it->key.end) + 1);
    }
    it->value.p = it->p;
    it->value.end = json_skip(it->p, 0);
    it->p = json_space(it->value.end);
    if (*it->p == ',') it->p = json_space(it->p + 1);
    return true;
}

// config_is compares a string with a word. Escapes are not decoded: a key or
// keyword that is written with them is unknown.
GL_COLD bool config_is(config_value v, const char *word) {
    if (*v.p != '"') return false;
    const uint8_t *p = v.p + 1;
    while (*word != 0 && *p == (uint8_t)*word) p++, word++;
    return *word == 0 && p == v.end - 1;
}

// config_key tells which of the names (NULL ends them) the current key is, from
// 0, and marks it in *seen; -1 for an unknown key and for a repeated one.
GL_COLD int32_t config_key(const config_iter *it, const char *const *names, uint32_t *seen) {
    for (int32_t i = 0; names[i] != NULL; i++) {
        if (!config_is(it->key, names[i])) continue;
        if (*seen >> i & 1) return -1;
        *seen |= 1u << i;
        return i;
    }
    return -1;
}

// config_choice sets *out to the index of the word that the string is.
GL_COLD bool config_choice(config_value v, const char *const *words, uint32_t *out) {
    for (uint32_t i = 0; words[i] != NULL; i++) {
        if (!config_is(v, words[i])) continue;
        *out = i;
        return true;
    }
    return false;
}

// config_string decodes a string of at most max bytes.
GL_COLD bool config_string(config_value v, uint32_t max, config_text *out) {
    if (*v.p != '"') return false;
    uint8_t *dst = gl_alloc((uint32_t)(v.end - v.p), 16);
    if (dst == NULL) return false;
    out->p = dst;
    out->len = json_decode(v.p + 1, v.end - 1, dst);
    return out->len <= max;
}

// config_uint reads a plain whole number from min to max.
GL_COLD bool config_uint(config_value v, uint32_t min, uint32_t max, uint32_t *out) {
    uint64_t n = 0;
    if (v.end - v.p > 10) return false;
    for (const uint8_t *p = v.p; p < v.end; p++) {
        if (*p < '0' || *p > '9') return false;
        n = n * 10 + (*p - '0');
    }
    *out = (uint32_t)n;
    return n >= min && n <= max;
}

#endif
