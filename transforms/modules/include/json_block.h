// json_block.h: containers, validated 64 bytes at a time.
//
// Token by token, each one waits for the end of the one before it: about 25 cycles a
// token, whatever a compiler makes of it. Here a word has a bit per byte, and what may
// stand next to what is asked of 64 bytes at once; only brackets are gone through one
// by one.
//
// A scan accepts, or it does not know: then the scanner of tokens is asked, and its answer
// and fault count. A block reads up to 63 bytes behind the text, which GL_SLACK allows.
// Included by json.h.
#ifndef GUARDLOCK_JSON_BLOCK_H
#define GUARDLOCK_JSON_BLOCK_H

// ---- masks: bit i is of byte i ----

#define JSON_MASK(is, v) json_mask(is(v.a), is(v.b), is(v.c), is(v.d))

GL_INLINE uint64_t json_mask(v128_t a, v128_t b, v128_t c, v128_t d) {
    uint32_t low = wasm_i8x16_bitmask(a) | wasm_i8x16_bitmask(b) << 16;
    uint32_t high = wasm_i8x16_bitmask(c) | wasm_i8x16_bitmask(d) << 16;
    return (uint64_t)high << 32 | low;
}

GL_INLINE v128_t json_is(v128_t v, char c) { return wasm_i8x16_eq(v, wasm_i8x16_splat(c)); }
GL_INLINE v128_t json_is_quote(v128_t v) { return json_is(v, '"'); }
GL_INLINE v128_t json_is_backslash(v128_t v) { return json_is(v, '\\'); }
GL_INLINE v128_t json_is_comma(v128_t v) { return json_is(v, ','); }
GL_INLINE v128_t json_is_colon(v128_t v) { return json_is(v, ':'); }
GL_INLINE v128_t json_is_dot_or_zero(v128_t v) { return wasm_v128_or(json_is(v, '.'), json_is(v, '0')); }
GL_INLINE v128_t json_is_control(v128_t v) { return wasm_i8x16_eq(wasm_u8x16_min(v, wasm_i8x16_splat(0x1f)), v); }
GL_INLINE v128_t json_is_white(v128_t v) {
    return wasm_v128_or(wasm_v128_or(json_is(v, ' '), json_is(v, '\n')), wasm_v128_or(json_is(v, '\r'), json_is(v, '\t')));
}

// json_is_digit moves the digits to the greatest of signed bytes, which the engine
// compares in one instruction.
GL_INLINE v128_t json_is_digit(v128_t v) {
    return wasm_i8x16_gt(wasm_i8x16_add(v, wasm_i8x16_splat(0x7f - '9')), wasm_i8x16_splat(0x7f - 10));
}

GL_INLINE v128_t json_is_opening(v128_t v) { return json_is(wasm_v128_or(v, wasm_i8x16_splat(0x20)), '{'); }
GL_INLINE v128_t json_is_closing(v128_t v) { return json_is(wasm_v128_or(v, wasm_i8x16_splat(0x20)), '}'); }
// json_is_curly tells curly brackets from square ones; some letters are curly too.
GL_INLINE v128_t json_is_curly(v128_t v) { return json_is(wasm_v128_or(v, wasm_i8x16_splat(6)), 0x7f); }

// json_unusual tells whether a block has a backslash, a control character, or a byte
// beyond ASCII (which is harmless).
GL_INLINE bool json_unusual(json_bytes v) {
    v128_t least = wasm_i8x16_min(wasm_i8x16_min(v.a, v.b), wasm_i8x16_min(v.c, v.d));
    v128_t slash = wasm_v128_or(wasm_v128_or(json_is_backslash(v.a), json_is_backslash(v.b)),
                                wasm_v128_or(json_is_backslash(v.c), json_is_backslash(v.d)));
    return wasm_i8x16_bitmask(wasm_v128_or(wasm_i8x16_lt(least, wasm_i8x16_splat(0x20)), slash)) != 0;
}

// json_parity sets each bit to the parity of those up to it: from a quote to before the
// next one.
GL_INLINE uint64_t json_parity(uint64_t x) {
    x ^= x << 1;
    x ^= x << 2;
    x ^= x << 4;
    x ^= x << 8;
    x ^= x << 16;
    return x ^ x << 32;
}

// json_behind takes bits that stand in white space to the first byte behind it.
GL_INLINE uint64_t json_behind(uint64_t x, uint64_t white) { return ((x & white) + white | x) & ~white; }

// ---- what is rare ----

// json_rare is what is known of a block that has a backslash or a control character.
static struct {
    uint64_t escaped, controls;
    uint64_t carry;  // 1: the first byte behind the block is escaped
} json_rare;

