// sensor: raises an alarm when a device's reading jumps away from its mean.
//
//     {"path": "$.value", "window": 16, "max_jitter": 0.25, "min_samples": 4,
//      "scale": 1, "action": "alarm", "header": "guardlock-sensor-alarm",
//      "on_invalid": "reject"}
//
// The device is the record's Kafka key. For each device the module keeps a
// running mean: the plain mean of the first window readings (2 to 65536), then
// an exponential one of that length. A reading's jitter is its distance from the
// mean before it, divided by the mean's size or by scale (default 1), whichever
// is larger. Over max_jitter, once min_samples readings were seen (default 4, or
// window when that is less), the record carries the header with the value
// "jitter" (alarm), or is dropped or rejected. Any other record that came with a
// header of that name loses it.
//
// path must lead to a number, or to several (each is a reading). What it does
// not lead to, and what is not JSON, is rejected, or passed with "on_invalid":
// "pass". A null value passes.
//
// State: the 4096 devices heard of last, by a 64-bit hash of the key, in this
// instance's memory only. It starts anew with the instance, is not shared
// between pooled instances, and counts a batch that a producer sends again once
// more: an alarm, not a ledger. For windows that see every record of a topic,
// grant the module one instance.
#include "../include/number.h"
#include "../include/paths.h"

#define REASONS(FIRST, NEXT)                     \
    FIRST(INVALID_JSON, "sensor.invalid_json")   \
    NEXT(TOO_DEEP, "sensor.too_deep")            \
    NEXT(NO_VALUE, "sensor.no_value")            \
    NEXT(NOT_A_NUMBER, "sensor.not_a_number")    \
    NEXT(TOO_MANY, "sensor.too_many_readings")   \
    NEXT(JITTER, "sensor.jitter")                \
    NEXT(HEADER_REMOVED, "sensor.header_removed")
GUARDLOCK_REASONS(REASONS)

#define SETS 1024
#define WAYS 4
#define MAX_READINGS 256
#define ALARM "jitter"

typedef struct device {
    uint64_t hash;
    double mean;
    uint32_t count;  // readings seen, at most window; 0 is a free entry
    uint32_t used;   // the clock when last heard of
} device;

static device devices[SETS][WAYS];
static uint32_t clock;

enum action { ACT_ALARM, ACT_DROP, ACT_REJECT };
static uint32_t window, min_samples, action, pass_invalid;
static double max_jitter, scale = 1;
static config_text header;

// ---- configuration ----

GL_COLD bool read_positive(config_value v, double *out) {
    if (!number_starts(*v.p)) return false;
    *out = number_double(number_read(v.p, v.end));
    return *out > 0 && *out < 1e300;
}

enum key { PATH, WINDOW, MAX_JITTER, MIN_SAMPLES, SCALE, ACTION, HEADER, ON_INVALID };
static const char *const config_keys[] = {"path", "window", "max_jitter", "min_samples", "scale",
                                          "action", "header", "on_invalid", NULL};

GL_COLD bool read_member(const config_iter *it, int32_t key) {
    static const char *const actions[] = {"alarm", "drop", "reject", NULL};
    static const char *const choices[] = {"reject", "pass", NULL};
    switch (key) {
    case PATH: return paths_add(it->value);
    case WINDOW: return config_uint(it->value, 2, 65536, &window);
    case MAX_JITTER: return read_positive(it->value, &max_jitter);
    case MIN_SAMPLES: return config_uint(it->value, 1, 65536, &min_samples);
    case SCALE: return read_positive(it->value, &scale);
    case ACTION: return config_choice(it->value, actions, &action);
    case HEADER: return config_string(it->value, 128, &header) && header.len > 0;
    case ON_INVALID: return config_choice(it->value, choices, &pass_invalid);
    }
    return false;
}

GL_COLD int32_t init(const uint8_t *p, uint32_t len) {
    config_value root;
    config_iter it;
    uint32_t seen = 0, need = 1u << PATH | 1u << WINDOW | 1u << MAX_JITTER;
    header = (config_text){(const uint8_t *)"guardlock-sensor-alarm", 22};
    if (!config_open(p, len, &root) || !config_object(root, &it)) return 1;
    while (config_next(&it))
        if (!read_member(&it, config_key(&it, config_keys, &seen))) return 2;
    if ((seen & need) != need || !paths_build()) return 3;
    if (!(seen >> MIN_SAMPLES & 1)) min_samples = window < 4 ? window : 4;
    return min_samples <= window ? 0 : 4;
}

// ---- devices ----

static inline uint64_t mix(uint64_t h, uint64_t v) {
    h = (h ^ v) * 0x9e3779b97f4a7c15ull;
    return h ^ h >> 32;
}

