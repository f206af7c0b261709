// paths.h: JSON paths, compiled to one automaton and run over a value.
//
// The language is the part of RFC 9535 that names places: $.a.b, $['a b'],
// $.a[2], $.a[*], $.a.*, $..name. All paths of a module become the states of one
// deterministic automaton when it starts; per record each key costs one hash
// look-up and one table load, however many rules there are.
//
// [*] and .* take the elements of an array and the members of an object alike.
// A duplicate key is followed at each occurrence, and a key written with
// escapes is decoded first: consumers differ in which one they read. With
// paths.fold, letters that differ only in case are the same (see paths_lower).
//
// A walk can also refuse what the paths do not understand, each way by a flag:
//
//     wrong_type  where a path goes on, there is a text, a number, a boolean, or
//                 a container of the other kind; null stands for nothing there
//     nested      a text is itself JSON, in which a path could go on
//     deny        a member or element that no path leads to or through
//
// The walk then ends with json_fault set to one of the PATHS_ codes.
//
// A place can be marked as one that holds JSON in a text (paths_add_inside): the
// visitor is shown it, and walks the text from the same node with paths_walk_at.
#ifndef GUARDLOCK_PATHS_H
#define GUARDLOCK_PATHS_H

#include "config.h"

#define PATHS_MAX_RULES 256
#define PATHS_MAX_STEPS 1024
#define PATHS_MAX_NODES 512
#define PATHS_MAX_NAMES 255
#define PATHS_MAX_NAME 255

enum { PATHS_WRONG_TYPE = 4, PATHS_NESTED = 5, PATHS_UNKNOWN = 6 };  // of json_fault

// A text that holds JSON that holds texts that hold JSON is looked into this
// often, and deeper ones are taken to hide something.
#define PATHS_MAX_NESTED 8

// What a node refuses or looks at closely: bits of paths_node.strict.
enum { PATHS_OBJECT = 1, PATHS_ARRAY = 2, PATHS_LIVE = 4, PATHS_NOBODYS = 8 };

// What a node is shown to the visitor for: bits of paths_node.accepts.
enum { PATHS_RULE = 1, PATHS_INSIDE = 2 };

enum step_kind { STEP_END, STEP_INSIDE, STEP_NAME, STEP_INDEX, STEP_ANY };

typedef struct paths_step {
    uint8_t kind;
    bool deep;        // "..": also matches further down; STEP_END: a known place, and all below
    uint16_t name;    // STEP_NAME: index in names
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
    uint8_t accepts;       // a rule ends here (paths_accepts), or a place with JSON inside
    uint8_t dead;          // nothing below can match
    uint8_t strict;        // what a value here is held to
    uint8_t note;          // the visitor's own
} paths_node;

// One automaton per module. Node 0 is dead; node 1 is the root.
static struct {
    bool fold, wrong_type, nested, deny;
    uint32_t n_steps, n_rules, n_nodes, n_marks;
    uint32_t n_names;
    uint8_t chain[256];
    paths_name names[PATHS_MAX_NAMES + 1];
    paths_step steps[PATHS_MAX_STEPS];
    paths_node nodes[PATHS_MAX_NODES];
    paths_set sets[PATHS_MAX_NODES];
    uint16_t starts[PATHS_MAX_RULES], ends[PATHS_MAX_RULES];
    uint16_t marks[PATHS_MAX_RULES];  // starts of paths that are no rule's
    uint8_t *scratch;                 // for texts that hold JSON
    uint32_t scratch_cap;
} paths;

// ---- names ----

