// paths.h: JSON paths, compiled to one automaton and run over a value.
//
// The language is the part of RFC 9535 that names places: $.a.b, $['a b'],
// $.a[2], $.a[*], $.a.*, $..name. All paths of a module become the states of one
// deterministic automaton when it starts; per record each key costs one hash
// look-up and one table load, however many rules there are.
//
// [*] and .* take the elements of an array and the members of an object alike.
// A duplicate key is followed at each occurrence, and a key written with
// escapes is decoded first: consumers differ in which one they read.
#ifndef GUARDLOCK_PATHS_H
#define GUARDLOCK_PATHS_H

#include "config.h"

#define PATHS_MAX_RULES 256
#define PATHS_MAX_STEPS 1024
#define PATHS_MAX_NODES 512
#define PATHS_MAX_NAMES 255
#define PATHS_MAX_NAME 255

enum step_kind { STEP_END, STEP_NAME, STEP_INDEX, STEP_ANY };

typedef struct paths_step {
    uint8_t kind;
    bool deep;        // "..": also matches further down
    uint16_t name;    // STEP_NAME: index in names; STEP_END: the rule
    uint32_t index;   // STEP_INDEX
} paths_step;

typedef struct paths_name {
    const uint8_t *p;
    uint16_t len;
    uint8_t next;  // in the hash chain, 0 ends it
} paths_name;

typedef struct paths_index {
    uint32_t index;
    uint16_t node;
} paths_index;

// paths_set is a set of steps: "these are to be matched against a child".
typedef struct paths_set {
    uint64_t bits[PATHS_MAX_STEPS / 64];
} paths_set;

typedef struct paths_node {
    uint16_t *by_name;     // node per name id; 0 is any other name
    paths_index *indexes;  // array elements that a path names
    uint16_t n_indexes;
    uint16_t other;        // node of any other element
    uint8_t accepts;       // a rule ends here: paths_accepts
    uint8_t dead;          // nothing below can match
} paths_node;

// One automaton per module. Node 0 is dead; node 1 is the root.
static struct {
    uint32_t n_steps, n_rules, n_nodes;
    uint32_t n_names;
    uint8_t chain[256];
    paths_name names[PATHS_MAX_NAMES + 1];
    paths_step steps[PATHS_MAX_STEPS];
    paths_node nodes[PATHS_MAX_NODES];
    paths_set sets[PATHS_MAX_NODES];
    uint16_t starts[PATHS_MAX_RULES];
} paths;

// ---- names ----

// paths_hash takes the first two bytes, of which the second may be the closing
// quote: every name is followed by one, in the text and in our copies.
GL_INLINE uint8_t paths_hash(const uint8_t *p, uint32_t len) {
    return (uint8_t)(json_load2(p) * 0x9e37 >> 8 ^ len * 8);
}

// paths_find returns a name's id, 0 when no path has it.
GL_INLINE uint32_t paths_find(const uint8_t *p, uint32_t len) {
    uint32_t id = paths.chain[paths_hash(p, len)];
    if (GL_LIKELY(id == 0)) return 0;
    do {
        if (paths.names[id].len == len && gl_equal(p, paths.names[id].p, len)) return id;
        id = paths.names[id].next;
    } while (id != 0);
    return 0;
}

GL_COLD uint32_t paths_find_escaped(const uint8_t *p, const uint8_t *end) {
    static uint8_t text[PATHS_MAX_NAME * 6 + GL_SLACK];
    if (end - p > PATHS_MAX_NAME * 6) return 0;
    uint32_t len = json_decode(p, end, text);
    text[len] = '"';
    return paths_find(text, len);
}

// paths_add_name copies the name, so that it has its own slack.
GL_COLD bool paths_add_name(const uint8_t *p, uint32_t len, uint16_t *id) {
    if (len == 0 || len > PATHS_MAX_NAME) return false;
    uint8_t *copy = gl_alloc(len + 1, 16);
    if (copy == NULL) return false;
    gl_copy(copy, p, len);
    copy[len] = '"';
    *id = (uint16_t)paths_find(copy, len);
    if (*id != 0) return true;
    if (paths.n_names == PATHS_MAX_NAMES) return false;
    uint8_t *head = &paths.chain[paths_hash(copy, len)];
    *id = (uint16_t)++paths.n_names;
    paths.names[*id] = (paths_name){copy, (uint16_t)len, *head};
    *head = (uint8_t)*id;
    return true;
}

