// regex.h: patterns over UTF-8 text, in time that grows with the text times the
// pattern and no faster: no text that a producer sends makes a match slow.
//
// The language is the part of ECMA-262's regular expressions, with the flag u,
// that needs no going back: literals, . [a-z] [^a-z] \d \D \w \W \s \S ^ $ | ( )
// (?: ) * + ? {n} {n,} {n,m}, lazy ones as well, and the escapes of characters.
// Look-around, back references, word boundaries and \p are refused. A pattern is
// found anywhere in the text unless it says ^ and $.
#ifndef GUARDLOCK_REGEX_H
#define GUARDLOCK_REGEX_H

#include "json.h"

#define REGEX_MAX_CODE 2048u
#define REGEX_MAX_NODES 512u
#define REGEX_MAX_RANGES 512u
#define REGEX_MAX_DEPTH 32u
#define REGEX_MAX_REPEAT 1000u
#define REGEX_NONE UINT32_MAX

enum regex_op { REGEX_RANGES, REGEX_BEGIN, REGEX_END, REGEX_SPLIT, REGEX_JUMP, REGEX_MATCH };

// regex_code is one step: x and y are where it may go on, or the ranges of a
// class and their number.
typedef struct regex_code {
    uint16_t op, negated;
    uint16_t x, y;
} regex_code;

typedef struct regex_range {
    uint32_t low, high;
} regex_range;

typedef struct regex {
    regex_code *code;
    regex_range *ranges;
    uint32_t n_code;
} regex;

// ---- parsing ----

enum regex_kind { NODE_EMPTY, NODE_CLASS, NODE_BEGIN, NODE_END, NODE_CONCAT, NODE_EITHER, NODE_REPEAT };

typedef struct regex_node {
    uint32_t kind, left, right;  // children; the ranges of a class and their number
    uint32_t least, most;        // of a repetition; a class's negation
} regex_node;

static struct {
    const uint8_t *p, *end;
    uint32_t n_nodes, n_ranges, n_code;
    regex_node nodes[REGEX_MAX_NODES];
    regex_range ranges[REGEX_MAX_RANGES];
    regex_code code[REGEX_MAX_CODE];
} regex_parser;

static inline uint32_t utf8_get(const uint8_t **p) {
    uint32_t c = *(*p)++;
    if (c < 0x80) return c;
    uint32_t more = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    c &= 0x3f >> more;
    for (; more > 0; more--) c = c << 6 | (*(*p)++ & 0x3f);
    return c;
}

GL_COLD uint32_t regex_add(uint32_t kind, uint32_t left, uint32_t right) {
    if (regex_parser.n_nodes == REGEX_MAX_NODES) return REGEX_NONE;
    regex_parser.nodes[regex_parser.n_nodes] = (regex_node){.kind = kind, .left = left, .right = right};
    return regex_parser.n_nodes++;
}

GL_COLD bool regex_add_range(uint32_t low, uint32_t high) {
    if (low > high || regex_parser.n_ranges == REGEX_MAX_RANGES) return false;
    regex_parser.ranges[regex_parser.n_ranges++] = (regex_range){low, high};
    return true;
}

// regex_add_set adds \d, \w or \s, or what is not in it.
GL_COLD bool regex_add_set(uint8_t letter) {
    static const regex_range digits[] = {{'0', '9'}, {0, 0}};
    static const regex_range words[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}, {0, 0}};
    static const regex_range spaces[] = {{9, 13},          {' ', ' '},       {0xa0, 0xa0},     {0x1680, 0x1680}, {0x2000, 0x200a}, {0x2028, 0x2029},
                                         {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}, {0, 0}};
    uint8_t lower = letter | 0x20;
    const regex_range *set = lower == 'd' ? digits : lower == 'w' ? words : spaces;
    uint32_t from = 0;
    for (; set->high != 0; set++) {
        if (letter == lower && !regex_add_range(set->low, set->high)) return false;
        if (letter != lower && !regex_add_range(from, set->low - 1)) return false;
        from = set->high + 1;
    }
    return letter == lower || regex_add_range(from, 0x10ffff);
}

