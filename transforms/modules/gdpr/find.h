// find.h: personal data in free text: e-mail addresses, cards, IBANs, IP addresses
// and telephone numbers.
//
// One pass, which takes time in proportion to the text. It would rather hide too much
// than too little: digits may have white space, dashes, dots and brackets among them,
// and Unicode's spaces and dashes count as such.
#ifndef GUARDLOCK_GDPR_FIND_H
#define GUARDLOCK_GDPR_FIND_H

#include "text.h"

// finder is a search: text before copied is in the output, text before at was looked at.
typedef struct finder {
    const rule *rule;
    text in;
    uint32_t copied, at;
    uint8_t *out;
    uint32_t hits;
} finder;

// find_byte is 0 beyond the text, where no detector goes on.
GL_INLINE uint8_t find_byte(const finder *f, uint32_t at) { return at < f->in.n ? f->in.p[at] : 0; }
GL_INLINE bool is_word(uint8_t c) { return is_digit(c) || is_letter(c); }

// find_hit replaces the text from from to to, which is of a kind.
static void find_hit(finder *f, uint32_t from, uint32_t to, uint32_t kind) {
    static const char *const tags[] = {"[email]", "[card]", "[iban]", "[ip]", "[phone]"};
    static const uint8_t lengths[] = {7, 6, 6, 4, 7};
    static const uint8_t forms[] = {FORM_EMAIL, FORM_CARD, FORM_IBAN, FORM_PLAIN, FORM_PHONE};
    f->out = write_text(f->out, f->in.p + f->copied, from - f->copied);
    if (f->rule->show && kind != KIND_IP) {
        f->out = mask_as(f->out, (text){f->in.p + from, to - from}, forms[kind], 0);
    } else {
        f->out = write_text(f->out, tags[kind], lengths[kind]);
    }
    f->copied = f->at = to;
    f->hits++;
}

// ---- addresses of e-mail ----

static bool email_name(uint8_t c) {
    static const char others[] = ".!#$%&'*+-/=?^_`{|}~";
    if (is_word(c) || c >= 0x80) return true;
    for (const char *p = others; *p != 0; p++)
        if (c == (uint8_t)*p) return true;
    return false;
}

static bool email_host(uint8_t c) { return is_word(c) || c >= 0x80 || c == '-' || c == '.'; }

// find_email looks both ways from the @ at f->at.
static bool find_email(finder *f) {
    uint32_t from = f->at, to = f->at + 1, dots = 0;
    if (from > f->copied && f->in.p[from - 1] == '"') {
        // A quoted name may hold anything but a quote.
        from--;
        while (from > f->copied && f->in.p[from - 1] != '"' && f->at - from < 64) from--;
        if (from > f->copied) from--;
    } else {
        while (from > f->copied && email_name(f->in.p[from - 1])) from--;
    }
    while (to < f->in.n && email_host(f->in.p[to])) to++;
    while (to > f->at + 1 && (f->in.p[to - 1] == '.' || f->in.p[to - 1] == '-')) to--;
    for (uint32_t i = f->at + 1; i < to; i++) dots += f->in.p[i] == '.';
    if (from == f->at || dots == 0) return false;
    find_hit(f, from, to, KIND_EMAIL);
    return true;
}

// ---- what has digits ----

// separator returns the length of one that may stand among digits, or 0.
static uint32_t separator(const finder *f, uint32_t at) {
    uint8_t c = find_byte(f, at), d = find_byte(f, at + 1), e = find_byte(f, at + 2);
    if (c == ' ' || c == '-' || c == '.' || c == '/' || c == '(' || c == ')' || c == '\t' || c == '\n' || c == '\r' || c == '_') return 1;
    if (c == 0xc2 && (d == 0xa0 || d == 0xad)) return 2;                           // no-break space, soft hyphen
    if (c == 0xe2 && d == 0x80 && ((e >= 0x80 && e <= 0x95) || e == 0xaf)) return 3;  // spaces and dashes
    if (c == 0xe2 && d == 0x88 && e == 0x92) return 3;                             // minus
    if (c == 0xe2 && d == 0x81 && e == 0xa0) return 3;                             // word joiner
    return c == 0xef && d == 0xbb && e == 0xbf ? 3 : 0;                            // BOM
}

// skip_separators takes at most five; it returns where they end.
static uint32_t skip_separators(const finder *f, uint32_t at) {
    for (uint32_t i = 0; i < 5; i++) at += separator(f, at);
    return at;
}

