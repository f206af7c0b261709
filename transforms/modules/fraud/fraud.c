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
// an array of those; between and outside an array of two numbers, which are
// between; prefix and suffix a string; exists and missing nothing. Numbers are compared exactly,
// as decimals; strings after decoding their escapes. A rule fires when any value
// at its path fires it, so a duplicate key cannot hide another.
//
// fraud-velocity is this file and velocity.h, and takes one more op, velocity.
//
// Null stands for nothing: it is missing, it does not exist, and no other op
// fires on it. A value of a type that none of the rule's own values has is a
// wrong type, for every op that has values: the record is rejected, or, with
// "on_wrong_type": "fire", the rule fires, since the value cannot be shown to be
// harmless. A path that cannot go on always rejects. What else is not understood is rejected: include/strict.h has the
// options. A rule's path is known to unknown_fields, but not what is below it.
//
// "model" is a gradient-boosted tree model (model.h): points times its score, cut
// to a whole number, count as a rule's weight, with the reason of the feature that
// raised the score most (default fraud.model). A feature that is there twice is
// rejected, as is one of a wrong type, whatever on_wrong_type says.
//
// The score is the sum of the weights (1 to 10000) of the rules that fire. At
// threshold and above, the record is rejected, or routed with "action": "route"
// to the grant's route number "route" (default 0). "route_threshold", below
// threshold and only with reject, routes what lies between. The reason is that
// of the heaviest rule that fired (the first of equals; default fraud.score).
//
// Every record that is stored carries the verdict as its last header, with what
// each reason adds to the score, the most first, and the model's score:
// "allow;score=0", "route;score=65;reasons=fraud.amount:50,fraud.model:15;model=0.253210874519".
// A header of that name that came with the
// record is taken away; the others stay. A null value scores 0. A value that is
// not JSON is rejected, or, with "on_invalid_json": "pass", stored as "unscored".
#include "../include/number.h"
#include "../include/strict.h"
#include "model.h"

#ifdef FRAUD_VELOCITY
#include "velocity.h"
#define REASON(name) "fraud_velocity." name
#else
#define REASON(name) "fraud." name
#endif

#define REASONS(FIRST, NEXT)                          \
    FIRST(INVALID_JSON, REASON("invalid_json"))       \
    NEXT(TOO_DEEP, REASON("too_deep"))                \
    NEXT(ALLOWED, REASON("allowed"))                  \
    NEXT(UNSCORED, REASON("unscored"))                \
    NEXT(WRONG_TYPE, REASON("wrong_type"))            \
    NEXT(MISSING_FIELD, REASON("missing_field"))      \
    NEXT(UNKNOWN_FIELD, REASON("unknown_field"))      \
    NEXT(NESTED_JSON, REASON("nested_json"))          \
    NEXT(FRAMING, REASON("framing"))                  \
    NEXT(AMBIGUOUS, REASON("ambiguous"))              \
    NEXT(SCORE, REASON("score"))                      \
    NEXT(AMOUNT, REASON("amount"))                    \
    NEXT(CURRENCY, REASON("currency"))                \
    NEXT(COUNTRY, REASON("country"))                  \
    NEXT(VELOCITY, REASON("velocity"))                \
    NEXT(MERCHANT, REASON("merchant"))                \
    NEXT(CARD, REASON("card"))                        \
    NEXT(ACCOUNT, REASON("account"))                  \
    NEXT(DEVICE, REASON("device"))                    \
    NEXT(CHANNEL, REASON("channel"))                  \
    NEXT(TIME, REASON("time"))                        \
    NEXT(IDENTITY, REASON("identity"))                \
    NEXT(MODEL, REASON("model"))
GUARDLOCK_REASONS(REASONS)

// The reasons that a rule may give, from REASON_SCORE on.
static const char *const rule_reasons[] = {
    REASON("score"), REASON("amount"), REASON("currency"), REASON("country"), REASON("velocity"), REASON("merchant"), REASON("card"),
    REASON("account"), REASON("device"), REASON("channel"), REASON("time"), REASON("identity"), REASON("model"), NULL};