// paths_lower gives the letter that one counts as: the lower-case one for ASCII,
// Latin-1, Greek and Cyrillic. A few more letters are lower-cased to one of
// these by languages' libraries, so they must not be another name here.
GL_COLD uint32_t paths_lower(uint32_t c) {
    if (c >= 'A' && c <= 'Z') return c + 0x20;
    if (c < 0xc0) return c;
    if (c <= 0xde && c != 0xd7) return c + 0x20;
    if ((c >= 0x391 && c <= 0x3a9) || (c >= 0x410 && c <= 0x42f)) return c + 0x20;
    if (c >= 0x400 && c <= 0x40f) return c + 0x50;
    switch (c) {
    case 0x17f: return 's';     // long s
    case 0x212a: return 'k';    // Kelvin sign
    case 0x212b: return 0xe5;   // Angstrom sign
    case 0x1e9e: return 0xdf;   // capital sharp s
    case 0x3c2: return 0x3c3;   // final sigma
    }
    return c;
}

// paths_fold lower-cases a valid text in its place, which never makes it longer.
GL_COLD uint32_t paths_fold(uint8_t *text, uint32_t len) {
    uint8_t *d = text;
    for (const uint8_t *p = text, *end = text + len; p < end;) {
        uint32_t c = *p++;
        if (c >= 0x80) {
            uint32_t more = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
            c &= 0x3f >> more;
            for (; more > 0; more--) c = c << 6 | (*p++ & 0x3f);
        }
        d = utf8_put(d, paths_lower(c));
    }
    return (uint32_t)(d - text);
}

// paths_lowered has upper-case letters of ASCII in lower case. They are moved to the
// greatest of signed bytes, to be found.
GL_INLINE v128_t paths_lowered(v128_t v) {
    v128_t upper = wasm_i8x16_gt(wasm_i8x16_add(v, wasm_i8x16_splat(0x7f - 'Z')), wasm_i8x16_splat(0x7f - 26));
    return wasm_v128_or(v, wasm_v128_and(upper, wasm_i8x16_splat(0x20)));
}

// paths_same compares a key with a name, which is in lower case already if case
// does not count. What is not ASCII has been folded before.
GL_INLINE bool paths_same(const uint8_t *key, const uint8_t *name, uint32_t n) {
    if (!paths.fold) return gl_equal(key, name, n);
    for (uint32_t i = 0; i < n; i += 16) {
        v128_t v = paths_lowered(wasm_v128_load(key + i));
        uint32_t same = wasm_i8x16_bitmask(wasm_i8x16_eq(v, wasm_v128_load(name + i)));
        if (n - i < 16) same |= 0xffffu << (n - i);
        if ((same & 0xffff) != 0xffff) return false;
    }
    return true;
}

// paths_hash takes the first two bytes, of which the second may be the closing
// quote: every name is followed by one, in the text and in our copies. Bit 5 is
// set in both, so that the case of a letter does not count.
GL_INLINE uint8_t paths_hash(const uint8_t *p, uint32_t len) {
    return (uint8_t)((json_load2(p) | 0x2020) * 0x9e37 >> 8 ^ len * 8);
}

// paths_find returns a name's id, 0 when no path has it.
GL_INLINE uint32_t paths_find(const uint8_t *p, uint32_t len) {
    uint32_t id = paths.chain[paths_hash(p, len)];
    if (GL_LIKELY(id == 0)) return 0;
    do {
        if (paths.names[id].len == len && paths_same(p, paths.names[id].p, len)) return id;
        id = paths.names[id].next;
    } while (id != 0);
    return 0;
}

// paths_find_short is paths_find for len < 16 bytes at p that were read.
GL_INLINE uint32_t paths_find_short(const uint8_t *p, v128_t v, uint32_t len) {
    uint32_t id = paths.chain[paths_hash(p, len)];
    if (GL_LIKELY(id == 0)) return 0;
    if (paths.fold) v = paths_lowered(v);
    do {
        const paths_name *name = &paths.names[id];
        uint32_t same = wasm_i8x16_bitmask(wasm_i8x16_eq(v, wasm_v128_load(name->p)));
        if (name->len == len && (~same & ~(~0u << len)) == 0) return id;
        id = name->next;
    } while (id != 0);
    return 0;
}

