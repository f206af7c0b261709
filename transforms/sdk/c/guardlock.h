// guardlock.h: the C SDK for Guardlock transforms, guest ABI v1.
//
// One header, no libc, no start code. A transform includes it in exactly one
// C file, names its reasons, writes a function from record to record, and is
// compiled for wasm32-freestanding with simd128 and bulk-memory:
//
//     #define REASONS(FIRST, NEXT) FIRST(TOO_OLD, "demo.too_old") NEXT(BAD, "demo.bad")
//     GUARDLOCK_REASONS(REASONS)
//     static int32_t check(gl_call *call, gl_record *r) {
//         if (r->timestamp_ms < 0) return gl_reject(r, TOO_OLD);
//         return GL_OK;
//     }
//     GUARDLOCK_TRANSFORM(check)
//
// The record starts as a copy of the input's descriptor, so returning GL_OK
// without touching it passes the record through, byte for byte. New bytes are
// written in the call's arena (gl_take) and pointed to by the descriptor, or by
// edits of its value (gl_edit).
//
// Trust: every length and pointer in the frame and in the input descriptors
// comes from the host and is believed; every byte of a key, value or header
// comes from a producer and is not.
#ifndef GUARDLOCK_H
#define GUARDLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <wasm_simd128.h>

#define GL_INLINE static inline __attribute__((always_inline))
#define GL_COLD static __attribute__((noinline, cold, unused))
#define GL_EXPORT(name) __attribute__((export_name(name), visibility("default")))
#define GL_IMPORT(module, name) __attribute__((import_module(module), import_name(name)))
#define GL_LIKELY(x) __builtin_expect(!!(x), 1)
#define GL_UNLIKELY(x) __builtin_expect(!!(x), 0)

// What a transform function returns for one record. Anything below zero ends
// the whole call and is returned to the host as it is.
enum {
    GL_OK = 0,
    GL_ERR_INTERNAL = -1,  // the host fails the batch
    GL_ERR_SPACE = -2,     // the host gives a larger arena and calls once more
    GL_ERR_REJECT = -3,    // refuse the batch: frame.err_index and frame.reserved say why
    GL_ERR_VERSION = -4,
    GL_ERR_MALFORMED = -5,
};

// Bits of gl_record.flags.
enum { GL_KEY_NULL = 1, GL_VALUE_NULL = 2, GL_HEADERS_REPLACED = 4, GL_EDITS = 8 };

// Verdicts, in the low byte of gl_record.status.
enum { GL_PASS = 0, GL_REJECT = 1, GL_DROP = 2, GL_ROUTE = 3 };

// gl_frame describes one call. The host writes it; the guest writes out_count,
// arena_used and, for GL_ERR_REJECT, err_index and reserved (the reason).
typedef struct gl_frame {
    uint32_t size, flags;
    uint32_t in_desc, in_count;
    uint32_t out_desc, out_cap, out_count;
    uint32_t arena, arena_cap, arena_used;
    uint32_t topic_id, partition;
    int64_t base_offset_hint;
    uint32_t err_index, reserved;
} gl_frame;
_Static_assert(sizeof(gl_frame) == 64, "the frame is 64 bytes in ABI v1");

// Behind the frame, where its size says that there is more: what else the host takes.
enum { GL_FEATURE_EDITS = 1 };
GL_INLINE uint32_t gl_features(const gl_frame *f) {
    return f->size >= sizeof(gl_frame) + 4 ? *(const uint32_t *)(f + 1) : 0;
}

// gl_record is one descriptor, on the way in and on the way out. Pointers are
// linear memory addresses; headers are Kafka's raw header block (a varint
// count, then the entries).
typedef struct gl_record {
    uint32_t flags;
    uint32_t src;
    int64_t timestamp_ms;
    uint8_t *key;
    uint32_t key_len;
    uint8_t *value;
    uint32_t value_len;
    uint8_t *headers;
    uint32_t headers_len;
    uint32_t topic_idx;
    uint32_t status;
} gl_record;
_Static_assert(sizeof(gl_record) == 48, "a descriptor is 48 bytes in ABI v1");

