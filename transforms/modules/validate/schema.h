// schema.h: a JSON Schema (draft 2020-12), compiled from the configuration.
//
// Every keyword is understood or refused: type enum const, minimum maximum
// exclusiveMinimum exclusiveMaximum multipleOf, minLength maxLength pattern format,
// properties patternProperties additionalProperties propertyNames required
// minProperties maxProperties dependentRequired dependentSchemas, prefixItems items
// contains minContains maxContains minItems maxItems uniqueItems, allOf anyOf oneOf
// not if then else, $ref within the schema, $defs and definitions. What only
// describes is passed over: $schema $comment title description default examples
// deprecated readOnly writeOnly.
#ifndef GUARDLOCK_SCHEMA_H
#define GUARDLOCK_SCHEMA_H

#include "../include/number.h"
#include "../include/regex.h"
#include "../include/config.h"

#define SCHEMA_MAX 1024u
#define SCHEMA_NONE UINT16_MAX
#define SCHEMA_MAX_LIST 4096u
#define SCHEMA_MAX_NAMES 128u     // of required and dependent fields, in one schema
#define SCHEMA_MAX_PATTERNS 8u    // patternProperties of one schema
#define SCHEMA_MAX_TEXT 1024u
#define SCHEMA_MAX_FACTOR 4294967295u

enum { TYPE_NULL = 1, TYPE_BOOLEAN = 2, TYPE_OBJECT = 4, TYPE_ARRAY = 8, TYPE_NUMBER = 16, TYPE_STRING = 32, TYPE_INTEGER = 64 };

// schema_list is a run of the module's list of schemas.
typedef struct schema_list {
    uint16_t first, count;
} schema_list;

typedef struct schema_property {
    config_text name;
    uint16_t schema;
} schema_property;

typedef struct schema_pattern {
    regex match;
    uint16_t schema;
} schema_pattern;

// schema_need is a field that must be there if another one is: whom 0 is always,
// any other number the name before it. Or a schema holds if the name is there.
typedef struct schema_need {
    uint16_t whom, name, schema;
} schema_need;

typedef struct schema_numbers {
    bool has_least, has_most, has_above, has_below, has_factor;
    number least, most, above, below;
    uint32_t factor;        // of multipleOf, without the power of ten
    int64_t factor_tens;
} schema_numbers;

typedef struct schema_texts {
    uint32_t least, most;
    bool has_pattern, has_format;
    regex pattern, format;
} schema_texts;

typedef struct schema_objects {
    schema_property *properties;
    uint32_t n_properties;
    schema_pattern *patterns;
    uint32_t n_patterns;
    config_text *names;  // those that needs speak of
    uint32_t n_names;
    schema_need *needs;
    uint32_t n_needs;
    uint16_t additional, property_names;
    uint32_t least, most;
} schema_objects;

typedef struct schema_arrays {
    schema_list prefix;
    uint16_t items, contains;
    uint32_t least, most, least_contained, most_contained;
    bool unique;
} schema_arrays;

typedef struct schema {
    bool never;
    uint8_t types;  // 0: any
    config_value *values;  // of enum, and of const
    uint32_t n_values;
    config_value constant;
    schema_numbers numbers;
    schema_texts texts;
    schema_objects objects;
    schema_arrays arrays;
    schema_list all, any, one;
    uint16_t ref, no, condition, then, otherwise;
    const uint8_t *source;
} schema;

static struct {
    config_value root;
    schema *at[SCHEMA_MAX];
    uint32_t n;
    uint16_t list[SCHEMA_MAX_LIST];
    uint32_t n_list;
    uint8_t open[SCHEMA_MAX];  // of the search for circles
} schemas;

static bool schema_compile(config_value v, uint16_t *out, uint32_t depth);

// ---- parts ----

GL_COLD bool schema_number(config_value v, number *out, bool *has) {
    *has = true;
    if (!number_starts(*v.p)) return false;
    *out = number_read(v.p, v.end);
    return true;
}

// number_tens is the power of ten of a number's last digit that is not 0.
static inline int64_t number_tens(number n) {
    int64_t digits = 0, used = 0;
    while (n.p < n.end) {
        uint32_t d = number_digit(&n);
        digits++;
        if (d != 0) used = digits;
    }
    return n.magnitude - used + 1;
}

