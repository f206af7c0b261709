// check.h: whether a value is what a schema says, over JSON that is known to be
// valid. It builds nothing; judging is recursive, and bounded in depth and steps.
#ifndef GUARDLOCK_CHECK_H
#define GUARDLOCK_CHECK_H

#include "schema.h"

// CHECK_MAX_DEPTH is how many schemas may judge one in another; a value that is as
// deep as JSON may be takes two for each of its levels, if the schema is recursive.
#define CHECK_MAX_DEPTH 300u

// CHECK_APART keeps a function's frame out of its caller's, since judging is
// recursive and the sandbox bounds the stack.
#define CHECK_APART static __attribute__((noinline))

// Why a value is not what it must be.
enum check_fault {
    FAULT_NONE, FAULT_TYPE, FAULT_VALUE, FAULT_RANGE, FAULT_LENGTH, FAULT_PATTERN, FAULT_REQUIRED, FAULT_UNKNOWN_FIELD, FAULT_FIELD_NAME,
    FAULT_COUNT, FAULT_DUPLICATE_ITEM, FAULT_ITEMS, FAULT_ALTERNATIVES, FAULT_TOO_COMPLEX
};

static struct {
    uint32_t fault;
    bool exhausted;   // the bounds were reached: nothing is known of the value
    uint64_t steps;   // that may still be taken
    uint64_t *hashes; // of keys and items, those of the innermost container last
    uint32_t n_hashes, hashes_cap;
} check;

static const uint8_t *check_fail(uint32_t fault) {
    check.fault = fault;
    return NULL;
}

CHECK_APART const uint8_t *check_exhaust(void) {
    check.exhausted = true;
    return check_fail(FAULT_TOO_COMPLEX);
}

// check_spend takes steps; false when there are none left.
static inline bool check_spend(uint64_t n) {
    if (check.steps < n) return check_exhaust() != NULL;
    check.steps -= n;
    return true;
}

// ---- texts ----

// text_room is where strings of one kind are decoded, one at a time; it is kept
// from record to record, since there is no free.
typedef struct text_room {
    uint8_t *p;
    uint32_t cap;
} text_room;

static text_room room_of_record, room_of_schema;

// check_decode_in gives the text of the string p[:end], quotes included, which
// holds until the next one is decoded in this room.
GL_COLD bool check_decode_in(text_room *room, const uint8_t *p, const uint8_t *end, config_text *out) {
    uint32_t n = (uint32_t)(end - p) - 2;
    *out = (config_text){p + 1, n};
    if (!check_spend(n / 16)) return false;
    if (gl_find(p + 1, n, '\\') == NULL) return true;
    if (n > room->cap) {
        room->p = gl_alloc(n * 2, 16);
        room->cap = room->p != NULL ? n * 2 : 0;
        if (room->p == NULL) return check_exhaust() != NULL;
    }
    *out = (config_text){room->p, json_decode(p + 1, end - 1, room->p)};
    return true;
}

static inline bool check_decode(const uint8_t *p, const uint8_t *end, config_text *out) {
    return check_decode_in(&room_of_record, p, end, out);
}

static inline bool text_equal(config_text a, config_text b) { return a.len == b.len && gl_equal(a.p, b.p, a.len); }

// check_characters counts the code points of a text.
static inline uint32_t check_characters(config_text t) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < t.len; i++) n += (t.p[i] & 0xc0) != 0x80;
    return n;
}

// ---- hashes ----

static inline uint64_t check_mix(uint64_t h, uint64_t v) {
    h = (h ^ v) * 0x9e3779b97f4a7c15ull;
    return h ^ h >> 29;
}

static inline uint64_t check_hash_bytes(uint64_t h, const uint8_t *p, uint32_t n) {
    uint64_t v;
    for (uint32_t i = 0; i < n; i += 8) {
        __builtin_memcpy(&v, p + i, 8);
        if (n - i < 8) v &= (1ull << (n - i) * 8) - 1;
        h = check_mix(h, v);
    }
    return check_mix(h, n);
}

static inline uint64_t check_hash_number(number n) {
    if (n.zero) return 7;
    uint64_t h = check_mix(n.negative ? 11 : 13, (uint64_t)n.magnitude);
    for (int64_t left = n.magnitude - number_tens(n) + 1; left > 0; left--) h = check_mix(h, number_digit(&n));
    return h;
}