// paths_find_spelled is paths_find for keys with escapes or letters beyond ASCII.
GL_COLD uint32_t paths_find_spelled(const uint8_t *p, const uint8_t *end) {
    static uint8_t text[PATHS_MAX_NAME * 6 + GL_SLACK];
    if (end - p > PATHS_MAX_NAME * 6) return 0;
    uint32_t len = json_decode(p, end, text);
    if (paths.fold) len = paths_fold(text, len);
    text[len] = '"';
    return paths_find(text, len);
}

// paths_add_name copies the name, so that it has its own slack.
GL_COLD bool paths_add_name(const uint8_t *p, uint32_t len, uint16_t *id) {
    if (len == 0 || len > PATHS_MAX_NAME) return false;
    uint8_t *copy = gl_alloc(len + 1, 16);
    if (copy == NULL) return false;
    gl_copy(copy, p, len);
    if (paths.fold) len = paths_fold(copy, len);
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

// paths_parse compiles one path, whose last step is end. The root itself cannot
// be named.
GL_COLD bool paths_parse(config_value v, paths_step end_step, uint16_t *start) {
    config_text text;
    if (!config_string(v, 1024, &text)) return false;
    const uint8_t *p = text.p, *end = p + text.len;
    if (text.len < 2 || *p++ != '$') return false;
    *start = (uint16_t)paths.n_steps;
    while (p < end) {
        paths_step s = {0};
        if (paths.n_steps + 2 > PATHS_MAX_STEPS || !paths_parse_step(&p, end, &s)) return false;
        paths.steps[paths.n_steps++] = s;
    }
    paths.steps[paths.n_steps++] = end_step;
    return true;
}

// paths_add compiles one path as rule number paths.n_rules.
GL_COLD bool paths_add(config_value v) {
    if (paths.n_rules == PATHS_MAX_RULES) return false;
    if (!paths_parse(v, (paths_step){.kind = STEP_END}, &paths.starts[paths.n_rules])) return false;
    paths.ends[paths.n_rules++] = (uint16_t)(paths.n_steps - 1);
    return true;
}

GL_COLD bool paths_add_mark(config_value v, paths_step end_step) {
    if (paths.n_marks == PATHS_MAX_RULES) return false;
    return paths_parse(v, end_step, &paths.marks[paths.n_marks++]);
}

// paths_add_known allows what is at a path, and all below it, for paths.deny.
GL_COLD bool paths_add_known(config_value v) {
    return paths_add_mark(v, (paths_step){.kind = STEP_END, .deep = true});
}

// paths_add_inside marks a place whose text holds JSON.
GL_COLD bool paths_add_inside(config_value v) { return paths_add_mark(v, (paths_step){.kind = STEP_INSIDE}); }

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
        if (s->deep) paths_put(&to, i);
        if (s->kind <= STEP_INSIDE) continue;
        if (s->kind == STEP_ANY || (s->kind == STEP_NAME && name > 0 && s->name == name) ||
            (s->kind == STEP_INDEX && name < 0 && s->index == index))
            paths_put(&to, i + 1);
    }
    return to;
}

// paths_describe sets what a node's steps make of a value there.
GL_COLD void paths_describe(paths_node *node, const paths_set *s) {
    static const uint8_t kinds[] = {[STEP_NAME] = PATHS_OBJECT, [STEP_INDEX] = PATHS_ARRAY, [STEP_ANY] = PATHS_OBJECT | PATHS_ARRAY};
    uint8_t expects = 0;
    bool known = false;
    node->dead = true;
    for (uint32_t i = paths_next(s, 0); i < PATHS_MAX_STEPS; i = paths_next(s, i + 1)) {
        const paths_step *step = &paths.steps[i];
        if (step->kind == STEP_INSIDE) {
            node->accepts |= PATHS_INSIDE;
        } else if (step->kind != STEP_END) {
            node->dead = false;
            if (!step->deep) expects |= kinds[step->kind];
        } else if (step->deep) {
            known = true;
        } else {
            node->accepts |= PATHS_RULE;
        }
    }
    if (paths.wrong_type) node->strict |= expects;
    if (paths.nested && !node->dead) node->strict |= PATHS_LIVE;
    if (paths.deny && !known && !node->accepts && expects == 0) node->strict |= PATHS_NOBODYS;
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
    paths_describe(&paths.nodes[paths.n_nodes], s);
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
    node->indexes = gl_alloc((paths.n_rules + paths.n_marks) * sizeof(paths_index), 16);
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
    for (uint32_t k = 0; k < paths.n_marks; k++) paths_put(&set, paths.marks[k]);
    if (!paths_intern(&set, &id)) return false;
    for (uint32_t n = 0; n < paths.n_nodes; n++)
        if (!paths_expand(n)) return false;
    return true;
}