static inline uint64_t hash_key(const gl_record *r) {
    uint32_t n = r->flags & GL_KEY_NULL ? 0 : r->key_len;
    uint64_t h = mix(0x243f6a8885a308d3ull, n), v;
    for (uint32_t i = 0; i < n; i += 8) {
        __builtin_memcpy(&v, r->key + i, 8);
        if (n - i < 8) v &= (1ull << (n - i) * 8) - 1;
        h = mix(h, v);
    }
    return mix(h, n);
}

// find_device returns the key's entry; a new device takes the place of the one
// in its set that was silent longest.
static inline device *find_device(const gl_record *r) {
    uint64_t hash = hash_key(r);
    device *set = devices[hash % SETS], *oldest = set;
    clock++;
    for (uint32_t i = 0; i < WAYS; i++) {
        if (set[i].count != 0 && set[i].hash == hash) {
            set[i].used = clock;
            return &set[i];
        }
        if (clock - set[i].used > clock - oldest->used) oldest = &set[i];
    }
    *oldest = (device){.hash = hash, .used = clock};
    return oldest;
}

// observe adds a reading and tells whether it was too far off.
static inline bool observe(device *d, double x) {
    double size = __builtin_fabs(d->mean), off = __builtin_fabs(x - d->mean);
    bool jitter = d->count >= min_samples && off > max_jitter * (size > scale ? size : scale);
    if (d->count < window) d->count++;
    d->mean += (x - d->mean) / d->count;
    return jitter;
}

// ---- records ----

typedef struct readings {
    uint32_t count, fault;
    double x[MAX_READINGS];
} readings;

static const uint8_t *visit(void *self, const paths_match *m) {
    readings *s = self;
    const uint8_t *end = json_skip(m->value, m->depth);
    if (end == NULL) return NULL;
    if (!number_starts(*m->value)) {
        s->fault = REASON_NOT_A_NUMBER;
    } else if (s->count == MAX_READINGS) {
        s->fault = REASON_TOO_MANY;
    } else {
        double x = number_double(number_read(m->value, end));
        if (__builtin_fabs(x) < 1e300) s->x[s->count++] = x;
        else s->fault = REASON_NOT_A_NUMBER;
    }
    return end;
}

// read returns 0, or the reason why the record has no usable reading.
static inline uint32_t read(gl_record *r, readings *s) {
    uint8_t saved = 0;
    s->count = s->fault = 0;
    const uint8_t *p = json_begin(r->value, r->value_len, &saved);
    if (p != NULL) p = paths_walk(p, visit, s);
    bool valid = p != NULL && json_space(p) == r->value + r->value_len;
    json_end(r->value, r->value_len, saved);
    if (!valid) return json_fault == JSON_TOO_DEEP ? REASON_TOO_DEEP : REASON_INVALID_JSON;
    return s->fault ? s->fault : s->count == 0 ? REASON_NO_VALUE : 0;
}

// enough_room is asked once per call, before any state changes: a call that
// ends in GL_ERR_SPACE is made again and must not count its readings twice.
GL_COLD bool enough_room(const gl_call *c) {
    const gl_record *in = (const gl_record *)c->frame->in_desc;
    uint64_t need = 0;
    for (uint32_t i = 0; i < c->frame->in_count; i++) need += in[i].headers_len + header.len + sizeof ALARM + 15;
    return need <= c->cap;
}

static inline int32_t clean(gl_call *c, gl_record *r) {
    int32_t rc = gl_set_header(c, r, header.p, header.len, NULL, 0);
    if (rc == GL_OK && (r->flags & GL_HEADERS_REPLACED)) gl_modified(r, REASON_HEADER_REMOVED);
    return rc;
}

static int32_t transform(gl_call *c, gl_record *r) {
    static readings s;
    if (r->src == 0 && !enough_room(c)) return GL_ERR_SPACE;
    if (r->flags & GL_VALUE_NULL) return clean(c, r);
    uint32_t fault = read(r, &s);
    if (fault != 0) return pass_invalid && fault != REASON_TOO_DEEP ? clean(c, r) : gl_reject(r, fault);
    device *d = find_device(r);
    bool alarm = false;
    for (uint32_t i = 0; i < s.count; i++) alarm |= observe(d, s.x[i]);
    if (!alarm) return clean(c, r);
    if (action == ACT_DROP) return gl_drop(r, REASON_JITTER);
    if (action == ACT_REJECT) return gl_reject(r, REASON_JITTER);
    gl_modified(r, REASON_JITTER);
    return gl_set_header(c, r, header.p, header.len, (const uint8_t *)ALARM, sizeof ALARM - 1);
}

GUARDLOCK_INIT(init)
GUARDLOCK_TRANSFORM(transform)