GL_COLD bool check_hash_push(uint64_t h) {
    if (check.n_hashes == check.hashes_cap) {
        uint32_t cap = check.hashes_cap ? check.hashes_cap * 2 : 1024;
        uint64_t *more = gl_alloc(cap * sizeof(uint64_t), 16);
        if (more == NULL) return check_exhaust() != NULL;
        gl_copy(more, check.hashes, check.n_hashes * sizeof(uint64_t));
        check.hashes = more;
        check.hashes_cap = cap;
    }
    check.hashes[check.n_hashes++] = h;
    return true;
}

static inline void check_sift(uint64_t *h, uint32_t i, uint32_t n) {
    for (uint32_t child; (child = i * 2 + 1) < n; i = child) {
        if (child + 1 < n && h[child + 1] > h[child]) child++;
        if (h[i] >= h[child]) return;
        uint64_t swap = h[i];
        h[i] = h[child];
        h[child] = swap;
    }
}

GL_COLD void check_sort(uint64_t *h, uint32_t n) {
    for (uint32_t i = n / 2; i > 0; i--) check_sift(h, i - 1, n);
    for (uint32_t i = n; i > 1; i--) {
        uint64_t swap = h[0];
        h[0] = h[i - 1];
        h[i - 1] = swap;
        check_sift(h, 0, i - 1);
    }
}

// check_pop forgets the hashes from base on, and tells whether two were the same.
// Two that are the same by chance are taken for the same, one time in 2^64: a
// value is then refused that need not be, and never the other way round.
CHECK_APART bool check_pop(uint32_t base) {
    uint64_t *h = check.hashes + base;
    uint32_t n = check.n_hashes - base;
    bool twice = false;
    check.n_hashes = base;
    if (n > 24) {
        check_sort(h, n);
        for (uint32_t i = 1; i < n; i++) twice |= h[i] == h[i - 1];
        return twice;
    }
    for (uint32_t i = 1; i < n; i++)
        for (uint32_t k = 0; k < i; k++) twice |= h[i] == h[k];
    return twice;
}

// check_hash hashes a value so that equal ones have one hash, whatever their
// spelling and the order of fields. *p moves behind it.
CHECK_APART uint64_t check_hash(const uint8_t **p, uint32_t depth) {
    const uint8_t *start = *p, opener = *start;
    config_text text;
    if (!json_opens(opener)) {
        *p = json_scalar(start);
        if (!check_spend(1)) return 0;
        if (opener == '"') return check_decode(start, *p, &text) ? check_hash_bytes(3, text.p, text.len) : 0;
        return number_starts(opener) ? check_hash_number(number_read(start, *p)) : opener;
    }
    uint64_t sum = 0, h = opener;
    *p = json_space(start + 1);
    while (**p != opener + 2) {
        uint64_t key = 0, value;
        if (opener == '{') {
            key = check_hash(p, depth);
            *p = json_space(json_space(*p) + 1);
        }
        value = check_hash(p, depth + 1);
        sum += check_mix(key, value);
        h = opener == '{' ? opener : check_mix(h, value);
        *p = json_space(*p);
        if (**p == ',') *p = json_space(*p + 1);
    }
    ++*p;
    return check_mix(h, sum);
}

// ---- equal values ----

static bool check_equal(config_value want, const uint8_t *p);

// check_equal_items compares arrays, element by element.
GL_COLD bool check_equal_items(config_value want, const uint8_t *p) {
    config_iter a, b;
    config_array(want, &a);
    config_array((config_value){p, NULL}, &b);
    for (;;) {
        bool more = config_next(&a);
        if (more != config_next(&b)) return false;
        if (!more) return true;
        if (!check_equal(a.value, b.value.p)) return false;
    }
}

// check_equal_fields compares objects: each field is one of the other's, and
// there are as many. Keys of the record are unique, or known not to be.
GL_COLD bool check_equal_fields(config_value want, const uint8_t *p) {
    config_iter a, b;
    uint32_t wanted = 0, there = 0;
    config_object((config_value){p, NULL}, &b);
    while (config_next(&b)) there++;
    config_object(want, &a);
    for (; config_next(&a); wanted++) {
        bool found = false;
        config_object((config_value){p, NULL}, &b);
        while (!found && config_next(&b)) found = check_spend(1) && check_equal(a.key, b.key.p) && check_equal(a.value, b.value.p);
        if (!found) return false;
    }
    return wanted == there;
}