// digit_run is digits with separators among them, and where each one ends.
typedef struct digit_run {
    uint32_t n;
    uint8_t digits[CARD_MAX];
    uint32_t end[CARD_MAX];
} digit_run;

static void read_run(const finder *f, uint32_t at, digit_run *run) {
    run->n = 0;
    while (run->n < CARD_MAX && is_digit(find_byte(f, at))) {
        run->digits[run->n] = f->in.p[at++];
        run->end[run->n++] = at;
        if (!is_digit(find_byte(f, at))) at = skip_separators(f, at);
    }
}

// card_length tells whether a network issues cards of n digits that begin like this.
static bool card_length(const uint8_t *d, uint32_t n) {
    uint32_t two, four;
    read_digits(d, 2, &two);
    read_digits(d, 4, &four);
    if (d[0] == '4') return n == 13 || n == 16 || n == 19;                             // Visa
    if ((two >= 51 && two <= 55) || (four >= 2221 && four <= 2720)) return n == 16;   // Mastercard
    if (two == 34 || two == 37) return n == 15;                                       // American Express
    if (two == 30 || two == 36 || two == 38 || two == 39) return n >= 14;             // Diners Club
    if (two == 35 || two == 60 || two == 62 || two == 64 || two == 65 || two == 81) return n >= 16;  // JCB, Discover, UnionPay, RuPay
    if (four >= 2200 && four <= 2204) return n >= 16;                                 // Mir
    return two == 50 || (two >= 56 && two <= 69);                                     // Maestro: 12 to 19
}

static bool find_card(finder *f, const digit_run *run) {
    for (uint32_t n = run->n; n >= 12; n--) {
        if (is_digit(find_byte(f, run->end[n - 1])) || !card_length(run->digits, n) || !luhn(run->digits, n)) continue;
        find_hit(f, f->at, run->end[n - 1], KIND_CARD);
        return true;
    }
    return false;
}

// looks_like_date tells dates and decimals from telephone numbers that begin with 0.
static bool looks_like_date(const finder *f, const digit_run *run) {
    uint32_t at = f->at;
    if (run->n < 8) return false;
    uint8_t c = find_byte(f, at + 2);
    bool date = run->end[1] == at + 2 && !is_digit(c) && find_byte(f, at + 5) == c && run->end[3] == at + 5 && run->end[7] == at + 10;
    return (date && !is_digit(find_byte(f, at + 10))) || (find_byte(f, at) == '0' && find_byte(f, at + 1) == '.');
}

// find_phone takes +49 30 901820, 0049 30 901820, (030) 901820, 030/901820 and
// 555-123-4567. at is where it begins: at a plus, a bracket or the first digit.
static bool find_phone(finder *f, uint32_t begin, const digit_run *run) {
    uint32_t n = run->n < 15 ? run->n : 15;
    bool plus = find_byte(f, begin) == '+', bracket = find_byte(f, begin) == '(';
    bool groups = run->n >= 10 && run->end[2] - f->at == 3 && separator(f, run->end[2]) && separator(f, run->end[5]) &&
                  !is_digit(find_byte(f, run->end[9]));
    if (groups && !plus && run->digits[0] != '0') n = 10;
    bool enough = plus ? n >= 7 : n >= 8 && (run->digits[0] == '0' || bracket || groups);
    if (!enough || (!plus && !bracket && looks_like_date(f, run))) return false;
    uint32_t to = run->end[n - 1];
    while (is_digit(find_byte(f, to))) to++;
    find_hit(f, begin, to, KIND_PHONE);
    return true;
}

// find_ipv4 takes no part of a longer row of numbers, such as a version.
static bool find_ipv4(finder *f) {
    uint8_t address[4];
    uint32_t n = read_ipv4(f->in.p + f->at, f->in.n - f->at, address), to = f->at + n;
    if (n == 0 || is_digit(find_byte(f, to)) || (find_byte(f, to) == '.' && is_digit(find_byte(f, to + 1)))) return false;
    if (f->at > 1 && f->in.p[f->at - 1] == '.' && is_digit(f->in.p[f->at - 2])) return false;
    find_hit(f, f->at, to, KIND_IP);
    return true;
}

