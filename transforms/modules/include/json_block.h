// json_block.h: containers, validated 64 bytes at a time.
//
// Token by token, each one waits for the end of the one before it: about 25 cycles a
// token, whatever a compiler makes of it. Here a word has a bit per byte, and what may
// stand next to what is asked of 64 bytes at once. Blocks that have nothing but strings,
// numbers and objects of a list, one behind the other, have a loop of their own; in others
// the brackets are gone through one by one.
//
// A scan accepts, or it does not know: then the scanner of tokens is asked, and its answer
// and fault count. A block reads up to 63 bytes behind the text, which GL_SLACK allows.
// Included by json.h.
#ifndef GUARDLOCK_JSON_BLOCK_H
#define GUARDLOCK_JSON_BLOCK_H

// ---- masks ----

#define JSON_MASK(is, v) json_mask(is(v.a), is(v.b), is(v.c), is(v.d))

GL_INLINE v128_t json_is(v128_t v, char c) { return wasm_i8x16_eq(v, wasm_i8x16_splat(c)); }
GL_INLINE v128_t json_is_quote(v128_t v) { return json_is(v, '"'); }
GL_INLINE v128_t json_is_backslash(v128_t v) { return json_is(v, '\\'); }
GL_INLINE v128_t json_is_comma(v128_t v) { return json_is(v, ','); }
GL_INLINE v128_t json_is_colon(v128_t v) { return json_is(v, ':'); }
GL_INLINE v128_t json_is_control(v128_t v) { return wasm_i8x16_eq(wasm_u8x16_min(v, wasm_i8x16_splat(0x1f)), v); }
GL_INLINE v128_t json_is_white(v128_t v) {
    return wasm_v128_or(wasm_v128_or(json_is(v, ' '), json_is(v, '\n')), wasm_v128_or(json_is(v, '\r'), json_is(v, '\t')));
}

// json_number_bytes moves the digits to the greatest of signed bytes, which the engine
// compares in one instruction. The next two are of bytes that it moved.
GL_INLINE void json_number_bytes(json_bytes *v) {
    v->a = wasm_i8x16_add(v->a, wasm_i8x16_splat(0x7f - '9'));
    v->b = wasm_i8x16_add(v->b, wasm_i8x16_splat(0x7f - '9'));
    v->c = wasm_i8x16_add(v->c, wasm_i8x16_splat(0x7f - '9'));
    v->d = wasm_i8x16_add(v->d, wasm_i8x16_splat(0x7f - '9'));
}
GL_INLINE v128_t json_is_digit(v128_t v) { return wasm_i8x16_gt(v, wasm_i8x16_splat(0x7f - 10)); }
GL_INLINE v128_t json_is_dot_or_zero(v128_t v) { return json_is(wasm_v128_or(v, wasm_i8x16_splat(2)), '0' + 0x7f - '9'); }

GL_INLINE v128_t json_is_opening(v128_t v) { return json_is(wasm_v128_or(v, wasm_i8x16_splat(0x20)), '{'); }
GL_INLINE v128_t json_is_closing(v128_t v) { return json_is(wasm_v128_or(v, wasm_i8x16_splat(0x20)), '}'); }
GL_INLINE v128_t json_is_curly_opening(v128_t v) { return json_is(v, '{'); }
GL_INLINE v128_t json_is_curly_closing(v128_t v) { return json_is(v, '}'); }
// json_is_curly tells curly brackets from square ones; some letters are curly too.
GL_INLINE v128_t json_is_curly(v128_t v) { return json_is(wasm_v128_or(v, wasm_i8x16_splat(6)), 0x7f); }

GL_INLINE v128_t json_is_unusual(v128_t v) {
    return wasm_v128_or(wasm_i8x16_lt(v, wasm_i8x16_splat(0x20)), json_is_backslash(v));
}

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
} json_rare;