static bool check_equal(config_value want, const uint8_t *p) {
    config_text a, b;
    if (!check_spend(1)) return false;
    if (number_starts(*p)) return number_starts(*want.p) && number_compare(number_read(want.p, want.end), number_read(p, json_scalar(p))) == 0;
    if (*p != *want.p) return false;
    if (*p == '[') return check_equal_items(want, p);
    if (*p == '{') return check_equal_fields(want, p);
    if (*p != '"') return true;
    if (!check_decode_in(&room_of_schema, want.p, want.end, &a)) return false;
    return check_decode(p, json_scalar(p), &b) && text_equal(a, b);
}

CHECK_APART bool check_values(const schema *s, const uint8_t *p) {
    if (s->constant.p != NULL && !check_equal(s->constant, p)) return false;
    for (uint32_t i = 0; i < s->n_values; i++)
        if (check_equal(s->values[i], p)) return true;
    return s->n_values == 0;
}

// ---- numbers and texts ----

static uint64_t check_power(int64_t tens, uint64_t of) {
    uint64_t out = 1 % of, base = 10 % of;
    for (; tens > 0; tens >>= 1) {
        if (tens & 1) out = out * base % of;
        base = base * base % of;
    }
    return out;
}

// check_multiple tells whether n is a whole number of factors, exactly.
static bool check_multiple(const schema_numbers *s, number n) {
    if (n.zero) return true;
    int64_t tens = number_tens(n);
    if (tens < s->factor_tens) return false;
    uint64_t rest = 0;
    for (int64_t left = n.magnitude - tens + 1; left > 0; left--) rest = (rest * 10 + number_digit(&n)) % s->factor;
    return rest * check_power(tens - s->factor_tens, s->factor) % s->factor == 0;
}

CHECK_APART bool check_number(const schema_numbers *s, number n) {
    if (s->has_least && number_compare(n, s->least) < 0) return false;
    if (s->has_most && number_compare(n, s->most) > 0) return false;
    if (s->has_above && number_compare(n, s->above) <= 0) return false;
    if (s->has_below && number_compare(n, s->below) >= 0) return false;
    return !s->has_factor || check_multiple(s, n);
}

CHECK_APART bool check_regex(const regex *r, config_text t) {
    if (regex_find(r, t.p, t.len, &check.steps)) return true;
    if (check.steps == 0) check_exhaust();
    return false;
}

CHECK_APART bool check_text(const schema_texts *s, const uint8_t *p, const uint8_t *end) {
    config_text t;
    if (s->least == 0 && s->most == UINT32_MAX && !s->has_pattern && !s->has_format) return true;
    if (!check_decode(p, end, &t)) return false;
    uint32_t n = check_characters(t);
    if (n < s->least || n > s->most) return check_fail(FAULT_LENGTH) != NULL;
    if (s->has_pattern && !check_regex(&s->pattern, t)) return check.exhausted ? false : check_fail(FAULT_PATTERN) != NULL;
    if (s->has_format && !check_regex(&s->format, t)) return check.exhausted ? false : check_fail(FAULT_PATTERN) != NULL;
    return true;
}

// check_types tells whether a value is of a type that a schema allows.
CHECK_APART bool check_types(uint8_t types, const uint8_t *p) {
    switch (*p) {
    case 'n': return types & TYPE_NULL;
    case 't': case 'f': return types & TYPE_BOOLEAN;
    case '{': return types & TYPE_OBJECT;
    case '[': return types & TYPE_ARRAY;
    case '"': return types & TYPE_STRING;
    }
    if (types & TYPE_NUMBER) return true;
    if (!(types & TYPE_INTEGER)) return false;
    number n = number_read(p, json_scalar(p));
    return n.zero || number_tens(n) >= 0;
}

// ---- containers ----

static const uint8_t *check_value(uint32_t i, const uint8_t *p, uint32_t depth);

// check_quiet tells whether a value is what a schema says, and keeps the fault.
CHECK_APART bool check_quiet(uint32_t i, const uint8_t *p, uint32_t depth) {
    uint32_t fault = check.fault, hashes = check.n_hashes;
    bool good = check_value(i, p, depth) != NULL;
    check.n_hashes = hashes;
    if (!check.exhausted) check.fault = fault;
    return good;
}

