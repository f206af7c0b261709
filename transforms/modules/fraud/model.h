// model.h: gradient-boosted trees as signed configuration.
//
//     "model": {"format": "guardlock_trees_v1", "points": 60, "sigmoid": 1,
//       "features": [
//         {"path": "$.amount", "reason": "fraud.amount"},
//         {"path": "$.country", "categories": ["DE", "FR"], "on_missing": "reject"}],
//       "trees": [[[0, 120.5, 1, 2, "nan_left", -1.2], -1.5, [1, [1], 3, 4, "nan_right", 0.4], 0.2, 1.1]]}
//
// A tree is a list of nodes, of which the first is its root. A leaf is its value. A
// split is [feature, threshold, left, right, missing, value]: left and right are
// nodes further on in the list, and value is the mean of the leaves below, by
// which the score is explained. A feature goes left if it is <= threshold, or if
// the whole number that it is cut to is in the list that stands instead of a
// threshold. missing says where what is missing (or null) goes:
//
//     "nan_left" "nan_right"     there
//     "zero_left" "zero_right"   there, and 0 as well
//     "none"                     it counts as 0
//
// A list of categories takes "nan_right" only. What is as small as 1e-35 is 0.
//
// A feature is a number; true and false are 1 and 0; with "categories", a text,
// which is the number of its place there and missing if it is not there. The
// score is 1 / (1 + exp(-sigmoid * sum)), where sum is that of a leaf of each tree,
// in order. All of it is as LightGBM does it; model.py makes it from a dump, and
// sklearn_model.py from a classifier of scikit-learn.
#ifndef GUARDLOCK_MODEL_H
#define GUARDLOCK_MODEL_H

#include "../include/number.h"
#include "../include/paths.h"

#define MODEL_MAX_FEATURES 128u
#define MODEL_MAX_CATEGORIES 4096u
#define MODEL_MAX_TREES 4096u
#define MODEL_MAX_NODES 32768u  // of a tree
#define MODEL_MAX_CATEGORY_TEXT 128u

enum model_missing { MODEL_NAN_LEFT, MODEL_NAN_RIGHT, MODEL_ZERO_LEFT, MODEL_ZERO_RIGHT, MODEL_NONE, MODEL_LEAF };
static const char *const model_missing[] = {"nan_left", "nan_right", "zero_left", "zero_right", "none", NULL};

typedef struct model_node {
    double threshold, value;
    const uint32_t *categories;  // as bits, their number first; NULL for a threshold
    uint16_t feature, left, right, missing;
} model_node;

typedef struct model_feature {
    config_text *categories;
    uint32_t n_categories;
    uint32_t reason, required;
} model_feature;

static struct {
    uint32_t n_features, n_trees, points;
    uint32_t first_rule;  // the path of feature 0, as a rule of paths.h
    double sigmoid;
    model_feature features[MODEL_MAX_FEATURES];
    const model_node *trees[MODEL_MAX_TREES];
} model = {.sigmoid = 1};

// model_input is what a record gives to the features.
typedef struct model_input {
    bool found[MODEL_MAX_FEATURES];
    double value[MODEL_MAX_FEATURES];
} model_input;

// ---- configuration ----

GL_COLD bool model_number(config_value v, double *out) {
    if (!number_starts(*v.p)) return false;
    *out = number_double(number_read(v.p, v.end));
    return __builtin_fabs(*out) < __builtin_inf();
}

GL_COLD uint32_t model_count(config_value v) {
    config_iter it;
    uint32_t n = 0;
    if (config_array(v, &it))
        while (config_next(&it)) n++;
    return n;
}

GL_COLD bool model_read_categories(config_value v, model_feature *f) {
    config_iter it;
    uint32_t n = model_count(v);
    if (n == 0 || n > MODEL_MAX_CATEGORIES) return false;
    f->categories = gl_alloc(n * sizeof(config_text), 16);
    if (f->categories == NULL || !config_array(v, &it)) return false;
    for (; config_next(&it); f->n_categories++) {
        config_text *text = &f->categories[f->n_categories];
        if (!config_string(it.value, MODEL_MAX_CATEGORY_TEXT, text)) return false;
        for (uint32_t i = 0; i < f->n_categories; i++)
            if (f->categories[i].len == text->len && gl_equal(f->categories[i].p, text->p, text->len)) return false;
    }
    return true;
}

enum model_feature_key { FEATURE_PATH, FEATURE_CATEGORIES, FEATURE_REASON, FEATURE_MISSING };
static const char *const model_feature_keys[] = {"path", "categories", "reason", "on_missing", NULL};