GL_COLD bool schema_factor(config_value v, schema_numbers *s) {
    number n;
    uint64_t factor = 0;
    if (!schema_number(v, &n, &s->has_factor) || n.negative || n.zero) return false;
    s->factor_tens = number_tens(n);
    for (int64_t left = n.magnitude - s->factor_tens + 1; left > 0; left--) {
        factor = factor * 10 + number_digit(&n);
        if (factor > SCHEMA_MAX_FACTOR) return false;
    }
    s->factor = (uint32_t)factor;
    return true;
}

// schema_uint reads a whole number, which may be written 2.0.
GL_COLD bool schema_uint(config_value v, uint32_t *out) {
    if (!number_starts(*v.p)) return false;
    double n = number_double(number_read(v.p, v.end));
    if (!(n >= 0 && n <= 4294967295.0) || n != __builtin_floor(n)) return false;
    *out = (uint32_t)n;
    return true;
}

GL_COLD bool schema_types(config_value v, uint8_t *out) {
    static const char *const names[] = {"null", "boolean", "object", "array", "number", "string", "integer", NULL};
    config_iter it;
    uint32_t i;
    if (config_choice(v, names, &i)) {
        *out = (uint8_t)(1u << i);
        return true;
    }
    if (!config_array(v, &it)) return false;
    while (config_next(&it)) {
        if (!config_choice(it.value, names, &i) || *out >> i & 1) return false;
        *out |= (uint8_t)(1u << i);
    }
    return *out != 0;
}

GL_COLD uint32_t schema_count(config_value v, uint8_t opener) {
    config_iter it;
    uint32_t n = 0;
    if (!config_enter(v, opener, &it)) return UINT32_MAX;
    while (config_next(&it)) n++;
    return n;
}

// schema_room returns room for the members of a container; NULL when it is
// another one or there are too many.
GL_COLD void *schema_room(config_value v, uint8_t opener, uint32_t size, uint32_t most) {
    uint32_t n = schema_count(v, opener);
    return n > most ? NULL : gl_alloc((n + 1) * size, 16);
}

GL_COLD bool schema_values(config_value v, schema *s) {
    config_iter it;
    s->values = schema_room(v, '[', sizeof(config_value), SCHEMA_MAX_LIST);
    if (s->values == NULL || !config_array(v, &it)) return false;
    while (config_next(&it)) s->values[s->n_values++] = it.value;
    return s->n_values > 0;
}

GL_COLD bool schema_children(config_value v, schema_list *out, uint32_t depth) {
    config_iter it;
    uint32_t n = schema_count(v, '[');
    if (n == 0 || n > SCHEMA_MAX_LIST - schemas.n_list || !config_array(v, &it)) return false;
    *out = (schema_list){(uint16_t)schemas.n_list, (uint16_t)n};
    schemas.n_list += n;
    for (uint32_t i = 0; config_next(&it); i++)
        if (!schema_compile(it.value, &schemas.list[out->first + i], depth)) return false;
    return true;
}

GL_COLD bool schema_regex(config_value v, regex *out) {
    config_text text;
    return config_string(v, SCHEMA_MAX_TEXT, &text) && regex_compile(text.p, text.len, out);
}

// schema_format compiles the shape of a format.
GL_COLD bool schema_format(config_value v, regex *out) {
#define FORMAT_DATE "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
#define FORMAT_TIME "([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)([.][0-9]+)?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
#define FORMAT_BYTE "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
#define FORMAT_ATOM "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
#define FORMAT_LABEL "[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
    static const char *const names[] = {"date", "time", "date-time", "uuid", "ipv4", "email", NULL};
    static const char *const shapes[] = {
        "^" FORMAT_DATE "$", "^" FORMAT_TIME "$", "^" FORMAT_DATE "[Tt]" FORMAT_TIME "$",
        "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$", "^" FORMAT_BYTE "([.]" FORMAT_BYTE "){3}$",
        "^" FORMAT_ATOM "([.]" FORMAT_ATOM ")*@" FORMAT_LABEL "([.]" FORMAT_LABEL ")*$"};
    uint32_t i, n = 0;
    if (!config_choice(v, names, &i)) return false;
    while (shapes[i][n] != 0) n++;
    return regex_compile((const uint8_t *)shapes[i], n, out);
}

// ---- objects ----

GL_COLD bool schema_properties(config_value v, schema_objects *o, uint32_t depth) {
    config_iter it;
    o->properties = schema_room(v, '{', sizeof(schema_property), SCHEMA_MAX);
    if (o->properties == NULL || !config_object(v, &it)) return false;
    for (; config_next(&it); o->n_properties++) {
        schema_property *p = &o->properties[o->n_properties];
        if (!config_string(it.key, SCHEMA_MAX_TEXT, &p->name) || !schema_compile(it.value, &p->schema, depth)) return false;
    }
    return true;
}

