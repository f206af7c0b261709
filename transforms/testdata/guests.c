// The guests of the benchmarks and of some tests, one for each value of GUEST.
// build.sh has the commands.
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

typedef struct {
    u32 size, flags, in_desc, in_count, out_desc, out_cap, out_count, arena;
    u32 arena_cap, arena_used, topic, partition;
    u64 base_offset;
    u32 err_index, err_reason;
} frame;

typedef struct {
    u32 flags, src;
    u64 timestamp;
    u32 key, key_len, val, val_len, hdr, hdr_len, topic, status;
} desc;

extern u8 __heap_base;
static u32 heap;

__attribute__((export_name("guardlock_alloc"))) u32 alloc(u32 size, u32 align) {
    if (heap == 0) heap = (u32)&__heap_base;
    u32 at = (heap + align - 1) & -align;
    u32 end = at + size;
    u32 have = __builtin_wasm_memory_size(0) << 16;
    if (end > have && __builtin_wasm_memory_grow(0, (end - have + 65535) >> 16) == (u32)-1) return 0;
    heap = end;
    return at;
}

#if GUEST == 0
// copy: every record passes.
static int one(frame *f, desc *d) { return 0; }
#elif GUEST == 1
// upper: ASCII letters of the value become capitals, in the arena.
static int one(frame *f, desc *d) {
    u32 n = d->val_len;
    if (n > f->arena_cap - f->arena_used) return -2;
    u8 *in = (u8 *)d->val, *out = (u8 *)(f->arena + f->arena_used);
    for (u32 i = 0; i < n; i++) {
        u8 c = in[i];
        out[i] = (u8)(c - 'a') < 26 ? c - 32 : c;
    }
    f->arena_used += n;
    d->val = (u32)out;
    return 0;
}
#else
// parse: a walk over the value with a call for each byte, the way of an
// interpreter or a parser; the value stays.
static volatile u32 sink;
__attribute__((noinline)) u32 step(u32 state, u8 c) {
    switch (state) {
    case 0: return c == '"' ? 1 : c == '{' ? 2 : 0;
    case 1: return c == '"' ? 0 : c == '\\' ? 3 : 1;
    case 2: return c == '}' ? 0 : 2;
    }
    return 1;
}
__attribute__((noinline)) u32 walk(u32 state, const u8 *p, u32 n) {
    for (u32 i = 0; i < n; i++) state = step(state, p[i]);
    return state;
}
static int one(frame *f, desc *d) {
    sink = walk(0, (const u8 *)d->val, d->val_len);
    return 0;
}
#endif

__attribute__((export_name("guardlock_transform_v1"))) int transform(frame *f) {
    desc *in = (desc *)f->in_desc, *out = (desc *)f->out_desc;
    for (u32 i = 0; i < f->in_count; i++) {
        out[i] = in[i];
        int e = one(f, &out[i]);
        if (e < 0) return e;
    }
    return (int)f->in_count;
}