// gl_edit_entry is one edit of a value: len bytes from at on become bytes_len others.
typedef struct gl_edit_entry {
    uint32_t at, len;
    const uint8_t *bytes;
    uint32_t bytes_len;
} gl_edit_entry;
_Static_assert(sizeof(gl_edit_entry) == 16, "an edit is 16 bytes");

// gl_call is one call's output arena. New bytes fill it from its start; the edits of
// a record from its end, the first one last.
typedef struct gl_call {
    gl_frame *frame;
    uint8_t *base;
    uint32_t used, cap;
    uint32_t edits;  // of the record at hand
} gl_call;

// ---- verdicts ----

GL_INLINE int32_t gl_verdict(gl_record *r, uint32_t verdict, uint32_t reason) {
    r->status = verdict | reason << 16;
    return GL_OK;
}
GL_INLINE int32_t gl_modified(gl_record *r, uint32_t reason) { return gl_verdict(r, GL_PASS, reason); }
GL_INLINE int32_t gl_reject(gl_record *r, uint32_t reason) { return gl_verdict(r, GL_REJECT, reason); }
GL_INLINE int32_t gl_drop(gl_record *r, uint32_t reason) { return gl_verdict(r, GL_DROP, reason); }
// gl_route sends the record to route (an index into the routes of the grant).
GL_INLINE int32_t gl_route(gl_record *r, uint32_t route, uint32_t reason) {
    r->topic_idx = route + 1;
    return gl_verdict(r, GL_ROUTE, reason);
}

// ---- reasons ----

// GUARDLOCK_REASONS(LIST) declares an enum of the reasons, from 1, and puts
// their names into the custom section that makes them part of the module's
// digest. LIST takes two macros: FIRST for the first entry, NEXT for the others.
#define GL_REASON_ENUM(id, name) REASON_##id,
#define GL_REASON_FIRST(id, name) name
#define GL_REASON_NEXT(id, name) "\\n" name
#define GUARDLOCK_REASONS(LIST)                                             \
    enum { REASON_UNSPECIFIED = 0, LIST(GL_REASON_ENUM, GL_REASON_ENUM) REASON_COUNT }; \
    __asm__(".section .custom_section.guardlock.reasons,\"\",@\n"           \
            ".ascii \"" LIST(GL_REASON_FIRST, GL_REASON_NEXT) "\"\n");

// GUARDLOCK_METRICS(LIST) declares, in the same way, what gl_metric counts.
#define GL_METRIC_ENUM(id, name) METRIC_##id,
#define GUARDLOCK_METRICS(LIST)                                             \
    enum { METRIC_NONE = 0, LIST(GL_METRIC_ENUM, GL_METRIC_ENUM) METRIC_COUNT }; \
    __asm__(".section .custom_section.guardlock.metrics,\"\",@\n"           \
            ".ascii \"" LIST(GL_REASON_FIRST, GL_REASON_NEXT) "\"\n");

// ---- host functions ----
// Each is its own import, and only those that a module calls end up in it: an
// approval grants them one by one. Keys are handles; their bytes never enter
// guest memory. docs/host-functions.md says what each does.

// What a host function answers when it does not do what it was asked.
enum {
    GL_BAD_ARGUMENTS = -1,  // a pointer, length or argument is out of range
    GL_TOO_SMALL = -2,      // the output does not fit
    GL_UNKNOWN = -3,        // no such key or table in the grant
    GL_FAILED = -5,
    GL_NOT_OPENED = -6,     // not sealed with this key, for this topic and purpose
    GL_SMALL_DOMAIN = -7,   // fewer than a million values for FF1
    GL_NOT_FOUND = -8,      // no such row; a key that was not seen
    GL_STALE = -9,          // the table is older than it may be
};