GL_COLD bool model_read_feature(config_value v, const char *const *reasons, const char *const *on_missing) {
    config_iter it;
    uint32_t seen = 0;
    if (model.n_features == MODEL_MAX_FEATURES || !config_object(v, &it)) return false;
    model_feature *f = &model.features[model.n_features++];
    f->reason = UINT32_MAX;
    while (config_next(&it)) {
        bool ok = false;
        switch (config_key(&it, model_feature_keys, &seen)) {
        case FEATURE_PATH: ok = paths_add(it.value); break;
        case FEATURE_CATEGORIES: ok = model_read_categories(it.value, f); break;
        case FEATURE_REASON: ok = config_choice(it.value, reasons, &f->reason); break;
        case FEATURE_MISSING: ok = config_choice(it.value, on_missing, &f->required); break;
        }
        if (!ok) return false;
    }
    return seen >> FEATURE_PATH & 1;
}

// model_read_set reads the categories that go left.
GL_COLD bool model_read_set(config_value v, model_node *node) {
    config_iter it;
    uint32_t *set = gl_alloc((MODEL_MAX_CATEGORIES / 32 + 1) * sizeof(uint32_t), 16), category, top = 0;
    if (set == NULL || !config_array(v, &it)) return false;
    while (config_next(&it)) {
        if (!config_uint(it.value, 0, MODEL_MAX_CATEGORIES - 1, &category)) return false;
        set[1 + category / 32] |= 1u << category % 32;
        if (category >= top) top = category + 1;
    }
    set[0] = top;
    node->categories = set;
    gl_heap_next = (uintptr_t)(set + 1 + (top + 31) / 32) + GL_SLACK;  // the rest of it is free again
    return top > 0;
}

// model_read_split reads [feature, threshold, left, right, missing, value].
GL_COLD bool model_read_split(config_value v, uint32_t self, uint32_t count, model_node *node) {
    config_iter it;
    config_value part[6];
    uint32_t n = 0, feature, left, right, missing;
    if (!config_array(v, &it)) return false;
    for (; config_next(&it); n++) {
        if (n == 6) return false;
        part[n] = it.value;
    }
    if (n != 6 || !config_uint(part[0], 0, model.n_features - 1, &feature)) return false;
    if (!config_uint(part[2], self + 1, count - 1, &left) || !config_uint(part[3], self + 1, count - 1, &right)) return false;
    if (!config_choice(part[4], model_missing, &missing) || !model_number(part[5], &node->value)) return false;
    node->feature = (uint16_t)feature;
    node->left = (uint16_t)left;
    node->right = (uint16_t)right;
    node->missing = (uint16_t)missing;
    if (*part[1].p != '[') return model_number(part[1], &node->threshold);
    return missing == MODEL_NAN_RIGHT && model_read_set(part[1], node);
}

GL_COLD bool model_read_tree(config_value v) {
    config_iter it;
    uint32_t count = model_count(v);
    if (count == 0 || count > MODEL_MAX_NODES || model.n_trees == MODEL_MAX_TREES) return false;
    model_node *nodes = gl_alloc(count * sizeof(model_node), 16);
    if (nodes == NULL || !config_array(v, &it)) return false;
    model.trees[model.n_trees++] = nodes;
    for (uint32_t i = 0; config_next(&it); i++) {
        if (*it.value.p == '[') {
            if (!model_read_split(it.value, i, count, &nodes[i])) return false;
            continue;
        }
        nodes[i].missing = MODEL_LEAF;
        if (!model_number(it.value, &nodes[i].value)) return false;
    }
    return true;
}

enum model_key { MODEL_FORMAT, MODEL_POINTS, MODEL_SIGMOID, MODEL_FEATURES, MODEL_TREES };
static const char *const model_keys[] = {"format", "points", "sigmoid", "features", "trees", NULL};