_Static_assert(sizeof rule_reasons / sizeof *rule_reasons - 1 == REASON_COUNT - REASON_SCORE, "one word per reason");

#define MAX_RULES 64
#define MAX_WEIGHT 10000
#define MAX_OPERANDS 2048
#define MAX_TEXT 256

enum op { GT, GE, LT, LE, EQ, NE, IN, NOT_IN, BETWEEN, OUTSIDE, PREFIX, SUFFIX, EXISTS, MISSING, VELOCITY };
static const char *const op_names[] = {"gt",      "ge",      "lt",     "le",     "eq",     "ne",      "in", "not_in",
                                       "between", "outside", "prefix", "suffix", "exists", "missing",
#ifdef FRAUD_VELOCITY
                                       "velocity",
#endif
                                       NULL};

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
#ifdef FRAUD_VELOCITY
    velocity velocity;
#endif
} rule;

static rule rules[MAX_RULES];
static uint32_t n_rules;
static operand operands[MAX_OPERANDS];
static uint32_t n_operands;
static uint64_t node_rules[PATHS_MAX_NODES];  // which rules end in a node
static uint64_t node_features[PATHS_MAX_NODES][MODEL_MAX_FEATURES / 64];
static uint64_t required;  // rules whose path must lead to a value
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
    if (r->op == VELOCITY) r->kinds = kind_bit('"') | kind_bit('0');
    if (r->op >= EXISTS) return v.p == NULL;
    if (v.p == NULL) return false;
    if (r->op < IN || r->op >= PREFIX) {
        if (!read_operand(v)) return false;
        r->kinds = kind_bit(operands[r->first].kind);
        if (r->op >= PREFIX) return operands[r->first].kind == '"';
        return r->op > LE || operands[r->first].kind == '0';
    }
    if (!config_array(v, &it)) return false;
    r->kinds = 0;
    while (config_next(&it)) {
        if (!read_operand(it.value)) return false;
        r->kinds |= kind_bit(operands[n_operands - 1].kind);
    }
    r->count = n_operands - r->first;
    if (r->op == BETWEEN || r->op == OUTSIDE)
        return r->count == 2 && r->kinds == kind_bit('0') && number_compare(operands[r->first].number, operands[r->first + 1].number) <= 0;
    return r->count > 0;
}

enum rule_key { RULE_PATH, RULE_OP, RULE_VALUE, RULE_WEIGHT, RULE_REASON, RULE_MISSING, RULE_WITHIN, RULE_MORE_THAN, RULE_INCOMPLETE };
static const char *const rule_keys[] = {"path", "op", "value", "weight", "reason", "on_missing",
#ifdef FRAUD_VELOCITY
                                        "within", "more_than", "on_incomplete",
#endif
                                        NULL};

GL_COLD bool read_rule_member(const config_iter *it, int32_t key, rule *r, config_value *value) {
#ifdef FRAUD_VELOCITY
    static const char *const incomplete[] = {"count", "fire", NULL};
#endif
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
#ifdef FRAUD_VELOCITY
    case RULE_WITHIN: return velocity_window(it->value, &r->velocity);
    case RULE_MORE_THAN: return config_uint(it->value, 0, 1000000, &r->velocity.more_than);
    case RULE_INCOMPLETE: return config_choice(it->value, incomplete, &r->velocity.wary);
#endif
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
    if (r->op == VELOCITY) need |= 1u << RULE_WITHIN | 1u << RULE_MORE_THAN;
    if ((seen & need) != need || !read_value(r, value)) return false;
    if (r->op != VELOCITY && seen >> RULE_WITHIN != 0) return false;
    if (r->op == MISSING) return !(seen >> RULE_MISSING & 1);  // it says itself what is to be done
    if (r->required) required |= 1ull << (paths.n_rules - 1);
    return true;
}