// json_read_rare returns the bytes in front of which a backslash counts. The first byte of
// a block is not one of them.
GL_COLD uint64_t json_read_rare(const uint8_t *p) {
    json_bytes v = json_load64(p);
    uint64_t escaped = 0, slashes = JSON_MASK(json_is_backslash, v);
    for (uint64_t rest = slashes; rest != 0; rest &= rest - 1) {
        uint64_t bit = rest & -rest;
        if (!(escaped & bit)) escaped |= bit << 1;
    }
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

// json_read_unusual marks what json_unusual tells of.
GL_COLD uint64_t json_read_unusual(const uint8_t *p) {
    json_bytes v = json_load64(p);
    return JSON_MASK(json_is_unusual, v);
}

GL_COLD uint64_t json_read_white(const uint8_t *p) {
    json_bytes v = json_load64(p);
    return JSON_MASK(json_is_white, v);
}

// ---- a scan ----

// json_scan is what one block hands to the next. Blocks overlap: what the first byte of one
// is was checked with the block before, and it is neither white space nor of a scalar, so
// that it itself tells what may follow.
typedef struct json_scan {
    uint64_t stack;      // a bit per container, the lowest of the innermost: 1 for an object
    uint64_t in_string;  // the first byte does not begin a string, but is in one or ends it: ~0
    uint64_t in_key;     // which is a key: 1
} json_scan;

// JSON_LIST_OF_OBJECTS is a stack: in an object that is in a list.
#define JSON_LIST_OF_OBJECTS 5u

// After so many plain blocks the next one is expected to be plain.
#define JSON_PLAIN_AGAIN 2

// json_nesting is what brackets make of a block.
typedef struct json_nesting {
    uint64_t stack;
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

// json_bad_numbers marks what is wrong with those made of digits and dots: a dot or a zero in
// front of digits at the start, a dot without digits behind it, a second dot. A scalar
// that has other bytes as well breaks none of this where it is good.
GL_INLINE uint64_t json_bad_numbers(uint64_t digits, uint64_t dots, uint64_t dots_or_zeros, uint64_t starts) {
    // What is added behind a dot carries through digits to the byte behind them.
    uint64_t behind = dots << 1, carried = behind + digits;
    return ((dots_or_zeros & starts) << 1 & digits) | (carried & (dots | behind));
}

// json_tokens are those of a block.
typedef struct json_tokens {
    uint64_t quotes, strings, opens, closes, commas, colons, starts;
} json_tokens;

// json_misplaced marks the tokens that may not stand where they do, and sets *keys to the
// keys, from their first quotes to their last ones.
GL_INLINE uint64_t json_misplaced(const json_tokens *t, uint64_t object, uint64_t in_key, uint64_t white, uint64_t *keys) {
    uint64_t inside = t->opens << 1, follows = (t->commas | t->colons | t->opens) << 1;
    uint64_t key_follows = ((t->commas | t->opens) & object) << 1;
    if (white != 0) {
        follows = json_behind(follows, white);
        key_follows = json_behind(key_follows, white);
        inside = json_behind(inside, white);
    }

    // Adding a key's first quote carries through the string to the last one.
    uint64_t first_quotes = t->quotes & t->strings;
    *keys = (t->strings + ((first_quotes & key_follows) | in_key)) ^ t->strings;
    uint64_t colon_follows = (*keys & ~t->strings) << 1;
    if (white != 0) colon_follows = json_behind(colon_follows, white);

    // What is neither in a string nor of a scalar is one of these tokens, so that either a
    // value follows or the end of an empty container.
    uint64_t bad = follows ^ (first_quotes | t->opens | t->starts | (t->closes & inside));
    bad |= key_follows & ~(first_quotes | t->closes);
    return bad | (colon_follows ^ t->colons);
}

// json_in_object is ~0 in an object, and json_no_list 0 in an object that is in a list. Both
// are hidden from the compiler, which would compare where a mask does.
GL_INLINE uint64_t json_in_object(uint64_t stack) {
    uint64_t mask = -(stack & 1);
    JSON_OPAQUE(mask);
    return mask;
}
GL_INLINE uint64_t json_no_list(uint64_t stack) {
    uint64_t mask = (stack & 3) == 1 ? 0 : ~0ull;
    JSON_OPAQUE(mask);
    return mask;
}

// json_scan_any validates blocks from p on, whatever is in them, until some in a row were
// plain, and returns what is to be read next; or the end of the outermost container, with
// a stack of 1; or NULL if they may be invalid.
static __attribute__((noinline, unused)) const uint8_t *json_scan_any(json_scan *s, const uint8_t *p) {
    uint64_t in_string = s->in_string, in_key = s->in_key;
    json_nesting n = {.stack = s->stack};
    for (uint32_t plain = 0; plain < JSON_PLAIN_AGAIN;) {
        json_bytes v = json_load64(p);
        uint64_t quotes = JSON_MASK(json_is_quote, v);
        bool rare = json_unusual(v);
        if (GL_UNLIKELY(rare)) {
            quotes &= ~json_read_rare(p);
            v = json_load64(p);  // which need not be kept for this
        } else if (quotes == 0 && in_string != 0) {
            p += 64;
            continue;
        }

        // A string has its first quote in it, and not its last one.
        uint64_t strings = json_parity(quotes) ^ in_string, out = ~(strings | quotes);
        uint64_t curly = JSON_MASK(json_is_curly, v), opens = JSON_MASK(json_is_opening, v) & out;
        uint64_t closes = JSON_MASK(json_is_closing, v) & out, brackets = (opens | closes) & ~1ull;
        uint64_t commas = JSON_MASK(json_is_comma, v) & out, colons = JSON_MASK(json_is_colon, v) & out;
        json_number_bytes(&v);
        uint64_t digits = JSON_MASK(json_is_digit, v) & out, dots_or_zeros = JSON_MASK(json_is_dot_or_zero, v) & out;
        uint64_t scalars = digits | dots_or_zeros, dots = scalars ^ digits;
        uint64_t odd = out & ~(opens | closes | commas | colons | scalars), white = 0;
        if (odd != 0) {
            white = json_read_white(p) & odd;
            odd ^= white;
            scalars |= odd;
        }
        if (!json_nest(&n, brackets, opens, curly)) return NULL;

        // A scalar at the end of the block may go on: it is left to the next one, which
        // begins with the last byte in front of it that is not white space.
        uint64_t until = n.until, keys;
        uint32_t next = 63;
        if (GL_UNLIKELY((scalars | white) >> 63) && n.stack != 1) {
            until = ~0ull >> (scalars >> 63 ? __builtin_clzll(~scalars | 1) : 0);
            next = 63 - (uint32_t)__builtin_clzll(until & ~white);
            if (next == 0) return NULL;
        }

        json_tokens t = {quotes, strings, opens, closes, commas, colons, scalars & ~(scalars << 1)};
        uint64_t bad = white != 0 ? json_misplaced(&t, n.object, in_key, white, &keys) : json_misplaced(&t, n.object, in_key, 0, &keys);
        bad |= json_bad_numbers(digits, dots, dots_or_zeros, t.starts);
        if (bad & until & ~1ull) return NULL;
        if (GL_UNLIKELY(odd & until) && !json_good_scalars(p, scalars, odd & until)) return NULL;
        if (GL_UNLIKELY(rare)) {
            if (!json_good_rare(p, strings, until)) return NULL;
            if (json_rare.escaped >> 63) next = 62;
        }
        if (n.stack == 1) {
            s->stack = 1;
            return p + 64 - __builtin_clzll(until);
        }

        p += next;
        in_string = -(strings >> (next - 1) & 1);
        in_key = keys >> next & 1;
        uint64_t seams = brackets & closes & curly & commas >> 1 & opens >> 2;
        plain = ((brackets ^ (seams | seams << 2)) | white | odd | rare) == 0 ? plain + 1 : 0;
    }
    s->stack = n.stack;
    s->in_string = in_string;
    s->in_key = in_key;
    return p;
}

// json_scan_container validates the container at p, or returns NULL if it may be invalid.
//
// It reads plain blocks itself: they have strings, numbers of digits and dots, and no
// brackets but at seams, where objects of a list follow each other.
static __attribute__((noinline, unused)) const uint8_t *json_scan_container(const uint8_t *p, uint32_t depth) {
    json_scan s = {.stack = 2 | (*p == '{')};
    if (depth > JSON_MAX_DEPTH - 64) return NULL;
    if (*p == '[' && p[1] == '{') {
        s.stack = JSON_LIST_OF_OBJECTS;
        p++;
    } else {
        // Others are rarely plain at once, and never with a square bracket as the first byte.
        p = json_scan_any(&s, p);
        if (p == NULL || s.stack == 1) return p;
    }
    uint64_t in_string = s.in_string, in_key = s.in_key, in_object = json_in_object(s.stack), no_list = json_no_list(s.stack);
    for (;;) {
        json_bytes v = json_load64(p);
        uint64_t quotes = JSON_MASK(json_is_quote, v), unusual = 0;
        if (GL_UNLIKELY(json_unusual(v))) {
            unusual = json_read_unusual(p);
            v = json_load64(p);  // which need not be kept for this
        }
        if (GL_UNLIKELY((quotes | unusual) == 0) && in_string != 0) {
            p += 63;
            continue;
        }

        uint64_t strings = json_parity(quotes) ^ in_string, out = ~(strings | quotes);
        uint64_t opens = JSON_MASK(json_is_curly_opening, v) & out, closes = JSON_MASK(json_is_curly_closing, v) & out;
        uint64_t commas = JSON_MASK(json_is_comma, v) & out, colons = JSON_MASK(json_is_colon, v) & out;
        json_number_bytes(&v);
        uint64_t digits = JSON_MASK(json_is_digit, v) & out, dots_or_zeros = JSON_MASK(json_is_dot_or_zero, v) & out;
        uint64_t scalars = digits | dots_or_zeros, dots = scalars ^ digits, changes = scalars ^ scalars << 1;
        JSON_OPAQUE(changes);
        uint64_t starts = scalars & changes, curly = opens | closes, first_quotes = quotes & strings;
        uint64_t seams = closes & ~1ull & commas >> 1 & opens >> 2;

        // This is json_misplaced, but that an empty object is bad.
        uint64_t wanting = (commas ^ seams << 1) | opens, key_follows = (wanting & in_object) << 1;
        uint64_t keys = strings + ((first_quotes & key_follows) | in_key);
        uint64_t key_ends = keys & (quotes ^ first_quotes);
        uint64_t bad = (wanting | colons) << 1 ^ (first_quotes | starts);
        bad |= (key_follows & starts) | (key_ends << 1 ^ colons);
        bad |= json_bad_numbers(digits, dots, dots_or_zeros, starts);
        keys ^= strings;

        uint64_t brackets = curly ^ (seams | seams << 2), odd = out ^ (curly | commas | colons | scalars);
        uint64_t special = unusual | odd | brackets | (scalars & 1ull << 63);
        if (GL_LIKELY((special | bad | (seams & no_list)) <= 1)) {
            p += 63;
            in_string = (uint64_t)((int64_t)(strings << 1) >> 63);
            in_key = keys >> 63;
            continue;
        }

        // What is in front of the first byte that is not plain holds, whatever that is: often
        // the end of a list of objects, with what is behind the text in the block. A scalar
        // at the end may go on, and a bracket there be of a seam: the next block has them.
        uint64_t stop = (unusual | odd | brackets) & ~1ull, first = stop & -stop;
        if (stop << 3 != 0) {
            const uint8_t *close = p + __builtin_ctzll(stop);
            bool ends = s.stack == JSON_LIST_OF_OBJECTS && (closes & first) != 0 && close[1] == ']';
            if (ends && (bad & (first | (first - 1)) & ~1ull) == 0) return close + 2;
        } else if ((seams & no_list) == 0) {
            uint32_t left = (uint32_t)__builtin_clzll(~(scalars | -first) | 1), size = 64 - left;
            if (size > 1 && (bad & ~0ull >> left & ~1ull) == 0) {
                p += size - 1;
                in_string = -(strings >> (size - 2) & 1);
                in_key = keys >> (size - 1) & 1;
                continue;
            }
        }

        s.in_string = in_string;
        s.in_key = in_key;
        p = json_scan_any(&s, p);
        if (p == NULL || s.stack == 1) return p;
        in_string = s.in_string;
        in_key = s.in_key;
        in_object = json_in_object(s.stack);
        no_list = json_no_list(s.stack);
    }
}

#endif