GL_IMPORT("guardlock_crypto", "sha256")
int32_t gl_sha256(const void *p, uint32_t len, void *out32);
GL_IMPORT("guardlock_crypto", "hmac_sha256")
int32_t gl_hmac_sha256(uint32_t key, const void *p, uint32_t len, void *out32);
// gl_aes_gcm_seal and gl_aes_gcm_open make and read envelopes (docs/envelope.md) for the record's
// topic and for a purpose, such as the name of a field. An envelope is GL_ENVELOPE_OVERHEAD longer.
#define GL_ENVELOPE_OVERHEAD 53
GL_IMPORT("guardlock_crypto", "aes_gcm_seal")
int32_t gl_aes_gcm_seal(uint32_t key, const void *p, uint32_t len, const void *purpose, uint32_t purpose_len, void *out, uint32_t out_cap);
GL_IMPORT("guardlock_crypto", "aes_gcm_open")
int32_t gl_aes_gcm_open(uint32_t key, const void *p, uint32_t len, const void *purpose, uint32_t purpose_len, void *out, uint32_t out_cap);
// gl_ff1_encrypt and gl_ff1_decrypt turn len characters into as many others of the radix's
// alphabet: 10, 16 (0-9a-f), 26 (a-z), 36 (0-9a-z), 52 (A-Za-z) or 62.
GL_IMPORT("guardlock_crypto", "ff1_encrypt")
int32_t gl_ff1_encrypt(uint32_t key, const void *p, uint32_t len, uint32_t radix, const void *purpose, uint32_t purpose_len,
                       const void *tweak, uint32_t tweak_len, void *out);
GL_IMPORT("guardlock_crypto", "ff1_decrypt")
int32_t gl_ff1_decrypt(uint32_t key, const void *p, uint32_t len, uint32_t radix, const void *purpose, uint32_t purpose_len,
                       const void *tweak, uint32_t tweak_len, void *out);
// gl_tokenise writes GL_TOKEN_BYTES: the same for the same key, purpose and value.
#define GL_TOKEN_BYTES 30
GL_IMPORT("guardlock_crypto", "tokenise")
int32_t gl_tokenise(uint32_t key, const void *p, uint32_t len, const void *purpose, uint32_t purpose_len, void *out, uint32_t out_cap);
GL_IMPORT("guardlock_compress", "gzip")
int32_t gl_gzip(const void *p, uint32_t len, void *out, uint32_t out_cap);
GL_IMPORT("guardlock_compress", "zstd")
int32_t gl_zstd(const void *p, uint32_t len, void *out, uint32_t out_cap);
GL_IMPORT("guardlock_compress", "snappy")
int32_t gl_snappy(const void *p, uint32_t len, void *out, uint32_t out_cap);
GL_IMPORT("guardlock_compress", "lz4")
int32_t gl_lz4(const void *p, uint32_t len, void *out, uint32_t out_cap);
GL_IMPORT("guardlock_compress", "gunzip")
int32_t gl_gunzip(const void *p, uint32_t len, void *out, uint32_t out_cap);
GL_IMPORT("guardlock_compress", "unzstd")
int32_t gl_unzstd(const void *p, uint32_t len, void *out, uint32_t out_cap);
GL_IMPORT("guardlock_compress", "unsnappy")
int32_t gl_unsnappy(const void *p, uint32_t len, void *out, uint32_t out_cap);
GL_IMPORT("guardlock_compress", "unlz4")
int32_t gl_unlz4(const void *p, uint32_t len, void *out, uint32_t out_cap);
// gl_json_find writes offset and length of each value to which a JSON path leads, and
// gl_json_replace the edits that put new bytes for them: what gl_edit takes. Both answer
// how many. out_cap is in bytes (docs/host-functions.md).
typedef struct gl_json_place {
    uint32_t at, len;
} gl_json_place;
GL_IMPORT("guardlock_json", "find")
int32_t gl_json_find(const void *p, uint32_t len, const void *path, uint32_t path_len, gl_json_place *out, uint32_t out_cap);
GL_IMPORT("guardlock_json", "replace")
int32_t gl_json_replace(const void *p, uint32_t len, const void *path, uint32_t path_len, const void *bytes, uint32_t bytes_len, gl_edit_entry *out, uint32_t out_cap);
// gl_count counts a key at the time of a record (the index of its descriptor, r->src) and
// answers how often it came in the window that ends there. gl_seen answers how many
// milliseconds after the last one it is, GL_NOT_FOUND if there was none, and gl_since for
// how many before the record nothing was forgotten.
GL_IMPORT("guardlock_state", "count")
int32_t gl_count(uint32_t record, const void *key, uint32_t len, uint32_t window_ms);
GL_IMPORT("guardlock_state", "seen")
int32_t gl_seen(uint32_t record, const void *key, uint32_t len);
GL_IMPORT("guardlock_state", "since")
int32_t gl_since(uint32_t record);
// gl_lookup finds a row of a table and writes the values of columns, whose names stand a line
// each: for each its length (four bytes, GL_NO_VALUE for none), then its bytes.
#define GL_NO_VALUE 0xffffffffu
GL_IMPORT("guardlock_lookup", "find")
int32_t gl_lookup(const void *table, uint32_t table_len, const void *key, uint32_t key_len,
                  const void *columns, uint32_t columns_len, void *out, uint32_t out_cap);
