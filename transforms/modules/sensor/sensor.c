// sensor: raises an alarm when a device's reading is out of range, jumps away from
// its mean, or when readings come too often, too rarely, or do not change.
//
//     {"path": "$.value", "min": -40, "max": 85, "window": 16, "max_jitter": 0.25, "min_samples": 4, "scale": 1,
//      "max_rate": {"count": 100, "window_ms": 60000}, "max_gap_ms": 300000,
//      "stuck": {"count": 20, "window_ms": 600000},
//      "action": "alarm", "header": "guardlock-sensor-alarm", "on_invalid": "reject"}
//
// The device is the record's Kafka key. At least one of these is asked for:
//
//     min, max            a reading below or above: "range"
//     window, max_jitter  a reading that lies further from the device's mean before it
//                         than max_jitter times the mean's size or scale (default 1),
//                         whichever is larger, once min_samples readings were seen
//                         (default 4, or window when that is less): "jitter". The
//                         mean is the plain one of the first window readings (2 to
//                         65536), then an exponential one of that length
//     max_rate            more records of the device in window_ms than count: "rate"
//     max_gap_ms          a record that comes later than that after the last: "gap"
//     stuck               at least count records of the device in window_ms, and all
//                         with the readings of this one: "stuck"
//
// What is found stands in the header, in this order: "range,jitter". The first of
// them is the reason. action: alarm stores the record with the header; route sends
// it, with the header, to the grant's route number "route" (default 0); drop and
// reject do what they say. Any other record that came with a header of that name
// loses it.
//
// path must lead to a number, or to several (each is a reading). What it does
// not lead to, and what is not JSON, is rejected, or passed with "on_invalid":
// "pass". A null value passes. A key of more than 1000 bytes is rejected.
//
// State: rate, gap and stuck ask the host (guardlock_state.count and seen), whose
// counts all instances share, by the records' own times. The mean is this
// instance's: that of the 4096 devices heard of last, by a 64-bit hash of the key.
// It starts anew with the instance, is not shared between pooled instances, and
// counts a batch that a producer sends again once more: an alarm, not a ledger.
// For means that see every record of a topic, grant the module one instance.
#include "../include/number.h"
#include "../include/paths.h"

#define REASONS(FIRST, NEXT)                     \
    FIRST(INVALID_JSON, "sensor.invalid_json")   \
    NEXT(TOO_DEEP, "sensor.too_deep")            \
    NEXT(NO_VALUE, "sensor.no_value")            \
    NEXT(NOT_A_NUMBER, "sensor.not_a_number")    \
    NEXT(TOO_MANY, "sensor.too_many_readings")   \
    NEXT(KEY, "sensor.key")                      \
    NEXT(RANGE, "sensor.range")                  \
    NEXT(JITTER, "sensor.jitter")                \
    NEXT(RATE, "sensor.rate")                    \
    NEXT(GAP, "sensor.gap")                      \
    NEXT(STUCK, "sensor.stuck")                  \
    NEXT(HEADER_REMOVED, "sensor.header_removed")
GUARDLOCK_REASONS(REASONS)

#define SETS 1024
#define WAYS 4
#define MAX_READINGS 256
#define MAX_MS 999999999u
#define MAX_KEY 1000u
#define MAX_ALARM 32u  // bytes of "range,jitter,rate,gap,stuck"

// The alarms, in the order of their reasons.
enum alarm { RANGE = 1, JITTER = 2, RATE = 4, GAP = 8, STUCK = 16 };
static const char *const alarm_names[] = {"range", "jitter", "rate", "gap", "stuck"};

typedef struct device {
    uint64_t hash;
    double mean;
    uint32_t count;  // readings seen, at most window; 0 is a free entry
    uint32_t used;   // the clock when last heard of
} device;

static device devices[SETS][WAYS];
static uint32_t clock;

enum action { ACT_ALARM, ACT_DROP, ACT_REJECT, ACT_ROUTE };
static uint32_t window, min_samples, action, pass_invalid, route;
static double max_jitter, scale = 1;
static config_text header;

// often is so many records in a window; a count of 0 is not asked for.
typedef struct often {
    uint32_t count, window_ms;
} often;

static often max_rate, stuck;
static uint32_t max_gap_ms;
static double least = -__builtin_inf(), most = __builtin_inf();

// ---- configuration ----