// json_read_rare returns the bytes in front of which a backslash counts.
GL_COLD uint64_t json_read_rare(const uint8_t *p) {
    json_bytes v = json_load64(p);
    uint64_t escaped = json_rare.carry, slashes = JSON_MASK(json_is_backslash, v);
    for (uint64_t rest = slashes; rest != 0; rest &= rest - 1) {
        uint64_t bit = rest & -rest;
        if (!(escaped & bit)) escaped |= bit << 1;
    }
    json_rare.carry = (slashes & ~escaped) >> 63;
    json_rare.controls = JSON_MASK(json_is_control, v);
    json_rare.escaped = escaped;
    return escaped;
}

// json_good_rare tells whether what is in strings, and escaped, may be.
GL_COLD bool json_good_rare(const uint8_t *p, uint64_t strings, uint64_t until) {
    if (json_rare.controls & strings & until) return false;
    for (uint64_t rest = json_rare.escaped & until; rest != 0; rest &= rest - 1)
        if (json_escape(p + __builtin_ctzll(rest) - 1) == NULL) return false;
    return true;
}

// json_good_scalars looks at scalars that have odd bytes: others than digits and dots.
GL_COLD bool json_good_scalars(const uint8_t *p, uint64_t scalars, uint64_t odd) {
    uint64_t starts = scalars & ~(scalars << 1);
    while (odd != 0) {
        uint64_t up_to = odd ^ (odd - 1);
        uint32_t from = 63 - (uint32_t)__builtin_clzll(starts & up_to);
        uint64_t behind = ~scalars & ~up_to;
        if (behind == 0) return false;
        uint32_t to = (uint32_t)__builtin_ctzll(behind);
        if (json_scalar(p + from) != p + to) return false;
        odd &= ~0ull << to;
    }
    return true;
}

GL_COLD uint64_t json_read_white(const uint8_t *p) {
    json_bytes v = json_load64(p);
    return JSON_MASK(json_is_white, v);
}

// ---- a scan ----

// json_nesting is what brackets make of a block.
typedef struct json_nesting {
    uint64_t stack;   // a bit per container, the lowest of the innermost: 1 for an object
    uint64_t object;  // bytes that are in an object, or open one
    uint64_t until;   // bytes up to the end of the outermost container
} json_nesting;

// json_nest follows the brackets of a block. It returns false if they do not match.
GL_INLINE bool json_nest(json_nesting *n, uint64_t brackets, uint64_t opens, uint64_t curly) {
    n->object = -(n->stack & 1);
    n->until = ~0ull;
    while (brackets != 0) {
        uint64_t bit = brackets & -brackets, was = n->stack;
        if (opens & bit) {
            if (was >> 62) return false;  // more than the stack holds
            n->stack = was << 1 | ((curly & bit) != 0);
        } else {
            if (((curly & bit) != 0) != (was & 1)) return false;
            n->stack = was >> 1;
            if (n->stack == 1) {
                n->until = bit ^ (bit - 1);
                return true;
            }
        }
        n->object ^= -bit & -((n->stack ^ was) & 1);
        brackets ^= bit;
    }
    return true;
}

// json_leaf tells whether the container at p probably ends within 32 bytes and has none
// in it, so that there are too few tokens to go by blocks.
GL_INLINE bool json_leaf(const uint8_t *p) {
    v128_t b = wasm_v128_load(p + 16), a = wasm_v128_load(p);
    uint32_t opens = wasm_i8x16_bitmask(json_is_opening(a)) | wasm_i8x16_bitmask(json_is_opening(b)) << 16;
    uint32_t closes = wasm_i8x16_bitmask(json_is_closing(a)) | wasm_i8x16_bitmask(json_is_closing(b)) << 16;
    uint32_t inside = opens & (opens - 1);
    return closes != 0 && (inside == 0 || __builtin_ctz(closes) < __builtin_ctz(inside));
}

// json_bad_numbers marks what is wrong with those made of digits and dots: a zero in front of
// digits, a dot without digits on both sides, a second dot. A scalar that has other bytes
// as well breaks none of this where it is good.
GL_INLINE uint64_t json_bad_numbers(uint64_t digits, uint64_t dots, uint64_t zeros, uint64_t starts) {
    uint64_t bad = (zeros & starts) << 1 & digits;
    bad |= dots & ~(digits << 1 & digits >> 1);
    return bad | (((dots << 1) + digits) & ~digits & dots);
}

// json_before is what one block hands to the next, 0 or 1, about the last byte so far that is
// not white space: something has to follow, which is a key, unless the container is empty; a
// key ended. And whether a string goes on that is a key.
typedef struct json_before {
    uint64_t wants, wants_key, opened, ended_key, in_key;
} json_before;

// json_tokens are those of a block, and what json_misplaced makes of them.
typedef struct json_tokens {
    uint64_t quotes, strings, opens, closes, commas, colons, starts;
    uint64_t wanting, wanting_key;  // something, a key, has to follow
    uint64_t key_ends, in_key;
} json_tokens;