// find_ipv6 takes the longest row of hex digits, colons and dots that is an address.
static bool find_ipv6(finder *f) {
    uint16_t groups[8];
    uint32_t to = f->at, colons = 0;
    for (; to - f->at <= 45; to++) {
        uint8_t c = find_byte(f, to);
        if (hex_value(c) < 0 && c != ':' && c != '.') break;
        colons += c == ':';
    }
    if (colons < 2) return false;
    for (; to - f->at >= 4; to--) {
        if (!read_ipv6(f->in.p + f->at, to - f->at, groups)) continue;
        find_hit(f, f->at, to, KIND_IP);
        return true;
    }
    return false;
}

// iban_length is how long a country's IBANs are, 0 where it has none.
static uint32_t iban_length(const uint8_t *country) {
    static const char lengths[] =
        "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24FI18FK18FO18FR27GB22"
        "GE22GI23GL18GR27GT28HN28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20"
        "MR27MT31MU30NI28NL18NO15OM23PK24PL28PS29PT25QA29RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26"
        "UA29VA22VG24XK20YE30";
    for (const char *p = lengths; *p != 0; p += 4)
        if ((uint8_t)p[0] == country[0] && (uint8_t)p[1] == country[1]) return (uint32_t)((p[2] - '0') * 10 + p[3] - '0');
    return 0;
}

// find_iban takes one that begins at two letters and two digits, with what separates
// groups of digits anywhere in it. The check digits leave little to chance, so it may
// begin and end in the middle of a word.
static bool find_iban(finder *f) {
    uint8_t iban[IBAN_MAX];
    uint32_t at = f->at, n = 0;
    // Most words are told apart by their third letter, before the countries are asked.
    if (!is_digit(find_byte(f, at + 2)) && separator(f, at + 2) == 0) return false;
    uint8_t country[2] = {find_byte(f, at) & 0xdf, find_byte(f, at + 1) & 0xdf};
    uint32_t want = iban_length(country);
    while (n < want && is_word(find_byte(f, at))) {
        uint8_t c = f->in.p[at++];
        iban[n++] = is_letter(c) ? c & 0xdf : c;
        if (n < want) at = skip_separators(f, at);
    }
    if (want == 0 || n < want || !iban_checks(iban, n)) return false;
    find_hit(f, f->at, at, KIND_IBAN);
    return true;
}

// find_digits tries what begins with a digit, a plus or a bracket.
static bool find_digits(finder *f) {
    uint32_t begin = f->at;
    digit_run run;
    uint8_t kinds = f->rule->kinds;
    if (!is_digit(f->in.p[begin])) f->at = skip_separators(f, begin + 1);
    read_run(f, f->at, &run);
    bool before = begin > 0 && is_word(f->in.p[begin - 1]);
    if (run.n > 0 && is_digit(f->in.p[begin])) {
        if ((kinds >> KIND_CARD & 1) && find_card(f, &run)) return true;
        if ((kinds >> KIND_IP & 1) && find_ipv4(f)) return true;
    }
    if ((kinds >> KIND_PHONE & 1) && run.n >= 7 && !before && find_phone(f, begin, &run)) return true;
    f->at = begin;
    return false;
}

// find_at tries what may begin at f->at; true if it was replaced.
static bool find_at(finder *f) {
    uint8_t c = f->in.p[f->at], before = f->at > 0 ? f->in.p[f->at - 1] : 0, kinds = f->rule->kinds;
    if (c == '@') return (kinds >> KIND_EMAIL & 1) && find_email(f);
    if ((kinds >> KIND_IP & 1) && (hex_value(c) >= 0 || c == ':') && !is_word(before) && before != ':' && find_ipv6(f)) return true;
    if (is_letter(c)) return (kinds >> KIND_IBAN & 1) && is_letter(find_byte(f, f->at + 1)) && find_iban(f);
    if (is_digit(c)) return !is_digit(before) && find_digits(f);
    return (c == '+' || c == '(') && find_digits(f);
}

// find_text replaces what is found in a text. Output is the text itself if nothing is.
static int32_t find_text(gl_call *call, const rule *r, text in, text *out) {
    // No replacement has more than twice as many bytes as what it stands for.
    uint8_t *room = gl_room(call, in.n * 2 + 64);
    if (room == NULL || in.n > UINT32_MAX / 4) return GL_ERR_SPACE;
    finder f = {.rule = r, .in = in, .out = room};
    while (f.at < in.n)
        if (!find_at(&f)) f.at++;
    *out = in;
    if (f.hits == 0) return GL_OK;
    f.out = write_text(f.out, in.p + f.copied, in.n - f.copied);
    *out = (text){room, (uint32_t)(f.out - room)};
    gl_take(call, out->n);
    return GL_OK;
}

#endif