GL_COLD bool read_positive(config_value v, double *out) {
    if (!number_starts(*v.p)) return false;
    *out = number_double(number_read(v.p, v.end));
    return *out > 0 && *out < 1e300;
}

GL_COLD bool read_number(config_value v, double *out) {
    if (!number_starts(*v.p)) return false;
    *out = number_double(number_read(v.p, v.end));
    return __builtin_fabs(*out) < 1e300;
}

enum often_key { OFTEN_COUNT, OFTEN_WINDOW };
static const char *const often_keys[] = {"count", "window_ms", NULL};

GL_COLD bool read_often(config_value v, uint32_t fewest, often *out) {
    config_iter it;
    uint32_t seen = 0;
    if (!config_object(v, &it)) return false;
    while (config_next(&it)) {
        bool good = false;
        switch (config_key(&it, often_keys, &seen)) {
        case OFTEN_COUNT: good = config_uint(it.value, fewest, 1000000, &out->count); break;
        case OFTEN_WINDOW: good = config_uint(it.value, 1, MAX_MS, &out->window_ms); break;
        }
        if (!good) return false;
    }
    return seen == (1u << OFTEN_COUNT | 1u << OFTEN_WINDOW);
}

enum key { PATH, WINDOW, MAX_JITTER, MIN_SAMPLES, SCALE, ACTION, HEADER, ON_INVALID, MIN, MAX, MAX_RATE, MAX_GAP, STUCK_FOR, ROUTE };
static const char *const config_keys[] = {"path", "window", "max_jitter", "min_samples", "scale", "action", "header",
                                          "on_invalid", "min", "max", "max_rate", "max_gap_ms", "stuck", "route", NULL};

GL_COLD bool read_member(const config_iter *it, int32_t key) {
    static const char *const actions[] = {"alarm", "drop", "reject", "route", NULL};
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
    case MIN: return read_number(it->value, &least);
    case MAX: return read_number(it->value, &most);
    case MAX_RATE: return read_often(it->value, 1, &max_rate);
    case MAX_GAP: return config_uint(it->value, 1, MAX_MS, &max_gap_ms);
    case STUCK_FOR: return read_often(it->value, 2, &stuck);
    case ROUTE: return config_uint(it->value, 0, 63, &route);
    }
    return false;
}