GL_COLD bool read_rules(config_value v) {
    config_iter it;
    if (!config_array(v, &it)) return false;
    while (config_next(&it))
        if (!read_rule(it.value)) return false;
    n_rules = paths.n_rules;
    return true;
}

enum key { THRESHOLD, ACTION, ROUTE_THRESHOLD, ROUTE, HEADER, ON_INVALID, RULES, TREES, FIRST_STRICT };
static const char *const config_keys[] = {"threshold", "action", "route_threshold", "route", "header",
                                          "on_invalid_json", "rules", "model", STRICT_KEYS, NULL};

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

// sections are what holds paths, which is read once all options are known.
typedef struct sections {
    config_value rules, model, known;
} sections;

GL_COLD bool read_sections(const sections *s) {
    strict_apply(true);
    if (s->rules.p == NULL && s->model.p == NULL) return false;
    if (s->rules.p != NULL && !read_rules(s->rules)) return false;
    if (s->model.p != NULL && !model_read(s->model, rule_reasons, strict_missing)) return false;
    return s->known.p == NULL || strict_known(s->known);
}

// index_nodes notes which rules and features end in each node.
GL_COLD void index_nodes(void) {
    for (uint32_t n = 0; n < paths.n_nodes; n++) {
        for (uint32_t i = 0; i < n_rules; i++)
            if (paths_accepts(n, i)) node_rules[n] |= 1ull << i;
        for (uint32_t i = 0; i < model.n_features; i++)
            if (paths_accepts(n, model.first_rule + i)) node_features[n][i / 64] |= 1ull << i % 64;
    }
}

GL_COLD int32_t init(const uint8_t *p, uint32_t len) {
    config_value root;
    config_iter it;
    sections parts = {0};
    uint32_t seen = 0;
    header = (config_text){(const uint8_t *)"guardlock-fraud-verdict", 23};
    if (!config_open(p, len, &root) || !config_object(root, &it)) return 1;
    while (config_next(&it)) {
        int32_t key = config_key(&it, config_keys, &seen);
        if (key < 0) return 2;
        if (key == RULES) parts.rules = it.value;
        else if (key == TREES) parts.model = it.value;
        else if (key == FIRST_STRICT + STRICT_KNOWN) parts.known = it.value;
        else if (!read_option(it.value, key)) return 2;
    }
    if (!read_sections(&parts)) return 2;
    if (!(seen >> THRESHOLD & 1) || !paths_build()) return 3;
    bool between = seen >> ROUTE_THRESHOLD & 1;
    if (between && (routes_heavy || route_threshold >= threshold)) return 4;
    if ((seen >> ROUTE & 1) && !between && !routes_heavy) return 5;
    index_nodes();
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

// text_ends tells whether the string p[:end], quotes included, begins or ends
// with a text. A text that memory cannot hold decoded does whatever is feared.
GL_COLD bool text_ends(const rule *r, const uint8_t *p, const uint8_t *end) {
    config_text want = operands[r->first].text;
    uint32_t n = (uint32_t)(end - p) - 2;
    p++;
    if (gl_find(p, n, '\\') != NULL) {
        if (!paths_room(n + GL_SLACK)) return true;
        n = json_decode(p, end - 1, paths.scratch);
        p = paths.scratch;
    }
    return n >= want.len && gl_equal(r->op == PREFIX ? p : p + n - want.len, want.p, want.len);
}

static inline bool lies_between(const operand *o, number n) {
    return number_compare(n, o[0].number) >= 0 && number_compare(n, o[1].number) <= 0;
}

static bool fires(const rule *r, const uint8_t *p, const uint8_t *end) {
    const operand *o = &operands[r->first];
    if (r->op >= EXISTS) return true;  // missing is turned around in add_up
    if (r->op >= PREFIX) return text_ends(r, p, end);
    if (r->op >= BETWEEN) return lies_between(o, number_read(p, end)) == (r->op == BETWEEN);
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
    uint32_t record;  // its place in the call, by which the host knows its time
} verdicts;

static model_input features;

GL_COLD const uint8_t *visit_wrong_type(verdicts *v, uint32_t rule, const uint8_t *end) {
    v->fired |= 1ull << rule;
    return strict.lax_type ? end : json_fail(PATHS_WRONG_TYPE);
}

enum { FAULT_AMBIGUOUS = 7 };  // of json_fault, after those of paths.h

// visit_features gives a value to the features that it is for.
static inline bool visit_features(uint32_t node, const uint8_t *p, const uint8_t *end) {
    for (uint32_t word = 0; word < MODEL_MAX_FEATURES / 64; word++)
        for (uint64_t left = node_features[node][word]; left != 0; left &= left - 1) {
            uint32_t i = word * 64 + (uint32_t)__builtin_ctzll(left);
            if (features.found[i]) return json_fail(FAULT_AMBIGUOUS) != NULL;
            features.found[i] = true;
            if (!model_take(&model.features[i], p, end, &features.value[i])) return json_fail(PATHS_WRONG_TYPE) != NULL;
        }
    return true;
}

// judge tells whether a rule fires on a value of a type that it has an opinion on.
static inline bool judge(const verdicts *v, uint32_t i, const uint8_t *p, const uint8_t *end) {
#ifdef FRAUD_VELOCITY
    if (rules[i].op == VELOCITY) return velocity_fires(&rules[i].velocity, i, v->record, p, end);
#else
    (void)v;
#endif
    return fires(&rules[i], p, end);
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
        } else if (judge(v, i, m->value, end)) {
            v->fired |= 1ull << i;
        }
    }
    return visit_features(m->node, m->value, end) ? end : NULL;
}