// gl_log writes a catalogue entry, never text: record bytes cannot reach a log.
GL_IMPORT("guardlock_log", "log")
void gl_log(uint32_t level, uint32_t reason);
// gl_metric counts up a METRIC_ of GUARDLOCK_METRICS, by 1024 at most.
GL_IMPORT("guardlock_metric", "add")
void gl_metric(uint32_t metric, uint32_t amount);

// ---- memory ----

// Every allocation is followed by GL_SLACK bytes that belong to nobody, so a
// vector load that starts inside an allocation never leaves linear memory.
#define GL_SLACK 64u

extern uint8_t __heap_base;
static uintptr_t gl_heap_next;

// gl_alloc returns size bytes, zeroed when never used before, or NULL when
// memory cannot grow. There is no free: the host asks for arenas when it starts
// an instance and when one must double.
GL_COLD void *gl_alloc(uint32_t size, uint32_t align) {
    if (align < 16) align = 16;
    if ((align & (align - 1)) != 0) return NULL;
    uint64_t at = gl_heap_next ? gl_heap_next : (uintptr_t)&__heap_base;
    at = (at + align - 1) & ~(uint64_t)(align - 1);
    uint64_t end = at + size + GL_SLACK;
    uint64_t have = (uint64_t)__builtin_wasm_memory_size(0) << 16;
    if (end > UINT32_MAX) return NULL;
    if (end > have && __builtin_wasm_memory_grow(0, (end - have + 65535) >> 16) == SIZE_MAX) return NULL;
    gl_heap_next = (uintptr_t)end;
    return (void *)(uintptr_t)at;
}

GL_INLINE void gl_copy(void *dst, const void *src, uint32_t n) { __builtin_memcpy(dst, src, n); }

// gl_find returns the first c in p[:n], or NULL. It may read GL_SLACK bytes on.
static inline const uint8_t *gl_find(const uint8_t *p, uint32_t n, uint8_t c) {
    v128_t want = wasm_i8x16_splat((int8_t)c);
    for (uint32_t i = 0; i < n; i += 16) {
        uint32_t hit = wasm_i8x16_bitmask(wasm_i8x16_eq(wasm_v128_load(p + i), want));
        if (hit == 0) continue;
        i += (uint32_t)__builtin_ctz(hit);
        return i < n ? p + i : NULL;
    }
    return NULL;
}