// check_field lists the schemas that a field must be what they say, and marks its
// name among those that needs speak of.
CHECK_APART bool check_field(const schema_objects *o, config_text key, uint64_t *found, uint16_t *apply, uint32_t *n) {
    *n = 0;
    if (!check_spend((o->n_properties + o->n_names) / 4)) return false;
    for (uint32_t i = 0; i < o->n_names; i++)
        if (text_equal(o->names[i], key)) found[i / 64] |= 1ull << i % 64;
    for (uint32_t i = 0; i < o->n_properties && *n == 0; i++)
        if (text_equal(o->properties[i].name, key)) apply[(*n)++] = o->properties[i].schema;
    for (uint32_t i = 0; i < o->n_patterns; i++)
        if (check_regex(&o->patterns[i].match, key)) apply[(*n)++] = o->patterns[i].schema;
    if (*n == 0 && o->additional != SCHEMA_NONE) apply[(*n)++] = o->additional;
    return !check.exhausted;
}

// check_member judges the field at p, a quote, and returns the end of its value.
CHECK_APART const uint8_t *check_member(const schema_objects *o, const uint8_t *p, uint64_t *found, uint32_t depth) {
    uint16_t apply[SCHEMA_MAX_PATTERNS + 2];
    uint32_t n;
    config_text key;
    const uint8_t *quote = json_string(p + 1), *value = json_colon(quote), *end = NULL;
    if (!check_decode(p, quote + 1, &key) || !check_field(o, key, found, apply, &n)) return NULL;
    if (o->property_names != SCHEMA_NONE && check_value(o->property_names, p, depth) == NULL)
        return check.exhausted ? NULL : check_fail(FAULT_FIELD_NAME);
    for (uint32_t i = 0; i < n; i++) {
        if (schemas.at[apply[i]]->never) return check_fail(FAULT_UNKNOWN_FIELD);
        if ((end = check_value(apply[i], value, depth)) == NULL) return NULL;
    }
    return end != NULL ? end : json_skip(value, 0);
}

#define HAS(found, i) ((found)[((i) - 1) / 64] >> ((i) - 1) % 64 & 1)

// check_needs judges which fields there are.
CHECK_APART bool check_needs(const schema_objects *o, const uint8_t *p, const uint64_t *found, uint32_t depth) {
    for (uint32_t i = 0; i < o->n_needs; i++) {
        const schema_need *need = &o->needs[i];
        if (need->whom != 0 && !HAS(found, need->whom)) continue;
        if (need->schema != SCHEMA_NONE) {
            if (check_value(need->schema, p, depth) == NULL) return false;
        } else if (!HAS(found, need->name)) {
            return check_fail(FAULT_REQUIRED) != NULL;
        }
    }
    return true;
}

CHECK_APART const uint8_t *check_object(const schema_objects *o, const uint8_t *start, uint32_t depth) {
    uint64_t found[SCHEMA_MAX_NAMES / 64] = {0};
    uint32_t n = 0;
    const uint8_t *p = json_space(start + 1);
    while (*p != '}') {
        if (!check_spend(1) || (p = check_member(o, p, found, depth)) == NULL) return NULL;
        n++;
        p = json_space(p);
        if (*p == ',') p = json_space(p + 1);
    }
    if (n < o->least || n > o->most) return check_fail(FAULT_COUNT);
    return check_needs(o, start, found, depth) ? p + 1 : NULL;
}

// check_item judges an element, and returns its end.
CHECK_APART const uint8_t *check_item(const schema_arrays *a, const uint8_t *p, uint32_t index, uint32_t depth) {
    uint16_t by = index < a->prefix.count ? schemas.list[a->prefix.first + index] : a->items;
    if (a->unique) {
        const uint8_t *end = p;
        if (!check_hash_push(check_hash(&end, 0))) return NULL;
    }
    if (by == SCHEMA_NONE) return json_skip(p, 0);
    if (schemas.at[by]->never) return check_fail(FAULT_ITEMS);
    return check_value(by, p, depth);
}

CHECK_APART const uint8_t *check_array(const schema_arrays *a, const uint8_t *p, uint32_t depth) {
    uint32_t n = 0, contained = 0, base = check.n_hashes;
    p = json_space(p + 1);
    while (*p != ']') {
        if (!check_spend(1)) return NULL;
        if (a->contains != SCHEMA_NONE) contained += check_quiet(a->contains, p, depth);
        if (check.exhausted || (p = check_item(a, p, n, depth)) == NULL) return NULL;
        n++;
        p = json_space(p);
        if (*p == ',') p = json_space(p + 1);
    }
    if (a->unique && check_pop(base)) return check_fail(FAULT_DUPLICATE_ITEM);
    if (n < a->least || n > a->most) return check_fail(FAULT_COUNT);
    if (a->contains != SCHEMA_NONE && (contained < a->least_contained || contained > a->most_contained)) return check_fail(FAULT_ITEMS);
    return p + 1;
}

