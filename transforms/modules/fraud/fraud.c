// fraud: scores a payment by weighted rules; rejects or routes the heavy ones.
//
//     {"threshold": 80, "action": "reject", "route_threshold": 60, "route": 0,
//      "header": "guardlock-fraud-verdict", "on_invalid_json": "reject",
//      "rules": [
//         {"path": "$.amount",  "op": "gt", "value": 10000, "weight": 50, "reason": "fraud.amount"},
//         {"path": "$.country", "op": "in", "value": ["KP", "IR"], "weight": 60, "reason": "fraud.country"},
//         {"path": "$.card.id", "op": "missing", "weight": 80, "reason": "fraud.card"}]}
//
// op: gt ge lt le take a number; eq ne a string, number, true or false; in not_in
// an array of those; exists and missing nothing. Numbers are compared exactly,
// as decimals; strings after decoding their escapes. A rule fires when any value
// at its path fires it, so a duplicate key cannot hide another.
//
// Null stands for nothing: it is missing, it does not exist, and no other op
// fires on it. A value of a type that none of the rule's own values has is a
// wrong type, for every op that has values: the record is rejected, or, with
// "on_wrong_type": "fire", the rule fires, since the value cannot be shown to be
// harmless. A path that cannot go on always rejects. What else is not understood is rejected: include/strict.h has the
// options. A rule's path is known to unknown_fields, but not what is below it.
//
// The score is the sum of the weights (1 to 10000) of the rules that fire. At
// threshold and above, the record is rejected, or routed with "action": "route"
// to the grant's route number "route" (default 0). "route_threshold", below
// threshold and only with reject, routes what lies between. The reason is that
// of the heaviest rule that fired (the first of equals; default fraud.score).
//
// Every record that is stored carries the verdict as its last header:
// "allow;score=35" or "route;score=65". A header of that name that came with the
// record is taken away; the others stay. A null value scores 0. A value that is
// not JSON is rejected, or, with "on_invalid_json": "pass", stored as "unscored".
#include "../include/number.h"
#include "../include/strict.h"

#define REASONS(FIRST, NEXT)                     \
    FIRST(INVALID_JSON, "fraud.invalid_json")    \
    NEXT(TOO_DEEP, "fraud.too_deep")             \
    NEXT(ALLOWED, "fraud.allowed")               \
    NEXT(UNSCORED, "fraud.unscored")             \
    NEXT(WRONG_TYPE, "fraud.wrong_type")         \
    NEXT(MISSING_FIELD, "fraud.missing_field")   \
    NEXT(UNKNOWN_FIELD, "fraud.unknown_field")   \
    NEXT(NESTED_JSON, "fraud.nested_json")       \
    NEXT(FRAMING, "fraud.framing")               \
    NEXT(SCORE, "fraud.score")                   \
    NEXT(AMOUNT, "fraud.amount")                 \
    NEXT(CURRENCY, "fraud.currency")             \
    NEXT(COUNTRY, "fraud.country")               \
    NEXT(VELOCITY, "fraud.velocity")             \
    NEXT(MERCHANT, "fraud.merchant")             \
    NEXT(CARD, "fraud.card")                     \
    NEXT(ACCOUNT, "fraud.account")               \
    NEXT(DEVICE, "fraud.device")                 \
    NEXT(CHANNEL, "fraud.channel")               \
    NEXT(TIME, "fraud.time")                     \
    NEXT(IDENTITY, "fraud.identity")
GUARDLOCK_REASONS(REASONS)

// The reasons that a rule may give, from REASON_SCORE on.
static const char *const rule_reasons[] = {
    "fraud.score", "fraud.amount", "fraud.currency", "fraud.country", "fraud.velocity", "fraud.merchant", "fraud.card",
    "fraud.account", "fraud.device", "fraud.channel", "fraud.time", "fraud.identity", NULL};
_Static_assert(sizeof rule_reasons / sizeof *rule_reasons - 1 == REASON_COUNT - REASON_SCORE, "one word per reason");

#define MAX_RULES 64
#define MAX_WEIGHT 10000
#define MAX_OPERANDS 2048
#define MAX_TEXT 256

enum op { GT, GE, LT, LE, EQ, NE, IN, NOT_IN, EXISTS, MISSING };
static const char *const op_names[] = {"gt", "ge", "lt", "le", "eq", "ne", "in", "not_in", "exists", "missing", NULL};

// operand is a configured value: a decoded string, a number, or true or false.
typedef struct operand {
    uint8_t kind;  // '"', '0', 't', 'f'
    config_text text;
    number number;
} operand;