// ---- parsing ----

GL_INLINE bool paths_plain(uint8_t c) {
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_' || c == '-' || c >= 0x80;
}

GL_COLD bool paths_parse_dot(const uint8_t **p, const uint8_t *end, paths_step *s) {
    const uint8_t *start = *p;
    if (start < end && *start == '*') {
        *s = (paths_step){.kind = STEP_ANY};
        *p = start + 1;
        return true;
    }
    while (*p < end && paths_plain(**p)) ++*p;
    s->kind = STEP_NAME;
    return paths_add_name(start, (uint32_t)(*p - start), &s->name);
}

// paths_parse_index takes what is left of [12].
GL_COLD bool paths_parse_index(const uint8_t **p, const uint8_t *end, paths_step *s) {
    const uint8_t *start = *p;
    *s = (paths_step){.kind = STEP_INDEX};
    while (*p < end && **p >= '0' && **p <= '9') s->index = s->index * 10 + (uint32_t)(*(*p)++ - '0');
    return *p > start && *p - start <= 9 && *p < end && *(*p)++ == ']';
}

// paths_parse_bracket takes what is left of [*], [12] and ['any text'].
GL_COLD bool paths_parse_bracket(const uint8_t **p, const uint8_t *end, paths_step *s) {
    if (end - *p >= 2 && (*p)[0] == '*' && (*p)[1] == ']') {
        *s = (paths_step){.kind = STEP_ANY};
        *p += 2;
        return true;
    }
    if (*p == end || **p != '\'') return paths_parse_index(p, end, s);
    const uint8_t *start = ++*p;
    while (*p < end && **p != '\'' && **p != '\\') ++*p;
    if (end - *p < 2 || (*p)[0] != '\'' || (*p)[1] != ']') return false;
    s->kind = STEP_NAME;
    *p += 2;
    return paths_add_name(start, (uint32_t)(*p - 2 - start), &s->name);
}

GL_COLD bool paths_parse_step(const uint8_t **p, const uint8_t *end, paths_step *s) {
    uint8_t c = *(*p)++;
    if (c == '[') return paths_parse_bracket(p, end, s);
    if (c != '.') return false;
    bool deep = *p < end && **p == '.';
    if (deep) ++*p;
    if (!paths_parse_dot(p, end, s)) return false;
    s->deep = deep;
    return !deep || s->kind == STEP_NAME;  // "..*" would be everything
}

// paths_add compiles one path as rule number paths.n_rules. The root itself
// cannot be named.
GL_COLD bool paths_add(config_value v) {
    config_text text;
    if (paths.n_rules == PATHS_MAX_RULES || !config_string(v, 1024, &text)) return false;
    const uint8_t *p = text.p, *end = p + text.len;
    if (text.len < 2 || *p++ != '$') return false;
    paths.starts[paths.n_rules] = (uint16_t)paths.n_steps;
    while (p < end) {
        paths_step s = {0};
        if (paths.n_steps + 2 > PATHS_MAX_STEPS || !paths_parse_step(&p, end, &s)) return false;
        paths.steps[paths.n_steps++] = s;
    }
    paths.steps[paths.n_steps++] = (paths_step){.kind = STEP_END, .name = (uint16_t)paths.n_rules++};
    return true;
}

// ---- the automaton ----

GL_INLINE void paths_put(paths_set *s, uint32_t i) { s->bits[i / 64] |= 1ull << i % 64; }
GL_INLINE bool paths_has(const paths_set *s, uint32_t i) { return s->bits[i / 64] >> i % 64 & 1; }

// paths_next returns the first member of s from i on, PATHS_MAX_STEPS at the end.
static inline uint32_t paths_next(const paths_set *s, uint32_t i) {
    while (i < PATHS_MAX_STEPS) {
        uint64_t rest = s->bits[i / 64] >> i % 64;
        if (rest != 0) return i + (uint32_t)__builtin_ctzll(rest);
        i = (i / 64 + 1) * 64;
    }
    return PATHS_MAX_STEPS;
}