// json_misplaced marks the tokens that may not stand where they do.
GL_INLINE uint64_t json_misplaced(json_tokens *t, const json_before *before, uint64_t white) {
    uint64_t follows = t->wanting << 1 | before->wants, key_follows = t->wanting_key << 1 | before->wants_key;
    uint64_t inside = t->opens << 1 | before->opened;
    if (white != 0) {
        follows = json_behind(follows, white);
        key_follows = json_behind(key_follows, white);
        inside = json_behind(inside, white);
    }

    // Adding a key's first quote carries through the string to the last one.
    uint64_t first_quotes = t->quotes & t->strings;
    uint64_t keys = t->strings + ((first_quotes & key_follows) | before->in_key);
    t->in_key = keys < t->strings;
    t->key_ends = keys & t->quotes & ~t->strings;
    uint64_t colon_follows = t->key_ends << 1 | before->ended_key;
    if (white != 0) colon_follows = json_behind(colon_follows, white);

    uint64_t bad = (first_quotes | t->opens | t->starts) & ~follows;      // a value where none is wanted
    bad |= (t->commas | t->colons | (t->closes & ~inside)) & follows;     // none where one is
    bad |= key_follows & ~(first_quotes | t->closes);                     // another value for a key
    return bad | (colon_follows ^ t->colons);
}

// json_scan_container validates the container at p, or returns NULL if it may be invalid.
static __attribute__((noinline, unused)) const uint8_t *json_scan_container(const uint8_t *p, uint32_t depth) {
    json_before before = {.wants = 1};
    uint64_t in_string = 0;  // a string goes on: ~0
    json_nesting n = {.stack = 1};
    json_rare.carry = 0;
    if (depth > JSON_MAX_DEPTH - 64) return NULL;
    for (;;) {
        json_bytes v = json_load64(p);
        uint64_t quotes = JSON_MASK(json_is_quote, v);
        bool rare = json_unusual(v) || json_rare.carry;
        if (GL_UNLIKELY(rare)) {
            quotes &= ~json_read_rare(p);
        } else if (quotes == 0 && in_string != 0) {
            p += 64;
            continue;
        }

        // A string has its first quote in it, and not its last one.
        uint64_t strings = json_parity(quotes) ^ in_string, out = ~(strings | quotes);
        uint64_t curly = JSON_MASK(json_is_curly, v), opens = JSON_MASK(json_is_opening, v) & out;
        uint64_t closes = JSON_MASK(json_is_closing, v) & out, brackets = opens | closes;
        if (!json_nest(&n, brackets, opens, curly)) return NULL;

        // The bytes are read anew, since the loop over the brackets left no register.
        __asm__ volatile("" ::: "memory");
        v = json_load64(p);
        uint64_t commas = JSON_MASK(json_is_comma, v) & out, colons = JSON_MASK(json_is_colon, v) & out;
        uint64_t digits = JSON_MASK(json_is_digit, v) & out, dots = JSON_MASK(json_is_dot_or_zero, v) & out;
        uint64_t zeros = dots & digits, odd = out & ~(brackets | commas | colons | digits | dots), white = 0;
        dots ^= zeros;
        if (odd != 0) {
            white = json_read_white(p) & odd;
            odd ^= white;
        }

        // A scalar at the end of the block may go on: it is left to the next one.
        uint64_t scalars = digits | dots | odd, until = n.until;
        uint32_t size = 64, last = 63;
        if (GL_UNLIKELY((scalars | white) >> 63) && n.stack != 1) {
            if (~scalars == 0) return NULL;
            size -= (uint32_t)__builtin_clzll(~scalars);
            until = ~0ull >> (64 - size);
            uint64_t black = until & ~white;
            last = black == 0 ? 64 : 63 - (uint32_t)__builtin_clzll(black);
        }

        json_tokens t = {
            .quotes = quotes, .strings = strings, .opens = opens, .closes = closes, .commas = commas, .colons = colons,
            .wanting = commas | colons | opens, .wanting_key = (commas | opens) & n.object,
            .starts = scalars & ~(scalars << 1),
        };
        uint64_t bad = GL_UNLIKELY(white != 0) ? json_misplaced(&t, &before, white) : json_misplaced(&t, &before, 0);
        bad |= json_bad_numbers(digits, dots, zeros, t.starts);
        if (bad & until) return NULL;
        if (GL_UNLIKELY(odd & until) && !json_good_scalars(p, scalars, odd & until)) return NULL;
        if (GL_UNLIKELY(rare) && !json_good_rare(p, strings, until)) return NULL;
        if (n.stack == 1) return p + 64 - __builtin_clzll(until);

        p += size;
        in_string = (uint64_t)((int64_t)strings >> 63);
        before.in_key = t.in_key;
        if (last == 64) continue;
        before.wants = t.wanting >> last & 1;
        before.wants_key = t.wanting_key >> last & 1;
        before.opened = opens >> last & 1;
        before.ended_key = t.key_ends >> last & 1;
    }
}

#endif