// model_read reads a model, whose features' paths follow those of the rules.
GL_COLD bool model_read(config_value v, const char *const *reasons, const char *const *on_missing) {
    static const char *const formats[] = {"guardlock_trees_v1", NULL};
    config_iter it, inner;
    config_value features = {NULL, NULL}, trees = {NULL, NULL};
    uint32_t seen = 0, format;
    model.first_rule = paths.n_rules;
    if (!config_object(v, &it)) return false;
    while (config_next(&it)) {
        bool ok = true;
        switch (config_key(&it, model_keys, &seen)) {
        case MODEL_FORMAT: ok = config_choice(it.value, formats, &format); break;
        case MODEL_POINTS: ok = config_uint(it.value, 1, 1000000, &model.points); break;
        case MODEL_SIGMOID: ok = model_number(it.value, &model.sigmoid) && model.sigmoid > 0; break;
        case MODEL_FEATURES: features = it.value; break;
        case MODEL_TREES: trees = it.value; break;
        default: ok = false;
        }
        if (!ok) return false;
    }
    uint32_t need = 1u << MODEL_FORMAT | 1u << MODEL_POINTS | 1u << MODEL_FEATURES | 1u << MODEL_TREES;
    if ((seen & need) != need || !config_array(features, &inner)) return false;
    while (config_next(&inner))
        if (!model_read_feature(inner.value, reasons, on_missing)) return false;
    if (model.n_features == 0 || !config_array(trees, &inner)) return false;
    while (config_next(&inner))
        if (!model_read_tree(inner.value)) return false;
    return model.n_trees > 0;
}

// ---- features ----

// model_category gives the place of a decoded text, NaN if it has none.
static inline double model_category(const model_feature *f, const uint8_t *p, uint32_t len) {
    for (uint32_t i = 0; i < f->n_categories; i++)
        if (f->categories[i].len == len && gl_equal(f->categories[i].p, p, len)) return i;
    return __builtin_nan("");
}

// model_take gives a feature its value, which is not null; false if it is of a
// type that the feature cannot have.
GL_COLD bool model_take(const model_feature *f, const uint8_t *p, const uint8_t *end, double *out) {
    static uint8_t text[MODEL_MAX_CATEGORY_TEXT * 6 + GL_SLACK];
    if (f->categories != NULL) {
        if (*p != '"') return false;
        *out = __builtin_nan("");
        if (end - p - 2 <= (int32_t)MODEL_MAX_CATEGORY_TEXT * 6) *out = model_category(f, text, json_decode(p + 1, end - 1, text));
        return true;
    }
    if (*p == 't' || *p == 'f') {
        *out = *p == 't';
        return true;
    }
    if (!number_starts(*p)) return false;
    *out = number_double(number_read(p, end));
    if (__builtin_fabs(*out) <= 1e-35f) *out = 0;
    return true;
}

// ---- scores ----

static inline bool model_goes_left(const model_node *node, double v) {
    bool missing = v != v;
    if (node->categories != NULL) {
        if (missing || !(v > -1 && v < node->categories[0])) return false;
        uint32_t category = (uint32_t)(v < 0 ? 0 : v);
        return node->categories[1 + category / 32] >> category % 32 & 1;
    }
    if (node->missing == MODEL_NONE) return (missing ? 0 : v) <= node->threshold;
    if (node->missing >= MODEL_ZERO_LEFT && (missing || v == 0)) return node->missing == MODEL_ZERO_LEFT;
    if (missing) return node->missing == MODEL_NAN_LEFT;
    return v <= node->threshold;
}

// model_exp is e to the x, for |x| <= 700, to the last bit or nearly (fdlibm's method).
static inline double model_exp(double x) {
    int64_t k = (int64_t)__builtin_floor(x * 1.44269504088896338700e+00 + 0.5);
    double high = x - (double)k * 6.93147180369123816490e-01, low = (double)k * 1.90821492927058770002e-10;
    double r = high - low, t = r * r, scale;
    double c = r - t * (1.66666666666666019037e-01 + t * (-2.77777777770155933842e-03 +
               t * (6.61375632143793436117e-05 + t * (-1.65339022054652515390e-06 + t * 4.13813679705723846039e-08))));
    uint64_t bits = (uint64_t)(k + 1023) << 52;
    __builtin_memcpy(&scale, &bits, 8);
    return (1 - ((low - (r * c) / (2 - c)) - high)) * scale;
}

// model_score gives the score, and the feature that raised it most.
static inline double model_score(const model_input *in, uint32_t *leading) {
    static double raised[MODEL_MAX_FEATURES];
    double sum = 0;
    for (uint32_t i = 0; i < model.n_features; i++) raised[i] = 0;
    for (uint32_t t = 0; t < model.n_trees; t++) {
        const model_node *nodes = model.trees[t], *at = nodes;
        while (at->missing != MODEL_LEAF) {
            const model_node *next = &nodes[model_goes_left(at, in->value[at->feature]) ? at->left : at->right];
            raised[at->feature] += next->value - at->value;
            at = next;
        }
        sum += at->value;
    }
    *leading = 0;
    for (uint32_t i = 1; i < model.n_features; i++)
        if (raised[i] > raised[*leading]) *leading = i;
    sum *= -model.sigmoid;
    return 1 / (1 + model_exp(sum > 700 ? 700 : sum < -700 ? -700 : sum));
}

#endif