typedef struct rule {
    uint32_t kinds;  // of values that it can judge, as bits
    uint32_t op, weight, reason, required;
    uint32_t first, count;  // its operands
} rule;

static rule rules[MAX_RULES];
static operand operands[MAX_OPERANDS];
static uint32_t n_operands;
static uint64_t node_rules[PATHS_MAX_NODES];  // which rules end in a node
static uint64_t required;                     // rules whose path must lead to a value
static uint32_t threshold, route_threshold = UINT32_MAX, route, routes_heavy, pass_invalid;
static config_text header;

// kind_bit is what the first byte of a value that is not null makes it: true and
// false are one kind, and all numbers are.
static inline uint32_t kind_bit(uint8_t c) {
    return c == '"' ? 1 : c == '{' ? 2 : c == '[' ? 4 : c == 't' || c == 'f' ? 8 : 16;
}

#define ALL_KINDS 31u

// ---- configuration ----

GL_COLD bool read_operand(config_value v) {
    if (n_operands == MAX_OPERANDS) return false;
    operand *o = &operands[n_operands++];
    o->kind = *v.p;
    if (o->kind == 't' || o->kind == 'f') return true;
    if (o->kind == '"') return config_string(v, MAX_TEXT, &o->text);
    if (!number_starts(o->kind)) return false;
    o->kind = '0';
    o->number = number_read(v.p, v.end);
    return true;
}

// read_value takes a rule's value, whose shape must fit its op.
GL_COLD bool read_value(rule *r, config_value v) {
    config_iter it;
    r->first = n_operands;
    r->kinds = ALL_KINDS;
    if (r->op >= EXISTS) return v.p == NULL;
    if (v.p == NULL) return false;
    if (r->op != IN && r->op != NOT_IN) {
        if (!read_operand(v)) return false;
        r->kinds = kind_bit(operands[r->first].kind);
        return r->op > LE || operands[r->first].kind == '0';
    }
    if (!config_array(v, &it)) return false;
    r->kinds = 0;
    while (config_next(&it)) {
        if (!read_operand(it.value)) return false;
        r->kinds |= kind_bit(operands[n_operands - 1].kind);
    }
    r->count = n_operands - r->first;
    return r->count > 0;
}

enum rule_key { RULE_PATH, RULE_OP, RULE_VALUE, RULE_WEIGHT, RULE_REASON, RULE_MISSING };
static const char *const rule_keys[] = {"path", "op", "value", "weight", "reason", "on_missing", NULL};

GL_COLD bool read_rule_member(const config_iter *it, int32_t key, rule *r, config_value *value) {
    switch (key) {
    case RULE_PATH: return paths_add(it->value);
    case RULE_OP: return config_choice(it->value, op_names, &r->op);
    case RULE_WEIGHT: return config_uint(it->value, 1, MAX_WEIGHT, &r->weight);
    case RULE_VALUE: *value = it->value; return true;
    case RULE_MISSING: return config_choice(it->value, strict_missing, &r->required);
    case RULE_REASON:
        if (!config_choice(it->value, rule_reasons, &r->reason)) return false;
        r->reason += REASON_SCORE;
        return true;
    }
    return false;
}

GL_COLD bool read_rule(config_value v) {
    config_iter it;
    config_value value = {NULL, NULL};
    uint32_t seen = 0;
    if (paths.n_rules == MAX_RULES || !config_object(v, &it)) return false;
    rule *r = &rules[paths.n_rules];
    *r = (rule){.reason = REASON_SCORE, .required = strict.missing};
    while (config_next(&it))
        if (!read_rule_member(&it, config_key(&it, rule_keys, &seen), r, &value)) return false;
    uint32_t need = 1u << RULE_PATH | 1u << RULE_OP | 1u << RULE_WEIGHT;
    if ((seen & need) != need || !read_value(r, value)) return false;
    if (r->op == MISSING) return !(seen >> RULE_MISSING & 1);  // it says itself what is to be done
    if (r->required) required |= 1ull << (paths.n_rules - 1);
    return true;
}

GL_COLD bool read_rules(config_value v) {
    config_iter it;
    if (!config_array(v, &it)) return false;
    while (config_next(&it))
        if (!read_rule(it.value)) return false;
    return true;
}

enum key { THRESHOLD, ACTION, ROUTE_THRESHOLD, ROUTE, HEADER, ON_INVALID, RULES, FIRST_STRICT };
static const char *const config_keys[] = {"threshold", "action", "route_threshold", "route", "header",
                                          "on_invalid_json", "rules", STRICT_KEYS, NULL};