GL_COLD bool schema_patterns(config_value v, schema_objects *o, uint32_t depth) {
    config_iter it;
    o->patterns = schema_room(v, '{', sizeof(schema_pattern), SCHEMA_MAX_PATTERNS);
    if (o->patterns == NULL || !config_object(v, &it)) return false;
    for (; config_next(&it); o->n_patterns++) {
        schema_pattern *p = &o->patterns[o->n_patterns];
        if (!schema_regex(it.key, &p->match) || !schema_compile(it.value, &p->schema, depth)) return false;
    }
    return true;
}

// schema_name gives the number of a name that needs speak of, from 1.
GL_COLD bool schema_name(config_value v, schema_objects *o, uint16_t *out) {
    config_text text;
    if (!config_string(v, SCHEMA_MAX_TEXT, &text)) return false;
    if (o->names == NULL) o->names = gl_alloc(SCHEMA_MAX_NAMES * sizeof(config_text), 16);
    if (o->names == NULL) return false;
    for (*out = 1; *out <= o->n_names; ++*out)
        if (o->names[*out - 1].len == text.len && gl_equal(o->names[*out - 1].p, text.p, text.len)) return true;
    if (o->n_names == SCHEMA_MAX_NAMES) return false;
    o->names[o->n_names++] = text;
    return true;
}

GL_COLD bool schema_need_add(schema_objects *o, schema_need need) {
    if (o->needs == NULL) o->needs = gl_alloc(SCHEMA_MAX_NAMES * 4 * sizeof(schema_need), 16);
    if (o->needs == NULL || o->n_needs == SCHEMA_MAX_NAMES * 4) return false;
    o->needs[o->n_needs++] = need;
    return true;
}

GL_COLD bool schema_required(config_value v, schema_objects *o, uint16_t whom) {
    config_iter it;
    if (!config_array(v, &it)) return false;
    while (config_next(&it)) {
        schema_need need = {.whom = whom, .schema = SCHEMA_NONE};
        if (!schema_name(it.value, o, &need.name) || !schema_need_add(o, need)) return false;
    }
    return true;
}

// schema_dependent reads dependentRequired, or dependentSchemas.
GL_COLD bool schema_dependent(config_value v, schema_objects *o, bool of_schemas, uint32_t depth) {
    config_iter it;
    if (!config_object(v, &it)) return false;
    while (config_next(&it)) {
        schema_need need = {0};
        if (!schema_name(it.key, o, &need.whom)) return false;
        if (!of_schemas) {
            if (!schema_required(it.value, o, need.whom)) return false;
            continue;
        }
        if (!schema_compile(it.value, &need.schema, depth) || !schema_need_add(o, need)) return false;
    }
    return true;
}

// ---- references ----

// schema_step decodes one step of a JSON pointer, and moves *p behind it.
GL_COLD uint32_t schema_step(const uint8_t **p, const uint8_t *end, uint8_t *dst) {
    uint32_t n = 0;
    for (++*p; *p < end && **p != '/'; ++*p) {
        uint8_t c = **p;
        if (c == '~' && end - *p > 1) {
            ++*p;
            c = **p == '0' ? '~' : '/';
        } else if (c == '%' && end - *p > 2) {
            uint8_t pair[4] = {'0', '0', (*p)[1], (*p)[2]};
            c = (uint8_t)json_hex4(pair);
            *p += 2;
        }
        dst[n++] = c;
    }
    return n;
}

// schema_member finds a member by its name, or an element by its number.
GL_COLD bool schema_member(config_value v, const uint8_t *name, uint32_t len, config_value *out) {
    config_iter it;
    config_text key;
    uint32_t index = 0, wanted = 0;
    bool is_array = *v.p == '[';
    if (!json_opens(*v.p) || !config_enter(v, *v.p, &it)) return false;
    for (uint32_t i = 0; i < len && i < 9; i++) wanted = wanted * 10 + (name[i] - (uint32_t)'0');
    for (; config_next(&it); index++) {
        if (is_array ? index != wanted : !config_string(it.key, SCHEMA_MAX_TEXT, &key) || key.len != len || !gl_equal(key.p, name, len)) continue;
        *out = it.value;
        return true;
    }
    return false;
}