GL_COLD bool regex_hex(uint32_t digits, uint32_t *out) {
    for (*out = 0; digits > 0; digits--) {
        if (regex_parser.p == regex_parser.end) return false;
        uint8_t c = *regex_parser.p++, letter = c | 0x20;
        if (!(c >= '0' && c <= '9') && !(letter >= 'a' && letter <= 'f')) return false;
        *out = *out << 4 | ((c & 0xfu) + (c >> 6) * 9u);
    }
    return true;
}

// regex_unicode reads what follows \u: four digits, of which two may make a
// pair, or any number in braces.
GL_COLD bool regex_unicode(uint32_t *out) {
    const uint8_t *close;
    if (regex_parser.p < regex_parser.end && *regex_parser.p == '{') {
        close = gl_find(++regex_parser.p, (uint32_t)(regex_parser.end - regex_parser.p), '}');
        if (close == NULL || close == regex_parser.p || close - regex_parser.p > 6) return false;
        if (!regex_hex((uint32_t)(close - regex_parser.p), out)) return false;
        regex_parser.p++;
        return *out <= 0x10ffff;
    }
    if (!regex_hex(4, out)) return false;
    if (*out < 0xd800 || *out > 0xdbff) return true;
    uint32_t low;
    if (regex_parser.end - regex_parser.p < 6 || regex_parser.p[0] != '\\' || regex_parser.p[1] != 'u') return false;
    regex_parser.p += 2;
    if (!regex_hex(4, &low) || low < 0xdc00 || low > 0xdfff) return false;
    *out = 0x10000 + ((*out - 0xd800) << 10) + (low - 0xdc00);
    return true;
}

// regex_escape reads what follows a backslash: one character, or a set, whose
// letter is then in *set.
GL_COLD bool regex_escape(uint32_t *c, uint8_t *set) {
    static const uint8_t plain[] = "^$\\.*+?()[]{}|/-";
    if (regex_parser.p == regex_parser.end) return false;
    uint8_t letter = *regex_parser.p++;
    *set = 0;
    *c = letter;
    switch (letter) {
    case 'd': case 'D': case 'w': case 'W': case 's': case 'S': *set = letter; return true;
    case 'n': *c = '\n'; return true;
    case 'r': *c = '\r'; return true;
    case 't': *c = '\t'; return true;
    case 'f': *c = '\f'; return true;
    case 'v': *c = '\v'; return true;
    case '0': *c = 0; return regex_parser.p == regex_parser.end || *regex_parser.p < '0' || *regex_parser.p > '9';
    case 'x': return regex_hex(2, c);
    case 'u': return regex_unicode(c);
    }
    return gl_find(plain, sizeof plain - 1, letter) != NULL;
}

// regex_class_item reads a character of a class, or a whole set.
GL_COLD bool regex_class_item(uint32_t *c, uint8_t *set) {
    *set = 0;
    if (regex_parser.p == regex_parser.end) return false;
    if (*regex_parser.p != '\\') {
        *c = utf8_get(&regex_parser.p);
        return true;
    }
    regex_parser.p++;
    return regex_escape(c, set);
}

GL_COLD bool regex_class_ranges(void) {
    for (;;) {
        uint32_t low, high;
        uint8_t set, high_set;
        if (regex_parser.p == regex_parser.end) return false;
        if (*regex_parser.p == ']') break;
        if (!regex_class_item(&low, &set)) return false;
        if (set != 0) {
            if (!regex_add_set(set)) return false;
            continue;
        }
        high = low;
        if (regex_parser.end - regex_parser.p >= 2 && regex_parser.p[0] == '-' && regex_parser.p[1] != ']') {
            regex_parser.p++;
            if (!regex_class_item(&high, &high_set) || high_set != 0) return false;
        }
        if (!regex_add_range(low, high)) return false;
    }
    regex_parser.p++;
    return true;
}