// gl_equal compares n bytes. It may read GL_SLACK bytes beyond either.
GL_INLINE bool gl_equal(const uint8_t *a, const uint8_t *b, uint32_t n) {
    for (uint32_t i = 0; i < n; i += 16) {
        uint32_t same = wasm_i8x16_bitmask(wasm_i8x16_eq(wasm_v128_load(a + i), wasm_v128_load(b + i)));
        if (n - i < 16) same |= 0xffffu << (n - i);
        if ((same & 0xffff) != 0xffff) return false;
    }
    return true;
}

// gl_room returns where the next n bytes of output may be written, or NULL:
// the caller answers GL_ERR_SPACE. gl_take also uses them up.
GL_INLINE uint8_t *gl_room(gl_call *c, uint32_t n) {
    return n <= c->cap - c->used ? c->base + c->used : NULL;
}
GL_INLINE uint8_t *gl_take(gl_call *c, uint32_t n) {
    uint8_t *p = gl_room(c, n);
    if (p) c->used += n;
    return p;
}

// ---- edits ----

// gl_edit replaces len bytes of the record's value, from at on, by n others, which stay
// where they are until the call ends: in the arena, in the input or in the module.
// Edits ascend and do not overlap. They are of the value as it came, so a transform
// does not set r->value as well. They cost a fraction of a whole new value.
GL_INLINE int32_t gl_edit(gl_call *c, uint32_t at, uint32_t len, const uint8_t *bytes, uint32_t n) {
    if (GL_UNLIKELY(c->cap - c->used < sizeof(gl_edit_entry))) return GL_ERR_SPACE;
    c->cap -= sizeof(gl_edit_entry);
    c->edits++;
    *(gl_edit_entry *)(c->base + c->cap) = (gl_edit_entry){at, len, bytes, n};
    return GL_OK;
}

// gl_unedit takes back the last n edits of the record.
GL_INLINE void gl_unedit(gl_call *c, uint32_t n) {
    c->cap += n * (uint32_t)sizeof(gl_edit_entry);
    c->edits -= n;
}

// gl_last_edit is the last edit of the record, or NULL.
GL_INLINE const gl_edit_entry *gl_last_edit(const gl_call *c) {
    return c->edits ? (const gl_edit_entry *)(c->base + c->cap) : NULL;
}

// gl_splice writes the whole value that edits make, for a host that takes no edits.
GL_COLD int32_t gl_splice(gl_call *c, gl_record *r, const gl_edit_entry *list, uint32_t n) {
    uint64_t size = r->value_len;
    for (uint32_t i = 0; i < n; i++) size += (uint64_t)list[i].bytes_len - list[i].len;
    uint8_t *p = size <= c->cap ? gl_take(c, (uint32_t)size) : NULL;
    if (p == NULL) return GL_ERR_SPACE;
    const uint8_t *from = r->value;
    r->value = p;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        gl_copy(p, from + kept, list[i].at - kept);
        p += list[i].at - kept;
        gl_copy(p, list[i].bytes, list[i].bytes_len);
        p += list[i].bytes_len;
        kept = list[i].at + list[i].len;
    }
    gl_copy(p, from + kept, r->value_len - kept);
    r->value_len = (uint32_t)size;
    return GL_OK;
}

// gl_put_edits makes the record's edits its value.
GL_INLINE int32_t gl_put_edits(gl_call *c, gl_record *r) {
    gl_edit_entry *list = (gl_edit_entry *)(c->base + c->cap);
    uint32_t n = c->edits;
    c->edits = 0;
    for (uint32_t i = 0; i < n / 2; i++) {
        gl_edit_entry first = list[i];
        list[i] = list[n - 1 - i];
        list[n - 1 - i] = first;
    }
    if (GL_UNLIKELY((gl_features(c->frame) & GL_FEATURE_EDITS) == 0)) return gl_splice(c, r, list, n);
    r->value = (uint8_t *)list;
    r->value_len = n * (uint32_t)sizeof(gl_edit_entry);
    r->flags |= GL_EDITS;
    return GL_OK;
}

