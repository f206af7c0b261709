// xml.h: XML 1.0 to JSON. There is no DTD and so no entity but the five that XML
// has, and nothing is fetched or expanded.
//
// An element with text alone is that text; one with others in it is an object of
// them, with its attributes as "@name". A text beside attributes is "#text"; text
// between elements is refused. What occurs more than once is written more than
// once, and made a list by whoever reads it. White space around elements and
// comments do not count. Prefixes stay parts of names.
#ifndef GUARDLOCK_XML_H
#define GUARDLOCK_XML_H

#include "buffer.h"

#define XML_MAX_DEPTH 64u

// xml_reader reads the text p[:end], which is UTF-8.
typedef struct xml_reader {
    const uint8_t *p, *end;
    buffer *out;
} xml_reader;

static inline bool xml_space(uint8_t c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static inline void xml_skip(xml_reader *x) {
    while (x->p < x->end && xml_space(*x->p)) x->p++;
}

static inline bool xml_at(const xml_reader *x, const char *word) {
    const uint8_t *p = x->p;
    for (; *word != 0; word++, p++)
        if (p == x->end || *p != (uint8_t)*word) return false;
    return true;
}

// xml_past moves behind the next occurrence of a word.
static bool xml_past(xml_reader *x, const char *word) {
    uint32_t n = 0;
    while (word[n] != 0) n++;
    for (; x->end - x->p >= (int32_t)n; x->p++) {
        if (!xml_at(x, word)) continue;
        x->p += n;
        return true;
    }
    return false;
}

static inline bool xml_starts_name(uint8_t c) { return ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_' || c >= 0x80; }

// xml_name reads a name. Beyond ASCII, letters alone are names of XML; what is
// none is for whoever made the record to answer for.
static bool xml_name(xml_reader *x, config_text *out) {
    const uint8_t *start = x->p;
    if (x->p == x->end || !xml_starts_name(*x->p)) return false;
    uint32_t colons = 0;
    while (x->p < x->end && (xml_starts_name(*x->p) || *x->p == '-' || *x->p == '.' || *x->p == ':' || (*x->p >= '0' && *x->p <= '9'))) colons += *x->p++ == ':';
    *out = (config_text){start, (uint32_t)(x->p - start)};
    return colons == 0 || (colons == 1 && x->p[-1] != ':');
}

// xml_char tells whether XML may hold a character, by the first byte of it; the
// two beyond the basic plane's end are told by three.
static inline bool xml_char(const uint8_t *p, const uint8_t *end) {
    if (*p < 0x20) return *p == '\t' || *p == '\n' || *p == '\r';
    return !(end - p >= 3 && p[0] == 0xef && p[1] == 0xbf && p[2] >= 0xbe);
}

static bool xml_code(xml_reader *x, buffer *text) {
    bool hex = x->p < x->end && *x->p == 'x';
    uint32_t c = 0, digits = 0;
    uint8_t utf8[8];
    for (x->p += hex; x->p < x->end && *x->p != ';'; x->p++, digits++) {
        uint8_t b = *x->p, letter = b | 0x20;
        if (b >= '0' && b <= '9') c = c * (hex ? 16 : 10) + (b & 15u);
        else if (hex && letter >= 'a' && letter <= 'f') c = c * 16 + (letter - 'a' + 10u);
        else return false;
        if (c > 0x10ffff) return false;
    }
    if (x->p == x->end || digits == 0 || (c >= 0xd800 && c <= 0xdfff) || (c < 0x20 && c != 9 && c != 10 && c != 13) || c == 0xfffe || c == 0xffff) return false;
    x->p++;
    return buffer_put(text, utf8, (uint32_t)(utf8_put(utf8, c) - utf8));
}

// xml_reference reads what follows &.
static bool xml_reference(xml_reader *x, buffer *text) {
    static const char *const names[] = {"lt;", "gt;", "amp;", "quot;", "apos;", NULL};
    static const uint8_t characters[] = "<>&\"'";
    if (x->p < x->end && *x->p == '#') {
        x->p++;
        return xml_code(x, text);
    }
    for (uint32_t i = 0; names[i] != NULL; i++) {
        if (!xml_at(x, names[i])) continue;
        while (*x->p++ != ';') {}
        return buffer_byte(text, characters[i]);
    }
    return false;
}

// xml_byte takes one byte of text; the end of a line is one newline, however written.
static bool xml_byte(xml_reader *x, buffer *text, bool attribute) {
    uint8_t c = *x->p;
    if (!xml_char(x->p, x->end)) return false;
    x->p++;
    if (c == '\r') {
        if (x->p < x->end && *x->p == '\n') x->p++;
        c = '\n';
    }
    return buffer_byte(text, attribute && (c == '\n' || c == '\t') ? ' ' : c);
}

static buffer xml_text;

// xml_attribute writes one attribute as a field.
static bool xml_attribute(xml_reader *x) {
    config_text name;
    if (!xml_name(x, &name)) return false;
    xml_skip(x);
    if (x->p == x->end || *x->p++ != '=') return false;
    xml_skip(x);
    if (x->p == x->end || (*x->p != '"' && *x->p != '\'')) return false;
    uint8_t quote = *x->p++;
    xml_text.len = 0;
    if (!buffer_byte(&xml_text, '@') || !buffer_put(&xml_text, name.p, name.len)) return false;
    if (!buffer_text(x->out, xml_text.p, xml_text.len) || !buffer_byte(x->out, ':')) return false;
    xml_text.len = 0;
    while (x->p < x->end && *x->p != quote) {
        if (*x->p == '<') return false;
        if (*x->p == '&' ? (x->p++, !xml_reference(x, &xml_text)) : !xml_byte(x, &xml_text, true)) return false;
    }
    return x->p++ < x->end && buffer_text(x->out, xml_text.p, xml_text.len);
}

// xml_attributes writes those of an element, whose name's hashes tell that none
// is there twice; *n is how many they are.
static bool xml_attributes(xml_reader *x, uint32_t *n) {
    const uint8_t *names[64];
    for (*n = 0;; ++*n) {
        const uint8_t *before = x->p;
        xml_skip(x);
        if (x->p == x->end) return false;
        if (*x->p == '>' || *x->p == '/') return true;
        if (before == x->p || *n == 64) return false;
        names[*n] = x->p;
        const uint8_t *start = x->p;
        config_text name, other;
        if (!xml_name(x, &name)) return false;
        for (uint32_t i = 0; i < *n; i++) {
            xml_reader again = {names[i], x->end, NULL};
            if (xml_name(&again, &other) && other.len == name.len && gl_equal(other.p, name.p, name.len)) return false;
        }
        x->p = start;
        if (*n > 0 && !buffer_byte(x->out, ',')) return false;
        if (!xml_attribute(x)) return false;
    }
}

// xml_comment passes over a comment, in which there are no two dashes in a row.
static bool xml_comment(xml_reader *x) {
    x->p += 4;
    if (!xml_past(x, "--")) return false;
    return x->p < x->end && *x->p++ == '>';
}

static bool xml_cdata(xml_reader *x, buffer *text) {
    x->p += 9;
    while (!xml_at(x, "]]>"))
        if (x->p == x->end || !xml_byte(x, text, false)) return false;
    x->p += 3;
    return true;
}

// xml_plain takes what is text and nothing else, at once.
static bool xml_plain(xml_reader *x, buffer *text) {
    const uint8_t *start = x->p;
    while (x->p < x->end && *x->p >= 0x20 && *x->p != '<' && *x->p != '&' && *x->p != ']' && *x->p != 0xef) x->p++;
    return buffer_put(text, start, (uint32_t)(x->p - start));
}

// xml_run reads text up to the next tag into *text from its end on.
static bool xml_run(xml_reader *x, buffer *text) {
    for (;;) {
        if (!xml_plain(x, text) || x->p == x->end || xml_at(x, "]]>")) return false;
        if (xml_at(x, "<![CDATA[")) {
            if (!xml_cdata(x, text)) return false;
        } else if (xml_at(x, "<!--")) {
            if (!xml_comment(x)) return false;
        } else if (*x->p == '<') {
            return true;
        } else if (*x->p == '&') {
            x->p++;
            if (!xml_reference(x, text)) return false;
        } else if (!xml_byte(x, text, false)) {
            return false;
        }
    }
}

static bool xml_element(xml_reader *x, uint32_t depth);

static bool xml_blank(const buffer *text, uint32_t from) {
    for (; from < text->len; from++)
        if (!xml_space(text->p[from])) return false;
    return true;
}

// xml_children writes the fields of an element after its attributes, of which
// there are n, up to its end tag. An element of text alone is only that.
static bool xml_children(xml_reader *x, uint32_t n, uint32_t opening, uint32_t depth) {
    static buffer text;
    bool blank = true, elements = false;
    text.len = 0;
    for (;;) {
        if (!elements) text.len = 0;
        uint32_t from = text.len;
        if (!xml_run(x, &text)) return false;
        blank &= xml_blank(&text, from);
        if (xml_at(x, "</")) break;
        if (!blank) return fail(REASON_MIXED);
        if ((n > 0 || elements) && !buffer_byte(x->out, ',')) return false;
        elements = true;
        if (!xml_element(x, depth + 1)) return false;
        text.len = 0;
    }
    if (elements) return blank || fail(REASON_MIXED);
    if (n == 0) {
        x->out->len = opening;  // the brace goes
        return buffer_text(x->out, text.p, text.len);
    }
    if (text.len == 0) return true;
    return buffer_put(x->out, ",\"#text\":", 9) && buffer_text(x->out, text.p, text.len);
}

// xml_element writes the element at p, "name":value.
static bool xml_element(xml_reader *x, uint32_t depth) {
    config_text name, closing;
    uint32_t n;
    x->p++;
    if (depth == XML_MAX_DEPTH) return fail(REASON_TOO_DEEP);
    if (!xml_name(x, &name) || !buffer_text(x->out, name.p, name.len) || !buffer_byte(x->out, ':')) return false;
    uint32_t opening = x->out->len;
    if (!buffer_byte(x->out, '{') || !xml_attributes(x, &n)) return false;
    if (*x->p == '/') {
        if (x->end - x->p < 2 || x->p[1] != '>') return false;
        x->p += 2;
        if (n > 0) return buffer_byte(x->out, '}');
        x->out->len = opening;
        return buffer_text(x->out, NULL, 0);
    }
    x->p++;
    if (!xml_children(x, n, opening, depth)) return false;
    if (x->out->p[opening] == '{' && !buffer_byte(x->out, '}')) return false;
    x->p += 2;
    if (!xml_name(x, &closing) || closing.len != name.len || !gl_equal(closing.p, name.p, name.len)) return false;
    xml_skip(x);
    return x->p < x->end && *x->p++ == '>';
}

// xml_misc passes over what may stand around the root.
static bool xml_misc(xml_reader *x) {
    for (;;) {
        xml_skip(x);
        if (!xml_at(x, "<!--")) return true;
        if (!xml_comment(x)) return false;
    }
}

// xml_declaration passes over <?xml …?>, whose encoding must be UTF-8 if it names one.
static bool xml_declaration(xml_reader *x) {
    if (!xml_at(x, "<?xml")) return true;
    const uint8_t *start = x->p;
    if (!xml_past(x, "?>")) return false;
    xml_reader inside = {start, x->p, NULL};
    if (!xml_past(&inside, "version=\"1.0\"") && !(inside.p = start, xml_past(&inside, "version='1.0'"))) return false;
    inside.p = start;
    if (!xml_past(&inside, "encoding=")) return true;
    inside.p++;
    return xml_at(&inside, "UTF-8") || xml_at(&inside, "utf-8");
}

// xml_document writes the whole text as {"root":value}.
static bool xml_document(const uint8_t *p, uint32_t n, buffer *out) {
    xml_reader x = {p, p + n, out};
    out->len = 0;
    if (n >= 3 && p[0] == 0xef && p[1] == 0xbb && p[2] == 0xbf) x.p += 3;
    if (!xml_declaration(&x) || !xml_misc(&x)) return false;
    if (xml_at(&x, "<!DOCTYPE")) return fail(REASON_DOCTYPE);
    if (x.p == x.end || *x.p != '<' || !buffer_byte(out, '{') || !xml_element(&x, 0)) return false;
    return xml_misc(&x) && x.p == x.end && buffer_byte(out, '}');
}

#endif