// regex_class reads what follows [.
GL_COLD uint32_t regex_class(void) {
    uint32_t first = regex_parser.n_ranges;
    bool negated = regex_parser.p < regex_parser.end && *regex_parser.p == '^';
    if (negated) regex_parser.p++;
    if (!regex_class_ranges()) return REGEX_NONE;
    uint32_t node = regex_add(NODE_CLASS, first, regex_parser.n_ranges - first);
    if (node != REGEX_NONE) regex_parser.nodes[node].least = negated;
    return node;
}

GL_COLD uint32_t regex_one(uint32_t c) {
    if (!regex_add_range(c, c)) return REGEX_NONE;
    return regex_add(NODE_CLASS, regex_parser.n_ranges - 1, 1);
}

static uint32_t regex_either(uint32_t depth);

// regex_group reads what follows (.
GL_COLD uint32_t regex_group(uint32_t depth) {
    if (regex_parser.p < regex_parser.end && *regex_parser.p == '?') {
        if (regex_parser.end - regex_parser.p < 2 || regex_parser.p[1] != ':') return REGEX_NONE;
        regex_parser.p += 2;
    }
    uint32_t node = depth == REGEX_MAX_DEPTH ? REGEX_NONE : regex_either(depth + 1);
    if (node == REGEX_NONE || regex_parser.p == regex_parser.end || *regex_parser.p != ')') return REGEX_NONE;
    regex_parser.p++;
    return node;
}

GL_COLD uint32_t regex_atom(uint32_t depth) {
    uint32_t c, first = regex_parser.n_ranges;
    uint8_t set;
    switch (*regex_parser.p) {
    case '(': regex_parser.p++; return regex_group(depth);
    case '[': regex_parser.p++; return regex_class();
    case '^': regex_parser.p++; return regex_add(NODE_BEGIN, 0, 0);
    case '$': regex_parser.p++; return regex_add(NODE_END, 0, 0);
    case '*': case '+': case '?': case '{': case '}': case ']': return REGEX_NONE;
    case '.':
        regex_parser.p++;
        if (!regex_add_range(0, '\n' - 1) || !regex_add_range('\n' + 1, '\r' - 1) || !regex_add_range('\r' + 1, 0x2027) ||
            !regex_add_range(0x202a, 0x10ffff))
            return REGEX_NONE;
        return regex_add(NODE_CLASS, first, 4);
    case '\\':
        regex_parser.p++;
        if (!regex_escape(&c, &set)) return REGEX_NONE;
        if (set == 0) return regex_one(c);
        if (!regex_add_set(set)) return REGEX_NONE;
        return regex_add(NODE_CLASS, first, regex_parser.n_ranges - first);
    }
    return regex_one(utf8_get(&regex_parser.p));
}

GL_COLD bool regex_count(uint32_t *out) {
    const uint8_t *start = regex_parser.p;
    for (*out = 0; regex_parser.p < regex_parser.end && *regex_parser.p >= '0' && *regex_parser.p <= '9'; regex_parser.p++) {
        *out = *out * 10 + (*regex_parser.p - '0');
        if (*out > REGEX_MAX_REPEAT) return false;
    }
    return regex_parser.p > start;
}

// regex_bounds reads * + ? or {…}; false if it is none. A wrong one has least > most.
GL_COLD bool regex_bounds(uint32_t *least, uint32_t *most) {
    if (regex_parser.p == regex_parser.end) return false;
    uint8_t c = *regex_parser.p;
    *least = c == '+';
    *most = c == '?' ? 1 : REGEX_NONE;
    if (c == '*' || c == '+' || c == '?') {
        regex_parser.p++;
        return true;
    }
    if (c != '{') return false;
    regex_parser.p++;
    bool good = regex_count(least);
    *most = *least;
    if (good && regex_parser.p < regex_parser.end && *regex_parser.p == ',') {
        regex_parser.p++;
        *most = REGEX_NONE;
        if (regex_parser.p < regex_parser.end && *regex_parser.p != '}') good = regex_count(most);
    }
    if (!good || regex_parser.p == regex_parser.end || *regex_parser.p++ != '}') *least = 1, *most = 0;
    return true;
}