// ---- header blocks ----

// gl_varint reads Kafka's zigzag varint at *p, before end, and moves *p on.
// It returns false on overrun or on more than five bytes.
static inline bool gl_varint(const uint8_t **p, const uint8_t *end, int32_t *out) {
    uint32_t u = 0;
    for (uint32_t shift = 0; shift < 35; shift += 7) {
        if (*p >= end) return false;
        uint8_t b = *(*p)++;
        u |= (uint32_t)(b & 0x7f) << shift;
        if (b < 0x80) {
            *out = (int32_t)(u >> 1 ^ (0 - (u & 1)));
            return true;
        }
    }
    return false;
}

static inline uint8_t *gl_put_varint(uint8_t *p, int32_t v) {
    uint32_t u = (uint32_t)v << 1 ^ (uint32_t)(v >> 31);
    for (; u >= 0x80; u >>= 7) *p++ = (uint8_t)(u | 0x80);
    *p++ = (uint8_t)u;
    return p;
}

// gl_header is one entry of a header block, and a cursor over it.
typedef struct gl_header {
    const uint8_t *entry;  // the whole entry, for copying
    const uint8_t *key;
    uint32_t key_len;
    const uint8_t *value;  // NULL for null
    uint32_t value_len;
    const uint8_t *next, *end;
    int32_t left;
} gl_header;

// gl_headers opens a cursor over a record's headers; false if malformed.
static inline bool gl_headers(const gl_record *r, gl_header *h) {
    h->next = r->headers;
    h->end = r->headers + r->headers_len;
    if (r->headers_len == 0) {
        h->left = 0;
        return true;
    }
    return gl_varint(&h->next, h->end, &h->left) && h->left >= 0;
}

// gl_next_header steps: 1 an entry, 0 the end, GL_ERR_MALFORMED otherwise.
static inline int32_t gl_next_header(gl_header *h) {
    if (h->left == 0) return h->next == h->end ? 0 : GL_ERR_MALFORMED;
    int32_t n;
    h->left--;
    h->entry = h->next;
    if (!gl_varint(&h->next, h->end, &n) || n < 0 || n > h->end - h->next) return GL_ERR_MALFORMED;
    h->key = h->next;
    h->key_len = (uint32_t)n;
    h->next += n;
    if (!gl_varint(&h->next, h->end, &n) || n < -1 || n > h->end - h->next) return GL_ERR_MALFORMED;
    h->value = n < 0 ? NULL : h->next;
    h->value_len = n < 0 ? 0 : (uint32_t)n;
    h->next += h->value_len;
    return 1;
}

// gl_count_headers counts the entries, and in *same those named name.
static inline int32_t gl_count_headers(const gl_record *r, const uint8_t *name, uint32_t len, int32_t *same) {
    gl_header h;
    int32_t n = 0, step;
    *same = 0;
    if (!gl_headers(r, &h)) return GL_ERR_MALFORMED;
    while ((step = gl_next_header(&h)) == 1) {
        n++;
        if (h.key_len == len && gl_equal(h.key, name, len)) ++*same;
    }
    return step < 0 ? step : n;
}