// ---- the score ----

// tally is what a record scores: in all, by reason, and by the model.
typedef struct tally {
    uint32_t sum, reason, heaviest;
    uint32_t by_reason[REASON_COUNT];
    double model;
} tally;

static inline void add(tally *t, uint32_t weight, uint32_t reason) {
    t->sum += weight;
    t->by_reason[reason] += weight;
    if (weight <= t->heaviest) return;
    t->heaviest = weight;
    t->reason = reason;
}

GL_COLD void add_model(tally *t) {
    uint32_t leading;
    t->model = model_score(&features, &leading);
    uint32_t points = (uint32_t)(t->model * model.points), reason = model.features[leading].reason;
    add(t, points, reason == UINT32_MAX ? REASON_MODEL : REASON_SCORE + reason);
}

static inline void add_up(tally *t, uint64_t fired) {
    *t = (tally){.reason = REASON_ALLOWED};
    for (uint32_t i = 0; i < n_rules; i++)
        if ((fired >> i & 1) != (rules[i].op == MISSING)) add(t, rules[i].weight, rules[i].reason);
    if (model.n_features != 0) add_model(t);
}

// ---- records ----

static inline uint8_t *put_word(uint8_t *p, const char *word) {
    while (*word != 0) *p++ = (uint8_t)*word++;
    return p;
}

// put_number writes n with as many digits at least.
static inline uint8_t *put_number(uint8_t *p, uint64_t n, uint32_t least) {
    uint8_t digits[20];
    uint32_t len = 0;
    for (; n != 0 || len < least; n /= 10) digits[len++] = (uint8_t)('0' + n % 10);
    while (len > 0) *p++ = digits[--len];
    return p;
}

// put_reasons writes what each reason adds, the most first.
static inline uint8_t *put_reasons(uint8_t *p, tally *t) {
    const char *before = ";reasons=";
    for (;;) {
        uint32_t most = REASON_SCORE;
        for (uint32_t i = REASON_SCORE; i < REASON_COUNT; i++)
            if (t->by_reason[i] > t->by_reason[most]) most = i;
        if (t->by_reason[most] == 0) return p;
        p = put_word(put_word(p, before), rule_reasons[most - REASON_SCORE]);
        *p++ = ':';
        p = put_number(p, t->by_reason[most], 1);
        t->by_reason[most] = 0;
        before = ",";
    }
}

