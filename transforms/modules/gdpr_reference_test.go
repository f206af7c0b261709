package modules_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The reference says what gdpr must do, in plain Go over a tree, slowly. It
// keeps order and duplicate keys, which is why it does not decode into maps.

type tree struct {
	kind  byte // one of { [ s(tring) l(iteral), and of refInside j(son in a text) r(edacted text)
	text  string
	raw   string
	keys  []string
	items []*tree
}

// parseTree reads strict JSON; nil if it is not.
func parseTree(p []byte) *tree {
	if !utf8.Valid(p) || !json.Valid(p) {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(p))
	d.UseNumber()
	t := readTree(d, p)

	if _, err := d.Token(); err != io.EOF {
		return nil
	}
	return t
}

func readTree(d *json.Decoder, p []byte) *tree {
	tok, err := d.Token()
	if err != nil {
		panic(err) // json.Valid said otherwise
	}

	switch v := tok.(type) {
	case json.Delim:
		return readContainer(d, p, byte(v))
	case string:
		return &tree{kind: 's', text: v}
	case json.Number:
		return &tree{kind: 'l', text: v.String()}
	case bool:
		return &tree{kind: 'l', text: strconv.FormatBool(v)}
	}

	return &tree{kind: 'l', text: "null"}
}

func readContainer(d *json.Decoder, p []byte, kind byte) *tree {
	t := &tree{kind: kind}
	start := d.InputOffset() - 1
	for d.More() {
		if kind == '{' {
			k, _ := d.Token()
			t.keys = append(t.keys, k.(string))
		}
		t.items = append(t.items, readTree(d, p))
	}

	_, _ = d.Token()
	t.raw = string(p[start:d.InputOffset()])
	return t
}

// print writes a tree in one canonical form, for comparing.
func (t *tree) print(b *strings.Builder) {
	switch t.kind {
	case 's':
		b.WriteString(strconv.Quote(t.text))
	case 'l':
		b.WriteString(t.text)
	case 'r':
		b.WriteString(strconv.Quote("[redacted]"))
	default:
		b.WriteByte(t.kind)
		for i, item := range t.items {
			if t.kind == '{' {
				b.WriteString(strconv.Quote(t.keys[i]) + ":")
			}
			item.print(b)
			b.WriteByte(',')
		}

		b.WriteByte(t.kind + 2)
	}
}

func (t *tree) depth() int {
	if t.kind == 's' || t.kind == 'l' || t.kind == 'r' {
		return 0
	}
	if t.kind == 'j' {
		return t.items[0].depth()
	}
	deepest := 0
	for _, item := range t.items {
		deepest = max(deepest, item.depth())
	}

	return deepest + 1
}

// refStep is one step of a path: a name, an index, or anything.
type refStep struct {
	name  string
	index int // -1: not an index
	any   bool
	deep  bool
}

type refRule struct {
	Path     string `json:"path"`
	Action   string `json:"action"`
	KeepLast int    `json:"keep_last"`
	Key      uint32 `json:"key"`
	steps    []refStep
}

func parseRules(config string) []refRule {
	var c struct{ Rules []refRule }
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		panic(err)
	}

	for i := range c.Rules {
		c.Rules[i].steps = parsePath(c.Rules[i].Path)
	}
	return c.Rules
}

func parsePath(p string) []refStep {
	var steps []refStep
	for p = p[1:]; p != ""; {
		s := refStep{index: -1}
		switch {
		case strings.HasPrefix(p, "['"):
			s.name, p, _ = strings.Cut(p[2:], "']")
		case p[0] == '[':
			var inner string
			inner, p, _ = strings.Cut(p[1:], "]")
			if s.any = inner == "*"; !s.any {
				s.index, _ = strconv.Atoi(inner)
			}
		default:
			s.deep = strings.HasPrefix(p, "..")
			p = strings.TrimLeft(p, ".")
			end := strings.IndexAny(p, ".[")
			if end < 0 {
				end = len(p)
			}

			s.name = p[:end]
			p = p[end:]
			s.any = s.name == "*"
		}

		steps = append(steps, s)
	}

	return steps
}

// place is one step taken through a value.
type place struct {
	name  string
	index int // -1: a member
}

// takes tells whether a step leads to a place. Case does not count.
func (s refStep) takes(p place) bool {
	return s.any || (s.index >= 0 && s.index == p.index) || (s.index < 0 && p.index < 0 && strings.EqualFold(s.name, p.name))
}

// openStep is a step that may come next, of the path of a number.
type openStep struct {
	refStep
	path, at int
	last     bool
}

// after returns the steps that a path can be at behind a place.
func after(path int, steps []refStep, at []place) []openStep {
	open := map[int]bool{0: true}
	for _, p := range at {
		next := map[int]bool{}
		for i := range open {
			if i == len(steps) {
				continue
			}
			if steps[i].deep {
				next[i] = true
			}
			if steps[i].takes(p) {
				next[i+1] = true
			}
		}

		open = next
	}

	var out []openStep
	for i := range open {
		if i < len(steps) {
			out = append(out, openStep{steps[i], path, i, i == len(steps)-1})
		}
	}

	return out
}