GL_COLD bool read_option(config_value v, int32_t key) {
    static const char *const actions[] = {"reject", "route", NULL};
    static const char *const choices[] = {"reject", "pass", NULL};
    static const char *const wrong_type[] = {"reject", "fire", NULL};
    switch (key) {
    case THRESHOLD: return config_uint(v, 1, 1000000, &threshold);
    case ACTION: return config_choice(v, actions, &routes_heavy);
    case ROUTE_THRESHOLD: return config_uint(v, 1, 1000000, &route_threshold);
    case ROUTE: return config_uint(v, 0, 63, &route);
    case HEADER: return config_string(v, 128, &header) && header.len > 0;
    case ON_INVALID: return config_choice(v, choices, &pass_invalid);
    }
    return strict_option(v, key - FIRST_STRICT, wrong_type);
}

// read_paths reads what holds paths, once all options are known.
GL_COLD bool read_paths(config_value rules_list, config_value known) {
    strict_apply(true);
    if (rules_list.p == NULL || !read_rules(rules_list)) return false;
    return known.p == NULL || strict_known(known);
}

GL_COLD int32_t init(const uint8_t *p, uint32_t len) {
    config_value root, rules_list = {NULL, NULL}, known = {NULL, NULL};
    config_iter it;
    uint32_t seen = 0;
    header = (config_text){(const uint8_t *)"guardlock-fraud-verdict", 23};
    if (!config_open(p, len, &root) || !config_object(root, &it)) return 1;
    while (config_next(&it)) {
        int32_t key = config_key(&it, config_keys, &seen);
        if (key < 0) return 2;
        if (key == RULES) rules_list = it.value;
        else if (key == FIRST_STRICT + STRICT_KNOWN) known = it.value;
        else if (!read_option(it.value, key)) return 2;
    }
    if (!read_paths(rules_list, known)) return 2;
    if (!(seen >> THRESHOLD & 1) || !paths_build()) return 3;
    bool between = seen >> ROUTE_THRESHOLD & 1;
    if (between && (routes_heavy || route_threshold >= threshold)) return 4;
    if ((seen >> ROUTE & 1) && !between && !routes_heavy) return 5;
    for (uint32_t n = 0; n < paths.n_nodes; n++)
        for (uint32_t i = 0; i < paths.n_rules; i++)
            if (paths_accepts(n, i)) node_rules[n] |= 1ull << i;
    return 0;
}

// ---- rules ----

// text_is compares a decoded string with the string content p[:end].
static inline bool text_is(config_text want, const uint8_t *p, const uint8_t *end) {
    static uint8_t plain[MAX_TEXT * 6 + GL_SLACK];
    uint32_t n = (uint32_t)(end - p);
    if (n > MAX_TEXT * 6) return false;
    if (gl_find(p, n, '\\') != NULL) {
        n = json_decode(p, end, plain);
        p = plain;
    }
    return n == want.len && gl_equal(p, want.p, n);
}

static inline bool operand_is(const operand *o, const uint8_t *p, const uint8_t *end) {
    if (*p == '"') return o->kind == '"' && text_is(o->text, p + 1, end - 1);
    if (number_starts(*p)) return o->kind == '0' && number_compare(number_read(p, end), o->number) == 0;
    return o->kind == *p;  // t or f; an operand is never n, { or [
}

static inline bool ordered(uint32_t op, int32_t cmp) {
    return op == GT ? cmp > 0 : op == GE ? cmp >= 0 : op == LT ? cmp < 0 : cmp <= 0;
}

static bool fires(const rule *r, const uint8_t *p, const uint8_t *end) {
    const operand *o = &operands[r->first];
    if (r->op >= EXISTS) return true;  // missing is turned around in score
    if (r->op <= LE) return ordered(r->op, number_compare(number_read(p, end), o->number));
    bool negated = r->op == NE || r->op == NOT_IN;
    uint32_t count = r->op == EQ || r->op == NE ? 1 : r->count;
    for (uint32_t i = 0; i < count; i++)
        if (operand_is(&o[i], p, end)) return !negated;
    return negated;
}

// verdicts is what the walk has found out, a bit per rule.
typedef struct verdicts {
    uint64_t fired, found;
} verdicts;

GL_COLD const uint8_t *visit_wrong_type(verdicts *v, uint32_t rule, const uint8_t *end) {
    v->fired |= 1ull << rule;
    return strict.lax_type ? end : json_fail(PATHS_WRONG_TYPE);
}