// schema_ref follows "#" and "#/a/b".
GL_COLD bool schema_ref(config_value v, uint16_t *out, uint32_t depth) {
    static uint8_t name[SCHEMA_MAX_TEXT + GL_SLACK];
    config_text text;
    config_value at = schemas.root;
    if (!config_string(v, SCHEMA_MAX_TEXT, &text) || text.len == 0 || text.p[0] != '#') return false;
    const uint8_t *p = text.p + 1, *end = text.p + text.len;
    if (p < end && *p != '/') return false;
    while (p < end) {
        uint32_t len = schema_step(&p, end, name);
        if (!schema_member(at, name, len, &at)) return false;
    }
    return schema_compile(at, out, depth);
}

// ---- schemas ----

enum keyword {
    K_TYPE, K_ENUM, K_CONST, K_MINIMUM, K_MAXIMUM, K_ABOVE, K_BELOW, K_MULTIPLE, K_MIN_LENGTH, K_MAX_LENGTH, K_PATTERN, K_FORMAT,
    K_PROPERTIES, K_PATTERN_PROPERTIES, K_ADDITIONAL, K_NAMES, K_REQUIRED, K_MIN_PROPERTIES, K_MAX_PROPERTIES, K_DEPENDENT_REQUIRED,
    K_DEPENDENT_SCHEMAS, K_PREFIX, K_ITEMS, K_CONTAINS, K_MIN_CONTAINS, K_MAX_CONTAINS, K_MIN_ITEMS, K_MAX_ITEMS, K_UNIQUE,
    K_ALL, K_ANY, K_ONE, K_NOT, K_IF, K_THEN, K_ELSE, K_REF, K_DEFS, K_DEFINITIONS, K_DESCRIBES
};
static const char *const keywords[] = {
    "type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern", "format",
    "properties", "patternProperties", "additionalProperties", "propertyNames", "required", "minProperties", "maxProperties", "dependentRequired",
    "dependentSchemas", "prefixItems", "items", "contains", "minContains", "maxContains", "minItems", "maxItems", "uniqueItems",
    "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "$ref", "$defs", "definitions",
    "$schema", "$comment", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", NULL};

GL_COLD bool schema_flag(config_value v, bool *out) {
    *out = *v.p == 't';
    return *v.p == 't' || *v.p == 'f';
}

// schema_defs compiles what nothing may refer to, so that all of it is checked.
GL_COLD bool schema_defs(config_value v, uint32_t depth) {
    config_iter it;
    uint16_t unused;
    if (!config_object(v, &it)) return false;
    while (config_next(&it))
        if (!schema_compile(it.value, &unused, depth)) return false;
    return true;
}

GL_COLD bool schema_keyword(schema *s, uint32_t keyword, config_value v, uint32_t depth) {
    schema_numbers *n = &s->numbers;
    schema_objects *o = &s->objects;
    schema_arrays *a = &s->arrays;
    switch (keyword) {
    case K_TYPE: return schema_types(v, &s->types);
    case K_ENUM: return schema_values(v, s);
    case K_CONST: s->constant = v; return true;
    case K_MINIMUM: return schema_number(v, &n->least, &n->has_least);
    case K_MAXIMUM: return schema_number(v, &n->most, &n->has_most);
    case K_ABOVE: return schema_number(v, &n->above, &n->has_above);
    case K_BELOW: return schema_number(v, &n->below, &n->has_below);
    case K_MULTIPLE: return schema_factor(v, n);
    case K_MIN_LENGTH: return schema_uint(v, &s->texts.least);
    case K_MAX_LENGTH: return schema_uint(v, &s->texts.most);
    case K_PATTERN: return s->texts.has_pattern = schema_regex(v, &s->texts.pattern);
    case K_FORMAT: return s->texts.has_format = schema_format(v, &s->texts.format);
    case K_PROPERTIES: return schema_properties(v, o, depth);
    case K_PATTERN_PROPERTIES: return schema_patterns(v, o, depth);
    case K_ADDITIONAL: return schema_compile(v, &o->additional, depth);
    case K_NAMES: return schema_compile(v, &o->property_names, depth);
    case K_REQUIRED: return schema_required(v, o, 0);
    case K_MIN_PROPERTIES: return schema_uint(v, &o->least);
    case K_MAX_PROPERTIES: return schema_uint(v, &o->most);
    case K_DEPENDENT_REQUIRED: return schema_dependent(v, o, false, depth);
    case K_DEPENDENT_SCHEMAS: return schema_dependent(v, o, true, depth);
    case K_PREFIX: return schema_children(v, &a->prefix, depth);
    case K_ITEMS: return schema_compile(v, &a->items, depth);
    case K_CONTAINS: return schema_compile(v, &a->contains, depth);
    case K_MIN_CONTAINS: return schema_uint(v, &a->least_contained);
    case K_MAX_CONTAINS: return schema_uint(v, &a->most_contained);
    case K_MIN_ITEMS: return schema_uint(v, &a->least);
    case K_MAX_ITEMS: return schema_uint(v, &a->most);
    case K_UNIQUE: return schema_flag(v, &a->unique);
    case K_ALL: return schema_children(v, &s->all, depth);
    case K_ANY: return schema_children(v, &s->any, depth);
    case K_ONE: return schema_children(v, &s->one, depth);
    case K_NOT: return schema_compile(v, &s->no, depth);
    case K_IF: return schema_compile(v, &s->condition, depth);
    case K_THEN: return schema_compile(v, &s->then, depth);
    case K_ELSE: return schema_compile(v, &s->otherwise, depth);
    case K_REF: return schema_ref(v, &s->ref, depth);
    case K_DEFS: case K_DEFINITIONS: return schema_defs(v, depth);
    }
    return true;
}

GL_COLD bool schema_members(schema *s, config_value v, uint32_t depth) {
    config_iter it;
    uint64_t seen = 0;
    if (!config_object(v, &it)) return false;
    while (config_next(&it)) {
        uint32_t keyword;
        if (!config_choice(it.key, keywords, &keyword) || seen >> keyword & 1) return false;
        seen |= 1ull << keyword;
        if (!schema_keyword(s, keyword, it.value, depth)) return false;
    }
    return true;
}

// schema_compile compiles the schema at a place, once.
static bool schema_compile(config_value v, uint16_t *out, uint32_t depth) {
    for (uint32_t i = 0; i < schemas.n; i++) {
        if (schemas.at[i]->source != v.p) continue;
        *out = (uint16_t)i;
        return true;
    }
    schema *s = gl_alloc(sizeof(schema), 16);
    if (schemas.n == SCHEMA_MAX || depth == JSON_MAX_DEPTH || s == NULL) return false;
    *out = (uint16_t)schemas.n;
    schemas.at[schemas.n++] = s;
    s->source = v.p;
    s->texts.most = s->objects.most = s->arrays.most = s->arrays.most_contained = UINT32_MAX;
    s->arrays.least_contained = 1;
    s->objects.additional = s->objects.property_names = s->arrays.items = s->arrays.contains = SCHEMA_NONE;
    s->ref = s->no = s->condition = s->then = s->otherwise = SCHEMA_NONE;
    if (*v.p == 't' || *v.p == 'f') {
        s->never = *v.p == 'f';
        return true;
    }
    return schema_members(s, v, depth + 1);
}

// ---- circles ----

static bool schema_circular(uint16_t i);

GL_COLD bool schema_any_circular(schema_list l) {
    for (uint32_t i = 0; i < l.count; i++)
        if (schema_circular(schemas.list[l.first + i])) return true;
    return false;
}

// schema_circular tells whether judging a value by a schema would lead to judging
// the same value by it again.
static bool schema_circular(uint16_t i) {
    if (i == SCHEMA_NONE || schemas.open[i] == 2) return false;
    if (schemas.open[i] == 1) return true;
    const schema *s = schemas.at[i];
    schemas.open[i] = 1;
    if (schema_any_circular(s->all) || schema_any_circular(s->any) || schema_any_circular(s->one)) return true;
    if (schema_circular(s->ref) || schema_circular(s->no) || schema_circular(s->condition)) return true;
    if (schema_circular(s->then) || schema_circular(s->otherwise)) return true;
    for (uint32_t n = 0; n < s->objects.n_needs; n++)
        if (schema_circular(s->objects.needs[n].schema)) return true;
    schemas.open[i] = 2;
    return false;
}

// schema_open compiles a whole schema, which is then number 0.
GL_COLD bool schema_open(config_value v) {
    uint16_t root;
    schemas.root = v;
    if (!schema_compile(v, &root, 0)) return false;
    for (uint32_t i = 0; i < schemas.n; i++)
        if (schema_circular((uint16_t)i)) return false;
    return true;
}

#endif