// strange tells whether a value, which no rule takes, is something that paths
// cannot go on from, or hides something that they could go on in.
func strange(paths [][]refStep, t *tree, at []place) (wrongType, nested bool) {
	var next []openStep
	kinds := ""
	for i, steps := range paths {
		for _, s := range after(i, steps, at) {
			next = append(next, s)
			switch {
			case s.deep:
			case s.any:
				kinds += "{["
			case s.index >= 0:
				kinds += "["
			default:
				kinds += "{"
			}
		}
	}

	null := t.kind == 'l' && t.text == "null"
	wrongType = kinds != "" && !null && !strings.ContainsRune(kinds, rune(t.kind))
	return wrongType, t.kind == 's' && hides(next, t.text, 0)
}

// hides tells whether a text is a JSON container in which a step finds a name
// that brings its path further than it would be without.
func hides(next []openStep, text string, level int) bool {
	if level == 8 || tooDeep(text) {
		return len(next) > 0
	}
	inner := parseTree([]byte(text))
	if inner == nil || inner.kind != '{' && inner.kind != '[' {
		return false
	}

	found := false
	visitAll(inner, nil, func(t *tree, at []place) {
		if t.kind == 's' && hides(next, t.text, level+1) {
			found = true
		}
		if len(at) == 0 || at[len(at)-1].index >= 0 {
			return
		}

		for _, s := range next {
			found = found || !s.any && s.index < 0 && s.takes(at[len(at)-1]) && further(next, s)
		}
	})

	return found
}

// tooDeep tells whether a text is JSON up to a container inside of 128 others, whatever
// follows: what is deeper than anyone looks may hold anything.
func tooDeep(text string) bool {
	var closers []byte
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			closers = append(closers, c+2)
			if len(closers) == 129 {
				slices.Reverse(closers)
				return json.Valid(append([]byte(text[:i+1]), closers...))
			}
		case (c == '}' || c == ']') && len(closers) > 0:
			closers = closers[:len(closers)-1]
		}
	}

	return false
}

// further tells whether the step behind s is not open already, at any depth.
func further(next []openStep, s openStep) bool {
	return s.last || !slices.ContainsFunc(next, func(o openStep) bool { return o.path == s.path && o.at == s.at+1 && o.deep })
}

func matches(steps []refStep, at []place) bool {
	if len(steps) == 0 || len(at) == 0 {
		return len(steps) == len(at)
	}
	s := steps[0]
	p := at[0]
	return s.takes(p) && matches(steps[1:], at[1:]) || s.deep && matches(steps, at[1:])
}

var severity = map[string]int{"drop": 0, "redact": 1000, "hash": 2000, "mask": 3000}

func strongest(rules []refRule, at []place) *refRule {
	var best *refRule
	for i := range rules {
		r := &rules[i]
		if matches(r.steps, at) && (best == nil || severity[r.Action]+r.KeepLast < severity[best.Action]+best.KeepLast) {
			best = r
		}
	}

	return best
}

// anyStrange looks at every place that no rule replaces. inside are more paths that go
// through the value.
func anyStrange(rules []refRule, t *tree, inside ...[]refStep) bool {
	paths := slices.Clone(inside)
	for i := range rules {
		paths = append(paths, rules[i].steps)
	}

	var look func(t *tree, at []place) bool
	look = func(t *tree, at []place) bool {
		if len(at) > 0 && strongest(rules, at) != nil || t.kind == 'r' {
			return false
		}
		if t.kind == 'j' {
			return look(t.items[0], at)
		}
		if wrongType, nested := strange(paths, t, at); wrongType || nested {
			return true
		}

		for i, item := range t.items {
			p := place{index: i}
			if t.kind == '{' {
				p = place{name: t.keys[i], index: -1}
			}
			if look(item, append(slices.Clone(at), p)) {
				return true
			}
		}

		return false
	}

	return look(t, nil)
}

// apply rewrites t, found at a place, and reports whether it stays and whether
// anything changed.
func apply(rules []refRule, t *tree, at []place) (kept *tree, changed bool) {
	if len(at) > 0 {
		if r := strongest(rules, at); r != nil {
			return r.edit(t)
		}
	}

	switch t.kind {
	case 's', 'l':
		return t, false
	case 'r':
		return t, true
	case 'j':
		inner, changed := apply(rules, t.items[0], at)
		return &tree{kind: 'j', items: []*tree{inner}}, changed
	}
	n := &tree{kind: t.kind}
	for i, item := range t.items {
		p := place{index: i}
		if t.kind == '{' {
			p = place{name: t.keys[i], index: -1}
		}

		item, c := apply(rules, item, append(at, p))
		changed = changed || c
		if item == nil {
			continue
		}

		n.items = append(n.items, item)
		if t.kind == '{' {
			n.keys = append(n.keys, t.keys[i])
		}
	}

	return n, changed
}

func (r *refRule) edit(t *tree) (*tree, bool) {
	isNull := t.kind == 'l' && t.text == "null"
	switch {
	case r.Action == "drop":
		return nil, true
	case r.Action == "redact":
		return &tree{kind: 's', text: "[redacted]"}, true
	case isNull:
		return t, false
	case r.Action == "hash":
		sum := mac(r.Key, []byte(t.text+t.raw))
		return &tree{kind: 's', text: hex.EncodeToString(sum)}, true
	}

	return &tree{kind: 's', text: r.mask(t)}, true
}

func (r *refRule) mask(t *tree) string {
	text := []rune(t.text)
	if t.kind == '{' || t.kind == '[' || t.text == "true" && t.kind == 'l' || t.text == "false" && t.kind == 'l' {
		return "****"
	}

	stars := len(text) - r.KeepLast
	if stars <= 0 {
		stars = len(text)
	}
	return strings.Repeat("*", stars) + string(text[stars:])
}