// paths_accepts tells whether a rule ends in a node.
GL_INLINE bool paths_accepts(uint32_t node, uint32_t rule) {
    return paths_has(&paths.sets[node], paths.ends[rule]);
}

// ---- what the paths do not understand ----

// paths_room makes the scratch space hold n bytes; false if memory is at its end.
GL_COLD bool paths_room(uint32_t n) {
    if (n <= paths.scratch_cap) return true;
    uint32_t cap = n < 4096 ? 4096 : n > UINT32_MAX / 2 ? n : n * 2;
    uint8_t *p = gl_alloc(cap, 16);
    if (p == NULL) return false;
    paths.scratch = p;
    paths.scratch_cap = cap;
    return true;
}

// paths_opens tells whether the content of a text may begin a container: with
// its bracket, or with white space or an escape before it.
GL_INLINE bool paths_opens(uint8_t c) { return json_opens(c) || c == '\\' || c <= ' '; }

static bool paths_leads_on(const paths_node *n, uint8_t *text, uint32_t len, uint32_t level);

// paths_any_leads_on looks at the keys of the valid text p[:end] and at the texts
// in it. A key counts wherever it stands, since what is deep in a path is
// looked for at any depth.
static bool paths_any_leads_on(const paths_node *n, uint8_t *p, const uint8_t *end, uint32_t level) {
    for (; p < end; p++) {
        if (*p != '"') continue;
        uint8_t *quote = (uint8_t *)json_string(p + 1);
        if (*json_space(quote + 1) == ':') {
            if (n->by_name[paths_find_spelled(p + 1, quote)] != n->by_name[0]) return true;
        } else if (paths_opens(p[1])) {
            uint8_t *text = p + 1;
            if (paths_leads_on(n, text, json_decode(text, quote, text), level + 1)) return true;
        }
        p = quote;
    }
    return false;
}

// paths_leads_on tells whether text[:len] is a container in which a path could
// go on from a node. It may change the text.
static bool paths_leads_on(const paths_node *n, uint8_t *text, uint32_t len, uint32_t level) {
    if (level == PATHS_MAX_NESTED) return true;
    int32_t fault = json_fault;
    uint8_t saved = 0;
    const uint8_t *start = json_begin(text, len, &saved), *end = NULL;
    if (start != NULL && json_opens(*start)) end = json_skip(start, 0);
    if (end != NULL && json_space(end) != text + len) end = NULL;
    bool on = end != NULL && paths_any_leads_on(n, (uint8_t *)start, end, level);
    json_end(text, len, saved);
    // What is nested too deep to be looked at may hold anything.
    if (end == NULL && json_fault == JSON_TOO_DEEP) on = true;
    json_fault = fault;
    return on;
}

// paths_hides tells whether the text at p, a quote, holds JSON in which a path
// could go on from a node. A text that does not end is not this one's business.
GL_COLD bool paths_hides(const paths_node *n, const uint8_t *p) {
    const uint8_t *quote = json_string(p + 1);
    if (quote == NULL) return false;
    if (!paths_room((uint32_t)(quote - p) + GL_SLACK)) return true;
    return paths_leads_on(n, paths.scratch, json_decode(p + 1, quote, paths.scratch), 0);
}