GL_COLD int32_t init(const uint8_t *p, uint32_t len) {
    config_value root;
    config_iter it;
    uint32_t seen = 0, mean = 1u << WINDOW | 1u << MAX_JITTER;
    uint32_t judges = 1u << MIN | 1u << MAX | mean | 1u << MAX_RATE | 1u << MAX_GAP | 1u << STUCK_FOR;
    header = (config_text){(const uint8_t *)"guardlock-sensor-alarm", 22};
    if (!config_open(p, len, &root) || !config_object(root, &it)) return 1;
    while (config_next(&it))
        if (!read_member(&it, config_key(&it, config_keys, &seen))) return 2;
    if (!(seen >> PATH & 1) || (seen & judges) == 0 || !paths_build()) return 3;
    bool with_mean = (seen & mean) == mean;
    if (!with_mean && (seen & (mean | 1u << MIN_SAMPLES | 1u << SCALE)) != 0) return 4;
    if (!(seen >> MIN_SAMPLES & 1)) min_samples = window < 4 ? window : 4;
    if (min_samples > window || least > most) return 5;
    return (seen >> ROUTE & 1) && action != ACT_ROUTE ? 6 : 0;
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

// ---- what the host counts ----

// counted makes the key that the host counts by: what is counted, the device, and
// then what may be added.
typedef struct counted {
    uint32_t len;
    uint8_t bytes[1024 + GL_SLACK];
} counted;

static void begin_counted(counted *k, uint8_t what, const gl_record *r) {
    uint32_t n = r->flags & GL_KEY_NULL ? 0 : r->key_len;
    k->bytes[0] = what;
    k->bytes[1] = (r->flags & GL_KEY_NULL) != 0;
    gl_copy(k->bytes + 2, r->key, n);
    k->len = n + 2;
}

// is_stuck tells whether the device gave these readings, and no others, for long
// enough. Readings are hashed: two lists that are one hash would need 2^32 tries.
static bool is_stuck(const gl_record *r, const readings *s) {
    static counted k;
    uint64_t hash = mix(0x452821e638d01377ull, s->count), bits;
    for (uint32_t i = 0; i < s->count; i++) {
        __builtin_memcpy(&bits, &s->x[i], 8);
        hash = mix(hash, bits);
    }
    begin_counted(&k, 'd', r);
    int32_t all = gl_count(r->src, k.bytes, k.len, stuck.window_ms);
    begin_counted(&k, 'v', r);
    gl_copy(k.bytes + k.len, &hash, 8);
    int32_t same = gl_count(r->src, k.bytes, k.len + 8, stuck.window_ms);
    return same >= 0 && (uint32_t)same >= stuck.count && same == all;
}

static uint32_t judge_times(const gl_record *r, const readings *s) {
    static counted k;
    uint32_t alarms = 0;
    if (max_rate.count != 0) {
        begin_counted(&k, 'r', r);
        int32_t n = gl_count(r->src, k.bytes, k.len, max_rate.window_ms);
        if (n > 0 && (uint32_t)n > max_rate.count) alarms |= RATE;
    }
    if (max_gap_ms != 0) {
        begin_counted(&k, 'g', r);
        int32_t ago = gl_seen(r->src, k.bytes, k.len);
        if (ago > 0 && (uint32_t)ago > max_gap_ms) alarms |= GAP;
    }
    if (stuck.count != 0 && is_stuck(r, s)) alarms |= STUCK;
    return alarms;
}

static uint32_t judge(const gl_record *r, const readings *s) {
    uint32_t alarms = 0;
    for (uint32_t i = 0; i < s->count; i++)
        if (s->x[i] < least || s->x[i] > most) alarms |= RANGE;
    if (window != 0) {
        device *d = find_device(r);
        for (uint32_t i = 0; i < s->count; i++)
            if (observe(d, s->x[i])) alarms |= JITTER;
    }
    return alarms | judge_times(r, s);
}

// put_alarms writes the names of alarms and returns their length.
static uint32_t put_alarms(uint8_t *dst, uint32_t alarms) {
    uint8_t *p = dst;
    for (uint32_t i = 0; i < 5; i++) {
        if (!(alarms >> i & 1)) continue;
        if (p != dst) *p++ = ',';
        for (const char *name = alarm_names[i]; *name != 0; name++) *p++ = (uint8_t)*name;
    }
    return (uint32_t)(p - dst);
}

// enough_room is asked once per call, before any state changes: a call that
// ends in GL_ERR_SPACE is made again and must not count its readings twice.
GL_COLD bool enough_room(const gl_call *c) {
    const gl_record *in = (const gl_record *)c->frame->in_desc;
    uint64_t need = 0;
    for (uint32_t i = 0; i < c->frame->in_count; i++) need += in[i].headers_len + header.len + MAX_ALARM + 15;
    return need <= c->cap;
}

static inline int32_t clean(gl_call *c, gl_record *r) {
    int32_t rc = gl_set_header(c, r, header.p, header.len, NULL, 0);
    if (rc == GL_OK && (r->flags & GL_HEADERS_REPLACED)) gl_modified(r, REASON_HEADER_REMOVED);
    return rc;
}

// raise does with a record what is to be done with alarms.
static int32_t raise(gl_call *c, gl_record *r, uint32_t alarms) {
    static uint8_t text[MAX_ALARM + GL_SLACK];
    uint32_t reason = REASON_RANGE + (uint32_t)__builtin_ctz(alarms), len = put_alarms(text, alarms);
    if (action == ACT_DROP) return gl_drop(r, reason);
    if (action == ACT_REJECT) return gl_reject(r, reason);
    if (action == ACT_ROUTE) gl_route(r, route, reason);
    else gl_modified(r, reason);
    return gl_set_header(c, r, header.p, header.len, text, len);
}

static int32_t transform(gl_call *c, gl_record *r) {
    static readings s;
    if (r->src == 0 && !enough_room(c)) return GL_ERR_SPACE;
    if (r->flags & GL_VALUE_NULL) return clean(c, r);
    uint32_t fault = !(r->flags & GL_KEY_NULL) && r->key_len > MAX_KEY ? REASON_KEY : read(r, &s);
    if (fault != 0) return pass_invalid && fault != REASON_TOO_DEEP && fault != REASON_KEY ? clean(c, r) : gl_reject(r, fault);
    uint32_t alarms = judge(r, &s);
    return alarms == 0 ? clean(c, r) : raise(c, r, alarms);
}

GUARDLOCK_INIT(init)
GUARDLOCK_TRANSFORM(transform)