// paths_child follows a set through a child: a name id (0: another name), or an
// array element (by index; UINT32_MAX: another element) when name is -1.
GL_COLD paths_set paths_child(const paths_set *from, int32_t name, uint32_t index) {
    paths_set to = {0};
    for (uint32_t i = paths_next(from, 0); i < PATHS_MAX_STEPS; i = paths_next(from, i + 1)) {
        const paths_step *s = &paths.steps[i];
        if (s->kind == STEP_END) continue;
        if (s->deep) paths_put(&to, i);
        if (s->kind == STEP_ANY || (s->kind == STEP_NAME && name > 0 && s->name == name) ||
            (s->kind == STEP_INDEX && name < 0 && s->index == index))
            paths_put(&to, i + 1);
    }
    return to;
}

// paths_intern returns the node of a set; false when there are too many.
GL_COLD bool paths_intern(const paths_set *s, uint16_t *out) {
    for (uint32_t n = 0; n < paths.n_nodes; n++) {
        if (!gl_equal((const uint8_t *)&paths.sets[n], (const uint8_t *)s, sizeof *s)) continue;
        *out = (uint16_t)n;
        return true;
    }
    if (paths.n_nodes == PATHS_MAX_NODES) return false;
    *out = (uint16_t)paths.n_nodes;
    paths_node *node = &paths.nodes[paths.n_nodes];
    node->dead = true;
    for (uint32_t i = paths_next(s, 0); i < PATHS_MAX_STEPS; i = paths_next(s, i + 1)) {
        if (paths.steps[i].kind == STEP_END) node->accepts = true;
        else node->dead = false;
    }
    paths.sets[paths.n_nodes++] = *s;
    return true;
}

GL_COLD bool paths_add_index(paths_node *node, const paths_set *from, uint32_t index) {
    for (uint32_t i = 0; i < node->n_indexes; i++)
        if (node->indexes[i].index == index) return true;
    paths_set to = paths_child(from, -1, index);
    paths_index *slot = &node->indexes[node->n_indexes++];
    slot->index = index;
    return paths_intern(&to, &slot->node);
}

// paths_add_child sets where a step of the set leads; every other name and
// element has been given its node before.
GL_COLD bool paths_add_child(paths_node *node, const paths_set *from, const paths_step *s) {
    if (s->kind == STEP_INDEX) return paths_add_index(node, from, s->index);
    if (s->kind != STEP_NAME) return true;
    paths_set to = paths_child(from, s->name, 0);
    return paths_intern(&to, &node->by_name[s->name]);
}

GL_COLD bool paths_expand(uint32_t n) {
    paths_node *node = &paths.nodes[n];
    const paths_set *from = &paths.sets[n];
    node->by_name = gl_alloc((paths.n_names + 1) * sizeof(uint16_t), 16);
    node->indexes = gl_alloc(paths.n_rules * sizeof(paths_index), 16);
    if (node->by_name == NULL || node->indexes == NULL) return false;
    paths_set name = paths_child(from, 0, 0), element = paths_child(from, -1, UINT32_MAX);
    if (!paths_intern(&name, &node->by_name[0]) || !paths_intern(&element, &node->other)) return false;
    for (uint32_t id = 1; id <= paths.n_names; id++) node->by_name[id] = node->by_name[0];
    for (uint32_t i = paths_next(from, 0); i < PATHS_MAX_STEPS; i = paths_next(from, i + 1))
        if (!paths_add_child(node, from, &paths.steps[i])) return false;
    return true;
}

// paths_build makes the automaton, after the last paths_add.
GL_COLD bool paths_build(void) {
    paths_set set = {0};
    uint16_t id;
    if (paths.n_rules == 0 || !paths_intern(&set, &id)) return false;
    for (uint32_t r = 0; r < paths.n_rules; r++) paths_put(&set, paths.starts[r]);
    if (!paths_intern(&set, &id)) return false;
    for (uint32_t n = 0; n < paths.n_nodes; n++)
        if (!paths_expand(n)) return false;
    return true;
}

// paths_accepts tells whether a rule ends in a node.
GL_INLINE bool paths_accepts(uint32_t node, uint32_t rule) {
    uint32_t end = rule + 1 < paths.n_rules ? paths.starts[rule + 1] : paths.n_steps;
    return paths_has(&paths.sets[node], end - 1);
}

// ---- walking ----