// paths_refuses tells whether the value at p may not stand at a node, and why.
GL_COLD bool paths_refuses(const paths_node *n, const uint8_t *p) {
    uint8_t expects = n->strict & (PATHS_OBJECT | PATHS_ARRAY);
    int32_t fault = 0;
    if (n->strict & PATHS_NOBODYS) fault = PATHS_UNKNOWN;
    else if (*p == 'n') fault = 0;
    else if (expects && !json_opens(*p)) fault = PATHS_WRONG_TYPE;
    else if (expects && !(expects & (*p == '{' ? PATHS_OBJECT : PATHS_ARRAY))) fault = PATHS_WRONG_TYPE;
    else if ((n->strict & PATHS_LIVE) && *p == '"' && paths_opens(p[1]) && paths_hides(n, p)) fault = PATHS_NESTED;
    // What is not JSON at all is for the walk to find.
    if (fault == 0 || (!json_opens(*p) && json_scalar(p) == NULL)) return false;
    json_fault = fault;
    return true;
}

// paths_suspects keeps most values away from paths_refuses: a node that only
// looks for JSON in texts has no business with other ones.
GL_INLINE bool paths_suspects(const paths_node *n, const uint8_t *p) {
    return GL_UNLIKELY(n->strict != 0) && (n->strict != PATHS_LIVE || (*p == '"' && paths_opens(p[1])));
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

// paths_key_rest is paths_key for keys of 16 bytes or more, for escaped ones,
// and for those with letters beyond ASCII.
static __attribute__((noinline)) const uint8_t *paths_key_rest(const uint8_t *p, uint32_t *id) {
    const uint8_t *quote = json_string_rest(p);
    if (quote == NULL) return NULL;
    uint32_t len = (uint32_t)(quote - p);
    *id = json_one_byte_each(p, len) ? paths_find(p, len) : paths_find_spelled(p, quote);
    return json_colon(quote);
}

// paths_key reads the key at p, a quote, and returns the member's value.
GL_INLINE const uint8_t *paths_key(const uint8_t *p, uint32_t *id) {
    if (*p++ != '"') return NULL;
    v128_t v = wasm_v128_load(p);
    uint32_t quotes = wasm_i8x16_bitmask(json_is_quote(v)), others = json_not_simple(v);
    if (GL_UNLIKELY(quotes == 0 || (others & (quotes - 1) & ~quotes) != 0)) {
        static uint32_t found;
        const uint8_t *value = paths_key_rest(p, &found);
        *id = found;
        return value;
    }
    uint32_t len = (uint32_t)__builtin_ctz(quotes);
    *id = paths_find_short(p, v, len);
    return json_colon(p + len);
}

// paths_walk_at validates the value at p, which stands at a node inside of so many
// containers, and shows each match below it to visit. It returns the end of the
// value, or NULL.
GL_INLINE const uint8_t *paths_walk_at(const uint8_t *p, const paths_node *at, uint32_t around, paths_visitor *visit, void *self) {
    static paths_level outer[JSON_MAX_DEPTH];
    if (paths_suspects(at, p) && paths_refuses(at, p)) return NULL;
    if (!json_opens(*p)) return json_scalar(p);
    if (around == JSON_MAX_DEPTH) return json_fail(JSON_TOO_DEEP);
    paths_level in = paths_enter(at, *p);
    uint32_t depth = around + 1;
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
            if (paths_suspects(below, p) && paths_refuses(below, p)) return NULL;
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
            if (--depth == around) return p;
            in = outer[depth];
        }
        p = json_space(p + 1);
    }
}

// paths_walk walks a whole value. None of its matches is the value itself, since a
// path has a step at least.
GL_INLINE const uint8_t *paths_walk(const uint8_t *p, paths_visitor *visit, void *self) {
    return paths_walk_at(p, &paths.nodes[1], 0, visit, self);
}

#endif