// gl_set_header rewrites the header block so that name occurs once, last, with
// the given value; a NULL value only takes the name away. Every other header
// stays, in order, duplicates included: a producer cannot forge name. The value
// may not overlap the arena.
GL_COLD int32_t gl_set_header(gl_call *c, gl_record *r, const uint8_t *name, uint32_t name_len,
                              const uint8_t *value, uint32_t value_len) {
    int32_t same, n = gl_count_headers(r, name, name_len, &same);
    if (n < 0) return n;
    if (same == 0 && value == NULL) return GL_OK;
    uint8_t *start = gl_room(c, r->headers_len + name_len + value_len + 15);
    if (start == NULL) return GL_ERR_SPACE;
    uint8_t *p = gl_put_varint(start, n - same + (value != NULL));
    gl_header h;
    gl_headers(r, &h);
    while (gl_next_header(&h) == 1) {
        if (h.key_len == name_len && gl_equal(h.key, name, name_len)) continue;
        gl_copy(p, h.entry, (uint32_t)(h.next - h.entry));
        p += h.next - h.entry;
    }
    if (value != NULL) {
        p = gl_put_varint(p, (int32_t)name_len);
        gl_copy(p, name, name_len);
        p = gl_put_varint(p + name_len, (int32_t)value_len);
        gl_copy(p, value, value_len);
        p += value_len;
    }
    c->used += (uint32_t)(p - start);
    r->headers = start;
    r->headers_len = (uint32_t)(p - start);
    r->flags |= GL_HEADERS_REPLACED;
    return GL_OK;
}

// ---- exports ----

// GUARDLOCK_TRANSFORM(fn) exports the ABI for int32_t fn(gl_call *, gl_record *),
// which is called once per record, in order.
#define GUARDLOCK_TRANSFORM(fn)                                                            \
    GL_EXPORT("guardlock_alloc") void *guardlock_alloc(uint32_t size, uint32_t align) {    \
        return gl_alloc(size, align);                                                      \
    }                                                                                      \
    GL_EXPORT("guardlock_transform_v1") int32_t guardlock_transform_v1(gl_frame *f) {      \
        return gl_run(f, fn);                                                              \
    }

// GUARDLOCK_INIT(fn) exports int32_t fn(const uint8_t *config, uint32_t len),
// called once before any record; anything but 0 refuses the configuration.
#define GUARDLOCK_INIT(fn) \
    GL_EXPORT("guardlock_init_v1") int32_t guardlock_init_v1(uint8_t *p, uint32_t n) { return fn(p, n); }

// gl_want guesses the arena that a record alone in its call needs, of which the last
// edit tells how far the transform got: 0, for twice as much, where it tells too little.
GL_COLD uint32_t gl_want(const gl_call *c, const gl_record *r) {
    const gl_edit_entry *last = gl_last_edit(c);
    uint32_t at = last ? last->at + last->len : 0;
    if (c->frame->in_count > 1 || at < r->value_len / 256 || at == 0) return 0;
    uint64_t want = (uint64_t)(c->frame->arena_cap - (c->cap - c->used)) * r->value_len / at;
    want += want / 32 + 4096;
    return want <= UINT32_MAX ? (uint32_t)want : 0;
}

GL_INLINE int32_t gl_run(gl_frame *f, int32_t (*fn)(gl_call *, gl_record *)) {
    if (f->size < sizeof(gl_frame)) return GL_ERR_VERSION;
    if (f->out_cap < f->in_count) return GL_ERR_SPACE;
    const gl_record *in = (const gl_record *)f->in_desc;
    gl_record *out = (gl_record *)f->out_desc;
    uint32_t count = f->in_count;
    gl_call call = {f, (uint8_t *)f->arena, 0, f->arena_cap & ~15u, 0};
    for (uint32_t i = 0; i < count; i++) {
        gl_record r = in[i];
        r.src = i;
        r.topic_idx = 0;
        r.status = GL_PASS;
        int32_t rc = fn(&call, &r);
        if (call.edits > 0 && rc >= 0) rc = gl_put_edits(&call, &r);
        if (GL_UNLIKELY(rc < 0)) {
            f->err_index = i;
            if (rc == GL_ERR_SPACE) f->arena_used = gl_want(&call, &in[i]);
            return rc;
        }
        out[i] = r;
    }
    f->out_count = count;
    f->arena_used = call.used;
    return (int32_t)count;
}

#endif