GL_COLD uint32_t regex_repeat(uint32_t depth) {
    uint32_t node = regex_atom(depth), least, most;
    if (node == REGEX_NONE || !regex_bounds(&least, &most)) return node;
    uint32_t kind = regex_parser.nodes[node].kind;
    if (least > most || kind == NODE_BEGIN || kind == NODE_END) return REGEX_NONE;
    if (regex_parser.p < regex_parser.end && *regex_parser.p == '?') regex_parser.p++;
    uint32_t repeat = regex_add(NODE_REPEAT, node, 0);
    if (repeat == REGEX_NONE) return REGEX_NONE;
    regex_parser.nodes[repeat].least = least;
    regex_parser.nodes[repeat].most = most;
    return repeat;
}

GL_COLD uint32_t regex_concat(uint32_t depth) {
    uint32_t all = regex_add(NODE_EMPTY, 0, 0);
    while (all != REGEX_NONE && regex_parser.p < regex_parser.end && *regex_parser.p != '|' && *regex_parser.p != ')') {
        uint32_t next = regex_repeat(depth);
        all = next == REGEX_NONE ? REGEX_NONE : regex_add(NODE_CONCAT, all, next);
    }
    return all;
}

GL_COLD uint32_t regex_either(uint32_t depth) {
    uint32_t any = regex_concat(depth);
    while (any != REGEX_NONE && regex_parser.p < regex_parser.end && *regex_parser.p == '|') {
        regex_parser.p++;
        uint32_t next = regex_concat(depth);
        any = next == REGEX_NONE ? REGEX_NONE : regex_add(NODE_EITHER, any, next);
    }
    return any;
}

// ---- code ----

GL_COLD bool regex_emit(uint32_t op, uint32_t x, uint32_t y, uint32_t negated) {
    if (regex_parser.n_code == REGEX_MAX_CODE) return false;
    regex_parser.code[regex_parser.n_code++] = (regex_code){(uint16_t)op, (uint16_t)negated, (uint16_t)x, (uint16_t)y};
    return true;
}

static bool regex_write(uint32_t node);

// regex_write_optional writes what may be there once more.
GL_COLD bool regex_write_optional(uint32_t node, bool again) {
    uint32_t split = regex_parser.n_code;
    if (!regex_emit(REGEX_SPLIT, split + 1, 0, 0) || !regex_write(node)) return false;
    if (again && !regex_emit(REGEX_JUMP, split, 0, 0)) return false;
    regex_parser.code[split].y = (uint16_t)regex_parser.n_code;
    return true;
}

GL_COLD bool regex_write_repeat(const regex_node *n) {
    for (uint32_t i = 0; i < n->least; i++)
        if (!regex_write(n->left)) return false;
    if (n->most == REGEX_NONE) return regex_write_optional(n->left, true);
    for (uint32_t i = n->least; i < n->most; i++)
        if (!regex_write_optional(n->left, false)) return false;
    return true;
}

GL_COLD bool regex_write_either(const regex_node *n) {
    uint32_t split = regex_parser.n_code;
    if (!regex_emit(REGEX_SPLIT, split + 1, 0, 0) || !regex_write(n->left)) return false;
    uint32_t jump = regex_parser.n_code;
    if (!regex_emit(REGEX_JUMP, 0, 0, 0)) return false;
    regex_parser.code[split].y = (uint16_t)regex_parser.n_code;
    if (!regex_write(n->right)) return false;
    regex_parser.code[jump].x = (uint16_t)regex_parser.n_code;
    return true;
}

GL_COLD bool regex_write(uint32_t node) {
    const regex_node *n = &regex_parser.nodes[node];
    switch (n->kind) {
    case NODE_CLASS: return regex_emit(REGEX_RANGES, n->left, n->right, n->least);
    case NODE_BEGIN: return regex_emit(REGEX_BEGIN, 0, 0, 0);
    case NODE_END: return regex_emit(REGEX_END, 0, 0, 0);
    case NODE_CONCAT: return regex_write(n->left) && regex_write(n->right);
    case NODE_EITHER: return regex_write_either(n);
    case NODE_REPEAT: return regex_write_repeat(n);
    }
    return true;
}