// ---- schemas ----

// check_several judges by allOf, anyOf and oneOf.
CHECK_APART bool check_several(const schema *s, const uint8_t *p, uint32_t depth) {
    uint32_t any = 0, one = 0;
    for (uint32_t i = 0; i < s->all.count; i++)
        if (check_value(schemas.list[s->all.first + i], p, depth) == NULL) return false;
    for (uint32_t i = 0; i < s->any.count && any == 0; i++) any += check_quiet(schemas.list[s->any.first + i], p, depth);
    for (uint32_t i = 0; i < s->one.count && one < 2; i++) one += check_quiet(schemas.list[s->one.first + i], p, depth);
    if (check.exhausted) return false;
    if ((s->any.count != 0 && any == 0) || (s->one.count != 0 && one != 1)) return check_fail(FAULT_ALTERNATIVES) != NULL;
    return true;
}

// check_branches judges by not, if, then and else.
CHECK_APART bool check_branches(const schema *s, const uint8_t *p, uint32_t depth) {
    if (s->no != SCHEMA_NONE && check_quiet(s->no, p, depth)) return check_fail(FAULT_ALTERNATIVES) != NULL;
    if (check.exhausted || s->condition == SCHEMA_NONE) return !check.exhausted;
    uint16_t branch = check_quiet(s->condition, p, depth) ? s->then : s->otherwise;
    if (check.exhausted) return false;
    return branch == SCHEMA_NONE || check_value(branch, p, depth) != NULL;
}

CHECK_APART bool check_scalar(const schema *s, const uint8_t *p, const uint8_t *end) {
    if (*p == '"') return check_text(&s->texts, p, end);
    if (!number_starts(*p)) return true;
    return check_number(&s->numbers, number_read(p, end)) || check_fail(FAULT_RANGE) != NULL;
}

// check_value returns the end of the value at p, or NULL if it is not what schema
// number i says.
static const uint8_t *check_value(uint32_t i, const uint8_t *p, uint32_t depth) {
    const schema *s = schemas.at[i];
    const uint8_t *end;
    if (depth == CHECK_MAX_DEPTH) return check_exhaust();
    if (!check_spend(1)) return NULL;
    if (s->never) return check_fail(FAULT_ALTERNATIVES);
    if (s->types != 0 && !check_types(s->types, p)) return check_fail(FAULT_TYPE);
    if ((s->constant.p != NULL || s->n_values != 0) && !check_values(s, p)) return check.exhausted ? NULL : check_fail(FAULT_VALUE);
    if (*p == '{') end = check_object(&s->objects, p, depth + 1);
    else if (*p == '[') end = check_array(&s->arrays, p, depth + 1);
    else end = check_scalar(s, p, json_scalar(p)) ? json_scalar(p) : NULL;
    if (end == NULL) return NULL;
    if (s->ref != SCHEMA_NONE && check_value(s->ref, p, depth + 1) == NULL) return NULL;
    if (!check_several(s, p, depth + 1) || !check_branches(s, p, depth + 1)) return NULL;
    return end;
}

// ---- keys ----

// check_keys tells whether no object has a key twice, in whatever spelling.
static bool check_keys(const uint8_t *p) {
    static uint32_t bases[JSON_MAX_DEPTH + 1];
    static uint8_t closers[JSON_MAX_DEPTH + 1];
    uint32_t depth = 0;
    config_text key;
    if (!json_opens(*p)) return true;
    for (;;) {
        if (json_opens(*p)) {
            bases[depth] = check.n_hashes;
            closers[depth++] = *p + 2;
            p = json_space(p + 1);
        } else if (*p == closers[depth - 1]) {
            if (check_pop(bases[--depth])) return false;
            if (depth == 0) return true;
            p = json_space(p + 1);
            if (*p == ',') p = json_space(p + 1);
        } else {
            p = json_space(json_scalar(p));
            if (*p == ',') p = json_space(p + 1);
        }
        if (closers[depth - 1] != '}' || *p != '"') continue;
        const uint8_t *quote = json_string(p + 1);
        if (!check_decode(p, quote + 1, &key) || !check_hash_push(check_hash_bytes(3, key.p, key.len))) return false;
        p = json_colon(quote);
    }
}

// check_begin allows the steps that a value of n bytes may take.
static inline void check_begin(uint32_t n) {
    check.fault = FAULT_NONE;
    check.exhausted = false;
    check.steps = 1000000 + (uint64_t)n * 8;
    check.n_hashes = 0;
}

#endif