// visit notes which rules a value fires; the walk then goes on into containers,
// of which a rule sees no more than the first byte.
static const uint8_t *visit(void *self, const paths_match *m) {
    verdicts *v = self;
    const paths_node *node = &paths.nodes[m->node];
    const uint8_t *end = json_opens(*m->value) ? m->value : json_scalar(m->value);
    if (end == NULL || *m->value == 'n') return end;
    if (paths_suspects(node, m->value) && paths_refuses(node, m->value)) return NULL;
    uint32_t kind = kind_bit(*m->value);
    v->found |= node_rules[m->node];
    for (uint64_t left = node_rules[m->node]; left != 0; left &= left - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(left);
        if (GL_UNLIKELY((rules[i].kinds & kind) == 0)) {
            if (visit_wrong_type(v, i, end) == NULL) return NULL;
        } else if (fires(&rules[i], m->value, end)) {
            v->fired |= 1ull << i;
        }
    }
    return end;
}

static inline uint32_t score(uint64_t fired, uint32_t *reason) {
    uint32_t sum = 0, heaviest = 0;
    *reason = REASON_ALLOWED;
    for (uint32_t i = 0; i < paths.n_rules; i++) {
        if ((fired >> i & 1) == (rules[i].op == MISSING)) continue;
        sum += rules[i].weight;
        if (rules[i].weight <= heaviest) continue;
        heaviest = rules[i].weight;
        *reason = rules[i].reason;
    }
    return sum;
}

// ---- records ----

// put_verdict writes word;score=n and returns its length.
static inline uint32_t put_verdict(uint8_t *dst, const char *word, uint32_t n) {
    uint8_t digits[10], *p = dst;
    uint32_t len = 0;
    for (; *word != 0; word++) *p++ = (uint8_t)*word;
    do digits[len++] = (uint8_t)('0' + n % 10); while ((n /= 10) != 0);
    while (len > 0) *p++ = digits[--len];
    return (uint32_t)(p - dst);
}

static inline int32_t allow(gl_call *c, gl_record *r, uint32_t sum) {
    uint8_t text[32 + GL_SLACK];
    gl_modified(r, REASON_ALLOWED);
    return gl_set_header(c, r, header.p, header.len, text, put_verdict(text, "allow;score=", sum));
}

static inline int32_t divert(gl_call *c, gl_record *r, uint32_t sum, uint32_t reason) {
    uint8_t text[32 + GL_SLACK];
    gl_route(r, route, reason);
    return gl_set_header(c, r, header.p, header.len, text, put_verdict(text, "route;score=", sum));
}

GL_COLD int32_t refuse(gl_call *c, gl_record *r) {
    switch (json_fault) {
    case JSON_TOO_DEEP: return gl_reject(r, REASON_TOO_DEEP);
    case PATHS_WRONG_TYPE: return gl_reject(r, REASON_WRONG_TYPE);
    case PATHS_NESTED: return gl_reject(r, REASON_NESTED_JSON);
    case PATHS_UNKNOWN: return gl_reject(r, REASON_UNKNOWN_FIELD);
    }
    if (strict_looks_framed(r)) return gl_reject(r, REASON_FRAMING);
    if (!pass_invalid) return gl_reject(r, REASON_INVALID_JSON);
    gl_modified(r, REASON_UNSCORED);
    return gl_set_header(c, r, header.p, header.len, (const uint8_t *)"unscored", 8);
}

static int32_t transform(gl_call *c, gl_record *r) {
    if (r->flags & GL_VALUE_NULL) return allow(c, r, 0);
    verdicts v = {0};
    uint32_t len;
    uint8_t saved = 0, *value;
    if (!strict_open(r, &value, &len)) return gl_reject(r, REASON_FRAMING);
    const uint8_t *p = json_begin(value, len, &saved);
    if (p != NULL) p = paths_walk(p, visit, &v);
    bool valid = p != NULL && json_space(p) == value + len;
    json_end(value, len, saved);
    if (!valid) return refuse(c, r);
    if (required & ~v.found) return gl_reject(r, REASON_MISSING_FIELD);
    uint32_t reason, sum = score(v.fired, &reason);
    if (sum >= threshold) return routes_heavy ? divert(c, r, sum, reason) : gl_reject(r, reason);
    return sum >= route_threshold ? divert(c, r, sum, reason) : allow(c, r, sum);
}

GUARDLOCK_INIT(init)
GUARDLOCK_TRANSFORM(transform)
