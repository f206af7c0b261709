// inside.h: rules inside of texts that hold JSON.
//
//     {"inside": ["$.payload"], "on_invalid_inside": "reject",
//      "rules": [{"path": "$.payload.card", "action": "mask"}]}
//
// A text at one of the paths "inside" is decoded, and paths go on in it as if its JSON
// stood in the text's place. A text in it can hold JSON again, PATHS_MAX_NESTED deep.
// What the text holds is checked as a whole before a rule sees it: if it is not JSON,
// or deeper in all than JSON_MAX_DEPTH, the record is rejected or the text redacted.
//
// Edits are made of the decoded text, and then moved to where those bytes are written
// in the value. What no rule changes is thus written as it was, escapes included.
#ifndef GUARDLOCK_GDPR_INSIDE_H
#define GUARDLOCK_GDPR_INSIDE_H

static const uint8_t *visit_any(void *self, const paths_match *m);

// inside_seek steps through the content of a text, from *at decoded bytes to to.
static const uint8_t *inside_seek(const uint8_t *p, const uint8_t *end, uint32_t *at, uint32_t to) {
    uint8_t scratch[4];
    while (*at < to) {
        const uint8_t *next = *p == '\\' ? character(p, end) : p + 1;
        *at += *p == '\\' ? json_decode(p, next, scratch) : 1;
        p = next;
    }
    return p;
}

// inside_move makes edits of a text, whose content begins at p, of edits of what it says.
static bool inside_move(edit *e, const uint8_t *p, const uint8_t *end) {
    gl_call *c = e->call;
    gl_edit_entry *list = (gl_edit_entry *)(c->base + c->cap);
    uint32_t at = 0;
    for (uint32_t i = c->edits; i-- > 0;) {
        gl_edit_entry *one = &list[i];
        uint32_t from = one->at, to = one->at + one->len;
        text bytes = {one->bytes, one->bytes_len};
        if (bytes.n > 0 && quote_json(c, bytes, &bytes) == NULL) return false;
        p = inside_seek(p, end, &at, from);
        one->at = (uint32_t)(p - e->value);
        p = inside_seek(p, end, &at, to);
        one->len = (uint32_t)(p - e->value) - one->at;
        if (bytes.n == 0) continue;
        one->bytes = bytes.p + 1;
        one->bytes_len = bytes.n - 2;
    }
    return true;
}

// inside_fault tells why the text[:n] cannot be gone into, 0 if it can.
static int32_t inside_fault(const edit *e, const uint8_t *start, const uint8_t *text, uint32_t n, uint32_t depth) {
    if (start == NULL) return GDPR_INVALID_INSIDE;
    if (e->level > PATHS_MAX_NESTED) return JSON_TOO_DEEP;
    const uint8_t *end = json_skip(start, depth);
    if (end != NULL) return json_space(end) == text + n ? 0 : GDPR_INVALID_INSIDE;
    return json_fault == JSON_TOO_DEEP ? JSON_TOO_DEEP : GDPR_INVALID_INSIDE;
}

static const uint8_t *inside_walk(edit *e, const paths_match *m, const uint8_t *start);

// inside_text goes into the text[:n], the decoded text of a match. It returns NULL, with
// json_fault or e->rc set, if the record is refused. *redacts is set if the text is.
static const uint8_t *inside_text(edit *e, const paths_match *m, uint8_t *text, uint32_t n, bool *redacts) {
    int32_t outer_fault = json_fault;
    uint8_t saved = 0;
    const uint8_t *start = json_begin(text, n, &saved);
    int32_t fault = inside_fault(e, start, text, n, m->depth);
    const uint8_t *end = NULL;
    *redacts = fault != 0 && redact_inside;
    json_fault = fault != 0 && !*redacts ? fault : outer_fault;
    if (fault == 0) end = inside_walk(e, m, start);
    json_end(text, n, saved);
    return end;
}

// inside_walk shows what is in a text to the rules: it is JSON, and may be a text again.
static const uint8_t *inside_walk(edit *e, const paths_match *m, const uint8_t *start) {
    const paths_node *node = &paths.nodes[m->node];
    if (*start != '"') return paths_walk_at(start, node, m->depth, visit_any, e);
    paths_match again = {m->node, start, start, m->depth};
    return visit_any(e, &again);
}

// visit_inside goes into a text that holds JSON, whose place no rule takes as a whole.
// Anything else there is walked as everywhere.
GL_COLD const uint8_t *visit_inside(edit *e, const paths_match *m) {
    if (*m->value != '"') return m->value;
    gl_call *c = e->call;
    const uint8_t *quote = json_string(m->value + 1), *value = e->value;
    if (quote == NULL) return NULL;
    uint8_t *text = gl_take(c, (uint32_t)(quote - m->value));
    if (text == NULL) return edit_fail(e, GL_ERR_SPACE);
    uint32_t n = json_decode(m->value + 1, quote, text), outer = c->edits;
    bool redacts = false;

    // The edits of the text are a list of their own until they are moved.
    c->edits = 0;
    e->value = text;
    e->level++;
    const uint8_t *end = inside_text(e, m, text, n, &redacts);
    e->level--;
    e->value = value;
    if (end != NULL && !inside_move(e, m->value + 1, quote)) end = edit_fail(e, GL_ERR_SPACE);
    if (end == NULL) gl_unedit(c, c->edits);
    c->edits += outer;
    if (redacts) {
        e->actions |= ACTION(REDACT);
        return apply_redact(e, m->value, quote + 1);
    }
    return end == NULL ? NULL : quote + 1;
}

#endif