// regex_compile compiles a valid UTF-8 text; false if it is none of the language.
GL_COLD bool regex_compile(const uint8_t *p, uint32_t len, regex *out) {
    regex_parser.p = p;
    regex_parser.end = p + len;
    regex_parser.n_nodes = regex_parser.n_ranges = regex_parser.n_code = 0;
    uint32_t root = regex_either(0);
    if (root == REGEX_NONE || regex_parser.p != regex_parser.end) return false;
    if (!regex_write(root) || !regex_emit(REGEX_MATCH, 0, 0, 0)) return false;
    out->n_code = regex_parser.n_code;
    out->code = gl_alloc(out->n_code * sizeof(regex_code), 16);
    out->ranges = gl_alloc(regex_parser.n_ranges * sizeof(regex_range), 16);
    if (out->code == NULL || out->ranges == NULL) return false;
    gl_copy(out->code, regex_parser.code, out->n_code * sizeof(regex_code));
    gl_copy(out->ranges, regex_parser.ranges, regex_parser.n_ranges * sizeof(regex_range));
    return true;
}

// ---- matching ----

// regex_threads are the places that a match may be at, each once.
typedef struct regex_threads {
    uint32_t count, generation;
    uint16_t at[REGEX_MAX_CODE];
    uint32_t seen[REGEX_MAX_CODE];  // the generation in which a place was reached
} regex_threads;

// regex_follow adds a place and all that it leads to without a character; true
// when a match is among them.
static bool regex_follow(const regex *r, regex_threads *t, uint32_t place, bool begins, bool ends) {
    static uint16_t open[REGEX_MAX_CODE * 2 + 2];
    uint32_t n = 0;
    open[n++] = (uint16_t)place;
    while (n > 0) {
        uint32_t at = open[--n];
        const regex_code *c = &r->code[at];
        if (t->seen[at] == t->generation) continue;
        t->seen[at] = t->generation;
        switch (c->op) {
        case REGEX_MATCH: return true;
        case REGEX_RANGES: t->at[t->count++] = (uint16_t)at; break;
        case REGEX_JUMP: open[n++] = c->x; break;
        case REGEX_SPLIT: open[n++] = c->y, open[n++] = c->x; break;
        case REGEX_BEGIN: if (begins) open[n++] = (uint16_t)(at + 1); break;
        case REGEX_END: if (ends) open[n++] = (uint16_t)(at + 1); break;
        }
    }
    return false;
}

static inline bool regex_takes(const regex *r, const regex_code *code, uint32_t c) {
    for (uint32_t i = 0; i < code->y; i++) {
        const regex_range *range = &r->ranges[code->x + i];
        if (c >= range->low && c <= range->high) return !code->negated;
    }
    return code->negated;
}

GL_INLINE void regex_clear(regex_threads *t) {
    t->count = 0;
    if (++t->generation != 0) return;
    for (uint32_t i = 0; i < REGEX_MAX_CODE; i++) t->seen[i] = 0;
    t->generation = 1;
}

// regex_find tells whether the pattern is anywhere in the valid text p[:n]. *steps
// is taken from for each place that is looked at; when it is used up, *steps is 0
// and the answer is no.
static bool regex_find(const regex *r, const uint8_t *p, uint32_t n, uint64_t *steps) {
    static regex_threads one, two;
    regex_threads *now = &one, *next = &two;
    const uint8_t *start = p, *end = p + n;
    regex_clear(now);
    for (;;) {
        if (regex_follow(r, now, 0, p == start, p == end)) return true;
        if (p == end) return false;
        uint64_t cost = 1 + now->count;
        if (*steps < cost) *steps = cost;
        if ((*steps -= cost) == 0) return false;
        uint32_t c = utf8_get(&p);
        regex_clear(next);
        for (uint32_t i = 0; i < now->count; i++) {
            uint32_t at = now->at[i];
            if (regex_takes(r, &r->code[at], c) && regex_follow(r, next, at + 1, false, p == end)) return true;
        }
        regex_threads *swap = now;
        now = next;
        next = swap;
    }
}

#endif