// paths_match is where rules matched: the member (its key's quote; an element's
// first byte), its value, and how many containers are around it.
typedef struct paths_match {
    uint32_t node;
    const uint8_t *member, *value;
    uint32_t depth;
} paths_match;

// A visitor returns m->value to have the walk go on into the value, the end of
// the value to have it skipped (already validated), or NULL to stop.
typedef const uint8_t *paths_visitor(void *self, const paths_match *m);

// paths_level is the container that the walk is in: its node, what a child of
// no special name or index leads to, and the index of the next element.
typedef struct paths_level {
    const paths_node *node, *other;
    uint32_t index;
    uint8_t closer;
} paths_level;

GL_INLINE paths_level paths_enter(const paths_node *node, uint8_t opener) {
    uint32_t other = opener == '{' ? node->by_name[0] : node->other;
    return (paths_level){node, &paths.nodes[other], 0, opener + 2};
}

GL_INLINE const paths_node *paths_element(paths_level *l) {
    uint32_t index = l->index++;
    for (uint32_t i = 0; i < l->node->n_indexes; i++)
        if (l->node->indexes[i].index == index) return &paths.nodes[l->node->indexes[i].node];
    return l->other;
}

// paths_key_rest is paths_key for keys of 16 bytes or more and for escaped ones.
static __attribute__((noinline)) const uint8_t *paths_key_rest(const uint8_t *p, uint32_t *id) {
    const uint8_t *quote = json_string_rest(p);
    if (quote == NULL) return NULL;
    uint32_t len = (uint32_t)(quote - p);
    *id = gl_find(p, len, '\\') != NULL ? paths_find_escaped(p, quote) : paths_find(p, len);
    return json_colon(quote);
}

// paths_key reads the key at p, a quote, and returns the member's value.
GL_INLINE const uint8_t *paths_key(const uint8_t *p, uint32_t *id) {
    if (*p++ != '"') return NULL;
    uint32_t stops = json_stops(p), len = (uint32_t)__builtin_ctz(stops | 0x10000);
    if (GL_UNLIKELY(p[len] != '"' || stops == 0)) {
        static uint32_t found;
        const uint8_t *value = paths_key_rest(p, &found);
        *id = found;
        return value;
    }
    *id = paths_find(p, len);
    return json_colon(p + len);
}

// paths_walk validates the value at p and shows each match to visit. It returns
// the end of the value, or NULL.
GL_INLINE const uint8_t *paths_walk(const uint8_t *p, paths_visitor *visit, void *self) {
    static paths_level outer[JSON_MAX_DEPTH];
    if (!json_opens(*p)) return json_scalar(p);  // a path has a step at least
    paths_level in = paths_enter(&paths.nodes[1], *p);
    uint32_t depth = 1;
    p = json_space(p + 1);
    bool empty = *p == in.closer;
    for (;;) {
        const uint8_t *member = p;
        const paths_node *below = in.other;
        if (empty) goto closing;
        if (in.closer == '}') {
            uint32_t id;
            if ((p = paths_key(p, &id)) == NULL) return NULL;
            if (id != 0) below = &paths.nodes[in.node->by_name[id]];
        } else if (in.node->n_indexes != 0) {
            below = paths_element(&in);
        }
        const uint8_t *value = p;
        if (GL_UNLIKELY(below->accepts)) {
            paths_match m = {(uint32_t)(below - paths.nodes), member, value, depth};
            if ((p = visit(self, &m)) == NULL) return NULL;
        }
        if (p == value) {
            if (!json_opens(*p)) {
                p = json_scalar(p);
            } else if (below->dead) {
                p = json_skip_container(p, depth);
            } else {
                if (depth == JSON_MAX_DEPTH) return json_fail(JSON_TOO_DEEP);
                outer[depth++] = in;
                in = paths_enter(below, *p);
                p = json_space(p + 1);
                empty = *p == in.closer;
                continue;
            }
            if (p == NULL) return NULL;
        }
        if (GL_LIKELY(json_comma(p))) {
            p++;
            continue;
        }
    closing:
        empty = false;
        while (*(p = json_space(p)) != ',') {
            if (*p != in.closer) return NULL;
            p++;
            if (--depth == 0) return p;
            in = outer[depth];
        }
        p = json_space(p + 1);
    }
}

#endif