// set_verdict adds the header, of which word says what became of the record.
static int32_t set_verdict(gl_call *c, gl_record *r, const char *word, tally *t) {
    static uint8_t text[1024];
    uint8_t *p = put_word(put_word(text, word), ";score=");
    p = put_reasons(put_number(p, t->sum, 1), t);
    if (model.n_features != 0 && !(r->flags & GL_VALUE_NULL)) {
        uint64_t digits = (uint64_t)(t->model * 1e12 + 0.5);
        p = put_word(p, ";model=");
        p = put_number(p, digits / 1000000000000, 1);
        *p++ = '.';
        p = put_number(p, digits % 1000000000000, 12);
    }
    return gl_set_header(c, r, header.p, header.len, text, (uint32_t)(p - text));
}

static inline int32_t allow(gl_call *c, gl_record *r, tally *t) {
    gl_modified(r, REASON_ALLOWED);
    return set_verdict(c, r, "allow", t);
}

static inline int32_t divert(gl_call *c, gl_record *r, tally *t) {
    gl_route(r, route, t->reason);
    return set_verdict(c, r, "route", t);
}

GL_COLD int32_t refuse(gl_call *c, gl_record *r) {
    switch (json_fault) {
    case JSON_TOO_DEEP: return gl_reject(r, REASON_TOO_DEEP);
    case PATHS_WRONG_TYPE: return gl_reject(r, REASON_WRONG_TYPE);
    case PATHS_NESTED: return gl_reject(r, REASON_NESTED_JSON);
    case PATHS_UNKNOWN: return gl_reject(r, REASON_UNKNOWN_FIELD);
    case FAULT_AMBIGUOUS: return gl_reject(r, REASON_AMBIGUOUS);
    }
    if (strict_looks_framed(r)) return gl_reject(r, REASON_FRAMING);
    if (!pass_invalid) return gl_reject(r, REASON_INVALID_JSON);
    gl_modified(r, REASON_UNSCORED);
    return gl_set_header(c, r, header.p, header.len, (const uint8_t *)"unscored", 8);
}

// lacks tells whether anything that must be there is not.
static inline bool lacks(const verdicts *v) {
    for (uint32_t i = 0; i < model.n_features; i++)
        if (model.features[i].required && !features.found[i]) return true;
    return required & ~v->found;
}

static inline void forget_features(void) {
    for (uint32_t i = 0; i < model.n_features; i++) {
        features.found[i] = false;
        features.value[i] = __builtin_nan("");
    }
}

static int32_t transform(gl_call *c, gl_record *r) {
    static tally t;
    t = (tally){0};
    if (r->flags & GL_VALUE_NULL) return allow(c, r, &t);
    verdicts v = {.record = r->src};
    uint32_t len;
    uint8_t saved = 0, *value;
    if (!strict_open(r, &value, &len)) return gl_reject(r, REASON_FRAMING);
    forget_features();
    const uint8_t *p = json_begin(value, len, &saved);
    if (p != NULL) p = paths_walk(p, visit, &v);
    bool valid = p != NULL && json_space(p) == value + len;
    json_end(value, len, saved);
    if (!valid) return refuse(c, r);
    if (lacks(&v)) return gl_reject(r, REASON_MISSING_FIELD);
    add_up(&t, v.fired);
    if (t.sum >= threshold) return routes_heavy ? divert(c, r, &t) : gl_reject(r, t.reason);
    return t.sum >= route_threshold ? divert(c, r, &t) : allow(c, r, &t);
}

GUARDLOCK_INIT(init)
GUARDLOCK_TRANSFORM(transform)
